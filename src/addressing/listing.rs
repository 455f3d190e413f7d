//! What pools have left, who has or had which address, and the one way by which an address is forgotten.

use std::collections::HashSet;

use super::ledger::{Ledger, Occupancy, Pool};
use super::{Addressing, AddressingError};
use crate::domain::{AccountName, Pair, SourceAddr};
use crate::store::Change;
use crate::store::records::{AddressRecord, PairRecord};

/// Records that are read at once.
const AT_ONCE: usize = 500;

/// A page of records with their keys, and the key to go on after, if there are more.
pub type Found<K, R> = (Vec<(K, R)>, Option<K>);

/// What a pool has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRoom {
    /// Pairs that it can still give, but for those that this host and its routers use themselves.
    pub free: u128,
    /// The pair that would be given now.
    pub next: Option<Pair>,
    /// Addresses of its prefixes that an account gave up: nobody else gets them.
    pub retired: u64,
    /// Pairs that are set aside and not yet an account's.
    pub reserved: u64,
}

/// Which addresses.
#[derive(Clone, Debug, Default)]
pub struct WantedAddresses {
    /// In this pool's prefixes.
    pub pool: Option<String>,
    /// Of this account, now or before.
    pub account: Option<AccountName>,
    /// Given up, or not.
    pub retired: Option<bool>,
}

impl Addressing {
    /// What a pool has left.
    ///
    /// # Errors
    /// [`AddressingError::NoSuchPool`].
    pub fn room(&self, name: &str) -> Result<PoolRoom, AddressingError> {
        let own = self.around.own();
        let mut guard = self.lock();
        let Ledger { pools, holders } = &mut *guard;
        let pool = pools.get_mut(name).ok_or_else(|| AddressingError::NoSuchPool(name.to_owned()))?;
        let (mut taken, mut retired, mut reserved) = (HashSet::new(), 0, 0);
        for (address, holder) in &*holders {
            let Some(index) = pool.prefixes.index_of(*address) else { continue };
            if pool.prefixes.pair(index).is_some() {
                taken.insert(index);
            }
            match holder.held {
                Occupancy::By(_) => {}
                Occupancy::Retired(_) => retired += 1,
                Occupancy::Reserved => reserved += u64::from(pool.prefixes.primary.contains(&address.ip())),
            }
        }
        let taken = u128::try_from(taken.len()).unwrap_or(u128::MAX);
        let free = pool.capacity.saturating_sub(taken);
        Ok(PoolRoom { free, next: pool.peek(holders, &own), retired, reserved })
    }

    /// Up to `limit` pairs of accounts whose primary is in a pool, in the order of the accounts' names, and the name to go
    /// on after.
    ///
    /// # Errors
    /// [`AddressingError::NoSuchPool`], [`AddressingError::Store`].
    pub fn pairs(
        &self,
        pool: &str,
        after: Option<&AccountName>,
        limit: usize,
    ) -> Result<Found<AccountName, PairRecord>, AddressingError> {
        let prefixes = self.prefixes(pool)?;
        let is_wanted = |(_, record): &(AccountName, PairRecord)| prefixes.primary.contains(&record.pair.primary.ip());
        let (mut found, mut after) = (Vec::new(), after.cloned());
        loop {
            let page = self.store.page::<PairRecord>(after.as_ref(), AT_ONCE)?;
            let is_last = page.len() < AT_ONCE;
            after = page.last().map(|(name, _)| name.clone());
            found.extend(page.into_iter().filter(is_wanted));
            if found.len() > limit || is_last {
                break;
            }
        }
        let next = found.get(limit.saturating_sub(1)).filter(|_| found.len() > limit).map(|(name, _)| name.clone());
        found.truncate(limit);
        Ok((found, next))
    }

    /// Up to `limit` addresses that somebody has or had, in their order, and the one to go on after.
    ///
    /// # Errors
    /// [`AddressingError::NoSuchPool`], [`AddressingError::Store`].
    pub fn addresses(
        &self,
        wanted: &WantedAddresses,
        after: Option<SourceAddr>,
        limit: usize,
    ) -> Result<Found<SourceAddr, AddressRecord>, AddressingError> {
        let prefixes = wanted.pool.as_deref().map(|pool| self.prefixes(pool)).transpose()?;
        let is_wanted = |(address, record): &(SourceAddr, AddressRecord)| {
            prefixes.is_none_or(|prefixes| prefixes.index_of(*address).is_some())
                && wanted.account.as_ref().is_none_or(|account| record.account == *account)
                && wanted.retired.is_none_or(|retired| record.retired_at.is_some() == retired)
        };
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let page = self.store.page::<AddressRecord>(after.as_ref(), AT_ONCE)?;
            let is_last = page.len() < AT_ONCE;
            after = page.last().map(|(address, _)| *address);
            found.extend(page.into_iter().filter(is_wanted));
            if found.len() > limit || is_last {
                break;
            }
        }
        let next = found.get(limit.saturating_sub(1)).filter(|_| found.len() > limit).map(|(address, _)| *address);
        found.truncate(limit);
        Ok((found, next))
    }

    /// Who has or had an address.
    ///
    /// # Errors
    /// [`AddressingError::NeverGiven`], [`AddressingError::Store`].
    pub fn holder(&self, address: SourceAddr) -> Result<AddressRecord, AddressingError> {
        self.store.get::<AddressRecord>(&address)?.ok_or(AddressingError::NeverGiven(address))
    }

    /// Forget that an account had an address: from now on anybody may get it. Only one that was given up. The broker may
    /// know it all the same.
    ///
    /// # Errors
    /// [`AddressingError::NeverGiven`], [`AddressingError::InUse`], [`AddressingError::Store`].
    pub async fn purge(&self, address: SourceAddr) -> Result<AddressRecord, AddressingError> {
        let record = self.holder(address)?;
        let held = self.lock().holders.get(&address).map(|holder| holder.held.clone());
        match held {
            Some(Occupancy::Retired(_)) if record.retired_at.is_some() => {}
            Some(Occupancy::Reserved) => return Err(AddressingError::InUse { address, held: Occupancy::Reserved }),
            Some(_) | None => {
                return Err(AddressingError::InUse { address, held: Occupancy::By(record.account) });
            }
        }
        let change = Change::new().unchanged(&address, &record).delete::<AddressRecord>(&address);
        self.store.commit(change).await?;
        let mut ledger = self.lock();
        // Whoever sets it aside just now looks into the store when that ends.
        if ledger.holders.get(&address).is_some_and(|holder| matches!(holder.held, Occupancy::Retired(_))) {
            ledger.set_holder(address, None);
        }
        Ok(record)
    }

    fn prefixes(&self, pool: &str) -> Result<super::Prefixes, AddressingError> {
        let ledger = self.lock();
        let found = ledger.pools.get(pool).map(|pool: &Pool| pool.prefixes);
        found.ok_or_else(|| AddressingError::NoSuchPool(pool.to_owned()))
    }
}
