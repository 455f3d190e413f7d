//! After a restart: asking what became of the writes that were under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::Method;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::Dispatcher;
use super::order::events::{event, order_ids};
use super::reconcile::LookupResult;
use crate::accounts::{Account, Accounts};
use crate::domain::tasks::Tasks;
use crate::domain::{Outcome, Role};
use crate::orders::idempotency::{Admission, RememberedSpan, Requester, WriteResult};
use crate::orders::journal::SafeText;
use crate::orders::lookup::order_of;
use crate::orders::restore::{Unsettled, lookup_of};
use crate::telemetry::events::Subject;

/// Accounts asked about at once.
const AT_ONCE: usize = 8;

/// How long an account may take to have a token after a start.
const TOKEN: Duration = Duration::from_secs(180);

impl Dispatcher {
    /// Ask the broker about every write whose end the journal does not tell, for up to `patience` each, and write down
    /// what is found. A repeat that comes meanwhile waits for it, or asks itself.
    pub async fn settle(
        &self,
        accounts: &Accounts,
        unsettled: Vec<Unsettled>,
        patience: impl Fn() -> Duration,
        tasks: &Tasks,
    ) {
        if unsettled.is_empty() {
            return;
        }
        tracing::warn!(
            count = unsettled.len(),
            "order writes were cut off by the last stop; asking the broker about them"
        );
        let patience = &patience;
        let look_up = |one: Unsettled| async move { self.settle_one(accounts, &one, patience, tasks).await };
        stream::iter(unsettled).for_each_concurrent(AT_ONCE, look_up).await;
    }

    async fn settle_one(&self, accounts: &Accounts, one: &Unsettled, patience: &impl Fn() -> Duration, tasks: &Tasks) {
        let claim = match one.keys.is_empty() {
            true => None,
            false => match self.take(one) {
                Admission::Unknown(_, claim, _) => Some(claim),
                // Somebody who repeats it was faster.
                Admission::Fresh(_) | Admission::Done(..) | Admission::UnderWay(..) => return,
                // Its correlation id is a label, and a later write's by now.
                Admission::Conflict(..) => None,
            },
        };
        let account = accounts.lookup(one.account.as_str()).filter(|row| *row.client_id() == one.customer);
        let look = async {
            match (&account, &one.intent.target) {
                (Some(account), Some(to)) if is_ready(account).await => {
                    self.look_for(&lookup_of(&one.intent), account, to, Role::Primary, patience()).await
                }
                _ => LookupResult::NotFound,
            }
        };
        // What is found is written down and remembered, also while the gateway stops: dropped between the two, a repeat
        // that still came would be told that nobody knows, after the journal had said what became of it.
        let looked = tokio::select! {
            biased;
            looked = look => looked,
            // It is asked about at the next start.
            () = tasks.stopping() => return,
        };
        // A line that nobody knows would keep the next start from asking, and a stop may be why nothing was found.
        if matches!(looked, LookupResult::NotFound) && tasks.is_stopping() {
            return;
        }
        let (outcome, body) = match looked {
            LookupResult::Executed(body) => (Outcome::Executed, Some(body)),
            LookupResult::Rejected(body) => (Outcome::Rejected, body),
            LookupResult::NotFound => (Outcome::Unknown, None),
        };
        let mut line = one.intent.outcome(outcome, self.orders.stamp());
        line.order_id = body.as_ref().and_then(|body| order_ids(body));
        line.recovered = (outcome != Outcome::Unknown).then_some(true);
        let published = line.clone();
        self.orders.events.publish(Subject::Order, &one.account, move || event(&published));
        if let Err(err) = self.orders.journal.append_durable(&line).await {
            tracing::error!(account = %one.account, error = %err, "what was found of a cut-off order could not be written down");
        }
        tracing::info!(account = %one.account, outcome = outcome.as_str(), order_id = line.order_id.as_ref().map(SafeText::as_str),
            method = one.intent.method.as_ref().map(Method::as_str), "an order write that was cut off was asked about");
        if let Some(claim) = claim {
            claim.end(WriteResult {
                outcome,
                status: if body.is_some() { 200 } else { 0 },
                content_type: body.as_ref().map(|_| "application/json".into()),
                order_id: body.as_ref().and_then(|body| order_of(body)),
                body: body.unwrap_or_default(),
                correlation_id: one.intent.correlation_id.as_ref().map(|id| Arc::clone(id.shared())),
                recovered: outcome != Outcome::Unknown,
                lookup: (outcome == Outcome::Unknown).then(|| Arc::new(lookup_of(&one.intent))),
            });
        }
    }

    fn take(&self, one: &Unsettled) -> Admission {
        let request_id = one.intent.request_id.as_ref().map_or_else(|| "".into(), |id| Arc::clone(id.shared()));
        let requester = Requester { request_id, gone: CancellationToken::new() };
        // It is remembered for as long as it is already.
        let now = self.orders.now();
        self.orders.idempotency.take(
            &one.customer,
            &one.keys,
            &one.write,
            &requester,
            RememberedSpan { now, until: now },
        )
    }
}

/// Has the account legs, and soon a token?
async fn is_ready(account: &Account) -> bool {
    account.legs.is_some() && account.token.wait(0, Instant::now() + TOKEN).await.is_ok()
}
