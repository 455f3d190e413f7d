//! An account's row: what the order path needs of it, and how one is published.

use std::sync::{Arc, PoisonError};

use http::HeaderValue;
use jiff::Timestamp;

use super::{AccountError, Accounts, ClientKeys};
use crate::domain::problem::Invalid;
use crate::domain::{AccountName, ClientId};
use crate::legs::Legs;
use crate::store::records::{AccountRecord, PairRecord, TokenRecord};
use crate::tokens::{LiveToken, TokenCell};

/// What the order path needs of an account.
#[derive(Debug)]
pub struct Account {
    /// Our name.
    pub name: AccountName,
    /// The stored record.
    pub record: AccountRecord,
    /// The broker's id, ready as a header.
    pub client_id_header: HeaderValue,
    /// The two ways out, once a pair is assigned.
    pub legs: Option<Arc<Legs>>,
    /// Where its token is.
    pub token: Arc<TokenCell>,
    /// Hashes of its client keys.
    pub keys: ClientKeys,
}

impl Account {
    /// The broker's id.
    pub const fn client_id(&self) -> &ClientId {
        &self.record.client_id
    }

    /// End what is open for it.
    fn end(&self) {
        self.keys.end();
        if let Some(legs) = &self.legs {
            legs.end();
        }
    }
}

impl Accounts {
    /// Build the row from what the store holds now, and swap it in.
    pub(super) fn publish(&self, name: &AccountName) -> Result<Option<Arc<Account>>, AccountError> {
        let _in_order = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = self.rows.pin();
        let last = rows.get(name);
        let Some(record) = self.store.get::<AccountRecord>(name)? else {
            if let Some(gone) = last {
                gone.end();
            }
            rows.remove(name);
            return Ok(None);
        };
        // A row of the same name that was made anew, or for another customer, shares nothing.
        let same = |old: &&Arc<Account>| {
            old.record.client_id == record.client_id && old.record.created_at == record.created_at
        };
        let old = last.filter(same);
        let pair = self.store.get::<PairRecord>(name)?.map(|record| record.pair);
        let legs = pair.map(|pair| match old.and_then(|old| old.legs.as_ref()) {
            Some(legs) if legs.pair() == pair => Arc::clone(legs),
            _ => Legs::new(name, &pair, &self.attendant),
        });
        if let Some(legs) = &legs {
            legs.set_pin(record.pin);
        }
        let stored = self.store.get::<TokenRecord>(name)?;
        // A place that holds a later token than the store has would never take ours.
        let newest = stored.as_ref().map_or(0, |stored| stored.generation);
        let is_usable = |cell: &Arc<TokenCell>| cell.last().is_none_or(|token| token.generation() <= newest);
        let token = old.map(|old| Arc::clone(&old.token)).filter(is_usable).unwrap_or_default();
        if let Some(stored) = stored {
            let expires_at = Timestamp::from_second(stored.expires_at).unwrap_or(Timestamp::MIN);
            let live = LiveToken::new(stored.access_token, expires_at, stored.source, stored.generation);
            token.set(live.map_err(|why| AccountError::Invalid { field: "access_token", why })?);
        }
        let client_id_header = HeaderValue::from_str(record.client_id.as_str())
            .map_err(|_| AccountError::Invalid { field: "client_id", why: Invalid::new("cannot be a header") })?;
        let keys = ClientKeys::new(self.key_records(name)?.into_iter().map(|(_, record)| record.sha256));
        let keys = match old {
            Some(old) => keys.after(&old.keys),
            None => keys,
        };
        let row = Arc::new(Account { name: name.clone(), record, client_id_header, legs, token, keys });
        if let Some(last) = last {
            // What was opened by legs that are gone ends, not only what comes after.
            let kept = |legs: &Arc<Legs>| row.legs.as_ref().is_some_and(|new| Arc::ptr_eq(new, legs));
            if let Some(legs) = last.legs.as_ref().filter(|legs| !kept(legs)) {
                legs.end();
            }
            if old.is_none() {
                last.keys.end();
            }
        }
        rows.insert(name.clone(), Arc::clone(&row));
        Ok(Some(row))
    }
}
