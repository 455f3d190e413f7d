//! What is written down of an order write: its lines in the journal, and what is kept for its repeats.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use super::Order;
use super::events::{event, order_ids};
use super::verdict::WriteReply;
use crate::dispatch::reply::{Code, Problem};
use crate::dispatch::sign::Correlation;
use crate::domain::{Outcome, Role, SourceAddr};
use crate::orders::idempotency::{BodyDigest, Claim, Write, WriteResult};
use crate::orders::journal::{Entry, JournalError, Kind, Repeat, SafeText, Urgency};
use crate::orders::lookup::{Lookup, orders_of};
use crate::telemetry::events::Subject;
use crate::tokens::LiveToken;

/// How long what takes risk away waits for a disk that is slow.
const URGENT_WITHIN: Duration = Duration::from_millis(500);

/// The media type of nearly all that the broker says.
const JSON: &str = "application/json";

impl Order<'_> {
    pub(super) fn entry(&self, write: &Write, leg: Role, source: SourceAddr, token: &LiveToken) -> Entry {
        let mut entry = self.line(Kind::Intent, write);
        entry.leg = Some(leg);
        entry.source = Some(source);
        entry.target = Some(self.out.authority.clone());
        entry.correlation_id = self.wish.correlation.as_ref().map(|correlation| SafeText::of(correlation.id()));
        entry.token_generation = Some(token.generation());
        entry
    }

    /// A line that names this request and its write.
    pub(super) fn line(&self, kind: Kind, write: &Write) -> Entry {
        let mut entry = Entry::new(kind, self.dispatcher.orders.stamp());
        entry.request_id = Some(SafeText::own(&self.request_id));
        entry.account = Some(self.account.name.clone());
        entry.method = Some(write.method.clone());
        entry.path = Some(write.path.clone());
        entry.idempotency_key = self.wish.idempotency_key.as_deref().map(SafeText::new);
        entry.body_sha256 = Some(write.body_sha256);
        entry.write_sha256 = match write.values {
            BodyDigest::Values(values) => Some(values),
            BodyDigest::Bytes(_) => None,
        };
        if !self.wish.terms.is_empty() {
            entry.terms = Some(Arc::clone(&self.wish.terms));
        }
        entry
    }

    /// Write the intent. What takes risk away leaves without it if it has to.
    ///
    /// # Errors
    /// 503 `journal_unavailable`, or `not_in_time` where it is its caller that waits no longer; nothing was sent.
    pub(super) async fn journal(&self, intent: &Entry) -> Result<(), Problem> {
        let urgency = if self.takes_risk_away() { Urgency::TakesRiskAway } else { Urgency::Ordinary };
        // What takes risk away does not wait for a disk that hangs.
        let by = if self.takes_risk_away() { self.leave_by.min(Instant::now() + URGENT_WITHIN) } else { self.leave_by };
        let written = self.dispatcher.orders.journal.append_durable_as(intent, urgency, by).await;
        let Err(err) = written else { return Ok(()) };
        if self.takes_risk_away() {
            if matches!(err, JournalError::NotInTime { .. }) {
                // It may leave no later, and its line gets there yet or is there.
                tracing::warn!(account = %self.account.name, request_id = &*self.request_id, error = %err,
                    "what takes risk away did not wait for its line in the order journal");
                return Ok(());
            }
            tracing::error!(account = %self.account.name, request_id = &*self.request_id, error = %err,
                "what takes risk away is sent WITHOUT its line in the order journal");
            return Ok(());
        }
        if err.may_be_written() {
            // It must not look like an order whose end is not known.
            let line = intent.outcome(Outcome::NotSent, self.dispatcher.orders.stamp());
            self.dispatcher.orders.journal.append_later(&line);
        }
        if matches!(err, JournalError::NotInTime { .. }) {
            return Err(self.not_in_time(&err.to_string()));
        }
        let detail = format!("the order was not sent, because its line in the journal could not be written: {err}");
        Err(Problem::before_sending(Code::JournalUnavailable, detail))
    }

    pub(super) async fn outcome(
        &self,
        intent: &Entry,
        outcome: Outcome,
        reply: Option<&WriteReply>,
        sent_at: Instant,
        recovered: bool,
    ) {
        let mut line = intent.outcome(outcome, self.dispatcher.orders.stamp());
        line.status = reply.map(|reply| reply.status.as_u16());
        line.broker_code = reply.and_then(WriteReply::broker_code).map(|code| SafeText::new(&code));
        // Also those that were taken and refused: they are no other write's either.
        let is_settled = matches!(outcome, Outcome::Executed | Outcome::Rejected);
        line.order_id = reply.filter(|_| is_settled).and_then(|reply| order_ids(&reply.body));
        line.recovered = recovered.then_some(true);
        line.upstream_us.get_or_insert_with(|| micros(sent_at.elapsed()));
        line.total_us = Some(micros(self.arrival.at.elapsed()));
        if let Err(err) = self.dispatcher.orders.journal.append_durable(&line).await {
            // The order is done, whatever the disk says. After a restart it is asked about again.
            tracing::error!(account = %self.account.name, request_id = &*self.request_id, error = %err, outcome = outcome.as_str(),
                "an outcome could not be written to the journal");
        }
        self.dispatcher.orders.events.publish(Subject::Order, &self.account.name, move || event(&line));
    }

    /// What the broker's answer adds to what is known: the day that the order belongs to, by its clock.
    pub(super) fn settled(&self, claim: &mut Claim, outcome: Outcome, reply: &WriteReply) {
        if self.out.method == Method::POST {
            let ids = orders_of(&reply.body);
            self.dispatcher.orders.known.note(self.account.client_id(), ids.iter().map(|id| &**id));
        }
        if outcome == Outcome::Executed {
            claim.keep_until(self.span().until);
        }
    }

    pub(super) fn unknown(&self, lookup: &Arc<Lookup>) -> WriteResult {
        WriteResult {
            correlation_id: self.wish.correlation.as_ref().map(|correlation| Arc::clone(correlation.id())),
            lookup: Some(Arc::clone(lookup)),
            ..WriteResult::bare(Outcome::Unknown)
        }
    }

    pub(super) fn recorded(
        &self,
        outcome: Outcome,
        reply: &WriteReply,
        lookup: &Arc<Lookup>,
        recovered: bool,
    ) -> WriteResult {
        // Kept for a day: nothing that is there twice, and no buffer of which the body is a part.
        WriteResult {
            outcome,
            status: reply.status.as_u16(),
            content_type: reply.content_type().map(|kind| match kind {
                JSON => JSON.into(),
                other => other.to_owned().into(),
            }),
            body: Bytes::copy_from_slice(&reply.body),
            order_id: reply.order_id().filter(|_| reply.body.is_empty()).map(Into::into),
            correlation_id: self.wish.correlation.as_ref().map(Correlation::id).map(Arc::clone),
            recovered,
            lookup: (outcome == Outcome::Unknown).then(|| Arc::clone(lookup)),
        }
    }

    /// Say in the journal that a request was answered with what became of another.
    pub(super) fn note_repeat(&self, first: &Arc<str>) {
        let correlation_id = self.wish.correlation.as_ref().map(|correlation| SafeText::of(correlation.id()));
        let idempotency_key = self.wish.idempotency_key.as_deref().map(SafeText::new);
        let repeat = Repeat {
            account: &self.account.name,
            request_id: &SafeText::own(&self.request_id),
            of: &SafeText::of(first),
            correlation_id: correlation_id.as_ref(),
            idempotency_key: idempotency_key.as_ref(),
        };
        self.dispatcher.orders.journal.note_repeat(&repeat, self.dispatcher.orders.stamp());
        let (request_id, first) = (Arc::clone(&self.request_id), Arc::clone(first));
        let told = move || serde_json::json!({ "request_id": &*request_id, "repeat_of": &*first });
        self.dispatcher.orders.events.publish(Subject::Order, &self.account.name, told);
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
