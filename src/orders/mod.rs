//! What makes an order write safe: it is written down before it leaves, it is never
//! done twice, and it never makes the broker close the door on its account.
//!
//! - [`journal`]: what was sent and what became of it, so that it can be read,
//!   proved and remembered after a crash.
//! - [`limits`]: how much the broker takes from an account, kept before it is sent.
//! - [`memory`]: what is known of the writes of the last day, by the ids that their
//!   callers can repeat them with.
//! - [`trail`]: what a lost write can be looked for by, and what the broker's answers
//!   say of it.
//!
//! Not here: sending (`proxy`), connections and their health (`legs`, `egress`), what
//! an endpoint is (`broker`).

pub mod journal;
pub mod limits;
pub mod memory;
pub mod trail;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use journal::{Journal, JournalError, Options};
use memory::Memory;

/// What the gateway knows of order writes.
#[derive(Debug)]
pub struct Orders {
    /// Every send and what became of it.
    pub journal: Journal,
    /// Those of the last day.
    pub memory: Memory,
}

impl Orders {
    /// Open the journal in `folder`. Reads and writes files: not on a worker of the runtime.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(folder: &Path, fsync: bool, keep: Duration) -> Result<Self, JournalError> {
        let journal = Journal::open(folder, &Options { fsync, keep }, Timestamp::now())?;
        Ok(Self { journal, memory: Memory::default() })
    }
}
