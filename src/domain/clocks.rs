//! The clocks of this host, held against each other once a second: what timers do not hear of.
//!
//! A timer counts the time that the machine runs. A machine that sleeps or is paused for a night goes on where it was, with
//! connections that the other side has forgotten and tokens that have ended; a wall clock that is set says either that, or
//! nothing but that somebody has set it. Whoever waits for a moment hears of both by [`parted`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior};

use super::steady;
use super::stirred::stir;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Less than this is no news: a clock that is slewed, a machine that is busy.
const NEWS: Duration = Duration::from_secs(2);

/// How often they parted.
static PARTED: AtomicU32 = AtomicU32::new(0);
/// That two clocks of this host went different ways between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The machine slept for so long: the time since boot went on by it, and what timers count did not.
    pub slept: Duration,
    /// The wall clock was set ahead by so much (negative: back) of what the time since boot says; or the machine was
    /// paused and neither counted it.
    pub set: SignedDuration,
}

/// What the clocks showed when they were looked at last.
#[derive(Debug)]
pub struct Clocks {
    running: Instant,
    boot: Duration,
    wall: SignedDuration,
}

impl Clocks {
    /// As they are now.
    pub fn now() -> Self {
        let wall = Timestamp::now().duration_since(steady::uncorrected());
        Self { running: Instant::now(), boot: steady::since_boot(), wall }
    }

    /// What happened between an earlier look and this one, if it is news.
    pub fn parted_since(&self, earlier: &Self) -> Option<Parting> {
        let ran = self.running.saturating_duration_since(earlier.running);
        let slept = self.boot.saturating_sub(earlier.boot).saturating_sub(ran);
        let set = self.wall.saturating_sub(earlier.wall);
        let news = Parting {
            slept: if slept < NEWS { Duration::ZERO } else { slept },
            set: if set.unsigned_abs() < NEWS { SignedDuration::ZERO } else { set },
        };
        (news != Parting { slept: Duration::ZERO, set: SignedDuration::ZERO }).then_some(news)
    }
}

/// How often the clocks parted since the start of this process.
pub fn parted() -> u32 {
    PARTED.load(Ordering::Acquire)
}

/// Look at them for ever. `on_parting` hears of each parting, after [`parted`] has counted it and before others wake.
pub async fn follow(mut on_parting: impl FnMut(Parting)) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Clocks::now();
    loop {
        tick.tick().await;
        let now = Clocks::now();
        if let Some(parting) = now.parted_since(&last) {
            PARTED.fetch_add(1, Ordering::AcqRel);
            on_parting(parting);
            stir();
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleep_and_a_clock_that_is_set_are_told_apart_and_trifles_are_not_told() {
        let secs = Duration::from_secs;
        let last = Clocks::now();
        let later = |ran: u64, boot: u64, wall: i64| Clocks {
            running: last.running + secs(ran),
            boot: last.boot + secs(boot),
            wall: last.wall + SignedDuration::from_secs(wall),
        };
        let parted =
            |ran, boot, wall| later(ran, boot, wall).parted_since(&last).map(|it| (it.slept, it.set.as_secs()));
        assert_eq!(parted(1, 1, 0), None);
        // A busy machine looks late, by all clocks alike.
        assert_eq!(parted(90, 90, 1), None);
        assert_eq!(parted(1, 86_401, 0), Some((secs(86_400), 0)), "asleep for a day, and the wall clock knows it");
        assert_eq!(parted(1, 1, 86_400), Some((secs(0), 86_400)), "set, or paused without anybody counting");
        assert_eq!(parted(1, 1, -3600), Some((secs(0), -3600)));
        assert_eq!(parted(1, 61, -60), Some((secs(60), -60)), "asleep, and the wall clock does not know it");
    }
}
