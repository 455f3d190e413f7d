//! Whose a pair is at the broker: from the first token on, a pair is its customer's for good.
//!
//! Until then nothing was registered for it nor sent from it but logins that brought nothing, so a client id that was
//! mistyped can be corrected and the addresses stay. Afterwards another customer's orders must never leave from it. What
//! is not known counts as a token: an older record, a restored state, a login whose end was not written.

use std::time::Duration;

use tokio::time::Instant;

use super::tombstone::holders;
use super::{AccountError, Accounts};
use crate::domain::{AccountName, ClientId};
use crate::store::Change;
use crate::store::records::{AddressRecord, LoginRecord, PairRecord, TokenRecord};
use crate::tokens::lifecycle::Budget;

/// How long a login that is under way is waited for.
const LOGIN_ENDS: Duration = Duration::from_secs(10);

impl Accounts {
    /// Can the client id of an account not change as things stand, since its pair is tied to it?
    ///
    /// # Errors
    /// [`AccountError::Store`]: the store cannot be read.
    pub fn has_customers_pair(&self, name: &AccountName) -> Result<bool, AccountError> {
        let Some(pair) = self.store.get::<PairRecord>(name)? else { return Ok(false) };
        self.is_customers(name, &pair, self.store.get::<LoginRecord>(name)?.as_ref())
    }

    /// Has the account had a token with this pair, or may somebody have had one?
    fn is_customers(
        &self,
        name: &AccountName,
        pair: &PairRecord,
        login: Option<&LoginRecord>,
    ) -> Result<bool, AccountError> {
        // A token that could not be written signs all the same.
        let in_memory = self.lookup(name.as_str()).is_some_and(|row| row.token.last().is_some());
        let hidden = login.is_some_and(|LoginRecord(json)| {
            serde_json::from_value(json.clone()).map_or(true, |budget: Budget| budget.may_hide_token())
        });
        let unknown = !pair.first_given || hidden || self.store.restored().is_some();
        // The store keeps a customer's last token after its death.
        Ok(unknown || in_memory || self.store.get::<TokenRecord>(name)?.is_some())
    }

    /// Wait for the login that is under way, if the client id of an account with a pair is to be another. Before the turn of
    /// the change: nobody else has to wait for it.
    pub(super) async fn before_another_customer(&self, name: &AccountName, client_id: &ClientId) {
        let row = self.lookup(name.as_str()).filter(|row| row.legs.is_some() && row.client_id() != client_id);
        if let Some(row) = row {
            row.token.wait_until_idle(Instant::now() + LOGIN_ENDS).await;
        }
    }

    /// Write the pair of an account, if it has one that is nobody's yet, to another customer. Guards of the change see to it
    /// that no token comes meanwhile, and no login begins.
    ///
    /// # Errors
    /// [`AccountError::IsCustomers`] where it is somebody's, [`AccountError::LoggingIn`] while a login is under way.
    pub(super) fn for_customer(
        &self,
        change: Change,
        name: &AccountName,
        client_id: &ClientId,
    ) -> Result<Change, AccountError> {
        let Some(pair) = self.store.get::<PairRecord>(name)? else { return Ok(change.absent::<PairRecord>(name)) };
        if self.lookup(name.as_str()).is_some_and(|row| row.token.standing().is_moving()) {
            return Err(AccountError::LoggingIn(name.clone()));
        }
        let login = self.store.get::<LoginRecord>(name)?;
        if self.is_customers(name, &pair, login.as_ref())? {
            return Err(AccountError::IsCustomers(name.clone()));
        }
        let change = change.unchanged(name, &pair).absent::<TokenRecord>(name);
        let mut change = match &login {
            // Written before each attempt.
            Some(login) => change.unchanged(name, login),
            None => change.absent::<LoginRecord>(name),
        };
        for (role, address) in holders(&pair.pair) {
            let held = self.store.get::<AddressRecord>(&address)?;
            let Some(held) = held.filter(|held| held.account == *name && held.role == role) else {
                return Err(AccountError::Busy(name.clone()));
            };
            let holder = AddressRecord { client_id: client_id.clone(), ..held.clone() };
            change = change.unchanged(&address, &held).put(&address, &holder);
        }
        Ok(change)
    }
}
