//! Orders of which nobody knows what became of them, and at which no person has looked yet.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::codec::Recorded;
use super::entry::Kind;
use super::note::Note;
use super::query::{Order, Query, query};
use super::redact::SafeText;
use crate::domain::Outcome;

/// Lines that are looked at in one go.
const LINES: usize = 10_000;

/// The outcome lines from `since` on that say `unknown`, where no other line of the request says more and nobody settled
/// it; the newest first, at most `limit`. Reads files: not on a runtime worker.
///
/// # Errors
/// When files cannot be read.
pub fn unsettled(folder: &Path, since: Timestamp, limit: usize) -> io::Result<Vec<Recorded>> {
    let mut wanted = Query { since: Some(since), limit: LINES, order: Order::NewestFirst, ..Query::default() };
    // What comes later in the journal is read first.
    let (mut unknown, mut known) = (Vec::new(), HashSet::<SafeText>::new());
    loop {
        let page = query(folder, &wanted)?;
        for line in page.items {
            let Some(id) = line.entry.request_id.clone() else { continue };
            match (line.entry.kind, &line.entry.note) {
                (Kind::Outcome, _) if line.entry.outcome == Some(Outcome::Unknown) => unknown.push((id, line)),
                (Kind::Outcome, _) | (Kind::Note, Some(Note::Settled { .. })) => {
                    known.insert(id);
                }
                (Kind::Intent | Kind::Note, _) => {}
            }
        }
        match page.next {
            Some(next) => wanted.cursor = Some(next),
            None => break,
        }
    }
    // One that was looked at stays so, also when it is said again that nobody knows.
    let first = |(id, line): (SafeText, Recorded)| known.insert(id).then_some(line);
    Ok(unknown.into_iter().filter_map(first).take(limit).collect())
}
