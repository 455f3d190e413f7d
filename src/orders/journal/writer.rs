//! Appending: one line, one write, one chain.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::batch::{Batch, Batches, Busy, Outcome, Part, Prepared};
use super::entry::{Entry, Kind};
use super::error::{JournalError, is_full};
use super::flush::Flusher;
use super::folder::{self, Head, HeadFile, Lock};
use super::line;
use super::note::Note;
use super::open;

/// While there is no reserve, how often it is tried to make it again.
const RESERVE_EVERY: Duration = Duration::from_secs(1);

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// [`Journal::append_durable`] waits for the disk (`journal.fsync`).
    pub fsync: bool,
    /// How long files are kept (`journal.keep`).
    pub keep: Duration,
}

/// The journal of this process. Cheap to clone; the last one closes it.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Mutex<Writer>,
    batches: Batches,
    flusher: Option<Flusher>,
    folder: PathBuf,
}

/// Where a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
}

/// How the journal stands, for metrics and the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The newest line's number; 0 when there is none.
    pub last_seq: u64,
    /// The file that is appended to; `None` before the first line.
    pub file: Option<String>,
    /// Is there room kept for outcomes? If not, intents are refused.
    pub reserve: bool,
}

impl Journal {
    /// Open the journal in a folder, which is made when absent. A line that a crash
    /// left unfinished is cut off; a chain that does not hold is gone on with after a
    /// note: a gateway that does not start in the morning is the greater harm. Reads
    /// files: not on a runtime worker.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be read or written.
    pub fn open(folder: &Path, options: &Options, now: Timestamp) -> Result<Self, JournalError> {
        let io = |doing| JournalError::io(doing, folder);
        folder::make(folder).map_err(io("make"))?;
        let lock = Lock::take(folder).map_err(|err| match err {
            Some(err) => io("lock")(err),
            None => JournalError::InUse { path: folder.to_path_buf() },
        })?;
        let found = open::recover(folder).map_err(io("read the order journal in"))?;
        let flusher = options.fsync.then(Flusher::start).transpose().map_err(io("start the thread that syncs"))?;
        let mut writer = Writer {
            head_file: HeadFile::open(folder).map_err(io("open the head of the order journal in"))?,
            folder: folder.to_path_buf(),
            keep: options.keep,
            lock,
            current: None,
            head: found.head,
            line: Vec::with_capacity(4096),
            pending: VecDeque::new(),
            torn: false,
            head_fails: false,
            reserve: false,
            reserve_tried: None,
        };
        if let Some(date) = found.newest {
            writer.current = Some(Current::open(folder, date).map_err(io("open the newest file of"))?);
        }
        for note in found.notes {
            match note {
                Note::CutOff { .. } => tracing::warn!(?note, "a crash left a line of the order journal unfinished"),
                Note::ChainBroken { .. } | Note::Lost { .. } | Note::Deleted { .. } | Note::Message { .. } => {
                    tracing::error!(?note, "THE ORDER JOURNAL DOES NOT HOLD; see `sixgate journal verify`")
                }
            }
            writer.pending.push_back(Entry::note(note, now));
        }
        writer.make_reserve();
        if let Err(err) = writer.write_pending().and_then(|()| writer.retire(now)) {
            // They are tried again before the next line.
            tracing::error!(%err, "the order journal cannot be written yet");
        }
        let (writer, batches) = (Mutex::new(writer), Batches::default());
        Ok(Self { shared: Arc::new(Shared { writer, batches, flusher, folder: folder.to_path_buf() }) })
    }

    /// Append a line: a few microseconds and one `write(2)`, so a runtime worker may
    /// do it. When it returns, the line survives the death of this process.
    ///
    /// # Errors
    /// The line is not in the journal, which is as it was before. An intent that was
    /// refused means that the order is not sent.
    pub fn append(&self, entry: &Entry) -> Result<Appended, JournalError> {
        let batch = Batch::of(entry);
        let mut outcomes = self.lock().append_all(&batch);
        outcomes.pop().unwrap_or_else(|| Err(self.unwritten()))
    }

    /// To be held by whoever comes back for another line soon: lines are written together only while
    /// there are others to wait for.
    pub fn busy(&self) -> Busy {
        self.shared.batches.busy()
    }

    /// Append a line, with those of others that come at the same moment, and, with `journal.fsync`,
    /// wait until it survives a power cut. Cancel-safe after the first poll: the line is written then.
    ///
    /// # Errors
    /// As [`Journal::append`]; and [`JournalError::Unsynced`] when the line is in the
    /// journal and may not be on the disk. An order whose intent ends so is not sent,
    /// and gets an outcome line `not_sent`.
    pub async fn append_durable(&self, entry: &Entry) -> Result<Appended, JournalError> {
        let appended = match self.shared.batches.join(entry) {
            Part::Lead(number) => {
                let lead = Lead { journal: self, number };
                if !self.shared.batches.is_alone() {
                    tokio::task::yield_now().await;
                }
                lead.write()?
            }
            Part::Follow(told) => told.await.unwrap_or_else(|_| Err(self.unwritten()))?,
        };
        let Some(flusher) = &self.shared.flusher else { return Ok(appended) };
        let Some(file) = self.lock().current.as_ref().map(|current| Arc::clone(&current.file)) else {
            return Ok(appended);
        };
        let waiting = flusher.ask(appended.seq, file);
        let synced =
            waiting.await.unwrap_or_else(|_| Err(Arc::new(io::Error::other("the thread that syncs has ended"))));
        synced.map_err(|source| JournalError::Unsynced { path: self.shared.folder.clone(), source })?;
        Ok(appended)
    }

    /// Sync what was written, whatever the options: for the end of a drain. Not on a
    /// runtime worker.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> Result<(), JournalError> {
        let file = self.lock().current.as_ref().map(|current| Arc::clone(&current.file));
        file.map_or(Ok(()), |file| file.sync_data()).map_err(JournalError::io("sync", &self.shared.folder))
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let writer = self.lock();
        Status {
            last_seq: writer.head.seq,
            file: writer.current.as_ref().map(|current| folder::name(current.date)),
            reserve: writer.reserve,
        }
    }

    /// The folder, for reading.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// A mistake of this module: a line got no answer. Whoever asked must take it for not written.
    fn unwritten(&self) -> JournalError {
        JournalError::io("append to the order journal in", &self.shared.folder)(io::ErrorKind::Other.into())
    }

    fn write_batch(&self, number: usize) -> Option<Outcome> {
        let mut batch = self.shared.batches.take(number);
        let outcomes = self.lock().append_all(&batch);
        let first = batch.tell(outcomes);
        self.shared.batches.put_back(number, batch);
        first
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to write a batch. Others wait for it, so it is done also when it is dropped.
struct Lead<'a> {
    journal: &'a Journal,
    number: usize,
}

impl Lead<'_> {
    fn write(self) -> Outcome {
        let (journal, number) = (self.journal, self.number);
        std::mem::forget(self);
        journal.write_batch(number).unwrap_or_else(|| Err(journal.unwritten()))
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.journal.write_batch(self.number);
    }
}

#[derive(Debug)]
struct Writer {
    folder: PathBuf,
    keep: Duration,
    lock: Lock,
    current: Option<Current>,
    /// The newest line.
    head: Head,
    head_file: HeadFile,
    head_fails: bool,
    /// Used again for every line.
    line: Vec<u8>,
    /// Notes that could not be written yet. Before anything else: the chain goes on after them.
    pending: VecDeque<Entry>,
    /// Half a line may stand at the end, because cutting it off failed too.
    torn: bool,
    reserve: bool,
    reserve_tried: Option<Instant>,
}

/// The file that is appended to.
#[derive(Debug)]
struct Current {
    date: Date,
    file: Arc<File>,
    /// Its length, all of whole lines.
    len: u64,
}

impl Current {
    fn open(folder: &Path, date: Date) -> io::Result<Self> {
        let file = folder::append_to(folder, date)?;
        Ok(Self { date, len: file.metadata()?.len(), file: Arc::new(file) })
    }
}

impl Writer {
    /// What became of each line of a batch.
    fn append_all(&mut self, batch: &Batch) -> Vec<Outcome> {
        match self.append_together(batch) {
            Some(first) => (0..batch.len() as u64).map(|n| Ok(Appended { seq: first + n })).collect(),
            // One by one, so that an outcome gets in where an intent may not, and each hears its own reason.
            None => batch.lines().map(|line| self.append(line)).collect(),
        }
    }

    /// All of them with one write, or none: the number of the first.
    fn append_together(&mut self, batch: &Batch) -> Option<u64> {
        if !self.reserve && batch.lines().any(|line| line.kind == Kind::Intent) {
            return None;
        }
        self.write_pending().ok()?;
        self.rotate(batch.lines().map(|line| line.at).max()?).ok()?;
        self.write(batch.lines()).ok()
    }

    fn append(&mut self, line: Prepared<'_>) -> Outcome {
        if line.kind == Kind::Intent && !self.reserve {
            self.make_reserve();
            if !self.reserve {
                return Err(self.full(io::ErrorKind::StorageFull.into()));
            }
        }
        self.write_pending()?;
        self.rotate(line.at)?;
        self.write_or_release(line)
    }

    fn append_note(&mut self, note: &Entry) -> Outcome {
        let mut body = Vec::new();
        line::body(&mut body, note);
        self.write_or_release(Prepared { kind: note.kind, at: note.at, body: &body })
    }

    fn write_pending(&mut self) -> Result<(), JournalError> {
        while let Some(note) = self.pending.pop_front() {
            if let Err(err) = self.rotate(note.at).and_then(|()| self.append_note(&note)) {
                self.pending.push_front(note);
                return Err(err);
            }
        }
        Ok(())
    }

    /// Write a line; when there is no room and it is no intent, in the room of the reserve.
    fn write_or_release(&mut self, line: Prepared<'_>) -> Outcome {
        let one = || std::iter::once(line);
        let err = match self.write(one()) {
            Ok(seq) => return Ok(Appended { seq }),
            Err(err) => err,
        };
        if !is_full(&err) {
            return Err(JournalError::io("append to the order journal in", &self.folder)(err));
        }
        if line.kind == Kind::Intent || !folder::release_reserve(&self.folder) {
            return Err(self.full(err));
        }
        self.reserve = false;
        self.reserve_tried = Some(Instant::now());
        tracing::error!(folder = %self.folder.display(), "THE DISK IS FULL: outcomes go into the reserve, new order writes are refused");
        self.write(one()).map(|seq| Appended { seq }).map_err(|err| self.full(err))
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
        for line in lines {
            let seq = next.seq + 1;
            next = Head { seq, hash: line::seal(&mut self.line, seq, line.body, next.hash) };
        }
        // One write: only what is wrong with the disk makes a second one.
        if let Err(err) = (&*current.file).write_all(&self.line) {
            self.torn = current.file.set_len(current.len).is_err();
            return Err(err);
        }
        current.len += self.line.len() as u64;
        self.head = next;
        let head = self.head_file.write(self.head);
        if head.is_err() != self.head_fails {
            self.head_fails = head.is_err();
            // The lines stand without it; only that the end is whole cannot be shown.
            tracing::warn!(failed = ?head, "writing the head of the order journal");
        }
        Ok(first)
    }

    /// Have a file for an entry of `at`. Once a day; never back to an older file.
    fn rotate(&mut self, at: Timestamp) -> Result<(), JournalError> {
        let date = folder::date(at);
        if self.current.as_ref().is_some_and(|current| current.date >= date) {
            return Ok(());
        }
        if let Some(current) = &self.current {
            // The flusher only knows the newest file.
            current.file.sync_data().map_err(JournalError::io("sync the order journal in", &self.folder))?;
        }
        let opened = Current::open(&self.folder, date).and_then(|current| self.lock.sync().map(|()| current));
        let had = self.current.is_some();
        self.current = Some(opened.map_err(|err| {
            if is_full(&err) { self.full(err) } else { JournalError::io("open a new file in", &self.folder)(err) }
        })?);
        if had && let Err(err) = self.retire(at) {
            tracing::warn!(%err, "old files of the order journal are not deleted");
        }
        Ok(())
    }

    /// Delete what is older than `keep`. The note comes first: a chain that begins
    /// nowhere must be explained, and a note too many is no harm.
    fn retire(&mut self, now: Timestamp) -> Result<(), JournalError> {
        let io = |doing| JournalError::io(doing, &self.folder);
        let keep = SignedDuration::try_from(self.keep).unwrap_or(SignedDuration::MAX);
        let Ok(oldest) = now.checked_sub(keep).map(folder::date) else { return Ok(()) };
        let Some(current) = self.current.as_ref().map(|current| current.date) else { return Ok(()) };
        let mut old = folder::dates(&self.folder).map_err(io("list"))?;
        old.retain(|date| *date < oldest && *date < current);
        let Some(through) = old.last().copied() else { return Ok(()) };
        // Files without a line leave nothing to explain.
        let mut last = None;
        for date in old.iter().rev() {
            last = open::last_line(&self.folder, *date).map_err(io("read the oldest files of"))?;
            if last.is_some() {
                break;
            }
        }
        if let Some(last) = last {
            let note = Note::Deleted {
                files: old.len() as u64,
                through: folder::name(through),
                last_seq: last.seq,
                last_hash: last.hash.to_string(),
            };
            tracing::info!(?note, "old files of the order journal are deleted");
            self.append_note(&Entry::note(note, now))?;
            if let Some(current) = &self.current {
                current.file.sync_data().map_err(JournalError::io("sync the order journal in", &self.folder))?;
            }
        }
        for date in old {
            let path = folder::path(&self.folder, date);
            std::fs::remove_file(&path).map_err(JournalError::io("delete", &path))?;
        }
        self.lock.sync().map_err(JournalError::io("sync", &self.folder))
    }

    fn make_reserve(&mut self) {
        if self.reserve_tried.is_some_and(|tried| tried.elapsed() < RESERVE_EVERY) {
            return;
        }
        self.reserve_tried = Some(Instant::now());
        match folder::make_reserve(&self.folder) {
            Ok(()) => self.reserve = true,
            Err(err) => tracing::error!(%err, "no room to reserve for the order journal: order writes are refused"),
        }
    }

    fn full(&self, err: io::Error) -> JournalError {
        JournalError::Full { path: self.folder.clone(), source: Arc::new(err) }
    }
}
