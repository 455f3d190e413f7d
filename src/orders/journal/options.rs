//! How a journal is kept.

use std::time::Duration;

use super::pace::SLOW;
use super::seen;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// [`Journal::append_durable`](super::Journal::append_durable) waits for the disk (`journal.fsync`).
    pub fsync: bool,
    /// How long files are kept (`journal.keep`).
    pub keep: Duration,
    /// Keep a file beside the folder that knows of it, `journal.seen` for `journal`, and a thread that tends both.
    pub seen: bool,
    /// Which run of the host's kernel this is, where it is known.
    pub boot_id: Option<String>,
    /// A write that takes longer makes the disk a slow one, whose lines a thread of their own writes.
    pub slow_from: Duration,
}

impl Options {
    /// A journal alone, without anything beside it.
    pub const fn new(fsync: bool, keep: Duration) -> Self {
        Self { fsync, keep, seen: false, boot_id: None, slow_from: SLOW }
    }

    /// As the gateway keeps it.
    #[must_use]
    pub fn tended(self) -> Self {
        Self { seen: true, boot_id: seen::boot_id(), ..self }
    }
}
