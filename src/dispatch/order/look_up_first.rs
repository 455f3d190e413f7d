//! An id that the memory does not know, while lines of the journal lack: the broker is asked first.
//!
//! Any order of today under the id forbids the send: it may be this very one, sent before the start. A readable "none"
//! allows it, once as much time has passed since the start as an order may take to show. What cannot be asked for is
//! not sent either. New orders without an id of the caller's are not held up: nobody can have sent those before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use tokio::time::Instant;

use super::Order;
use super::lost::LostReply;
use crate::broker::dhan::endpoints::WriteKind;
use crate::dispatch::question::{self, BrokerQuestion};
use crate::dispatch::ready::{legs, live};
use crate::dispatch::reconcile::LookupResult;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::domain::{Outcome, Role};
use crate::legs::{Purpose, Reuse};
use crate::orders::idempotency::{Claim, Write};
use crate::orders::journal::{Kind, SafeText};
use crate::orders::lookup::Lookup;
use crate::telemetry::access::Access;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(250);

/// What the broker shows under the ids of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShownUnderIds {
    /// A readable list without any of them.
    None,
    /// An order.
    Some,
    /// No answer, or none that can be read.
    Nothing,
}

impl Order<'_> {
    /// May this be the repeat of a write that lacks in the journal?
    pub(super) fn must_look_up_first(&self) -> bool {
        !self.takes_risk_away() && self.is_named() && !self.dispatcher.orders.remembers_all()
    }

    pub(super) async fn look_up_first(
        mut self,
        claim: Claim,
        write: &Write,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        self.may_leave()?;
        let lookup = Arc::new(self.lookup());
        if self.endpoint.write == Some(WriteKind::Change) {
            return self.change_anew(claim, &lookup, write, record).await;
        }
        if !lookup.is_listed_by_id() {
            return Err(cannot_look_up(record));
        }
        let began = Instant::now();
        let shown =
            self.wait("the broker could not be asked whether this id was used before", self.shown(&lookup)).await;
        record.looked_up += began.elapsed();
        let Ok(shown) = shown else { return Err(cannot_look_up(record)) };
        match shown {
            ShownUnderIds::None => self.first(claim, write, record).await,
            ShownUnderIds::Some => self.found_before(claim, &lookup, write, record).await,
            ShownUnderIds::Nothing => Err(cannot_look_up(record)),
        }
    }

    /// A change that the order shows already was made before; made again it would do nothing.
    async fn change_anew(
        &mut self,
        claim: Claim,
        lookup: &Arc<Lookup>,
        write: &Write,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        let looked = self.look_for(lookup, Role::Primary, question::LONGEST, record).await;
        match looked {
            LookupResult::Executed(_) => self.answer_as_found(claim, looked, lookup, write, record).await,
            LookupResult::Rejected(_) | LookupResult::NotFound => self.first(claim, write, record).await,
        }
    }

    async fn found_before(
        &self,
        claim: Claim,
        lookup: &Arc<Lookup>,
        write: &Write,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        let looked = self.look_for(lookup, Role::Primary, self.reconcile_for, record).await;
        if matches!(looked, LookupResult::Executed(_) | LookupResult::Rejected(Some(_))) {
            return self.answer_as_found(claim, looked, lookup, write, record).await;
        }
        let detail = "lines of the order journal lack, and the broker has an order of today under this id that is not this \
                      one; nothing was sent now. Look in the order book, and give this one an id of its own only if it is \
                      really a new order";
        record.outcome = Some(Outcome::Unknown);
        Err(Problem::new(Code::IdempotencyConflict, detail, Outcome::Unknown))
    }

    async fn answer_as_found(
        &self,
        claim: Claim,
        looked: LookupResult,
        lookup: &Arc<Lookup>,
        write: &Write,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        let mut line = self.line(Kind::Outcome, write);
        line.correlation_id = self.wish.correlation.as_ref().map(|correlation| SafeText::of(correlation.id()));
        let why = "its line lacks in the order journal";
        let lost = LostReply { claim, intent: &line, lookup, last: None, why, sent_at: Instant::now() };
        self.settle(lost, looked, record).await
    }

    /// Ask until the broker's answer can be read, and long enough after the start for an order to show.
    async fn shown(&self, lookup: &Lookup) -> ShownUnderIds {
        loop {
            let shown = self.look_up_once(lookup).await;
            let settled = self.dispatcher.orders.age() >= self.reconcile_for;
            match shown {
                ShownUnderIds::Some => return shown,
                ShownUnderIds::None if settled => return shown,
                ShownUnderIds::None | ShownUnderIds::Nothing => {}
            }
            let wait = self.reconcile_for.saturating_sub(self.dispatcher.orders.age()).max(PAUSE);
            tokio::time::sleep(wait.min(PAUSE * 4)).await;
        }
    }

    async fn look_up_once(&self, lookup: &Lookup) -> ShownUnderIds {
        let mut none = false;
        for path in lookup.paths() {
            let Some((status, body)) = self.question(&path).await else { continue };
            self.account.heard_of_orders(&self.dispatcher.orders, &path, status, &body);
            match self.read(status, &body) {
                Some(true) => return ShownUnderIds::Some,
                // Only a list says that there is none; one order's question says it of what is on its way too.
                Some(false) => none |= !path.contains("/external/"),
                None => {}
            }
        }
        if none { ShownUnderIds::None } else { ShownUnderIds::Nothing }
    }

    /// Does an answer show an order under one of the ids? `None` when it cannot be read.
    fn read(&self, status: u16, body: &[u8]) -> Option<bool> {
        if !(200..300).contains(&status) {
            return None;
        }
        let rows = match serde_json::from_slice(body).ok()? {
            Value::Array(rows) => rows,
            Value::Object(mut whole) => match whole.remove("data") {
                Some(Value::Array(rows)) => rows,
                Some(inner) => vec![inner],
                None => vec![Value::Object(whole)],
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
        let under = |row: &Value| {
            let id = row.get("correlationId").and_then(Value::as_str).unwrap_or_default();
            self.wish.ids.iter().any(|own| **own == *id)
        };
        // An array of errors is no list.
        let is_order = |row: &Value| row.get("orderId").is_some();
        if !rows.iter().all(is_order) {
            return None;
        }
        Some(rows.iter().any(under))
    }

    /// One question, by the leg that health chooses.
    async fn question(&self, path: &str) -> Option<(u16, Bytes)> {
        let by = self.leave_by.min(Instant::now() + question::LONGEST);
        let (account, to) = (self.account, &self.out.authority);
        let answer = async {
            let token = live(account, by).await.ok()?;
            self.lane.gate.enter(question::rate_request(path)).await.ok()?;
            let (leg, lease) = legs(account).ok()?.lease(to, Purpose::Read, Reuse::Idle, by).await.ok()?;
            let question = BrokerQuestion { account, token: &token, to, path, limit: question::LONGEST };
            question.put(self.dispatcher, leg, lease).await
        };
        tokio::time::timeout_at(by, answer).await.ok().flatten()
    }
}

/// The write may have been carried out before the start, and nobody can say.
fn cannot_look_up(record: &mut Access) -> Problem {
    let detail = "lines of the order journal lack (see the log and /readyz), so this id may have been used before, and the \
                  broker could not be asked for it; nothing was sent now. Look in the order book; then send it under \
                  another id, or without one";
    record.outcome = Some(Outcome::Unknown);
    Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown)
}
