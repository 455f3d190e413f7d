//! Open: from a folder and a key to a table that can be trusted.
//!
//! The folder holds `sled/` (or `redb/`), `exports/` and `stamp`, which names the
//! engine and, by a hash, the key. The order at first start: engine, store's own
//! record, first export, stamp. Before the stamp and the first export nothing was
//! ever acknowledged, so only then may damage be answered with a fresh start.
//!
//! Invariants:
//! - A wrong key is refused before anything on disk is changed.
//! - The engine's data is believed only if every value opens and no export knows a
//!   later group of changes; else the newest good export is loaded and the engine's
//!   folder put aside. With no good export nothing is touched and the error says so.
//!
//! Not here: damage found later, with the table in memory (`writer`).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::backend::{Backend, EngineFailure, WriteBatch, guarded};
use super::engine::Engine;
use super::export;
use super::folder::{self, FolderLock};
use super::records::{self, LAYOUT, MetaRecord, SequenceRecord, Tree};
use super::table::{self, StoreTable, TableEntries, meta_key, sequence_key};
use super::{Sealer, StoreError, writer};

/// Entries that go from who reads them to who opens them at once.
const PART: usize = 256;

/// How many such parts may wait.
const PARTS_AHEAD: usize = 4;

/// An export was loaded in place of damaged files. At most the changes since
/// the last export are missing: some seconds of them, more where no core had time for one.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What was wrong.
    pub why: String,
    /// The export that was loaded.
    pub from: PathBuf,
    /// When it was written.
    pub taken_at: Timestamp,
    /// Where the damaged files are now, if there were any.
    pub aside: Option<PathBuf>,
}

/// The store, opened.
pub(super) struct OpenedStore {
    pub(super) lock: FolderLock,
    pub(super) table: StoreTable,
    pub(super) backend: Box<dyn Backend>,
    /// The engine's folder.
    pub(super) folder: PathBuf,
    pub(super) exports: PathBuf,
    pub(super) restored: Option<Restored>,
}

pub(super) fn open(path: &Path, sealer: &Sealer, engine: Engine) -> Result<OpenedStore, StoreError> {
    let fail = |doing: &'static str| move |err: io::Error| StoreError::of(err.into(), doing, path);
    folder::make(path).map_err(fail("make"))?;
    let lock = folder::lock(path).map_err(|err| match err {
        None => StoreError::InUse { path: path.to_path_buf() },
        Some(err) => fail("lock")(err),
    })?;
    let stamp_path = path.join("stamp");
    let stamp = Stamp::read(&stamp_path).map_err(fail("read the stamp of"))?;
    let place =
        StoreLocation { path, folder: path.join(engine.as_str()), exports: path.join("exports"), sealer, engine };
    place.check_key(stamp.as_ref())?;

    let exports = export::list(&place.exports).map_err(fail("list the exports of"))?;
    let finished = stamp.is_some() || !exports.is_empty();
    let new = writer::rebuilt(&place.folder);
    if !place.folder.exists() && new.exists() {
        std::fs::rename(&new, &place.folder).map_err(fail("put the rebuilt files in place in"))?;
        folder::sync_folder(path).map_err(fail("sync"))?;
    }
    if exports.is_empty() {
        // No folder yet at first start.
        folder::make(&place.exports).map_err(fail("make the exports of"))?;
    }
    folder::delete_ending(&place.exports, folder::UNFINISHED).map_err(fail("tidy the exports of"))?;

    let Loaded { table, backend, restored } = place.load_or_restore(finished, stamp.is_some())?;
    if exports.is_empty() {
        export::write(&place.exports, sealer, &table).map_err(fail("export"))?;
    }
    if stamp.is_none() {
        Stamp::of(sealer, engine).write(&stamp_path).map_err(fail("stamp"))?;
    }
    let StoreLocation { folder, exports, .. } = place;
    Ok(OpenedStore { lock, table, backend, folder, exports, restored })
}

struct StoreLocation<'a> {
    path: &'a Path,
    folder: PathBuf,
    exports: PathBuf,
    sealer: &'a Sealer,
    engine: Engine,
}

/// What the engine's folder turned out to be.
enum FolderState {
    Good(StoreTable, Box<dyn Backend>),
    /// Nothing in it.
    Empty(Box<dyn Backend>),
    Damaged(String),
}

struct Loaded {
    table: StoreTable,
    backend: Box<dyn Backend>,
    restored: Option<Restored>,
}

impl StoreLocation<'_> {
    fn fail(&self, doing: &'static str) -> impl Fn(EngineFailure) -> StoreError {
        move |failure| StoreError::of(failure, doing, self.path)
    }

    /// Refuse another store's key from what can be read without changing anything.
    fn check_key(&self, stamp: Option<&Stamp>) -> Result<(), StoreError> {
        let wrong = Err(StoreError::WrongKey { path: self.path.to_path_buf() });
        let ours = self.sealer.key_id().to_string();
        if let Some(stamp) = stamp {
            if stamp.key != ours {
                return wrong;
            }
            if stamp.engine != self.engine.as_str() {
                return Err(StoreError::OtherEngine { path: self.path.to_path_buf(), found: stamp.engine.clone() });
            }
            return Ok(());
        }
        let exports = export::list(&self.exports).map_err(|err| self.fail("list the exports of")(err.into()))?;
        let ids: Vec<_> = exports.iter().filter_map(|(_, path)| export::read_header(path).ok()).collect();
        if !ids.is_empty() && ids.iter().all(|header| header.key_id != self.sealer.key_id()) { wrong } else { Ok(()) }
    }

    fn load_or_restore(&self, finished: bool, stamped: bool) -> Result<Loaded, StoreError> {
        match self.find(stamped)? {
            FolderState::Good(table, backend) => match self.lost(&table)? {
                None => Ok(Loaded { table, backend, restored: None }),
                Some(why) => {
                    drop(backend);
                    self.restore(why)
                }
            },
            FolderState::Empty(backend) if !finished => self.begin(backend),
            FolderState::Empty(backend) => {
                drop(backend);
                self.restore("the engine's files are gone or empty".into())
            }
            FolderState::Damaged(why) if !finished => {
                let aside = folder::set_aside(&self.folder, "damaged").map_err(|err| self.fail("tidy")(err.into()))?;
                tracing::error!(why, aside = %aside.display(), "a first start was cut short; starting afresh");
                let backend = self.engine.open(&self.folder).map_err(self.fail("open"))?;
                self.begin(backend)
            }
            FolderState::Damaged(why) => self.restore(why),
        }
    }

    /// Open the engine and believe it only as far as every value opens.
    fn find(&self, stamped: bool) -> Result<FolderState, StoreError> {
        let mut backend = match self.engine.open(&self.folder) {
            Ok(backend) => backend,
            Err(EngineFailure::Corrupt(why)) => return Ok(FolderState::Damaged(why)),
            Err(failure) => return Err(self.fail("open")(failure)),
        };
        let (entries, refused) = match self.read(&mut *backend) {
            Ok(read) => read,
            Err(EngineFailure::Corrupt(why)) => return Ok(FolderState::Damaged(why)),
            Err(failure) => return Err(self.fail("read")(failure)),
        };
        if !stamped && refused.contains(&meta_key()) {
            return Err(StoreError::WrongKey { path: self.path.to_path_buf() });
        }
        let table = StoreTable { entries };
        if let Some(layout) = table.entries.get(meta_key().as_slice()).and_then(|held| held.first()).copied()
            && layout > LAYOUT
        {
            return Err(StoreError::Newer { path: self.path.to_path_buf(), layout });
        }
        if let Some(key) = refused.first() {
            let tree = Tree::split(key).map_or("an unknown tree", |(tree, _)| tree.name());
            return Ok(FolderState::Damaged(format!("{} values do not open, the first in {tree}", refused.len())));
        }
        if table.entries.is_empty() {
            return Ok(FolderState::Empty(backend));
        }
        match table.entries.get(meta_key().as_slice()) {
            Some(held) if records::decode::<MetaRecord>(held).is_some() => Ok(FolderState::Good(table, backend)),
            Some(_) | None => Ok(FolderState::Damaged("the store's own record is missing".into())),
        }
    }

    /// All that the engine holds, and the keys of values that do not open.
    ///
    /// A thread of its own opens them while the engine reads on. What is kept and what passes come from two
    /// heaps that way: a table that lay among what the engine takes and lets go would keep the host from
    /// getting that back.
    fn read(&self, backend: &mut dyn Backend) -> Result<(TableEntries, Vec<Vec<u8>>), EngineFailure> {
        let (filled, parts) = mpsc::sync_channel::<Vec<(Vec<u8>, Vec<u8>)>>(PARTS_AHEAD);
        std::thread::scope(|scope| {
            let opener = std::thread::Builder::new().name("store-open".to_owned()).spawn_scoped(scope, || {
                let mut entries = TableEntries::new();
                let mut refused = Vec::new();
                for (key, sealed) in parts.into_iter().flatten() {
                    match table::hold(self.sealer, &key, &sealed) {
                        Ok(held) => drop(entries.insert(key.into(), held)),
                        Err(_) => refused.push(key),
                    }
                }
                (entries, refused)
            })?;
            let mut part = Vec::with_capacity(PART);
            let read = guarded(|| {
                backend.each(&mut |key, sealed| {
                    part.push((key.to_vec(), sealed.to_vec()));
                    if part.len() == PART {
                        // Nobody takes it when the opener panicked, which joining it tells.
                        let _ = filled.send(std::mem::replace(&mut part, Vec::with_capacity(PART)));
                    }
                })
            });
            let _ = filled.send(part);
            drop(filled);
            let opened = opener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            read.map(|()| opened)
        })
    }

    /// Does a good export know a later group of changes than the engine gave back?
    fn lost(&self, table: &StoreTable) -> Result<Option<String>, StoreError> {
        let sequence = table.sequence();
        let fail = |err: io::Error| self.fail("read the exports of")(err.into());
        let Some((_, newest)) = export::list(&self.exports).map_err(fail)?.into_iter().next() else { return Ok(None) };
        // Not proven yet, and enough to be content: an export is never ahead of the engine.
        if export::read_header(&newest).is_ok_and(|header| header.sequence <= sequence) {
            return Ok(None);
        }
        let good = export::newest_good(&self.exports, self.sealer).map_err(fail)?;
        Ok(good.filter(|(_, header, _)| header.sequence > sequence).map(|(_, header, _)| {
            format!("the engine gave back changes up to {sequence}, an export has those up to {}", header.sequence)
        }))
    }

    fn begin(&self, mut backend: Box<dyn Backend>) -> Result<Loaded, StoreError> {
        let meta = records::encode(&MetaRecord { layout: LAYOUT, created_at: Timestamp::now() });
        let sequence = records::encode(&SequenceRecord { sequence: 0 });
        let mut table = StoreTable::default();
        for (key, value) in [(meta_key(), meta), (sequence_key(), sequence)] {
            if let Some(value) = value {
                table.entries.insert(key.into(), value.as_slice().into());
            }
        }
        let seal =
            |(key, held): (&Arc<[u8]>, &Arc<[u8]>)| (Arc::clone(key), Some(table::sealed(self.sealer, key, held)));
        let batch: WriteBatch = table.entries.iter().map(seal).collect();
        guarded(|| backend.apply(&batch)).map_err(self.fail("write to"))?;
        Ok(Loaded { table, backend, restored: None })
    }

    fn restore(&self, why: String) -> Result<Loaded, StoreError> {
        let good = export::newest_good(&self.exports, self.sealer)
            .map_err(|err| self.fail("read the exports of")(err.into()))?
            .filter(|(_, _, entries)| holds_a_store(self.sealer, entries));
        let Some((from, header, entries)) = good else {
            return Err(StoreError::Corrupt { path: self.path.to_path_buf(), why });
        };
        let aside = writer::rebuild(self.engine, &self.folder, self.sealer, &entries).map_err(self.fail("restore"))?;
        let backend = self.engine.open(&self.folder).map_err(self.fail("open"))?;
        let taken_at = header.taken_at;
        tracing::error!(
            why, from = %from.display(), %taken_at, aside = ?aside,
            "AN EXPORT WAS LOADED IN PLACE OF THE STORE'S FILES. Changes made after it was taken are missing: \
             check accounts, addresses and tokens"
        );
        let table = StoreTable { entries };
        Ok(Loaded { table, backend, restored: Some(Restored { why, from, taken_at, aside }) })
    }
}

/// An export that opened as a whole, but of this layout and with the store's own record?
fn holds_a_store(sealer: &Sealer, entries: &TableEntries) -> bool {
    let known = |(key, held): (&Arc<[u8]>, &Arc<[u8]>)| match Tree::split(key) {
        Some((tree, key)) if tree.is_secret() => sealer.open_record(tree.name(), key, held).is_ok(),
        Some(_) => true,
        None => false,
    };
    let meta = meta_key();
    let whole = |(key, held): (&Arc<[u8]>, &Arc<[u8]>)| **key == *meta && records::decode::<MetaRecord>(held).is_some();
    entries.iter().all(known) && entries.iter().any(whole)
}

/// The file `stamp`: engine, key id, and a check sum, so that damage to it is not
/// taken for a wrong key.
struct Stamp {
    engine: String,
    key: String,
}

impl Stamp {
    fn of(sealer: &Sealer, engine: Engine) -> Self {
        Self { engine: engine.as_str().into(), key: sealer.key_id().to_string() }
    }

    fn body(&self) -> String {
        format!("sixgate store 1\nengine {}\nkey {}\n", self.engine, self.key)
    }

    fn text(&self) -> String {
        let body = self.body();
        let sum = HEXLOWER.encode(&Sha256::digest(body.as_bytes()));
        format!("{body}sum {sum}\n")
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        folder::write_whole(path, |file| file.write_all(self.text().as_bytes()))
    }

    /// `None` when there is none, or it is damaged: it is then written anew.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let word = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let stamp = Self { engine: word("engine "), key: word("key ") };
        if stamp.text() == text {
            return Ok(Some(stamp));
        }
        tracing::error!(path = %path.display(), "the store's stamp is damaged; it will be written anew");
        Ok(None)
    }
}
