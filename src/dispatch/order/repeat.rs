//! The third way of an order write: it came before, and is answered with what became of it then.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use tokio::time::Instant;

use super::Order;
use super::lost::LostReply;
use super::verdict::reply_of;
use crate::dispatch::reconcile::LookupResult;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::domain::{Outcome, Role};
use crate::orders::idempotency::{Claim, Write, WriteResult};
use crate::orders::journal::{Kind, SafeText};
use crate::orders::lookup::Lookup;
use crate::telemetry::access::Access;

impl Order<'_> {
    /// Say in the reply, the access line and the journal that this is answered with what became of another request.
    pub(super) fn is_repeat_of(&self, first: Arc<str>, record: &mut Access) {
        self.account.repeats.note(self.dispatcher.orders.wall());
        self.note_repeat(&first);
        record.repeat_of = Some(first);
    }

    /// A write that came before and was settled: what it was answered with.
    pub(super) async fn repeat(&self, recorded: &WriteResult, record: &mut Access) -> Result<Response<Body>, Problem> {
        let mut reply = reply_of(recorded);
        if reply.body.is_empty() && recorded.outcome == Outcome::Executed {
            // Only the journal knows of it: the broker has the order itself.
            let lookup = match &recorded.order_id {
                Some(id) => self.lookup().whose_order_is(id),
                None => self.lookup(),
            };
            if let LookupResult::Executed(body) = self
                .dispatcher
                .look_for(&lookup, self.account, &self.out.authority, Role::Primary, self.reconcile_for)
                .await
            {
                reply.body = body;
            } else if let Some(id) = &recorded.order_id {
                reply.body = serde_json::json!({ "orderId": id }).to_string().into();
            }
            reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        match recorded.outcome {
            Outcome::Unknown if recorded.status < 500 => {
                record.outcome = Some(Outcome::Unknown);
                let detail =
                    "nobody knows what became of the first try; look in the order book before sending it again";
                Err(Problem::new(Code::OutcomeUnknown, detail, Outcome::Unknown))
            }
            Outcome::Rejected if recorded.status == 0 => {
                record.outcome = Some(Outcome::Rejected);
                Err(Problem::new(Code::UpstreamFailed, "the first try did nothing", Outcome::Rejected))
            }
            outcome @ (Outcome::NotSent | Outcome::Rejected | Outcome::Executed | Outcome::Unknown) => {
                Ok(self.answer(reply, outcome, recorded.recovered, record))
            }
        }
    }

    /// It came before, and nobody knows what became of it: ask once more.
    pub(super) async fn look_up_again(
        &self,
        claim: Claim,
        before: &WriteResult,
        write: &Write,
        record: &mut Access,
    ) -> Result<Response<Body>, Problem> {
        let mut entry = self.line(Kind::Outcome, write);
        entry.correlation_id = before.correlation_id.as_deref().map(SafeText::new);
        let lookup = Lookup::of_repeat(before.lookup.as_ref(), self.lookup());
        let found = self
            .dispatcher
            .look_for(&lookup, self.account, &self.out.authority, Role::Primary, self.reconcile_for)
            .await;
        let lost = LostReply {
            claim,
            intent: &entry,
            lookup: &lookup,
            last: (before.status >= 500).then(|| reply_of(before)),
            why: "the answer to the first try was lost",
            sent_at: Instant::now(),
        };
        self.settle(lost, found, record).await
    }

    /// The id is another write's: what became of that one.
    pub(super) fn conflict(known: Option<&WriteResult>, record: &mut Access) -> Problem {
        let outcome = known.map_or(Outcome::Unknown, |known| known.outcome);
        let first = match known {
            None => "is still under way".to_owned(),
            Some(known) => {
                let order = known.order().map(|id| format!(", order {id}")).unwrap_or_default();
                format!("is {}{order}", outcome.as_str())
            }
        };
        let first_id = record.repeat_of.as_deref().unwrap_or_default();
        let detail = format!(
            "this correlationId or Idempotency-Key came today with another body, method or path (request {first_id}), and that \
             one {first}; nothing was sent now. Give this one an id of its own only if it is really a new order"
        );
        record.outcome = Some(outcome);
        Problem::new(Code::IdempotencyConflict, detail, outcome)
    }
}
