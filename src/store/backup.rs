//! Backup: an export to keep elsewhere, and a store made from one.
//!
//! A backup is sealed like everything else: without the master key, which is to be
//! kept apart from it, it is of no use to anybody.
//!
//! Not here: the format (`export`), loading it (`open`, as after damage).

use std::io::{self, Write};
use std::path::Path;

use super::{MasterKey, Sealer, Store, StoreError, export, folder};

impl Store {
    /// Write everything acknowledged so far to a file, whole and synced. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be written; a file of that name is replaced only by a whole one.
    pub fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        export::write_to(to, self.sealer(), 1, &self.inner.shared.snapshot())
            .map_err(|err| StoreError::of(err.into(), "write the backup", to))
    }

    /// Make a store in an empty or missing folder from a backup. Close another one first; nothing is written over.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] for a backup sealed with another key, [`StoreError::Corrupt`] for a damaged one,
    /// [`StoreError::Io`] when the folder holds a store already.
    pub fn restore(path: &Path, key: MasterKey, from: &Path) -> Result<Self, StoreError> {
        let fail = |err: io::Error| StoreError::of(err.into(), "restore into", path);
        let sealer = Sealer::new(&key)?;
        let header = export::read_header(from).map_err(|err| damaged(from, err))?;
        if header.key_id != sealer.key_id() {
            return Err(StoreError::WrongKey { path: from.to_path_buf() });
        }
        export::read(from, &sealer).map_err(|err| damaged(from, err))?;
        folder::make(path).map_err(fail)?;
        let taken =
            ["stamp", "sled", "sled.rebuilt", "redb", "redb.rebuilt"].iter().any(|name| path.join(name).exists());
        let exports = path.join("exports");
        if taken || !export::list(&exports).map_err(fail)?.is_empty() {
            return Err(fail(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it holds a store already; move it away first",
            )));
        }
        let content = std::fs::read(from).map_err(|err| StoreError::of(err.into(), "read the backup", from))?;
        folder::make(&exports).map_err(fail)?;
        folder::write_whole(&export::path_of(&exports, 1), |file| file.write_all(&content)).map_err(fail)?;
        Self::open(path, key)
    }
}

fn damaged(from: &Path, err: io::Error) -> StoreError {
    if matches!(err.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
        return StoreError::Corrupt { path: from.to_path_buf(), why: err.to_string() };
    }
    StoreError::of(err.into(), "read the backup", from)
}
