//! What the last process left, and how the chain goes on from there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use sha2::{Digest, Sha256};

use super::codec::{self, LineHash, Recorded};
use super::folder::{self, ChainHead};
use super::note::Note;
use super::options::Options;
use super::read::{Backward, Forward, RawLine};
use super::seen::JournalSeen;
use super::whole::{self, Lack};

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The file to append to.
    pub(super) newest: Option<Date>,
    /// Where the chain goes on.
    pub(super) head: ChainHead,
    /// What to write first.
    pub(super) notes: Vec<Note>,
    /// Lines that were known once and are gone.
    pub(super) lacks: Vec<Lack>,
    /// When the last line was written, by the clock of then.
    pub(super) newest_at: Option<Timestamp>,
}

/// What is known of the journal beside its lines.
#[derive(Debug)]
pub(super) struct LastKnown {
    head: Option<ChainHead>,
    pub(super) seen: Option<JournalSeen>,
    boot_id: Option<String>,
}

/// What `.head` and the file beside the folder say.
pub(super) fn known(folder: &Path, options: &Options) -> io::Result<LastKnown> {
    let seen = match JournalSeen::read(folder) {
        Ok(seen) => seen.filter(|_| options.seen),
        Err(err) => {
            tracing::warn!(%err, "the file beside the order journal cannot be read");
            None
        }
    };
    Ok(LastKnown { head: ChainHead::read(folder)?, seen, boot_id: options.boot_id.clone() })
}

impl LastKnown {
    /// The newest line that is known to have been written.
    fn newest(&self) -> Option<ChainHead> {
        let seen = self.seen.as_ref().and_then(JournalSeen::head);
        // `.head` is the younger one.
        let newer = seen.filter(|seen| self.head.is_none_or(|head| head.seq < seen.seq));
        newer.or(self.head)
    }

    /// Was this the end when the last process stopped?
    fn closed_at(&self, head: ChainHead) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.closed && seen.head() == Some(head))
    }
}

/// Find the chain's end. Cuts off an unfinished line of the newest file, and changes
/// nothing else.
pub(super) fn recover(folder: &Path, known: &LastKnown, now: Timestamp) -> io::Result<Recovered> {
    let dates = folder::dates(folder)?;
    let mut found = Recovered {
        newest: dates.last().copied(),
        head: ChainHead { seq: 0, hash: LineHash::ZERO },
        notes: Vec::new(),
        lacks: Vec::new(),
        newest_at: None,
    };
    let mut cut = false;
    if let Some(date) = found.newest {
        match cut_off(folder, date) {
            Ok(note) => {
                cut = note.is_some();
                found.notes.extend(note);
            }
            Err(err) if may_be_put_aside(&err) => {}
            Err(err) => return Err(err),
        }
    }
    for date in dates.iter().rev() {
        let end = match last(folder, *date) {
            Err(err) => {
                found.may_lack(format!("{} cannot be read: {err}", folder::name(*date)), now);
                let Some(head) = known.newest() else { continue };
                // Nothing else tells where the chain ended.
                found.head = head;
                break;
            }
            Ok(end) => end,
        };
        let Some(end) = end else { continue };
        // A clock that was behind when the last line was written is corrected by the file's date.
        let begun = Offset::UTC.to_timestamp(date.to_datetime(Time::midnight())).ok();
        found.newest_at = end.at.max(begun);
        found.head = end.head;
        if let Some((line, why)) = end.broken {
            // Numbers that were given are not given again.
            found.head.seq = end.head.seq.max(known.newest().map_or(0, |known| known.seq));
            found.lacks.push(Lack { what: format!("{}, line {line}: {why}", folder::name(*date)), before: now });
            // First, so that it stands right after the line that it is about.
            found.notes.insert(0, Note::ChainBroken { file: folder::name(*date), line, why });
            return Ok(found);
        }
        break;
    }
    found.hold_against(folder, &dates, known, cut, now);
    Ok(found)
}

impl Recovered {
    /// The chain cannot show it, so a note does.
    fn may_lack(&mut self, why: String, now: Timestamp) {
        self.lacks.push(Lack { what: why.clone(), before: now });
        self.notes.push(Note::MayLack { why });
    }

    /// Is the end that was found the one that is known?
    fn hold_against(&mut self, folder: &Path, dates: &[Date], known: &LastKnown, cut: bool, now: Timestamp) {
        let ChainHead { seq, hash } = self.head;
        // The unfinished line may have been acknowledged: a power cut took its second half.
        let first_lost = seq + 1 + u64::from(cut);
        match known.newest() {
            Some(known_head) if known_head.seq > seq => {
                let what = self.gone(folder, dates, known, known_head.seq);
                if known_head.seq >= first_lost {
                    self.lacks.push(Lack { what, before: now });
                    let (last_seq, last_hash) = (known_head.seq, known_head.hash.to_string());
                    self.notes.insert(0, Note::Lost { first_seq: first_lost, last_seq, last_hash });
                    self.head.seq = known_head.seq;
                } else {
                    // The note about what was cut off stands in the place of the line.
                    self.may_lack(what, now);
                }
            }
            Some(known_head) if known_head.seq == seq && known_head.hash != hash => {
                let (file, line) = (self.newest.map(folder::name).unwrap_or_default(), 0);
                let why = "its last line is not the last one that was written".to_owned();
                self.lacks.push(Lack { what: format!("{file}: {why}"), before: now });
                self.notes.push(Note::ChainBroken { file, line, why });
            }
            Some(_) | None => {}
        }
        if known.head.is_none() && seq > 0 && !known.closed_at(self.head) {
            let why = "`.head` is missing or cannot be read: whether lines are missing at the end cannot be told";
            self.may_lack(why.to_owned(), now);
        }
        let went_down = |seen: &&JournalSeen| seen.host_went_down(known.boot_id.as_deref());
        if let Some(seen) = known.seen.as_ref().filter(went_down) {
            let file = seen.file.as_deref().unwrap_or("the journal");
            self.may_lack(
                format!(
                    "{file}: the host went down while the gateway ran, and journal.fsync was off: \
                     the last lines before that may not have reached the disk"
                ),
                now,
            );
        }
    }

    /// The end is gone: which file, and how it looks.
    fn gone(&self, folder: &Path, dates: &[Date], known: &LastKnown, last: u64) -> String {
        let first = self.head.seq + 1;
        let (lines, are) = whole::lines(first, last);
        let was_in = known.seen.as_ref().and_then(|seen| seen.file.as_deref());
        let was_in = was_in.and_then(|name| name.strip_suffix(".jsonl")?.parse::<Date>().ok());
        let missing = was_in.filter(|date| !dates.contains(date));
        match (missing, self.newest) {
            (Some(date), _) => format!("{}: {lines} had been written", whole::missing(folder, date)),
            (None, Some(newest)) => match whole::strays(folder, newest).first() {
                Some(stray) => {
                    format!("{}: {lines} {are} missing at its end ({stray} lies beside)", folder::name(newest))
                }
                None => format!("{}: {lines} {are} missing at its end", folder::name(newest)),
            },
            (None, None) => format!("no file of the journal is there: {lines} had been written"),
        }
    }
}

/// May a gateway go on without this file?
pub(super) fn may_be_put_aside(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory)
}

/// Cut off what stands after the last newline, unless only the newline is missing.
pub(super) fn cut_off(folder: &Path, date: Date) -> io::Result<Option<Note>> {
    let mut file = File::options().read(true).append(true).open(folder::path(folder, date))?;
    let length = file.metadata()?.len();
    let Some(last) = Backward::new(file.try_clone()?, length).read()?.filter(|line| !line.ended) else {
        return Ok(None);
    };
    if !last.too_long && codec::check(&last.bytes).is_ok() {
        file.write_all(b"\n")?;
        return Ok(None);
    }
    file.seek(SeekFrom::Start(last.offset))?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        digest.update(chunk.get(..read).unwrap_or_default());
    }
    file.set_len(last.offset)?;
    file.sync_all()?;
    let sha256 = HEXLOWER.encode(&digest.finalize());
    Ok(Some(Note::CutOff { file: folder::name(date), bytes: length - last.offset, sha256 }))
}

/// The last line of a file.
#[derive(Debug)]
pub(super) struct LastLine {
    /// Its number and hash, as it stands.
    pub(super) head: ChainHead,
    /// When it was written; `None` when it is broken.
    pub(super) at: Option<Timestamp>,
    /// It is not as it was written: which line of the file, and why.
    pub(super) broken: Option<(u64, String)>,
}

/// The last line of a file, checked against the one before it. `None` when the file is empty.
pub(super) fn last(folder: &Path, date: Date) -> io::Result<Option<LastLine>> {
    let file = File::open(folder::path(folder, date))?;
    let length = file.metadata()?.len();
    let mut lines = Backward::new(file.try_clone()?, length);
    let Some(last) = lines.read()? else { return Ok(None) };
    let before = lines.read()?;
    let why = match check(&last) {
        Ok(recorded) => match before.as_ref().map(check) {
            Some(Ok(before)) if before.hash != recorded.prev || before.seq >= recorded.seq => {
                "it does not follow the line before".to_owned()
            }
            // A broken line before: an earlier opening found it, or `verify` will.
            Some(_) | None => {
                let head = ChainHead { seq: recorded.seq, hash: recorded.hash };
                return Ok(Some(LastLine { head, at: Some(recorded.entry.at), broken: None }));
            }
        },
        Err(why) => why,
    };
    // Rare, so the whole file may be read for what the operator is told.
    let (mut count, mut seq) = (0, 0);
    let mut lines = Forward::new(file, 0)?;
    let mut line = RawLine::empty();
    while lines.read(&mut line)? {
        count += 1;
        seq = codec::read(&line.bytes).map_or(seq + 1, |recorded| recorded.seq.max(seq + 1));
    }
    let head = ChainHead { seq, hash: codec::hash_as_it_stands(&last.bytes) };
    Ok(Some(LastLine { head, at: None, broken: Some((count, why)) }))
}

fn check(line: &RawLine) -> Result<Recorded, String> {
    if line.too_long {
        return Err("it is longer than any line of ours".to_owned());
    }
    codec::check(&line.bytes).map_err(|wrong| wrong.why())
}
