//! Instants of a clock that nobody can set and that goes on while the machine sleeps (`CLOCK_BOOTTIME`, clock_gettime(2)).
//!
//! The runtime's own instants are of `CLOCK_MONOTONIC`, which stands still meanwhile: by them a reply of before a night's
//! sleep is a second old. What is held against the broker's times, and every age, is counted by these.

use std::ops::{Add, Sub};
use std::time::Duration;

use tokio::time::Instant;

use super::steady::since_boot;

/// A point in the time since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The time since boot at this moment.
    pub fn now() -> Self {
        Self(since_boot())
    }

    /// How long this is after `earlier`; nothing where it is before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long ago it is.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// The runtime's instant that is as far from now, for its timers. What the machine sleeps until then comes on top.
    pub fn instant(self) -> Instant {
        let (here, now) = (Self::now(), Instant::now());
        let past = now.checked_sub(here.since(self)).unwrap_or(now);
        past + self.since(here)
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for BootInstant {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_on_and_is_as_far_from_now_as_the_runtimes() {
        let first = BootInstant::now();
        while BootInstant::now() == first {}
        assert!(BootInstant::now() > first && first.since(BootInstant::now()).is_zero());
        let hour = Duration::from_secs(3600);
        let later = (BootInstant::now() + hour).instant();
        let from_now = later.saturating_duration_since(Instant::now());
        assert!(from_now <= hour && from_now > hour - Duration::from_secs(60), "{from_now:?}");
        let before = BootInstant::now().instant();
        assert!(before <= Instant::now() && before.elapsed() < Duration::from_secs(60));
    }
}
