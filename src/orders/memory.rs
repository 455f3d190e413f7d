//! What is known of the order writes of the last day, by the ids that a caller can
//! repeat them with.
//!
//! A caller that repeats a write (same `correlationId` or `Idempotency-Key`) must get
//! what became of the first and never a second send, also while the first is under
//! way. What was certainly not done is a fresh try.
//!
//! Invariants:
//! - At most one [`Claim`] on an id at any time. Who holds it may send; nobody else.
//! - A claim that is dropped after it was sent leaves "unknown", before that "not sent".
//! - An id is one write's: another body, path or method under it is a conflict.
//!
//! Not here: keeping this over a restart (`journal`, from which it is filled again).

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::journal::PathText;
use super::trail::Trail;
use crate::domain::{ClientId, Outcome};

/// How long a write is remembered.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// An id that a caller can repeat a write with. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// `correlationId` of the body.
    Correlation(Arc<str>),
    /// The header `Idempotency-Key`.
    Idempotency(Arc<str>),
}

/// What a write is, for telling it from another under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// How.
    pub method: Method,
    /// Where; without the query, as the journal writes it.
    pub path: PathText,
    /// SHA-256 of the body as it went to the broker.
    pub body_sha256: [u8; 32],
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// In a word.
    pub outcome: Outcome,
    /// The status of the reply that the caller got, if there was one of the broker's.
    pub status: u16,
    /// Its media type.
    pub content_type: Option<Cow<'static, str>>,
    /// Its body. Empty where only the journal knows of it.
    pub body: Bytes,
    /// The broker's id of the order, if known and not in the body.
    pub order_id: Option<Box<str>>,
    /// By what the broker can be asked about it.
    pub correlation_id: Option<Arc<str>>,
    /// Was the outcome found by asking?
    pub recovered: bool,
    /// How to ask the broker about it, where it may have to be asked.
    pub trail: Option<Arc<Trail>>,
}

/// What a repeat, or a first try, finds.
#[derive(Debug)]
pub enum Found {
    /// Nobody has done this: the claim is the caller's.
    Fresh(Claim),
    /// It was carried out.
    Done(Arc<Recorded>),
    /// Nobody knows what became of it: whoever has the claim asks the broker, and does not send.
    Unknown(Claim, Arc<Recorded>),
    /// It is under way.
    UnderWay(UnderWay),
    /// The id is another write's.
    Conflict,
}

#[derive(Debug)]
enum State {
    /// With those who wait for it.
    UnderWay(Vec<oneshot::Sender<Arc<Recorded>>>),
    Ended(Arc<Recorded>),
}

#[derive(Debug)]
struct Slot {
    write: Write,
    state: Mutex<State>,
}

impl Slot {
    fn new(write: Write, state: State) -> Arc<Self> {
        Arc::new(Self { write, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_under_way(&self) -> bool {
        matches!(*self.state(), State::UnderWay(_))
    }

    /// Was it certainly not done?
    fn is_undone(&self) -> bool {
        match &*self.state() {
            State::UnderWay(_) => false,
            State::Ended(recorded) => matches!(recorded.outcome, Outcome::NotSent | Outcome::Rejected),
        }
    }

    fn end(&self, recorded: &Arc<Recorded>) {
        let before = std::mem::replace(&mut *self.state(), State::Ended(Arc::clone(recorded)));
        let State::UnderWay(waiting) = before else { return };
        for waiting in waiting {
            // Who has gone does not want to know.
            let _ = waiting.send(Arc::clone(recorded));
        }
    }
}

#[derive(Debug, Default)]
struct Shelf {
    /// With when it was last taken up.
    slots: HashMap<Key, (Timestamp, Arc<Slot>)>,
    /// In the order of coming, for forgetting. An id that was taken up again stands here
    /// again; only its last time counts.
    ages: VecDeque<(Timestamp, Key)>,
}

/// The memory of all customers.
#[derive(Debug, Default)]
pub struct Memory {
    /// By the broker's customer: an account that is deleted and made anew for the same one
    /// must not do its orders again, and one for another must not hear of them.
    shelves: papaya::HashMap<ClientId, Arc<Mutex<Shelf>>>,
}

impl Memory {
    /// Take up a write under its ids. Without ids it cannot be repeated, and is fresh.
    pub fn take(&self, customer: &ClientId, keys: &[Key], write: &Write, now: Timestamp) -> Found {
        let shelf = self.shelf(customer);
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.forget(now);
        // What was certainly not done is no other write: under one of two ids it may have been
        // tried again, and done, since.
        let undone = |slot: &&Arc<Slot>| slot.write == *write && slot.is_undone();
        let mut known =
            keys.iter().filter_map(|key| shelf.slots.get(key)).map(|(_, slot)| slot).filter(|slot| !undone(slot));
        let slot = match (known.next().cloned(), known.next()) {
            (None, _) => return Found::Fresh(shelf.claim(keys, write, now)),
            (Some(slot), Some(other)) if !Arc::ptr_eq(&slot, other) => return Found::Conflict,
            (Some(slot), _) => slot,
        };
        if slot.write != *write {
            return Found::Conflict;
        }
        shelf.join(keys, &slot, now);
        let mut state = slot.state();
        let recorded = match &mut *state {
            State::UnderWay(waiting) => {
                let (tell, told) = oneshot::channel();
                waiting.push(tell);
                return Found::UnderWay(UnderWay(told));
            }
            State::Ended(recorded) => Arc::clone(recorded),
        };
        match recorded.outcome {
            Outcome::Executed => Found::Done(recorded),
            Outcome::NotSent | Outcome::Rejected => {
                drop(state);
                Found::Fresh(shelf.claim(keys, write, now))
            }
            Outcome::Unknown => {
                *state = State::UnderWay(Vec::new());
                drop(state);
                Found::Unknown(Claim { slot, left: Some(Left::Unknown(Arc::clone(&recorded))) }, recorded)
            }
        }
    }

    /// Put in what the journal knows of, at start.
    pub fn remember(&self, customer: &ClientId, keys: &[Key], write: Write, recorded: Recorded, at: Timestamp) {
        let shelf = self.shelf(customer);
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.enter(keys, &Slot::new(write, State::Ended(Arc::new(recorded))), at);
    }

    fn shelf(&self, customer: &ClientId) -> Arc<Mutex<Shelf>> {
        let shelves = self.shelves.pin();
        Arc::clone(shelves.get_or_insert_with(customer.clone(), Arc::default))
    }
}

impl Shelf {
    fn claim(&mut self, keys: &[Key], write: &Write, now: Timestamp) -> Claim {
        let slot = Slot::new(write.clone(), State::UnderWay(Vec::new()));
        self.enter(keys, &slot, now);
        Claim { slot, left: Some(Left::NotSent) }
    }

    fn enter(&mut self, keys: &[Key], slot: &Arc<Slot>, now: Timestamp) {
        for key in keys {
            self.slots.insert(key.clone(), (now, Arc::clone(slot)));
            self.ages.push_back((now, key.clone()));
        }
    }

    /// A repeat that names another id too: both are this write's, for as long as the first.
    fn join(&mut self, keys: &[Key], slot: &Arc<Slot>, now: Timestamp) {
        let own = |known: &&(Timestamp, Arc<Slot>)| Arc::ptr_eq(&known.1, slot);
        let since = keys.iter().filter_map(|key| self.slots.get(key)).find(own).map_or(now, |known| known.0);
        for key in keys {
            if self.slots.get(key).is_none_or(|known| !own(&known)) {
                self.slots.insert(key.clone(), (since, Arc::clone(slot)));
                self.ages.push_back((since, key.clone()));
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((since, _)) = self.ages.front()
            && now.duration_since(*since) >= REMEMBERED
        {
            let Some((since, key)) = self.ages.pop_front() else { break };
            let Some((last, slot)) = self.slots.get_mut(&key) else { continue };
            if *last > since {
                continue;
            }
            if slot.is_under_way() {
                *last = now;
                self.ages.push_back((now, key));
            } else {
                self.slots.remove(&key);
            }
        }
    }
}

/// What a claim leaves behind when it is dropped without a word.
#[derive(Debug)]
enum Left {
    NotSent,
    Unknown(Arc<Recorded>),
}

/// The right to send a write, or to ask about it.
#[derive(Debug)]
#[must_use = "dropping it says that the write was not sent"]
pub struct Claim {
    slot: Arc<Slot>,
    left: Option<Left>,
}

impl Claim {
    /// From now on it may have been sent. `so_far` is what is known if no more is said.
    pub fn sending(&mut self, so_far: Recorded) {
        self.left = Some(Left::Unknown(Arc::new(so_far)));
    }

    /// It was proven not to have been done: the next send is the first again.
    pub fn taken_back(&mut self) {
        self.left = Some(Left::NotSent);
    }

    /// What became of it.
    pub fn end(mut self, recorded: Recorded) -> Arc<Recorded> {
        let recorded = match self.left.take() {
            // Nobody has seen it: its place is taken.
            Some(Left::Unknown(mut place)) => match Arc::get_mut(&mut place) {
                Some(so_far) => {
                    *so_far = recorded;
                    place
                }
                None => Arc::new(recorded),
            },
            Some(Left::NotSent) | None => Arc::new(recorded),
        };
        self.slot.end(&recorded);
        recorded
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let recorded = match self.left.take() {
            None => return,
            Some(Left::Unknown(recorded)) => recorded,
            Some(Left::NotSent) => Arc::new(Recorded {
                outcome: Outcome::NotSent,
                status: 0,
                content_type: None,
                body: Bytes::new(),
                order_id: None,
                correlation_id: None,
                recovered: false,
                trail: None,
            }),
        };
        self.slot.end(&recorded);
    }
}

/// Waiting for a write that somebody else has under way.
#[derive(Debug)]
pub struct UnderWay(oneshot::Receiver<Arc<Recorded>>);

impl UnderWay {
    /// What became of it, once that is known; told once. Cancel-safe.
    pub async fn end(&mut self) -> Option<Arc<Recorded>> {
        (&mut self.0).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> ClientId {
        ClientId::parse("1000000001").unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn write(body: u8) -> Write {
        Write { method: Method::POST, path: PathText::new("/v2/orders"), body_sha256: [body; 32] }
    }

    fn recorded(outcome: Outcome) -> Recorded {
        Recorded {
            outcome,
            status: 200,
            content_type: None,
            body: Bytes::from_static(b"{}"),
            order_id: None,
            correlation_id: None,
            recovered: false,
            trail: None,
        }
    }

    fn id(text: &str) -> [Key; 1] {
        [Key::Correlation(text.into())]
    }

    #[tokio::test]
    async fn a_repeat_gets_what_became_of_the_first() {
        let memory = Memory::default();
        let Found::Fresh(claim) = memory.take(&account(), &id("c"), &write(1), at(0)) else { panic!() };
        let Found::UnderWay(mut waiting) = memory.take(&account(), &id("c"), &write(1), at(1)) else { panic!() };
        assert!(matches!(memory.take(&account(), &id("c"), &write(2), at(1)), Found::Conflict));
        claim.end(recorded(Outcome::Executed));
        assert_eq!(waiting.end().await.unwrap().outcome, Outcome::Executed);
        assert!(matches!(memory.take(&account(), &id("c"), &write(1), at(2)), Found::Done(_)));
        // Another account's id is another id, and a day later it is forgotten.
        let beta = ClientId::parse("1000000002").unwrap();
        assert!(matches!(memory.take(&beta, &id("c"), &write(1), at(2)), Found::Fresh(_)));
        assert!(matches!(memory.take(&account(), &id("c"), &write(2), at(86_400)), Found::Fresh(_)));
    }

    /// A task that dies half way must not leave an order that can be sent again, nor an
    /// id on which everybody waits for ever.
    #[tokio::test]
    async fn a_claim_that_is_dropped_says_what_is_known() {
        let memory = Memory::default();
        let Found::Fresh(claim) = memory.take(&account(), &id("c"), &write(1), at(0)) else { panic!() };
        let Found::UnderWay(mut waiting) = memory.take(&account(), &id("c"), &write(1), at(0)) else { panic!() };
        drop(claim);
        assert_eq!(waiting.end().await.unwrap().outcome, Outcome::NotSent);
        let Found::Fresh(mut claim) = memory.take(&account(), &id("c"), &write(1), at(0)) else { panic!() };
        claim.sending(recorded(Outcome::Unknown));
        drop(claim);
        let Found::Unknown(claim, _) = memory.take(&account(), &id("c"), &write(1), at(0)) else { panic!() };
        // Whoever asks holds the claim; the next one waits for the answer.
        assert!(matches!(memory.take(&account(), &id("c"), &write(1), at(0)), Found::UnderWay(_)));
        drop(claim);
        assert!(matches!(memory.take(&account(), &id("c"), &write(1), at(0)), Found::Unknown(..)));
    }

    /// Refused in the morning and executed late in the evening: the day of remembering
    /// begins with what was executed.
    #[test]
    fn a_fresh_try_is_remembered_for_a_day_of_its_own() {
        let memory = Memory::default();
        let take = |second| memory.take(&account(), &id("c"), &write(1), at(second));
        let Found::Fresh(claim) = take(0) else { panic!() };
        claim.end(recorded(Outcome::Rejected));
        let Found::Fresh(claim) = take(86_000) else { panic!() };
        claim.end(recorded(Outcome::Executed));
        assert!(matches!(take(86_500), Found::Done(_)), "a second send");
        assert!(matches!(take(86_000 + 86_399), Found::Done(_)));
        assert!(matches!(take(86_000 + 86_400), Found::Fresh(_)));
    }

    /// A repeat that leaves one of its ids out is the same write as one that does not.
    #[test]
    fn one_id_of_two_is_enough_to_know_a_write_again() {
        let memory = Memory::default();
        let both = [Key::Correlation("c".into()), Key::Idempotency("i".into())];
        let Found::Fresh(claim) = memory.take(&account(), &both, &write(1), at(0)) else { panic!() };
        claim.end(recorded(Outcome::Rejected));
        let Found::Fresh(claim) = memory.take(&account(), &both[..1], &write(1), at(1)) else { panic!() };
        claim.end(recorded(Outcome::Executed));
        assert!(matches!(memory.take(&account(), &both, &write(1), at(2)), Found::Done(_)));
        assert!(matches!(memory.take(&account(), &both[1..], &write(1), at(3)), Found::Done(_)));
    }

    #[test]
    fn two_ids_of_two_writes_are_a_conflict() {
        let memory = Memory::default();
        let both = |c: &str, i: &str| [Key::Correlation(c.into()), Key::Idempotency(i.into())];
        let Found::Fresh(one) = memory.take(&account(), &both("c1", "i1"), &write(1), at(0)) else { panic!() };
        let Found::Fresh(two) = memory.take(&account(), &both("c2", "i2"), &write(1), at(0)) else { panic!() };
        assert!(matches!(memory.take(&account(), &both("c1", "i2"), &write(1), at(0)), Found::Conflict));
        assert!(matches!(
            memory.take(&account(), &[Key::Idempotency("i1".into())], &write(1), at(0)),
            Found::UnderWay(_)
        ));
        drop((one, two));
    }

    proptest! {
        /// Whatever callers repeat in whatever order: of writes that may have been done
        /// nobody is ever given a second right to send.
        #[test]
        fn nobody_may_send_what_may_have_been_done(steps in prop::collection::vec((0..3usize, 0..6u8, 0..30u32), 1..200)) {
            let memory = Memory::default();
            let mut now = 0_i64;
            let mut claims: Vec<(usize, Claim, bool)> = Vec::new();
            // When each id was last sent with no proof against it.
            let mut done = [None::<i64>; 3];
            for (n, what, wait) in steps {
                now += i64::from(wait);
                let key = id(&format!("c{n}"));
                match what {
                    0 | 1 => match memory.take(&account(), &key, &write(1), at(now)) {
                        Found::Fresh(claim) => {
                            prop_assert!(done[n].is_none(), "a second send of {n}");
                            prop_assert!(!claims.iter().any(|(other, ..)| *other == n));
                            claims.push((n, claim, false));
                        }
                        Found::Unknown(claim, _) => {
                            prop_assert!(!claims.iter().any(|(other, ..)| *other == n));
                            claims.push((n, claim, true));
                        }
                        Found::Done(_) => prop_assert!(done[n].is_some()),
                        Found::UnderWay(_) => prop_assert!(claims.iter().any(|(other, ..)| *other == n)),
                        Found::Conflict => prop_assert!(false),
                    },
                    _ => {
                        let Some(at) = claims.iter().position(|(other, ..)| *other == n) else { continue };
                        let (_, mut claim, asking) = claims.remove(at);
                        match what {
                            2 if !asking => drop(claim),
                            3 => {
                                claim.sending(recorded(Outcome::Unknown));
                                done[n] = Some(now);
                                drop(claim);
                            }
                            4 if !asking => {
                                claim.sending(recorded(Outcome::Unknown));
                                claim.taken_back();
                                claim.end(recorded(Outcome::Rejected));
                            }
                            _ => {
                                done[n] = Some(now);
                                claim.end(recorded(Outcome::Executed));
                            }
                        }
                    }
                }
            }
        }
    }
}
