//! Who sends what, for the first time or again, and what they are told at once.

use std::sync::Arc;

use http::Method;
use sixgate::domain::{Outcome, Role};
use sixgate::orders::idempotency::{
    Admission, BodyDigest, Claim, Requester, SAME_CHANGE, Write, WriteKey, WriteResult,
};
use sixgate::orders::journal::SafePath;
use tokio_util::sync::CancellationToken;

use super::world::{Kind, LEAVE_WITHIN, Meant, Model, NAMED, NAMELESS, Name, Stage, Try, customer, secs};

fn write(method: Method, path: &str, values: u32) -> Write {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&values.to_le_bytes());
    Write { method, path: SafePath::new(path), values: BodyDigest::Values(digest), body_sha256: digest }
}

/// The write that a request id is of.
pub(super) fn serial_of(request: &str) -> u32 {
    request[1..].split('-').next().unwrap().parse().unwrap()
}

impl Model {
    fn meant(&mut self, kind: Kind, name: Name, keys: Vec<WriteKey>, write: Write, body: String) -> u32 {
        self.next += 1;
        let (serial, promised) = (self.next, self.promise());
        let (letters, by, begun) = (Vec::new(), Vec::new(), self.now);
        let (executed, trail, came, gone) = (0, None, 0, CancellationToken::new());
        let meant =
            Meant { serial, kind, name, keys, write, body, executed, letters, by, promised, trail, begun, came, gone };
        self.writes.insert(serial, meant);
        serial
    }

    /// A placement with a name of its own.
    pub(super) fn named(&mut self) -> u32 {
        let serial = self.next + 1;
        let (correlation, idempotency) = (format!("c{serial}"), WriteKey::Idempotency(format!("i{serial}").into()));
        let (name, correlation, keys) = match self.below(3) {
            0 => (Name::Label, "label".to_owned(), vec![idempotency]),
            _ => {
                let key = WriteKey::Correlation(correlation.as_str().into());
                (Name::Ids, correlation, vec![key, idempotency])
            }
        };
        let body = format!(
            r#"{{"correlationId":"{correlation}","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","securityId":"11536","quantity":{serial},"price":100}}"#
        );
        let made = self.meant(Kind::Place, name, keys, write(Method::POST, "/v2/orders", serial), body);
        self.strangers(made, Some(&correlation));
        made
    }

    pub(super) fn caller(&mut self) {
        match self.below(16) {
            0..=9 => self.by_name(),
            10..=11 => self.change(),
            12..=13 => self.nameless(),
            14 if self.one_in(3) => {
                let of = write(Method::DELETE, "/v2/positions", 0);
                self.takes_risk_away(Kind::Exit, of);
            }
            14 => {}
            _ => {
                let of = write(Method::DELETE, "/v2/orders/77", 0);
                self.takes_risk_away(Kind::Cancel, of);
            }
        }
    }

    fn request(&mut self, serial: u32) -> Requester {
        self.came += 1;
        Requester { request_id: format!("r{serial}-{}", self.came).into(), gone: CancellationToken::new() }
    }

    fn by_name(&mut self) {
        let slot = usize::try_from(self.below(NAMED as u64)).unwrap();
        let serial = self.slots[slot];
        let (promised, promise, now) = (self.writes[&serial].promised, self.promise(), self.now);
        if now >= promised {
            return;
        }
        let asker = self.request(serial);
        if self.one_in(10) {
            return self.something_else(serial, &asker);
        }
        let few = self.one_in(2);
        let one = &self.writes[&serial];
        let keys = if few { vec![one.keys[0].clone()] } else { one.keys.clone() };
        let (executed, open, before) = (one.executed, one.open(), one.begun < self.lost);
        let found = self.memory.take(&customer(), &keys, &one.write, &asker, self.span());
        match found {
            Admission::Fresh(claim) => {
                let at = if !before { Stage::Line } else { Stage::AskFirst };
                let known = executed + open == 0 || at == Stage::AskFirst;
                assert!(known, "what left was forgotten: {:?}, {promised:?} {now:?}", self.writes[&serial]);
                // What became of those before is proven: this is looked for by itself.
                self.writes.get_mut(&serial).unwrap().trail = None;
                self.start(serial, claim, &asker, at);
            }
            Admission::Unknown(first, claim, _) => {
                self.counts.repeats += 1;
                assert_eq!(serial_of(&first), serial, "the first try is another write's");
                self.start(serial, claim, &asker, Stage::Ask(None));
                self.used(serial, promise);
            }
            Admission::Done(first, recorded) => {
                self.counts.repeats += 1;
                assert_eq!(serial_of(&first), serial, "the first try is another write's");
                self.told(serial, recorded.outcome);
                self.used(serial, promise);
            }
            Admission::UnderWay(first, waiting) => self.waits(serial, serial_of(&first), waiting),
            Admission::Conflict(first, _) => panic!("the same body under the same id conflicts with {first}"),
        }
    }

    /// A repeat keeps it known for longer.
    fn used(&mut self, serial: u32, promise: std::time::Duration) {
        self.counts.promises_kept += 1;
        let now = self.now;
        let write = self.writes.get_mut(&serial).unwrap();
        write.promised = write.promised.max(promise);
        if let Some(at) = self.kept.get_mut(&serial) {
            *at = now;
        }
    }

    fn waits(&mut self, serial: u32, first: u32, waiting: sixgate::orders::idempotency::FirstAttempt) {
        assert_eq!(first, serial, "waiting for another write");
        assert!(self.tries.iter().any(|one| one.serial == serial), "waiting for nobody");
        if self.waiting.len() < 8 {
            self.waiting.push((serial, waiting));
        }
    }

    /// The ids of a write, for something else.
    fn something_else(&mut self, serial: u32, asker: &Requester) {
        let one = &self.writes[&serial];
        let other = Write { values: BodyDigest::Values([255; 32]), body_sha256: [255; 32], ..one.write.clone() };
        let before = one.begun < self.lost;
        let (left, busy) = (one.executed + one.open(), self.tries.iter().any(|one| one.serial == serial));
        match self.memory.take(&customer(), &one.keys, &other, asker, self.span()) {
            Admission::Conflict(first, known) => {
                self.counts.conflicts += 1;
                assert_eq!(serial_of(&first), serial, "a conflict with another write");
                match known.map(|known: Arc<WriteResult>| known.outcome) {
                    None => assert!(busy, "a conflict with what is not under way says nothing of it"),
                    Some(outcome) => self.told(serial, outcome),
                }
            }
            Admission::Fresh(claim) => {
                let known = left == 0 || before;
                assert!(known && !busy, "the id of what left is given to another: {one:?}");
                drop(claim);
            }
            other => panic!("another body was taken for the same: {other:?}"),
        }
    }

    /// A change of one of the orders of the hour, with its own id echoed or not.
    fn change(&mut self) {
        let (order, variant, echoed) = (self.next / 64, u32::try_from(self.below(2)).unwrap(), self.one_in(2));
        let path = format!("/v2/orders/{order}");
        let of = write(Method::PUT, &path, variant);
        let mut keys = vec![WriteKey::Change { order: path.as_str().into(), echoed }];
        if !echoed {
            keys.push(WriteKey::Twin([u8::try_from(variant).unwrap(); 32]));
        }
        let before = self.newest.get(&path).copied();
        let name = if echoed { Name::Echo } else { Name::None };
        let serial = self.meant(Kind::Change, name, keys.clone(), of.clone(), "{}".to_owned());
        let asker = self.request(serial);
        match self.memory.take(&customer(), &keys, &of, &asker, self.span()) {
            Admission::Fresh(claim) => {
                if let Some(one) = before.and_then(|before| self.writes.get(&before)).filter(|_| echoed) {
                    let repeat = one.write == of && self.now - one.begun < SAME_CHANGE;
                    let left = one.executed + one.open() > 0 || self.tries.iter().any(|t| t.serial == one.serial);
                    assert!(!(repeat && left), "the same change is sent again: {one:?}");
                }
                self.newest.insert(path, serial);
                self.start(serial, claim, &asker, Stage::Line);
            }
            Admission::Conflict(first, _) => panic!("a change conflicts with {first}, by its order's own id"),
            Admission::Done(first, recorded) => self.is_repeat(serial, serial_of(&first), None, Some(recorded), &asker),
            Admission::Unknown(first, claim, _) => self.is_repeat(serial, serial_of(&first), Some(claim), None, &asker),
            Admission::UnderWay(first, waiting) => {
                let first = serial_of(&first);
                assert!(self.writes[&first].write == of, "waiting for another change");
                if !echoed {
                    self.joins_an_orphan(first);
                }
                self.waits(first, first, waiting);
            }
        }
    }

    fn joins_an_orphan(&mut self, first: u32) {
        self.counts.orphans += 1;
        let orphan = self.tries.iter().any(|one| one.serial == first);
        assert!(
            orphan && self.writes[&first].gone.is_cancelled(),
            "a write without a name is taken for that of somebody who still waits"
        );
    }

    fn is_repeat(
        &mut self,
        own: u32,
        first: u32,
        claim: Option<Claim>,
        done: Option<Arc<WriteResult>>,
        asker: &Requester,
    ) {
        self.counts.repeats += 1;
        let (one, other) = (&self.writes[&own], &self.writes[&first]);
        assert!(one.write == other.write, "told of another change");
        assert_eq!(one.name, Name::Echo, "a change that says no id is a new one, always");
        if let Some(done) = done {
            self.told(first, done.outcome);
        }
        if let Some(claim) = claim {
            self.start(first, claim, asker, Stage::Ask(None));
        }
    }

    /// A placement without any id, by one of a few callers that say the same again and again.
    fn nameless(&mut self) {
        let caller = self.below(NAMELESS);
        let keys = vec![WriteKey::Twin([u8::try_from(100 + caller).unwrap(); 32])];
        let of = write(Method::POST, "/v2/orders", 0x8000_0000 + u32::try_from(caller).unwrap());
        let name = format!("twin {caller}");
        let before = self.newest.get(&name).copied();
        let serial = self.meant(Kind::Place, Name::None, keys.clone(), of.clone(), "{}".to_owned());
        let asker = self.request(serial);
        match self.memory.take(&customer(), &keys, &of, &asker, self.span()) {
            Admission::Fresh(claim) => {
                let orphan = |one: &Try| Some(one.serial) == before && one.gone.is_cancelled();
                assert!(!self.tries.iter().any(orphan), "what a caller left under way is sent once more");
                self.newest.insert(name, serial);
                self.start(serial, claim, &asker, Stage::Line);
            }
            Admission::UnderWay(first, waiting) => {
                let first = serial_of(&first);
                self.joins_an_orphan(first);
                self.waits(first, first, waiting);
            }
            other => panic!("a placement without a name is a repeat: {other:?}"),
        }
    }

    fn takes_risk_away(&mut self, kind: Kind, of: Write) {
        let serial = self.meant(kind, Name::None, Vec::new(), of.clone(), String::new());
        let asker = self.request(serial);
        let Admission::Fresh(claim) = self.memory.take(&customer(), &[], &of, &asker, self.span()) else {
            panic!("what takes risk away is held up by a repeat");
        };
        self.start(serial, claim, &asker, Stage::Line);
    }

    fn start(&mut self, serial: u32, claim: Claim, asker: &Requester, at: Stage) {
        assert!(!self.tries.iter().any(|one| one.serial == serial), "two claims on {:?}", self.writes[&serial]);
        let (place, came, now) = (self.exits.place(), self.came, self.now);
        let write = self.writes.get_mut(&serial).unwrap();
        write.came = came;
        if !matches!(at, Stage::Ask(_)) {
            write.gone = asker.gone.clone();
        }
        let kind = write.kind;
        let exit = (kind == Kind::Exit).then(|| place.exit(&asker.request_id));
        let wait = if kind.takes_risk_away() { secs(20) } else { LEAVE_WITHIN };
        let (held, only, unsent, proven, by) = (None, None, 0, Outcome::NotSent, Role::Primary);
        let (gone, claim, leave_by, still) = (asker.gone.clone(), Some(claim), now + wait, false);
        self.tries.push(Try {
            serial,
            kind,
            claim,
            at,
            gone,
            leave_by,
            place,
            came,
            exit,
            held,
            by,
            only,
            unsent,
            proven,
            still,
        });
    }

    /// Somebody is told what became of a write.
    pub(super) fn told(&self, serial: u32, outcome: Outcome) {
        let write = &self.writes[&serial];
        match outcome {
            Outcome::Executed => assert_eq!(write.executed, 1, "told executed, and it was not: {write:?}"),
            Outcome::NotSent | Outcome::Rejected => {
                let nothing = write.open() + write.executed == 0;
                assert!(nothing, "told {outcome:?}, and it was done or still may be: {write:?}");
            }
            Outcome::Unknown => {}
        }
    }

    /// Those who wait for another's try hear of its end.
    pub(super) fn hear(&mut self) {
        let Some((serial, mut waiting)) = self.waiting.pop() else { return };
        match futures_util::FutureExt::now_or_never(waiting.end()) {
            None => self.waiting.insert(0, (serial, waiting)),
            Some(None) => panic!("a claim ended without a word"),
            // Of one that was not done another try may be under way by now.
            Some(Some(told)) if told.outcome == Outcome::Executed => self.told(serial, told.outcome),
            Some(Some(_)) => {}
        }
    }
}
