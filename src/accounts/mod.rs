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
mod error;
mod halts;
mod keys;
mod locks;
mod pairs;
pub mod registration;
mod row;
mod tombstone;
mod unsaved;

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::addressing::Addressing;
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, ClientId, Platform, RepeatsBy, Role, Secret, SourceAddr, steady};
use crate::legs::Supervisor;
use crate::store::records::{
    AccountRecord, AddressRecord, ClientIdRecord, ClientKeyRecord, CredentialsRecord, LoginRecord, PairRecord,
    TokenRecord,
};
use crate::store::{Change, Store, StoreError};
use crate::tokens::{Keepers, LiveToken, facts};

pub use account::Account;
pub use address_check::AddressChecker;
pub use error::AccountError;
pub use keys::{ClientKeys, NewKey};
pub use pairs::Assigned;

use locks::Turns;
use tombstone::tombstone;
use unsaved::Unsaved;

/// A page of accounts.
#[derive(Debug)]
pub struct AccountPage {
    /// The accounts on this page.
    pub rows: Vec<Arc<Account>>,
    /// Where the next page goes on, if there is one.
    pub next: Option<AccountName>,
}

/// The fields of a new account.
#[derive(Debug)]
pub struct NewAccount {
    /// The account's name with us.
    pub name: AccountName,
    /// A name for people to read.
    pub nickname: Option<String>,
    /// How it logs in.
    pub platform: Platform,
    /// The broker's id.
    pub client_id: ClientId,
    /// Login secrets, as the platform needs them.
    pub credentials: CredentialsRecord,
    /// A live token, if there is one.
    pub access_token: Option<Secret>,
    /// What makes a write of it a repeat.
    pub repeats_by: RepeatsBy,
}

/// The fields to change; `None` stays as it is.
#[derive(Debug, Default)]
pub struct Patch {
    /// A name for people to read.
    pub nickname: Option<String>,
    /// How it logs in.
    pub platform: Option<Platform>,
    /// The broker's id; only while no pair is assigned.
    pub client_id: Option<ClientId>,
    /// The secrets of the login that are given anew.
    pub credentials: CredentialsRecord,
    /// A live token.
    pub access_token: Option<Secret>,
    /// What makes a write of it a repeat.
    pub repeats_by: Option<RepeatsBy>,
}

/// All accounts.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    attendant: Arc<Supervisor>,
    addressing: Addressing,
    keepers: Arc<Keepers>,
    rows: papaya::HashMap<AccountName, Arc<Account>>,
    /// Held while a row is built and swapped in, so that rows appear in the
    /// order of the states they were built from.
    publishing: Mutex<()>,
    turns: Turns,
    /// Halts that are in force and could not be saved yet.
    unsaved: Unsaved,
}

impl Accounts {
    /// Read every account from the store and publish its row.
    ///
    /// # Errors
    /// [`AccountError::Store`] when a record cannot be read.
    pub fn new(
        store: Store,
        attendant: Arc<Supervisor>,
        addressing: Addressing,
        keepers: Arc<Keepers>,
    ) -> Result<Self, AccountError> {
        let (rows, publishing) = (papaya::HashMap::new(), Mutex::new(()));
        let accounts = Self {
            store,
            attendant,
            addressing,
            keepers,
            rows,
            publishing,
            turns: Turns::new(),
            unsaved: Unsaved::default(),
        };
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

    /// Make an account.
    ///
    /// # Errors
    /// [`AccountError`]: a taken name or client id, a token that is not its own.
    pub async fn create(&self, new: NewAccount) -> Result<Arc<Account>, AccountError> {
        let NewAccount { name, nickname, platform, client_id, credentials, access_token, repeats_by } = new;
        let _turn = self.turns.of(&name).await;
        if platform == Platform::Automatic {
            can_log_in(&credentials, access_token.is_some())?;
        }
        let now = Timestamp::now();
        let record = AccountRecord {
            nickname,
            platform,
            client_id: client_id.clone(),
            halted: None,
            pin: None,
            created_at: now,
            repeats_by,
        };
        let mut change = Change::new()
            .absent::<AccountRecord>(&name)
            .put(&name, &record)
            .absent::<ClientIdRecord>(&client_id)
            .put(&client_id, &ClientIdRecord { account: name.clone() })
            .put(&name, &credentials);
        if let Some(token) = access_token {
            change = self.with_token(change, &name, &client_id, token, "access_token")?;
        }
        match self.store.commit(change).await {
            Ok(()) => {
                let row = self.publish(&name)?.ok_or(AccountError::NoSuchAccount(name))?;
                row.keeper.looked().await;
                Ok(row)
            }
            Err(StoreError::Conflict { .. }) => Err(self.who_took(name, client_id)?),
            Err(err) => Err(err.into()),
        }
    }

    /// Change an account.
    ///
    /// # Errors
    /// [`AccountError`]: no such account, a taken client id, a pair in the way.
    pub async fn change(&self, name: &AccountName, patch: Patch) -> Result<Arc<Account>, AccountError> {
        let _turn = self.turns.of(name).await;
        let old: AccountRecord = self.stored(name)?;
        let mut record = old.clone();
        record.nickname = patch.nickname.or(record.nickname);
        record.platform = patch.platform.unwrap_or(record.platform);
        record.repeats_by = patch.repeats_by.unwrap_or(record.repeats_by);
        let mut change = Change::new().unchanged(name, &old);
        if let Some(client_id) = patch.client_id.filter(|id| *id != old.client_id) {
            // The pair is registered with one customer of the broker. Another
            // customer's orders must never leave from it.
            if self.store.get::<PairRecord>(name)?.is_some() {
                return Err(AccountError::HasPair(name.clone()));
            }
            change = change
                .absent::<PairRecord>(name)
                .absent::<ClientIdRecord>(&client_id)
                .put(&client_id, &ClientIdRecord { account: name.clone() })
                .delete::<ClientIdRecord>(&old.client_id);
            change = change.delete::<LoginRecord>(name);
            if patch.access_token.is_none() {
                change = change.delete::<TokenRecord>(name);
            }
            record.client_id = client_id;
        }
        let credentials = self.store.get::<CredentialsRecord>(name)?;
        change = match &credentials {
            Some(old) => change.unchanged(name, old),
            None => change.absent::<CredentialsRecord>(name),
        };
        let given = patch.credentials.is_given();
        let merged = merge(credentials, patch.credentials);
        // What became of an account that is automatic already is for its login to say.
        if (old.platform, record.platform) == (Platform::Manual, Platform::Automatic) {
            can_log_in(&merged, patch.access_token.is_some())?;
        }
        change = change.put(name, &record).put(name, &merged);
        let by_hand = patch.access_token.is_some();
        if let Some(token) = patch.access_token {
            change = self.with_token(change, name, &record.client_id, token, "access_token")?;
        }
        match self.store.commit(change).await {
            Ok(()) => {
                let row = self.publish(name)?.ok_or_else(|| AccountError::NoSuchAccount(name.clone()))?;
                if given {
                    row.keeper.credentials_changed();
                }
                if by_hand {
                    self.hand_over(&row).await?;
                }
                row.keeper.looked().await;
                Ok(row)
            }
            Err(StoreError::Conflict { .. }) => match self.store.get::<ClientIdRecord>(&record.client_id)? {
                Some(taken) if taken.account != *name => {
                    Err(AccountError::ClientIdTaken { client_id: record.client_id, account: taken.account.to_string() })
                }
                Some(_) | None => Err(AccountError::Busy(name.clone())),
            },
            Err(err) => Err(err.into()),
        }
    }

    /// Pin an account to a leg, or let its legs' health decide.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub async fn set_pin(&self, name: &AccountName, pin: Option<Role>) -> Result<Arc<Account>, AccountError> {
        self.edit(name, |record| record.pin = pin).await
    }

    async fn edit(
        &self,
        name: &AccountName,
        edit: impl FnOnce(&mut AccountRecord),
    ) -> Result<Arc<Account>, AccountError> {
        let _turn = self.turns.of(name).await;
        let old = self.stored(name)?;
        let mut record = old.clone();
        edit(&mut record);
        self.commit(name, Change::new().unchanged(name, &old).put(name, &record)).await?;
        self.publish(name)?.ok_or_else(|| AccountError::NoSuchAccount(name.clone()))
    }

    /// Delete an account. Its addresses stay, as tombstones.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub async fn delete(&self, name: &AccountName) -> Result<(), AccountError> {
        let _turn = self.turns.of(name).await;
        let record = self.stored(name)?;
        let pair = self.store.get::<PairRecord>(name)?;
        let mut change = Change::new()
            .unchanged(name, &record)
            .delete::<AccountRecord>(name)
            .delete::<ClientIdRecord>(&record.client_id)
            .delete::<CredentialsRecord>(name)
            .delete::<TokenRecord>(name)
            .delete::<LoginRecord>(name);
        for (id, _) in self.key_records(name)? {
            change = change.delete::<ClientKeyRecord>(&(name.clone(), id));
        }
        change = match &pair {
            Some(pair) => tombstone(change.unchanged(name, pair), name, &record.client_id, pair),
            None => change.absent::<PairRecord>(name),
        };
        self.commit(name, change).await?;
        if let Some(record) = pair {
            self.addressing.settle(record.pair);
        }
        self.publish(name)?;
        Ok(())
    }

    /// Give an account a token by hand.
    ///
    /// # Errors
    /// [`AccountError::Invalid`] when it is not this account's live token.
    pub async fn set_token(&self, name: &AccountName, token: Secret) -> Result<Arc<Account>, AccountError> {
        let _turn = self.turns.of(name).await;
        let account = self.stored(name)?;
        let change = Change::new().unchanged(name, &account);
        let change = self.with_token(change, name, &account.client_id, token, "manual")?;
        self.commit(name, change).await?;
        let row = self.publish(name)?.ok_or_else(|| AccountError::NoSuchAccount(name.clone()))?;
        self.hand_over(&row).await?;
        Ok(row)
    }

    /// Tell the keeper of a token that a person gave. It signs already.
    async fn hand_over(&self, row: &Account) -> Result<(), AccountError> {
        if let Some(stored) = self.store.get::<TokenRecord>(&row.name)? {
            row.keeper.given(facts(&stored)).await;
        }
        Ok(())
    }

    /// Make a client key. Its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub async fn add_key(&self, name: &AccountName) -> Result<NewKey, AccountError> {
        let _turn = self.turns.of(name).await;
        let account = self.stored(name)?;
        let key = NewKey::generate().map_err(|why| AccountError::Invalid { field: "key", why })?;
        let id = (name.clone(), key.id.clone());
        let record = ClientKeyRecord { sha256: key.digest(), created_at: Timestamp::now() };
        self.commit(name, Change::new().unchanged(name, &account).absent::<ClientKeyRecord>(&id).put(&id, &record))
            .await?;
        self.publish(name)?;
        Ok(key)
    }

    /// Client keys of an account: id and when each was made.
    ///
    /// # Errors
    /// [`AccountError::NoSuchAccount`].
    pub fn keys(&self, name: &AccountName) -> Result<Vec<(String, Timestamp)>, AccountError> {
        self.stored(name)?;
        Ok(self.key_records(name)?.into_iter().map(|(id, record)| (id, record.created_at)).collect())
    }

    /// Delete a client key.
    ///
    /// # Errors
    /// [`AccountError::NoSuch`].
    pub async fn delete_key(&self, name: &AccountName, id: &str) -> Result<(), AccountError> {
        let _turn = self.turns.of(name).await;
        self.stored(name)?;
        if !self.key_records(name)?.iter().any(|(known, _)| known == id) {
            return Err(AccountError::NoSuch("client key"));
        }
        let key = (name.clone(), id.to_owned());
        let change = Change::new().present::<ClientKeyRecord>(&key).delete::<ClientKeyRecord>(&key);
        match self.store.commit(change).await {
            Ok(()) => {}
            Err(StoreError::Conflict { .. }) => {
                self.publish(name)?;
                return Err(AccountError::NoSuch("client key"));
            }
            Err(err) => return Err(err.into()),
        }
        self.publish(name)?;
        Ok(())
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

    /// `change`, and the token that a person gave, if nobody else gives one meanwhile.
    fn with_token(
        &self,
        change: Change,
        name: &AccountName,
        client_id: &ClientId,
        token: Secret,
        source: &str,
    ) -> Result<Change, AccountError> {
        let refuse = |why| AccountError::Invalid { field: "access_token", why };
        // People paste: blanks and line ends around a token are not part of it.
        let token: Secret = token.expose_secret().trim().to_owned().into();
        // Quotes around it are, to whoever only looks for the dots (RFC 7515 section 7.1).
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'=');
        if !token.expose_secret().bytes().all(inner) {
            return Err(refuse(Invalid::new(
                "a token has only letters, digits and . _ -; paste it without what stands around it",
            )));
        }
        // Nobody has held either clock against the broker's before the first question: ended is what has by both.
        let now = steady::now().min(Timestamp::now());
        let expires_at = LiveToken::check(&token, client_id, now).map_err(refuse)?;
        let last = self.store.get::<TokenRecord>(name)?;
        let change = match &last {
            Some(last) => change.unchanged(name, last),
            None => change.absent::<TokenRecord>(name),
        };
        let record = TokenRecord {
            access_token: token,
            expires_at: expires_at.as_second(),
            source: source.to_owned(),
            generation: last.map_or(0, |last| last.generation) + 1,
            stored_at: now,
        };
        Ok(change.put(name, &record))
    }

    fn key_records(&self, name: &AccountName) -> Result<Vec<(String, ClientKeyRecord)>, AccountError> {
        let mut found = Vec::new();
        let mut after = (name.clone(), String::new());
        loop {
            let page = self.store.page::<ClientKeyRecord>(Some(&after), 64)?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = last.clone();
            for ((account, id), record) in page {
                if account != *name {
                    return Ok(found);
                }
                found.push((id, record));
            }
        }
    }

    fn who_took(&self, name: AccountName, client_id: ClientId) -> Result<AccountError, AccountError> {
        if self.store.get::<AccountRecord>(&name)?.is_some() {
            return Ok(AccountError::NameTaken(name));
        }
        Ok(match self.store.get::<ClientIdRecord>(&client_id)? {
            Some(taken) => AccountError::ClientIdTaken { client_id, account: taken.account.to_string() },
            None => AccountError::Busy(name),
        })
    }
}

/// An automatic account needs something to log in with.
fn can_log_in(credentials: &CredentialsRecord, token: bool) -> Result<(), AccountError> {
    let missing = |field| {
        let why = Invalid::new("is missing; DHAN_V2_AT_IPV6 logs in by PIN and TOTP");
        Err(AccountError::Invalid { field, why })
    };
    let consent = credentials.api_key.is_some() && credentials.api_secret.is_some();
    match (&credentials.pin, &credentials.totp_secret) {
        (Some(_), Some(_)) => Ok(()),
        (None, None) if consent || token => Ok(()),
        (None, _) => missing("pin"),
        (_, None) => missing("totp_secret"),
    }
}

fn merge(old: Option<CredentialsRecord>, new: CredentialsRecord) -> CredentialsRecord {
    let Some(old) = old else { return new };
    CredentialsRecord {
        pin: new.pin.or(old.pin),
        totp_secret: new.totp_secret.or(old.totp_secret),
        phone: new.phone.or(old.phone),
        api_key: new.api_key.or(old.api_key),
        api_secret: new.api_secret.or(old.api_secret),
    }
}

#[cfg(test)]
mod tests;
pub mod validate;
