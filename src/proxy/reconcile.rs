//! Asking the broker what became of a write whose answer was lost.
//!
//! On both legs in turn, for up to `orders.reconcile_for`: the line that lost the
//! answer may be dead, and reading needs no registered address.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use tokio::time::Instant;

use super::decode::decoded;
use super::forward::Outgoing;
use super::reply::Body;
use super::{Proxy, sign};
use crate::accounts::Account;
use crate::broker::dhan::endpoints::classify;
use crate::broker::dhan::errors;
use crate::domain::{Authority, Role};
use crate::egress::Sent;
use crate::legs::{Leg, Reuse};
use crate::orders::limits::Ask;
use crate::orders::trail::{Finding, Trail};
use crate::tokens::LiveToken;

/// What came of looking for a lost write.
pub(super) enum Looked {
    /// It was carried out: the body of the reply that was lost.
    Executed(Bytes),
    /// It cannot have been.
    Rejected,
    /// Nobody can say.
    NotFound,
}

/// The longest that one question may take; half of the time that there is, if that is
/// less, so that both legs get one.
const QUESTION: Duration = Duration::from_secs(2);

/// Between two questions, growing: an order may show a moment after it was taken.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

/// An order book of a busy day.
const BOOK_LIMIT: usize = 16 * 1024 * 1024;

impl Proxy {
    /// Look for a write that `account` sent to `to`, from the leg `first` and the other
    /// in turn, for up to `patience`.
    pub(super) async fn look_for(
        &self,
        trail: &Trail,
        account: &Account,
        to: &Authority,
        first: Role,
        patience: Duration,
    ) -> Looked {
        let paths = trail.paths();
        let Some(legs) = account.legs.as_ref().filter(|_| !paths.is_empty()) else { return Looked::NotFound };
        let by = Instant::now() + patience;
        let longest = QUESTION.min(patience / 2);
        let gate = self.orders.gate(account.client_id());
        let both = [legs.leg(first), legs.leg(first.other())];
        let mut pause = PAUSES.0;
        // Each leg asks each path before any is asked again.
        let rounds = paths.iter().flat_map(|path| both.map(|leg| (path, leg))).collect::<Vec<_>>();
        for (path, leg) in rounds.into_iter().cycle() {
            if Instant::now() >= by {
                break;
            }
            let Ok(token) = account.token.wait(0, by).await else { break };
            // The broker counts questions too.
            let ask = Ask::of(&Method::GET, path, &classify(&Method::GET, path, None), Default::default);
            let counted = matches!(tokio::time::timeout_at(by, gate.enter(ask)).await, Ok(Ok(_)));
            let limit = by.saturating_duration_since(Instant::now()).min(longest);
            let answer = if counted { question(account, &token, leg, to, path, limit).await } else { None };
            if let Some((status, body)) = answer {
                let refusal = errors::Reply { status, content_type: None, body: &body };
                if (400..500).contains(&status) && errors::refuses_token(&refusal) {
                    account.keeper.refused(token.generation());
                }
                match trail.read(status, &body) {
                    Finding::Executed { body, .. } => return Looked::Executed(body.to_string().into()),
                    Finding::Rejected => return Looked::Rejected,
                    Finding::Open => {}
                }
            }
            tokio::time::sleep_until((Instant::now() + pause).min(by)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        Looked::NotFound
    }
}

/// One question, by one leg. `None` when there was no answer.
async fn question(
    account: &Account,
    token: &LiveToken,
    leg: &Leg,
    to: &Authority,
    path: &str,
    limit: Duration,
) -> Option<(u16, Bytes)> {
    let path: PathAndQuery = path.parse().ok()?;
    let ask = async {
        // What lost the answer has had its leg's idle connections forgotten (`Leg::suspect`), so
        // one that lies idle is of another question, and good.
        let lease = leg.lease(to, Reuse::Idle).await.ok()?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        sign::headers(&mut headers, account, token);
        match lease.send(&Outgoing::read(to.clone(), path, headers, limit).message(), limit).await {
            Sent::Reply(reply) => {
                let (parts, body) = reply.into_parts();
                let (body, _) = Body::Broker(Box::new(body)).peek(BOOK_LIMIT).await;
                // What cannot be read says nothing, as no answer does.
                Some((parts.status.as_u16(), decoded(&parts.headers, &body?, BOOK_LIMIT).ok()?))
            }
            Sent::NotSent(_) => None,
            Sent::Broken(_) => {
                leg.suspect();
                None
            }
        }
    };
    let answer = tokio::time::timeout(limit, ask).await.ok().flatten();
    if answer.is_none() {
        tracing::info!(account = %account.name, leg = leg.role().as_str(), at = %Timestamp::now(),
            "a question about a lost order write was not answered");
    }
    answer
}
