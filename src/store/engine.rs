//! The engines there are.

use std::path::Path;

use super::backend::{Backend, EngineFailure, guarded};

/// Which engine keeps the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// sled 0.34, wrapped.
    #[default]
    Sled,
    /// redb 4.
    #[cfg(feature = "redb")]
    Redb,
}

impl Engine {
    /// Its name, also of its folder inside the store's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            #[cfg(feature = "redb")]
            Self::Redb => "redb",
        }
    }

    /// Open, or make, the engine's folder. A panic inside is corruption: both
    /// engines assert on what they read.
    pub(super) fn open(self, folder: &Path) -> Result<Box<dyn Backend>, EngineFailure> {
        guarded(|| match self {
            Self::Sled => Ok(Box::new(super::sled::SledBackend::open(folder)?) as Box<dyn Backend>),
            #[cfg(feature = "redb")]
            Self::Redb => Ok(Box::new(super::redb::RedbBackend::open(folder)?) as Box<dyn Backend>),
        })
    }
}
