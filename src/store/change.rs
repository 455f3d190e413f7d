//! Change: what happens together, and what must be true for it to happen.
//!
//! A change that cannot be stored (too long) says so when it is committed, so that
//! building one stays a chain of calls.
//!
//! Not here: checking guards and writing (`writer`).

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::StoreError;
use super::records::{self, Record, RecordKey, Tree};

/// The longest change in bytes of its keys and values.
const MAX_CHANGE: usize = 1024 * 1024;

/// A set of writes that happen together, and what must be true for them to happen.
/// Guards look at the state before the change, wherever they stand in it; of two
/// writes to one key the later one counts.
#[derive(Default)]
#[must_use = "a change does nothing until it is committed"]
pub struct Change {
    pub(super) ops: Vec<Op>,
    pub(super) bytes: usize,
    problem: Option<StoreError>,
}

pub(super) enum Op {
    Put { tree: Tree, key: Arc<[u8]>, plain: Zeroizing<Vec<u8>> },
    Delete { key: Arc<[u8]> },
    Guard { tree: Tree, key: Arc<[u8]>, shown: String, want: Want },
}

/// Physical key and plaintext.
type Encoded = (Arc<[u8]>, Zeroizing<Vec<u8>>);

pub(super) enum Want {
    Absent,
    Present,
    Same(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("operations", &self.ops.len()).finish_non_exhaustive()
    }
}

impl Change {
    /// An empty change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Write a record, over whatever is there.
    pub fn put<R: Record>(mut self, key: &R::Key, record: &R) -> Self {
        if let Some((physical, plain)) = self.encoded(key, record) {
            self.ops.push(Op::Put { tree: R::TREE, key: physical, plain });
        }
        self
    }

    /// Delete a record; a missing one is fine.
    pub fn delete<R: Record>(mut self, key: &R::Key) -> Self {
        if let Some(key) = self.key::<R>(key) {
            self.ops.push(Op::Delete { key });
        }
        self
    }

    /// Only if there is no such record.
    pub fn absent<R: Record>(self, key: &R::Key) -> Self {
        self.guard::<R>(key, Want::Absent)
    }

    /// Only if there is such a record.
    pub fn present<R: Record>(self, key: &R::Key) -> Self {
        self.guard::<R>(key, Want::Present)
    }

    /// Only if the stored record is this one.
    pub fn unchanged<R: Record>(mut self, key: &R::Key, record: &R) -> Self {
        match self.encoded(key, record) {
            Some((_, plain)) => self.guard::<R>(key, Want::Same(plain)),
            None => self,
        }
    }

    fn guard<R: Record>(mut self, key: &R::Key, want: Want) -> Self {
        if let Some(physical) = self.key::<R>(key) {
            self.ops.push(Op::Guard { tree: R::TREE, key: physical, shown: key.show(), want });
        }
        self
    }

    fn encoded<R: Record>(&mut self, key: &R::Key, record: &R) -> Option<Encoded> {
        let physical = self.key::<R>(key)?;
        let Some(plain) = records::encode(record) else {
            self.problem.get_or_insert_with(|| too_large::<R>(key));
            return None;
        };
        self.bytes += plain.len();
        Some((physical, plain))
    }

    fn key<R: Record>(&mut self, key: &R::Key) -> Option<Arc<[u8]>> {
        let physical = records::physical::<R>(key);
        if physical.len() > records::MAX_KEY {
            self.problem.get_or_insert_with(|| too_large::<R>(key));
            return None;
        }
        self.bytes += physical.len();
        Some(physical.into())
    }

    pub(super) fn checked(mut self) -> Result<Self, StoreError> {
        match self.problem.take() {
            Some(problem) => Err(problem),
            None if self.bytes > MAX_CHANGE => {
                Err(StoreError::TooLarge { tree: "change", key: format!("of {} bytes", self.bytes) })
            }
            None => Ok(self),
        }
    }
}

fn too_large<R: Record>(key: &R::Key) -> StoreError {
    StoreError::TooLarge { tree: R::TREE.name(), key: key.show().chars().take(80).collect() }
}
