//! Requests to the broker's API: what they are, and for reads, signed and sent; once more when the broker refused the
//! token and `/profile` says that it is dead.
//!
//! A read's refusal proves nothing of the token: other back ends have refused live ones.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, header};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::admission::ListenerContext;
use super::destination::Target;
use super::forward::{self, Trace};
use super::order::{Order, Wish, limited};
use super::permission::Permission;
use super::reply::{Body, Code, Problem};
use super::{Inbound, Proxy, TunnelContext, form_of, legs, live, no_token, outgoing, sign};
use crate::accounts::Account;
use crate::broker::dhan::endpoints::{Spelling, classify, spelling};
use crate::broker::dhan::errors;
use crate::domain::{BootInstant, Outcome};
use crate::egress::decode;
use crate::orders::day;
use crate::orders::limits::RateRequest;
use crate::telemetry::access::Access;
use crate::tokens::mask::mask;
use crate::tokens::{By, LiveToken};

/// A refusal of the broker is a few hundred bytes; what is longer is something else.
const REFUSAL_LIMIT: usize = 16 * 1024;
/// How long an order write may take to leave, if its caller wants less than `orders.leave_within`.
const LEAVE_WITHIN: &str = "sixgate-leave-within";

impl Proxy {
    #[expect(
        clippy::too_many_arguments,
        reason = "what a request is made of; they become one value when the rooms move"
    )]
    pub(super) async fn api(
        &self,
        (door, request_id): (&ListenerContext, &Arc<str>),
        inside: Option<&TunnelContext>,
        account: &Account,
        asked: Inbound,
        mut target: Target,
        access: &mut Access,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Problem> {
        // One canonical form before anything is classified, keyed or refused.
        let endpoint = classify(&asked.method, target.path.path(), target.path.query());
        access.write = endpoint.is_write();
        if !endpoint.exact {
            match spelling(&asked.method, target.path.path(), target.path.query()) {
                Spelling::Right => {}
                Spelling::Corrected(path) => target.path = path,
                Spelling::Refused { right } => {
                    let detail = format!("the broker's path for this is {right}; another spelling of it is not sent");
                    return Err(Problem::before_sending(Code::BadRequest, detail));
                }
            }
        }
        if endpoint.is_write() {
            door.refuse_simple_writes(&asked.method, &endpoint, &asked.headers, &asked.body)?;
        }
        if asked.headers.contains_key(header::CONTENT_ENCODING) && !endpoint.takes_risk_away() {
            return Err(Problem::before_sending(Code::BadRequest, "an encoded body cannot be checked and signed"));
        }
        let idempotency_key = idempotency_key(&asked.headers)?;
        let today = day::of(self.orders.wall(), false);
        let key = idempotency_key.as_deref();
        let signed = sign::body(asked.body.clone(), &endpoint, account.client_id(), key, today)?;
        let settings = Arc::clone(&asked.settings);
        let arrival = asked.arrival.clone();
        if endpoint.is_write() {
            let form = form_of(&asked.target, inside);
            let tunnel = inside.map(|inside| &inside.admitted_by);
            let permission = Permission::new(door, account, &asked.headers, tunnel, form);
            let within = if endpoint.takes_risk_away() {
                settings.write_timeout
            } else {
                wanted(&asked.headers)?.unwrap_or(settings.leave_within).min(settings.leave_within)
            };
            let mut out = outgoing(asked, target);
            out.body = signed.body;
            out.may_repeat = false;
            out.limit = settings.write_timeout;
            let wish = Wish {
                correlation: signed.correlation,
                ids: signed.ids,
                idempotency_key,
                values: signed.value_sha256,
                terms: signed.terms.into(),
            };
            let lane = self.orders.lane(account.client_id());
            let leave_by = arrival.at + within;
            let order = Order {
                proxy: self,
                account,
                request_id,
                endpoint,
                out,
                wish,
                permission,
                leave_by,
                asleep_by: BootInstant::now() + leave_by.saturating_duration_since(Instant::now()),
                arrival,
                place: lane.exits.place(),
                lane,
                reconcile_for: settings.reconcile_for,
            };
            return order.run(trace).await;
        }
        let mut out = outgoing(asked, target);
        out.body = signed.body;
        out.may_repeat = endpoint.may_repeat(&out.method);
        let mut token = live(account, Instant::now() + out.limit).await?;
        let legs = legs(account)?;
        sign::headers(&mut out.headers, account, &token);
        let mut renewed = false;
        let gate = self.orders.gate(account.client_id());
        let digest = || Sha256::digest(&out.body).into();
        let ask = RateRequest::of(&out.method, out.path.path(), &endpoint, false, digest);
        out.counts = Some((Arc::clone(&gate), ask.clone()));
        loop {
            let limit = out.limit;
            // What may have left counts; a read that did not leave is forgotten within a second.
            let _counted = gate.enter(ask.clone()).await.map_err(|err| limited(&err))?;
            let asked = BootInstant::now();
            let reply = Box::pin(forward::send(legs, &out, trace)).await?;
            self.orders.heard(reply.headers(), asked);
            let (doubted, reply) = looked_at(reply, &token).await;
            if !doubted {
                return Ok(reply);
            }
            account.keeper.refused(token.generation(), By::Read);
            let next = account.token.wait(token.generation(), Instant::now() + limit).await;
            let next = next.map_err(|why| no_token(account, &why, Outcome::NotSent))?;
            // It lives, or nobody knows better: this back end's word is the caller's to see.
            if next.generation() == token.generation() {
                return Ok(reply);
            }
            token = next;
            // A second refusal is the caller's to see: the next request has the next token.
            if std::mem::replace(&mut renewed, true) {
                return Ok(reply);
            }
            sign::token(&mut out.headers, &token);
        }
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
