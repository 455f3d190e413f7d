//! Halts that are in force and could not be saved yet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;

use crate::domain::AccountName;
use crate::domain::lock;
use crate::store::records::{AccountRecord, HaltRecord};

/// A halt that is in force and may not be saved yet.
#[derive(Clone, Debug)]
pub(super) struct UnsavedHalt {
    /// When its account was made: one made anew under the name is another.
    pub(super) made: Timestamp,
    pub(super) halt: HaltRecord,
    /// Which time it was asked for. Who saved one, or ends it, must not end one that was asked for since.
    pub(super) requests: u64,
}

/// Halts of all accounts that are in force and may not be saved yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved(Mutex<Halts>);

#[derive(Debug, Default)]
struct Halts {
    held: HashMap<AccountName, UnsavedHalt>,
    /// How often each account was halted.
    requests: HashMap<AccountName, u64>,
}

impl Unsaved {
    fn lock(&self) -> MutexGuard<'_, Halts> {
        lock(&self.0)
    }

    pub(super) fn of(&self, name: &AccountName, account: &AccountRecord) -> Option<HaltRecord> {
        self.held(name).filter(|held| held.made == account.created_at).map(|held| held.halt)
    }

    pub(super) fn held(&self, name: &AccountName) -> Option<UnsavedHalt> {
        self.lock().held.get(name).cloned()
    }

    /// Halted twice it stays halted since the first time. A halt of its own takes the place of one that came with the halt
    /// of all accounts, and so stays when that ends.
    pub(super) fn hold(&self, name: &AccountName, account: &AccountRecord, new: HaltRecord) {
        let mut halts = self.lock();
        let requests = halts.requests.entry(name.clone()).or_default();
        *requests += 1;
        let requests = *requests;
        let made = account.created_at;
        let before = halts.held.get(name).filter(|held| held.made == made).map(|held| held.halt.clone());
        let halt = match account.halted.clone().or(before) {
            Some(old) if old.of_all && !new.of_all => HaltRecord { since: old.since, ..new },
            Some(old) => old,
            None => new,
        };
        halts.held.insert(name.clone(), UnsavedHalt { made, halt, requests });
    }

    /// Forget it, unless it was asked for again.
    pub(super) fn forget(&self, name: &AccountName, requests: u64) {
        let mut halts = self.lock();
        if halts.held.get(name).is_some_and(|held| held.requests == requests) {
            halts.held.remove(name);
        }
    }

    pub(super) fn requests(&self, name: &AccountName) -> u64 {
        self.lock().requests.get(name).copied().unwrap_or(0)
    }

    pub(super) fn names(&self) -> Vec<AccountName> {
        self.lock().held.keys().cloned().collect()
    }
}
