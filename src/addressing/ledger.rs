//! The ledger: every pool, and who holds which address. In memory; what is durable is in the store.

use std::collections::{BTreeMap, HashMap};

use super::prefix::Prefixes;
use crate::domain::{AccountName, ClientId, Pair, SourceAddr};
use crate::host::Own;
use crate::store::records::AddressRecord;

/// How an address is not free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// An account has it.
    By(AccountName),
    /// An account had it; the broker may remember.
    Retired(AccountName),
    /// Another request is about to take it.
    Reserved,
}

impl std::fmt::Display for Occupancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::By(account) => write!(f, "held by account {account}"),
            Self::Retired(account) => {
                write!(f, "retired from account {account}: the broker has seen it, so nobody else gets it")
            }
            Self::Reserved => f.write_str("just being assigned"),
        }
    }
}

/// Who holds an address. A retired one may go back to the same account of the
/// same broker customer, and to nobody else.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) held: Occupancy,
    pub(super) client_id: Option<ClientId>,
}

impl From<AddressRecord> for Holder {
    fn from(record: AddressRecord) -> Self {
        let held = match record.retired_at {
            None => Occupancy::By(record.account),
            Some(_) => Occupancy::Retired(record.account),
        };
        Self { held, client_id: Some(record.client_id) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) holders: HashMap<SourceAddr, Holder>,
}

impl Ledger {
    /// Set or clear an address's holder, and keep the pools' counts in step.
    pub(super) fn set_holder(&mut self, address: SourceAddr, holder: Option<Holder>) {
        let counts = |holder: &Holder| !matches!(holder.held, Occupancy::Retired(_));
        let now = holder.as_ref().is_some_and(counts);
        let before = match holder {
            Some(holder) => self.holders.insert(address, holder),
            None => self.holders.remove(&address),
        };
        let before = before.as_ref().is_some_and(counts);
        if let Some(pool) = self.pools.values_mut().find(|pool| pool.prefixes.primary.contains(&address.ip())) {
            pool.assigned = pool.assigned + u64::from(now) - u64::from(before && pool.assigned > 0);
        }
    }

    /// Why a pool of these prefixes has no pair to give, and what to do.
    pub(super) fn why_none(&self, prefixes: &Prefixes, own: &Own) -> String {
        let (mut given, mut reserved, mut retired, mut kept, mut pairs) = (0u64, 0u64, 0u64, None, 0u64);
        let few = u128::try_from(self.holders.len()).unwrap_or(u128::MAX).saturating_add(1 << 10);
        for pair in (0..prefixes.size().min(few)).filter_map(|index| prefixes.pair(index)) {
            pairs += 1;
            let held =
                [pair.primary, pair.secondary].map(|address| self.holders.get(&address).map(|holder| &holder.held));
            match held {
                [None, None] => {
                    kept = kept.or_else(|| own.keeps(pair.primary).or_else(|| own.keeps(pair.secondary)));
                }
                [Some(Occupancy::By(_)), _] | [_, Some(Occupancy::By(_))] => given += 1,
                [Some(Occupancy::Reserved), _] | [_, Some(Occupancy::Reserved)] => reserved += 1,
                [Some(Occupancy::Retired(_)), _] | [_, Some(Occupancy::Retired(_))] => retired += 1,
            }
        }
        if pairs == 0 {
            return format!(
                "no address of {} that may be given has one of {} beside it (the first address of a prefix is its \
                 routers'); give two prefixes of the same length, /127 or shorter",
                prefixes.primary, prefixes.secondary
            );
        }
        let mut parts = Vec::with_capacity(4);
        if given > 0 {
            parts.push(format!("{given} held by accounts"));
        }
        if reserved > 0 {
            parts.push(format!(
                "{reserved} set aside for ten minutes while somebody fills in a form, and free again then"
            ));
        }
        if retired > 0 {
            parts.push(format!("{retired} an account's before (the broker has seen them, so nobody else gets them)"));
        }
        parts.extend(kept);
        format!(
            "pairs: {pairs}; {}; make another pool of prefixes that are routed here (sixgate pool create), or bring \
             a pair along",
            parts.join(", ")
        )
    }

    /// Add a pool; what was brought along from its prefix earlier counts.
    pub(super) fn add_pool(&mut self, name: &str, prefixes: Prefixes) {
        let mut pool = Pool::new(prefixes);
        let held = |(address, holder): &(&SourceAddr, &Holder)| {
            prefixes.primary.contains(&address.ip()) && !matches!(holder.held, Occupancy::Retired(_))
        };
        pool.assigned = u64::try_from(self.holders.iter().filter(held).count()).unwrap_or(u64::MAX);
        self.pools.insert(name.to_owned(), pool);
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) prefixes: Prefixes,
    /// Pairs in all; counted once, because counting takes a while.
    pub(super) capacity: u128,
    pub(super) cursor: u128,
    /// Primaries that are held or reserved.
    pub(super) assigned: u64,
}

impl Pool {
    pub(super) fn new(prefixes: Prefixes) -> Self {
        Self { prefixes, capacity: prefixes.capacity(), cursor: 0, assigned: 0 }
    }

    /// The pair that [`Pool::next`] would give.
    pub(super) fn peek(&mut self, holders: &HashMap<SourceAddr, Holder>, own: &Own) -> Option<Pair> {
        let cursor = self.cursor;
        let next = self.next(holders, own);
        self.cursor = cursor;
        next
    }

    /// The next pair whose two addresses nobody has or had, and that this host and its routers do not use.
    pub(super) fn next(&mut self, holders: &HashMap<SourceAddr, Holder>, own: &Own) -> Option<Pair> {
        let free = |pair: &Pair| {
            [pair.primary, pair.secondary]
                .iter()
                .all(|address| !holders.contains_key(address) && own.keeps(*address).is_none())
        };
        let size = self.prefixes.size();
        while self.cursor < size {
            let index = self.cursor;
            self.cursor = self.prefixes.next_usable(index + 1);
            if let Some(pair) = self.prefixes.pair(index).filter(free) {
                return Some(pair);
            }
        }
        // At the end: what was skipped earlier. There can be no more indexes taken
        // than there are holders, so this ends soon however large the pool is.
        let limit = u128::try_from(holders.len()).unwrap_or(u128::MAX).saturating_add(1 << 10);
        (0..size.min(limit)).filter_map(|index| self.prefixes.pair(index)).find(free)
    }
}
