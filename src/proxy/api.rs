//! Requests to the broker's API: signed and sent, and once more when the broker
//! refused the token.
//!
//! A reply that refuses the token is proof that the broker did not act, so this is
//! safe for an order too.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, header};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::caller::Door;
use super::decode::decoded;
use super::forward::{self, Trace};
use super::order::{Order, limited};
use super::reply::{Body, Code, Problem};
use super::target::Target;
use super::{Inbound, Proxy, legs, live, no_token, outgoing, sign};
use crate::accounts::Account;
use crate::broker::dhan::endpoints::{Spelling, classify, spelling};
use crate::broker::dhan::errors;
use crate::domain::{Outcome, india};
use crate::orders::limits::Ask;
use crate::telemetry::access::Access;

/// A refusal of the broker is a few hundred bytes; what is longer is something else.
const REFUSAL_LIMIT: usize = 16 * 1024;

impl Proxy {
    pub(super) async fn api(
        &self,
        (door, request_id): (&Door, &Arc<str>),
        account: &Account,
        asked: Inbound,
        mut target: Target,
        access: &mut Access,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Problem> {
        let began = Instant::now();
        let endpoint = classify(&asked.method, target.path.path(), target.path.query());
        access.write = endpoint.is_write();
        if endpoint.is_write() {
            target.path = spelt(&asked.method, target.path)?;
            door.refuse_simple_writes(&asked.method, &endpoint, &asked.headers, &asked.body)?;
        }
        if asked.headers.contains_key(header::CONTENT_ENCODING) && !endpoint.takes_risk_away() {
            return Err(Problem::before_sending(Code::BadRequest, "an encoded body cannot be checked and signed"));
        }
        let idempotency_key = idempotency_key(&asked.headers)?;
        let day = india::local(Timestamp::now()).date();
        let signed = sign::body(asked.body.clone(), &endpoint, account.client_id(), idempotency_key.as_deref(), day)?;
        let (write_timeout, reconcile_for) = (asked.settings.write_timeout, asked.settings.reconcile_for);
        let mut out = outgoing(asked, target);
        out.body = signed.body;
        out.may_repeat = endpoint.may_repeat(&out.method);
        if endpoint.is_write() {
            out.limit = write_timeout;
            let correlation = signed.correlation;
            let proxy = self;
            let order =
                Order { proxy, account, request_id, endpoint, out, correlation, idempotency_key, began, reconcile_for };
            return order.run(trace).await;
        }
        let mut token = live(account, Instant::now() + out.limit).await?;
        let legs = legs(account)?;
        sign::headers(&mut out.headers, account, &token);
        let mut renewed = false;
        let gate = self.orders.gate(account.client_id());
        let digest = || Sha256::digest(&out.body).into();
        let ask = Ask::of(&out.method, out.path.path(), &endpoint, digest);
        loop {
            let limit = out.limit;
            // What may have left counts; a read that did not leave is forgotten within a second.
            let _counted = gate.enter(ask.clone()).await.map_err(|err| limited(&err))?;
            let reply = Box::pin(forward::send(legs, &out, trace)).await?;
            let (refused, reply) = refuses_token(reply).await;
            if !refused {
                return Ok(reply);
            }
            account.keeper.refused(token.generation());
            let next = account.token.wait(token.generation(), Instant::now() + limit).await;
            token = next.map_err(|why| no_token(account, &why, Outcome::NotSent))?;
            // A second refusal is the caller's to see: the next request has the next token.
            if std::mem::replace(&mut renewed, true) {
                return Ok(reply);
            }
            sign::token(&mut out.headers, &token);
        }
    }
}

/// The path of an order write in the one spelling that everything further on knows.
fn spelt(method: &Method, path: PathAndQuery) -> Result<PathAndQuery, Problem> {
    match spelling(method, path.path(), path.query()) {
        Spelling::Right => Ok(path),
        Spelling::Corrected(right) => Ok(right),
        Spelling::Refused { right } => {
            let detail = format!("the broker may or may not take {} for {right}; send it to {right}", path.path());
            Err(Problem::before_sending(Code::BadRequest, detail))
        }
    }
}

/// The caller's `Idempotency-Key`, a word of its own choice.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let (first, second) = (given.next(), given.next());
    let Some(value) = first else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|text| (1..=255).contains(&text.len()));
    match (text, second) {
        (Some(text), None) => Ok(Some(text.to_owned())),
        _ => Err(Problem::before_sending(
            Code::BadRequest,
            "Idempotency-Key is one field of 1 to 255 printable characters",
        )),
    }
}

/// Does this reply refuse the token? With it the reply, whole as it came.
async fn refuses_token(reply: Response<Body>) -> (bool, Response<Body>) {
    if !reply.status().is_client_error() {
        return (false, reply);
    }
    let (parts, body) = reply.into_parts();
    let (read, body) = body.peek(REFUSAL_LIMIT).await;
    let refused = read.and_then(|body| decoded(&parts.headers, &body, REFUSAL_LIMIT).ok()).is_some_and(|body| {
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        errors::refuses_token(&errors::Reply { status: parts.status.as_u16(), content_type, body: &body })
    });
    (refused, Response::from_parts(parts, body))
}
