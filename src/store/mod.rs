//! Store: what must outlive the process, kept so that "done" means "survives a power cut".
//!
//! Reads come from memory and never touch the disk. A [`Change`] goes through one
//! writer thread, which checks its guards, writes it with whatever waits beside it,
//! syncs, makes it visible and only then answers.
//!
//! Invariants:
//! - Acknowledged means durable, whole, and seen by every later read.
//! - Nothing is on disk unsealed except keys (names, addresses): a value is bound to its tree and key.
//! - One process, one store per folder. A wrong master key changes nothing.
//! - Damage is never answered with an empty store: an export is loaded and said
//!   loudly ([`Store::restored`]), or opening fails.
//! - No key, value or plaintext is in an error or `Debug` text, but names and addresses are.
//!
//! Where things are: `records` alone knows trees, keys and values; `seal` the master
//! key; `backend` what an engine must keep, `sled` and `redb` the engines; `table` the
//! memory; `change` and `writer` guards and group commit; `export`, `exporter` and `backup` the copies; `open`
//! the way from a folder to a trusted table.
//!
//! Not here: what records mean, who may change them.

mod backend;
mod backup;
mod change;
mod engine;
mod error;
mod export;
mod exporter;
mod folder;
pub mod handed_over;
mod open;
mod peek;
pub mod records;
#[cfg(feature = "redb")]
mod redb;
pub mod seal;
mod sled;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::lock;

use tokio::sync::{mpsc, oneshot};

pub use self::change::Change;
pub use self::engine::Engine;
pub use self::error::StoreError;
pub use self::open::Restored;
pub use self::peek::exported;
pub use self::records::{
    AccountRecord, AddressRecord, ClientIdRecord, ClientKeyRecord, CredentialsRecord, HaltRecord, PairRecord,
    PoolRecord, Record, RecordKey, TokenRecord, Tree,
};
pub use self::seal::{MasterKey, SealError, Sealer};

use self::table::Shared;
use self::writer::{WriteRequest, Writer};

/// How a store is opened. The default is what the gateway runs with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which engine keeps the data.
    pub engine: Engine,
    /// How long after a change an export follows.
    pub export_after: Duration,
    /// After the engine failed, how long until it is tried again.
    pub retry_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self { engine: Engine::default(), export_after: second, retry_after: second }
    }
}

/// The store. Cheap to clone; the folder stays locked until the last clone is gone
/// and the writer has ended, or until [`Store::close`] returns.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    shared: Arc<Shared>,
    queue: Mutex<Option<mpsc::Sender<WriteRequest>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    restored: Option<Restored>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("entries", &self.inner.shared.read().entries.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// Open the store of a folder, or make one. Blocks on the disk: call it from
    /// `spawn_blocking` or before the runtime matters.
    ///
    /// # Errors
    /// [`StoreError`]; the folder in use, a wrong key and unknown layouts change nothing.
    pub fn open(path: &Path, key: MasterKey) -> Result<Self, StoreError> {
        Self::open_with(path, key, &Options::default())
    }

    /// As [`Store::open`], with another engine or other times.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(path: &Path, key: MasterKey, options: &Options) -> Result<Self, StoreError> {
        let fail = |source: io::Error| StoreError::Io {
            doing: "start the threads of",
            path: path.to_path_buf(),
            source: Arc::new(source),
        };
        let sealer = Sealer::new(&key)?;
        drop(key);
        let opened = open::open(path, &sealer, options.engine)?;
        let shared = Arc::new(Shared::new(opened.table, sealer));
        let exporter =
            exporter::Exporter::start(Arc::clone(&shared), opened.exports, options.export_after).map_err(fail)?;
        if opened.restored.is_some() {
            exporter.changed();
        }
        let writer = Writer {
            shared: Arc::clone(&shared),
            engine: options.engine,
            folder: opened.folder,
            backend: Some(opened.backend),
            broken: None,
            retry_after: options.retry_after,
            exporter,
            lock: opened.lock,
        };
        let (queue, requests) = mpsc::channel(writer::QUEUE);
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(|| writer.run(requests));
        let inner = StoreInner {
            shared,
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(thread.map_err(fail)?)),
            restored: opened.restored,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Set when this store was loaded from an export, because its files were damaged.
    pub fn restored(&self) -> Option<&Restored> {
        self.inner.restored.as_ref()
    }

    /// One record, from memory.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when its value cannot be opened or decoded.
    pub fn get<R: Record>(&self, key: &R::Key) -> Result<Option<R>, StoreError> {
        let physical = records::physical::<R>(key);
        let held = self.inner.shared.read().entries.get(physical.as_slice()).cloned();
        held.map(|held| self.decode::<R>(&physical, &held)).transpose()
    }

    /// A whole tree in the order of its keys, from memory, as of one moment.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when a value cannot be opened or decoded.
    pub fn scan<R: Record>(&self) -> Result<Vec<(R::Key, R)>, StoreError> {
        self.page(None, usize::MAX)
    }

    /// Up to `limit` records after a key, in the order of keys, from memory.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when a value cannot be opened or decoded.
    pub fn page<R: Record>(&self, after: Option<&R::Key>, limit: usize) -> Result<Vec<(R::Key, R)>, StoreError> {
        let entry = |(physical, held): (Arc<[u8]>, Arc<[u8]>)| {
            let record = self.decode::<R>(&physical, &held)?;
            let key = physical.get(1..).and_then(R::Key::from_bytes);
            Ok((key.ok_or_else(|| unreadable::<R>(&physical))?, record))
        };
        self.inner.shared.range::<R>(after, limit).into_iter().map(entry).collect()
    }

    /// How many records a tree has.
    pub fn count<R: Record>(&self) -> usize {
        self.inner.shared.count::<R>()
    }

    /// Make a change, all of it or nothing; done means durable. Guards are checked
    /// by the single writer, against everything acknowledged before. When the queue
    /// is full this waits for room.
    ///
    /// Cancel-safe in that nothing breaks: the change of a dropped future may or may not be made.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a guard does not hold; [`StoreError::TooLarge`];
    /// [`StoreError::Io`] when it could not be written: then this process never shows
    /// it, but a stop before the engine works again may leave it on disk.
    pub async fn commit(&self, change: Change) -> Result<(), StoreError> {
        let (request, answer, queue) = self.request(change)?;
        queue.send(request).await.map_err(|_| StoreError::Closed)?;
        drop(queue);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// As [`Store::commit`], for threads that may block.
    ///
    /// # Errors
    /// As [`Store::commit`].
    ///
    /// # Panics
    /// On a runtime's worker (tokio's `blocking_send`): a sync there stops every other task.
    pub fn commit_blocking(&self, change: Change) -> Result<(), StoreError> {
        let (request, answer, queue) = self.request(change)?;
        queue.blocking_send(request).map_err(|_| StoreError::Closed)?;
        drop(queue);
        answer.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// Why changes cannot be written now and what to do, in a sentence; `None` while they can.
    pub fn trouble(&self) -> Option<String> {
        self.inner.shared.trouble()
    }

    /// After [`Store::trouble`]: find out whether changes can be written again.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn try_again(&self) -> Result<(), StoreError> {
        self.commit(Change::new()).await
    }

    /// Seals files that are kept beside the store.
    pub fn sealer(&self) -> &Sealer {
        &self.inner.shared.sealer
    }

    /// Finish what is queued, write a last export, let go of the folder. Reads go on
    /// from memory; later changes are [`StoreError::Closed`]. Blocks on the disk.
    pub fn close(&self) {
        drop(lock(&self.inner.queue).take());
        let mut writer = lock(&self.inner.writer);
        if let Some(thread) = writer.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked; everything acknowledged was synced before");
        }
    }

    #[expect(clippy::type_complexity, reason = "one private caller pair")]
    fn request(
        &self,
        change: Change,
    ) -> Result<(WriteRequest, oneshot::Receiver<Result<(), StoreError>>, mpsc::Sender<WriteRequest>), StoreError> {
        let change = change.checked()?;
        let queue = lock(&self.inner.queue).clone();
        let queue = queue.ok_or(StoreError::Closed)?;
        let (done, answer) = oneshot::channel();
        Ok((WriteRequest { change, done }, answer, queue))
    }

    fn decode<R: Record>(&self, physical: &[u8], held: &[u8]) -> Result<R, StoreError> {
        let record = if R::TREE.is_secret() {
            let key = physical.get(1..).unwrap_or_default();
            let plain = self.inner.shared.sealer.open_record(R::TREE.name(), key, held);
            plain.ok().and_then(|plain| records::decode(&plain))
        } else {
            records::decode(held)
        };
        record.ok_or_else(|| unreadable::<R>(physical))
    }
}

fn unreadable<R: Record>(physical: &[u8]) -> StoreError {
    let key = physical.get(1..).and_then(R::Key::from_bytes).map_or_else(|| "?".into(), |key| key.show());
    StoreError::Unreadable { tree: R::TREE.name(), key }
}
