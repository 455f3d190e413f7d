//! Table: everything the store holds, in memory. Reads are served from here.
//!
//! Invariants:
//! - An entry is here only once it is durable.
//! - Values of secret trees stay sealed here; the others are plain.
//! - Only the writer changes the table.
//! - The lock is held for a look or a change, never while many entries are passed
//!   over: whoever needs those takes a snapshot, which shares all of them.
//!
//! Not here: who may change what (`writer`), bytes on disk (`backend`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::domain::lock;

use super::records::{self, Record, SequenceRecord, Tree};
use super::seal::{SealError, Sealer};

/// A physical key and its value as it is held.
pub(super) type TableEntry = (Arc<[u8]>, Arc<[u8]>);

/// All of them. A clone shares them, and costs the same however many there are.
pub(super) type TableEntries = imbl::OrdMap<Arc<[u8]>, Arc<[u8]>>;

/// All there is.
#[derive(Clone, Default)]
pub(super) struct StoreTable {
    pub(super) entries: TableEntries,
}

impl StoreTable {
    /// The number of the last group of changes.
    pub(super) fn sequence(&self) -> u64 {
        let held = self.entries.get(sequence_key().as_slice());
        held.and_then(|held| records::decode::<SequenceRecord>(held)).map_or(0, |record| record.sequence)
    }
}

pub(super) fn sequence_key() -> Vec<u8> {
    records::physical::<SequenceRecord>(&"sequence".into())
}

pub(super) fn meta_key() -> Vec<u8> {
    records::physical::<records::MetaRecord>(&"store".into())
}

/// How a value from disk is held.
///
/// # Errors
/// When it does not open there.
pub(super) fn hold(sealer: &Sealer, physical: &[u8], sealed: &[u8]) -> Result<Arc<[u8]>, SealError> {
    let (tree, key) = Tree::split(physical).ok_or(SealError::Refused)?;
    let plain = sealer.open_record(tree.name(), key, sealed)?;
    Ok(if tree.is_secret() { sealed.into() } else { plain.as_slice().into() })
}

/// How a new value is held.
pub(super) fn hold_new(sealer: &Sealer, tree: Tree, physical: &[u8], plain: &[u8]) -> Arc<[u8]> {
    if tree.is_secret() {
        let key = physical.get(1..).unwrap_or_default();
        sealer.seal_record(tree.name(), key, plain).into()
    } else {
        plain.into()
    }
}

/// A held value as it goes to disk.
pub(super) fn sealed(sealer: &Sealer, physical: &[u8], held: &[u8]) -> Vec<u8> {
    match Tree::split(physical) {
        Some((tree, key)) if !tree.is_secret() => sealer.seal_record(tree.name(), key, held),
        Some(_) | None => held.to_vec(),
    }
}

/// Is a held value this plaintext?
pub(super) fn is_same(sealer: &Sealer, tree: Tree, physical: &[u8], held: &[u8], plain: &[u8]) -> bool {
    if !tree.is_secret() {
        return held == plain;
    }
    let key = physical.get(1..).unwrap_or_default();
    sealer.open_record(tree.name(), key, held).is_ok_and(|opened| opened.as_slice() == plain)
}

/// The table and what reading it takes.
pub(super) struct Shared {
    table: RwLock<StoreTable>,
    pub(super) sealer: Sealer,
    /// Why the last change could not be written, and what to do.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(table: StoreTable, sealer: Sealer) -> Self {
        Self { table: RwLock::new(table), sealer, trouble: Mutex::default() }
    }

    /// Why changes cannot be written now, and what to do; `None` while they can.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// Take up that they cannot, or can again. Was it otherwise before?
    pub(super) fn set_trouble(&self, why: Option<String>) -> bool {
        let mut trouble = lock(&self.trouble);
        let is_news = trouble.is_some() != why.is_some();
        *trouble = why;
        is_news
    }

    /// A panic elsewhere cannot leave the table half changed: changes are moves of whole values.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, StoreTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Make a durable change visible, all of it at once.
    pub(super) fn publish(&self, change: BTreeMap<Arc<[u8]>, Option<Arc<[u8]>>>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for (key, held) in change {
            match held {
                Some(held) => drop(table.entries.insert(key, held)),
                None => drop(table.entries.remove(&key)),
            }
        }
    }

    /// Everything at one moment. Entries are shared, not copied.
    pub(super) fn snapshot(&self) -> StoreTable {
        self.read().clone()
    }

    /// Entries of one tree after a key, up to a number of them.
    pub(super) fn range<R: Record>(&self, after: Option<&R::Key>, limit: usize) -> Vec<TableEntry> {
        let from = match after {
            Some(key) => Bound::Excluded(records::physical::<R>(key)),
            None => Bound::Included(vec![R::TREE.id()]),
        };
        let table = self.snapshot();
        let all = table.entries.range::<_, [u8]>((from.as_ref().map(Vec::as_slice), Bound::Unbounded));
        let tree = all.take_while(|(key, _)| key.first() == Some(&R::TREE.id()));
        tree.take(limit).map(|(key, held)| (Arc::clone(key), Arc::clone(held))).collect()
    }

    /// How many records a tree has.
    pub(super) fn count<R: Record>(&self) -> usize {
        let table = self.snapshot();
        let (from, to) = ([R::TREE.id()], [R::TREE.id() + 1]);
        table.entries.range::<_, [u8]>((Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()))).count()
    }
}
