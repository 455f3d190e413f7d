//! Changes of an account: made, changed, deleted, and given a token by hand.

use std::sync::Arc;

use jiff::Timestamp;

use super::account::version_of;
use super::login_secrets::{login_lacks, merge, set_of};
use super::tombstone::tombstone;
use super::{Account, AccountError, Accounts};
use crate::domain::problem::Invalid;
use crate::domain::secret::{ExposeSecret, LoginSecret};
use crate::domain::{AccountName, ClientId, Platform, RepeatsBy, Role, Secret, StreamsMode, steady};
use crate::store::records::{
    AccountRecord, ClientIdRecord, ClientKeyRecord, CredentialsRecord, LoginRecord, PairRecord, TokenRecord,
};
use crate::store::{Change, StoreError};
use crate::tokens::{LiveToken, facts};

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
    /// What becomes of its WebSockets when the broker's side ends.
    pub streams: StreamsMode,
}

/// The fields to change; `None` stays as it is.
#[derive(Debug, Default)]
pub struct Patch {
    /// A name for people to read.
    pub nickname: Option<String>,
    /// How it logs in.
    pub platform: Option<Platform>,
    /// The broker's id; only while no pair is assigned, or none that a token was had with.
    pub client_id: Option<ClientId>,
    /// The secrets of the login that are given anew.
    pub credentials: CredentialsRecord,
    /// A live token.
    pub access_token: Option<Secret>,
    /// What makes a write of it a repeat.
    pub repeats_by: Option<RepeatsBy>,
    /// What becomes of its WebSockets when the broker's side ends.
    pub streams: Option<StreamsMode>,
    /// Take the nickname away.
    pub remove_nickname: bool,
    /// The secrets of the login to take away.
    pub remove: Vec<LoginSecret>,
    /// Only if the account is at one of these versions; whatever it is at where none is named.
    pub only_at: Option<Vec<String>>,
}

impl Accounts {
    /// Make an account.
    ///
    /// # Errors
    /// [`AccountError`]: a taken name or client id, a token that is not its own.
    pub async fn create(&self, new: NewAccount) -> Result<Arc<Account>, AccountError> {
        let NewAccount { name, nickname, platform, client_id, credentials, access_token, repeats_by, streams } = new;
        let _turn = self.turns.of(&name).await;
        if platform == Platform::Automatic {
            can_log_in(&credentials, access_token.is_some())?;
        }
        let now = Timestamp::now();
        let record = AccountRecord {
            nickname,
            platform,
            client_id: client_id.clone(),
            halted: self.halted_from_birth(now),
            pin: None,
            created_at: now,
            repeats_by,
            streams,
            changes: 0,
        };
        let credentials = merge(None, credentials, &[])?;
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
                self.halt_if_all_are(&name)?;
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
        if let Some(client_id) = &patch.client_id {
            self.before_another_customer(name, client_id).await;
        }
        let _turn = self.turns.of(name).await;
        let old: AccountRecord = self.stored(name)?;
        if patch.only_at.is_some_and(|wanted| !wanted.contains(&version_of(&old))) {
            return Err(AccountError::Changed { name: name.clone(), version: version_of(&old) });
        }
        let mut record = old.clone();
        record.changes += 1;
        record.nickname = match (patch.nickname, patch.remove_nickname) {
            (Some(_), true) => {
                let why = Invalid::new("nickname is given in the same call; give it or remove it");
                return Err(AccountError::Invalid { field: "remove", why });
            }
            (None, true) => None,
            (given, false) => given.or(record.nickname),
        };
        record.platform = patch.platform.unwrap_or(record.platform);
        record.repeats_by = patch.repeats_by.unwrap_or(record.repeats_by);
        record.streams = patch.streams.unwrap_or(record.streams);
        let mut change = Change::new().unchanged(name, &old);
        if let Some(client_id) = patch.client_id.filter(|id| *id != old.client_id) {
            change = self.for_customer(change, name, &client_id)?;
            change = change
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
        let merged = merge(credentials, patch.credentials, &patch.remove)?;
        if record.platform == Platform::Automatic && !patch.remove.is_empty() {
            can_still_log_in(&merged, patch.access_token.is_some())?;
        }
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
                if let Some(pair) = self.store.get::<PairRecord>(name)?.filter(|_| record.client_id != old.client_id) {
                    self.addressing.refresh_holders(pair.pair);
                }
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
            self.addressing.refresh_holders(record.pair);
        }
        self.publish(name)?;
        Ok(())
    }

    /// Give an account a token by hand.
    ///
    /// # Errors
    /// [`AccountError::Invalid`] when it is not this account's live token.
    pub async fn set_token(&self, name: &AccountName, token: Secret) -> Result<Arc<Account>, AccountError> {
        self.give_token(name, token, "manual").await
    }

    /// The same, of a token that came as `source` says: a word for who looks at the account.
    ///
    /// # Errors
    /// [`AccountError::Invalid`] when it is not this account's live token.
    pub async fn give_token(
        &self,
        name: &AccountName,
        token: Secret,
        source: &'static str,
    ) -> Result<Arc<Account>, AccountError> {
        let _turn = self.turns.of(name).await;
        let account = self.stored(name)?;
        let change = Change::new().unchanged(name, &account);
        let change = self.with_token(change, name, &account.client_id, token, source)?;
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

    /// `change`, and the token that a person gave, if nobody else gives one meanwhile.
    fn with_token(
        &self,
        change: Change,
        name: &AccountName,
        client_id: &ClientId,
        token: Secret,
        source: &str,
    ) -> Result<Change, AccountError> {
        let (expires_at, now) = check_token(&token, client_id)?;
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

    /// What [`Self::create`] would refuse of these, and not for their form: told with the mistakes of form, it need not be
    /// found one after the other.
    ///
    /// # Errors
    /// [`AccountError::Store`]: the store cannot be read.
    pub fn refusals(
        &self,
        name: Option<&AccountName>,
        client_id: Option<&ClientId>,
        token: Option<&Secret>,
    ) -> Result<Vec<AccountError>, AccountError> {
        let name_taken = name.filter(|name| self.lookup(name.as_str()).is_some());
        let token = client_id.zip(token).and_then(|(client_id, token)| check_token(token, client_id).err());
        let mut refusals: Vec<AccountError> = token.into_iter().collect();
        refusals.extend(name_taken.cloned().map(AccountError::NameTaken));
        refusals.extend(self.id_taken(client_id, None)?);
        Ok(refusals)
    }

    /// The same of [`Self::change`]; a token has to be of the client id that the account has afterwards.
    ///
    /// # Errors
    /// [`AccountError::Store`]: the store cannot be read.
    pub fn refusals_of_change(&self, name: &AccountName, patch: &Patch) -> Result<Vec<AccountError>, AccountError> {
        let Some(row) = self.lookup(name.as_str()) else { return Ok(Vec::new()) };
        let client_id = patch.client_id.as_ref().unwrap_or_else(|| row.client_id());
        let token = patch.access_token.as_ref().and_then(|token| check_token(token, client_id).err());
        Ok(token.into_iter().chain(self.id_taken(patch.client_id.as_ref(), Some(name))?).collect())
    }

    /// The account that a client id is, unless it is this one's `own`.
    fn id_taken(
        &self,
        client_id: Option<&ClientId>,
        own: Option<&AccountName>,
    ) -> Result<Option<AccountError>, AccountError> {
        let Some(client_id) = client_id else { return Ok(None) };
        let taken = self.store.get::<ClientIdRecord>(client_id)?.filter(|taken| Some(&taken.account) != own);
        Ok(taken.map(|taken| AccountError::ClientIdTaken {
            client_id: client_id.clone(),
            account: taken.account.to_string(),
        }))
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

/// When a token that a person gave ends, and the time that it was held against.
fn check_token(token: &Secret, client_id: &ClientId) -> Result<(Timestamp, Timestamp), AccountError> {
    let refuse = |why| AccountError::Invalid { field: "access_token", why };
    // Quotes around it are, to whoever only looks for the dots (RFC 7515 section 7.1).
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'=');
    if !token.expose_secret().bytes().all(inner) {
        return Err(refuse(Invalid::new(
            "a token has only letters, digits and . _ -; paste it without what stands around it",
        )));
    }
    // Nobody has held either clock against the broker's before the first question: ended is what has by both.
    let now = steady::now().min(Timestamp::now());
    Ok((LiveToken::check(token, client_id, now).map_err(refuse)?, now))
}

/// An automatic account needs something to log in with.
fn can_log_in(credentials: &CredentialsRecord, token: bool) -> Result<(), AccountError> {
    let set = set_of(credentials);
    let lacks = login_lacks(|secret| set.contains_key(&secret), token);
    if lacks.is_empty() { Ok(()) } else { Err(AccountError::Lacks(lacks)) }
}

/// The same, after secrets were taken away.
fn can_still_log_in(credentials: &CredentialsRecord, token: bool) -> Result<(), AccountError> {
    can_log_in(credentials, token).map_err(|_| AccountError::Invalid {
        field: "remove",
        why: Invalid::new(
            "DHAN_V2_AT_IPV6 logs in by PIN and TOTP, or by API key and secret, and neither would be left whole; change \
             the platform to DHAN_V2_IPV6 in the same call, or remove both of what belongs together",
        ),
    })
}
