//! Whether the disk is slow now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::domain::lock;

/// A write that takes longer makes the disk a slow one. Others' orders on its worker wait for it.
pub(super) const SLOW: Duration = Duration::from_millis(20);
/// So long a writer waits for another one before it hands its lines over.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);
/// So long the disk must have been fast.
const FAST_FOR: Duration = Duration::from_secs(1);
/// How often it is said that the disk is slow. One that stalls now and then would fill the log.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Is the disk slow now? Cheap to ask. Times are milliseconds since this was made.
#[derive(Debug)]
pub(super) struct DiskPace {
    is_slow: AtomicBool,
    /// From here on a write is slow.
    slow_from: Duration,
    began: Instant,
    /// When a write was last slow, whoever's it was.
    last_slow: AtomicU64,
    warned: Mutex<Warned>,
}

/// What was said of it.
#[derive(Debug, Default)]
struct Warned {
    /// When it was last said that the disk is slow.
    at: Option<u64>,
    /// Is its end still to be said?
    is_open: bool,
    /// How often it became slow since, and nothing was said.
    unsaid: u64,
}

impl Default for DiskPace {
    fn default() -> Self {
        Self::new(SLOW)
    }
}

impl DiskPace {
    /// Of a disk that is fast, and slow when a write takes longer than this.
    pub(super) fn new(slow_from: Duration) -> Self {
        let (is_slow, last_slow, warned) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        Self { is_slow, slow_from, began: Instant::now(), last_slow, warned }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// Somebody's write goes on and on.
    pub(super) fn is_held(&self) {
        self.slow_at(self.now());
    }

    /// A write took so long.
    pub(super) fn took(&self, long: Duration) {
        if long > self.slow_from {
            self.slow_at(self.now());
        }
    }

    pub(super) fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    fn warned(&self) -> MutexGuard<'_, Warned> {
        lock(&self.warned)
    }

    fn slow_at(&self, now: u64) {
        self.last_slow.fetch_max(now, Ordering::Relaxed);
        if !self.is_slow.swap(true, Ordering::Relaxed) {
            self.warn_slow(now);
        }
    }

    /// Was it said?
    fn warn_slow(&self, now: u64) -> bool {
        let mut warned = self.warned();
        if warned.at.is_some_and(|at| now.saturating_sub(at) < millis(SAY_EVERY)) {
            warned.unsaid += 1;
            return false;
        }
        let unsaid = std::mem::take(&mut warned.unsaid);
        (warned.at, warned.is_open) = (Some(now), true);
        drop(warned);
        tracing::warn!(
            before = unsaid,
            "the disk of the order journal is slow: lines are written by a thread of their own"
        );
        true
    }

    /// A write was fast. Is it over?
    pub(super) fn fast_at(&self, now: u64) -> bool {
        let is_over = now.saturating_sub(self.last_slow.load(Ordering::Relaxed)) > millis(FAST_FOR)
            && self.is_slow.swap(false, Ordering::Relaxed);
        if is_over && std::mem::take(&mut self.warned().is_open) {
            tracing::info!("the disk of the order journal is fast again");
        }
        is_over
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One fast line behind a slow one says nothing of the next.
    #[test]
    fn a_disk_is_fast_when_it_has_been_for_a_while_whoever_met_it_slow() {
        let pace = DiskPace::default();
        // Long after the thread that writes was started.
        pace.slow_at(10_000);
        assert!(pace.is_slow() && !pace.fast_at(10_001) && pace.is_slow());
        // A worker's own write, or one that another waited for.
        pace.slow_at(10_900);
        assert!(!pace.fast_at(11_900) && pace.is_slow());
        assert!(pace.fast_at(11_901) && !pace.is_slow());
        pace.took(Duration::from_millis(1));
        assert!(!pace.is_slow());
        pace.took(SLOW * 2);
        assert!(pace.is_slow());
    }

    #[test]
    fn a_disk_that_stalls_now_and_then_is_spoken_of_once_a_minute() {
        let pace = DiskPace::default();
        let said = |at: u64| pace.warn_slow(at);
        assert!(said(1_000) && !said(3_000) && !said(60_999));
        assert_eq!(pace.warned().unsaid, 2);
        assert!(said(61_000));
        assert_eq!(pace.warned().unsaid, 0);
    }
}
