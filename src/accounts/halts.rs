//! Halts: in force at once, whatever the disk says.
//!
//! A halt is published first and saved then: it does not wait for its turn among the changes of its account, which may
//! wait for the disk. Until it is saved it is held here, shown as such, and saved as soon as the state can be written. An end of a halt is the other way round: it is in force when it is saved.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::unsaved::UnsavedHalt;
use super::{Account, AccountError, Accounts};
use crate::domain::AccountName;
use crate::domain::tasks::Tasks;
use crate::store::Change;
use crate::store::records::{AccountRecord, HaltRecord};

/// How often what could not be saved is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// The number of halts that are saved at once.
const TOGETHER: usize = 16;
/// How long a halt waits for a disk that is slow. It is in force already.
pub(super) const SAVED_WITHIN: Duration = Duration::from_secs(5);

impl Accounts {
    /// Halt an account, or let it trade again. A halt is in force even where it cannot be saved
    /// ([`Account::halt_unsaved`]), and while another change of the account waits for the disk; its end is only when it
    /// is saved, and not if the account was halted again meanwhile.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`]; of an end of a halt, whatever kept it from being saved.
    pub async fn set_halt(&self, name: &AccountName, halt: Option<HaltRecord>) -> Result<Arc<Account>, AccountError> {
        let Some(new) = halt else { return self.end_halt(name).await };
        // Before its turn, which another change may have for as long as the disk hangs. Also when it is halted already:
        // an end of that may be under way.
        self.unsaved.hold(name, &self.stored(name)?, new);
        self.publish(name)?;
        match tokio::time::timeout(SAVED_WITHIN, self.save_halt(name)).await {
            Ok(Ok(_)) => {}
            Ok(Err(err)) => tracing::error!(account = %name, error = &err as &dyn std::error::Error,
                "the account is HALTED, and that could not be saved: a restart would end it. It is tried again"),
            Err(_) => tracing::error!(account = %name,
                "the account is HALTED, and the disk has not taken that yet: a restart might end it. It is tried again"),
        }
        self.row_of(name)
    }

    async fn end_halt(&self, name: &AccountName) -> Result<Arc<Account>, AccountError> {
        // What was asked for up to here is what ends.
        self.end_halt_since(name, self.unsaved.requests(name)).await
    }

    /// End the halt that is in force, unless one was asked for after the one of this number.
    pub(super) async fn end_halt_since(&self, name: &AccountName, requests: u64) -> Result<Arc<Account>, AccountError> {
        let again = || self.unsaved.requests(name) != requests;
        let _turn = self.turns.of(name).await;
        let old = self.stored(name)?;
        if again() {
            return Err(AccountError::Busy(name.clone()));
        }
        let change = Change::new().unchanged(name, &old).put(name, &AccountRecord { halted: None, ..old.clone() });
        self.commit(name, change).await?;
        self.unsaved.forget(name, requests);
        if again() {
            self.publish(name)?;
            return Err(AccountError::Busy(name.clone()));
        }
        self.row_of(name)
    }

    /// Save the halt that is held of an account. Was there one?
    pub(super) async fn save_halt(&self, name: &AccountName) -> Result<bool, AccountError> {
        let _turn = self.turns.of(name).await;
        let Some(UnsavedHalt { made, halt, requests }) = self.unsaved.held(name) else { return Ok(false) };
        let old = match self.stored(name) {
            Ok(old) => old,
            Err(err) => {
                if matches!(err, AccountError::NoSuchAccount(_)) {
                    self.unsaved.forget(name, requests);
                }
                return Err(err);
            }
        };
        // One that was asked for by itself stays when the halt of all ends.
        let is_news = |old: &HaltRecord| old.of_all && !halt.of_all;
        if old.created_at == made && old.halted.as_ref().is_none_or(is_news) {
            let record = AccountRecord { halted: Some(halt), ..old.clone() };
            self.commit(name, Change::new().unchanged(name, &old).put(name, &record)).await?;
        }
        self.unsaved.forget(name, requests);
        // Its row says that it is not saved. What cannot be read now is told to whoever asks for the account.
        let _ = self.publish(name);
        Ok(true)
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
        let this = &*self;
        loop {
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = tasks.stopping() => return,
            }
            if self.store.trouble().is_some() {
                match tokio::time::timeout(SAVED_WITHIN, self.store.try_again()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => continue,
                }
            }
            this.save_all_halted().await;
            // Each for itself: one whose turn another change has for long holds up no other.
            futures_util::stream::iter(self.unsaved.names())
                .for_each_concurrent(TOGETHER, |name| async move { this.heal_one(&name).await })
                .await;
        }
    }

    async fn heal_one(&self, name: &AccountName) {
        if matches!(tokio::time::timeout(SAVED_WITHIN, self.save_halt(name)).await, Ok(Ok(true))) {
            tracing::info!(account = %name, "the halt that could not be saved is saved");
        }
    }
}
