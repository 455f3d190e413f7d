//! Accounts: the one place where an account's records change and its row is
//! published to the order path.
//!
//! A row is an immutable snapshot of what a request needs: client id, legs, token
//! place, client keys. A change is first written to the store and acknowledged,
//! then a new row is built from what the store holds and swapped in. A request
//! keeps the row it took.
//!
//! Invariants:
//! - A row's legs are of its own pair, its token place its own, and both go when
//!   the pair or the broker's client id changes.
//! - What is published was durable before, but for a halt, which is in force at once.
//! - Changes of one account are made one after the other, and a caller that is in
//!   time for the second sees the first. Across accounts the store's guards decide.
//!
//! A change is not cancel-safe: dropped half way, it may be in the store and not in
//! its row. Whoever calls for somebody who may go away gives it a task of its own.

mod account;
mod address_check;
mod all_halted;
mod change;
mod change_keys;
mod customer;
mod error;
mod halt_all;
mod halts;
mod key_use;
mod keys;
mod last_request;
mod locks;
mod login_secrets;
pub mod overview;
mod pairs;
pub mod registration;
mod reservations;
mod reserve;
mod row;
mod seen_registration;
mod tombstone;
mod unsaved;
mod write_key_use;

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::addressing::Addressing;
use crate::domain::{AccountName, ClientId, SourceAddr};
use crate::legs::Supervisor;
use crate::store::records::{AccountRecord, AddressRecord};
use crate::store::{Change, Store, StoreError};
use crate::tokens::Keepers;

pub use account::Account;
pub use address_check::AddressChecker;
pub use change::{NewAccount, Patch};
pub use error::{AccountError, LOGS_IN_BY};
pub use halt_all::HaltedNow;
pub use key_use::{KeyUse, KeyView};
pub use keys::{ClientKeys, NewKey};
pub use last_request::{LastRequest, LastRequestView, RequestClass};
pub use login_secrets::{SecretsSet, login_lacks, set_of};
pub use pairs::Assigned;
pub use reserve::Reserved;
pub use seen_registration::{SeenRegistration, SeenSlot};

use all_halted::AllHalted;
use locks::Turns;
use reservations::Reservations;
use unsaved::Unsaved;

/// A page of accounts.
#[derive(Debug)]
pub struct AccountPage {
    /// The accounts on this page.
    pub rows: Vec<Arc<Account>>,
    /// Where the next page goes on, if there is one.
    pub next: Option<AccountName>,
}

/// All accounts.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    supervisor: Arc<Supervisor>,
    addressing: Addressing,
    keepers: Arc<Keepers>,
    rows: papaya::HashMap<AccountName, Arc<Account>>,
    /// Held while a row is built and swapped in, so that rows appear in the
    /// order of the states they were built from.
    publishing: Mutex<()>,
    turns: Turns,
    /// Halts that are in force and could not be saved yet.
    unsaved: Unsaved,
    reservations: Reservations,
    all_halted: AllHalted,
}

impl Accounts {
    /// Read every account from the store and publish its row.
    ///
    /// # Errors
    /// [`AccountError::Store`] when a record cannot be read.
    pub fn new(
        store: Store,
        supervisor: Arc<Supervisor>,
        addressing: Addressing,
        keepers: Arc<Keepers>,
    ) -> Result<Self, AccountError> {
        let (rows, publishing) = (papaya::HashMap::new(), Mutex::new(()));
        let accounts = Self {
            store,
            supervisor,
            addressing,
            keepers,
            rows,
            publishing,
            turns: Turns::new(),
            unsaved: Unsaved::default(),
            reservations: Reservations::default(),
            all_halted: AllHalted::default(),
        };
        accounts.read_all_halted()?;
        for (name, _) in accounts.store.scan::<AccountRecord>()? {
            accounts.publish(&name)?;
        }
        Ok(accounts)
    }

    /// The account's row as of now: no lock, no wait.
    pub fn lookup(&self, name: &str) -> Option<Arc<Account>> {
        self.rows.pin().get(name).map(Arc::clone)
    }

    /// Let logins that could not be sent be tried at once: what stood in their way may be gone.
    pub fn try_logins_now(&self) {
        for row in self.rows.pin().values() {
            row.keeper.try_now();
        }
    }

    /// Up to `limit` rows in the order of names, and the name to go on after if
    /// there are more. The page can be shorter all the same: an account that comes
    /// or goes at this moment has no row.
    ///
    /// # Errors
    /// [`AccountError::Store`].
    pub fn page(&self, after: Option<&AccountName>, limit: usize) -> Result<AccountPage, AccountError> {
        // One more than asked for tells whether there is a next page.
        let mut names = self.store.page::<AccountRecord>(after, limit.saturating_add(1))?;
        let more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().filter(|_| more).map(|(name, _)| name.clone());
        Ok(AccountPage { rows: names.iter().filter_map(|(name, _)| self.lookup(name.as_str())).collect(), next })
    }

    /// Look at every row, in no order.
    pub fn for_each(&self, mut look: impl FnMut(&Account)) {
        for row in self.rows.pin().values() {
            look(row);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Is there no account?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The pools and holders of addresses.
    pub const fn addressing(&self) -> &Addressing {
        &self.addressing
    }

    /// Whose something is that left from `source`, or did not leave, for `account` at this time: the customer that had
    /// the address, who has it still, as an address is never given to another.
    pub fn customer_of(
        &self,
        source: Option<SourceAddr>,
        account: Option<&AccountName>,
        at: Timestamp,
    ) -> Option<ClientId> {
        let Some(source) = source else {
            let account = self.lookup(account?.as_str())?;
            return (account.record.created_at <= at).then(|| account.client_id().clone());
        };
        self.store.get::<AddressRecord>(&source).ok().flatten().map(|holder| holder.client_id)
    }

    fn stored(&self, name: &AccountName) -> Result<AccountRecord, AccountError> {
        match self.store.get::<AccountRecord>(name)? {
            Some(record) => Ok(record),
            None => {
                self.publish(name)?;
                Err(AccountError::NoSuchAccount(name.clone()))
            }
        }
    }

    async fn commit(&self, name: &AccountName, change: Change) -> Result<(), AccountError> {
        match self.store.commit(change).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => {
                self.publish(name)?;
                Err(AccountError::Busy(name.clone()))
            }
            Err(err) => Err(err.into()),
        }
    }
}

#[cfg(test)]
mod tests;
pub mod validate;
