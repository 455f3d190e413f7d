//! The way of a write through the gateway, step by step: what `proxy::order` does, with time passing between any two.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sixgate::broker::dhan::endpoints;
use sixgate::domain::{Outcome, Role};
use sixgate::legs::Purpose;
use sixgate::legs::health::{self, Event, Reason};
use sixgate::orders::broker_clock::{BrokerClock, SentAt};
use sixgate::orders::day;
use sixgate::orders::exits::Stand;
use sixgate::orders::idempotency::{IdempotencyStore, RememberedSpan, WriteResult};
use sixgate::orders::limits::{Decision, Limits, MonotonicTime, Priority, RateRequest, Rules};

use super::broker::Looked;
use super::callers::serial_of;
use super::world::{Entry, Kind, Letter, Model, Name, Stage, Try, customer, secs};

/// How long the broker is asked.
const RECONCILE_FOR: Duration = secs(10);

impl Model {
    fn ask(&self, serial: u32) -> RateRequest {
        let write = &self.writes[&serial];
        let (method, path) = (&write.write.method, write.write.path.as_str());
        let endpoint = endpoints::classify(method, path, None);
        assert_eq!(endpoint.takes_risk_away(), write.kind.takes_risk_away());
        RateRequest::of(method, path, &endpoint, write.kind.takes_risk_away(), || [0; 32])
    }

    /// One of the tries goes one step further.
    pub(super) fn proceed(&mut self) {
        if self.tries.is_empty() {
            return;
        }
        let under_way = self.tries.len() as u64;
        let which = usize::try_from(self.below(under_way)).unwrap();
        let one = self.tries.swap_remove(which);
        match one.at {
            Stage::Line | Stage::Reserve | Stage::Dial | Stage::Intent if self.given_up(&one) => self.not_sent(one),
            Stage::AskFirst => self.ask_first(one),
            Stage::Line => self.line(one),
            Stage::Reserve => self.reserve(one),
            Stage::Dial => self.dial(one),
            Stage::Intent => self.intent(one),
            Stage::Count(line) => self.count(one, line),
            Stage::Sent(line, letter) => self.answer(one, line, letter),
            Stage::Ask(line) => self.reconcile(one, line),
        }
    }

    fn goes_to(&mut self, mut one: Try, at: Stage) {
        one.at = at;
        self.tries.push(one);
    }

    /// Until its intent it may be given up.
    fn given_up(&mut self, one: &Try) -> bool {
        let late = self.now > one.leave_by;
        self.counts.late += u32::from(late);
        if one.kind.takes_risk_away() {
            return late;
        }
        if let Stand::TurnedAway(by) = one.place.stand() {
            self.counts.turned_away += 1;
            assert!(!self.refused_exits.contains(&serial_of(&by)), "turned away by an exit that the broker refused");
            let exit = self.exits_came.get(&serial_of(&by)).copied();
            assert!(exit.is_some_and(|came| came > one.came), "turned away by what came before it");
            return true;
        }
        self.counts.gone += u32::from(one.gone.is_cancelled());
        self.counts.halted += u32::from(self.halted);
        late || one.gone.is_cancelled() || self.halted
    }

    fn stand(one: &Try) -> Stand {
        if one.kind.takes_risk_away() { Stand::Clear } else { one.place.stand() }
    }

    /// An id that is not known while the memory is not whole: any order of today under it forbids the send.
    fn ask_first(&mut self, mut one: Try) {
        self.counts.asked_after_crash += 1;
        let write = &self.writes[&one.serial];
        let id = if write.name == Name::Label { "label".to_owned() } else { format!("c{}", one.serial) };
        let under: Vec<_> = self.book.iter().filter(|row| row.correlation.as_deref() == Some(&*id)).cloned().collect();
        if under.iter().any(|row| row.owner == Some(one.serial) && row.status == "TRADED") {
            let (serial, claim) = (one.serial, one.claim.take().unwrap());
            self.told(serial, Outcome::Executed);
            self.kept.insert(serial, self.now);
            claim.end(WriteResult::bare(Outcome::Executed));
        } else if under.is_empty() && self.now >= self.started + RECONCILE_FOR {
            self.goes_to(one, Stage::Line);
        }
        // Else it is dropped: nothing was sent by this.
    }

    fn line(&mut self, mut one: Try) {
        let still = Self::stand(&one) == Stand::Still;
        one.still |= still;
        // A token may lack.
        let at = if still || self.one_in(10) { Stage::Line } else { Stage::Reserve };
        if at == Stage::Reserve && one.still {
            self.counts.went_on += 1;
        }
        self.goes_to(one, at);
    }

    fn deadline(one: &Try) -> MonotonicTime {
        MonotonicTime::START.after(one.leave_by)
    }

    fn reserve(&mut self, mut one: Try) {
        let ask = self.ask(one.serial);
        match self.limits.try_reserve(0, &ask, Self::deadline(&one), self.moment()) {
            Decision::Go(held) => {
                one.held = Some(held);
                self.goes_to(one, Stage::Dial);
            }
            Decision::Wait { until, .. } => {
                assert!(until > self.moment() && until <= Self::deadline(&one), "it would wait past its deadline");
                self.counts.limited += 1;
                self.goes_to(one, Stage::Reserve);
            }
            Decision::Refuse { .. } => {
                self.counts.limited += 1;
                self.not_sent(one);
            }
        }
    }

    fn dial(&mut self, mut one: Try) {
        let purpose = if one.kind.takes_risk_away() { Purpose::TakesRiskAway } else { Purpose::OrderWrite };
        let rank = |role: usize| self.legs[role].rank(purpose);
        let (first, then) = health::choose(rank(0), rank(1), None);
        let order: Vec<Role> =
            one.only.map_or_else(|| [Some(first), then].into_iter().flatten().collect(), |one| vec![one]);
        for role in order {
            let leg = usize::from(role == Role::Secondary);
            if self.works[leg] {
                self.legs[leg].on(Event::Dialled, self.clock);
                one.by = role;
                return self.goes_to(one, Stage::Intent);
            }
            self.legs[leg].on(Event::DialFailed(Reason::ConnectFailed), self.clock);
        }
        self.not_sent(one);
    }

    /// What it was given up for has been looked at.
    fn intent(&mut self, mut one: Try) {
        if Self::stand(&one) != Stand::Clear {
            self.let_go(&mut one);
            return self.goes_to(one, Stage::Line);
        }
        let (risk, write) = (one.kind.takes_risk_away(), &self.writes[&one.serial]);
        assert!(risk || !one.gone.is_cancelled(), "it leaves for a caller that is gone: {write:?}");
        assert!(risk || !self.halted, "it leaves though its account is halted: {write:?}");
        assert!(self.now <= one.leave_by, "it leaves past its deadline: {write:?}");
        let (at, ask) = (self.stamp(), self.ask(one.serial));
        let (really, heard) = (self.now, self.heard);
        let line = Entry { serial: one.serial, at, really, heard, ask, outcome: None, is_intent: true };
        self.journal.push(line);
        let line = self.journal.len() - 1;
        self.goes_to(one, Stage::Count(line));
    }

    fn let_go(&mut self, one: &mut Try) {
        if let Some(held) = one.held.take() {
            self.limits.release(&held);
        }
    }

    /// The connection is looked at again, the limit counted, and then it leaves.
    fn count(&mut self, mut one: Try, line: usize) {
        if self.one_in(12) {
            self.let_go(&mut one);
            return self.not_a_byte(one, line);
        }
        let deadline = Self::deadline(&one);
        let taken = match self.limits.try_count(0, one.held.as_ref().unwrap(), deadline, self.moment()) {
            Decision::Go(taken) => taken,
            Decision::Wait { .. } => {
                self.counts.overtaken += 1;
                return self.goes_to(one, Stage::Count(line));
            }
            Decision::Refuse { .. } => {
                self.journal[line].outcome = Some(Outcome::NotSent);
                return self.not_sent(one);
            }
        };
        one.held = None;
        // While it waited for its moment an exit may have come, been sent and been taken.
        if Self::stand(&one) != Stand::Clear {
            self.limits.refund(taken);
            self.journal[line].outcome = Some(Outcome::NotSent);
            return self.goes_to(one, Stage::Line);
        }
        one.claim.as_mut().unwrap().sending(WriteResult::bare(Outcome::Unknown));
        if self.one_in(12) {
            one.claim.as_mut().unwrap().taken_back();
            self.limits.refund(taken);
            return self.not_a_byte(one, line);
        }
        self.leaves(one, line);
    }

    fn not_a_byte(&mut self, mut one: Try, line: usize) {
        self.journal[line].outcome = Some(Outcome::NotSent);
        one.unsent += 1;
        if one.unsent >= 3 { self.not_sent(one) } else { self.goes_to(one, Stage::Line) }
    }

    fn leaves(&mut self, mut one: Try, line: usize) {
        let (serial, risk, now) = (one.serial, one.kind.takes_risk_away(), self.now);
        assert!(risk || one.came > self.taken, "an older write leaves after an exit that the broker took");
        self.left.push_back((now, risk));
        for (count, per) in [(10, 1), (250, 60), (1000, 3600), (7000, 86_400)] {
            if risk && per >= 60 {
                continue;
            }
            let within = self.left.iter().rev().take_while(|(at, _)| *at + secs(per) > now).count();
            assert!(within <= count, "{within} left within {per} s, and the broker takes {count}");
        }
        if one.kind == Kind::Change {
            self.counts.changes += 1;
            let of = self.changes.entry(self.writes[&serial].write.path.as_str().to_owned()).or_default();
            *of += 1;
            assert!(*of <= 25, "{of} changes of one order left");
        }
        let trail = self.trail(serial);
        trail.leaves(SentAt::Here(self.instant()));
        one.claim
            .as_mut()
            .unwrap()
            .sending(WriteResult { lookup: Some(Arc::clone(&trail)), ..WriteResult::bare(Outcome::Unknown) });
        let promise = self.promise();
        let write = self.writes.get_mut(&serial).unwrap();
        write.trail.get_or_insert(trail);
        let letter = write.letters.len();
        write.letters.push(Letter::UnderWay);
        write.by.push(one.by);
        // As the gateway does: it is remembered from when it was taken up, not from when it left.
        write.promised = write.promised.min(promise);
        self.kept.insert(serial, now);
        self.sent_at.insert(serial, now);
        self.goes_to(one, Stage::Sent(line, letter));
    }

    fn answer(&mut self, mut one: Try, line: usize, letter: usize) {
        let serial = one.serial;
        let answered = !self.one_in(4);
        let said = self.writes[&serial].letters[letter];
        if answered && matches!(said, Letter::Executed | Letter::TurnedDown | Letter::Refused | Letter::Denied) {
            self.hear_clock(self.sent_at[&serial]);
        }
        match said {
            Letter::Executed if answered => {
                self.answered(serial);
                let (until, promise) = (self.span().until, self.promise());
                one.claim.as_mut().unwrap().keep_until(until);
                let write = self.writes.get_mut(&serial).unwrap();
                write.promised = write.promised.max(promise);
                self.end(one, Some(line), Outcome::Executed);
            }
            Letter::TurnedDown if answered => {
                self.answered(serial);
                self.end(one, Some(line), Outcome::Rejected);
            }
            Letter::Denied if answered => self.end(one, Some(line), Outcome::Rejected),
            Letter::Refused if answered => {
                self.journal[line].outcome = Some(Outcome::Rejected);
                one.claim.as_mut().unwrap().taken_back();
                one.proven = Outcome::Rejected;
                self.kept.remove(&serial);
                let leg = usize::from(one.by == Role::Secondary);
                self.legs[leg].on(Event::SourceRefused, self.clock);
                if one.only.is_some() {
                    self.end(one, None, Outcome::Rejected);
                } else {
                    self.counts.moved += 1;
                    one.only = Some(one.by.other());
                    self.goes_to(one, Stage::Line);
                }
            }
            Letter::UnderWay if !self.one_in(5) => self.goes_to(one, Stage::Sent(line, letter)),
            // No answer, in time; whether it arrives is another question.
            _ => self.goes_to(one, Stage::Ask(Some(line))),
        }
    }

    fn reconcile(&mut self, one: Try, line: Option<usize>) {
        match self.look(one.serial) {
            Looked::Settled(outcome) => self.end(one, line, outcome),
            Looked::NotFound => {
                self.counts.not_found += 1;
                self.end(one, line, Outcome::Unknown);
            }
        }
    }

    fn end(&mut self, mut one: Try, line: Option<usize>, outcome: Outcome) {
        let serial = one.serial;
        self.told(serial, outcome);
        match line {
            Some(line) => self.journal[line].outcome = Some(outcome),
            None => {
                let (at, ask) = (self.stamp(), self.ask(serial));
                self.journal.push(Entry {
                    serial,
                    at,
                    really: self.now,
                    heard: self.heard,
                    ask,
                    outcome: Some(outcome),
                    is_intent: false,
                });
            }
        }
        match outcome {
            Outcome::Executed => self.counts.executed += 1,
            Outcome::Unknown => self.counts.unknown += 1,
            Outcome::NotSent | Outcome::Rejected => {
                self.kept.remove(&serial);
            }
        }
        let trail = self.writes[&serial].trail.clone();
        one.claim.take().unwrap().end(WriteResult { lookup: trail, ..WriteResult::bare(outcome) });
        self.exit_ended(one, outcome);
    }

    /// Given up or refused here: dropping the claim leaves it so.
    fn not_sent(&mut self, mut one: Try) {
        self.let_go(&mut one);
        drop(one.claim.take());
        self.told(one.serial, one.proven);
        self.kept.remove(&one.serial);
        let proven = one.proven;
        self.exit_ended(one, proven);
    }

    fn exit_ended(&mut self, mut one: Try, outcome: Outcome) {
        let Some(exit) = one.exit.take() else { return };
        self.exits_came.insert(one.serial, one.came);
        match outcome {
            Outcome::NotSent | Outcome::Rejected => {
                self.refused_exits.insert(one.serial);
                exit.refused();
            }
            Outcome::Executed | Outcome::Unknown => exit.may_have_been_taken(),
        }
    }

    /// Killed, and started again with what the journal says; by then the clock was set right.
    pub(super) fn crash(&mut self) {
        self.counts.crashes += 1;
        self.waiting.clear();
        self.memory = IdempotencyStore::default();
        // What they would still say, they say to a memory that is gone.
        self.tries.clear();
        (self.exits, self.known) = (Arc::default(), sixgate::orders::known::KnownOrders::default());
        (self.taken, self.started, self.wrong) = (0, self.now, SignedDuration::ZERO);
        (self.broker_clock, self.heard) = (BrokerClock::default(), false);
        self.newest.clear();
        self.kept.clear();
        if self.one_in(4) {
            self.lose_a_tail();
        }
        let (now, rules) = (self.wall(), Arc::new(Rules::new(sixgate::broker::dhan::limits::limits(), 0.05)));
        self.limits = Limits::new(rules);
        let back = day::look_back(now);
        let read: Vec<Entry> = self.journal.iter().filter(|line| line.at + back >= now).cloned().collect();
        let intents = read.iter().filter(|line| line.is_intent);
        self.limits.rebuild(
            intents.map(|line| (line.at, RateRequest { priority: Priority::Other, ..line.ask.clone() })),
            now,
            self.moment(),
        );
        // Lines of a clock that was wrong are of an age that nobody can tell, and what left unwritten is not counted.
        let right = |line: &Entry| line.at == self.really(line.really);
        let untold: Vec<u32> = self.journal.iter().filter(|line| !right(line)).map(|line| line.serial).collect();
        let told = read.iter().filter(|line| line.is_intent && right(line));
        self.left = told.map(|line| (line.really, true)).collect();
        self.recall(&read);
        for slot in 0..self.slots.len() {
            if untold.contains(&self.slots[slot]) {
                self.slots[slot] = self.named();
            }
        }
    }

    /// The last line of each write tells what became of it.
    fn recall(&mut self, read: &[Entry]) {
        let now = self.wall();
        let mut serials: Vec<u32> = read.iter().map(|line| line.serial).collect();
        serials.sort_unstable();
        serials.dedup();
        for serial in serials {
            let Some(write) = self.writes.get(&serial).filter(|one| matches!(one.name, Name::Ids | Name::Label)) else {
                continue;
            };
            let (keys, of, body) = (write.keys.clone(), write.write.clone(), write.trail.is_some());
            let last = read.iter().rev().find(|line| line.serial == serial).unwrap();
            let outcome = last.outcome.unwrap_or(Outcome::Unknown);
            if outcome == Outcome::Executed {
                self.answered(serial);
            }
            if matches!(outcome, Outcome::NotSent | Outcome::Rejected) {
                continue;
            }
            let trail = body.then(|| self.trail(serial)).inspect(|trail| trail.leaves(SentAt::Written(last.at)));
            let taken = self.moment();
            let until = taken.after(day::remembered_for(last.at, false));
            let promised = last.really + day::remembered_for(self.really(last.really), false) - secs(1);
            let recorded = WriteResult { lookup: trail.clone(), ..WriteResult::bare(outcome) };
            self.memory.remember(
                &customer(),
                &keys,
                of,
                (format!("r{serial}-0").into(), last.at),
                recorded,
                RememberedSpan { now: taken, until },
            );
            self.kept.insert(serial, self.now);
            let write = self.writes.get_mut(&serial).unwrap();
            (write.trail, write.promised) = (trail, write.promised.min(promised));
        }
        self.memory.was_read_back(now);
    }

    /// The last lines are not there, and that is noticed. What they were of arrived by now, or never will.
    fn lose_a_tail(&mut self) {
        self.lost = self.now;
        for _ in 0..self.below(4) {
            let Some(line) = self.journal.pop() else { return };
            let Some(write) = self.writes.get(&line.serial) else { continue };
            if let Some(letter) = write.letters.iter().position(|letter| *letter == Letter::UnderWay) {
                let end = if self.one_in(2) { Letter::Executed } else { Letter::Lost };
                self.arrives(line.serial, letter, end);
            }
        }
    }
}
