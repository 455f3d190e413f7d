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
//! What a write is, and what it is known again by, is `write`; the writes of one customer are `customer_writes`.
//!
//! Not here: keeping this over a restart (`journal`, from which it is filled again), and how long an id is
//! remembered (`day`).

mod customer_writes;
mod write;

use std::sync::{Arc, Mutex, OnceLock, Weak};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::limits::MonotonicTime;
use crate::domain::{ClientId, Outcome, lock};

use customer_writes::{AttemptState, CustomerWrites, FromJournal, Match, WriteAttempt};

pub use customer_writes::{RememberedSpan, SAME_CHANGE};
pub use write::{BodyDigest, Write, WriteKey, WriteResult};

/// Who asks for a write, and by which request.
#[derive(Clone, Debug)]
pub struct Requester {
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
    UnderWay(Arc<str>, FirstAttempt),
    /// The id is another write's. What became of that one, unless it is under way.
    Conflict(Arc<str>, Option<Arc<WriteResult>>),
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
    pub fn take(
        &self,
        customer: &ClientId,
        keys: &[WriteKey],
        write: &Write,
        requester: &Requester,
        span: RememberedSpan,
    ) -> Admission {
        let writes = self.writes(customer);
        let mut locked = lock(&writes);
        if let Some(read_back) = self.read_back.get() {
            locked.age(*read_back);
        }
        locked.forget(span.now);
        let number = match locked.look_up(keys, write, span.now) {
            Match::Nothing => return Admission::Fresh(fresh(&mut locked, &writes, keys, write, requester, span)),
            Match::Other(slot) => return Admission::Conflict(Arc::clone(&slot.request_id), slot.ended()),
            Match::Same(number) => number,
        };
        locked.join(keys, number, span);
        let Some(kept) = locked.kept.get(&number) else {
            return Admission::Fresh(fresh(&mut locked, &writes, keys, write, requester, span));
        };
        let slot = Arc::clone(&kept.slot);
        let first = Arc::clone(&slot.request_id);
        let mut state = slot.state();
        let recorded = match &mut *state {
            AttemptState::UnderWay { waiting, .. } => {
                let (done, outcome) = oneshot::channel();
                waiting.push(done);
                return Admission::UnderWay(first, FirstAttempt(outcome));
            }
            AttemptState::Ended(recorded) => Arc::clone(recorded),
        };
        match recorded.outcome {
            Outcome::Executed => Admission::Done(first, recorded),
            // Nothing of them is kept; one that is here all the same is a fresh try.
            Outcome::NotSent | Outcome::Rejected => {
                drop(state);
                locked.remove(number);
                Admission::Fresh(fresh(&mut locked, &writes, keys, write, requester, span))
            }
            Outcome::Unknown => {
                *state = AttemptState::under_way(requester.gone.clone());
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
        keys: &[WriteKey],
        write: Write,
        (request_id, written): (Arc<str>, Timestamp),
        recorded: WriteResult,
        span: RememberedSpan,
    ) {
        let writes = self.writes(customer);
        let mut writes = lock(&writes);
        let state = Mutex::new(AttemptState::Ended(Arc::new(recorded)));
        let number = writes.enter(keys, Arc::new(WriteAttempt { write, request_id, taken: span.now, state }), span);
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

/// A claim on a write that nobody has done.
fn fresh(
    locked: &mut CustomerWrites,
    writes: &Arc<Mutex<CustomerWrites>>,
    keys: &[WriteKey],
    write: &Write,
    requester: &Requester,
    span: RememberedSpan,
) -> Claim {
    let state = Mutex::new(AttemptState::under_way(requester.gone.clone()));
    let request_id = Arc::clone(&requester.request_id);
    let slot = Arc::new(WriteAttempt { write: write.clone(), request_id, taken: span.now, state });
    let number = locked.enter(keys, Arc::clone(&slot), span);
    Claim { writes: Arc::downgrade(writes), number, slot, until: None, left: Some(Abandoned::NotSent) }
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
    slot: Arc<WriteAttempt>,
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
        self.publish(&recorded);
        recorded
    }

    fn publish(&self, recorded: &Arc<WriteResult>) {
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
            Some(Abandoned::Unknown(recorded)) => self.publish(&recorded),
            Some(Abandoned::NotSent) => self.publish(&Arc::new(WriteResult::bare(Outcome::NotSent))),
        }
    }
}

/// Waiting for a write that somebody else has under way.
#[derive(Debug)]
pub struct FirstAttempt(oneshot::Receiver<Arc<WriteResult>>);

impl FirstAttempt {
    /// What became of it, once that is known; told once. Cancel-safe.
    pub async fn end(&mut self) -> Option<Arc<WriteResult>> {
        (&mut self.0).await.ok()
    }
}

#[cfg(test)]
mod tests;
