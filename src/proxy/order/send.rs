//! The first try of an order write, and what proves that another one is no second send.

use std::sync::Arc;

use http::Response;
use tokio::time::Instant;

use super::ending::LostReply;
use super::judge::{self, Reply, Verdict};
use super::lines::micros;
use super::{Order, limited, superseded};
use crate::broker::dhan::endpoints::WriteKind;
use crate::domain::{BootInstant, Outcome, Role};
use crate::egress::{Lease, Sent};
use crate::legs::{Leg, Legs, Purpose, Reuse};
use crate::orders::broker_clock::SentAt;
use crate::orders::exits::Stand;
use crate::orders::idempotency::{Claim, Write};
use crate::orders::journal::Entry;
use crate::orders::limits::{RateRequest, Reserved};
use crate::orders::lookup::Lookup;
use crate::proxy::forward::Trace;
use crate::proxy::reply::{Body, Code, Problem};
use crate::proxy::{headers, legs, live, no_token, sign};
use crate::tokens::{By, LiveToken};

/// How often a write that was handed back unsent goes on to a new connection.
const UNSENT_TRIES: u32 = 3;

/// What a try has to know of those before it.
struct Tries {
    /// How often nothing had been written.
    unsent: u32,
    /// Which connections will do.
    reuse: Reuse,
    /// Only this leg: the other one's address was refused.
    only: Option<Role>,
    /// The generation of the token that was refused; 0 for none.
    refused: u64,
    /// What is proven of it: not sent, or refused.
    proven: Outcome,
}

/// All that a write needs to leave.
struct Ready<'l> {
    token: Arc<LiveToken>,
    leg: &'l Leg,
    lease: Lease,
    reserved: Reserved,
}

/// What came of letting it leave.
enum Left {
    /// Nothing of it was written.
    NotAByte(String),
    /// An exit came, and goes first.
    Overtaken,
    /// It may have been sent: its line in the journal, when it was sent, and what the broker said.
    Sent(Box<Entry>, Instant, Verdict),
}

impl Order<'_> {
    /// # Errors
    /// The [`Problem`] to answer with.
    pub(super) async fn first(
        &mut self,
        claim: Claim,
        write: &Write,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Problem> {
        // A halt, a caller that is gone and a queue that was too long are found before anything is taken.
        self.may_leave()?;
        let is_exit = matches!(self.endpoint.write, Some(WriteKind::ExitAll | WriteKind::KillSwitchOn));
        let exit = is_exit.then(|| self.place.exit(self.request_id));
        let answered = self.send(claim, write, trace).await;
        if let Some(exit) = exit {
            let outcome = match &answered {
                Ok(_) => trace.outcome.unwrap_or(Outcome::Unknown),
                Err(problem) => problem.outcome,
            };
            match outcome {
                Outcome::NotSent | Outcome::Rejected => exit.refused(),
                Outcome::Executed | Outcome::Unknown => exit.may_have_been_taken(),
            }
        }
        answered
    }

    async fn send(&mut self, mut claim: Claim, write: &Write, trace: &mut Trace) -> Result<Response<Body>, Problem> {
        let trail = Arc::new(self.trail());
        let account = self.account;
        let legs = legs(account)?;
        let mut tries = Tries { unsent: 0, reuse: Reuse::Idle, only: None, refused: 0, proven: Outcome::NotSent };
        loop {
            let ready = self.ready(legs, &tries, trace).await;
            let ready = ready.map_err(|problem| proven(problem, &tries, trace))?;
            // An exit that came meanwhile goes first, and what was held for this one is let go.
            match self.stand() {
                Stand::Clear => {}
                Stand::Still => continue,
                Stand::TurnedAway(by) => return Err(proven(superseded(&by), &tries, trace)),
            }
            self.may_leave().map_err(|problem| proven(problem, &tries, trace))?;
            let (leg, generation) = (ready.leg, ready.token.generation());
            let left = self.leave(ready, write, &mut claim, &trail, trace).await;
            let (intent, sent_at, said) = match left.map_err(|problem| proven(problem, &tries, trace))? {
                Left::Sent(intent, sent_at, said) => (intent, sent_at, said),
                Left::Overtaken => continue,
                Left::NotAByte(why) => {
                    tries.unsent += 1;
                    if tries.unsent >= UNSENT_TRIES {
                        let detail = format!("{why}; it is safe to send it again");
                        let problem = Problem::new(Code::UpstreamFailed, detail, Outcome::NotSent);
                        return Err(proven(problem, &tries, trace));
                    }
                    tries.reuse = Reuse::Never;
                    continue;
                }
            };
            match said {
                Verdict::Settled(outcome, reply) => {
                    if outcome == Outcome::Rejected && reply.doubts_token() {
                        // Not in the words that prove it: `/profile` says whether it lives.
                        account.keeper.refused(generation, By::Read);
                    }
                    if outcome == Outcome::Executed && self.endpoint.static_ip {
                        leg.accepted_source();
                    }
                    self.outcome(&intent, outcome, Some(&reply), sent_at, false).await;
                    self.settled(&mut claim, outcome, &reply);
                    claim.end(self.recorded(outcome, &reply, &trail, false));
                    return Ok(self.answer(reply, outcome, false, trace));
                }
                Verdict::RefusesSource(reply) => {
                    leg.refused_source();
                    self.outcome(&intent, Outcome::Rejected, Some(&reply), sent_at, false).await;
                    claim.taken_back();
                    tries.proven = Outcome::Rejected;
                    match legs.other_than(leg.role(), self.purpose()) {
                        Some(other) if tries.only.is_none() && other.source() != leg.source() => {
                            tries.only = Some(other.role());
                        }
                        Some(_) | None => return Ok(self.refused(claim, reply, &trail, trace)),
                    }
                }
                Verdict::RefusesToken(reply) => {
                    account.keeper.refused(generation, By::Write);
                    self.outcome(&intent, Outcome::Rejected, Some(&reply), sent_at, false).await;
                    claim.taken_back();
                    tries.proven = Outcome::Rejected;
                    if std::mem::replace(&mut tries.refused, generation) != 0 {
                        return Ok(self.refused(claim, reply, &trail, trace));
                    }
                }
                Verdict::Nothing(reply) => {
                    let why = format!("the broker answered {}, which proves nothing", reply.status);
                    // A page or a redirect would be read as a refusal, or followed to a second send.
                    let last = reply.status.is_server_error().then_some(reply);
                    let lost = LostReply { claim, intent: &intent, trail: &trail, last, why: &why, sent_at };
                    return Box::pin(self.reconcile(lost, trace)).await;
                }
                Verdict::Lost(why) => {
                    let lost = LostReply { claim, intent: &intent, trail: &trail, last: None, why: &why, sent_at };
                    return Box::pin(self.reconcile(lost, trace)).await;
                }
            }
        }
    }

    /// Everything that has to be waited for: token, moment, connection. In this order, so that nothing scarce is held
    /// by who lacks the rest.
    async fn ready<'l>(&self, legs: &'l Legs, tries: &Tries, trace: &mut Trace) -> Result<Ready<'l>, Problem> {
        if !self.takes_risk_away() {
            let cleared = self.wait("an exit-all or kill switch that came after it is under way", self.place.clear());
            cleared.await?.map_err(|by| superseded(&by))?;
        }
        self.wait("no token came", self.token(tries.refused)).await??;
        let reserving = self.lane.gate.reserve(self.ask(), self.leave_by);
        let reserved = self.wait("its moment by the broker's limits did not come", reserving);
        let reserved = reserved.await?.map_err(|err| limited(&err))?;
        let dialled = self.wait("no connection was made", self.dial(legs, tries));
        let (leg, lease) = dialled.await?.map_err(|(code, text)| {
            trace.dial_error = Some(code);
            Problem::before_sending(Code::EgressUnavailable, text)
        })?;
        // It may have been renewed while this waited, which ends the one before.
        let token = self.token(tries.refused).await?;
        trace.changes = reserved.changes();
        Ok(Ready { token, leg, lease, reserved })
    }

    async fn token(&self, refused: u64) -> Result<Arc<LiveToken>, Problem> {
        let account = self.account;
        let found = match refused {
            0 => live(account, self.leave_by).await,
            refused => {
                let next = account.token.wait(refused, self.leave_by).await;
                next.map_err(|why| no_token(account, &why, Outcome::Rejected))
            }
        };
        match found {
            // One that is barred may still be taken, and a cancel may not wait for a person.
            Err(problem) if self.takes_risk_away() => account.token.last_resort().ok_or(problem),
            found => found,
        }
    }

    /// A connection from the leg that health chooses, or from the one that is meant.
    async fn dial<'l>(&self, legs: &'l Legs, tries: &Tries) -> Result<(&'l Leg, Lease), (&'static str, String)> {
        let (to, by) = (&self.out.authority, self.leave_by);
        match tries.only {
            None => {
                let leased = legs.lease(to, self.purpose(), tries.reuse, by).await;
                leased.map_err(|none| (none.code(), none.to_string()))
            }
            Some(role) => {
                let leg = legs.leg(role);
                let leased = leg.lease(to, self.purpose(), tries.reuse, by).await;
                leased.map(|lease| (leg, lease)).map_err(|err| (err.code(), err.chain()))
            }
        }
    }

    /// Intent, a last look, and away. From the intent on nothing stops it but that not a byte was written.
    ///
    /// # Errors
    /// The intent could not be written, or the limit not be counted: nothing was sent.
    async fn leave(
        &mut self,
        ready: Ready<'_>,
        write: &Write,
        claim: &mut Claim,
        trail: &Arc<Lookup>,
        trace: &mut Trace,
    ) -> Result<Left, Problem> {
        let Ready { token, leg, mut lease, reserved } = ready;
        sign::headers(&mut self.out.headers, self.account, &token);
        let takes_risk_away = self.takes_risk_away();
        headers::for_write(&mut self.out.headers, takes_risk_away);
        trace.leg = Some(leg.role());
        trace.source = Some(lease.source());
        let mut intent = Box::new(self.entry(write, leg.role(), lease.source(), &token));
        self.journal(&intent).await?;
        let sent_at = Instant::now();
        // The journal may have taken its time: the limit is what leaves now, and the broker closes what lies idle.
        let pass = match reserved.count(self.leave_by).await {
            Ok(pass) => pass,
            Err(err) => {
                self.outcome(&intent, Outcome::NotSent, None, sent_at, false).await;
                return Err(limited(&err));
            }
        };
        // It may have waited for an exit that took its room, and must not leave after it.
        if self.stand() != Stand::Clear {
            self.lane.gate.give_back(pass);
            self.outcome(&intent, Outcome::NotSent, None, sent_at, false).await;
            return Ok(Left::Overtaken);
        }
        if !lease.still_good() {
            self.lane.gate.give_back(pass);
            self.outcome(&intent, Outcome::NotSent, None, sent_at, false).await;
            return Ok(Left::NotAByte("the broker had closed the connection".to_owned()));
        }
        let (sent_at, left_at) = (Instant::now(), BootInstant::now());
        // The disk may have held the intent, or the machine slept: an engine that gave up does not expect this order.
        if let Some(problem) = self.came_too_late(sent_at, left_at) {
            self.lane.gate.give_back(pass);
            self.outcome(&intent, Outcome::NotSent, None, sent_at, false).await;
            return Err(problem);
        }
        claim.sending(self.unknown(trail));
        trail.leaves(SentAt::Here(left_at));
        let said = match lease.send(&self.out.message(), self.out.limit).await {
            Sent::NotSent(err) => {
                claim.taken_back();
                self.lane.gate.give_back(pass);
                self.outcome(&intent, Outcome::NotSent, None, sent_at, false).await;
                return Ok(Left::NotAByte(err.chain()));
            }
            Sent::Broken(err) => {
                leg.suspect();
                Verdict::Lost(err.chain())
            }
            Sent::Reply(reply) => {
                self.proxy.orders.heard(reply.headers(), left_at);
                judge::read(reply, self.out.limit).await
            }
        };
        let upstream = sent_at.elapsed();
        trace.upstream = Some(upstream);
        intent.upstream_us = Some(micros(upstream));
        Ok(Left::Sent(intent, sent_at, said))
    }

    /// The broker's refusal is the last word.
    fn refused(&self, claim: Claim, reply: Reply, trail: &Arc<Lookup>, trace: &mut Trace) -> Response<Body> {
        claim.end(self.recorded(Outcome::Rejected, &reply, trail, false));
        self.answer(reply, Outcome::Rejected, false, trace)
    }

    /// What takes risk away is in nobody's way and has nobody in its way.
    fn stand(&self) -> Stand {
        if self.takes_risk_away() { Stand::Clear } else { self.place.stand() }
    }

    const fn purpose(&self) -> Purpose {
        if self.takes_risk_away() { Purpose::TakesRiskAway } else { Purpose::OrderWrite }
    }

    fn ask(&self) -> RateRequest {
        RateRequest::of(&self.out.method, self.out.path.path(), &self.endpoint, self.takes_risk_away(), || {
            self.wish.values
        })
    }
}

/// A problem after tries that the broker refused: the caller hears what is proven.
fn proven(mut problem: Problem, tries: &Tries, trace: &mut Trace) -> Problem {
    if problem.outcome == Outcome::NotSent {
        problem.outcome = tries.proven;
    }
    trace.outcome = Some(problem.outcome);
    problem
}
