//! The order journal: one line before an order write leaves, one line after.
//!
//! # On disk
//!
//! `journal/YYYY-MM-DD.jsonl`, one JSON object a line, in the order they were
//! appended. Dates are UTC, as `at` is: the file changes at 05:30 in India, before
//! the market opens. Every line has every member, in the same order, `null` where
//! there is nothing: columns that stay are worth the bytes to whoever reads this with
//! `jq`, a spreadsheet or a database. Lines of kind `note` have one member more,
//! `note`, before `prev`.
//!
//! `hash` is the last member: SHA-256 in hex over the line's bytes before `,"hash"`.
//! `prev` is the hash of the line before, 64 zeros at the very first, across files.
//! Within a string a quotation mark is escaped, so `,"hash"` stands in a line once.
//!
//! Three files more lie beside them. `.head` holds number and hash of the newest line:
//! a chain alone cannot show that its end was cut off. `.reserve` is room on the disk
//! that is given up for outcomes when there is none left. And beside the folder, `journal.seen` knows of it when it was
//! emptied, and whether the host went down under the last process.
//!
//! # Invariants
//!
//! - A line is written by one `write(2)` in append mode, alone or with others. It is there
//!   after the process is killed; [`Journal::append_durable`] waits until it is there after a power cut.
//! - No half line is followed by a whole one: what was written of a line that failed
//!   is cut off again, and the chain goes on as if it had not been tried.
//! - Intents are refused while there is no reserve, so that the outcomes of orders
//!   that left can be written; but those of what takes risk away.
//! - That lines cannot be written is said once when it begins and once when it ends (`health`), and a disk that is slow or
//!   hangs is waited for by nobody's worker but the one that met it first (`aside`), and by nobody for ever.
//! - What lacks is known: at a start in the lines of the last days, while it runs before each write ([`Whole`]).
//! - No clock alone decides what is remembered or deleted.
//! - Files never go back: a line with an older date goes into the newest file.
//! - A chain that was found broken is not repaired and not hidden: it goes on after a
//!   note that says so, and [`verify()`] reports it ever after.
//! - No secret: fields are typed, a path has no query, and text that looks like a
//!   token is kept as its digest ([`SafeText`]).
//!
//! Not here: when an intent is written and what an outcome is (the order path).

mod append;
mod aside;
mod batch;
#[doc(hidden)]
pub mod bench_hooks;
mod codec;
mod entry;
mod error;
mod export;
mod flush;
mod folder;
mod follow;
#[doc(hidden)]
pub mod fuzzing;
mod heads;
mod health;
mod keep;
mod mentioned;
mod note;
mod options;
mod order_terms;
mod pace;
mod query;
mod read;
mod recovery;
mod redact;
mod seen;
mod submit;
#[cfg(test)]
mod tests;
mod unsettled;
mod verify;
mod whole;
mod writer;

pub use batch::{Appended, InFlightGuard, Urgency};
pub use codec::{LineHash, Members, Recorded, seal};
pub use entry::{Entry, Kind};
pub use error::{JournalError, Unreadable};
pub use export::{COLUMNS, Csv, write_json};
pub use follow::Follow;
pub use heads::{DayHead, day_heads};
pub use health::Room;
pub use mentioned::mentioned;
pub use note::Note;
pub use options::Options;
pub use query::{Cursor, Order, Page, Query, ReadBack, query, read_back};
pub use redact::{SafePath, SafeText};
pub use unsettled::{MOST_UNSETTLED, UnsettledCount};
pub use verify::{Defect, LinePlace, Verification, verify};
pub use whole::{Lack, Whole};
pub use writer::{Journal, Repeat, Status};
