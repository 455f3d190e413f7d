//! Warm connections: a TLS connection to the API host lies ready on both legs, so that
//! neither an order nor a failover pays for a handshake.
//!
//! Once a second every leg is looked at; one that admits and has too few connections
//! gets one. A connection that nobody used is given up before it is as old as
//! `egress.idle_timeout`, at which the pool would refuse it, and made again; one that
//! the broker closed is made again too, after a wait that doubles while the broker
//! keeps closing them.
//!
//! Bounds: [`A_SECOND`] handshakes a second over all accounts. Up to [`ALL_WARM`]
//! accounts, all are kept warm in market hours; with more only those that had a request
//! in the last [`IN_USE`] seconds, the latest first, so that the bound is spent on
//! those that trade.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use super::context::Attendant;
use super::health::Purpose;
use super::probes::PATIENCE;
use super::{Leg, Legs};
use crate::broker::dhan::calendar;
use crate::domain::tasks::Tasks;
use crate::domain::{Role, steady};

/// Handshakes begun in a second: a tenth of what a core does.
const A_SECOND: usize = 50;
/// Handshakes under way; a line that is silent holds each for a connect timeout.
const AT_ONCE: usize = 64;
/// With a connection to each of two legs made again every 20 seconds or so, this many
/// accounts take half of [`A_SECOND`].
pub(super) const ALL_WARM: usize = 250;
/// Seconds after its last request in which an account counts as in use.
const IN_USE: u64 = 15 * 60;
/// A connection that is gone sooner than this was closed in haste.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// The longest wait before a connection that was closed in haste is made again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When a leg's next warm connection may be made.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// Is it known whether the last one lasted?
    judged: bool,
    /// Connections in a row that did not last.
    hasty: u32,
    under_way: bool,
}

impl Pace {
    /// One is lacking: may it be made now? Then it counts as under way.
    fn begin(&mut self, now: Instant, random: u32) -> bool {
        if self.under_way {
            return false;
        }
        if let Some(last) = self.last {
            let age = now.saturating_duration_since(last);
            if !std::mem::replace(&mut self.judged, true) {
                self.hasty = if age < SHORT_LIFE { self.hasty.saturating_add(1) } else { 0 };
            }
            let wait = match self.hasty.checked_sub(1) {
                Some(doubled) => LONGEST_WAIT.min(Duration::from_secs(1) * (1 << doubled.min(10))),
                None => Duration::ZERO,
            };
            // Half of it at least, so that legs that lost theirs together come back apart.
            if age < wait / 2 + wait / 2 * (random % 256) / 255 {
                return false;
            }
        }
        self.under_way = true;
        true
    }

    const fn end(&mut self, now: Instant) {
        self.last = Some(now);
        self.judged = false;
        self.under_way = false;
    }
}

/// Keep warm until the process is to stop.
pub(super) async fn run(attendant: Arc<Attendant>, tasks: Tasks) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = second.tick() => {}
            () = tasks.stopping() => return,
        }
        let (warm, always) = {
            let settings = attendant.settings();
            (settings.warm, settings.warm_always)
        };
        if warm == 0 || !always && !calendar::is_market_hours(steady::now()) {
            continue;
        }
        for (legs, role) in wanting(&attendant, warm).into_iter().take(A_SECOND) {
            let Ok(permit) = Arc::clone(&at_once).try_acquire_owned() else { break };
            let leg = legs.leg(role);
            let begun = pace(leg).begin(Instant::now(), jitter(leg, attendant.second()));
            if begun {
                let (attendant, stop) = (Arc::clone(&attendant), tasks.clone());
                tasks.spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        () = make(&attendant, legs.leg(role)) => {}
                        () = stop.stopping() => {}
                    }
                });
            }
        }
    }
}

/// The legs that lack a connection, those used last first.
fn wanting(attendant: &Attendant, warm: usize) -> Vec<(Arc<Legs>, Role)> {
    let all = attendant.all();
    let everybody = all.len() <= ALL_WARM;
    let mut found = Vec::new();
    for legs in all {
        let used = legs.last_used();
        if legs.ended().is_cancelled() || !(everybody || in_use(attendant, &legs)) {
            continue;
        }
        for leg in legs.both() {
            let admits = leg.admits(Purpose::Read) || leg.admits(Purpose::OrderWrite);
            let wanted = legs.pin().is_none_or(|pin| pin == leg.role()) && admits;
            if wanted && leg.exit().idle_to(attendant.api(), good_for(attendant, leg)) < warm {
                found.push((used, Arc::clone(&legs), leg.role()));
            }
        }
    }
    found.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    found.into_iter().map(|(_, legs, role)| (legs, role)).collect()
}

/// Did they carry a request lately?
pub(super) fn in_use(attendant: &Attendant, legs: &Legs) -> bool {
    let used = legs.last_used();
    used > 0 && attendant.second().saturating_sub(used) < IN_USE
}

async fn make(attendant: &Attendant, leg: &Leg) {
    let made = match attendant.egress().resolve(attendant.api(), Instant::now() + PATIENCE).await {
        Ok(at) => leg.exit().warm(&at).await,
        Err(err) => Err(err),
    };
    pace(leg).end(Instant::now());
    match made {
        Ok(()) => leg.learn(super::health::Event::Dialled),
        Err(err) => leg.note_failed_dial(&err),
    }
}

/// How old an idle connection may be and count as ready: 6 to 8 tenths of what the
/// pool allows, another share for each leg, so that they are not all made at once.
fn good_for(attendant: &Attendant, leg: &Leg) -> Duration {
    let limit = attendant.egress().idle_timeout();
    limit * 6 / 10 + limit * (jitter(leg, 0) % 256) / 1280
}

/// A number that differs between legs and from one second to the next.
pub(super) fn jitter(leg: &Leg, second: u64) -> u32 {
    let address = u128::from(leg.source().ip());
    let mixed = (address as u64 ^ (address >> 64) as u64).wrapping_add(second).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u32
}

fn pace(leg: &Leg) -> std::sync::MutexGuard<'_, Pace> {
    leg.warming.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that closes what we open must not be opened on for ever, once a second.
    #[test]
    fn connections_that_do_not_last_are_made_ever_more_seldom() {
        let mut pace = Pace::default();
        let began = Instant::now();
        let mut made = Vec::new();
        for second in 0..1000 {
            let now = began + Duration::from_secs(second);
            if pace.begin(now, 255) {
                assert!(!pace.begin(now, 255), "two at once");
                pace.end(now);
                made.push(second);
            }
        }
        assert_eq!(&made[..7], [0, 1, 3, 7, 15, 31, 63]);
        assert!(made.windows(2).skip(6).all(|two| two[1] - two[0] == 60), "{made:?}");
    }

    #[test]
    fn one_that_lasted_is_made_again_at_once() {
        let mut pace = Pace::default();
        let began = Instant::now();
        for n in 0..20 {
            let now = began + Duration::from_secs(20 * n);
            assert!(pace.begin(now, 255));
            pace.end(now);
        }
    }
}
