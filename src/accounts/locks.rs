//! One change of an account at a time.

use std::hash::{BuildHasher, RandomState};

use crate::domain::AccountName;

/// One change of an account at a time. Without it two that begin together both
/// start from the same records: the second writes the first's old value back, or is
/// refused for nothing, or leaves a key behind for the next account of the name.
#[derive(Debug)]
pub(super) struct Turns {
    // Accounts share one now and then, which costs a wait and no more.
    locks: Vec<tokio::sync::Mutex<()>>,
    hash: RandomState,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { locks: (0..256).map(|_| tokio::sync::Mutex::default()).collect(), hash: RandomState::new() }
    }

    /// Wait for the account's turn; it lasts until the guard is dropped. Meant to be
    /// held while the change waits for the disk, unlike any other lock here.
    pub(super) async fn of(&self, name: &AccountName) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let nth = usize::try_from(self.hash.hash_one(name)).unwrap_or_default() % self.locks.len().max(1);
        match self.locks.get(nth) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }
}
