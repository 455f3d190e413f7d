//! When a leg's next warm connection may be made: at once, unless the broker keeps closing them.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::SourceAddr;

/// A connection that is gone sooner than this was closed in haste.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// The longest wait before a connection that was closed in haste is made again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When a leg's next warm connection may be made.
#[derive(Debug, Default)]
pub(super) struct WarmPace {
    last: Option<Instant>,
    /// Is it known whether the last one lasted?
    judged: bool,
    /// Connections in a row that did not last.
    hasty: u32,
    under_way: bool,
}

impl WarmPace {
    /// One is lacking: may it be made now? Then it counts as under way.
    pub(super) fn begin(&mut self, now: Instant, random: u32) -> bool {
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

    pub(super) const fn end(&mut self, now: Instant) {
        self.last = Some(now);
        self.judged = false;
        self.under_way = false;
    }
}

/// A number that differs between legs and from one second to the next.
pub(super) fn jitter(source: SourceAddr, second: u64) -> u32 {
    let address = u128::from(source.ip());
    let mixed = (address as u64 ^ (address >> 64) as u64).wrapping_add(second).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broker that closes what we open must not be opened on for ever, once a second.
    #[test]
    fn connections_that_do_not_last_are_made_ever_more_seldom() {
        let mut pace = WarmPace::default();
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
        let mut pace = WarmPace::default();
        let began = Instant::now();
        for n in 0..20 {
            let now = began + Duration::from_secs(20 * n);
            assert!(pace.begin(now, 255));
            pace.end(now);
        }
    }
}
