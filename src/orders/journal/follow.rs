//! New lines as they are written, from one file to the next.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::codec::{self, Recorded};
use super::error::Unreadable;
use super::folder;
use super::read::{Backward, Forward, RawLine};

/// Lines are given out at most so many at once, so that memory is bounded.
const AT_ONCE: usize = 1024;

/// A place in the journal that moves on. It needs no running gateway and no lock.
#[derive(Debug)]
pub struct Follow {
    folder: PathBuf,
    at: Option<(Date, u64)>,
}

impl Follow {
    /// From the end, or `last` lines before it (of the newest file).
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn from_end(folder: &Path, last: usize) -> io::Result<Self> {
        let at = match folder::dates(folder)?.last().copied() {
            None => None,
            Some(date) => {
                let file = File::open(folder::path(folder, date))?;
                let mut offset = file.metadata()?.len();
                let mut lines = Backward::new(file, offset);
                let mut wanted = last;
                while let Some(line) = lines.read()? {
                    // One that is being written is not there yet.
                    if line.ended {
                        if wanted == 0 {
                            break;
                        }
                        wanted -= 1;
                    }
                    offset = line.offset;
                }
                Some((date, offset))
            }
        };
        Ok(Self { folder: folder.to_path_buf(), at })
    }

    /// What was written since the last call; empty when nothing was. Reads files: not
    /// on a runtime worker.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn poll(&mut self) -> io::Result<Vec<Result<Recorded, Unreadable>>> {
        let mut found = Vec::new();
        loop {
            // Listed before the file is read: when there is a newer one by then,
            // nothing more is added to this one.
            let dates = folder::dates(&self.folder)?;
            if let Some((date, offset)) = self.at {
                let end = self.read(date, offset, &mut found)?;
                self.at = Some((date, end));
                if found.len() >= AT_ONCE {
                    return Ok(found);
                }
            }
            let newer = dates.into_iter().find(|date| self.at.is_none_or(|(current, _)| *date > current));
            match newer {
                Some(date) => self.at = Some((date, 0)),
                None => return Ok(found),
            }
        }
    }

    fn read(&self, date: Date, offset: u64, found: &mut Vec<Result<Recorded, Unreadable>>) -> io::Result<u64> {
        let file = match File::open(folder::path(&self.folder, date)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(offset),
            opened => opened?,
        };
        let mut lines = Forward::new(file, offset)?;
        let mut line = RawLine::empty();
        let mut end = offset;
        while found.len() < AT_ONCE && lines.read(&mut line)? && line.ended {
            end = line.end;
            found.push(codec::check(&line.bytes).map_err(|wrong| Unreadable {
                file: folder::name(date),
                offset: line.offset,
                why: wrong.why(),
            }));
        }
        Ok(end)
    }
}
