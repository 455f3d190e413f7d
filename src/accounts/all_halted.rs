//! Are all accounts halted, those to come included?

use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwapOption;

use crate::store::records::AllHaltedRecord;

/// Are all accounts halted?
#[derive(Debug, Default)]
pub(super) struct AllHalted {
    pub(super) record: ArcSwapOption<AllHaltedRecord>,
    /// How often it was asked for: an end that began before must not undo it.
    pub(super) requests: AtomicU64,
    /// What is in force is not what is saved.
    pub(super) is_unsaved: AtomicBool,
    /// One is written at a time.
    pub(super) writing: tokio::sync::Mutex<()>,
}
