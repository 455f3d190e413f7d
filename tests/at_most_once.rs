//! The at-most-once rule under a simulation: the real memory of writes and the real
//! health of legs, with a model of what lies around them: callers that repeat by either
//! id, sends that arrive late or never, a broker that refuses an address, answers that are
//! lost, and a process that is killed between any two steps and reads its journal back.
//!
//! Millions of steps, each followed by the invariants. A failure prints its seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends by panicking"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use proptest::prelude::*;
use sixgate::domain::{ClientId, Outcome, Role};
use sixgate::legs::health::{self, Event, Health, Line, Purpose, Reason};
use sixgate::orders::journal::PathText;
use sixgate::orders::memory::{Claim, Found, Key, Memory, Recorded, UnderWay, Write};

/// Writes that are about at once; one that is a day old makes room for a new one.
const WRITES: usize = 6;
const DAY: i64 = 86_400;

/// What a send is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    /// Somewhere between the two: the broker may get it at any time, or never.
    UnderWay,
    /// The broker acted on it, and its reply is on its way.
    Executed,
    /// The broker refused the address it came from.
    Refused,
    /// It never arrives.
    Lost,
}

/// A write, as the world outside the gateway knows it.
#[derive(Clone, Debug)]
struct Meant {
    serial: u32,
    begun: i64,
    executed: u32,
    /// Sends that may still be carried out.
    letters: Vec<Letter>,
    /// The journal's lines: each an intent, with its outcome once there is one.
    journal: Vec<Option<Outcome>>,
}

/// One try under way inside the gateway.
struct Try {
    write: usize,
    claim: Option<Claim>,
    at: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be dialled by a leg.
    Dial { only: Option<Role> },
    /// Sent by a leg as this letter; the line of the journal that it has.
    Sent { by: Role, letter: usize, line: usize, second: bool },
    /// To ask the broker, for an outcome of this line, if there is one.
    Ask { line: Option<usize> },
}

struct Model {
    random: u64,
    now: i64,
    clock: Instant,
    memory: Memory,
    legs: [Health; 2],
    /// Does the broker refuse the address of a leg, and does its line work?
    refuses: [bool; 2],
    works: [bool; 2],
    writes: Vec<Meant>,
    tries: Vec<Try>,
    waiting: Vec<(usize, UnderWay)>,
    next: u32,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    executed: u32,
    unknown: u32,
    found: u32,
    moved: u32,
    crashes: u32,
    repeats: u32,
}

fn customer() -> ClientId {
    ClientId::parse("1000000001").unwrap()
}

fn recorded(outcome: Outcome) -> Recorded {
    Recorded {
        outcome,
        status: 0,
        content_type: None,
        body: Bytes::new(),
        order_id: None,
        correlation_id: None,
        recovered: false,
        trail: None,
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            random: seed,
            now: 0,
            clock: Instant::now(),
            memory: Memory::default(),
            legs: [Health::new(Duration::from_secs(5), seed), Health::new(Duration::from_secs(5), !seed)],
            refuses: [false; 2],
            works: [true; 2],
            writes: Vec::new(),
            tries: Vec::new(),
            waiting: Vec::new(),
            next: 0,
            counts: Counts::default(),
        };
        for _ in 0..WRITES {
            let new = model.meant();
            model.writes.push(new);
        }
        model
    }

    fn meant(&mut self) -> Meant {
        self.next += 1;
        Meant { serial: self.next, begun: self.now, executed: 0, letters: Vec::new(), journal: Vec::new() }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }

    fn write(&self, n: usize) -> Write {
        let serial = self.writes[n].serial;
        Write { method: Method::POST, path: PathText::new("/v2/orders"), body_sha256: [serial.to_le_bytes()[0]; 32] }
    }

    fn keys(&self, n: usize, which: u64) -> Vec<Key> {
        let serial = self.writes[n].serial;
        let correlation = Key::Correlation(format!("c{serial}").into());
        let idempotency = Key::Idempotency(format!("i{serial}").into());
        match which {
            0 => vec![correlation],
            _ => vec![correlation, idempotency],
        }
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=6 => self.caller(),
            7..=12 => self.proceed(),
            13..=15 => self.deliver(),
            16 => self.hear(),
            17 => {
                let leg = usize::from(self.below(2) == 1);
                match self.below(3) {
                    0 => self.refuses[leg] = self.below(3) == 0,
                    1 => self.works[leg] = self.below(3) != 0,
                    _ => {
                        let line = if self.works[leg] { Line::Works } else { Line::Failed(Reason::ConnectFailed) };
                        self.legs[leg].on(Event::Probed(line, None), self.clock);
                    }
                }
            }
            18 => {
                let seconds = if self.below(5) == 0 { 40_000 } else { self.below(20) };
                self.now += i64::try_from(seconds).unwrap();
                self.clock += Duration::from_secs(seconds);
                self.make_room();
            }
            _ if self.below(20) == 0 => self.crash(),
            _ => {}
        }
        self.check();
    }

    /// A write of which the gateway may have forgotten is never asked for again: its
    /// caller has another day's id for another day's order.
    fn make_room(&mut self) {
        for n in 0..self.writes.len() {
            let busy = self.tries.iter().any(|one| one.write == n) || self.waiting.iter().any(|(w, _)| *w == n);
            if self.now - self.writes[n].begun >= DAY && !busy {
                self.writes[n] = self.meant();
            }
        }
    }

    /// Somebody sends a write, for the first time or again.
    fn caller(&mut self) {
        let n = usize::try_from(self.below(WRITES as u64)).unwrap();
        let which = self.below(2);
        let old = self.now - self.writes[n].begun >= DAY;
        if old {
            return;
        }
        let (keys, write) = (self.keys(n, which), self.write(n));
        match self.memory.take(&customer(), &keys, &write, self.at()) {
            Found::Fresh(claim) => {
                self.alone(n);
                self.tries.push(Try { write: n, claim: Some(claim), at: Stage::Dial { only: None } });
            }
            Found::Unknown(claim, _) => {
                self.alone(n);
                self.counts.repeats += 1;
                self.tries.push(Try { write: n, claim: Some(claim), at: Stage::Ask { line: None } });
            }
            Found::Done(_) => {
                self.counts.repeats += 1;
                assert_eq!(self.writes[n].executed, 1, "told that {:?} was done", self.writes[n]);
            }
            Found::UnderWay(waiting) => {
                assert!(self.tries.iter().any(|one| one.write == n), "waiting for nobody");
                if self.waiting.len() < 8 {
                    self.waiting.push((n, waiting));
                }
            }
            Found::Conflict => panic!("nobody sent anything else under these ids"),
        }
    }

    fn alone(&self, n: usize) {
        assert!(!self.tries.iter().any(|one| one.write == n), "two claims on {:?}", self.writes[n]);
    }

    /// One of the tries goes one step further.
    fn proceed(&mut self) {
        if self.tries.is_empty() {
            return;
        }
        let under_way = self.tries.len() as u64;
        let which = usize::try_from(self.below(under_way)).unwrap();
        let mut one = self.tries.swap_remove(which);
        let n = one.write;
        match one.at {
            Stage::Dial { only } => {
                let rank = |role: usize| self.legs[role].rank(Purpose::OrderWrite);
                let (first, then) = health::choose(rank(0), rank(1), None);
                let order: Vec<Role> =
                    only.map_or_else(|| [Some(first), then].into_iter().flatten().collect(), |one| vec![one]);
                let index = |role: Role| usize::from(role == Role::Secondary);
                let mut by = None;
                for role in order {
                    if self.works[index(role)] {
                        self.legs[index(role)].on(Event::Dialled, self.clock);
                        by = Some(role);
                        break;
                    }
                    self.legs[index(role)].on(Event::DialFailed(Reason::ConnectFailed), self.clock);
                }
                let Some(by) = by else {
                    // Told "not sent" or "rejected": dropping the claim leaves it so.
                    drop(one.claim.take());
                    self.certain(n);
                    return;
                };
                let line = self.writes[n].journal.len();
                self.writes[n].journal.push(None);
                one.claim.as_mut().unwrap().sending(recorded(Outcome::Unknown));
                let letter = self.writes[n].letters.len();
                self.writes[n].letters.push(Letter::UnderWay);
                one.at = Stage::Sent { by, letter, line, second: only.is_some() };
                self.tries.push(one);
            }
            Stage::Sent { by, letter, line, second } => {
                let answered = self.below(4) != 0;
                match self.writes[n].letters[letter] {
                    Letter::Executed if answered => self.end(one, Some(line), Outcome::Executed),
                    Letter::Refused => {
                        self.writes[n].journal[line] = Some(Outcome::Rejected);
                        one.claim.as_mut().unwrap().taken_back();
                        let index = usize::from(by == Role::Secondary);
                        self.legs[index].on(Event::SourceRefused, self.clock);
                        if second {
                            one.claim.take().unwrap().end(recorded(Outcome::Rejected));
                            self.certain(n);
                        } else {
                            self.counts.moved += 1;
                            one.at = Stage::Dial { only: Some(by.other()) };
                            self.tries.push(one);
                        }
                    }
                    // No answer, in time; whether it arrives is another question.
                    Letter::Executed | Letter::UnderWay | Letter::Lost => {
                        one.at = Stage::Ask { line: Some(line) };
                        self.tries.push(one);
                    }
                }
            }
            Stage::Ask { line } => {
                // The broker may be out of reach just now.
                let shows = self.writes[n].executed > 0 && self.below(3) != 0;
                if shows {
                    self.counts.found += 1;
                }
                self.end(one, line, if shows { Outcome::Executed } else { Outcome::Unknown });
            }
        }
    }

    fn end(&mut self, mut one: Try, line: Option<usize>, outcome: Outcome) {
        let write = &mut self.writes[one.write];
        match line {
            Some(line) => write.journal[line] = Some(outcome),
            None => write.journal.push(Some(outcome)),
        }
        match outcome {
            Outcome::Executed => self.counts.executed += 1,
            _ => self.counts.unknown += 1,
        }
        if outcome == Outcome::Executed {
            assert_eq!(write.executed, 1);
        }
        one.claim.take().unwrap().end(recorded(outcome));
    }

    /// Nobody will ever carry it out, as far as what was sent until now goes.
    fn certain(&self, n: usize) {
        let write = &self.writes[n];
        let open = write.letters.iter().any(|letter| matches!(letter, Letter::UnderWay | Letter::Executed));
        assert!(!open && write.executed == 0, "its caller may believe that it was not done: {write:?}");
    }

    /// A letter arrives at the broker, or nowhere.
    fn deliver(&mut self) {
        let n = usize::try_from(self.below(WRITES as u64)).unwrap();
        let Some(letter) = self.writes[n].letters.iter().position(|letter| *letter == Letter::UnderWay) else { return };
        let from = self.tries.iter().find_map(|one| match one.at {
            Stage::Sent { by, letter: own, .. } if one.write == n && own == letter => Some(by),
            _ => None,
        });
        let refused = from.is_some_and(|by| self.refuses[usize::from(by == Role::Secondary)]);
        self.writes[n].letters[letter] = match self.below(5) {
            0 => Letter::Lost,
            _ if refused => Letter::Refused,
            _ => {
                self.writes[n].executed += 1;
                Letter::Executed
            }
        };
    }

    /// Those who wait for another's try hear of its end.
    fn hear(&mut self) {
        let Some((n, mut waiting)) = self.waiting.pop() else { return };
        let ended = futures_util::FutureExt::now_or_never(waiting.end());
        match ended {
            None => self.waiting.push((n, waiting)),
            Some(None) => panic!("a claim ended without a word"),
            Some(Some(told)) => match told.outcome {
                Outcome::Executed => assert_eq!(self.writes[n].executed, 1),
                // It is taken up again at once by the real one, so it may be under way anew.
                Outcome::NotSent | Outcome::Rejected | Outcome::Unknown => {}
            },
        }
    }

    /// Killed, and started again with what the journal says.
    fn crash(&mut self) {
        self.counts.crashes += 1;
        self.waiting.clear();
        self.memory = Memory::default();
        // What they would still say, they say to a memory that is gone.
        self.tries.clear();
        for n in 0..self.writes.len() {
            let Some(last) = self.writes[n].journal.last() else { continue };
            let outcome = last.unwrap_or(Outcome::Unknown);
            if self.now - self.writes[n].begun >= DAY || matches!(outcome, Outcome::NotSent | Outcome::Rejected) {
                continue;
            }
            let at = Timestamp::from_second(self.writes[n].begun).unwrap();
            self.memory.remember(&customer(), &self.keys(n, 1), self.write(n), recorded(outcome), at);
        }
    }

    fn check(&self) {
        for write in &self.writes {
            assert!(write.executed <= 1, "done twice: {write:?}");
            let open = write.letters.iter().filter(|letter| **letter == Letter::UnderWay).count();
            assert!(open as u32 + write.executed <= 1, "it could be done twice: {write:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_write_is_done_twice_nor_told_of_falsely_whatever_happens(seed in any::<u64>()) {
        let mut model = Model::new(seed);
        for _ in 0..50_000 {
            model.step();
        }
        let counts = &model.counts;
        let busy = [counts.executed, counts.unknown, counts.found, counts.moved, counts.crashes, counts.repeats];
        prop_assert!(busy.iter().all(|count| *count > 10), "this proves little: {counts:?}");
    }
}
