//! The journal of this process: opening, appending, how it stands.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};

use super::append::{Current, LineAppender};
use super::aside::Aside;
use super::batch::{Batches, LineBatch, RoomToUse};
use super::codec::{LineHash, Recorded};
use super::entry::Entry;
use super::error::JournalError;
use super::flush::Flusher;
use super::folder::{self, Lock};
use super::health::{JournalHealth, Room};
use super::keep::{Core, JournalThreads};
use super::note::Note;
use super::options::Options;
use super::query::{self, ReadBack};
use super::recovery;
use super::redact::SafeText;
use super::unsettled::{UnsettledCount, UnsettledOrders};
use super::whole::{self, Lack, Whole};
use crate::domain::AccountName;
use crate::domain::lock;

/// A write that was answered with what became of an earlier one.
#[derive(Clone, Copy, Debug)]
pub struct Repeat<'a> {
    /// The account that sent it.
    pub account: &'a AccountName,
    /// The request that repeats.
    pub request_id: &'a SafeText,
    /// The request that was repeated.
    pub of: &'a SafeText,
    /// The correlation id that they share.
    pub correlation_id: Option<&'a SafeText>,
    /// The `Idempotency-Key` that they share.
    pub idempotency_key: Option<&'a SafeText>,
}

/// A repeat is noted so often under one id.
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// So many ids are known for that. When all are fresh, no more are noted: a flood of repeats must not fill the disk.
const REPEATING: usize = 1024;

/// The journal of this process. Cheap to clone; the last one closes it.
#[derive(Clone, Debug)]
pub struct Journal {
    pub(super) shared: Arc<JournalShared>,
}

#[derive(Debug)]
pub(super) struct JournalShared {
    pub(super) core: Arc<Core>,
    pub(super) batches: Batches,
    pub(super) flusher: Option<Flusher>,
    pub(super) aside: Aside,
    /// The file that is appended to.
    pub(super) newest: Arc<ArcSwapOption<File>>,
    /// What was taken away while it ran.
    taken: Arc<Mutex<Vec<Lack>>>,
    keeper: Option<JournalThreads>,
    opened: Timestamp,
    /// The time of the last line that the process before wrote, as far as its file's date bears it out.
    last_line: Option<Timestamp>,
    lacks: Mutex<Vec<Lack>>,
    unsettled: Arc<UnsettledOrders>,
    repeats: Mutex<HashMap<u64, Instant>>,
}

impl Drop for JournalShared {
    fn drop(&mut self) {
        drop(self.keeper.take());
        self.aside.finish();
        self.core.close();
    }
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
    /// Does nothing lack of what a start reads back?
    pub whole: bool,
    /// What lacks, in sentences.
    pub why: Vec<String>,
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
        let known = recovery::known(folder, options).map_err(io("read what is known of the order journal in"))?;
        let mut found = recovery::recover(folder, &known, now).map_err(io("read the order journal in"))?;
        let flusher = options.fsync.then(Flusher::start).transpose().map_err(io("start the thread that syncs"))?;
        let health = Arc::new(JournalHealth::new(folder));
        let mut writer = LineAppender::open(folder, lock, found.head, Arc::clone(&health))?;
        if let Some(date) = found.newest {
            let opened = Current::open_or_put_aside(folder, date, &mut found.lacks, now);
            writer.set_current(opened.map_err(io("open the newest file of"))?);
        }
        for note in found.notes {
            match note {
                Note::CutOff { .. } => tracing::warn!(?note, "a crash left a line of the order journal unfinished"),
                Note::ChainBroken { .. }
                | Note::Lost { .. }
                | Note::MayLack { .. }
                | Note::Displaced { .. }
                | Note::Deleted { .. }
                | Note::Repeat { .. }
                | Note::Settled { .. }
                | Note::Message { .. } => {
                    tracing::error!(?note, "THE ORDER JOURNAL DOES NOT HOLD; see `sixgate journal verify`")
                }
            }
            writer.pending.push_back(Entry::note(note, now));
        }
        let mut lacks = Vec::new();
        whole::report(&mut lacks, found.lacks, whole::AT_A_START);
        writer.make_reserve();
        if let Err(err) = writer.write_pending() {
            // They are tried again before the next line.
            health.failed(&err);
        }
        let (newest, taken) = (Arc::clone(&writer.newest), Arc::clone(&writer.lacks));
        let unsettled = Arc::clone(&writer.unsettled);
        let core = Arc::new(Core::new(writer, health, folder, options, known.seen.and_then(|seen| seen.retired)));
        let aside = Aside::start(Arc::clone(&core)).map_err(io("start the thread that writes"))?;
        core.write_seen(false);
        let keeper = options.seen.then(|| JournalThreads::start(Arc::clone(&core))).transpose();
        let shared = JournalShared {
            core,
            batches: Batches::default(),
            flusher,
            aside,
            newest,
            taken,
            keeper: keeper.map_err(io("start the thread that tends"))?,
            opened: now,
            last_line: found.newest_at,
            lacks: Mutex::new(lacks),
            unsettled,
            repeats: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sync what was written, whatever the options: for the end of a drain. If nothing is written after it, the next
    /// start knows that nothing was lost. Not on a runtime worker.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.shared.core.sync()?;
        self.shared.core.write_seen(true);
        Ok(())
    }

    /// Does an id that is not known prove that it was never sent? Cheap; [`Whole::remembers_all`] says why not.
    pub fn remembers_all(&self) -> bool {
        lock(&self.shared.lacks).is_empty()
    }

    /// How whole it is, as far as is known by now.
    pub fn whole(&self) -> Whole {
        let memory = lock(&self.shared.lacks).clone();
        Whole { opened: self.shared.opened, memory, files: lock(&self.shared.taken).clone() }
    }

    /// The time of the last line that the process before wrote, as far as its file's date bears it out.
    pub fn newest(&self) -> Option<Timestamp> {
        self.shared.last_line
    }

    /// Every line of the last `span`, oldest first, and some before it; what lacks among them is part of
    /// [`Journal::whole`] once [`Journal::was_read_back`] was told. A clock that is ahead or behind makes it read more,
    /// and not less. Reads files: not on a runtime worker.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn read_back(&self, span: SignedDuration, now: Timestamp) -> io::Result<ReadBack> {
        let since = self.no_later_than_last_line(now).checked_sub(span).unwrap_or(Timestamp::MIN);
        query::read_back_all(self.folder(), since)
    }

    /// What the host's clock says, or what the last line said when it was written: whatever is longer ago.
    fn no_later_than_last_line(&self, now: Timestamp) -> Timestamp {
        self.shared.last_line.map_or(now, |newest| newest.min(now))
    }

    /// All of it was read.
    pub fn was_read_back(&self, read: ReadBack) {
        let mut lacks = lock(&self.shared.lacks);
        whole::report(&mut lacks, read.into_lacks(), whole::AT_A_START);
    }

    /// What the broker's clock says (the `Date` of a reply). Old files are deleted only by it: a host whose clock is
    /// years ahead must not delete anything. Costs nothing.
    pub fn broker_date(&self, at: Timestamp) {
        self.shared.core.broker_date(at);
    }

    /// What is to be done now and then. The gateway's own thread does it each minute. Not on a runtime worker.
    pub fn tend(&self, now: Timestamp) {
        self.shared.core.tend(now);
    }

    /// Note a repeat, at most one a second under one id. Was it noted?
    pub fn note_repeat(&self, repeat: &Repeat<'_>, at: Timestamp) -> bool {
        if !self.is_due(repeat) {
            return false;
        }
        let entry = Entry {
            account: Some(repeat.account.clone()),
            request_id: Some(repeat.request_id.clone()),
            correlation_id: repeat.correlation_id.cloned(),
            idempotency_key: repeat.idempotency_key.cloned(),
            ..Entry::note(Note::Repeat { of: repeat.of.as_str().to_owned() }, at)
        };
        // A note is not worth the room that is kept for outcomes.
        let batch = LineBatch::of(&entry, RoomToUse::Beside);
        if self.shared.core.pace.is_slow() || self.shared.core.health.is_unwell() {
            return false;
        }
        let written = self.shared.core.lock_soon().and_then(|mut writer| writer.append_all(&batch).pop());
        matches!(written, Some(Ok(_)))
    }

    fn is_due(&self, repeat: &Repeat<'_>) -> bool {
        let mut hasher = DefaultHasher::new();
        (repeat.account, repeat.correlation_id, repeat.idempotency_key).hash(&mut hasher);
        let (id, now) = (hasher.finish(), Instant::now());
        let mut repeats = lock(&self.shared.repeats);
        let fresh = |noted: &Instant| now.saturating_duration_since(*noted) < REPEAT_EVERY;
        if repeats.get(&id).is_some_and(fresh) {
            return false;
        }
        if repeats.len() >= REPEATING {
            repeats.retain(|_, noted| fresh(noted));
        }
        let room = repeats.len() < REPEATING;
        if room {
            repeats.insert(id, now);
        }
        room
    }

    /// The outcome lines of orders of which nobody knows what became, and at which no person has looked: of the last seven
    /// days by this host's clock or the broker's, whichever is behind; the newest first, at most `limit`. The first time,
    /// files are read for it.
    ///
    /// # Errors
    /// When files cannot be read.
    pub async fn unsettled(&self, limit: usize) -> io::Result<Vec<Recorded>> {
        self.read_unsettled().await?;
        Ok(self.shared.unsettled.newest(self.shared.core.no_later(Timestamp::now()), limit))
    }

    /// Read what lines from before the start say of such orders, if that was not done yet.
    ///
    /// # Errors
    /// When files cannot be read.
    pub async fn read_unsettled(&self) -> io::Result<()> {
        self.shared.unsettled.read(self.folder(), self.no_later_than_last_line(Timestamp::now())).await
    }

    /// How many such orders there are, as far as is known by now.
    pub fn unsettled_count(&self) -> UnsettledCount {
        self.shared.unsettled.count(self.shared.core.no_later(Timestamp::now()))
    }

    /// Why lines cannot be written now and what to do, in a sentence; `None` while they can.
    pub fn trouble(&self) -> Option<String> {
        self.shared.core.health.trouble()
    }

    /// Room on its disk, as last looked at.
    pub fn room(&self) -> Option<Room> {
        self.shared.core.health.room()
    }

    /// Does room run low? In a sentence.
    pub fn low_room(&self) -> Option<String> {
        self.shared.core.health.low()
    }

    /// How it stands. It waits for whoever writes: not on a runtime worker.
    pub fn status(&self) -> Status {
        let whole = self.whole();
        let writer = self.shared.core.lock();
        Status {
            last_seq: writer.head.seq,
            file: writer.current.as_ref().map(|current| folder::name(current.date)),
            reserve: writer.reserve,
            whole: whole.is_whole(),
            why: whole.why(),
        }
    }

    /// Number and hash of the newest line, number 0 before the first; `None` when somebody else writes, and takes long.
    /// Not on a runtime worker.
    pub fn newest_line(&self) -> Option<(u64, LineHash)> {
        let writer = self.shared.core.lock_soon()?;
        Some((writer.head.seq, writer.head.hash))
    }

    /// The folder, for reading.
    pub fn folder(&self) -> &Path {
        &self.shared.core.folder
    }
}
