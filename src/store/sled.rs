//! sled 0.34.7, wrapped until an acknowledged write survives a power cut.
//!
//! What sled alone does wrong, and what is done about it here:
//! - `flush` calls `sync_file_range`, which is no barrier on the disk: after it we
//!   call `fdatasync` on our own descriptor of the file `db`.
//! - A stop while opening leaves `snap.*.generating`, which the next open takes
//!   for a snapshot and fails on: deleted before opening. It is only ever a copy.
//! - `conf`, its folder and the parent are never synced: synced after opening.
//! - Opening writes a synced snapshot that points into `db`, whose newest bytes may
//!   be in memory only if the last process was killed: `db` is synced before, too.
//! - The cache is 1 GiB by default; 1 MiB is plenty, since reads come from our memory.
//! - What it once read it keeps a good part of, whatever the cache: after all was read
//!   it is closed and opened again.
//! - Values over a quarter of a segment go to `blobs/`, which is never synced: our
//!   values are under 4 KiB (`records`), and a page holds at most 17.
//!
//! sled's own flusher thread stays on (every 500 ms): it alone cleans segments.
//!
//! Not here: which thread calls this (`writer`: one only).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::backend::{Backend, EngineFailure, WriteBatch, guarded};
use super::folder;

const CACHE_BYTES: u64 = 1024 * 1024;
/// How long threads of a sled closed a moment ago may still hold its file.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct SledBackend {
    /// There until drop, unless opening it again failed.
    db: Option<::sled::Db>,
    path: PathBuf,
    /// Our own descriptor of the file that sled writes to.
    file: File,
}

impl SledBackend {
    pub(super) fn open(path: &Path) -> Result<Self, EngineFailure> {
        folder::make(path)?;
        let stale = folder::delete_ending(path, ".generating")?;
        if stale > 0 {
            folder::sync_folder(path)?;
            tracing::info!(path = %path.display(), "deleted the unfinished snapshot of a stop while opening");
        }
        let data = path.join("db");
        folder::sync_file(&data)?;
        let db = open_when_let_go(path)?;
        folder::sync_file(&path.join("conf"))?;
        let file = File::open(&data)?;
        file.sync_all()?;
        folder::sync_folder(path)?;
        folder::sync_parent(path)?;
        Ok(Self { db: Some(db), path: path.to_path_buf(), file })
    }

    fn db(&self) -> Result<&::sled::Db, EngineFailure> {
        self.db.as_ref().ok_or_else(|| EngineFailure::Corrupt("closed".into()))
    }
}

/// We hold the lock of the whole folder, so only threads of this process can
/// still hold sled's own, and they are about to end.
fn open_when_let_go(path: &Path) -> Result<::sled::Db, EngineFailure> {
    let until = Instant::now() + LET_GO_WITHIN;
    loop {
        match ::sled::Config::new().path(path).cache_capacity(CACHE_BYTES).open() {
            Err(::sled::Error::Io(err))
                if err.to_string().starts_with("could not acquire lock") && Instant::now() < until =>
            {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            done => return done.map_err(failure),
        }
    }
}

impl Backend for SledBackend {
    fn each(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), EngineFailure> {
        for item in self.db()?.iter() {
            let (key, value) = item.map_err(failure)?;
            entry(&key, &value);
        }
        drop(self.db.take());
        self.db = Some(open_when_let_go(&self.path)?);
        Ok(())
    }

    fn apply(&mut self, batch: &WriteBatch) -> Result<(), EngineFailure> {
        let mut writes = ::sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => writes.insert(&**key, value.as_slice()),
                None => writes.remove(&**key),
            }
        }
        let db = self.db()?;
        db.apply_batch(writes).map_err(failure)?;
        db.flush().map_err(failure)?;
        Ok(self.file.sync_data()?)
    }
}

impl Drop for SledBackend {
    fn drop(&mut self) {
        // sled's own drop unwraps a sync. Nothing acknowledged hangs on it.
        let db = self.db.take();
        if let Err(err) = guarded(|| {
            drop(db);
            Ok(())
        }) {
            tracing::warn!(error = %err, "sled failed while closing; everything acknowledged was synced before");
        }
    }
}

/// sled's texts name offsets, never contents.
fn failure(err: ::sled::Error) -> EngineFailure {
    match err {
        // sled reads past the end, or misses a file of its own: damage, not a bad disk.
        ::sled::Error::Io(err) if is_damage(err.kind()) => {
            EngineFailure::Corrupt(format!("sled cannot read its own files: {err}"))
        }
        ::sled::Error::Io(err) => EngineFailure::from(err),
        ::sled::Error::Corruption { at, .. } => EngineFailure::Corrupt(format!("sled found damage at {at:?}")),
        ::sled::Error::Unsupported(why) => EngineFailure::Corrupt(format!("sled refuses its folder: {why}")),
        ::sled::Error::ReportableBug(why) => EngineFailure::Corrupt(format!("sled gave up: {why}")),
        ::sled::Error::CollectionNotFound(_) => EngineFailure::Corrupt("sled misses its tree".into()),
    }
}

const fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
}
