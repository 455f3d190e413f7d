//! Error: why the store refused, in words that say what to do.
//!
//! A text names trees, names and addresses, never values.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::EngineFailure;
use super::seal::SealError;
use crate::domain::disk;

/// Why the store refused. The text names trees, names and addresses, never values.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A guard did not hold: somebody else was first.
    #[error("{tree} {key} is not what the change expects")]
    Conflict {
        /// The guarded tree.
        tree: &'static str,
        /// The guarded key.
        key: String,
    },
    /// A record, a key or a whole change is longer than the store takes.
    #[error("{tree} {key} is too long to store")]
    TooLarge {
        /// Where it would go; `change` for a change as a whole.
        tree: &'static str,
        /// Under which key.
        key: String,
    },
    /// A stored value cannot be read back.
    #[error("{tree} {key} cannot be read: its seal or its layout is not ours")]
    Unreadable {
        /// The tree that the record is in.
        tree: &'static str,
        /// The record's key.
        key: String,
    },
    /// Another process, or another store of this one, has the folder.
    #[error("{path} is in use by another sixgate; stop that one first, or give this one its own state.path", path = .path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// The folder was sealed with another key.
    #[error(
        "the master key is not the one that {path} was sealed with; nothing was changed. \
         Put the right key back (state.master_key_file); without it the state cannot be read",
        path = .path.display()
    )]
    WrongKey {
        /// The store's folder.
        path: PathBuf,
    },
    /// The files are damaged and there is no good export.
    #[error(
        "{path} is damaged ({why}) and holds no good export; nothing was changed. \
         Restore the folder from a backup, or move it away to begin anew",
        path = .path.display()
    )]
    Corrupt {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A newer program wrote the folder.
    #[error("{path} was written by a newer sixgate (layout {layout}); run that one", path = .path.display())]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Its layout version.
        layout: u8,
    },
    /// Another engine wrote the folder.
    #[error("{path} was written by the engine {found}; run with that one", path = .path.display())]
    OtherEngine {
        /// The store's folder.
        path: PathBuf,
        /// The engine that the folder was made by.
        found: String,
    },
    /// The disk, or the engine on it, failed.
    #[error("cannot {doing} {path}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder that it was done to.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The seal could not be set up.
    #[error("cannot set up the seal")]
    Seal(#[source] Arc<SealError>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The word in metrics and logs. Never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable { .. } => "unreadable",
            Self::InUse { .. } => "in_use",
            Self::WrongKey { .. } => "wrong_key",
            Self::Corrupt { .. } => "corrupt",
            Self::Newer { .. } => "newer",
            Self::OtherEngine { .. } => "other_engine",
            Self::Io { .. } => "io",
            Self::Seal(_) => "seal",
            Self::Closed => "closed",
        }
    }

    /// Is there no room? Then it goes as soon as there is.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if disk::is_full(source))
    }

    /// What somebody can do about it.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Io { source, .. } => disk::advice(source),
            Self::Corrupt { .. } | Self::Unreadable { .. } => "restore the folder from a backup",
            Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::InUse { .. }
            | Self::WrongKey { .. }
            | Self::Newer { .. }
            | Self::OtherEngine { .. }
            | Self::Seal(_)
            | Self::Closed => "see the log",
        }
    }

    pub(super) fn of(failure: EngineFailure, doing: &'static str, path: &Path) -> Self {
        let source = match failure {
            EngineFailure::Io(source) => source,
            EngineFailure::Corrupt(why) => Arc::new(io::Error::new(io::ErrorKind::InvalidData, why)),
        };
        Self::Io { doing, path: path.to_path_buf(), source }
    }
}

impl From<SealError> for StoreError {
    fn from(err: SealError) -> Self {
        Self::Seal(Arc::new(err))
    }
}
