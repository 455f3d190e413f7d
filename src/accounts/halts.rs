//! Halts: in force at once, whatever the disk says.
//!
//! A halt is published first and saved then. While it cannot be saved it is held here, shown as such, and saved as soon
//! as the state can be written. An end of a halt is the other way round: it is in force when it is saved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Account, AccountError, Accounts};
use crate::domain::AccountName;
use crate::domain::tasks::Tasks;
use crate::store::Change;
use crate::store::records::{AccountRecord, HaltRecord};

/// How often what could not be saved is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a halt waits for a disk that is slow. It is in force already.
const SAVED_WITHIN: Duration = Duration::from_secs(5);

/// Halts by account, with when that was made: one made anew under the name is another.
#[derive(Debug, Default)]
pub(super) struct Unsaved(Mutex<HashMap<AccountName, (Timestamp, HaltRecord)>>);

impl Unsaved {
    fn lock(&self) -> MutexGuard<'_, HashMap<AccountName, (Timestamp, HaltRecord)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, name: &AccountName, account: &AccountRecord) -> Option<HaltRecord> {
        let halts = self.lock();
        halts.get(name).filter(|(made, _)| *made == account.created_at).map(|(_, halt)| halt.clone())
    }

    fn hold(&self, name: &AccountName, account: &AccountRecord, halt: HaltRecord) {
        self.lock().insert(name.clone(), (account.created_at, halt));
    }

    fn forget(&self, name: &AccountName) {
        self.lock().remove(name);
    }

    fn names(&self) -> Vec<AccountName> {
        self.lock().keys().cloned().collect()
    }
}

impl Accounts {
    /// Halt an account, or let it trade again. A halt is in force even where it cannot be saved
    /// ([`Account::halt_unsaved`]); its end is only when it is saved.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`]; of an end of a halt, whatever kept it from being saved.
    pub async fn set_halt(&self, name: &AccountName, halt: Option<HaltRecord>) -> Result<Arc<Account>, AccountError> {
        let _turn = self.turns.of(name).await;
        let old = self.stored(name)?;
        let Some(new) = halt else {
            let change = Change::new().unchanged(name, &old).put(name, &AccountRecord { halted: None, ..old.clone() });
            self.commit(name, change).await?;
            self.unsaved.forget(name);
            return self.row_of(name);
        };
        // Halted twice it stays halted since the first time.
        let first = old.halted.clone().or_else(|| self.unsaved.of(name, &old)).unwrap_or(new);
        if old.halted.is_none() {
            self.unsaved.hold(name, &old, first.clone());
            self.publish(name)?;
        }
        match tokio::time::timeout(SAVED_WITHIN, self.save_halt(name, &old, first)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::error!(account = %name, error = &err as &dyn std::error::Error,
                "the account is HALTED, and that could not be saved: a restart would end it. It is tried again"),
            Err(_) => tracing::error!(account = %name,
                "the account is HALTED, and the disk has not taken that yet: a restart might end it. It is tried again"),
        }
        self.row_of(name)
    }

    async fn save_halt(&self, name: &AccountName, old: &AccountRecord, halt: HaltRecord) -> Result<(), AccountError> {
        let record = AccountRecord { halted: Some(halt), ..old.clone() };
        self.commit(name, Change::new().unchanged(name, old).put(name, &record)).await?;
        self.unsaved.forget(name);
        Ok(())
    }

    fn row_of(&self, name: &AccountName) -> Result<Arc<Account>, AccountError> {
        self.publish(name)?.ok_or_else(|| AccountError::NoSuchAccount(name.clone()))
    }

    /// Why changes cannot be written now, and what to do; `None` while they can.
    pub fn store_trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    /// Save what could not be saved as soon as it can be, until the gateway stops.
    pub async fn heal(self: Arc<Self>, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = tasks.stopping() => return,
            }
            if self.store.trouble().is_some() && self.store.try_again().await.is_err() {
                continue;
            }
            for name in self.unsaved.names() {
                let _turn = self.turns.of(&name).await;
                let Ok(Some(old)) = self.store.get::<AccountRecord>(&name) else {
                    self.unsaved.forget(&name);
                    continue;
                };
                let saved = match self.unsaved.of(&name, &old) {
                    Some(halt) => self.save_halt(&name, &old, halt).await,
                    None => {
                        self.unsaved.forget(&name);
                        continue;
                    }
                };
                if saved.is_ok() {
                    tracing::info!(account = %name, "the halt that could not be saved is saved");
                    // What cannot be read now is told to whoever asks for the account.
                    let _ = self.publish(&name);
                }
            }
        }
    }
}
