//! The way of an order write: seen before? → token → leg and connection → limit →
//! intent → sent, once → what the broker said → outcome → reply.
//!
//! Invariants:
//! - A write is sent at most once. It is sent again only after proof that the broker
//!   did not act on it: nothing of it was written, or a reply that refuses the source
//!   address (then from the other leg, once) or the token (then with the next, once).
//! - An intent line stands in the journal before each send, an outcome line after.
//! - When the answer is lost the broker is asked; what cannot be found stays unknown
//!   and is never sent again.
//! - A write that has begun goes on to its end, whether its caller waits or not.

mod ending;
mod judge;
#[doc(hidden)]
pub mod probe;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use ending::Lost;
use judge::{Reply, Said};

use super::forward::{Outgoing, Trace};
use super::reply::{Body, Code, Problem};
use super::sign::{self, Correlation};
use super::{Proxy, headers, legs, live, no_token};
use crate::accounts::Account;
use crate::broker::dhan::endpoints::Endpoint;
use crate::domain::{Authority, Outcome, Role, SourceAddr};
use crate::egress::{Lease, Sent};
use crate::legs::{Leg, Legs, Purpose, Reuse};
use crate::orders::journal::{Entry, JournalError, Kind, PathText, Word};
use crate::orders::limits::{Ask, Limited};
use crate::orders::memory::{Claim, Found, Key, Recorded, Write};
use crate::orders::trail::Trail;
use crate::telemetry::events::Subject;
use crate::tokens::LiveToken;

/// How often a write that was handed back unsent goes on to a new connection.
const UNSENT_TRIES: u32 = 3;
/// The media type of nearly all that the broker says.
const JSON: &str = "application/json";

/// An order write that is ready but for its token.
pub(super) struct Order<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) account: &'a Account,
    pub(super) request_id: &'a Arc<str>,
    pub(super) endpoint: Endpoint,
    pub(super) out: Outgoing,
    pub(super) correlation: Option<Correlation>,
    pub(super) idempotency_key: Option<String>,
    pub(super) began: Instant,
    /// How long the broker is asked when the answer is lost.
    pub(super) reconcile_for: Duration,
}

impl Order<'_> {
    /// Carry it out, or answer what became of it when it came before.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    ///
    /// Not cancel-safe: a dropped future leaves the outcome unknown.
    pub(super) async fn run(mut self, trace: &mut Trace) -> Result<Response<Body>, Problem> {
        trace.correlation_id = self.correlation.as_ref().and_then(Correlation::made).cloned();
        let write = Write {
            method: self.out.method.clone(),
            path: PathText::new(self.out.path.path()),
            body_sha256: self.digest(),
        };
        let keys = self.keys();
        // As long as the first try may take, and then some of our own.
        let patience = Instant::now() + self.out.limit * 2 + self.reconcile_for;
        let _busy = self.proxy.orders.journal.busy();
        loop {
            match self.proxy.orders.memory.take(self.account.client_id(), &keys, &write, Timestamp::now()) {
                Found::Fresh(claim) => {
                    // Only now: whoever repeats one that was done before the halt must not be told "not sent".
                    self.refuse_if_halted(self.account)?;
                    return self.first(claim, &write, trace).await;
                }
                Found::Done(recorded) => return Box::pin(self.repeat(&recorded, trace)).await,
                Found::Unknown(claim, recorded) => {
                    return Box::pin(self.ask_again(claim, &recorded, &write, trace)).await;
                }
                Found::Conflict => {
                    let detail = "this correlationId or Idempotency-Key came with another body, method or path within 24 hours; \
                                  give each order an id of its own";
                    return Err(Problem::before_sending(Code::IdempotencyConflict, detail));
                }
                Found::UnderWay(mut first) => match tokio::time::timeout_at(patience, first.end()).await {
                    // Not done: this one's turn.
                    Ok(Some(recorded)) if recorded.outcome == Outcome::NotSent => {}
                    Ok(Some(recorded)) => return Box::pin(self.repeat(&recorded, trace)).await,
                    Ok(None) | Err(_) => {
                        let detail = "the first try of this write is still under way; ask again";
                        trace.outcome = Some(Outcome::Unknown);
                        return Err(Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown));
                    }
                },
            }
        }
    }

    fn refuse_if_halted(&self, account: &Account) -> Result<(), Problem> {
        let Some(halt) = &account.record.halted else { return Ok(()) };
        if self.endpoint.takes_risk_away() {
            return Ok(());
        }
        let reason = if halt.reason.is_empty() { String::new() } else { format!(": {}", halt.reason) };
        let detail =
            format!("an operator halted account {} at {}{reason}; cancels pass", self.account.name, halt.since);
        Err(Problem::before_sending(Code::AccountHalted, detail))
    }

    /// A halt or a change of the pair that came while this waited for a token, a line or a limit.
    fn still_wanted(&self, legs: &Legs) -> Result<(), Problem> {
        let now = self.proxy.accounts.lookup(self.account.name.as_str());
        match now.filter(|_| !legs.ended().is_cancelled()) {
            Some(row) => self.refuse_if_halted(&row),
            None => {
                let detail = "the account or its pair was changed while this waited; send it again";
                Err(Problem::before_sending(Code::EgressUnavailable, detail))
            }
        }
    }

    fn ask(&self) -> Ask {
        Ask::of(&self.out.method, self.out.path.path(), &self.endpoint, || Sha256::digest(&self.out.body).into())
    }

    /// Of the body as it leaves; and of the query, where there is one: a kill switch's "on" and
    /// "off" differ in nothing else.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(&self.out.body);
        if let Some(query) = self.out.path.query() {
            hash.update("?");
            hash.update(query);
        }
        hash.finalize().into()
    }

    fn trail(&self) -> Trail {
        let correlation = self.correlation.as_ref().map(Correlation::id);
        Trail::of(&self.out.method, self.out.path.path(), &self.out.body, correlation)
    }

    fn keys(&self) -> Vec<Key> {
        // As the journal writes them, which is where they are found after a restart.
        let correlation = self.correlation.as_ref().map(|correlation| Word::of(correlation.id()));
        let correlation = correlation.map(|word| Key::Correlation(Arc::clone(word.shared())));
        let idempotency = self.idempotency_key.as_deref().map(Word::new);
        let idempotency = idempotency.map(|word| Key::Idempotency(Arc::clone(word.shared())));
        correlation.into_iter().chain(idempotency).collect()
    }

    async fn first(&mut self, mut claim: Claim, write: &Write, trace: &mut Trace) -> Result<Response<Body>, Problem> {
        let trail = Arc::new(self.trail());
        let by = Instant::now() + self.out.limit;
        let mut token = live(self.account, by).await?;
        let (legs, to) = (legs(self.account)?, self.out.authority.clone());
        sign::headers(&mut self.out.headers, self.account, &token);
        headers::for_write(&mut self.out.headers, self.endpoint.takes_risk_away());
        let mut reuse = Reuse::Idle;
        let (mut unsent, mut other_leg, mut renewed) = (0, None, false);
        loop {
            let (leg, lease) = Self::dial(legs, &to, other_leg, reuse, by, trace).await?;
            let gate = self.proxy.orders.gate(self.account.client_id());
            let pass = gate.enter(self.ask()).await.map_err(|err| limited(&err))?;
            trace.leg = Some(leg.role());
            trace.source = Some(lease.source());
            let mut intent = self.entry(write, leg.role(), lease.source(), &token);
            if let Err(problem) = self.still_wanted(legs) {
                gate.give_back(pass);
                return Err(problem);
            }
            if let Err(problem) = self.journal(&intent).await {
                gate.give_back(pass);
                return Err(problem);
            }
            claim.sending(self.unknown(&trail));
            let sent_at = Instant::now();
            let sent = lease.send(&self.out.message(), self.out.limit).await;
            let said = match sent {
                Sent::NotSent(err) => {
                    claim.taken_back();
                    gate.give_back(pass);
                    self.outcome(&intent, Outcome::NotSent, None, sent_at, false).await;
                    unsent += 1;
                    if unsent >= UNSENT_TRIES {
                        trace.outcome = Some(Outcome::NotSent);
                        let detail = format!("{}; it is safe to send it again", err.chain());
                        return Err(Problem::new(Code::UpstreamFailed, detail, Outcome::NotSent));
                    }
                    reuse = Reuse::Never;
                    continue;
                }
                Sent::Broken(err) => {
                    leg.suspect();
                    Said::Lost(err.chain())
                }
                Sent::Reply(reply) => judge::read(reply, self.out.limit).await,
            };
            let upstream = sent_at.elapsed();
            trace.upstream = Some(upstream);
            intent.upstream_us = Some(micros(upstream));
            match said {
                Said::Settled(outcome, reply) => {
                    if outcome == Outcome::Executed && self.endpoint.static_ip {
                        leg.accepted_source();
                    }
                    self.outcome(&intent, outcome, Some(&reply), sent_at, false).await;
                    claim.end(self.recorded(outcome, &reply, &trail, false));
                    return Ok(self.answer(reply, outcome, false, trace));
                }
                Said::RefusesSource(reply) => {
                    leg.refused_source();
                    self.outcome(&intent, Outcome::Rejected, Some(&reply), sent_at, false).await;
                    claim.taken_back();
                    let other = legs.choose(Purpose::OrderWrite).into_iter().find(|next| next.role() != leg.role());
                    match other {
                        Some(other) if other_leg.is_none() && other.source() != leg.source() => {
                            other_leg = Some(other.role());
                        }
                        Some(_) | None => {
                            claim.end(self.recorded(Outcome::Rejected, &reply, &trail, false));
                            return Ok(self.answer(reply, Outcome::Rejected, false, trace));
                        }
                    }
                }
                Said::RefusesToken(reply) => {
                    self.account.keeper.refused(token.generation());
                    self.outcome(&intent, Outcome::Rejected, Some(&reply), sent_at, false).await;
                    claim.taken_back();
                    let next = self.account.token.wait(token.generation(), Instant::now() + self.out.limit).await;
                    match next {
                        Ok(next) if !renewed => {
                            renewed = true;
                            token = next;
                            sign::token(&mut self.out.headers, &token);
                        }
                        Ok(_) => {
                            claim.end(self.recorded(Outcome::Rejected, &reply, &trail, false));
                            return Ok(self.answer(reply, Outcome::Rejected, false, trace));
                        }
                        Err(why) => {
                            trace.outcome = Some(Outcome::Rejected);
                            return Err(no_token(self.account, &why, Outcome::Rejected));
                        }
                    }
                }
                Said::Nothing(reply) => {
                    let why = format!("the broker answered {}, which proves nothing", reply.status);
                    // A page or a redirect would be read as a refusal, or followed to a second send.
                    let last = reply.status.is_server_error().then_some(reply);
                    let lost = Lost { claim, intent: &intent, trail: &trail, last, why: &why, sent_at };
                    return Box::pin(self.reconcile(lost, trace)).await;
                }
                Said::Lost(why) => {
                    let lost = Lost { claim, intent: &intent, trail: &trail, last: None, why: &why, sent_at };
                    return Box::pin(self.reconcile(lost, trace)).await;
                }
            }
        }
    }

    /// A connection from the leg that health chooses, or from the one that is meant.
    async fn dial<'l>(
        legs: &'l Legs,
        to: &'l Authority,
        only: Option<Role>,
        reuse: Reuse,
        by: Instant,
        trace: &mut Trace,
    ) -> Result<(&'l Leg, Lease), Problem> {
        let failed = |trace: &mut Trace, code: &'static str, text: String| {
            trace.outcome = Some(Outcome::NotSent);
            trace.dial_error = Some(code);
            Problem::before_sending(Code::EgressUnavailable, text)
        };
        match only {
            None => {
                let leased = legs.lease(to, Purpose::OrderWrite, reuse, by).await;
                leased.map_err(|none| failed(trace, none.code(), none.to_string()))
            }
            Some(role) => {
                let leg = legs.leg(role);
                let leased = tokio::time::timeout_at(by, leg.lease(to, reuse)).await;
                match leased {
                    Ok(Ok(lease)) => Ok((leg, lease)),
                    Ok(Err(err)) => Err(failed(trace, err.code(), err.chain())),
                    Err(_) => {
                        Err(failed(trace, "connect_timed_out", "no time was left to dial the other leg".to_owned()))
                    }
                }
            }
        }
    }

    fn entry(&self, write: &Write, leg: Role, source: SourceAddr, token: &LiveToken) -> Entry {
        let mut entry = Entry::new(Kind::Intent, Timestamp::now());
        entry.request_id = Some(Word::own(self.request_id));
        entry.account = Some(self.account.name.clone());
        entry.leg = Some(leg);
        entry.source = Some(source);
        entry.target = Some(self.out.authority.clone());
        entry.method = Some(self.out.method.clone());
        entry.path = Some(write.path.clone());
        entry.correlation_id = self.correlation.as_ref().map(|correlation| Word::of(correlation.id()));
        entry.idempotency_key = self.idempotency_key.as_deref().map(Word::new);
        entry.body_sha256 = Some(write.body_sha256);
        entry.token_generation = Some(token.generation());
        entry
    }

    async fn journal(&self, intent: &Entry) -> Result<(), Problem> {
        let Err(err) = self.proxy.orders.journal.append_durable(intent).await else { return Ok(()) };
        if matches!(err, JournalError::Unsynced { .. }) {
            // The line is there, and must not look like an order whose end is not known.
            let line = intent.outcome(Outcome::NotSent, Timestamp::now());
            let _ = self.proxy.orders.journal.append(&line);
        }
        let detail = format!("the order was not sent, because its line in the journal could not be written: {err}");
        Err(Problem::before_sending(Code::JournalUnavailable, detail))
    }

    async fn outcome(
        &self,
        intent: &Entry,
        outcome: Outcome,
        reply: Option<&Reply>,
        sent_at: Instant,
        recovered: bool,
    ) {
        let mut line = intent.outcome(outcome, Timestamp::now());
        line.status = reply.map(|reply| reply.status.as_u16());
        line.broker_code = reply.and_then(Reply::broker_code).map(|code| Word::new(&code));
        line.order_id = reply.filter(|_| outcome == Outcome::Executed).and_then(Reply::order_id).map(Word::new);
        line.recovered = recovered.then_some(true);
        line.upstream_us.get_or_insert_with(|| micros(sent_at.elapsed()));
        line.total_us = Some(micros(self.began.elapsed()));
        self.proxy.orders.events.tell(Subject::Order, &self.account.name, || told(&line));
        if let Err(err) = self.proxy.orders.journal.append_durable(&line).await {
            // The order is done, whatever the disk says. After a restart it is asked about again.
            tracing::error!(account = %self.account.name, request_id = &**self.request_id, error = %err, outcome = outcome.as_str(),
                "an outcome could not be written to the journal");
        }
    }

    fn unknown(&self, trail: &Arc<Trail>) -> Recorded {
        Recorded {
            outcome: Outcome::Unknown,
            status: 0,
            content_type: None,
            body: Bytes::new(),
            order_id: None,
            correlation_id: self.correlation.as_ref().map(|correlation| Arc::clone(correlation.id())),
            recovered: false,
            trail: Some(Arc::clone(trail)),
        }
    }

    fn recorded(&self, outcome: Outcome, reply: &Reply, trail: &Arc<Trail>, recovered: bool) -> Recorded {
        // Kept for a day: nothing that is there twice, and no buffer of which the body is a part.
        Recorded {
            outcome,
            status: reply.status.as_u16(),
            content_type: reply.content_type().map(|kind| match kind {
                JSON => JSON.into(),
                other => other.to_owned().into(),
            }),
            body: Bytes::copy_from_slice(&reply.body),
            order_id: reply.order_id().filter(|_| reply.body.is_empty()).map(Into::into),
            correlation_id: self.correlation.as_ref().map(|correlation| Arc::clone(correlation.id())),
            recovered,
            trail: (outcome == Outcome::Unknown).then(|| Arc::clone(trail)),
        }
    }
}

/// The broker's limit would be broken.
pub(super) fn limited(err: &Limited) -> Problem {
    let when = match err.retry_after {
        Some(_) => "try again after Retry-After",
        None => "it will not be taken later either",
    };
    let mut problem = Problem::before_sending(Code::RateLimited, format!("{err}; {when}"));
    problem.retry_after = err.retry_after;
    problem
}

/// What a watcher hears of an outcome.
pub(super) fn told(line: &Entry) -> serde_json::Value {
    let word = |word: &Option<Word>| word.as_ref().map(|word| word.as_str().to_owned());
    serde_json::json!({
        "request_id": word(&line.request_id),
        "outcome": line.outcome.map(Outcome::as_str),
        "method": line.method.as_ref().map(http::Method::as_str),
        "path": line.path.as_ref().map(PathText::as_str),
        "leg": line.leg.map(Role::as_str),
        "source": line.source.map(|source| source.to_string()),
        "order_id": word(&line.order_id),
        "correlation_id": word(&line.correlation_id),
        "status": line.status,
        "recovered": line.recovered == Some(true),
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
