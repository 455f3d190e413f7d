//! A wall clock that nobody can set: the broker's time as far as its replies told it, else what the host's clock showed
//! at the start of this process, and the time since by a clock that only goes on (`CLOCK_BOOTTIME`, which counts sleep).
//!
//! What is held against the broker's times (the end of a token, a code's window, market hours) is held against this one.
//! A host's clock that is wrong, or jumps by NTP or by hand, changes none of it; nor, once the time is
//! borne out, does one reply of the broker's with a wrong `Date`.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::corroborated::Corroborated;
use super::lock::lock;
use super::stirred::stir;

/// A difference that is less is the second that `Date` is rounded to.
const ROUNDED: Duration = Duration::from_millis(1200);

/// What was measured.
static MEASURED: Mutex<Corroborated<SignedDuration>> = Mutex::new(Corroborated::new());
/// By how many milliseconds the host's clock at the start is corrected.
static CORRECTION: AtomicI64 = AtomicI64::new(UNMEASURED);
const UNMEASURED: i64 = i64::MIN;
/// How often it was corrected.
static CORRECTED: AtomicU32 = AtomicU32::new(0);
/// The correction that the process before knew, in milliseconds: until it is measured here.
static ASSUMED: AtomicI64 = AtomicI64::new(0);

/// Time since the machine was started. On a kernel that lacks this clock (before 2.6.39), since this was first asked.
pub fn since_boot() -> Duration {
    static INSTEAD: OnceLock<Instant> = OnceLock::new();
    let read = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    read.unwrap_or_else(|_| INSTEAD.get_or_init(Instant::now).elapsed())
}

/// The time at this moment, by the clock that nobody sets.
pub fn now() -> Timestamp {
    let millis = match CORRECTION.load(Ordering::Acquire) {
        UNMEASURED => ASSUMED.load(Ordering::Acquire),
        measured => measured,
    };
    uncorrected().saturating_add(SignedDuration::from_millis(millis)).unwrap_or(Timestamp::MAX)
}

/// This moment as it would be if the host's clock had been right at the start: what a measurement is made by.
pub fn uncorrected() -> Timestamp {
    static START: OnceLock<(Timestamp, Duration)> = OnceLock::new();
    let (start, boot) = START.get_or_init(|| (Timestamp::now(), since_boot()));
    let passed = SignedDuration::try_from(since_boot().saturating_sub(*boot)).unwrap_or_default();
    start.saturating_add(passed).unwrap_or(Timestamp::MAX)
}

/// The broker's clock was found to be ahead of [`uncorrected`] by so much. Answers by how much it is ahead of [`now`]
/// from here on: the second or two that a `Date` and its way leave open. `None` where this contradicts what two
/// measurements said, or one and the host's clock: it is not believed before a second says the same.
pub fn measured(ahead: SignedDuration) -> Option<SignedDuration> {
    let near = |one: SignedDuration, other: SignedDuration| one.saturating_sub(other).unsigned_abs() < ROUNDED;
    let mut measured = lock(&MEASURED);
    let assumed = SignedDuration::from_millis(ASSUMED.load(Ordering::Acquire));
    let witnessed = near(ahead, Timestamp::now().duration_since(uncorrected()))
        || measured.believed().is_none() && near(ahead, assumed);
    let is_believed = measured.report(ahead, witnessed, |before, told| near(before, told).then_some(before));
    // A second or so is the rounding again, and the host's own parts of a second are the better ones.
    let correction = measured.believed().filter(|ahead| ahead.unsigned_abs() >= ROUNDED).unwrap_or_default();
    let millis = i64::try_from(correction.as_millis()).unwrap_or_default().clamp(-MOST, MOST);
    if CORRECTION.swap(millis, Ordering::AcqRel) != millis {
        CORRECTED.fetch_add(1, Ordering::AcqRel);
        stir();
    }
    is_believed.then(|| ahead.saturating_sub(correction))
}

/// How often it was corrected: times that were made by it before are of another clock.
pub fn epoch() -> u32 {
    CORRECTED.load(Ordering::Acquire)
}

/// A thousand years.
const MOST: i64 = 1000 * 366 * 86_400_000;

/// The broker's clock was ahead of the host's by so much when the last process ended. The first that is not nothing
/// counts, and only until it is measured.
pub fn assume(ahead: SignedDuration) {
    let millis = i64::try_from(ahead.as_millis()).unwrap_or_default().clamp(-MOST, MOST);
    let _ = ASSUMED.compare_exchange(0, millis, Ordering::AcqRel, Ordering::Acquire);
}

/// How far the broker's clock is ahead of the host's as it shows now. `None` while it was not measured.
pub fn brokers_ahead_of_host() -> Option<SignedDuration> {
    let is_measured = CORRECTION.load(Ordering::Acquire) != UNMEASURED;
    is_measured.then(|| now().duration_since(Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One story, because there is one clock.
    #[test]
    fn it_goes_on_by_itself_and_is_corrected_by_what_was_measured() {
        let near = |one: Timestamp, other: Timestamp| one.duration_since(other).abs() < SignedDuration::from_secs(1);
        let after = |ahead| Timestamp::now().saturating_add(ahead).unwrap();
        let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        let first = now();
        while now() == first {}
        assert!(now() > first && near(now(), Timestamp::now()));
        assert_eq!(brokers_ahead_of_host(), None);

        assume(-hour);
        assume(day);
        assert!(near(now(), after(-hour)), "the first that is known counts");
        // Better a reply than a host's clock that nothing bears out; and the next reply is as good.
        for ahead in [day, -day] {
            assert_eq!(measured(ahead), Some(SignedDuration::ZERO));
            assert!(near(now(), after(ahead)));
        }
        // The rounding of a `Date` is no difference, and makes what was assumed obsolete. The host bears it out.
        let left = measured(SignedDuration::from_millis(900));
        assert!(near(now(), Timestamp::now()) && left == Some(SignedDuration::from_millis(900)));

        for ahead in [day, -day] {
            let (before, corrected) = (brokers_ahead_of_host().unwrap(), epoch());
            // One reply is no proof against two, and one that agrees with these forgets it.
            assert_eq!((measured(ahead), epoch()), (None, corrected));
            assert!(measured(before).is_some());
            assert_eq!((measured(ahead), epoch()), (None, corrected));
            assert!((brokers_ahead_of_host().unwrap() - before).abs() < SignedDuration::from_secs(1));
            // By many at the same time, all measured by the clock as it was before.
            for _ in 0..3 {
                assert_eq!(measured(ahead), Some(SignedDuration::ZERO));
                assert!(near(now(), after(ahead)));
            }
            assert_eq!(epoch(), corrected + 1);
            let shown = brokers_ahead_of_host().unwrap();
            assert!((shown - ahead).abs() < SignedDuration::from_secs(1), "{shown}");
            assert!(near(uncorrected(), Timestamp::now()));
        }
    }
}
