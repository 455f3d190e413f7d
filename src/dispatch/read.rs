//! Requests to the broker's API: what they ask for; and those that are no order writes, signed and sent, once more when
//! the broker refused the token and `/profile` says that it is dead.
//!
//! A read's refusal proves nothing of the token: other back ends have refused live ones.

use std::sync::Arc;

use http::{HeaderMap, Response, header};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::context::{Arrival, Dispatcher, Timing};
use super::ready::legs;
use super::reply::{Body, Code, Problem, limited};
use super::retry::NextToken;
use super::send::{UpstreamRequest, send};
use super::sign;
use crate::accounts::Account;
use crate::broker::dhan::endpoints::Endpoint;
use crate::broker::dhan::errors;
use crate::domain::BootInstant;
use crate::egress::decode;
use crate::orders::day;
use crate::orders::limits::RateRequest;
use crate::telemetry::access::Access;
use crate::tokens::mask::mask;
use crate::tokens::{By, LiveToken};

/// A refusal of the broker is a few hundred bytes; what is longer is something else.
const REFUSAL_LIMIT: usize = 16 * 1024;
/// A request to the broker's API for one account, as its caller sent it: not signed yet.
pub struct ApiRequest<'a> {
    /// Whose it is.
    pub account: &'a Account,
    /// What the broker's endpoint table says of its method and path, which is spelled as the broker spells it.
    pub endpoint: Endpoint,
    /// Where it goes, its method, path, headers and body.
    pub out: UpstreamRequest,
    /// When it came, and whether its caller waits.
    pub arrival: Arrival,
    /// How long each part of it may take.
    pub timing: Timing,
}

/// What an API request asks for, read from its body and headers, and its body as the broker is to get it.
pub(super) struct PreparedRequest {
    pub(super) signed: sign::Signed,
    /// The caller's `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
}

impl ApiRequest<'_> {
    /// Read what it asks for, and make its body the account's.
    ///
    /// # Errors
    /// 400 `bad_request` or 403 `client_id_mismatch`; nothing was sent.
    pub(super) fn read(&self, dispatcher: &Dispatcher) -> Result<PreparedRequest, Problem> {
        if self.out.headers.contains_key(header::CONTENT_ENCODING) && !self.endpoint.takes_risk_away() {
            return Err(Problem::before_sending(Code::BadRequest, "an encoded body cannot be checked and signed"));
        }
        let idempotency_key = idempotency_key(&self.out.headers)?;
        let today = day::of(dispatcher.orders.wall(), false);
        let key = idempotency_key.as_deref();
        let signed = sign::body(self.out.body.clone(), &self.endpoint, self.account.client_id(), key, today)?;
        Ok(PreparedRequest { signed, idempotency_key })
    }
}

impl Dispatcher {
    /// Send what is no order write, and once more with a newer token where the broker refused the first.
    ///
    /// # Errors
    /// The `Problem` to answer with.
    ///
    /// Not cancel-safe: what was sent may be carried out.
    pub async fn read(&self, request: ApiRequest<'_>, record: &mut Access) -> Result<Response<Body>, Problem> {
        let PreparedRequest { signed, .. } = request.read(self)?;
        let ApiRequest { account, endpoint, mut out, .. } = request;
        out.body = signed.body;
        out.may_repeat = endpoint.may_repeat(&out.method);
        let mut tokens = NextToken::first(account, By::Read);
        let mut token = tokens.wait(Instant::now() + out.limit).await?;
        let legs = legs(account)?;
        sign::headers(&mut out.headers, account, &token);
        let gate = self.orders.gate(account.client_id());
        let digest = || Sha256::digest(&out.body).into();
        let rate_request = RateRequest::of(&out.method, out.path.path(), &endpoint, false, digest);
        out.counts = Some((Arc::clone(&gate), rate_request.clone()));
        loop {
            let limit = out.limit;
            // What may have left counts; a read that did not leave is forgotten within a second.
            let _counted = gate.enter(rate_request.clone()).await.map_err(|err| limited(&err))?;
            let asked = BootInstant::now();
            let reply = Box::pin(send(legs, &out, record)).await?;
            self.orders.heard(reply.headers(), asked);
            let (doubted, reply) = looked_at(reply, &token).await;
            if !doubted {
                return Ok(reply);
            }
            let may_go_again = tokens.after_refusal(token.generation());
            let next = tokens.wait(Instant::now() + limit).await?;
            // The same one lives, or nobody knows better: this back end's word is the caller's to see.
            if !may_go_again || next.generation() == token.generation() {
                return Ok(reply);
            }
            token = next;
            sign::token(&mut out.headers, &token);
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

/// Does this reply say anything against the token? With it the reply, whole as it came, but for the token where the
/// broker quotes it.
async fn looked_at(reply: Response<Body>, token: &LiveToken) -> (bool, Response<Body>) {
    if reply.status().is_success() {
        return (false, reply);
    }
    let (mut parts, body) = reply.into_parts();
    let (read, body) = body.peek(REFUSAL_LIMIT).await;
    let Some(read) = read.and_then(|read| decode::decoded(&parts.headers, &read, REFUSAL_LIMIT).ok()) else {
        return (false, Response::from_parts(parts, body));
    };
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let refusal = errors::Reply { status: parts.status.as_u16(), content_type, body: &read };
    let doubted = parts.status.is_client_error() && errors::doubts_token(&refusal);
    let masked = mask(&read, &[&token.secret()]);
    if masked == read {
        return (doubted, Response::from_parts(parts, body));
    }
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    (doubted, Response::from_parts(parts, Body::from(masked)))
}
