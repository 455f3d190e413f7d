//! The writes of one customer: each by the ids that it is known again by, for as long as it is remembered.
//!
//! Whoever holds the lock of it sees all ids of a write or none. Who may send a write is not here.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::write::{Write, WriteKey, WriteResult};
use crate::domain::lock;
use crate::orders::limits::MonotonicTime;

/// How long after a change of an order the same change again is taken for its repeat, where only the order's own
/// `correlationId`, echoed, speaks for it.
pub const SAME_CHANGE: Duration = Duration::from_secs(60);

/// The most ids that one write is known again by through its repeats. Who repeats an order for ever under one id and
/// makes up another each time is answered as ever, and fills nothing.
pub(super) const MOST_IDS: usize = 32;

/// When a write is taken up, and until when it is to be remembered if it leaves.
#[derive(Clone, Copy, Debug)]
pub struct RememberedSpan {
    /// When the request came.
    pub now: MonotonicTime,
    /// Not before then is it forgotten.
    pub until: MonotonicTime,
}

#[derive(Debug)]
pub(super) enum AttemptState {
    UnderWay {
        /// Those who wait for it.
        waiting: Vec<oneshot::Sender<Arc<WriteResult>>>,
        /// Cancelled when whoever asked is gone. Not needed, and not held, once it is over.
        gone: CancellationToken,
    },
    Ended(Arc<WriteResult>),
}

impl AttemptState {
    pub(super) const fn under_way(gone: CancellationToken) -> Self {
        Self::UnderWay { waiting: Vec::new(), gone }
    }
}

#[derive(Debug)]
pub(super) struct WriteAttempt {
    pub(super) write: Write,
    pub(super) request_id: Arc<str>,
    pub(super) taken: MonotonicTime,
    pub(super) state: Mutex<AttemptState>,
}

impl WriteAttempt {
    pub(super) fn state(&self) -> MutexGuard<'_, AttemptState> {
        lock(&self.state)
    }

    pub(super) fn ended(&self) -> Option<Arc<WriteResult>> {
        match &*self.state() {
            AttemptState::UnderWay { .. } => None,
            AttemptState::Ended(recorded) => Some(Arc::clone(recorded)),
        }
    }

    /// Is it under way, and whoever asked for it gone?
    pub(super) fn is_orphan(&self) -> bool {
        match &*self.state() {
            AttemptState::UnderWay { gone, .. } => gone.is_cancelled(),
            AttemptState::Ended(_) => false,
        }
    }

    pub(super) fn end(&self, recorded: &Arc<WriteResult>) {
        let before = std::mem::replace(&mut *self.state(), AttemptState::Ended(Arc::clone(recorded)));
        let AttemptState::UnderWay { waiting, .. } = before else { return };
        for waiting in waiting {
            // Who has gone does not want to know.
            let _ = waiting.send(Arc::clone(recorded));
        }
    }
}

/// A write in the writes: its slot, what it is found by, and until when.
#[derive(Debug)]
pub(super) struct KeptWrite {
    pub(super) slot: Arc<WriteAttempt>,
    places: Vec<WriteKey>,
    until: MonotonicTime,
    /// Is it among those that are due some time? Not before it may have left.
    is_due: bool,
}

/// When to look at a write for forgetting it. A later use moves its end; then it is put back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForgetAt {
    at: MonotonicTime,
    number: u64,
}

impl Ord for ForgetAt {
    fn cmp(&self, other: &Self) -> Ordering {
        // The soonest first out of a heap that gives the greatest.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for ForgetAt {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Default)]
pub(super) struct CustomerWrites {
    next: u64,
    pub(super) kept: HashMap<u64, KeptWrite>,
    pub(super) places: HashMap<WriteKey, u64>,
    pub(super) due: BinaryHeap<ForgetAt>,
    pub(super) restored: Vec<FromJournal>,
}

/// A write that the journal knows of. Until a clock that can be trusted says how old it is, it counts as new.
#[derive(Debug)]
pub(super) struct FromJournal {
    pub(super) number: u64,
    pub(super) written: Timestamp,
    pub(super) until: MonotonicTime,
}

/// What stands under the keys of a write.
pub(super) enum Match {
    Nothing,
    Same(u64),
    Other(Arc<WriteAttempt>),
}

impl CustomerWrites {
    pub(super) fn look_up(&self, keys: &[WriteKey], write: &Write, now: MonotonicTime) -> Match {
        let mut same = None;
        for key in keys {
            let Some((number, kept)) = self.places.get(&key.place()).and_then(|n| Some((*n, self.kept.get(n)?))) else {
                continue;
            };
            let slot = &kept.slot;
            match key {
                WriteKey::Correlation(_) | WriteKey::Idempotency(_) => match same {
                    _ if slot.write != *write => return Match::Other(Arc::clone(slot)),
                    Some(other) if other != number => return Match::Other(Arc::clone(slot)),
                    Some(_) | None => same = Some(number),
                },
                WriteKey::Change { echoed, .. } => {
                    let is_repeat = *echoed && slot.write == *write && now.since(slot.taken) < SAME_CHANGE;
                    same = same.or(is_repeat.then_some(number));
                }
                WriteKey::Twin(_) => {
                    same = same.or((slot.is_orphan() && slot.write == *write).then_some(number));
                }
            }
        }
        same.map_or(Match::Nothing, Match::Same)
    }

    pub(super) fn enter(&mut self, keys: &[WriteKey], slot: Arc<WriteAttempt>, span: RememberedSpan) -> u64 {
        let number = self.next;
        self.next += 1;
        if keys.is_empty() {
            return number;
        }
        let places: Vec<WriteKey> = keys.iter().map(WriteKey::place).collect();
        for place in &places {
            self.places.insert(place.clone(), number);
        }
        self.kept.insert(number, KeptWrite { slot, places, until: span.until, is_due: false });
        number
    }

    /// It may have been done, and nobody works at it any more: from now on it is remembered, for as long as it can be
    /// found by anything.
    pub(super) fn ended(&mut self, number: u64, until: Option<MonotonicTime>) {
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
        if !kept.places.iter().any(WriteKey::is_id) {
            // By its order alone a change is known again for so long.
            kept.until = kept.until.min(kept.slot.taken.after(SAME_CHANGE));
        }
        if !std::mem::replace(&mut kept.is_due, true) {
            self.due.push(ForgetAt { at: kept.until, number });
        }
    }

    /// A repeat: it is remembered for longer, and an id that it names too is this write's as well.
    pub(super) fn join(&mut self, keys: &[WriteKey], number: u64, span: RememberedSpan) {
        let Some(kept) = self.kept.get_mut(&number) else { return };
        kept.until = kept.until.max(span.until);
        for place in keys.iter().filter(|key| key.is_id()).map(WriteKey::place) {
            if kept.places.len() < MOST_IDS && !kept.places.contains(&place) {
                self.places.insert(place.clone(), number);
                kept.places.push(place);
            }
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(kept) = self.kept.remove(&number) else { return };
        for place in kept.places {
            // A later write may have its place.
            if self.places.get(&place) == Some(&number) {
                self.places.remove(&place);
            }
        }
    }

    /// See [`IdempotencyStore::was_read_back`].
    pub(super) fn age(&mut self, read_back: Timestamp) {
        for FromJournal { number, written, until } in std::mem::take(&mut self.restored) {
            let age = Duration::try_from(read_back.duration_since(written)).unwrap_or_default();
            // One that was repeated meanwhile is remembered from its repeat on.
            if let Some(kept) = self.kept.get_mut(&number).filter(|kept| kept.until == until) {
                kept.until = until.before(age);
                self.due.push(ForgetAt { at: kept.until, number });
            }
        }
    }

    /// A busy day's room is not held on a quiet one.
    pub(super) fn give_back_room(&mut self) {
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

    pub(super) fn forget(&mut self, now: MonotonicTime) {
        while let Some(due) = self.due.peek()
            && due.at <= now
        {
            let Some(ForgetAt { number, .. }) = self.due.pop() else { break };
            let Some(kept) = self.kept.get(&number) else { continue };
            let again = if kept.until > now {
                kept.until
            } else if kept.slot.ended().is_none() {
                now.after(SAME_CHANGE)
            } else {
                self.remove(number);
                continue;
            };
            self.due.push(ForgetAt { at: again, number });
        }
    }
}
