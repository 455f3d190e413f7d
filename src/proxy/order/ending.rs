//! How an order write ends when its answer was lost, or when it came before.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::Order;
use super::judge::{Reply, hint, reply_of};
use crate::domain::{Outcome, Role};
use crate::orders::idempotency::{Claim, Write, WriteResult};
use crate::orders::journal::{Entry, Kind, SafeText};
use crate::orders::lookup::Lookup;
use crate::proxy::forward::Trace;
use crate::proxy::headers;
use crate::proxy::reconcile::LookupResult;
use crate::proxy::reply::{Body, Code, HINT, Problem, RECOVERED};
use crate::tokens::mask::mask;

/// A write whose answer was lost.
pub(super) struct LostReply<'a> {
    /// The right to say what became of it.
    pub(super) claim: Claim,
    /// Its line in the journal.
    pub(super) intent: &'a Entry,
    /// What it can be looked for by.
    pub(super) trail: &'a Arc<Lookup>,
    /// A reply that proves nothing, if there was one.
    pub(super) last: Option<Reply>,
    /// How it was lost.
    pub(super) why: &'a str,
    pub(super) sent_at: Instant,
}

impl Order<'_> {
    /// The broker's reply, as it came, with what we know of it.
    pub(super) fn answer(&self, reply: Reply, outcome: Outcome, recovered: bool, trace: &mut Trace) -> Response<Body> {
        let hint = hint(&reply, self.wish.ids.iter().map(AsRef::as_ref));
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
        trace.outcome = Some(outcome);
        trace.mark(answer.headers_mut());
        answer
    }

    /// The answer was lost: ask, from the other leg first, tell, and never send again.
    pub(super) async fn reconcile(&self, lost: LostReply<'_>, trace: &mut Trace) -> Result<Response<Body>, Problem> {
        let first = trace.leg.map_or(Role::Primary, Role::other);
        let found = self.proxy.look_for(lost.trail, self.account, &self.out.authority, first, self.reconcile_for).await;
        self.settle(lost, found, trace).await
    }

    /// It came before, and nobody knows what became of it: ask once more.
    pub(super) async fn ask_again(
        &self,
        claim: Claim,
        before: &WriteResult,
        write: &Write,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Problem> {
        let mut entry = self.line(Kind::Outcome, write);
        entry.correlation_id = before.correlation_id.as_deref().map(SafeText::new);
        let trail = Lookup::of_repeat(before.trail.as_ref(), self.trail());
        let found =
            self.proxy.look_for(&trail, self.account, &self.out.authority, Role::Primary, self.reconcile_for).await;
        let lost = LostReply {
            claim,
            intent: &entry,
            trail: &trail,
            last: (before.status >= 500).then(|| reply_of(before)),
            why: "the answer to the first try was lost",
            sent_at: Instant::now(),
        };
        self.settle(lost, found, trace).await
    }

    pub(super) async fn settle(
        &self,
        lost: LostReply<'_>,
        found: LookupResult,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Problem> {
        let LostReply { claim, intent, trail, last, why, sent_at } = lost;
        match found {
            LookupResult::Executed(_) | LookupResult::Rejected(Some(_)) => {
                let (outcome, body) = match found {
                    LookupResult::Executed(body) => (Outcome::Executed, body),
                    // The broker took the order, and then refused it.
                    LookupResult::Rejected(body) => (Outcome::Rejected, body.unwrap_or_default()),
                    LookupResult::NotFound => (Outcome::Unknown, Bytes::new()),
                };
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let reply = Reply::new(StatusCode::OK, headers, body);
                self.outcome(intent, outcome, Some(&reply), sent_at, true).await;
                claim.end(self.recorded(outcome, &reply, trail, true));
                Ok(self.answer(reply, outcome, true, trace))
            }
            LookupResult::Rejected(None) => {
                self.outcome(intent, Outcome::Rejected, None, sent_at, true).await;
                claim.end(WriteResult { outcome: Outcome::Rejected, recovered: true, ..self.unknown(trail) });
                trace.outcome = Some(Outcome::Rejected);
                let detail = format!("{why}; the order was over before and is as it was, so this did nothing");
                Err(Problem::new(Code::UpstreamFailed, detail, Outcome::Rejected))
            }
            LookupResult::NotFound => {
                self.outcome(intent, Outcome::Unknown, last.as_ref(), sent_at, false).await;
                if let Some(reply) = last {
                    claim.end(self.recorded(Outcome::Unknown, &reply, trail, false));
                    return Ok(self.answer(reply, Outcome::Unknown, false, trace));
                }
                claim.end(self.unknown(trail));
                trace.outcome = Some(Outcome::Unknown);
                let detail = format!(
                    "{why}, and the broker does not show what became of it; look in the order book before sending it again"
                );
                Err(Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown))
            }
        }
    }

    /// A write that came before and was settled: what it was answered with.
    pub(super) async fn repeat(&self, recorded: &WriteResult, trace: &mut Trace) -> Result<Response<Body>, Problem> {
        let mut reply = reply_of(recorded);
        if reply.body.is_empty() && recorded.outcome == Outcome::Executed {
            // Only the journal knows of it: the broker has the order itself.
            let trail = match &recorded.order_id {
                Some(id) => self.trail().whose_order_is(id),
                None => self.trail(),
            };
            if let LookupResult::Executed(body) =
                self.proxy.look_for(&trail, self.account, &self.out.authority, Role::Primary, self.reconcile_for).await
            {
                reply.body = body;
            } else if let Some(id) = &recorded.order_id {
                reply.body = serde_json::json!({ "orderId": id }).to_string().into();
            }
            reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        match recorded.outcome {
            Outcome::Unknown if recorded.status < 500 => {
                trace.outcome = Some(Outcome::Unknown);
                let detail =
                    "nobody knows what became of the first try; look in the order book before sending it again";
                Err(Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown))
            }
            Outcome::Rejected if recorded.status == 0 => {
                trace.outcome = Some(Outcome::Rejected);
                Err(Problem::new(Code::UpstreamFailed, "the first try did nothing", Outcome::Rejected))
            }
            outcome @ (Outcome::NotSent | Outcome::Rejected | Outcome::Executed | Outcome::Unknown) => {
                Ok(self.answer(reply, outcome, recorded.recovered, trace))
            }
        }
    }
}
