//! Backend: what the store asks of an engine that keeps bytes on disk.
//!
//! Invariants that an engine must keep; `tests/store_crash.rs` tries to break them:
//! - When `apply` returns, the batch survives a power cut.
//! - After any stop a batch is there whole or not at all, and no earlier one is missing.
//! - `open` either gives all of that back or says [`EngineFailure::Corrupt`].
//!
//! Not here: what the bytes mean, sealing, guards.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Keys and their new values; none deletes.
pub(super) type WriteBatch = Vec<(Arc<[u8]>, Option<Vec<u8>>)>;

/// Why an engine failed. Its text holds no keys or values.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum EngineFailure {
    #[error("input or output failed")]
    Io(#[source] Arc<io::Error>),
    #[error("{0}")]
    Corrupt(String),
}

impl From<io::Error> for EngineFailure {
    fn from(err: io::Error) -> Self {
        Self::Io(Arc::new(err))
    }
}

/// An open engine. Dropping it closes it; that may block on the disk.
pub(super) trait Backend: Send {
    /// Every key and value, in the order of keys. After a failure the engine is dropped.
    fn each(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), EngineFailure>;
    /// Write a batch, durable when this returns. After a failure the engine is
    /// dropped and opened again: nothing is known of what it holds.
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), EngineFailure>;
}

/// Run an engine's code; its panic is a [`EngineFailure::Corrupt`] and not the end of
/// the thread. What it panicked on is dropped after, not used.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, EngineFailure>) -> Result<T, EngineFailure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(EngineFailure::Corrupt("the engine panicked".into())))
}
