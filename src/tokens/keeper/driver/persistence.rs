//! What a keeper writes to the store: new tokens, and what logins have spent of the limits.

use jiff::Timestamp;

use super::Driver;
use crate::domain::{AccountName, steady};
use crate::store::records::{AccountRecord, LoginRecord, TokenRecord};
use crate::store::{Change, Store, StoreError};
use crate::tokens::lifecycle::{Budget, Event, Trouble};
use crate::tokens::live::{LiveToken, facts};

/// How often a write is tried against a record that others change too.
const WRITES: usize = 8;

impl Driver {
    /// Write a token under the next generation.
    pub(super) async fn save(&mut self, record: &mut TokenRecord) -> Result<(), SaveError> {
        self.write(|store, name| {
            let last = store.get::<TokenRecord>(name)?;
            record.generation = last.as_ref().map_or(0, |last| last.generation) + 1;
            let change = match &last {
                Some(last) => Change::new().unchanged(name, last),
                None => Change::new().absent::<TokenRecord>(name),
            };
            Ok(change.put(name, &*record))
        })
        .await
    }

    pub(super) async fn save_again(&mut self) {
        if self.unrecorded.is_some() {
            let budget = self.machine.budget().clone();
            self.record(&budget).await;
        }
        let Some(mut record) = self.unsaved.take() else { return };
        let generation = record.generation;
        match self.save(&mut record).await {
            // A higher number than it signs under would be another token to the machine.
            Ok(()) if record.generation == generation => {
                tracing::info!(account = %self.keeper.account.name, "the token that could not be stored is stored");
            }
            Ok(()) => {
                self.publish(&record);
                self.feed(Event::GivenByHand(facts(&record))).await;
            }
            Err(SaveError::Gone) => {}
            Err(SaveError::Store(_)) => {
                record.generation = generation;
                self.unsaved = Some(record);
            }
        }
    }

    pub(super) async fn record(&mut self, budget: &Budget) -> bool {
        // The next process begins with the host's clock.
        let skew = steady::brokers_ahead_of_host().unwrap_or(budget.skew);
        let Ok(json) = serde_json::to_value(Budget { skew, ..budget.clone() }) else { return false };
        let record = LoginRecord(json);
        let written = self.write(|_, name| Ok(Change::new().put(name, &record))).await;
        let was_unrecorded = self.unrecorded.take().is_some();
        if let Err(err) = &written {
            let is_full = matches!(err, SaveError::Store(err) if err.is_full());
            self.unrecorded = Some(if is_full { &FULL } else { &UNWRITTEN });
            let account = &self.keeper.account.name;
            // Once until it can be: it is tried again every few seconds.
            if !was_unrecorded {
                tracing::error!(%account, error = %err, "what logins spend cannot be written; none is made until it can be");
            }
        }
        written.is_ok()
    }

    /// Commit a change while the account is still the one this keeper was made for.
    /// It is made anew when somebody else has written meanwhile.
    async fn write(
        &mut self,
        mut change: impl FnMut(&Store, &AccountName) -> Result<Change, StoreError>,
    ) -> Result<(), SaveError> {
        let (account, store) = (self.keeper.account.clone(), self.shared.store.clone());
        let own =
            |record: &AccountRecord| record.created_at == account.created_at && record.client_id == account.client_id;
        let mut tries = 0;
        loop {
            let record = store.get::<AccountRecord>(&account.name)?;
            let Some(record) = record.filter(own) else { return Err(SaveError::Gone) };
            let change = change(&store, &account.name)?.unchanged(&account.name, &record);
            match store.commit(change).await {
                Err(StoreError::Conflict { .. }) if tries < WRITES => tries += 1,
                done => return Ok(done?),
            }
        }
    }

    pub(super) fn publish(&self, record: &TokenRecord) {
        let expires_at = Timestamp::from_second(record.expires_at).unwrap_or(Timestamp::MIN);
        match LiveToken::new(record.access_token.clone(), expires_at, record.source.clone(), record.generation) {
            Ok(live) => self.keeper.cell.set(live),
            Err(why) => tracing::error!(account = %self.keeper.account.name, %why, "a new token cannot be a header"),
        }
    }
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error("the account is gone or is another one now")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

static UNWRITTEN: Trouble = Trouble::new(
    "login_not_recorded",
    "the gateway's state cannot be written, and a login that is not counted is not made; the account's legs are not at fault",
    "see the log for what is wrong with the disk of state.path; it goes on by itself once that can be written",
);

static FULL: Trouble = Trouble::new(
    "disk_full",
    "the disk of the gateway's state is full, and a login that is not counted is not made; the account's legs are not at fault",
    "free room on the disk of state.path (df -h, df -i); it goes on by itself within seconds",
);
