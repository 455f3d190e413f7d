//! The second way of an order write: it may have been sent and its reply was lost, so the broker is asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::Order;
use super::verdict::WriteReply;
use crate::dispatch::reconcile::LookupResult;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::domain::{Outcome, Role};
use crate::orders::idempotency::{Claim, WriteResult};
use crate::orders::journal::Entry;
use crate::orders::lookup::Lookup;
use crate::telemetry::access::Access;

/// A write whose answer was lost.
pub(super) struct LostReply<'a> {
    /// The right to say what became of it.
    pub(super) claim: Claim,
    /// Its line in the journal.
    pub(super) intent: &'a Entry,
    /// What it can be looked for by.
    pub(super) lookup: &'a Arc<Lookup>,
    /// A reply that proves nothing, if there was one.
    pub(super) last: Option<WriteReply>,
    /// How it was lost.
    pub(super) why: &'a str,
    pub(super) sent_at: Instant,
}

impl Order<'_> {
    /// The answer was lost: ask, from the other leg first, tell, and never send again.
    pub(super) async fn reconcile(&self, lost: LostReply<'_>, record: &mut Access) -> Result<Response<Body>, Problem> {
        let first = record.leg.map_or(Role::Primary, Role::other);
        let found = self.look_for(lost.lookup, first, self.reconcile_for, record).await;
        self.settle(lost, found, record).await
    }

    /// Ask what became of a write, from this leg first and at most for so long. The time is not the gateway's own.
    pub(super) async fn look_for(
        &self,
        lookup: &Arc<Lookup>,
        first: Role,
        at_most: Duration,
        record: &mut Access,
    ) -> LookupResult {
        let began = Instant::now();
        let found = self.dispatcher.look_for(lookup, self.account, &self.out.authority, first, at_most).await;
        record.looked_up += began.elapsed();
        found
    }

    pub(super) async fn settle(
        &self,
        lost: LostReply<'_>,
        found: LookupResult,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        let LostReply { mut claim, intent, lookup, last, why, sent_at } = lost;
        // The day that it belongs to is known better than before it left, if that was before the broker was heard.
        claim.keep_until(self.span().until);
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
                let reply = WriteReply::new(StatusCode::OK, headers, body);
                self.outcome(intent, outcome, Some(&reply), sent_at, true).await;
                claim.end(self.recorded(outcome, &reply, lookup, true));
                Ok(self.answer(reply, outcome, true, record))
            }
            LookupResult::Rejected(None) => {
                self.outcome(intent, Outcome::Rejected, None, sent_at, true).await;
                claim.end(WriteResult { outcome: Outcome::Rejected, recovered: true, ..self.unknown(lookup) });
                record.outcome = Some(Outcome::Rejected);
                let detail = format!("{why}; the order was over before and is as it was, so this did nothing");
                Err(Problem::new(Code::UpstreamFailed, detail, Outcome::Rejected))
            }
            LookupResult::NotFound => {
                self.outcome(intent, Outcome::Unknown, last.as_ref(), sent_at, false).await;
                if let Some(reply) = last {
                    claim.end(self.recorded(Outcome::Unknown, &reply, lookup, false));
                    return Ok(self.answer(reply, Outcome::Unknown, false, record));
                }
                claim.end(self.unknown(lookup));
                record.outcome = Some(Outcome::Unknown);
                let detail = format!(
                    "{why}, and the broker does not show what became of it; look in the order book before sending it again"
                );
                Err(Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown))
            }
        }
    }
}
