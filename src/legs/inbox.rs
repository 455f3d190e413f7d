//! Probes that are asked for, on their way to the task that makes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Legs;
use crate::domain::Role;
use crate::domain::lock;

/// Which leg of which legs. Keyed by the legs' address in memory, which is unique while they live: legs that are gone
/// fail to upgrade, whoever has their place.
pub(super) type Key = (usize, Role);

/// Probes that were asked for and are not in the queue yet. Bounded by the number of
/// legs: the last wish for a leg is the one that counts.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    wishes: Mutex<HashMap<Key, (Weak<Legs>, Instant)>>,
    pub(super) filled: Notify,
}

impl Inbox {
    pub(super) fn put(&self, legs: &Arc<Legs>, role: Role, at: Instant) {
        let key = (Arc::as_ptr(legs).addr(), role);
        lock(&self.wishes).insert(key, (Arc::downgrade(legs), at));
        self.filled.notify_one();
    }

    pub(super) fn take(&self) -> HashMap<Key, (Weak<Legs>, Instant)> {
        std::mem::take(&mut *lock(&self.wishes))
    }
}
