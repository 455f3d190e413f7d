//! Does the journal still say what was written?
//!
//! Every line is read once, in bounded memory. Beside this program, anybody can do it:
//!
//! ```python
#![doc = include_str!("../../../tests/clients/verify_journal.py")]
//! ```
//!
//! What a chain proves: a line that was changed, removed, put in or moved is found,
//! unless everything after it was made anew. `.head` shows whether the end is there;
//! against somebody who rewrites all of it, keep the newest hash somewhere else.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::codec::{self, LineHash, Recorded, Wrong};
use super::folder::{self, ChainHead};
use super::note::Note;
use super::read::{Forward, RawLine};
use super::seen::JournalSeen;
use super::whole;

/// How many problems are told; the rest are counted.
const TOLD: usize = 1000;

/// What was found.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Verification {
    /// How many files were read.
    pub files: u64,
    /// Whole lines read.
    pub lines: u64,
    /// The first line that can be read.
    pub first: Option<LinePlace>,
    /// The last line that can be read.
    pub last: Option<LinePlace>,
    /// Was there a `.head` to compare the end with?
    pub head: bool,
    /// Bytes at the end that are no line yet: one is being written, or a crash left
    /// it. Not a problem: it was never acknowledged, and the gateway cuts it off.
    pub unfinished: u64,
    /// What is wrong, up to a thousand.
    pub problems: Vec<Defect>,
    /// How many in all.
    pub problem_count: u64,
}

impl Verification {
    /// Nothing is wrong.
    pub const fn is_good(&self) -> bool {
        self.problem_count == 0
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinePlace {
    /// Its file's name.
    pub file: String,
    /// Which line of the file, from 1.
    pub line: u64,
    /// The number that the line says it has.
    pub seq: u64,
    /// When the line says it was written.
    pub at: Timestamp,
    /// The hash that the line ends with.
    pub hash: String,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// In which file.
    pub file: String,
    /// Which line of it, from 1; 0 for the file as a whole.
    pub line: u64,
    /// What is wrong there.
    pub what: String,
}

/// Verify a journal, also of a running gateway.
///
/// # Errors
/// When files cannot be read. What is wrong in them is in the report.
pub fn verify(folder: &Path) -> io::Result<Verification> {
    // Before the files: a running gateway only adds lines.
    let head = ChainHead::read(folder)?;
    let seen = JournalSeen::read(folder)?;
    let mut walk = Walk::new(folder, head, seen);
    let dates = folder::dates(folder)?;
    for date in &dates {
        walk.file(*date, dates.last() == Some(date))?;
    }
    Ok(walk.finish())
}

/// The line before.
struct PreviousLine {
    date: Date,
    seq: u64,
    /// What the next line's `prev` may be: the hash it claims, or the one it has.
    hashes: [LineHash; 2],
    /// A problem was told about it.
    broken: bool,
}

struct Walk {
    folder: PathBuf,
    /// What the file beside the folder says.
    seen: Option<JournalSeen>,
    report: Verification,
    head: Option<ChainHead>,
    date: Date,
    file: String,
    line: u64,
    before: Option<PreviousLine>,
    /// A beginning that a note about deleted files has yet to explain.
    unexplained: Option<(String, u64, LineHash)>,
    unfinished: Option<(String, u64)>,
}

impl Walk {
    fn new(folder: &Path, head: Option<ChainHead>, seen: Option<JournalSeen>) -> Self {
        Self {
            folder: folder.to_path_buf(),
            seen,
            report: Verification { head: head.is_some(), ..Verification::default() },
            head,
            date: Date::MIN,
            file: String::new(),
            line: 0,
            before: None,
            unexplained: None,
            unfinished: None,
        }
    }

    fn file(&mut self, date: Date, newest: bool) -> io::Result<()> {
        let file = match File::open(folder::path(&self.folder, date)) {
            // Deleted for its age just now.
            Err(err) if err.kind() == io::ErrorKind::NotFound && self.before.is_none() => return Ok(()),
            opened => opened?,
        };
        self.date = date;
        self.file = folder::name(date);
        self.line = 0;
        self.report.files += 1;
        let mut lines = Forward::new(file, 0)?;
        let mut line = RawLine::empty();
        while lines.read(&mut line)? {
            self.line += 1;
            if !line.ended && newest {
                self.report.unfinished = line.end - line.offset;
                self.unfinished = Some((self.file.clone(), self.line));
                break;
            }
            self.read(&line);
        }
        Ok(())
    }

    fn read(&mut self, line: &RawLine) {
        self.report.lines += 1;
        let wrong = if line.too_long {
            "it is longer than any line of ours".to_owned()
        } else if !line.ended {
            "it has no newline, and another file follows".to_owned()
        } else {
            match codec::check(&line.bytes) {
                Ok(recorded) => return self.recorded(&recorded),
                Err(wrong) => return self.wrong(&line.bytes, &wrong),
            }
        };
        self.problem(wrong);
        self.after_wrong([codec::hash_as_it_stands(&line.bytes); 2]);
    }

    fn wrong(&mut self, bytes: &[u8], wrong: &Wrong) {
        let what = if bytes.is_empty() { "it is empty".to_owned() } else { wrong.why() };
        self.problem(what);
        self.after_wrong(match wrong {
            Wrong::Ending => [codec::hash_as_it_stands(bytes); 2],
            Wrong::Hash { found, claimed } => [*claimed, *found],
            Wrong::Content { hash, .. } => [*hash; 2],
        });
    }

    fn after_wrong(&mut self, hashes: [LineHash; 2]) {
        let seq = self.before.as_ref().map_or(0, |before| before.seq) + 1;
        self.before = Some(PreviousLine { date: self.date, seq, hashes, broken: true });
    }

    fn recorded(&mut self, recorded: &Recorded) {
        let fits = self.follows(recorded);
        if let Some(what) = fits.as_ref().err() {
            self.problem(what.clone());
        }
        if folder::date(recorded.entry.at) > self.date {
            self.problem("it is of a later day than its file".to_owned());
        }
        let place = LinePlace {
            file: self.file.clone(),
            line: self.line,
            seq: recorded.seq,
            at: recorded.entry.at,
            hash: recorded.hash.to_string(),
        };
        if self.report.first.is_none() {
            self.report.first = Some(place.clone());
        }
        self.report.last = Some(place);
        if self.head.is_some_and(|head| head.seq == recorded.seq && head.hash != recorded.hash) {
            self.problem("it is not the line that .head says was written with this number".to_owned());
        }
        if let Some(Note::Deleted { last_seq, last_hash, .. }) = &recorded.entry.note {
            let explains = |prev: &LineHash, seq: u64| prev.to_string() == *last_hash && seq == last_seq + 1;
            self.unexplained.take_if(|(_, seq, prev)| explains(prev, *seq));
        }
        let (date, seq) = (self.date, recorded.seq);
        self.before = Some(PreviousLine { date, seq, hashes: [recorded.hash; 2], broken: fits.is_err() });
    }

    /// Does it follow the line before? Notes of the gateway about a broken chain are
    /// problems too: what they tell of does not go away.
    fn follows(&mut self, recorded: &Recorded) -> Result<(), String> {
        let Some(before) = &self.before else {
            if recorded.prev != LineHash::ZERO || recorded.seq != 1 {
                self.unexplained = Some((self.file.clone(), recorded.seq, recorded.prev));
            }
            return Ok(());
        };
        if !before.hashes.contains(&recorded.prev) {
            if recorded.seq > before.seq + 1 {
                return Err(whole::gap(&self.folder, (before.date, before.seq), (self.date, recorded.seq)));
            }
            return Err(format!(
                "line {} does not follow line {}: lines before it were removed, put in or moved",
                recorded.seq, before.seq
            ));
        }
        match &recorded.entry.note {
            Some(Note::Lost { first_seq, last_seq, .. }) => {
                Err(format!("lines {first_seq} to {last_seq} had been written and were gone when the gateway started"))
            }
            Some(Note::MayLack { why }) => Err(format!("the gateway found when it started: {why}")),
            Some(Note::ChainBroken { .. }) if before.broken => Ok(()),
            Some(Note::ChainBroken { file, why, .. }) => {
                Err(format!("the gateway found the chain broken in {file} when it started: {why}"))
            }
            _ if recorded.seq == before.seq + 1 || before.broken && recorded.seq > before.seq => Ok(()),
            _ => Err(format!("number {} follows number {}", recorded.seq, before.seq)),
        }
    }

    fn problem(&mut self, what: String) {
        self.report.problem_count += 1;
        if self.report.problems.len() < TOLD {
            self.report.problems.push(Defect { file: self.file.clone(), line: self.line, what });
        }
    }

    fn finish(mut self) -> Verification {
        if let Some((file, seq, _)) = self.unexplained.take() {
            (self.file, self.line) = (file, 1);
            self.problem(format!(
                "the chain begins with number {seq}: files before it are missing, and no note says that they were deleted"
            ));
        }
        let last = self.before.as_ref().map_or(0, |before| before.seq);
        let seen = self.seen.take();
        self.missing(seen.as_ref(), last);
        match (self.head, self.unfinished.take()) {
            (Some(head), unfinished) if head.seq > last => {
                self.line = unfinished.map_or(self.line, |(_, line)| line);
                self.problem(format!(
                    "the end is gone: .head says that {} lines were written, here are {last}",
                    head.seq
                ));
            }
            (None, Some((file, line))) => {
                (self.file, self.line) = (file, line);
                self.problem("it has no newline: it was cut off, or is being written".to_owned());
            }
            _ => {}
        }
        self.report
    }

    /// The newest file is gone, or the folder was emptied: what lies beside it knows.
    fn missing(&mut self, seen: Option<&JournalSeen>, last: u64) {
        let Some(seen) = seen.filter(|seen| seen.seq > last) else { return };
        let date = seen.file.as_deref().and_then(|name| name.strip_suffix(".jsonl")?.parse::<Date>().ok());
        let Some(date) = date else { return };
        (self.file, self.line) = (folder::name(date), 0);
        let lines = format!("line {} had been written to it, and the last one here is {last}", seen.seq);
        self.problem(if folder::path(&self.folder, date).exists() {
            format!("its end is missing: {lines}")
        } else {
            format!("{}: {lines}", whole::missing(&self.folder, date))
        });
    }
}
