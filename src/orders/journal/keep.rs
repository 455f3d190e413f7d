//! What is done now and then: the file beside the folder, and old files, one a day.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::lock;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::append::LineAppender;
use super::entry::Entry;
use super::error::JournalError;
use super::folder;
use super::health::JournalHealth;
use super::note::Note;
use super::options::Options;
use super::pace::{DiskPace, PATIENCE};
use super::recovery::{self, LastLine};
use super::seen::JournalSeen;

/// How often the keeper looks at the room on the disk, and whether a trouble is over.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Who writes for so long without an end writes to a disk that hangs.
const HANGS: Duration = Duration::from_secs(1);
/// How often all the rest is done.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// One old file is deleted in so long.
const RETIRE_EVERY: Duration = Duration::from_secs(86_400);
/// No date of the broker was heard.
const NEVER: i64 = i64::MIN;

/// What the journal and its keeper share.
#[derive(Debug)]
pub(super) struct Core {
    writer: parking_lot::Mutex<LineAppender>,
    pub(super) health: Arc<JournalHealth>,
    pub(super) pace: DiskPace,
    pub(super) folder: PathBuf,
    options: Options,
    /// Seconds since 1970.
    broker: AtomicI64,
    retired: Mutex<Retired>,
    seen_fails: AtomicBool,
    /// The newest line when it was said that all was written.
    closed_at: AtomicU64,
    /// See [`Core::a_day`].
    days: AtomicU64,
}

/// When a file was last deleted.
#[derive(Debug)]
struct Retired {
    /// The day on which it was, kept over restarts.
    on: Option<Date>,
    /// By a clock that nobody sets.
    at: Option<Instant>,
}

impl Core {
    pub(super) fn new(
        writer: LineAppender,
        health: Arc<JournalHealth>,
        folder: &Path,
        options: &Options,
        retired: Option<Date>,
    ) -> Self {
        Self {
            writer: parking_lot::Mutex::new(writer),
            health,
            pace: DiskPace::new(options.slow_from),
            folder: folder.to_path_buf(),
            options: options.clone(),
            broker: AtomicI64::new(NEVER),
            retired: Mutex::new(Retired { on: retired, at: None }),
            seen_fails: AtomicBool::new(false),
            closed_at: AtomicU64::new(u64::MAX),
            days: AtomicU64::new(0),
        }
    }

    /// Not on a runtime worker: who has it may wait for the disk.
    pub(super) fn lock(&self) -> parking_lot::MutexGuard<'_, LineAppender> {
        self.writer.lock()
    }

    /// `None` when somebody else writes, and takes long.
    pub(super) fn lock_soon(&self) -> Option<parking_lot::MutexGuard<'_, LineAppender>> {
        self.writer.try_lock_for(PATIENCE)
    }

    /// Look whether somebody's write hangs, at the room on the disk, and whether a trouble is over. Nobody needs to meet
    /// it: the one write that hangs may be all that the only worker does.
    pub(super) fn watch(&self, now: Timestamp) {
        let Some(writer) = self.writer.try_lock_for(HANGS) else {
            self.pace.is_held();
            return self.health.failed(&JournalError::Slow { path: self.folder.clone(), waited: HANGS });
        };
        drop(writer);
        let may_try = self.health.look_at_room(self.a_day());
        let Some(over) = self.health.would_be_over().filter(|_| may_try) else { return };
        let Some(mut writer) = self.writer.try_lock_for(HANGS) else { return };
        let tried = writer.try_again(&over, now);
        drop(writer);
        // It goes on as it began; what is in the way now may be another thing, and is told to who places an order.
        if tried.is_ok() && (!self.options.fsync || self.sync().is_ok()) {
            self.health.ended();
        }
    }

    /// How much is written in a day, as far as the newest two files show it.
    fn a_day(&self) -> u64 {
        self.days.load(Ordering::Relaxed)
    }

    fn measure_days(&self) {
        let Ok(dates) = folder::dates(&self.folder) else { return };
        let sizes = dates.iter().rev().take(2).filter_map(|date| fs::metadata(folder::path(&self.folder, *date)).ok());
        let most = sizes.map(|found| found.len()).max().unwrap_or(0);
        self.days.store(most, Ordering::Relaxed);
    }

    pub(super) fn broker_date(&self, at: Timestamp) {
        self.broker.store(at.as_second(), Ordering::Relaxed);
    }

    /// What the broker's clock said last.
    fn heard(&self) -> Option<Timestamp> {
        let heard = self.broker.load(Ordering::Relaxed);
        Some(heard).filter(|heard| *heard != NEVER).and_then(|at| Timestamp::from_second(at).ok())
    }

    /// `now` of this host's clock, or what the broker's said last where that is earlier: this host's may be ahead.
    pub(super) fn no_later(&self, now: Timestamp) -> Timestamp {
        self.heard().map_or(now, |broker| now.min(broker))
    }

    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let file = self.lock().current.as_ref().map(|current| Arc::clone(&current.file));
        file.map_or(Ok(()), |file| file.sync_data()).map_err(JournalError::io("sync", &self.folder))
    }

    /// The last one goes.
    pub(super) fn close(&self) {
        if self.options.seen && self.sync().is_ok() {
            self.write_seen(true);
        }
    }

    /// Say beside the folder what is in it.
    pub(super) fn write_seen(&self, closed: bool) {
        if !self.options.seen {
            return;
        }
        let retired = self.retired().on;
        let (head, file) = {
            let writer = self.lock();
            (writer.head, writer.current.as_ref().map(|current| folder::name(current.date)))
        };
        if closed {
            self.closed_at.store(head.seq, Ordering::Relaxed);
        }
        // Said once, and nothing was written since.
        let closed = self.closed_at.load(Ordering::Relaxed) == head.seq;
        let (hash, boot, fsync) = (head.hash.to_string(), self.options.boot_id.clone(), self.options.fsync);
        let written = JournalSeen { seq: head.seq, hash, file, boot, fsync, closed, retired }.write(&self.folder);
        if self.seen_fails.swap(written.is_err(), Ordering::Relaxed) != written.is_err() {
            // The lines stand without it.
            tracing::warn!(failed = ?written, "writing the file beside the order journal");
        }
    }

    pub(super) fn tend(&self, now: Timestamp) {
        let tended = self.lock().tend(now);
        if let Err(err) = tended {
            self.health.failed(&err);
        }
        self.measure_days();
        if let Err(err) = self.retire(now) {
            tracing::warn!(%err, "an old file of the order journal is not deleted");
        }
        self.write_seen(false);
    }

    /// Delete the oldest file if it is older than `keep`: by its own date and that of its last line, only while the
    /// broker's clock bears the host's out, and one a day. So whatever is wrong with a clock, there is time to see it.
    fn retire(&self, now: Timestamp) -> Result<(), JournalError> {
        let io = |doing| JournalError::io(doing, &self.folder);
        let Some(broker) = self.heard() else { return Ok(()) };
        // Whichever clock is ahead, the other one decides.
        let now = now.min(broker);
        let keep = SignedDuration::try_from(self.options.keep).unwrap_or(SignedDuration::MAX);
        let Ok(oldest) = now.checked_sub(keep).map(folder::date) else { return Ok(()) };
        let mut retired = self.retired();
        let today = folder::date(now);
        if retired.at.is_some_and(|at| at.elapsed() < RETIRE_EVERY) || retired.on.is_some_and(|on| on >= today) {
            return Ok(());
        }
        let Some(first) = folder::dates(&self.folder).map_err(io("list"))?.first().copied() else { return Ok(()) };
        if first >= oldest {
            return Ok(());
        }
        let last = recovery::last(&self.folder, first).map_err(io("read the oldest file of"))?;
        if last.as_ref().and_then(|last| last.at).is_some_and(|at| folder::date(at) >= oldest) {
            return Ok(());
        }
        if !self.note_deletion(first, last.as_ref(), now)? {
            return Ok(());
        }
        *retired = Retired { on: Some(today), at: Some(Instant::now()) };
        let path = folder::path(&self.folder, first);
        fs::remove_file(&path).map_err(JournalError::io("delete", &path))?;
        tracing::warn!(file = folder::name(first), keep = ?self.options.keep,
            "a file of the order journal was older than journal.keep, and was deleted");
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io("sync"))
    }

    /// The note comes first: a chain that begins nowhere must be explained, and a note too many is no harm. The file
    /// that is written to is never deleted.
    fn note_deletion(&self, date: Date, last: Option<&LastLine>, now: Timestamp) -> Result<bool, JournalError> {
        let mut writer = self.lock();
        if writer.current.as_ref().is_none_or(|current| current.date <= date) {
            return Ok(false);
        }
        // A file without a line leaves nothing to explain.
        let Some(last) = last else { return Ok(true) };
        let (last_seq, last_hash) = (last.head.seq, last.head.hash.to_string());
        let note = Note::Deleted { files: 1, through: folder::name(date), last_seq, last_hash };
        writer.rotate(now)?;
        writer.append_note(&Entry::note(note, now))?;
        drop(writer);
        self.sync().map(|()| true)
    }

    fn retired(&self) -> MutexGuard<'_, Retired> {
        lock(&self.retired)
    }
}

/// The threads that watch the disk and tend the journal, until it is dropped. Two: what tends it may wait for the disk
/// itself, and somebody must see that.
#[derive(Debug)]
pub(super) struct JournalThreads {
    _watch: Every,
    _tend: Every,
}

/// A thread that does something now and then, until it is dropped.
#[derive(Debug)]
struct Every {
    stop: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl JournalThreads {
    pub(super) fn start(core: Arc<Core>) -> io::Result<Self> {
        let watched = Arc::clone(&core);
        Ok(Self {
            _watch: Every::start("journal-watch", WATCH_EVERY, move || watched.watch(Timestamp::now()))?,
            _tend: Every::start("journal-keep", TEND_EVERY, move || core.tend(Timestamp::now()))?,
        })
    }
}

impl Every {
    fn start(name: &str, every: Duration, act: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel::<()>(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while matches!(stopped.recv_timeout(every), Err(RecvTimeoutError::Timeout)) {
                act();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Every {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}
