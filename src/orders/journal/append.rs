//! Writing: one chain, one file at a time, in the folder and nowhere else.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use jiff::civil::Date;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use super::batch::{AppendResult, Appended, LineBatch, Prepared, RoomToUse};
use super::codec;
use super::entry::Entry;
use super::error::JournalError;
use super::folder::{self, ChainHead, HeadFile, Lock};
use super::health::{JournalHealth, Over};
use super::note::Note;
use super::recovery;
use super::unsettled::{News, UnsettledOrders};
use super::whole::{self, Lack};
use crate::domain::disk::is_full;
use crate::domain::lock;

/// While there is no reserve, how often it is tried to make it again.
const RESERVE_EVERY: Duration = Duration::from_secs(1);
/// The file is looked at before each write, the folder's own place so often.
const LOOK_AT_FOLDER_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct LineAppender {
    pub(super) folder: PathBuf,
    lock: Lock,
    pub(super) current: Option<Current>,
    /// The newest line.
    pub(super) head: ChainHead,
    head_file: HeadFile,
    head_fails: bool,
    /// Used again for every line.
    line: Vec<u8>,
    /// Notes that could not be written yet. Before anything else: the chain goes on after them.
    pub(super) pending: VecDeque<Entry>,
    /// Half a line may stand at the end, because cutting it off failed too.
    torn: bool,
    pub(super) reserve: bool,
    reserve_tried: Option<Instant>,
    /// When it was last looked whether the folder is still where it was.
    looked: Instant,
    /// What was taken away while it ran.
    pub(super) lacks: Arc<Mutex<Vec<Lack>>>,
    /// The file that is appended to, for who syncs it.
    pub(super) newest: Arc<ArcSwapOption<File>>,
    /// Orders of which nobody knows what became.
    pub(super) unsettled: Arc<UnsettledOrders>,
    health: Arc<JournalHealth>,
}

/// The file that is appended to.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) date: Date,
    pub(super) file: Arc<File>,
    /// Its length, all of whole lines.
    len: u64,
    name: CString,
    /// Device and number: a file of the same name may be another one.
    id: (u64, u64),
}

impl Current {
    fn open(folder: &Path, date: Date) -> io::Result<Self> {
        let file = folder::append_to(folder, date)?;
        let found = file.metadata()?;
        let name = CString::new(folder::name(date))?;
        Ok(Self { date, len: found.len(), id: (found.dev(), found.ino()), file: Arc::new(file), name })
    }

    /// The same, at a start: what cannot be opened is put aside, because there must be a journal in the morning.
    pub(super) fn open_or_put_aside(
        folder: &Path,
        date: Date,
        lacks: &mut Vec<Lack>,
        now: Timestamp,
    ) -> io::Result<Self> {
        let err = match Self::open(folder, date) {
            Err(err) if recovery::may_be_put_aside(&err) => err,
            opened => return opened,
        };
        let name = folder::name(date);
        let aside = format!("{name}.unusable-{}", now.as_second());
        fs::rename(folder.join(&name), folder.join(&aside))?;
        lacks
            .push(Lack { what: format!("{name} cannot be written ({err}) and was put aside as {aside}"), before: now });
        Self::open(folder, date)
    }

    /// Is the file of this name in the folder still this one, as it was left? One call of the kernel.
    fn whats_wrong(&self, lock: &Lock) -> Option<&'static str> {
        match fstatat(lock, self.name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Some("was moved or removed"),
            // Nothing is known then, and the next write tells.
            Err(_) => None,
            Ok(found) if (found.st_dev, found.st_ino) != self.id => Some("was replaced by another file"),
            Ok(found) => match u64::try_from(found.st_size).unwrap_or(0).cmp(&self.len) {
                Less => Some("was truncated"),
                Equal => None,
                Greater => Some("was written to by somebody else"),
            },
        }
    }
}

impl LineAppender {
    /// Goes on from what was found.
    pub(super) fn open(
        folder: &Path,
        lock: Lock,
        head: ChainHead,
        health: Arc<JournalHealth>,
    ) -> Result<Self, JournalError> {
        let opened = HeadFile::open(folder);
        let head_file = opened.map_err(JournalError::io("open the head of the order journal in", folder))?;
        Ok(Self {
            head_file,
            folder: folder.to_path_buf(),
            lock,
            current: None,
            head,
            line: Vec::with_capacity(4096),
            pending: VecDeque::new(),
            torn: false,
            head_fails: false,
            reserve: false,
            reserve_tried: None,
            looked: Instant::now(),
            lacks: Arc::default(),
            newest: Arc::default(),
            unsettled: Arc::default(),
            health,
        })
    }

    /// What became of each line of a batch.
    pub(super) fn append_all(&mut self, batch: &LineBatch) -> Vec<AppendResult> {
        let outcomes: Vec<_> = match self.append_together(batch) {
            Some(first) => (0..batch.len() as u64).map(|n| Ok(Appended { seq: first + n })).collect(),
            // One by one, so that an outcome gets in where an intent may not, and each hears its own reason.
            None => batch.lines().map(|line| self.append(line)).collect(),
        };
        for (outcome, line) in outcomes.iter().zip(batch.lines()) {
            if let Err(err) = outcome {
                self.health.failed(err);
                if line.room == RoomToUse::Reserve {
                    self.health.lacks_line();
                }
            }
        }
        outcomes
    }

    /// Is the trouble over? With no line of an order: with a note that says what it was.
    pub(super) fn try_again(&mut self, over: &Over, at: Timestamp) -> Result<(), JournalError> {
        folder::probe(&self.folder).map_err(|err| self.failure("make room in", err))?;
        self.reserve_tried = None;
        if !self.reserve {
            self.make_reserve();
        }
        if !self.reserve {
            return Err(self.full(io::ErrorKind::StorageFull.into()));
        }
        self.look(at)?;
        self.write_pending()?;
        self.rotate(at)?;
        self.append_note(&Entry::note(Note::Message { text: over.note() }, at)).map(drop)
    }

    /// All of them with one write, or none: the number of the first.
    fn append_together(&mut self, batch: &LineBatch) -> Option<u64> {
        if !self.reserve && batch.lines().any(|line| line.room == RoomToUse::Beside) {
            return None;
        }
        let at = batch.lines().map(|line| line.at).max()?;
        self.look(at).ok()?;
        self.write_pending().ok()?;
        self.rotate(at).ok()?;
        self.write(batch.lines()).ok()
    }

    fn append(&mut self, line: Prepared<'_>) -> AppendResult {
        if line.room == RoomToUse::Beside && !self.reserve {
            self.make_reserve();
            if !self.reserve {
                return Err(self.full(io::ErrorKind::StorageFull.into()));
            }
        }
        self.look(line.at)?;
        self.write_pending()?;
        if let Err(err) = self.rotate(line.at) {
            // A new day's file takes room as a line does.
            let may_release = line.room == RoomToUse::Reserve && matches!(err, JournalError::Full { .. });
            if !may_release || !self.release_reserve() {
                return Err(err);
            }
            self.rotate(line.at)?;
        }
        self.write_or_release(line)
    }

    pub(super) fn append_note(&mut self, note: &Entry) -> AppendResult {
        let mut body = Vec::new();
        codec::body(&mut body, note);
        self.write_or_release(Prepared { room: RoomToUse::Reserve, at: note.at, news: &News::of(note), body: &body })
    }

    pub(super) fn write_pending(&mut self) -> Result<(), JournalError> {
        while let Some(note) = self.pending.pop_front() {
            if let Err(err) = self.rotate(note.at).and_then(|()| self.append_note(&note)) {
                self.pending.push_front(note);
                return Err(err);
            }
        }
        Ok(())
    }

    /// Write a line; when there is no room and it may, in the room of the reserve.
    fn write_or_release(&mut self, line: Prepared<'_>) -> AppendResult {
        let one = || std::iter::once(line);
        let err = match self.write(one()) {
            Ok(seq) => return Ok(Appended { seq }),
            Err(err) => err,
        };
        if !is_full(&err) {
            return Err(JournalError::io("append to the order journal in", &self.folder)(err));
        }
        let full = self.full(err);
        if line.room == RoomToUse::Beside || !self.release_reserve() {
            return Err(full);
        }
        self.health.failed(&full);
        self.write(one()).map(|seq| Appended { seq }).map_err(|err| self.full(err))
    }

    /// Give the reserve up for a line that may have it. Was there any?
    fn release_reserve(&mut self) -> bool {
        let released = folder::release_reserve(&self.folder);
        (self.reserve, self.reserve_tried) = (false, Some(Instant::now()));
        released
    }

    /// All of them or none; the number of the first.
    fn write<'a>(&mut self, lines: impl Iterator<Item = Prepared<'a>>) -> io::Result<u64> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        if self.torn {
            current.file.set_len(current.len)?;
            self.torn = false;
        }
        let first = self.head.seq + 1;
        let mut next = self.head;
        self.line.clear();
        let mut told = Vec::new();
        for line in lines {
            let (seq, begin) = (next.seq + 1, self.line.len());
            next = ChainHead { seq, hash: codec::seal(&mut self.line, seq, line.body, next.hash) };
            if self.unsettled.concerns(line.news) {
                told.push((line.news, begin..self.line.len()));
            }
        }
        // One write: only what is wrong with the disk makes a second one.
        if let Err(err) = (&*current.file).write_all(&self.line) {
            self.torn = current.file.set_len(current.len).is_err();
            return Err(err);
        }
        current.len += self.line.len() as u64;
        self.head = next;
        for (news, at) in told {
            self.unsettled.written(news, self.line.get(at).unwrap_or_default());
        }
        let head = self.head_file.write(self.head);
        if head.is_err() != self.head_fails {
            self.head_fails = head.is_err();
            // The lines stand without it; only that the end is whole cannot be shown.
            tracing::warn!(failed = ?head, "writing the head of the order journal");
        }
        Ok(first)
    }

    /// Look whether the file is still the one in the folder, before each write; if not, go on in one that is.
    pub(super) fn look(&mut self, at: Timestamp) -> Result<(), JournalError> {
        let Some(current) = &self.current else { return Ok(()) };
        if self.torn {
            return Ok(());
        }
        let wrong = if self.looked.elapsed() < LOOK_AT_FOLDER_EVERY {
            current.whats_wrong(&self.lock)
        } else {
            // Not done with before there is a folder again: each line until then is refused.
            if self.lock.is_at(&self.folder) {
                self.looked = Instant::now();
                current.whats_wrong(&self.lock)
            } else {
                Some("was moved or removed with its folder")
            }
        };
        wrong.map_or(Ok(()), |wrong| self.go_on_elsewhere(wrong, at))
    }

    /// The file that was written to is not where it was: have one that is, and say so.
    fn go_on_elsewhere(&mut self, wrong: &str, at: Timestamp) -> Result<(), JournalError> {
        let folder = self.folder.clone();
        let Some(current) = &self.current else { return Ok(()) };
        let date = current.date;
        // Wherever it is now, what was written to it was acknowledged.
        let synced = current.file.sync_data();
        if !self.lock.is_at(&folder) {
            folder::make(&folder).map_err(JournalError::io("make", &folder))?;
            let lock = Lock::take(&folder).map_err(|err| match err {
                Some(err) => JournalError::io("lock", &folder)(err),
                None => JournalError::InUse { path: folder.clone() },
            })?;
            self.head_file = HeadFile::open(&folder).map_err(JournalError::io("open the head in", &folder))?;
            self.lock = lock;
            (self.reserve, self.reserve_tried) = (false, None);
            self.make_reserve();
        }
        let io = |doing| JournalError::io(doing, &folder);
        let cut = if folder::path(&folder, date).exists() {
            recovery::cut_off(&folder, date).map_err(io("cut off an unfinished line in"))?
        } else {
            None
        };
        let opened = Current::open(&folder, date).and_then(|opened| self.lock.sync().map(|()| opened));
        self.set_current(opened.map_err(io("open a new file in"))?);
        let last = recovery::last(&folder, date).map_err(io("read the new file in"))?;
        let name = folder::name(date);
        if last.is_some_and(|last| last.head == self.head) {
            tracing::warn!(
                file = name,
                "the order journal's file {wrong}, and all its lines are there: it goes on in it"
            );
            return Ok(());
        }
        let what = match whole::strays(&folder, date).first() {
            Some(stray) => format!("{name} {wrong} while the gateway wrote to it ({stray} lies beside)"),
            None => format!("{name} {wrong} while the gateway wrote to it"),
        };
        if let Err(err) = synced {
            tracing::error!(%err, "and what was written to it could not be synced");
        }
        self.report_lacks([Lack { what, before: at }]);
        self.pending.extend(cut.map(|note| Entry::note(note, at)));
        let (why, last_seq, last_hash) = (wrong.to_owned(), self.head.seq, self.head.hash.to_string());
        self.pending.push_back(Entry::note(Note::Displaced { file: name, why, last_seq, last_hash }, at));
        Ok(())
    }

    /// Also when nothing is written: the file is looked for, and the head is there.
    pub(super) fn tend(&mut self, now: Timestamp) -> Result<(), JournalError> {
        self.look(now)?;
        if !HeadFile::is_there(&self.folder) && self.head.seq > 0 {
            let io = |doing| JournalError::io(doing, &self.folder);
            self.head_file = HeadFile::open(&self.folder).map_err(io("open the head of the order journal in"))?;
            self.head_file.write(self.head).map_err(io("write the head of the order journal in"))?;
        }
        self.write_pending()
    }

    /// Have a file for an entry of `at`. Once a day; never back to an older file.
    pub(super) fn rotate(&mut self, at: Timestamp) -> Result<(), JournalError> {
        let date = folder::date(at);
        if self.current.as_ref().is_some_and(|current| current.date >= date) {
            return Ok(());
        }
        if let Some(current) = &self.current {
            // The flusher only knows the newest file.
            current.file.sync_data().map_err(JournalError::io("sync the order journal in", &self.folder))?;
        }
        let mut lacks = Vec::new();
        // What lies in its place must not stop the day.
        let opened = Current::open_or_put_aside(&self.folder, date, &mut lacks, at);
        let opened = opened.and_then(|current| self.lock.sync().map(|()| current));
        self.report_lacks(lacks);
        self.set_current(opened.map_err(|err| self.failure("open a new file in", err))?);
        Ok(())
    }

    pub(super) fn set_current(&mut self, current: Current) {
        self.newest.store(Some(Arc::clone(&current.file)));
        self.current = Some(current);
    }

    fn report_lacks(&self, found: impl IntoIterator<Item = Lack>) {
        let mut lacks = lock(&self.lacks);
        whole::report(&mut lacks, found, whole::WHILE_RUNNING);
    }

    pub(super) fn make_reserve(&mut self) {
        if self.reserve_tried.is_some_and(|tried| tried.elapsed() < RESERVE_EVERY) {
            return;
        }
        self.reserve_tried = Some(Instant::now());
        match folder::make_reserve(&self.folder) {
            Ok(()) => self.reserve = true,
            Err(err) => self.health.failed(&self.failure("keep room in", err)),
        }
    }

    fn failure(&self, doing: &'static str, err: io::Error) -> JournalError {
        if is_full(&err) { self.full(err) } else { JournalError::io(doing, &self.folder)(err) }
    }

    fn full(&self, err: io::Error) -> JournalError {
        JournalError::Full { path: self.folder.clone(), source: Arc::new(err) }
    }
}
