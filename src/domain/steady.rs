//! A wall clock that nobody can set: what the host's showed at the start of this process, and the time since by a clock
//! that only goes on (`CLOCK_BOOTTIME`, which counts sleep too).
//!
//! What is held against the broker's times (the end of a token, a code's window) is held against this one and what the
//! broker's was measured to differ from it. A host's clock that jumps, by NTP or by hand, changes neither.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Time since the machine was started. On a kernel that lacks this clock (before 2.6.39), since this was first asked.
pub fn since_boot() -> Duration {
    static INSTEAD: OnceLock<Instant> = OnceLock::new();
    let read = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    read.unwrap_or_else(|_| INSTEAD.get_or_init(Instant::now).elapsed())
}

/// This moment by the steady clock.
pub fn now() -> Timestamp {
    static START: OnceLock<(Timestamp, Duration)> = OnceLock::new();
    let (start, boot) = START.get_or_init(|| (Timestamp::now(), since_boot()));
    let passed = SignedDuration::try_from(since_boot().saturating_sub(*boot)).unwrap_or_default();
    start.checked_add(passed).unwrap_or(Timestamp::MAX)
}

/// How far a clock is ahead of the host's own, of which is known how far it is ahead of the steady one.
pub fn ahead_of_host(ahead: SignedDuration) -> SignedDuration {
    ahead.saturating_add(now().duration_since(Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_the_hosts_time_and_goes_on() {
        let first = now();
        assert!(first.duration_since(Timestamp::now()).abs() < SignedDuration::from_secs(1));
        while now() == first {}
        assert!(now() > first);
        assert!(ahead_of_host(SignedDuration::from_hours(1)) > SignedDuration::from_mins(59));
    }
}
