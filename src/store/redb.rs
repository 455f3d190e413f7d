//! redb 4, the second engine: the measure that sled is held against, run through
//! the same crash harness.
//!
//! One file, one table. A commit with redb's default durability syncs the file;
//! the folder and its parent are synced by us after opening.
//!
//! Not here: which thread calls this (`writer`: one only).

use std::io;
use std::path::Path;

use ::redb::{Builder, Database, DatabaseError, Error, ReadableDatabase, ReadableTable, TableDefinition};

use super::backend::{Backend, EngineFailure, WriteBatch};
use super::folder;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const CACHE_BYTES: usize = 32 * 1024 * 1024;

pub(super) struct RedbBackend {
    db: Database,
}

impl RedbBackend {
    pub(super) fn open(path: &Path) -> Result<Self, EngineFailure> {
        folder::make(path)?;
        let file = path.join("store.redb");
        // Bytes of a killed process may be in memory only; a repair must not be built on them.
        folder::sync_file(&file)?;
        let db = Builder::new().set_cache_size(CACHE_BYTES).create(&file).map_err(opening)?;
        let write = db.begin_write().map_err(failure)?;
        write.open_table(TABLE).map_err(failure)?;
        write.commit().map_err(failure)?;
        folder::sync_folder(path)?;
        folder::sync_parent(path)?;
        Ok(Self { db })
    }
}

impl Backend for RedbBackend {
    fn each(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), EngineFailure> {
        let table = self.db.begin_read().map_err(failure)?.open_table(TABLE).map_err(failure)?;
        for item in table.iter().map_err(failure)? {
            let (key, value) = item.map_err(failure)?;
            entry(key.value(), value.value());
        }
        Ok(())
    }

    fn apply(&mut self, batch: &WriteBatch) -> Result<(), EngineFailure> {
        let write = self.db.begin_write().map_err(failure)?;
        {
            let mut table = write.open_table(TABLE).map_err(failure)?;
            for (key, value) in batch {
                match value {
                    Some(value) => drop(table.insert(&**key, value.as_slice()).map_err(failure)?),
                    None => drop(table.remove(&**key).map_err(failure)?),
                }
            }
        }
        write.commit().map_err(failure)
    }
}

fn opening(err: DatabaseError) -> EngineFailure {
    failure(err)
}

fn failure(err: impl Into<Error>) -> EngineFailure {
    let err = err.into();
    if let Error::Io(source) = err {
        let damage = matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        return if damage { EngineFailure::Corrupt(format!("redb: {source}")) } else { EngineFailure::from(source) };
    }
    let damage = matches!(err, Error::Corrupted(_) | Error::UpgradeRequired(_) | Error::TableTypeMismatch { .. });
    if damage {
        EngineFailure::Corrupt(format!("redb: {err}"))
    } else {
        EngineFailure::from(io::Error::other(err.to_string()))
    }
}
