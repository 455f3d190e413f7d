//! An account's row: what the order path needs of it.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::keys::ClientKeys;
use super::last_request::LastRequest;
use super::login_secrets::SecretsSet;
use super::seen_registration::SeenRegistration;
use super::validate::Validated;
use crate::domain::{AccountName, ClientId};
use crate::legs::Legs;
use crate::orders::day::Repeats;
use crate::store::records::AccountRecord;
use crate::tokens::{Keeper, TokenCell};

/// What the order path needs of an account.
#[derive(Debug)]
pub struct Account {
    /// The account's name with us.
    pub name: AccountName,
    /// The stored record.
    pub record: AccountRecord,
    /// It is halted, and that could not be saved yet.
    pub halt_unsaved: bool,
    /// The broker's id, ready as a header.
    pub client_id_header: HeaderValue,
    /// The two ways out, once a pair is assigned.
    pub legs: Option<Arc<Legs>>,
    /// Where its token is.
    pub token: Arc<TokenCell>,
    /// Who keeps that alive.
    pub keeper: Arc<Keeper>,
    /// Hashes of its client keys.
    pub keys: ClientKeys,
    /// How many of today's writes were answered with what became of an earlier one.
    pub repeats: Arc<Repeats>,
    /// When a caller last asked for something of it.
    pub last_request: Arc<LastRequest>,
    /// Which secrets of its login are set.
    pub secrets: SecretsSet,
    /// What the last validation found. In memory only: after a restart nobody has looked.
    pub validated: Arc<ArcSwapOption<Validated>>,
    /// What the broker was last seen to hold for it.
    pub registration: Arc<SeenRegistration>,
    /// Made when somebody waits for it: ten thousand accounts are idle.
    pub(super) replaced: OnceLock<CancellationToken>,
}

impl Account {
    /// The broker's id.
    pub const fn client_id(&self) -> &ClientId {
        &self.record.client_id
    }

    /// Names the settings as they are now: another after each change of them, and for an account that was made anew.
    /// What is no setting (halt, pin, pair, keys, tokens) does not count.
    pub fn version(&self) -> String {
        version_of(&self.record)
    }

    /// Cancelled when this row is one no longer: the account was changed, halted or deleted, or a key of it was.
    pub fn replaced(&self) -> &CancellationToken {
        self.replaced.get_or_init(CancellationToken::new)
    }

    /// End what is open for it.
    pub(super) fn end(&self) {
        self.keys.end();
        self.keeper.end();
        if let Some(legs) = &self.legs {
            legs.end();
        }
    }
}

/// See [`Account::version`].
pub(super) fn version_of(record: &AccountRecord) -> String {
    format!("{:x}.{}", record.created_at.as_microsecond(), record.changes)
}
