//! Reading back: pages for people, everything for the memory after a restart.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::codec::{self, Recorded};
use super::entry::{Entry, Kind};
use super::error::Unreadable;
use super::folder;
use super::read::{Backward, Forward, RawLine};
use super::recovery;
use super::redact::SafeText;
use super::whole::{Chain, Lack};
use crate::domain::problem::Invalid;
use crate::domain::{AccountName, Outcome};

/// Which lines, and how many of them at once.
#[derive(Clone, Debug)]
pub struct Query {
    /// Of this account only.
    pub account: Option<AccountName>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// From this instant on.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    /// With this outcome, so outcome lines only.
    pub outcome: Option<Outcome>,
    /// Of this request.
    pub request_id: Option<SafeText>,
    /// With this order id, alone or among others.
    pub order_id: Option<SafeText>,
    /// With this correlation id.
    pub correlation_id: Option<SafeText>,
    /// Whether the oldest or the newest line comes first.
    pub order: Order,
    /// At most so many. A page may hold fewer and still not be the last: see [`Page::next`].
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// At most so many lines are looked at for one page, so that a rare order in a
    /// big journal does not hold up the one who serves it.
    pub scan: u64,
}

impl Default for Query {
    /// The newest hundred, whatever they are.
    fn default() -> Self {
        Self {
            account: None,
            kind: None,
            since: None,
            until: None,
            outcome: None,
            request_id: None,
            order_id: None,
            correlation_id: None,
            order: Order::NewestFirst,
            limit: 100,
            cursor: None,
            scan: 1_000_000,
        }
    }
}

/// Which lines come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last that were written.
    NewestFirst,
    /// The first that were written.
    OldestFirst,
}

/// Where a page ended: good for as long as the file is kept. For the same query only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    date: Date,
    offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.date, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parse = || {
            let (date, offset) = text.split_once('.')?;
            Some(Self { date: date.parse().ok()?, offset: offset.parse().ok()? })
        };
        parse().ok_or(Invalid::new("not a cursor; give the `next` of the page before"))
    }
}

/// A page of lines.
#[derive(Debug)]
pub struct Page {
    /// The lines, in the order asked for.
    pub items: Vec<Recorded>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<Cursor>,
    /// Lines that cannot be read and were passed over; `verify` says what is wrong.
    pub unreadable: u64,
}

impl Query {
    fn wants(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|kind| entry.kind == kind)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
            && self.outcome.is_none_or(|outcome| entry.outcome == Some(outcome))
            && self.account.as_ref().is_none_or(|account| entry.account.as_ref() == Some(account))
            && self.request_id.as_ref().is_none_or(|id| entry.request_id.as_ref() == Some(id))
            && self.correlation_id.as_ref().is_none_or(|id| entry.correlation_id.as_ref() == Some(id))
            && self.order_id.as_ref().is_none_or(|id| entry.order_ids().any(|other| other == id.as_str()))
    }

    /// The files that can hold what is asked for, in the order to read them. A line
    /// lies in the file of its date or, when the clock went back, in a newer one; by
    /// more than a day only in the newest.
    fn dates(&self, folder: &Path) -> io::Result<Vec<Date>> {
        let mut dates = folder::dates(folder)?;
        let newest = dates.last().copied();
        let from = self.since.map_or(Date::MIN, folder::date);
        let to = self.until.and_then(|until| folder::date(until).tomorrow().ok()).unwrap_or(Date::MAX);
        // A clock that was ahead left a file with a later date, and what was written then lies in it.
        let ahead = dates.iter().copied().find(|date| *date > to);
        dates.retain(|date| *date >= from && (*date <= to || Some(*date) == ahead || Some(*date) == newest));
        if self.order == Order::NewestFirst {
            dates.reverse();
        }
        if let Some(cursor) = self.cursor {
            dates.retain(|date| match self.order {
                Order::NewestFirst => *date <= cursor.date,
                Order::OldestFirst => *date >= cursor.date,
            });
        }
        Ok(dates)
    }
}

/// One page. Reads files: not on a runtime worker.
///
/// # Errors
/// When files cannot be read.
pub fn query(folder: &Path, query: &Query) -> io::Result<Page> {
    let mut page = Page { items: Vec::new(), next: None, unreadable: 0 };
    let mut scanned = 0;
    for date in query.dates(folder)? {
        let path = folder::path(folder, date);
        let file = match File::open(path) {
            // Deleted for its age just now.
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let at = query.cursor.filter(|cursor| cursor.date == date).map(|cursor| cursor.offset);
        let mut lines = Lines::new(file, query.order, at)?;
        while let Some(line) = lines.read()? {
            // One that is being written.
            if !line.ended {
                continue;
            }
            let offset = match query.order {
                Order::NewestFirst => line.end,
                Order::OldestFirst => line.offset,
            };
            if scanned == query.scan {
                page.next = Some(Cursor { date, offset });
                return Ok(page);
            }
            scanned += 1;
            match codec::read(&line.bytes) {
                Ok(recorded) if !query.wants(&recorded.entry) => {}
                Ok(_) if page.items.len() == query.limit => {
                    page.next = Some(Cursor { date, offset });
                    return Ok(page);
                }
                Ok(recorded) => page.items.push(recorded),
                Err(_) => page.unreadable += 1,
            }
        }
    }
    Ok(page)
}

enum Lines {
    Forward(Forward, RawLine),
    Backward(Backward, RawLine),
}

impl Lines {
    fn new(file: File, order: Order, at: Option<u64>) -> io::Result<Self> {
        Ok(match order {
            Order::OldestFirst => Self::Forward(Forward::new(file, at.unwrap_or(0))?, RawLine::empty()),
            Order::NewestFirst => {
                let length = file.metadata()?.len();
                let end = at.map_or(length, |at| at.min(length));
                Self::Backward(Backward::new(file, end), RawLine::empty())
            }
        })
    }

    fn read(&mut self) -> io::Result<Option<&RawLine>> {
        Ok(match self {
            Self::Forward(lines, line) => lines.read(line)?.then_some(line),
            Self::Backward(lines, line) => match lines.read()? {
                Some(read) => {
                    *line = read;
                    Some(line)
                }
                None => None,
            },
        })
    }
}

/// Every line since an instant, oldest first: for what asks for a time. Opens only the files that can hold one. Reads
/// files: not on a runtime worker.
///
/// # Errors
/// When the folder cannot be listed. Lines and files that cannot be read are items.
pub fn read_back(folder: &Path, since: Timestamp) -> io::Result<ReadBack> {
    read_back_from(folder, since, folder::date(since))
}

/// The date of the oldest file that is read whole at a start.
fn newest_whole(folder: &Path) -> io::Result<Date> {
    let dates = folder::dates(folder)?;
    let mut left = WHOLE_FILES;
    let mut oldest = Date::MAX;
    for date in dates.into_iter().rev().take(FILES) {
        oldest = date;
        // One that cannot be looked at is told of when it is read.
        let length = std::fs::metadata(folder::path(folder, date)).map_or(0, |about| about.len());
        left -= usize::from(length > FEW_LINES);
        if left == 0 {
            break;
        }
    }
    Ok(oldest)
}

fn read_back_from(folder: &Path, since: Timestamp, first: Date) -> io::Result<ReadBack> {
    let mut dates = folder::dates(folder)?;
    let older = dates.iter().copied().rfind(|date| *date < first);
    dates.retain(|date| *date >= first);
    dates.reverse();
    Ok(ReadBack {
        folder: folder.to_path_buf(),
        since,
        all_after_first: false,
        asked_from: folder::date(since),
        whole_from: Date::MAX,
        dates,
        current: None,
        line: RawLine::empty(),
        chain: Chain::default(),
        older,
        held: VecDeque::new(),
        released: VecDeque::new(),
    })
}

/// More files than the remembered days have, also where clocks jumped.
const FILES: usize = 10;

/// Of each start so many files are read whole, whatever the times in them say: a host's clock that is days ahead begins a
/// file of its own date with the first line after a start, and by it all orders of this morning look older than a day.
const WHOLE_FILES: usize = 2;
/// A file with less is a day on which nothing was traded, or one that a wrong clock began. Bytes.
const FEW_LINES: u64 = 128 << 10;

/// From the first line since an instant on, every line: what the memory is rebuilt from after a restart. A line after
/// it that bears an older time was written later all the same, and so was whatever stands in the newest files.
pub(super) fn read_back_all(folder: &Path, since: Timestamp) -> io::Result<ReadBack> {
    let whole_from = newest_whole(folder)?;
    let read = read_back_from(folder, since, folder::date(since).min(whole_from))?;
    let mut read = ReadBack { all_after_first: true, whole_from, ..read };
    if let Some(more) = read.dates.len().checked_sub(FILES).filter(|more| *more > 0) {
        // Newest first: the clock is years behind, and the newest files are what is wanted.
        read.older = read.dates.get(FILES).copied();
        read.dates.truncate(read.dates.len() - more);
    }
    Ok(read)
}

/// See [`read_back`].
#[derive(Debug)]
pub struct ReadBack {
    folder: PathBuf,
    since: Timestamp,
    /// Give out every line after the first that is.
    all_after_first: bool,
    /// The date of the oldest file that can hold what is asked for. What cannot be read in an older one is no lack.
    asked_from: Date,
    /// Every line of the files of this date and later ones is given out.
    whole_from: Date,
    /// The dates of the files still to be read, newest first.
    dates: Vec<Date>,
    current: Option<(Date, Forward)>,
    line: RawLine,
    chain: Chain,
    /// The newest file that is not read: the chain goes on from it.
    older: Option<Date>,
    /// The lines right before the first that is given out: what their times say holds only if the clock was right.
    held: VecDeque<Held>,
    /// Those of them that are given out.
    released: VecDeque<Recorded>,
}

/// A line whose time is before what is asked for, and what lacks by it.
#[derive(Debug)]
struct Held {
    recorded: Recorded,
    lacks: Vec<String>,
    /// Is it of a file that is read whole?
    is_whole: bool,
}

/// For so long a start may go by a clock that is behind: then the broker's is heard.
const UNHEARD: SignedDuration = SignedDuration::from_mins(10);
/// And so many lines are written meanwhile.
const HELD: usize = 256;

impl ReadBack {
    fn failed(&mut self, date: Date, err: &io::Error) -> Unreadable {
        self.current = None;
        let why = err.to_string();
        self.chain.unreadable(date, &why);
        Unreadable { file: folder::name(date), offset: self.line.end, why }
    }

    /// What lacks in what was read.
    pub(super) fn into_lacks(self) -> Vec<Lack> {
        self.chain.into_lacks()
    }

    fn begin(&mut self) {
        let Some(older) = self.older.take() else { return };
        // What cannot be read there is older than what is asked for.
        if let Ok(Some(last)) = recovery::last(&self.folder, older) {
            self.chain.begins_after(older, last.head.seq, last.head.hash);
        }
        if self.all_after_first {
            let mut before = Chain::default();
            for recorded in self.end_of(older) {
                let lacks = before.line(&self.folder, older, &recorded, self.since);
                self.hold(recorded, lacks, false);
            }
        }
    }

    /// The last lines of a file that is not read, oldest first. A line that cannot be read ends them: what is before it
    /// was no part of the start that wrote them.
    fn end_of(&self, date: Date) -> Vec<Recorded> {
        let Ok(file) = File::open(folder::path(&self.folder, date)) else { return Vec::new() };
        let length = file.metadata().map_or(0, |about| about.len());
        let mut lines = Backward::new(file, length);
        let mut end = Vec::new();
        while end.len() < HELD
            && let Ok(Some(line)) = lines.read()
            && let Ok(recorded) = codec::check(&line.bytes)
        {
            end.push(recorded);
        }
        end.reverse();
        end
    }

    /// Keep a line until it is known whether it is of the start that wrote the first line that is given out. What lies
    /// between two lines of one clock's times is time that passed; a clock that was behind is corrected within minutes.
    /// One of a file that is read whole is given out even so, as old as it says.
    fn hold(&mut self, recorded: Recorded, lacks: Vec<String>, is_whole: bool) {
        let since = recorded.entry.at.checked_sub(UNHEARD).unwrap_or(Timestamp::MIN);
        while let Some(past) = self.held.pop_front_if(|held| held.recorded.entry.at < since) {
            self.pass(past);
        }
        if self.held.len() == HELD
            && let Some(past) = self.held.pop_front()
        {
            self.pass(past);
        }
        self.held.push_back(Held { recorded, lacks, is_whole });
    }

    /// It is older than what is asked for.
    fn pass(&mut self, held: Held) {
        self.released.extend(held.is_whole.then_some(held.recorded));
    }

    /// The first line that is given out was written at `by`, and those that are held before that.
    fn release(&mut self, by: Timestamp) {
        self.since = Timestamp::MIN;
        for Held { mut recorded, lacks, .. } in std::mem::take(&mut self.held) {
            for what in lacks {
                self.chain.lack(what, by);
            }
            recorded.by = by;
            self.released.push_back(recorded);
        }
    }
}

impl Iterator for ReadBack {
    type Item = Result<Recorded, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        self.begin();
        loop {
            if let Some(released) = self.released.pop_front() {
                return Some(Ok(released));
            }
            let Some((date, lines)) = &mut self.current else {
                let Some(date) = self.dates.pop() else {
                    for held in std::mem::take(&mut self.held) {
                        self.pass(held);
                    }
                    return self.released.pop_front().map(Ok);
                };
                self.line = RawLine::empty();
                match File::open(folder::path(&self.folder, date)).and_then(|file| Forward::new(file, 0)) {
                    Ok(lines) => self.current = Some((date, lines)),
                    Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                    Err(_) if date < self.asked_from => {}
                    Err(err) => return Some(Err(self.failed(date, &err))),
                }
                continue;
            };
            let date = *date;
            match lines.read(&mut self.line) {
                Ok(false) => self.current = None,
                Ok(true) if !self.line.ended => {}
                Ok(true) => match codec::check(&self.line.bytes) {
                    Ok(recorded) => {
                        let older = self.chain.line(&self.folder, date, &recorded, self.since);
                        if recorded.entry.at < self.since {
                            if self.all_after_first {
                                self.hold(recorded, older, date >= self.whole_from);
                            }
                            continue;
                        }
                        if self.all_after_first && self.since > Timestamp::MIN {
                            self.release(recorded.entry.at);
                            self.released.push_back(recorded);
                            continue;
                        }
                        return Some(Ok(recorded));
                    }
                    Err(wrong) => {
                        let (file, offset) = (folder::name(date), self.line.offset);
                        let stands = codec::hash_as_it_stands(&self.line.bytes);
                        if date < self.asked_from {
                            self.chain.go_on_after(date, &wrong, stands);
                            continue;
                        }
                        self.chain.wrong(date, offset, &wrong, stands);
                        return Some(Err(Unreadable { file, offset, why: wrong.why() }));
                    }
                },
                Err(_) if date < self.asked_from => self.current = None,
                Err(err) => return Some(Err(self.failed(date, &err))),
            }
        }
    }
}
