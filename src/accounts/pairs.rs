//! Giving an account its pair, and taking it away.

use jiff::Timestamp;

use super::tombstone::{holders, tombstone};
use super::{AccountError, Accounts};
use crate::domain::{AccountName, Pair};
use crate::store::Change;
use crate::store::records::{AccountRecord, AddressRecord, PairRecord};

/// What came of asking for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The account's pair.
    pub pair: Pair,
    /// Was it assigned just now?
    pub new: bool,
}

impl Accounts {
    /// Assign the next free pair, of `pool` or of any. An account that has a pair keeps it.
    ///
    /// # Errors
    /// [`AccountError`]: no such account, no pool, nothing free.
    pub async fn assign_next(&self, name: &AccountName, pool: Option<&str>) -> Result<Assigned, AccountError> {
        let _turn = self.turns.of(name).await;
        let record = self.stored(name)?;
        if let Some(has) = self.store.get::<PairRecord>(name)? {
            return match (pool, &has.pool) {
                (Some(wanted), from) if from.as_deref() != Some(wanted) => Err(AccountError::HasPair(name.clone())),
                _ => Ok(Assigned { pair: has.pair, new: false }),
            };
        }
        self.tend_reservations();
        let reserved = self.addressing.reserve_next(pool)?;
        self.assign(name, record, reserved).await
    }

    /// Assign a pair that was brought along.
    ///
    /// # Errors
    /// [`AccountError`]: no such account, an address that somebody has or had.
    pub async fn assign_given(&self, name: &AccountName, pair: Pair) -> Result<Assigned, AccountError> {
        let _turn = self.turns.of(name).await;
        let record = self.stored(name)?;
        if let Some(has) = self.store.get::<PairRecord>(name)? {
            let same = has.pair == pair;
            return if same { Ok(Assigned { pair, new: false }) } else { Err(AccountError::HasPair(name.clone())) };
        }
        let reserved = match self.take_reserved(pair) {
            Some(reserved) => reserved,
            None => self.addressing.reserve_given(pair, name, &record.client_id)?,
        };
        self.assign(name, record, reserved).await
    }

    pub(super) async fn assign(
        &self,
        name: &AccountName,
        account: AccountRecord,
        reserved: crate::addressing::Reservation,
    ) -> Result<Assigned, AccountError> {
        let pair = reserved.pair();
        let mut change = Change::new().unchanged(name, &account).absent::<PairRecord>(name);
        let mut first_given = true;
        for (role, address) in holders(&pair) {
            let holder =
                AddressRecord { account: name.clone(), client_id: account.client_id.clone(), role, retired_at: None };
            let own = |was: &AddressRecord| {
                was.retired_at.is_some() && was.account == *name && was.client_id == account.client_id
            };
            let was = self.store.get::<AddressRecord>(&address)?;
            first_given &= was.is_none();
            change = match was {
                // The same customer's tombstone, and nothing else.
                Some(was) if own(&was) => change.unchanged(&address, &was),
                Some(_) | None => change.absent::<AddressRecord>(&address),
            };
            change = change.put(&address, &holder);
        }
        let pool = reserved.pool().map(str::to_owned);
        change = change.put(name, &PairRecord { pair, pool, assigned_at: Timestamp::now(), first_given });
        self.commit(name, change).await?;
        // It looks into the store, which now says whose the pair is.
        drop(reserved);
        self.publish(name)?;
        Ok(Assigned { pair, new: true })
    }

    /// Take an account's pair away. Its addresses stay, as tombstones.
    ///
    /// # Errors
    /// [`AccountError::NoPair`].
    pub async fn retire_pair(&self, name: &AccountName) -> Result<(), AccountError> {
        let _turn = self.turns.of(name).await;
        let record = self.stored(name)?;
        let pair = self.store.get::<PairRecord>(name)?.ok_or_else(|| AccountError::NoPair(name.clone()))?;
        let change = Change::new().unchanged(name, &record).unchanged(name, &pair);
        self.commit(name, tombstone(change, name, &record.client_id, &pair)).await?;
        self.addressing.refresh_holders(pair.pair);
        self.publish(name)?;
        Ok(())
    }

    /// The pair as stored, with its pool.
    ///
    /// # Errors
    /// [`AccountError::Store`].
    pub fn pair(&self, name: &AccountName) -> Result<Option<PairRecord>, AccountError> {
        Ok(self.store.get::<PairRecord>(name)?)
    }
}
