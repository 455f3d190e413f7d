//! What is known of order writes, by the ids that a caller can repeat them with.
//!
//! A caller that repeats a write (the same `correlationId` or `Idempotency-Key`) must get what became of the first and
//! never a second send, also while the first is under way. What was certainly not done leaves nothing behind, neither
//! its ids, which are free, nor an entry of any list.
//!
//! Invariants:
//! - At most one [`Claim`] on an id at any time. Who holds it may send; nobody else.
//! - A claim that is dropped after it was sent leaves "unknown", before that "not sent".
//! - An id is one write's: another body, path or method under it is a conflict, which says what became of the first.
//! - What left is remembered until the moment that its caller gave, and never dropped earlier for room: as much is
//!   remembered of a customer as the broker's limits let leave. Moments are of a clock that nobody can set.
//!
//! What a write is, and what it is known again by, is `write`.
//!
//! Not here: keeping this over a restart (`journal`, from which it is filled again), and how long an id is
//! remembered (`day`).

mod write;

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::limits::MonotonicTime;
use crate::domain::{ClientId, Outcome, lock};

pub use write::{Key, Said, Write, WriteResult};

/// How long after a change of an order the same change again is taken for its repeat, where only the order's own
/// `correlationId`, echoed, speaks for it.
pub const SAME_CHANGE: Duration = Duration::from_secs(60);

/// The most ids that one write is known again by through its repeats. Who repeats an order for ever under one id and
/// makes up another each time is answered as ever, and fills nothing.
const MOST_IDS: usize = 32;

/// When a write is taken up, and until when it is to be remembered if it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When the request came.
    pub now: MonotonicTime,
    /// Not before then is it forgotten.
    pub until: MonotonicTime,
}

/// Who asks for a write, and by which request.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The gateway's id of the request.
    pub request_id: Arc<str>,
    /// Cancelled when whoever asked is gone.
    pub gone: CancellationToken,
}

/// What a repeat, or a first try, finds. With what was known already goes the request id of the first.
#[derive(Debug)]
pub enum Admission {
    /// Nobody has done this: the claim is the caller's.
    Fresh(Claim),
    /// It was carried out.
    Done(Arc<str>, Arc<WriteResult>),
    /// Nobody knows what became of it: whoever has the claim asks the broker, and does not send.
    Unknown(Arc<str>, Claim, Arc<WriteResult>),
    /// It is under way.
    UnderWay(Arc<str>, UnderWay),
    /// The id is another write's. What became of that one, unless it is under way.
    Conflict(Arc<str>, Option<Arc<WriteResult>>),
}

#[derive(Debug)]
enum State {
    UnderWay {
        /// Those who wait for it.
        waiting: Vec<oneshot::Sender<Arc<WriteResult>>>,
        /// Cancelled when whoever asked is gone. Not needed, and not held, once it is over.
        gone: CancellationToken,
    },
    Ended(Arc<WriteResult>),
}

impl State {
    const fn under_way(gone: CancellationToken) -> Self {
        Self::UnderWay { waiting: Vec::new(), gone }
    }
}

#[derive(Debug)]
struct Attempt {
    write: Write,
    request_id: Arc<str>,
    taken: MonotonicTime,
    state: Mutex<State>,
}

impl Attempt {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn ended(&self) -> Option<Arc<WriteResult>> {
        match &*self.state() {
            State::UnderWay { .. } => None,
            State::Ended(recorded) => Some(Arc::clone(recorded)),
        }
    }

    /// Is it under way, and whoever asked for it gone?
    fn is_orphan(&self) -> bool {
        match &*self.state() {
            State::UnderWay { gone, .. } => gone.is_cancelled(),
            State::Ended(_) => false,
        }
    }

    fn end(&self, recorded: &Arc<WriteResult>) {
        let before = std::mem::replace(&mut *self.state(), State::Ended(Arc::clone(recorded)));
        let State::UnderWay { waiting, .. } = before else { return };
        for waiting in waiting {
            // Who has gone does not want to know.
            let _ = waiting.send(Arc::clone(recorded));
        }
    }
}

/// A write in the writes: its slot, what it is found by, and until when.
#[derive(Debug)]
struct Kept {
    slot: Arc<Attempt>,
    places: Vec<Key>,
    until: MonotonicTime,
    /// Is it among those that are due some time? Not before it may have left.
    is_due: bool,
}

/// When to look at a write for forgetting it. A later use moves its end; then it is put back.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: MonotonicTime,
    number: u64,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // The soonest first out of a heap that gives the greatest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Default)]
struct CustomerWrites {
    next: u64,
    kept: HashMap<u64, Kept>,
    places: HashMap<Key, u64>,
    due: BinaryHeap<Due>,
    restored: Vec<FromJournal>,
}

/// A write that the journal knows of. Until a clock that can be trusted says how old it is, it counts as new.
#[derive(Debug)]
struct FromJournal {
    number: u64,
    written: Timestamp,
    until: MonotonicTime,
}

/// The memory of all customers.
#[derive(Debug, Default)]
pub struct IdempotencyStore {
    /// By the broker's customer: an account that is deleted and made anew for the same one
    /// must not do its orders again, and one for another must not hear of them.
    customers: papaya::HashMap<ClientId, Arc<Mutex<CustomerWrites>>>,
    /// When the journal was read back, once that is certain.
    read_back: OnceLock<Timestamp>,
}

impl IdempotencyStore {
    /// Take up a write under its keys. Without keys it cannot be repeated, and is fresh.
    pub fn take(&self, customer: &ClientId, keys: &[Key], write: &Write, asker: &Asker, span: Span) -> Admission {
        let writes = self.writes(customer);
        let mut locked = lock(&writes);
        if let Some(read_back) = self.read_back.get() {
            locked.age(*read_back);
        }
        locked.forget(span.now);
        let number = match locked.look_up(keys, write, span.now) {
            Match::Nothing => return Admission::Fresh(locked.claim(&writes, keys, write, asker, span)),
            Match::Other(slot) => return Admission::Conflict(Arc::clone(&slot.request_id), slot.ended()),
            Match::Same(number) => number,
        };
        locked.join(keys, number, span);
        let Some(kept) = locked.kept.get(&number) else {
            return Admission::Fresh(locked.claim(&writes, keys, write, asker, span));
        };
        let slot = Arc::clone(&kept.slot);
        let first = Arc::clone(&slot.request_id);
        let mut state = slot.state();
        let recorded = match &mut *state {
            State::UnderWay { waiting, .. } => {
                let (tell, told) = oneshot::channel();
                waiting.push(tell);
                return Admission::UnderWay(first, UnderWay(told));
            }
            State::Ended(recorded) => Arc::clone(recorded),
        };
        match recorded.outcome {
            Outcome::Executed => Admission::Done(first, recorded),
            // Nothing of them is kept; one that is here all the same is a fresh try.
            Outcome::NotSent | Outcome::Rejected => {
                drop(state);
                locked.remove(number);
                Admission::Fresh(locked.claim(&writes, keys, write, asker, span))
            }
            Outcome::Unknown => {
                *state = State::under_way(asker.gone.clone());
                drop(state);
                let left = Some(Abandoned::Unknown(Arc::clone(&recorded)));
                let claim = Claim { writes: Arc::downgrade(&writes), number, slot, until: None, left };
                Admission::Unknown(first, claim, recorded)
            }
        }
    }

    /// Put in what the journal knows of, at start, and when it was written. It counts as new until
    /// [`IdempotencyStore::was_read_back`].
    pub fn remember(
        &self,
        customer: &ClientId,
        keys: &[Key],
        write: Write,
        (request_id, written): (Arc<str>, Timestamp),
        recorded: WriteResult,
        span: Span,
    ) {
        let writes = self.writes(customer);
        let mut writes = lock(&writes);
        let state = Mutex::new(State::Ended(Arc::new(recorded)));
        let number = writes.enter(keys, Arc::new(Attempt { write, request_id, taken: span.now, state }), span);
        writes.ended(number, None);
        writes.restored.push(FromJournal { number, written, until: span.until });
    }

    /// What was put in by [`IdempotencyStore::remember`] was put in at this time, by a clock that can be trusted: what was written
    /// longer ago is so much older. The first time counts.
    pub fn was_read_back(&self, at: Timestamp) {
        let _ = self.read_back.set(at);
    }

    /// Is it known how old that is?
    pub fn knows_ages(&self) -> bool {
        self.read_back.get().is_some()
    }

    /// Forget what is due to be forgotten, also of customers that send nothing any more. Now and then, not on the order
    /// path: it looks at every customer.
    pub fn tend(&self, now: MonotonicTime) {
        for writes in self.customers.pin().values() {
            let mut writes = lock(writes);
            if let Some(read_back) = self.read_back.get() {
                writes.age(*read_back);
            }
            writes.forget(now);
            writes.give_back_room();
        }
    }

    /// How many entries of all kinds there are of a customer: writes, places, and dates.
    pub fn entries(&self, customer: &ClientId) -> [usize; 3] {
        self.customers.pin().get(customer).map_or([0; 3], |writes| {
            let writes = lock(writes);
            [writes.kept.len(), writes.places.len(), writes.due.len()]
        })
    }

    /// How many writes are remembered of a customer.
    pub fn len(&self, customer: &ClientId) -> usize {
        self.customers.pin().get(customer).map_or(0, |writes| lock(writes).kept.len())
    }

    fn writes(&self, customer: &ClientId) -> Arc<Mutex<CustomerWrites>> {
        let customers = self.customers.pin();
        Arc::clone(customers.get_or_insert_with(customer.clone(), Arc::default))
    }
}

/// What stands under the keys of a write.
enum Match {
    Nothing,
    Same(u64),
    Other(Arc<Attempt>),
}

impl CustomerWrites {
    fn look_up(&self, keys: &[Key], write: &Write, now: MonotonicTime) -> Match {
        let mut same = None;
        for key in keys {
            let Some((number, kept)) = self.places.get(&key.place()).and_then(|n| Some((*n, self.kept.get(n)?))) else {
                continue;
            };
            let slot = &kept.slot;
            match key {
                Key::Correlation(_) | Key::Idempotency(_) => match same {
                    _ if slot.write != *write => return Match::Other(Arc::clone(slot)),
                    Some(other) if other != number => return Match::Other(Arc::clone(slot)),
                    Some(_) | None => same = Some(number),
                },
                Key::Change { echoed, .. } => {
                    let is_repeat = *echoed && slot.write == *write && now.since(slot.taken) < SAME_CHANGE;
                    same = same.or(is_repeat.then_some(number));
                }
                Key::Twin(_) => {
                    same = same.or((slot.is_orphan() && slot.write == *write).then_some(number));
                }
            }
        }
        same.map_or(Match::Nothing, Match::Same)
    }

    fn claim(&mut self, writes: &Arc<Mutex<Self>>, keys: &[Key], write: &Write, asker: &Asker, span: Span) -> Claim {
        let state = Mutex::new(State::under_way(asker.gone.clone()));
        let request_id = Arc::clone(&asker.request_id);
        let slot = Arc::new(Attempt { write: write.clone(), request_id, taken: span.now, state });
        let number = self.enter(keys, Arc::clone(&slot), span);
        Claim { writes: Arc::downgrade(writes), number, slot, until: None, left: Some(Abandoned::NotSent) }
    }

    fn enter(&mut self, keys: &[Key], slot: Arc<Attempt>, span: Span) -> u64 {
        let number = self.next;
        self.next += 1;
        if keys.is_empty() {
            return number;
        }
        let places: Vec<Key> = keys.iter().map(Key::place).collect();
        for place in &places {
            self.places.insert(place.clone(), number);
        }
        self.kept.insert(number, Kept { slot, places, until: span.until, is_due: false });
        number
    }

    /// It may have been done, and nobody works at it any more: from now on it is remembered, for as long as it can be
    /// found by anything.
    fn ended(&mut self, number: u64, until: Option<MonotonicTime>) {
        let Some(kept) = self.kept.get_mut(&number) else { return };
        kept.places.retain(|place| {
            let stays = place.outlives_its_end();
            if !stays && self.places.get(place) == Some(&number) {
                self.places.remove(place);
            }
            stays
        });
        if kept.places.is_empty() {
            self.kept.remove(&number);
            return;
        }
        kept.until = until.map_or(kept.until, |until| kept.until.max(until));
        if !kept.places.iter().any(Key::is_id) {
            // By its order alone a change is known again for so long.
            kept.until = kept.until.min(kept.slot.taken.after(SAME_CHANGE));
        }
        if !std::mem::replace(&mut kept.is_due, true) {
            self.due.push(Due { at: kept.until, number });
        }
    }

    /// A repeat: it is remembered for longer, and an id that it names too is this write's as well.
    fn join(&mut self, keys: &[Key], number: u64, span: Span) {
        let Some(kept) = self.kept.get_mut(&number) else { return };
        kept.until = kept.until.max(span.until);
        for place in keys.iter().filter(|key| key.is_id()).map(Key::place) {
            if kept.places.len() < MOST_IDS && !kept.places.contains(&place) {
                self.places.insert(place.clone(), number);
                kept.places.push(place);
            }
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(kept) = self.kept.remove(&number) else { return };
        for place in kept.places {
            // A later write may have its place.
            if self.places.get(&place) == Some(&number) {
                self.places.remove(&place);
            }
        }
    }

    /// See [`IdempotencyStore::was_read_back`].
    fn age(&mut self, read_back: Timestamp) {
        for FromJournal { number, written, until } in std::mem::take(&mut self.restored) {
            let age = Duration::try_from(read_back.duration_since(written)).unwrap_or_default();
            // One that was repeated meanwhile is remembered from its repeat on.
            if let Some(kept) = self.kept.get_mut(&number).filter(|kept| kept.until == until) {
                kept.until = until.before(age);
                self.due.push(Due { at: kept.until, number });
            }
        }
    }

    /// A busy day's room is not held on a quiet one.
    fn give_back_room(&mut self) {
        let is_roomy = |held: usize, room: usize| room > 256 && held < room / 4;
        if is_roomy(self.kept.len(), self.kept.capacity()) {
            self.kept.shrink_to_fit();
        }
        if is_roomy(self.places.len(), self.places.capacity()) {
            self.places.shrink_to_fit();
        }
        if is_roomy(self.due.len(), self.due.capacity()) {
            self.due.shrink_to_fit();
        }
    }

    fn forget(&mut self, now: MonotonicTime) {
        while let Some(due) = self.due.peek()
            && due.at <= now
        {
            let Some(Due { number, .. }) = self.due.pop() else { break };
            let Some(kept) = self.kept.get(&number) else { continue };
            let again = if kept.until > now {
                kept.until
            } else if kept.slot.ended().is_none() {
                now.after(SAME_CHANGE)
            } else {
                self.remove(number);
                continue;
            };
            self.due.push(Due { at: again, number });
        }
    }
}

/// What a claim leaves behind when it is dropped without a word.
#[derive(Debug)]
enum Abandoned {
    NotSent,
    Unknown(Arc<WriteResult>),
}

/// The right to send a write, or to ask about it.
#[derive(Debug)]
#[must_use = "dropping it says that the write was not sent"]
pub struct Claim {
    writes: Weak<Mutex<CustomerWrites>>,
    number: u64,
    slot: Arc<Attempt>,
    /// What its answer said of how long it is to be remembered.
    until: Option<MonotonicTime>,
    left: Option<Abandoned>,
}

impl Claim {
    /// From now on it may have been sent. `so_far` is what is known if no more is said.
    pub fn sending(&mut self, so_far: WriteResult) {
        self.left = Some(Abandoned::Unknown(Arc::new(so_far)));
    }

    /// It was proven not to have been done: the next send is the first again.
    pub fn taken_back(&mut self) {
        self.left = Some(Abandoned::NotSent);
    }

    /// It is to be remembered until then at least: the day that the order belongs to is known better by now.
    pub const fn keep_until(&mut self, until: MonotonicTime) {
        self.until = Some(until);
    }

    /// What became of it.
    pub fn end(mut self, recorded: WriteResult) -> Arc<WriteResult> {
        let recorded = match self.left.take() {
            // Nobody has seen it: its place is taken.
            Some(Abandoned::Unknown(mut place)) => match Arc::get_mut(&mut place) {
                Some(so_far) => {
                    *so_far = recorded;
                    place
                }
                None => Arc::new(recorded),
            },
            Some(Abandoned::NotSent) | None => Arc::new(recorded),
        };
        self.tell(&recorded);
        recorded
    }

    fn tell(&self, recorded: &Arc<WriteResult>) {
        // Before those who wait are told: the first of them may send.
        if let Some(writes) = self.writes.upgrade() {
            let mut writes = lock(&writes);
            match recorded.outcome {
                Outcome::NotSent | Outcome::Rejected => writes.remove(self.number),
                Outcome::Executed | Outcome::Unknown => writes.ended(self.number, self.until),
            }
        }
        self.slot.end(recorded);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.left.take() {
            None => {}
            Some(Abandoned::Unknown(recorded)) => self.tell(&recorded),
            Some(Abandoned::NotSent) => self.tell(&Arc::new(WriteResult::bare(Outcome::NotSent))),
        }
    }
}

/// Waiting for a write that somebody else has under way.
#[derive(Debug)]
pub struct UnderWay(oneshot::Receiver<Arc<WriteResult>>);

impl UnderWay {
    /// What became of it, once that is known; told once. Cancel-safe.
    pub async fn end(&mut self) -> Option<Arc<WriteResult>> {
        (&mut self.0).await.ok()
    }
}

#[cfg(test)]
mod tests;
