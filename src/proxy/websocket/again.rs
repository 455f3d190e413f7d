//! A broker's side that ended and is opened again: what is asked of whoever opens it, and how often it is tried. Pure.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::login::Login;
use super::token::TokenWatch;
use crate::proxy::tunnel::TunnelLifetime;

/// How long it is tried. Callers' own watches, where they have one, are of this order.
const WITHIN: Duration = Duration::from_secs(60);
/// The first try comes within this: sockets that ended together are spread over it.
const FIRST: Duration = Duration::from_secs(1);
/// No two tries are further apart.
const APART: Duration = Duration::from_secs(10);
/// What stayed for less was none: its tries count for the next.
const STAYED: Duration = Duration::from_secs(10);

/// What ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    /// The word for why.
    pub(super) why: &'static str,
    /// When it was opened.
    pub(super) opened: Instant,
    /// The generation of the token that the broker seems to have refused; 0 for none.
    pub(super) refused: u64,
    /// How many instruments it was subscribed to.
    pub(super) instruments: usize,
}

/// A new broker's side.
pub(super) struct Reopened<B> {
    pub(super) broker: B,
    pub(super) token: TokenWatch,
    /// With the token of now.
    pub(super) login: Option<Login>,
    /// Until when bytes may be passed on now.
    pub(super) until: TunnelLifetime,
}

/// There will be no new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GaveUp;

/// Opens the broker's side anew.
pub(super) trait Again<B>: Send {
    /// A new one, by the leg and with the token of now.
    ///
    /// # Errors
    /// [`GaveUp`], which has been logged with its reason.
    fn open(&mut self, lost: Lost) -> BoxFuture<'_, Result<Reopened<B>, GaveUp>>;
}

/// Tries that follow each other, and their limit in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Episode {
    by: Instant,
    pub(super) tries: u32,
    /// The token that was refused after it was tried anew.
    refused: u64,
}

impl Episode {
    /// The one that a loss belongs to: that of the last loss, if what was opened since has hardly stayed.
    pub(super) fn of(last: Option<Self>, lost: &Lost, now: Instant) -> Self {
        match last {
            Some(last) if now.saturating_duration_since(lost.opened) < STAYED => last,
            Some(_) | None => Self { by: now + WITHIN, tries: 0, refused: 0 },
        }
    }

    /// When it is given up.
    pub(super) const fn by(&self) -> Instant {
        self.by
    }

    /// The broker refused this token's generation. Was that so before in this episode? Then its keeper has asked, and
    /// another try would be refused again.
    pub(super) const fn refused_again(&mut self, generation: u64) -> bool {
        generation > 0 && std::mem::replace(&mut self.refused, generation) == generation
    }

    /// How long the next try waits, at least `least`. `random` spreads it. `None` when there is no time for one.
    pub(super) fn next(&mut self, now: Instant, least: Duration, random: u32) -> Option<Duration> {
        let share = f64::from(random) / f64::from(u32::MAX);
        let wait = match self.tries {
            0 => FIRST.mul_f64(share),
            tries => FIRST.saturating_mul(1 << tries.min(8)).min(APART).mul_f64(share.midpoint(1.0)),
        };
        self.tries += 1;
        let wait = wait.max(least);
        (now + wait < self.by).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(opened: Instant) -> Lost {
        Lost { why: "broker_left", opened, refused: 0, instruments: 0 }
    }

    /// Those of ten thousand accounts end together when a line does.
    #[test]
    fn tries_are_spread_come_more_seldom_and_end() {
        let now = Instant::now();
        let episode = Episode::of(None, &lost(now), now);
        let first = |random| { episode }.next(now, Duration::ZERO, random).unwrap();
        assert_eq!((first(0), first(u32::MAX), first(u32::MAX / 2).as_millis()), (Duration::ZERO, FIRST, 500));
        let (mut episode, mut at, mut waits) = (episode, now, Vec::new());
        while let Some(wait) = episode.next(at, Duration::ZERO, u32::MAX) {
            waits.push(wait.as_secs());
            at += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10, 10]);
        assert!(at < episode.by() && at + APART >= episode.by());
        assert_eq!({ episode }.next(now, Duration::from_secs(30), 0), Some(Duration::from_secs(30)));
    }

    /// A broker that takes every handshake and resets it at once would be asked for ever.
    #[test]
    fn what_hardly_stayed_goes_on_with_the_last_episode() {
        let start = Instant::now();
        let mut first = Episode::of(None, &lost(start), start);
        first.next(start, Duration::ZERO, 0);
        let soon = start + STAYED / 2;
        assert_eq!(Episode::of(Some(first), &lost(start), soon), first);
        let later = start + STAYED;
        let second = Episode::of(Some(first), &lost(start), later);
        assert_eq!((second.tries, second.by()), (0, later + WITHIN));
    }

    #[test]
    fn a_token_that_is_refused_twice_is_not_tried_a_third_time() {
        let now = Instant::now();
        let mut episode = Episode::of(None, &lost(now), now);
        assert!(!episode.refused_again(0) && !episode.refused_again(0));
        assert!(!episode.refused_again(3));
        assert!(!episode.refused_again(4), "another token");
        assert!(episode.refused_again(4));
    }
}
