//! The halt of all accounts, those to come included.
//!
//! Each account gets a halt of its own, so the order path looks where it always looks; what is kept beside it is that all
//! are halted, so that one that is made meanwhile begins halted. As with one account, the halt is in force at once and
//! saved then. Its end frees the accounts that were halted with all, and none that somebody halted by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::halts::SAVED_WITHIN;
use super::{AccountError, Accounts};
use crate::domain::AccountName;
use crate::store::Change;
use crate::store::records::{AccountRecord, AllHaltedRecord, HaltRecord};

/// Changes that are saved at once: the store writes those together that come together.
const TOGETHER: usize = 64;
/// After so many accounts whoever else has to run does.
const PAUSE_EVERY: usize = 128;

/// What came of halting all accounts, or of ending that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HaltedNow {
    /// Accounts that are otherwise now than before.
    pub changed: u64,
    /// Accounts whose change failed or was overtaken.
    pub failed: u64,
}

fn key() -> String {
    "all_halted".to_owned()
}

impl Accounts {
    pub(super) fn read_all_halted(&self) -> Result<(), AccountError> {
        self.all_halted.record.store(self.store.get::<AllHaltedRecord>(&key())?.map(Arc::new));
        Ok(())
    }

    /// Why all accounts are halted, and since when.
    pub fn all_halted(&self) -> Option<Arc<AllHaltedRecord>> {
        self.all_halted.record.load_full()
    }

    /// How many accounts are halted, for whatever reason.
    pub fn halted(&self) -> u64 {
        let rows = self.rows.pin();
        let halted = rows.values().filter(|row| row.record.halted.is_some()).count();
        u64::try_from(halted).unwrap_or(u64::MAX)
    }

    /// Halt all accounts. In force when this returns, saved or not.
    ///
    /// # Errors
    /// [`AccountError::Store`] when an account cannot be read; the others are halted.
    pub async fn halt_all(&self, reason: String) -> Result<HaltedNow, AccountError> {
        let all = &self.all_halted;
        all.requests.fetch_add(1, Ordering::SeqCst);
        let since = Timestamp::now();
        // Before the names are taken: one that is made from here on is halted by itself.
        if all.record.load().is_none() {
            all.record.store(Some(Arc::new(AllHaltedRecord { reason: reason.clone(), since })));
            all.is_unsaved.store(true, Ordering::SeqCst);
        }
        let (mut now, mut trouble) = (HaltedNow::default(), None);
        let names = self.names();
        for (number, name) in names.iter().enumerate() {
            if number % PAUSE_EVERY == PAUSE_EVERY - 1 {
                tokio::task::yield_now().await;
            }
            let halt = HaltRecord { reason: reason.clone(), since, of_all: true };
            match self.halt_now(name, halt) {
                Ok(was_halted) => now.changed += u64::from(!was_halted),
                // It was deleted meanwhile.
                Err(AccountError::NoSuchAccount(_)) => {}
                Err(err) => {
                    now.failed += 1;
                    trouble = Some(err);
                }
            }
        }
        let saved = async {
            for names in names.chunks(TOGETHER) {
                // What is not saved is held as such and tried again.
                join_all(names.iter().map(|name| self.save_halt(name))).await;
            }
        };
        let saved = async { tokio::join!(self.save_all_halted(), saved) };
        if tokio::time::timeout(SAVED_WITHIN, saved).await.is_err() {
            tracing::error!(
                "all accounts are HALTED, and the disk has not taken that for each of them yet: a restart \
                             might end it. It is tried again"
            );
        }
        trouble.map_or(Ok(now), Err)
    }

    /// Let the accounts trade again that were halted with all. In force when it is saved.
    ///
    /// # Errors
    /// [`AccountError::Store`] when it could not be saved that new accounts are not halted: then nothing was changed.
    pub async fn end_halt_of_all(&self) -> Result<HaltedNow, AccountError> {
        let all = &self.all_halted;
        let requests = all.requests.load(Ordering::SeqCst);
        {
            let _turn = all.writing.lock().await;
            self.store.commit(Change::new().delete::<AllHaltedRecord>(&key())).await?;
            if all.requests.load(Ordering::SeqCst) != requests {
                // Halted again meanwhile, which is saved next.
                all.is_unsaved.store(true, Ordering::SeqCst);
                return Ok(HaltedNow::default());
            }
            all.record.store(None);
            all.is_unsaved.store(false, Ordering::SeqCst);
        }
        let names: Vec<AccountName> = self.names().into_iter().filter(|name| self.is_halted_with_all(name)).collect();
        let mut now = HaltedNow::default();
        for names in names.chunks(TOGETHER) {
            for ended in join_all(names.iter().map(|name| self.end_with_all(name, requests))).await {
                match ended {
                    Ok(was_ended) => now.changed += u64::from(was_ended),
                    Err(err) => {
                        now.failed += 1;
                        tracing::warn!(error = &err as &dyn std::error::Error, "an account is still halted");
                    }
                }
            }
        }
        Ok(now)
    }

    /// End an account's halt that came with all. Whoever was halted by itself since stays so.
    async fn end_with_all(&self, name: &AccountName, requests: u64) -> Result<bool, AccountError> {
        let own_requests = self.unsaved.requests(name);
        if !self.is_halted_with_all(name) || self.all_halted.requests.load(Ordering::SeqCst) != requests {
            return Ok(false);
        }
        self.end_halt_since(name, own_requests).await.map(|_| true)
    }

    /// Write down whether all are halted, if that is not what is written.
    pub(super) async fn save_all_halted(&self) {
        let all = &self.all_halted;
        let _turn = all.writing.lock().await;
        if !all.is_unsaved.load(Ordering::SeqCst) {
            return;
        }
        let Some(record) = all.record.load_full() else { return };
        match self.store.commit(Change::new().put(&key(), &*record)).await {
            Ok(()) => all.is_unsaved.store(false, Ordering::SeqCst),
            Err(err) => tracing::error!(
                error = &err as &dyn std::error::Error,
                "all accounts are HALTED, and that could not be saved: after a restart new ones would not be. It is tried again"
            ),
        }
    }

    /// The halt that an account begins with.
    pub(super) fn halted_from_birth(&self, now: Timestamp) -> Option<HaltRecord> {
        self.all_halted().map(|all| HaltRecord { reason: all.reason.clone(), since: now, of_all: true })
    }

    /// For an account that was just written down: all may have been halted while that waited for the disk.
    pub(super) fn halt_if_all_are(&self, name: &AccountName) -> Result<(), AccountError> {
        let record: AccountRecord = self.stored(name)?;
        match self.halted_from_birth(Timestamp::now()) {
            Some(halt) if record.halted.is_none() => self.halt_now(name, halt).map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Put a halt in force. Was there one?
    fn halt_now(&self, name: &AccountName, halt: HaltRecord) -> Result<bool, AccountError> {
        let record = self.stored(name)?;
        let was_halted = record.halted.is_some();
        self.unsaved.hold(name, &record, halt);
        self.publish(name)?;
        Ok(was_halted)
    }

    fn is_halted_with_all(&self, name: &AccountName) -> bool {
        let row = self.lookup(name.as_str());
        row.is_some_and(|row| row.record.halted.as_ref().is_some_and(|halt| halt.of_all))
    }

    fn names(&self) -> Vec<AccountName> {
        self.rows.pin().keys().cloned().collect()
    }
}
