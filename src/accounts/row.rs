//! How an account's row is published.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use jiff::Timestamp;

use super::login_secrets::set_of;
use super::{Account, AccountError, Accounts, ClientKeys};
use crate::domain::AccountName;
use crate::domain::lock;
use crate::domain::problem::Invalid;
use crate::legs::Legs;
use crate::store::records::{AccountRecord, CredentialsRecord, HaltRecord, PairRecord, TokenRecord};
use crate::tokens::LiveToken;
use crate::tokens::keeper::{KeptAccount, Setup};
use crate::tokens::lifecycle::LoginMethods;

impl Accounts {
    /// Build the row from what the store holds now, and swap it in.
    #[expect(clippy::too_many_lines, reason = "a row is built in one order, under one lock")]
    pub(super) fn publish(&self, name: &AccountName) -> Result<Option<Arc<Account>>, AccountError> {
        let _in_order = lock(&self.publishing);
        let rows = self.rows.pin();
        let last = rows.get(name);
        let Some(mut record) = self.store.get::<AccountRecord>(name)? else {
            let gone = last.cloned();
            rows.remove(name);
            if let Some(gone) = gone {
                gone.end();
                gone.replaced().cancel();
            }
            return Ok(None);
        };
        let halt = self.unsaved.of(name, &record);
        let halt_unsaved = halt.is_some() && record.halted.is_none();
        // One of its own takes the place of one that came with the halt of all.
        let is_news = |halt: &HaltRecord| record.halted.as_ref().is_none_or(|old| old.of_all && !halt.of_all);
        record.halted = halt.filter(is_news).or(record.halted);
        // A row of the same name that was made anew, or for another customer, shares nothing.
        let same = |old: &&Arc<Account>| {
            old.record.client_id == record.client_id && old.record.created_at == record.created_at
        };
        let old = last.filter(same);
        let pair = self.store.get::<PairRecord>(name)?.map(|record| record.pair);
        let legs = pair.map(|pair| match old.and_then(|old| old.legs.as_ref()) {
            Some(legs) if legs.pair() == pair => Arc::clone(legs),
            _ => Legs::new(name, &pair, &self.supervisor),
        });
        if let Some(legs) = &legs {
            legs.set_pin(record.pin);
        }
        let stored = self.store.get::<TokenRecord>(name)?;
        // Its place may hold a later token than the store, if that could not be written: it goes on signing.
        let kept = old;
        let token = kept.map(|old| Arc::clone(&old.token)).unwrap_or_default();
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
        let credentials = self.store.get::<CredentialsRecord>(name)?.unwrap_or_default();
        let means = means(&credentials, &record, legs.is_some());
        let keeper = match kept {
            Some(old) => {
                old.keeper.set_up(means, legs.clone());
                Arc::clone(&old.keeper)
            }
            None => {
                let account = KeptAccount {
                    name: name.clone(),
                    client_id: record.client_id.clone(),
                    created_at: record.created_at,
                };
                let setup = Setup { means, legs: legs.clone(), credentials: 0, tries: 0 };
                self.keepers.keep(account, Arc::clone(&token), setup)
            }
        };
        let repeats = kept.map(|old| Arc::clone(&old.repeats)).unwrap_or_default();
        let row = Arc::new(Account {
            name: name.clone(),
            record,
            halt_unsaved,
            client_id_header,
            legs,
            token,
            keeper,
            keys,
            repeats,
            last_request: kept.map(|old| Arc::clone(&old.last_request)).unwrap_or_default(),
            streams: kept.map(|old| Arc::clone(&old.streams)).unwrap_or_default(),
            secrets: set_of(&credentials),
            validated: kept.map(|old| Arc::clone(&old.validated)).unwrap_or_default(),
            registration: kept.map(|old| Arc::clone(&old.registration)).unwrap_or_default(),
            elsewhere: kept.map(|old| Arc::clone(&old.elsewhere)).unwrap_or_default(),
            replaced: OnceLock::new(),
        });
        if let Some(last) = last {
            // What was opened by legs that are gone ends, not only what comes after.
            let kept = |legs: &Arc<Legs>| row.legs.as_ref().is_some_and(|new| Arc::ptr_eq(new, legs));
            if let Some(legs) = last.legs.as_ref().filter(|legs| !kept(legs)) {
                legs.end();
            }
            if old.is_none() {
                last.keys.end();
            }
            if !Arc::ptr_eq(&last.keeper, &row.keeper) {
                last.keeper.end();
            }
        }
        let last = last.cloned();
        rows.insert(name.clone(), Arc::clone(&row));
        if let Some(last) = last {
            // After the new one is there to be found: who is woken looks for it.
            last.replaced().cancel();
        }
        Ok(Some(row))
    }
}

const fn means(known: &CredentialsRecord, record: &AccountRecord, pair: bool) -> LoginMethods {
    LoginMethods {
        platform: record.platform,
        pin_totp: known.pin.is_some() && known.totp_secret.is_some(),
        consent: known.api_key.is_some() && known.api_secret.is_some(),
        pair,
    }
}
