//! Why the journal refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a line was not written, or the journal not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// No room. The journal is as it was before; later appends work once there is.
    #[error("no room for the order journal in {path}; order writes are refused until there is", path = .path.display())]
    Full {
        /// The journal's folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk failed. The journal is as it was before.
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
    /// The line is in the journal, and may be gone after a power cut.
    #[error("cannot sync the order journal in {path}", path = .path.display())]
    Unsynced {
        /// The journal's folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The disk takes too long. The line may get there yet.
    #[error("the disk of the order journal in {path} did not take a line within {waited:?}", path = .path.display())]
    Slow {
        /// The journal's folder.
        path: PathBuf,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// Whoever asked could wait no longer, which says nothing of the disk. The line may be in the journal, or get there
    /// yet.
    #[error("its line was not on the disk of the order journal yet, after {waited:?}")]
    NotInTime {
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// Another process, or another journal of this one, has the folder.
    #[error("{path} is in use by another sixgate; stop that one first, or give this one its own state.path", path = .path.display())]
    InUse {
        /// The journal's folder.
        path: PathBuf,
    },
}

impl JournalError {
    /// The word in metrics and logs. Never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "journal_full",
            Self::Io { .. } => "journal_io",
            Self::Unsynced { .. } => "journal_unsynced",
            Self::Slow { .. } => "journal_slow",
            Self::NotInTime { .. } => "journal_not_in_time",
            Self::InUse { .. } => "journal_in_use",
        }
    }

    /// Is the line in the journal, or may it get there yet? Whoever gives its write up says so in another line then.
    pub const fn may_be_written(&self) -> bool {
        match self {
            Self::Unsynced { .. } | Self::Slow { .. } | Self::NotInTime { .. } => true,
            Self::Full { .. } | Self::Io { .. } | Self::InUse { .. } => false,
        }
    }

    /// What the kernel said, if it said anything.
    pub(super) fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::Full { source, .. } | Self::Io { source, .. } | Self::Unsynced { source, .. } => Some(source),
            Self::Slow { .. } | Self::NotInTime { .. } | Self::InUse { .. } => None,
        }
    }

    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { doing, path: path.to_path_buf(), source: Arc::new(source) }
    }
}

/// A line, or a file, that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("{file}, byte {offset}: {why}")]
pub struct Unreadable {
    /// The file's name.
    pub file: String,
    /// Where the line begins.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
}
