//! The way of an order write: seen before? → token → its moment by the limits, reserved → connection → permission →
//! intent → connection looked at again, limit counted → sent, once → what the broker said → outcome → reply.
//!
//! Invariants:
//! - A write is sent at most once. It is sent again only after proof that the broker
//!   did not act on it: nothing of it was written, or a reply that refuses the source
//!   address (then from the other leg, once) or the token (then with the next, once). Then it stands before its intent
//!   again: deadline, caller and permission are looked at anew.
//! - Until its intent it may be given up: its caller is gone, it is late, it may no longer, or an exit turned it away.
//!   After it, it goes on to its end, whether its caller waits or not. What takes risk away is given up by none of these
//!   but its own, longer deadline.
//! - An intent line stands in the journal before each send, an outcome line after.
//! - When the answer is lost the broker is asked; what cannot be found stays unknown
//!   and is never sent again.

pub(super) mod events;
mod lines;
mod look_up_first;
mod lost;
mod place;
mod repeat;
pub(crate) mod verdict;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::context::{Arrival, Dispatcher, Exempt, Permission};
use super::headers;
use super::read::{ApiRequest, PreparedRequest};
use super::reply::{Body, Code, HINT, Problem, RECOVERED, Retry, mark};
use super::send::UpstreamRequest;
use super::sign::Correlation;
use crate::accounts::Account;
use crate::broker::dhan::endpoints::{Endpoint, WriteKind};
use crate::domain::{BootInstant, Outcome, RepeatsBy};
use crate::orders::exits::WritePlace;
use crate::orders::idempotency::{Admission, BodyDigest, RememberedSpan, Requester, Write, WriteKey};
use crate::orders::journal::{SafePath, SafeText};
use crate::orders::lookup::Lookup;
use crate::orders::terms::Terms;
use crate::orders::{Lane, MOST_IN_LINE, day};
use crate::telemetry::access::Access;
use crate::tokens::mask::mask;

/// How long an order write may take to leave, if its caller wants less than `orders.leave_within`.
const LEAVE_WITHIN: &str = "sixgate-leave-within";

/// An order write that is ready but for its token.
pub(super) struct Order<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) account: &'a Account,
    pub(super) request_id: Arc<str>,
    pub(super) endpoint: Endpoint,
    pub(super) out: UpstreamRequest,
    pub(super) wish: WriteRequest,
    pub(super) permission: &'a dyn Permission,
    pub(super) arrival: Arrival,
    /// When it must have left.
    pub(super) leave_by: Instant,
    /// The same by a clock that goes on while the machine sleeps.
    pub(super) asleep_by: BootInstant,
    /// Its place among the writes of its customer.
    pub(super) place: WritePlace,
    /// What holds up its customer's writes: the broker's limits, as far as they are used up, and how many wait.
    pub(super) lane: Lane,
    /// How long the broker is asked when the answer is lost.
    pub(super) reconcile_for: Duration,
}

/// What the caller wants, and by which names it may want it again.
pub(super) struct WriteRequest {
    /// The id that the broker knows it by, where it takes one.
    pub(super) correlation: Option<Correlation>,
    /// Every id in the body, ours included.
    pub(super) ids: Vec<Arc<str>>,
    pub(super) idempotency_key: Option<String>,
    /// What the body says, by value.
    pub(super) values: [u8; 32],
    pub(super) terms: Arc<[Terms]>,
}

impl Dispatcher {
    /// Send an order write, at most once, or answer what became of it when it came before.
    ///
    /// # Errors
    /// The `Problem` to answer with.
    ///
    /// Not cancel-safe: a dropped future leaves the outcome unknown.
    pub async fn write(
        &self,
        request: ApiRequest<'_>,
        permission: &dyn Permission,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        let PreparedRequest { signed, idempotency_key } = request.read(self)?;
        let ApiRequest { account, endpoint, mut out, arrival, timing } = request;
        let within = if endpoint.takes_risk_away() {
            timing.write_timeout
        } else {
            wanted(&out.headers)?.unwrap_or(timing.leave_within).min(timing.leave_within)
        };
        out.body = signed.body;
        out.may_repeat = false;
        out.limit = timing.write_timeout;
        let wish = WriteRequest {
            correlation: signed.correlation,
            ids: signed.ids,
            idempotency_key,
            values: signed.value_sha256,
            terms: signed.terms.into(),
        };
        let lane = self.orders.lane(account.client_id());
        let leave_by = arrival.at + within;
        let order = Order {
            dispatcher: self,
            account,
            request_id: Arc::clone(record.request_id()),
            endpoint,
            out,
            wish,
            permission,
            leave_by,
            asleep_by: BootInstant::now() + leave_by.saturating_duration_since(Instant::now()),
            arrival,
            place: lane.exits.place(),
            lane,
            reconcile_for: timing.reconcile_for,
        };
        order.run(record).await
    }
}

/// How soon the caller wants it gone or not at all.
fn wanted(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let mut given = headers.get_all(LEAVE_WITHIN).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let parsed = first.to_str().ok().and_then(|text| humantime::parse_duration(text.trim()).ok());
    match (parsed.filter(|wanted| !wanted.is_zero()), given.next()) {
        (Some(wanted), None) => Ok(Some(wanted)),
        _ => {
            let detail = "sixgate-leave-within is one field with a duration and its unit, such as 800ms or 2s";
            Err(Problem::before_sending(Code::BadRequest, detail))
        }
    }
}

impl Order<'_> {
    /// Carry it out, or answer what became of it when it came before.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    ///
    /// Not cancel-safe: a dropped future leaves the outcome unknown.
    pub(super) async fn run(mut self, record: &mut Access) -> Result<Response<Body>, Problem> {
        record.correlation_id = self.wish.correlation.as_ref().and_then(Correlation::made).cloned();
        let write = self.write();
        let keys = self.keys();
        let requester = Requester { request_id: Arc::clone(&self.request_id), gone: self.arrival.gone.clone() };
        // As long as the first try may take, and then some of our own.
        let patience = Instant::now() + self.out.limit * 2 + self.reconcile_for;
        let _busy = self.dispatcher.orders.journal.busy();
        let _counted = self.dispatcher.metrics.order_under_way();
        loop {
            let found = self.dispatcher.orders.idempotency.take(
                self.account.client_id(),
                &keys,
                &write,
                &requester,
                self.span(),
            );
            match found {
                Admission::Fresh(claim) => {
                    // Counted among those that are under way. What takes risk away is not, and is never one too many; nor
                    // is what is answered with what is known.
                    let in_line = if self.takes_risk_away() { None } else { Some(self.lane.queue()) };
                    if matches!(in_line, Some(None)) {
                        return Err(too_many());
                    }
                    if self.must_look_up_first() {
                        return Box::pin(self.look_up_first(claim, &write, record)).await;
                    }
                    return self.first(claim, &write, record).await;
                }
                Admission::Done(first, recorded) => {
                    self.is_repeat_of(first, record);
                    return Box::pin(self.repeat(&recorded, record)).await;
                }
                Admission::Unknown(first, claim, recorded) => {
                    self.is_repeat_of(first, record);
                    return Box::pin(self.look_up_again(claim, &recorded, &write, record)).await;
                }
                Admission::Conflict(first, known) => {
                    self.is_repeat_of(first, record);
                    return Err(Self::conflict(known.as_deref(), record));
                }
                Admission::UnderWay(by, mut first) => match tokio::time::timeout_at(patience, first.end()).await {
                    // Not done: this one's turn.
                    Ok(Some(recorded)) if recorded.outcome == Outcome::NotSent => {}
                    Ok(Some(recorded)) => {
                        self.is_repeat_of(by, record);
                        return Box::pin(self.repeat(&recorded, record)).await;
                    }
                    Ok(None) | Err(_) => {
                        self.is_repeat_of(by, record);
                        let detail = "the first try of this write is still under way; ask again";
                        record.outcome = Some(Outcome::Unknown);
                        return Err(Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown));
                    }
                },
            }
        }
    }

    /// The broker's reply, as it came, with what we know of it.
    pub(super) fn answer(
        &self,
        reply: verdict::WriteReply,
        outcome: Outcome,
        recovered: bool,
        record: &mut Access,
    ) -> Response<Body> {
        let hint = verdict::hint(&reply, self.wish.ids.iter().map(AsRef::as_ref));
        // A refusal quotes what it was sent, and that is signed.
        let token = self.account.token.last().filter(|_| !reply.status.is_success());
        let body = match token {
            Some(token) => mask(&reply.body, &[&token.secret()]),
            None => reply.body,
        };
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = reply.status;
        *answer.headers_mut() = reply.headers;
        headers::for_caller(answer.headers_mut());
        answer.headers_mut().remove(CONTENT_LENGTH);
        if recovered {
            answer.headers_mut().insert(RECOVERED, HeaderValue::from_static("true"));
        }
        if let Some(hint) = hint {
            answer.headers_mut().insert(HINT, HeaderValue::from_static(hint));
        }
        record.outcome = Some(outcome);
        mark(record, answer.headers_mut());
        answer
    }

    fn write(&self) -> Write {
        let mut values = self.wish.values;
        // A kill switch's "on" and "off" differ in nothing else.
        if let Some(query) = self.out.path.query() {
            let mut hash = Sha256::new_with_prefix(values);
            hash.update(query);
            values = hash.finalize().into();
        }
        Write {
            method: self.out.method.clone(),
            path: SafePath::new(self.out.path.path()),
            values: BodyDigest::Values(values),
            body_sha256: Sha256::digest(&self.out.body).into(),
        }
    }

    /// Now, and until when this is to be remembered if it leaves.
    fn span(&self) -> RememberedSpan {
        let now = self.dispatcher.orders.now();
        RememberedSpan {
            now,
            until: now.after(day::remembered_for(self.dispatcher.orders.wall(), self.is_after_market())),
        }
    }

    fn is_after_market(&self) -> bool {
        self.wish.terms.iter().any(|terms| terms.after_market)
    }

    /// Does it take risk away?
    const fn takes_risk_away(&self) -> bool {
        self.endpoint.takes_risk_away()
    }

    /// Does the caller itself name this write, so that it can be repeated?
    fn is_named(&self) -> bool {
        self.wish.idempotency_key.is_some() || self.given_ids().next().is_some()
    }

    /// The ids that the caller chose, where they say which write it is.
    fn given_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        let made = self.wish.correlation.as_ref().and_then(Correlation::made);
        let counts = self.account.record.repeats_by == RepeatsBy::AnyId;
        self.wish.ids.iter().filter(move |id| counts && made != Some(*id))
    }

    fn keys(&self) -> Vec<WriteKey> {
        // As the journal writes them, which is where they are found after a restart.
        let word = |id: &Arc<str>| Arc::clone(SafeText::of(id).shared());
        let mut keys = Vec::with_capacity(2);
        match self.endpoint.write {
            Some(WriteKind::Create | WriteKind::Other) => {
                keys.extend(self.given_ids().map(|id| WriteKey::Correlation(word(id))));
                keys.extend(
                    self.wish
                        .correlation
                        .as_ref()
                        .and_then(Correlation::made)
                        .map(|id| WriteKey::Correlation(word(id))),
                );
            }
            // Ids there are mostly the order's own, echoed.
            Some(WriteKind::Change) => {
                let order = self.out.path.path().into();
                keys.push(WriteKey::Change { order, echoed: self.given_ids().next().is_some() });
            }
            Some(WriteKind::Cancel | WriteKind::ExitAll | WriteKind::KillSwitchOn) | None => {}
        }
        if let Some(key) = self.wish.idempotency_key.as_deref() {
            keys.push(WriteKey::Idempotency(Arc::clone(SafeText::new(key).shared())));
        }
        if !self.is_named() && !self.takes_risk_away() {
            keys.push(WriteKey::Twin(self.permission.twin(&self.wish.values)));
        }
        keys
    }

    fn lookup(&self) -> Lookup {
        let correlation = self.wish.correlation.as_ref().map(Correlation::id);
        Lookup::from_terms(&self.out.method, self.out.path.path(), correlation, &self.wish.terms)
    }

    const fn exempt(&self) -> Exempt {
        Exempt { halt: self.takes_risk_away() }
    }

    /// May it still leave? To be asked right before its intent.
    ///
    /// # Errors
    /// Why not; nothing was sent.
    fn may_leave(&self) -> Result<(), Problem> {
        self.permission.check(self.exempt())?;
        if !self.takes_risk_away() && self.arrival.gone.is_cancelled() {
            return Err(caller_gone());
        }
        if Instant::now() > self.leave_by {
            return Err(self.not_in_time("it had waited too long already"));
        }
        Ok(())
    }

    /// May it not be sent though its intent is written? To be asked right before its bytes.
    fn came_too_late(&self, now: Instant, awake: BootInstant) -> Option<Problem> {
        if self.takes_risk_away() {
            return None;
        }
        if self.arrival.gone.is_cancelled() {
            return Some(caller_gone());
        }
        let is_late = now > self.leave_by || awake > self.asleep_by;
        is_late
            .then(|| self.not_in_time("the disk took too long to take its line in the journal, or this machine slept"))
    }

    /// Wait for something that it needs before its intent, and give up when it may not leave any more. What is ready
    /// costs nothing.
    ///
    /// # Errors
    /// Why it was given up; nothing was sent.
    async fn wait<T>(&self, what: &'static str, wait: impl Future<Output = T>) -> Result<T, Problem> {
        tokio::select! {
            biased;
            done = wait => Ok(done),
            problem = self.given_up(what) => Err(problem),
        }
    }

    async fn given_up(&self, what: &'static str) -> Problem {
        let stays = self.takes_risk_away();
        let late = async {
            tokio::time::sleep_until(self.leave_by).await;
            // Whatever it waits for knows better why it does not come, and has the same deadline.
            tokio::task::yield_now().await;
        };
        tokio::select! {
            () = self.arrival.gone.cancelled(), if !stays => caller_gone(),
            by = self.place.turned_away(), if !stays => superseded(&by),
            problem = self.permission.lost(self.exempt()) => problem,
            () = late => self.not_in_time(what),
        }
    }

    fn not_in_time(&self, what: &str) -> Problem {
        let waited = humantime::format_duration(Duration::from_millis(
            u64::try_from(self.arrival.at.elapsed().as_millis()).unwrap_or(u64::MAX),
        ));
        let detail = format!(
            "it did not leave within orders.leave_within of its arrival ({waited} ago): {what}. It is safe to send it again"
        );
        Problem::before_sending(Code::NotInTime, detail)
    }
}

/// More of one account are under way than can leave in any time that a caller waits.
fn too_many() -> Problem {
    let detail = format!(
        "{MOST_IN_LINE} placements and changes of this account are under way already, and the broker takes some ten a \
         second; wait for their answers, and for what holds them up (see the account's token and legs)"
    );
    let mut problem = Problem::before_sending(Code::RateLimited, detail);
    problem.retry = Retry::After(Duration::from_secs(1));
    problem
}

fn caller_gone() -> Problem {
    let detail = "its caller closed the connection, or its side of it, before this had left, so it was not sent; an engine \
                  must wait for its answer";
    Problem::before_sending(Code::NotInTime, detail)
}

/// An exit came after it and before it had left.
fn superseded(by: &str) -> Problem {
    let detail = format!(
        "an exit-all or kill switch (request {by}) came before this had left, so it was not sent; send it again only if \
         the position is really wanted"
    );
    Problem::before_sending(Code::Superseded, detail)
}
