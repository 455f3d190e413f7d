//! What the last process left, and how the chain goes on from there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::folder::{self, Head};
use super::line::{self, LineHash, Recorded};
use super::lines::{Backward, Forward, Line};
use super::note::Note;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The file to append to.
    pub(super) newest: Option<Date>,
    /// Where the chain goes on.
    pub(super) head: Head,
    /// What to write first.
    pub(super) notes: Vec<Note>,
}

/// Find the chain's end. Cuts off an unfinished line of the newest file, and changes
/// nothing else.
pub(super) fn recover(folder: &Path) -> io::Result<Found> {
    let known = Head::read(folder)?;
    let dates = folder::dates(folder)?;
    let newest = dates.last().copied();
    let mut notes = Vec::new();
    let mut cut = false;
    if let Some(date) = newest
        && let Some(note) = cut_off(folder, date)?
    {
        notes.push(note);
        cut = true;
    }
    let mut head = Head { seq: 0, hash: LineHash::ZERO };
    for date in dates.iter().rev() {
        match end_of(folder, *date)? {
            End::Empty => {}
            End::Whole(last) => {
                head = last;
                break;
            }
            End::Broken { hash, seq, line, why } => {
                // Numbers that were given are not given again.
                let seq = seq.max(known.map_or(0, |known| known.seq));
                head = Head { seq, hash };
                // First, so that it stands right after the line that it is about.
                notes.insert(0, Note::ChainBroken { file: folder::name(*date), line, why });
                return Ok(Found { newest, head, notes });
            }
        }
    }
    // The unfinished line may have been acknowledged: a power cut took its second half.
    let first_lost = head.seq + 1 + u64::from(cut);
    match known {
        Some(known) if known.seq >= first_lost => {
            let last_hash = known.hash.to_string();
            notes.insert(0, Note::Lost { first_seq: first_lost, last_seq: known.seq, last_hash });
            head.seq = known.seq;
        }
        Some(known) if known.seq == head.seq && known.hash != head.hash => {
            let (file, line) = (newest.map(folder::name).unwrap_or_default(), 0);
            let why = "its last line is not the last one that was written".to_owned();
            notes.push(Note::ChainBroken { file, line, why });
        }
        Some(_) | None => {}
    }
    Ok(Found { newest, head, notes })
}

/// Cut off what stands after the last newline, unless only the newline is missing.
fn cut_off(folder: &Path, date: Date) -> io::Result<Option<Note>> {
    let mut file = File::options().read(true).append(true).open(folder::path(folder, date))?;
    let length = file.metadata()?.len();
    let Some(last) = Backward::new(file.try_clone()?, length).read()?.filter(|line| !line.ended) else {
        return Ok(None);
    };
    if !last.too_long && line::check(&last.bytes).is_ok() {
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

enum End {
    Empty,
    Whole(Head),
    Broken { hash: LineHash, seq: u64, line: u64, why: String },
}

/// The last line of a file, checked against the one before it.
fn end_of(folder: &Path, date: Date) -> io::Result<End> {
    let file = File::open(folder::path(folder, date))?;
    let length = file.metadata()?.len();
    let mut lines = Backward::new(file.try_clone()?, length);
    let Some(last) = lines.read()? else { return Ok(End::Empty) };
    let before = lines.read()?;
    let why = match check(&last) {
        Ok(recorded) => match before.as_ref().map(check) {
            Some(Ok(before)) if before.hash != recorded.prev || before.seq >= recorded.seq => {
                "it does not follow the line before".to_owned()
            }
            // A broken line before: an earlier opening found it, or `verify` will.
            Some(_) | None => {
                return Ok(End::Whole(Head { seq: recorded.seq, hash: recorded.hash }));
            }
        },
        Err(why) => why,
    };
    // Rare, so the whole file may be read for what the operator is told.
    let (mut count, mut seq) = (0, 0);
    let mut lines = Forward::new(file, 0)?;
    let mut line = Line::empty();
    while lines.read(&mut line)? {
        count += 1;
        seq = line::read(&line.bytes).map_or(seq + 1, |recorded| recorded.seq.max(seq + 1));
    }
    Ok(End::Broken { hash: line::hash_as_it_stands(&last.bytes), seq, line: count, why })
}

fn check(line: &Line) -> Result<Recorded, String> {
    if line.too_long {
        return Err("it is longer than any line of ours".to_owned());
    }
    line::check(&line.bytes).map_err(|wrong| wrong.why())
}

/// Number and hash of a file's last line as it stands.
pub(super) fn last_line(folder: &Path, date: Date) -> io::Result<Option<Head>> {
    Ok(match end_of(folder, date)? {
        End::Empty => None,
        End::Whole(last) => Some(last),
        End::Broken { hash, seq, .. } => Some(Head { seq, hash }),
    })
}
