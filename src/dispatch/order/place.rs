//! The first way of an order write: it is placed, and what proves that another attempt is no second send.

use std::sync::Arc;

use http::Response;
use tokio::time::Instant;

use super::lines::micros;
use super::lost::LostReply;
use super::verdict::{self, Verdict, WriteReply};
use super::{Order, superseded};
use crate::broker::dhan::endpoints::WriteKind;
use crate::dispatch::ready::legs;
use crate::dispatch::reply::{Body, Code, Problem, limited};
use crate::dispatch::retry::{NextConnection, NextToken};
use crate::dispatch::{headers, sign};
use crate::domain::{BootInstant, NoAnswer, Outcome};
use crate::egress::Lease;
use crate::legs::{Leg, Legs, Purpose, Reuse};
use crate::orders::broker_clock::SentAt;
use crate::orders::exits::Stand;
use crate::orders::idempotency::{Claim, Write};
use crate::orders::journal::Entry;
use crate::orders::limits::{RateRequest, Reserved};
use crate::orders::lookup::Lookup;
use crate::telemetry::access::Access;
use crate::tokens::{By, LiveToken};

/// What a try has to know of those before it.
struct Tries<'a> {
    /// Which connection. Only one leg will do once the other one's address was refused.
    connection: NextConnection,
    /// Which token.
    token: NextToken<'a>,
    /// What is proven of it: not sent, or refused.
    proven: Outcome,
}

/// All that a write needs to leave.
struct ReadyToSend<'l> {
    token: Arc<LiveToken>,
    leg: &'l Leg,
    lease: Lease,
    reserved: Reserved,
}

/// What came of one attempt to send.
enum SendAttempt<'l> {
    /// Nothing of it was written: why.
    NotSent(String),
    /// An exit came, and goes first.
    Overtaken,
    /// It may have been sent, and what the broker said.
    Sent(SentWrite<'l>, Verdict),
}

/// A write that may have been sent.
struct SentWrite<'l> {
    /// By which leg.
    leg: &'l Leg,
    /// With the token of which generation.
    generation: u64,
    /// Its line in the journal.
    intent: Box<Entry>,
    at: Instant,
}

impl Order<'_> {
    /// Send it, with everything that stands in its way looked at first.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    pub(super) async fn first(
        &mut self,
        claim: Claim,
        write: &Write,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        // A halt, a caller that is gone and a queue that was too long are found before anything is taken.
        self.may_leave()?;
        let is_exit = matches!(self.endpoint.write, Some(WriteKind::ExitAll | WriteKind::KillSwitchOn));
        let exit = is_exit.then(|| self.place.exit(&self.request_id));
        let answered = self.send(claim, write, record).await;
        if let Some(exit) = exit {
            let outcome = match &answered {
                Ok(_) => record.outcome.unwrap_or(Outcome::Unknown),
                Err(problem) => problem.outcome,
            };
            match outcome {
                Outcome::NotSent | Outcome::Rejected => exit.refused(),
                Outcome::Executed | Outcome::Unknown => exit.may_have_been_taken(),
            }
        }
        answered
    }

    /// Attempt after attempt, as long as each proves that the broker did not act on it.
    async fn send(&mut self, mut claim: Claim, write: &Write, record: &mut Access) -> Result<Response<Body>, Problem> {
        let lookup = Arc::new(self.lookup());
        let account = self.account;
        let legs = legs(account)?;
        let mut tries = Tries {
            connection: NextConnection::first(Reuse::Idle),
            token: NextToken::first(account, By::Write),
            proven: Outcome::NotSent,
        };
        loop {
            let attempt = self.attempt(legs, &tries, write, &mut claim, &lookup, record).await;
            let (sent, verdict) = match attempt.map_err(|problem| proven(problem, &tries, record))? {
                SendAttempt::Sent(sent, verdict) => (sent, verdict),
                SendAttempt::Overtaken => continue,
                SendAttempt::NotSent(_) if tries.connection.after_unsent() => continue,
                SendAttempt::NotSent(why) => {
                    let detail = format!("{why}; it is safe to send it again");
                    let problem = Problem::new(Code::UpstreamFailed, detail, Outcome::NotSent);
                    return Err(proven(problem, &tries, record));
                }
            };
            let (outcome, reply) = match verdict {
                Verdict::Settled(outcome, reply) => {
                    if outcome == Outcome::Rejected && reply.doubts_token() {
                        // Not in the words that prove it: `/profile` says whether it lives.
                        account.keeper.refused(sent.generation, By::Read);
                    }
                    if outcome == Outcome::Executed && self.endpoint.static_ip {
                        sent.leg.accepted_source();
                    }
                    self.outcome(&sent.intent, outcome, Some(&reply), sent.at, false).await;
                    self.settled(&mut claim, outcome, &reply);
                    (outcome, reply)
                }
                Verdict::RefusesSource(reply) => {
                    sent.leg.refused_source();
                    self.refused(&sent, &reply, &mut claim, &mut tries).await;
                    match legs.other_than(sent.leg.role(), self.purpose()) {
                        Some(other) if tries.connection.only.is_none() && other.source() != sent.leg.source() => {
                            tries.connection.only = Some(other.role());
                            continue;
                        }
                        Some(_) | None => (Outcome::Rejected, reply),
                    }
                }
                Verdict::RefusesToken(reply) => {
                    let may_go_again = tries.token.after_refusal(sent.generation);
                    self.refused(&sent, &reply, &mut claim, &mut tries).await;
                    if may_go_again {
                        continue;
                    }
                    (Outcome::Rejected, reply)
                }
                Verdict::Nothing(reply) => {
                    let why = format!("the broker answered {}, which proves nothing", reply.status);
                    // A page or a redirect would be read as a refusal, or followed to a second send.
                    let last = reply.status.is_server_error().then_some(reply);
                    return Box::pin(self.reconcile(lost(claim, &sent, &lookup, last, &why), record)).await;
                }
                Verdict::Lost(why) => {
                    return Box::pin(self.reconcile(lost(claim, &sent, &lookup, None, &why), record)).await;
                }
            };
            // The broker's reply is the last word, and is in the journal.
            claim.end(self.recorded(outcome, &reply, &lookup, false));
            return Ok(self.answer(reply, outcome, false, record));
        }
    }

    /// One attempt: wait for what it needs, look whether it still may, and let it leave.
    ///
    /// # Errors
    /// Why it did not leave; nothing was sent.
    async fn attempt<'l>(
        &mut self,
        legs: &'l Legs,
        tries: &Tries<'_>,
        write: &Write,
        claim: &mut Claim,
        lookup: &Arc<Lookup>,
        record: &mut Access,
    ) -> Result<SendAttempt<'l>, Problem> {
        let ready = self.ready(legs, tries, record).await?;
        // An exit that came meanwhile goes first, and what was held for this one is let go.
        match self.stand() {
            Stand::Clear => {}
            Stand::Still => return Ok(SendAttempt::Overtaken),
            Stand::TurnedAway(by) => return Err(superseded(&by)),
        }
        self.may_leave()?;
        self.leave(ready, write, claim, lookup, record).await
    }

    /// The broker refused it, for its address or its token: nothing was done, and another attempt may do better.
    async fn refused(&self, sent: &SentWrite<'_>, reply: &WriteReply, claim: &mut Claim, tries: &mut Tries<'_>) {
        self.outcome(&sent.intent, Outcome::Rejected, Some(reply), sent.at, false).await;
        claim.taken_back();
        tries.proven = Outcome::Rejected;
    }

    /// Everything that has to be waited for: token, moment, connection. In this order, so that nothing scarce is held
    /// by who lacks the rest.
    async fn ready<'l>(
        &self,
        legs: &'l Legs,
        tries: &Tries<'_>,
        record: &mut Access,
    ) -> Result<ReadyToSend<'l>, Problem> {
        if !self.takes_risk_away() {
            let cleared = self.wait("an exit-all or kill switch that came after it is under way", self.place.clear());
            cleared.await?.map_err(|by| superseded(&by))?;
        }
        self.wait("no token came", self.token(&tries.token)).await??;
        let reserving = self.lane.gate.reserve(self.rate_request(), self.leave_by);
        let reserved = self.wait("its moment by the broker's limits did not come", reserving);
        let reserved = reserved.await?.map_err(|err| limited(&err))?;
        let leased = tries.connection.lease(legs, &self.out.authority, self.purpose(), self.leave_by);
        let leased = self.wait("no connection was made", leased).await?;
        let (leg, lease) = leased.map_err(|none| none.into_problem(record))?;
        // It may have been renewed while this waited, which ends the one before.
        let token = self.token(&tries.token).await?;
        record.changes = reserved.changes();
        Ok(ReadyToSend { token, leg, lease, reserved })
    }

    async fn token(&self, next: &NextToken<'_>) -> Result<Arc<LiveToken>, Problem> {
        match next.wait(self.leave_by).await {
            // One that is barred may still be taken, and a cancel may not wait for a person.
            Err(problem) if self.takes_risk_away() => self.account.token.last_resort().ok_or(problem),
            found => found,
        }
    }

    /// Intent, a last look, and away. From the intent on nothing stops it but that not a byte was written.
    ///
    /// # Errors
    /// The intent could not be written, or the limit not be counted: nothing was sent.
    async fn leave<'l>(
        &mut self,
        ready: ReadyToSend<'l>,
        write: &Write,
        claim: &mut Claim,
        lookup: &Arc<Lookup>,
        record: &mut Access,
    ) -> Result<SendAttempt<'l>, Problem> {
        let ReadyToSend { token, leg, mut lease, reserved } = ready;
        sign::headers(&mut self.out.headers, self.account, &token);
        let takes_risk_away = self.takes_risk_away();
        headers::for_write(&mut self.out.headers, takes_risk_away);
        // As the kernel reports it, and an account's own: no order leaves from an address that accounts share.
        let Some(source) = lease.source().leg() else {
            let detail = "the connection does not leave from the account's own address; the order was not sent";
            return Err(Problem::before_sending(Code::EgressUnavailable, detail));
        };
        record.leg = Some(leg.role());
        record.source = Some(source.into());
        let mut intent = Box::new(self.entry(write, leg.role(), source, &token));
        self.journal(&intent).await?;
        let written_at = Instant::now();
        // The journal may have taken its time: the limit is what leaves now, and the broker closes what lies idle.
        let permit = match reserved.count(self.leave_by).await {
            Ok(permit) => permit,
            Err(err) => {
                self.outcome(&intent, Outcome::NotSent, None, written_at, false).await;
                return Err(limited(&err));
            }
        };
        let obstacle = self.obstacle(&mut lease);
        // After the connection was asked, right before its bytes: whatever took its time is seen.
        let (at, left_at) = (Instant::now(), BootInstant::now());
        let stopped = obstacle.map(Ok).or_else(|| self.came_too_late(at, left_at).map(Err));
        if let Some(stopped) = stopped {
            self.lane.gate.refund(permit);
            self.outcome(&intent, Outcome::NotSent, None, at, false).await;
            return stopped;
        }
        claim.sending(self.unknown(lookup));
        lookup.leaves(SentAt::Here(left_at));
        let verdict = match lease.send(&self.out.message(), self.out.limit).await {
            Err(NoAnswer::NotSent(err)) => {
                claim.taken_back();
                self.lane.gate.refund(permit);
                self.outcome(&intent, Outcome::NotSent, None, at, false).await;
                return Ok(SendAttempt::NotSent(err.chain()));
            }
            Err(NoAnswer::Unknown(err)) => {
                leg.suspect();
                Verdict::Lost(err.chain())
            }
            Ok(reply) => {
                self.dispatcher.orders.heard(reply.headers(), left_at);
                verdict::read(reply, self.out.limit).await
            }
        };
        let upstream = at.elapsed();
        record.upstream = Some(upstream);
        intent.upstream_us = Some(micros(upstream));
        Ok(SendAttempt::Sent(SentWrite { leg, generation: token.generation(), intent, at }, verdict))
    }

    /// The last look, after its intent is written and its limit counted: is there an exit in its way, or has the broker
    /// closed the connection?
    fn obstacle<'l>(&self, lease: &mut Lease) -> Option<SendAttempt<'l>> {
        // It may have waited for an exit that took its room, and must not leave after it.
        if self.stand() != Stand::Clear {
            return Some(SendAttempt::Overtaken);
        }
        if !lease.still_good() {
            return Some(SendAttempt::NotSent("the broker had closed the connection".to_owned()));
        }
        None
    }

    /// What takes risk away is in nobody's way and has nobody in its way.
    fn stand(&self) -> Stand {
        if self.takes_risk_away() { Stand::Clear } else { self.place.stand() }
    }

    const fn purpose(&self) -> Purpose {
        if self.takes_risk_away() { Purpose::TakesRiskAway } else { Purpose::OrderWrite }
    }

    fn rate_request(&self) -> RateRequest {
        RateRequest::of(&self.out.method, self.out.path.path(), &self.endpoint, self.takes_risk_away(), || {
            self.wish.values
        })
    }
}

/// A problem after tries that the broker refused: the caller hears what is proven.
fn proven(mut problem: Problem, tries: &Tries<'_>, record: &mut Access) -> Problem {
    if problem.outcome == Outcome::NotSent {
        problem.outcome = tries.proven;
    }
    record.outcome = Some(problem.outcome);
    problem
}

/// A write that may have been sent, and whose reply says nothing of it.
fn lost<'w>(
    claim: Claim,
    sent: &'w SentWrite<'_>,
    lookup: &'w Arc<Lookup>,
    last: Option<WriteReply>,
    why: &'w str,
) -> LostReply<'w> {
    LostReply { claim, intent: &sent.intent, lookup, last, why, sent_at: sent.at }
}
