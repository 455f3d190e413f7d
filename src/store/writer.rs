//! Writer: the one thread that checks guards and writes.
//!
//! Changes wait in a bounded queue; those that wait together are written as one
//! batch with one sync (group commit). A change is acknowledged after the sync, and
//! visible to readers just before. As one thread decides, a guard is a linearizable
//! compare-and-set. Never a runtime worker: a sync takes from half a millisecond to
//! seconds on a bad day.
//!
//! When the engine fails (a full disk, a bad one), every change of the group is
//! refused, the engine is closed, and the next change opens it again: what it holds
//! is made equal to the table, so a refused change does not come back. Damaged files
//! are put aside and written anew from memory. Nothing acknowledged is lost; reads
//! go on from memory all the while.
//!
//! Not here: what a change may contain (`Change`), the engine (`backend`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::backend::{Backend, EngineFailure, WriteBatch, guarded};
use super::change::{Change, Op, Want};
use super::engine::Engine;
use super::error::StoreError;
use super::exporter::Exporter;
use super::folder::{self, FolderLock};
use super::records::{self, SequenceRecord};
use super::table::{self, Shared, TableEntries, meta_key, sequence_key};
use crate::domain::chain;
use crate::domain::disk::is_full;

/// How many changes may wait. When full, `commit` waits for room: callers slow down to the disk's pace.
pub(super) const QUEUE: usize = 1024;
/// How many changes, and about how many bytes, are written as one batch. sled moves
/// pages by itself between two syncs and may reuse a segment (512 KiB) after two
/// more are full: the less is written without a sync, the further away that is.
const GROUP_CHANGES: usize = 256;
const GROUP_BYTES: usize = 128 * 1024;

/// A change and where its outcome goes. Nobody may be left to hear it.
pub(super) struct WriteRequest {
    pub(super) change: Change,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

type Overlay = BTreeMap<Arc<[u8]>, Option<Arc<[u8]>>>;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Engine,
    /// The engine's folder.
    pub(super) folder: PathBuf,
    pub(super) backend: Option<Box<dyn Backend>>,
    pub(super) broken: Option<Broken>,
    pub(super) retry_after: Duration,
    pub(super) exporter: Exporter,
    pub(super) lock: FolderLock,
}

/// Why the engine is closed, and when it was last tried.
pub(super) struct Broken {
    tried: Instant,
    error: StoreError,
}

impl Writer {
    /// Until every sender is gone and the queue is empty; then the final export.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<WriteRequest>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.change.bytes;
            let mut group = vec![first];
            while group.len() < GROUP_CHANGES
                && bytes < GROUP_BYTES
                && let Ok(next) = queue.try_recv()
            {
                bytes += next.change.bytes;
                group.push(next);
            }
            self.serve(group);
        }
        drop(self.backend);
        self.exporter.finish();
        drop(self.lock);
    }

    /// Decide, write and answer one group. Even a conflict is answered after the
    /// write: it may be with a change of the same group, which may yet fail.
    fn serve(&mut self, group: Vec<WriteRequest>) {
        let mut overlay = Overlay::new();
        let verdicts: Vec<_> = group
            .into_iter()
            .map(|request| {
                let verdict = self.stage(&request.change, &mut overlay);
                (request.done, verdict)
            })
            .collect();
        // While it could not write, an empty change is worth a try: it finds out whether it can.
        let written = if overlay.is_empty() && self.shared.trouble().is_none() { Ok(()) } else { self.write(overlay) };
        for (done, verdict) in verdicts {
            // The caller may have stopped waiting.
            let _ = done.send(written.clone().and(verdict));
        }
    }

    /// Check a change's guards against the table and the group so far, and add its writes.
    fn stage(&self, change: &Change, overlay: &mut Overlay) -> Result<(), StoreError> {
        let sealer = &self.shared.sealer;
        let table = self.shared.read();
        for op in &change.ops {
            if let Op::Guard { tree, key, shown, want } = op {
                let held = overlay.get(key).map_or_else(|| table.entries.get(key), Option::as_ref);
                let kept = match (want, held) {
                    (Want::Absent, None) | (Want::Present, Some(_)) => true,
                    (Want::Same(plain), Some(held)) => table::is_same(sealer, *tree, key, held, plain),
                    (Want::Absent, Some(_)) | (Want::Present | Want::Same(_), None) => false,
                };
                if !kept {
                    return Err(StoreError::Conflict { tree: tree.name(), key: shown.clone() });
                }
            }
        }
        for op in &change.ops {
            match op {
                Op::Put { tree, key, plain } => {
                    overlay.insert(Arc::clone(key), Some(table::hold_new(sealer, *tree, key, plain)));
                }
                Op::Delete { key } => drop(overlay.insert(Arc::clone(key), None)),
                Op::Guard { .. } => {}
            }
        }
        Ok(())
    }

    /// Make the group durable and then visible.
    fn write(&mut self, mut overlay: Overlay) -> Result<(), StoreError> {
        let sequence = SequenceRecord { sequence: self.shared.read().sequence() + 1 };
        if let Some(value) = records::encode(&sequence) {
            overlay.insert(sequence_key().into(), Some(value.as_slice().into()));
        }
        let sealer = &self.shared.sealer;
        let sealed = |(key, held): (&Arc<[u8]>, &Option<Arc<[u8]>>)| {
            (Arc::clone(key), held.as_ref().map(|held| table::sealed(sealer, key, held)))
        };
        let batch: WriteBatch = overlay.iter().map(sealed).collect();
        let backend = self.ready()?;
        if let Err(failure) = guarded(|| backend.apply(&batch)) {
            self.backend = None;
            let error = StoreError::of(self.explained(failure), "write to", &self.folder);
            self.cannot_write(&error);
            // The first attempt to go on is the next change's.
            self.broken = None;
            return Err(error);
        }
        self.shared.publish(overlay);
        if self.shared.set_trouble(None) {
            tracing::warn!(folder = %self.folder.display(), "the store writes again; nothing acknowledged was lost");
        }
        self.exporter.changed();
        Ok(())
    }

    /// An engine that failed on a full disk may say anything.
    fn explained(&self, failure: EngineFailure) -> EngineFailure {
        let is_told = matches!(&failure, EngineFailure::Io(err) if is_full(err));
        if is_told || !folder::is_full(&self.folder) {
            return failure;
        }
        let text = format!("the disk is full ({})", chain(&failure));
        EngineFailure::from(std::io::Error::new(std::io::ErrorKind::StorageFull, text))
    }

    /// Said once until it can again.
    fn cannot_write(&self, error: &StoreError) {
        let (why, action) = (chain(error), error.advice());
        if self.shared.set_trouble(Some(format!("{why}; {action}"))) {
            tracing::error!(
                error = why,
                action,
                "THE STATE CANNOT BE WRITTEN: changes are refused, and new tokens are kept in memory only, until it can"
            );
        }
    }

    /// The engine, opened again if it had failed and the pause since the last try is over.
    fn ready(&mut self) -> Result<&mut Box<dyn Backend>, StoreError> {
        if self.backend.is_none() {
            if let Some(broken) = &self.broken
                && broken.tried.elapsed() < self.retry_after
            {
                return Err(broken.error.clone());
            }
            match self.reopen() {
                Ok(backend) => {
                    self.broken = None;
                    self.backend = Some(backend);
                }
                Err(failure) => {
                    let error = StoreError::of(self.explained(failure), "open again", &self.folder);
                    self.cannot_write(&error);
                    self.broken = Some(Broken { tried: Instant::now(), error });
                }
            }
        }
        match (&mut self.backend, &self.broken) {
            (Some(backend), _) => Ok(backend),
            (None, Some(broken)) => Err(broken.error.clone()),
            (None, None) => Err(StoreError::Closed),
        }
    }

    fn reopen(&self) -> Result<Box<dyn Backend>, EngineFailure> {
        match self.engine.open(&self.folder).and_then(|backend| reconcile(&self.shared, backend)) {
            Err(EngineFailure::Corrupt(why)) => {
                let held = self.shared.snapshot().entries;
                let aside = rebuild(self.engine, &self.folder, &self.shared.sealer, &held)?;
                tracing::error!(why, aside = ?aside, "the store's files were damaged; written anew from memory");
                self.engine.open(&self.folder)
            }
            done => done,
        }
    }
}

/// Make the engine hold what the table holds: a refused group may be on disk.
fn reconcile(shared: &Shared, mut backend: Box<dyn Backend>) -> Result<Box<dyn Backend>, EngineFailure> {
    let held = shared.snapshot().entries;
    let mut good = BTreeSet::new();
    let mut batch = WriteBatch::new();
    guarded(|| {
        backend.each(&mut |key, sealed| match held.get_key_value(key) {
            Some((key, value)) if table::hold(&shared.sealer, key, sealed).is_ok_and(|found| found == *value) => {
                good.insert(Arc::clone(key));
            }
            Some(_) => {}
            None => batch.push((key.into(), None)),
        })
    })?;
    for (key, value) in held.iter().filter(|(key, _)| !good.contains(*key)) {
        batch.push((Arc::clone(key), Some(table::sealed(&shared.sealer, key, value))));
    }
    if !batch.is_empty() {
        guarded(|| backend.apply(&batch))?;
    }
    Ok(backend)
}

/// Where an engine's folder is written anew before it takes its place.
pub(super) fn rebuilt(folder: &Path) -> PathBuf {
    folder.with_extension("rebuilt")
}

/// Write an engine's folder anew from entries, then put the old one aside and the
/// new one in its place. A stop between the two renames leaves a whole folder under
/// the name [`rebuilt`], which `open` then puts in place.
pub(super) fn rebuild(
    engine: Engine,
    folder: &Path,
    sealer: &super::Sealer,
    entries: &TableEntries,
) -> Result<Option<PathBuf>, EngineFailure> {
    let new = rebuilt(folder);
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    let mut backend = engine.open(&new)?;
    let meta = meta_key();
    let (meta, rest): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| ***key == *meta);
    // The store's own record last: with it the folder is whole.
    for part in rest.chunks(GROUP_CHANGES).chain(meta.chunks(1)) {
        let batch = part.iter().map(|(key, held)| (Arc::clone(key), Some(table::sealed(sealer, key, held)))).collect();
        guarded(|| backend.apply(&batch))?;
    }
    drop(backend);
    let aside = if folder.exists() { Some(folder::set_aside(folder, "damaged")?) } else { None };
    std::fs::rename(&new, folder)?;
    folder::sync_parent(folder)?;
    Ok(aside)
}
