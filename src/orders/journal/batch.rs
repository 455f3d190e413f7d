//! Lines that are written together: those of orders that run at the same moment on one thread.
//!
//! The first to come leads: it lets everybody else who is ready run once, and then writes what has come together
//! with one `write(2)`. So the more is under way, the less a line costs; and who is alone waits for nobody.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::codec;
use super::entry::{Entry, Kind};
use super::error::JournalError;
use super::unsettled::News;

/// Threads that have a batch of their own; more share them.
const SHARDS: usize = 64;

/// What an intent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It is refused while there is no room kept for outcomes.
    Ordinary,
    /// It takes risk away: it uses the room that is kept.
    TakesRiskAway,
}

/// Where a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The line's number.
    pub seq: u64,
}

pub(super) type AppendResult = Result<Appended, JournalError>;

/// A line but for its place in the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared<'a> {
    pub(super) room: RoomToUse,
    pub(super) at: Timestamp,
    pub(super) news: &'a News,
    pub(super) body: &'a [u8],
}

/// What a line may use of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomToUse {
    /// Only what is beside the reserve.
    Beside,
    /// The reserve too.
    Reserve,
}

impl RoomToUse {
    pub(super) fn of(kind: Kind, urgency: Urgency) -> Self {
        if kind == Kind::Intent && urgency == Urgency::Ordinary { Self::Beside } else { Self::Reserve }
    }
}

/// One of the lines of a batch; its body ends there.
#[derive(Debug)]
struct BatchLine {
    room: RoomToUse,
    at: Timestamp,
    news: News,
    end: usize,
}

/// Lines in the order of coming.
#[derive(Debug, Default)]
pub(super) struct LineBatch {
    bodies: Vec<u8>,
    lines: Vec<BatchLine>,
    /// Those who wait for all lines but the first, in order.
    waiting: Vec<oneshot::Sender<AppendResult>>,
}

impl LineBatch {
    /// A batch of one line.
    pub(super) fn of(entry: &Entry, room: RoomToUse) -> Self {
        let mut batch = Self::default();
        batch.add(entry, room);
        batch
    }

    fn add(&mut self, entry: &Entry, room: RoomToUse) {
        codec::body(&mut self.bodies, entry);
        self.lines.push(BatchLine { room, at: entry.at, news: News::of(entry), end: self.bodies.len() });
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Prepared<'_>> {
        let mut from = 0;
        self.lines.iter().map(move |BatchLine { room, at, news, end }| {
            let body = self.bodies.get(std::mem::replace(&mut from, *end)..*end).unwrap_or_default();
            Prepared { room: *room, at: *at, news, body }
        })
    }

    /// Add another's lines, and who waits for each of them to `waiters`. An intent that nobody waits for any more is not
    /// written: nothing was sent.
    pub(super) fn take_over(
        &mut self,
        other: Self,
        first: Option<oneshot::Sender<AppendResult>>,
        waiters: &mut Vec<Option<oneshot::Sender<AppendResult>>>,
    ) {
        let Self { bodies, lines, waiting } = other;
        let mut waiting = std::iter::once(first).chain(waiting.into_iter().map(Some));
        let mut from = 0;
        for line in lines {
            let body = bodies.get(std::mem::replace(&mut from, line.end)..line.end).unwrap_or_default();
            let who = waiting.next().flatten();
            if line.room == RoomToUse::Beside && who.as_ref().is_some_and(oneshot::Sender::is_closed) {
                continue;
            }
            self.bodies.extend_from_slice(body);
            self.lines.push(BatchLine { end: self.bodies.len(), ..line });
            waiters.push(who);
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Deliver each outcome to who waits for it; what is left over is the first one's.
    pub(super) fn deliver(&mut self, outcomes: Vec<AppendResult>) -> Option<AppendResult> {
        let mut outcomes = outcomes.into_iter();
        let first = outcomes.next();
        for (waiting, outcome) in self.waiting.drain(..).zip(outcomes) {
            // Who has gone does not want to know.
            let _ = waiting.send(outcome);
        }
        first
    }

    /// Empty, with the room it has.
    fn cleared(mut self) -> Self {
        self.bodies.clear();
        self.lines.clear();
        self.waiting.clear();
        self
    }
}

/// Where lines come together.
#[derive(Debug)]
pub(super) struct Batches {
    shards: [Mutex<Shard>; SHARDS],
    /// Who has something under way that will come back for another line.
    busy: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Shard {
    batch: LineBatch,
    spare: Option<LineBatch>,
}

/// What one who comes with a line does next.
pub(super) enum Part {
    /// Write them all, after having let others come.
    Lead(usize),
    /// Wait for who leads.
    Follow(oneshot::Receiver<AppendResult>),
}

/// Something is under way that will come back for another line, until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only while it is held"]
pub struct InFlightGuard(Arc<AtomicUsize>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Batches {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), busy: Arc::default() }
    }
}

impl Batches {
    pub(super) fn busy(&self) -> InFlightGuard {
        self.busy.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(Arc::clone(&self.busy))
    }

    /// Is nobody there to wait for?
    pub(super) fn is_alone(&self) -> bool {
        self.busy.load(Ordering::Relaxed) <= 1
    }

    pub(super) fn join(&self, entry: &Entry, room: RoomToUse) -> Part {
        let number = own_shard();
        let mut shard = self.lock(number);
        shard.batch.add(entry, room);
        if shard.batch.len() == 1 {
            return Part::Lead(number);
        }
        let (done, outcome) = oneshot::channel();
        shard.batch.waiting.push(done);
        Part::Follow(outcome)
    }

    pub(super) fn take(&self, number: usize) -> LineBatch {
        let mut shard = self.lock(number);
        let next = shard.spare.take().unwrap_or_default();
        std::mem::replace(&mut shard.batch, next)
    }

    pub(super) fn put_back(&self, number: usize, batch: LineBatch) {
        self.lock(number).spare = Some(batch.cleared());
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, Shard> {
        // `own_shard` is below SHARDS; the first is as good as any.
        let [first, ..] = &self.shards;
        self.shards.get(number).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number of this thread's own, as long as there are no more than [`SHARDS`].
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        OWN.set(Some(own));
        own
    })
}
