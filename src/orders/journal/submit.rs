//! How a line gets into the journal from an order's way: written there and then while the disk is fast, aside while it
//! is not, and waited for no longer than whoever asks says.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::aside::Job;
use super::batch::{AppendResult, Appended, InFlightGuard, LineBatch, Part, RoomToUse, Urgency};
use super::entry::Entry;
use super::error::JournalError;
use super::writer::Journal;

/// How long an outcome waits for a disk that is slow. Its caller waits for it, and the order is done.
const OUTCOME_WITHIN: Duration = Duration::from_secs(2);
/// How long a line is waited for once it is known that none can be written: of what is sent or was sent all the same, and
/// of a placement, which is refused.
const UNWELL_WITHIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// A disk that has not taken a line for so long is in trouble. Less is the deadline of whoever asks, and says nothing of it.
const TROUBLE_AFTER: Duration = Duration::from_millis(400);

impl Journal {
    /// Append a line: a few microseconds and one `write(2)`. When it returns, the line survives the death of this
    /// process. It waits for the disk, however long that takes: not on a runtime worker.
    ///
    /// # Errors
    /// The line is not in the journal, which is as it was before. An intent that was
    /// refused means that the order is not sent.
    pub fn append(&self, entry: &Entry) -> Result<Appended, JournalError> {
        let batch = LineBatch::of(entry, RoomToUse::of(entry.kind, Urgency::Ordinary));
        let mut outcomes = self.shared.core.lock().append_all(&batch);
        outcomes.pop().unwrap_or_else(|| Err(self.unwritten()))
    }

    /// Append a line that nobody waits for, after whatever was given before it. That it cannot be written is told by the
    /// journal's own trouble.
    pub fn append_later(&self, entry: &Entry) {
        let batch = LineBatch::of(entry, RoomToUse::of(entry.kind, Urgency::Ordinary));
        if !self.shared.core.pace.is_slow()
            && let Some(mut writer) = self.shared.core.lock_soon()
        {
            drop(writer.append_all(&batch));
            return;
        }
        // When too many wait, one that says what a reply has said already is the least loss.
        let _ = self.shared.aside.write(Job { batch, done: None });
    }

    /// To be held by whoever comes back for another line soon: lines are written together only while
    /// there are others to wait for.
    pub fn busy(&self) -> InFlightGuard {
        self.shared.batches.busy()
    }

    /// Append a line, with those of others that come at the same moment, and, with `journal.fsync`,
    /// wait until it survives a power cut. Cancel-safe after the first poll: the line is written then.
    ///
    /// # Errors
    /// As [`Journal::append`]; and as [`JournalError::may_be_written`] says the line may be in the journal all the same.
    pub async fn append_durable(&self, entry: &Entry) -> Result<Appended, JournalError> {
        self.append_durable_as(entry, Urgency::Ordinary, Instant::now() + OUTCOME_WITHIN).await
    }

    /// The same; an intent of what takes risk away uses the room that is kept for outcomes. `by` is how long a disk that
    /// is slow is waited for.
    ///
    /// # Errors
    /// As [`Journal::append_durable`]. An order whose intent ends so is not sent, and gets an outcome line `not_sent`
    /// where its own may be written; what takes risk away is sent all the same.
    pub async fn append_durable_as(
        &self,
        entry: &Entry,
        urgency: Urgency,
        by: Instant,
    ) -> Result<Appended, JournalError> {
        let room = RoomToUse::of(entry.kind, urgency);
        let by = if self.shared.core.health.is_unwell() {
            let [sent_all_the_same, refused] = UNWELL_WITHIN;
            let within = if room == RoomToUse::Reserve { sent_all_the_same } else { refused };
            by.min(Instant::now() + within)
        } else {
            by
        };
        let hangs = self.shared.flusher.as_ref().is_some_and(|flusher| flusher.hangs());
        if hangs && room == RoomToUse::Beside {
            return Err(self.sync_hangs());
        }
        let appended = if self.shared.core.pace.is_slow() {
            self.write_aside(LineBatch::of(entry, room), by).await?
        } else {
            match self.shared.batches.join(entry, room) {
                Part::Lead(number) => {
                    let lead = Lead { journal: self, number };
                    if !self.shared.batches.is_alone() {
                        tokio::task::yield_now().await;
                    }
                    match lead.write() {
                        Written::Here(outcome) => outcome?,
                        Written::Aside(outcome) => self.outcome(outcome, by).await?,
                    }
                }
                Part::Follow(outcome) => self.outcome(outcome, by).await?,
            }
        };
        self.synced(appended, hangs, by).await
    }

    /// Wait until a line is on the disk, where that is wanted.
    async fn synced(&self, appended: Appended, hangs: bool, by: Instant) -> Result<Appended, JournalError> {
        let Some(flusher) = &self.shared.flusher else { return Ok(appended) };
        let Some(file) = self.shared.newest.load_full() else { return Ok(appended) };
        let unsynced = |source| JournalError::Unsynced { path: self.folder().to_path_buf(), source };
        let late = || Arc::new(io::Error::new(io::ErrorKind::TimedOut, "the disk has not answered yet"));
        if hangs {
            return Err(unsynced(late()));
        }
        let begun = Instant::now();
        let err = match timeout_at(by, flusher.request(appended.seq, file)).await {
            Ok(Ok(Ok(()))) => return Ok(appended),
            Ok(Ok(Err(source))) => unsynced(source),
            Ok(Err(_)) => unsynced(Arc::new(io::Error::other("the thread that syncs has ended"))),
            Err(_) => return Err(self.not_waited_for(begun.elapsed(), || unsynced(late()))),
        };
        self.shared.core.health.failed(&err);
        Err(err)
    }

    async fn write_aside(&self, batch: LineBatch, by: Instant) -> AppendResult {
        let (done, outcome) = oneshot::channel();
        match self.shared.aside.write(Job { batch, done: Some(done) }) {
            Ok(()) => self.outcome(outcome, by).await,
            Err(_) => Err(self.too_many_wait()),
        }
    }

    async fn outcome(&self, outcome: oneshot::Receiver<AppendResult>, by: Instant) -> AppendResult {
        let begun = Instant::now();
        match timeout_at(by, outcome).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(self.unwritten())),
            Err(_) => Err(self.not_waited_for(begun.elapsed(), || self.slow(begun.elapsed()))),
        }
    }

    /// Whoever asked waits no longer. Is that the disk's fault?
    fn not_waited_for(&self, waited: Duration, disk: impl FnOnce() -> JournalError) -> JournalError {
        let health = &self.shared.core.health;
        if waited < TROUBLE_AFTER && !health.is_unwell() {
            return JournalError::NotInTime { waited };
        }
        let err = disk();
        health.failed(&err);
        err
    }

    fn slow(&self, waited: Duration) -> JournalError {
        JournalError::Slow { path: self.folder().to_path_buf(), waited }
    }

    /// More lines wait for it already than may.
    fn too_many_wait(&self) -> JournalError {
        let err = self.slow(Duration::ZERO);
        self.shared.core.health.failed(&err);
        err
    }

    fn sync_hangs(&self) -> JournalError {
        let source = io::Error::new(io::ErrorKind::TimedOut, "a sync before it has not ended");
        let err = JournalError::io("sync the order journal in", self.folder())(source);
        self.shared.core.health.failed(&err);
        err
    }

    /// A mistake of this module: a line got no answer. Whoever asked must take it for not written.
    fn unwritten(&self) -> JournalError {
        JournalError::io("append to the order journal in", self.folder())(io::ErrorKind::Other.into())
    }

    fn write_batch(&self, number: usize) -> Written {
        if !self.shared.core.pace.is_slow()
            && let Some(mut writer) = self.shared.core.lock_soon()
        {
            let mut batch = self.shared.batches.take(number);
            let begun = Clock::now();
            let outcomes = writer.append_all(&batch);
            drop(writer);
            self.shared.core.pace.took(begun.elapsed());
            let first = batch.deliver(outcomes);
            self.shared.batches.put_back(number, batch);
            return Written::Here(first.unwrap_or_else(|| Err(self.unwritten())));
        }
        self.shared.core.pace.is_held();
        let (done, outcome) = oneshot::channel();
        let job = Job { batch: self.shared.batches.take(number), done: Some(done) };
        match self.shared.aside.write(job) {
            Ok(()) => Written::Aside(outcome),
            Err(mut job) => {
                let refused = (0..job.batch.len()).map(|_| Err(self.too_many_wait())).collect();
                let first = job.batch.deliver(refused);
                Written::Here(first.unwrap_or_else(|| Err(self.unwritten())))
            }
        }
    }
}

/// What became of the lines of a batch, for the first of them.
enum Written {
    Here(AppendResult),
    Aside(oneshot::Receiver<AppendResult>),
}

/// The duty to write a batch. Others wait for it, so it is done also when it is dropped.
struct Lead<'a> {
    journal: &'a Journal,
    number: usize,
}

impl Lead<'_> {
    fn write(self) -> Written {
        let (journal, number) = (self.journal, self.number);
        std::mem::forget(self);
        journal.write_batch(number)
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // What leads and is given up here before it is written, is not sent.
        drop(self.journal.write_batch(self.number));
    }
}
