//! The newest line of each day's file: by these, lines that were taken out of a journal are tied to it again.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::folder;
use super::recovery;

/// The newest line of a day's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayHead {
    /// The file's name.
    pub file: String,
    /// The line's number.
    pub seq: u64,
    /// The line's hash.
    pub hash: String,
}

/// Of each file that can hold lines of this span, but the one that is written to. Reads files: not on a runtime worker.
///
/// # Errors
/// When files cannot be read.
pub fn day_heads(folder: &Path, since: Option<Timestamp>, until: Option<Timestamp>) -> io::Result<Vec<DayHead>> {
    let mut dates = folder::dates(folder)?;
    dates.pop();
    dates.retain(|date| {
        since.is_none_or(|since| *date >= folder::date(since)) && until.is_none_or(|until| *date <= folder::date(until))
    });
    let mut heads = Vec::with_capacity(dates.len());
    for date in dates {
        let last = match recovery::last(folder, date) {
            // Deleted for its age just now.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            last => last?,
        };
        let head = last.map(|last| last.head);
        heads.extend(head.map(|head| DayHead { file: folder::name(date), seq: head.seq, hash: head.hash.to_string() }));
    }
    Ok(heads)
}
