//! When client keys were last used: which engine is this, and may its key go?
//!
//! Whoever is admitted by a key leaves a mark: one relaxed store, and none while the mark stands. Once a minute the marks
//! are taken for the time that it is, and seldom that time is written down, so it is exact to a minute, and to an
//! hour after the process was killed.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;

/// When a key was used.
#[derive(Debug, Default)]
pub struct KeyUse {
    is_marked: AtomicBool,
    /// Unix seconds; 0 where it was not since the start.
    last: AtomicI64,
}

/// A client key as the API shows it. Its text is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Names it.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whose it is, for people.
    pub label: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl KeyUse {
    /// It is being used. On the order's way: a load, and now and then a store.
    pub fn mark(&self) {
        if !self.is_marked.load(Ordering::Relaxed) {
            self.is_marked.store(true, Ordering::Relaxed);
        }
    }

    /// Was it used since it was last looked at?
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked.load(Ordering::Relaxed)
    }

    /// When it was last used.
    pub(super) fn last(&self) -> Option<Timestamp> {
        if self.is_marked() {
            return Some(Timestamp::now());
        }
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| Timestamp::from_second(last).ok()).flatten()
    }

    /// Was it used since the start?
    pub(super) fn was_used(&self) -> bool {
        self.is_marked() || self.last.load(Ordering::Relaxed) > 0
    }

    /// Take a mark for now.
    pub(super) fn settle(&self, now: Timestamp) {
        if self.is_marked.swap(false, Ordering::Relaxed) {
            self.last.store(now.as_second(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark that was taken must not be lost, and one that nobody left must not make a key look used.
    #[test]
    fn a_key_was_last_used_when_its_mark_was_found() {
        let used = KeyUse::default();
        let then = Timestamp::from_second(1_000).unwrap();
        used.settle(then);
        assert_eq!(used.last(), None);
        used.mark();
        assert!(used.last().unwrap() > then, "a mark that stands is of this minute");
        used.settle(then);
        used.settle(Timestamp::from_second(2_000).unwrap());
        assert_eq!((used.last(), used.is_marked()), (Some(then), false));
    }
}
