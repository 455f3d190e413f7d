//! Is the journal whole, and what lacks if not.
//!
//! The memory of order writes is rebuilt from the last days' lines. A line that lacks there is an order that looks as
//! if it had never been seen, so whoever decides about sending must know: an id that is not known proves nothing then.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;

use super::codec::{LineHash, Recorded, Wrong};
use super::folder;
use super::note::Note;

/// At most so many are kept and told; one is as bad as many.
const TOLD: usize = 20;

/// Something that lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What, in a sentence that names the file.
    pub what: String,
    /// What lacks was written before this; the greatest time where that is not known.
    pub before: Timestamp,
}

/// How whole the journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// When this process opened it. What was written since is remembered, whatever became of the files.
    pub opened: Timestamp,
    /// What lacked of the remembered days when it was opened and read back: an id that is not known may have been
    /// sent before `opened`.
    pub memory: Vec<Lack>,
    /// What was taken from the files while this process runs: the next start will not find it.
    pub files: Vec<Lack>,
}

impl Whole {
    /// Does an id that is not known prove that it was never sent?
    pub const fn remembers_all(&self) -> bool {
        self.memory.is_empty()
    }

    /// Nothing lacks anywhere.
    pub const fn is_whole(&self) -> bool {
        self.memory.is_empty() && self.files.is_empty()
    }

    /// What lacks, in sentences.
    pub fn why(&self) -> Vec<String> {
        self.memory.iter().chain(&self.files).map(|lack| lack.what.clone()).collect()
    }
}

/// Keep what lacks, and say it where an operator looks.
pub(super) fn report(lacks: &mut Vec<Lack>, found: impl IntoIterator<Item = Lack>, meaning: &str) {
    for lack in found {
        if lacks.len() == TOLD {
            tracing::error!("THE ORDER JOURNAL IS NOT WHOLE: and more; see `sixgate journal verify`");
            return;
        }
        if lacks.iter().any(|known| known.what == lack.what) {
            continue;
        }
        tracing::error!("THE ORDER JOURNAL IS NOT WHOLE: {}. {meaning}", lack.what);
        lacks.push(lack);
    }
}

/// What a lack at the start means.
pub(super) const AT_A_START: &str = "An order may have been sent of which nothing is known here: for the rest of the \
    day an order under an id that is not known is asked of the broker before it is sent. Cancels and exits are not held up";
/// What a lack while running means.
pub(super) const WHILE_RUNNING: &str = "It goes on in a file of its own. Until this process ends it remembers every \
    order all the same; put the file back where it was, or after the next start orders under ids that are not known are \
    asked of the broker first, for the rest of that day. Leave this folder to the gateway: it rotates and deletes by itself";

/// Files that were the journal's, by their names: compressed, or moved to another name in the folder.
pub(super) fn strays(directory: &Path, date: Date) -> Vec<String> {
    let name = folder::name(date);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let mut strays: Vec<_> = names.map(OsString::into_string).filter_map(Result::ok).collect();
    strays.retain(|other| *other != name && other.starts_with(&name));
    strays.sort_unstable();
    strays
}

/// A date's file is missing: how that is said.
pub(super) fn missing(directory: &Path, date: Date) -> String {
    let name = folder::name(date);
    match strays(directory, date).first() {
        Some(stray) => {
            format!("{name} is missing, and {stray} lies in its place: bring it back to its name, as it was")
        }
        None => format!("{name} is missing"),
    }
}

/// Lines by their numbers, and the verb that goes with them.
pub(super) fn lines(first: u64, last: u64) -> (String, &'static str) {
    if first == last { (format!("line {last}"), "is") } else { (format!("lines {first} to {last}"), "are") }
}

/// Lines that are not there between two that are.
pub(super) fn gap(directory: &Path, before: (Date, u64), after: (Date, u64)) -> String {
    let ((from, before), (to, after)) = (before, after);
    let (one, other) = (folder::name(from), folder::name(to));
    if after.saturating_sub(before) < 2 {
        return format!("{other}: what stood before line {after} is not line {before}");
    }
    let (lines, are) = lines(before + 1, after - 1);
    if from == to {
        return format!("{other}: {lines} {are} missing in it");
    }
    let dates = std::iter::successors(Some(from), |date| date.tomorrow().ok()).take_while(|date| *date <= to).take(400);
    let stray = dates.filter(|date| *date != to).find_map(|date| strays(directory, date).into_iter().next());
    let beside = stray.map(|stray| format!(" ({stray} lies beside)")).unwrap_or_default();
    match from.until(to).map_or(0, |span| span.get_days()) {
        2 => format!("{}: {lines} had been in it", from.tomorrow().map_or(other, |date| missing(directory, date))),
        0 | 1 => format!("{lines} {are} missing at the end of {one} or the beginning of {other}{beside}"),
        _ => format!("files between {one} and {other} are missing: {lines} had been in them{beside}"),
    }
}

/// Follows a chain as it is read, and notes where something lacks in it.
#[derive(Debug, Default)]
pub(super) struct Chain {
    before: Option<Before>,
    /// A beginning with nothing before it, which a note about deleted files has yet to explain.
    unexplained: Option<(u64, LineHash, Lack)>,
    lacks: Vec<Lack>,
}

#[derive(Debug)]
struct Before {
    date: Date,
    seq: u64,
    /// What the next line's `prev` may be.
    hashes: [LineHash; 2],
    broken: bool,
}

impl Chain {
    /// The last line of the file before the first that is read.
    pub(super) fn begins_after(&mut self, date: Date, seq: u64, hash: LineHash) {
        self.before = Some(Before { date, seq, hashes: [hash; 2], broken: false });
    }

    /// A line that is as it was written. `since` is from when on nothing may lack. What it tells or shows of an earlier
    /// time is given back: it is for [`Chain::lack`] if the clock that it was written by was behind.
    #[must_use]
    pub(super) fn line(&mut self, directory: &Path, date: Date, recorded: &Recorded, since: Timestamp) -> Vec<String> {
        let at = recorded.entry.at;
        let mut older = Vec::new();
        let mut tell = |chain: &mut Self, what: String| {
            if at >= since {
                chain.lack(what, at);
            } else {
                older.push(what);
            }
        };
        let broken = self.before.as_ref().is_some_and(|before| before.broken);
        match &self.before {
            None if recorded.seq == 1 || at <= since => {}
            None => {
                let what = format!(
                    "{} begins with line {}, and what stood before it is missing",
                    folder::name(date),
                    recorded.seq
                );
                self.unexplained = Some((recorded.seq, recorded.prev, Lack { what, before: at }));
            }
            Some(before) => {
                let follows = before.hashes.contains(&recorded.prev);
                // After a line that cannot be read its number is not known.
                let counts = recorded.seq == before.seq + 1 || before.broken && recorded.seq > before.seq;
                // What stood before a line of an earlier time is older still.
                if !follows || !counts {
                    let what = gap(directory, (before.date, before.seq), (date, recorded.seq));
                    tell(self, what);
                }
            }
        }
        match &recorded.entry.note {
            // The gateway found it when it started, and the chain does not show it.
            Some(Note::MayLack { why }) => tell(self, why.clone()),
            Some(Note::ChainBroken { file, why, .. }) if !broken => tell(self, format!("{file}: {why}")),
            // In the window the gap before it shows it.
            Some(Note::Lost { first_seq, last_seq, .. }) if at < since => {
                let (lines, are) = lines(*first_seq, *last_seq);
                tell(self, format!("{}: {lines} {are} missing before line {}", folder::name(date), recorded.seq));
            }
            _ => {}
        }
        if let Some(Note::Deleted { last_seq, last_hash, .. }) = &recorded.entry.note {
            let explains = |seq: u64, prev: &LineHash| prev.to_string() == *last_hash && seq == last_seq + 1;
            self.unexplained.take_if(|(seq, prev, _)| explains(*seq, prev));
        }
        self.before = Some(Before { date, seq: recorded.seq, hashes: [recorded.hash; 2], broken: false });
        older
    }

    /// A line that is not: whatever it was, it is not remembered.
    pub(super) fn wrong(&mut self, date: Date, offset: u64, wrong: &Wrong, stands: LineHash) {
        self.lack(format!("{}, byte {offset}: {}", folder::name(date), wrong.why()), Timestamp::MAX);
        self.go_on_after(date, wrong, stands);
    }

    /// After a line that is not, of a day that is not asked about: it is no lack.
    pub(super) fn go_on_after(&mut self, date: Date, wrong: &Wrong, stands: LineHash) {
        let hashes = match wrong {
            Wrong::Ending => [stands; 2],
            Wrong::Hash { found, claimed } => [*claimed, *found],
            Wrong::Content { hash, .. } => [*hash; 2],
        };
        let seq = self.before.as_ref().map_or(0, |before| before.seq) + 1;
        self.before = Some(Before { date, seq, hashes, broken: true });
    }

    pub(super) fn lack(&mut self, what: String, before: Timestamp) {
        if self.lacks.len() <= TOLD {
            self.lacks.push(Lack { what, before });
        }
    }

    /// A file that cannot be read to its end: what follows follows something that is not known.
    pub(super) fn unreadable(&mut self, date: Date, why: &str) {
        self.lack(format!("{} cannot be read: {why}", folder::name(date)), Timestamp::MAX);
        self.before = None;
        self.unexplained = None;
    }

    /// Everything that was found to lack.
    pub(super) fn into_lacks(mut self) -> Vec<Lack> {
        self.lacks.extend(self.unexplained.take().map(|(_, _, lack)| lack));
        self.lacks
    }
}

#[cfg(test)]
mod tests;
