//! Pools, and who holds which address.
//!
//! Invariants:
//! - An address is held by one account, or was, or is nobody's. Once held it is
//!   never given to another account, because the broker has seen it.
//! - Choosing an address and writing it down are two steps; in between it is
//!   reserved here, and the store's guard refuses it a second time all the same.
//! - What is held here is what the store says. A reservation ends by looking there
//!   again, however it ends, so that a call that was cut off half-way leaves no
//!   address marked free that an account has.
//!
//! - A router's address is nobody's. One that this host uses itself is given only to whoever brings it along: on a
//!   machine with few addresses that may be all there is, and it does no other account harm.
//!
//! Choosing takes constant time: every pool has a cursor that only moves on (after
//! a start it passes once over what is assigned). What it skipped is looked for
//! once it is at the end.

mod around;
mod error;
mod ledger;
mod listing;
mod prefix;

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::Ipv6Net;

use crate::domain::problem::Invalid;
use crate::domain::{AccountName, ClientId, Pair, SourceAddr, lock};
use crate::store::Store;
use crate::store::records::{AddressRecord, PoolRecord};

use around::Around;
use ledger::{Holder, Ledger, Pool};

pub use error::AddressingError;
pub use ledger::Occupancy;
pub use listing::{Found, PoolRoom, WantedAddresses};
pub use prefix::Prefixes;

/// A pool as the API shows it.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// The pool's name.
    pub name: String,
    /// The two prefixes that its pairs are taken from.
    pub prefixes: Prefixes,
    /// Pairs it can give in all.
    pub capacity: u128,
    /// Pairs accounts have whose primary is in it, brought along or not.
    pub assigned: u64,
}

/// Pools and holders, as the store has them plus what is being assigned.
#[derive(Clone, Debug)]
pub struct Addressing {
    ledger: Arc<Mutex<Ledger>>,
    store: Store,
    /// One pool is made or deleted at a time, its write to the disk included: else
    /// memory and disk could see two of them in different orders.
    changing_pools: Arc<tokio::sync::Mutex<()>>,
    around: Arc<Around>,
    /// The sandbox without privileges shares `::1`; nobody else may have it.
    loopback: bool,
}

/// A pair set aside until it is dropped: written down by then, or free again.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    pair: Pair,
    pool: Option<String>,
    addressing: Addressing,
}

impl Addressing {
    /// Read pools, pairs and tombstones from the store.
    ///
    /// # Errors
    /// [`AddressingError::Store`] when a record cannot be read.
    pub fn new(store: Store, loopback: bool) -> Result<Self, AddressingError> {
        let mut ledger = Ledger::default();
        for (name, record) in store.scan::<PoolRecord>()? {
            ledger.pools.insert(name, Pool::new(Prefixes::stored(record.primary, record.secondary)));
        }
        for (address, record) in store.scan::<AddressRecord>()? {
            ledger.set_holder(address, Some(record.into()));
        }
        Ok(Self {
            ledger: Arc::new(Mutex::new(ledger)),
            store,
            changing_pools: Arc::default(),
            around: Arc::default(),
            loopback,
        })
    }

    /// From now on the kernel is asked which addresses are this host's and its routers' own. `outside` is any address
    /// that is not on this host.
    pub fn enable_host_lookup(&self, outside: Ipv6Addr) {
        self.around.enable_host_lookup(outside);
    }

    /// Listeners of this process are bound to these addresses.
    pub fn listeners_are_at(&self, addresses: impl IntoIterator<Item = Ipv6Addr>) {
        self.around.bound_to(addresses);
    }

    /// Make a pool.
    ///
    /// # Errors
    /// [`AddressingError`]: invalid prefixes, a taken name, an overlap, no pair that it could give.
    pub async fn create_pool(&self, name: &str, primary: Ipv6Net, secondary: Ipv6Net) -> Result<(), AddressingError> {
        AccountName::parse(name).map_err(|_| AddressingError::Invalid {
            field: "name",
            why: Invalid::new("a pool name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit"),
        })?;
        let prefixes =
            Prefixes::new(primary, secondary).map_err(|(field, why)| AddressingError::Invalid { field, why })?;
        let _turn = self.changing_pools.lock().await;
        let own = self.around.own();
        {
            let ledger = self.lock();
            if ledger.pools.contains_key(name) {
                return Err(AddressingError::PoolExists(name.to_owned()));
            }
            if let Some((other, _)) = ledger.pools.iter().find(|(_, pool)| pool.prefixes.overlaps(&prefixes)) {
                return Err(AddressingError::Overlap { name: name.to_owned(), other: other.clone() });
            }
            if Pool::new(prefixes).next(&ledger.holders, &own).is_none() {
                let why = ledger.why_none(&prefixes, &own);
                return Err(AddressingError::NoRoom { name: name.to_owned(), why });
            }
        }
        let record = PoolRecord { primary, secondary, created_at: jiff::Timestamp::now() };
        let key = name.to_owned();
        let change = crate::store::Change::new().absent::<PoolRecord>(&key).put(&key, &record);
        self.store.commit(change).await?;
        // Only now: a pair must not be from a pool that a stop would undo.
        self.lock().add_pool(name, prefixes);
        Ok(())
    }

    /// Remove a pool that has no pairs.
    ///
    /// # Errors
    /// [`AddressingError::NoSuchPool`], [`AddressingError::NotEmpty`].
    pub async fn delete_pool(&self, name: &str) -> Result<(), AddressingError> {
        let _turn = self.changing_pools.lock().await;
        let removed = {
            let mut ledger = self.lock();
            let pool = ledger.pools.get(name).ok_or_else(|| AddressingError::NoSuchPool(name.to_owned()))?;
            if pool.assigned > 0 {
                return Err(AddressingError::NotEmpty { name: name.to_owned(), pairs: pool.assigned });
            }
            ledger.pools.remove(name)
        };
        let done = self.store.commit(crate::store::Change::new().delete::<PoolRecord>(&name.to_owned())).await;
        if let (Err(_), Some(pool)) = (&done, removed) {
            self.lock().add_pool(name, pool.prefixes);
        }
        Ok(done?)
    }

    /// Every pool, by name.
    pub fn pools(&self) -> Vec<PoolView> {
        let view = |(name, pool): (&String, &Pool)| PoolView {
            name: name.clone(),
            prefixes: pool.prefixes,
            capacity: pool.capacity,
            assigned: pool.assigned,
        };
        self.lock().pools.iter().map(view).collect()
    }

    /// Set the next free pair aside, of one pool or of the first that has one.
    ///
    /// # Errors
    /// [`AddressingError::NoPool`], [`AddressingError::NoSuchPool`], [`AddressingError::Exhausted`].
    pub fn reserve_next(&self, pool: Option<&str>) -> Result<Reservation, AddressingError> {
        let own = self.around.own();
        let mut guard = self.lock();
        let ledger = &mut *guard;
        let names: Vec<String> = match pool {
            Some(name) if ledger.pools.contains_key(name) => vec![name.to_owned()],
            Some(name) => return Err(AddressingError::NoSuchPool(name.to_owned())),
            None => ledger.pools.keys().cloned().collect(),
        };
        let mut last = AddressingError::NoPool;
        for name in names {
            let Some(pool) = ledger.pools.get_mut(&name) else { continue };
            if let Some(pair) = pool.next(&ledger.holders, &own) {
                return Ok(self.reserve(ledger, pair, Some(name)));
            }
            let prefixes = pool.prefixes;
            let why = ledger.why_none(&prefixes, &own);
            last = AddressingError::Exhausted { name, why };
        }
        Err(last)
    }

    /// Set a pair aside that was brought along. A retired address goes back only
    /// to the account and broker customer that had it.
    ///
    /// # Errors
    /// [`AddressingError::Taken`], [`AddressingError::Invalid`].
    pub fn reserve_given(
        &self,
        pair: Pair,
        account: &AccountName,
        client_id: &ClientId,
    ) -> Result<Reservation, AddressingError> {
        let invalid = |field, text| Err(AddressingError::Invalid { field, why: Invalid::new(text) });
        for (field, address) in [("primary", pair.primary), ("secondary", pair.secondary)] {
            if address.ip().is_loopback() && !self.loopback {
                return invalid(field, "::1 does not leave this host");
            }
            if let Some(why) = self.around.own().forbids(address) {
                return Err(AddressingError::Invalid { field, why: Invalid::because(why) });
            }
        }
        if pair.primary == pair.secondary && !pair.primary.ip().is_loopback() {
            return invalid("secondary", "the secondary must differ from the primary");
        }
        let mut ledger = self.lock();
        for address in [pair.primary, pair.secondary] {
            let own = |h: &Holder| {
                matches!(&h.held, Occupancy::Retired(was) if was == account) && h.client_id.as_ref() == Some(client_id)
            };
            if let Some(holder) = ledger.holders.get(&address)
                && !own(holder)
            {
                return Err(AddressingError::Taken { address, held: holder.held.clone() });
            }
        }
        let pool = ledger.pools.iter().find(|(_, pool)| pool.prefixes.hold(&pair)).map(|(name, _)| name.clone());
        Ok(self.reserve(&mut ledger, pair, pool))
    }

    /// Take over what the store says of the addresses of a pair.
    pub fn refresh_holders(&self, pair: Pair) {
        let mut ledger = self.lock();
        for address in [pair.primary, pair.secondary] {
            match self.store.get::<AddressRecord>(&address) {
                Ok(record) => ledger.set_holder(address, record.map(Holder::from)),
                // Never free what cannot be read.
                Err(err) => tracing::error!(%address, error = %err, "who holds an address cannot be read"),
            }
        }
    }

    /// Is an address another account's than this customer's `account`, or was it, or is it
    /// just being given away?
    pub fn is_anothers(&self, address: Ipv6Addr, account: &AccountName, client_id: &ClientId) -> bool {
        let Some(address) = SourceAddr::new(address).ok() else { return false };
        self.lock().holders.get(&address).is_some_and(|holder| match &holder.held {
            Occupancy::By(holder_name) => holder_name != account,
            Occupancy::Retired(was) => was != account || holder.client_id.as_ref() != Some(client_id),
            Occupancy::Reserved => true,
        })
    }

    /// Does an account leave from this address, or is it just being given one?
    pub fn is_held(&self, address: Ipv6Addr) -> bool {
        let Ok(address) = SourceAddr::new(address) else { return false };
        let ledger = self.lock();
        ledger.holders.get(&address).is_some_and(|holder| !matches!(holder.held, Occupancy::Retired(_)))
    }

    fn reserve(&self, ledger: &mut Ledger, pair: Pair, pool: Option<String>) -> Reservation {
        for address in [pair.primary, pair.secondary] {
            ledger.set_holder(address, Some(Holder { held: Occupancy::Reserved, client_id: None }));
        }
        Reservation { pair, pool, addressing: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

impl Reservation {
    /// The pair that is held.
    pub const fn pair(&self) -> Pair {
        self.pair
    }

    /// The pool it is from, if it is from one.
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.addressing.refresh_holders(self.pair);
    }
}

#[cfg(test)]
mod tests;
