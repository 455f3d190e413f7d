//! Requests: each read whole, recorded, made to go wrong where that is wanted, answered.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming as Body;
use hyper::upgrade::OnUpgrade;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::broker::dhan::token::Claims;
use crate::domain::ClientId;

use super::door::ReplyBody;
use super::fault::{Action, Fate, Fault, Subject};
use super::reply::{self, Reply};
use super::seen::Seen;
use super::server::{BODY_LIMIT, Connection, UnderWay};
use super::stream::{host, name_only};
use super::tokens::TokenState;
use super::websocket;
use super::{api, clock, encoding, front, login, spelling};

/// The request gets no answer: its connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox ends the connection without an answer")]
struct Unanswered;

/// Marks a reply of which half is to be sent.
#[derive(Clone, Copy)]
struct Half;

/// Marks a reply whose `Date` is so far ahead of the broker's clock.
#[derive(Clone, Copy)]
struct Dated(SignedDuration);

pub(super) type Refused = Box<dyn Error + Send + Sync>;
type Answered = Result<Response<Full<Bytes>>, Refused>;

/// One request, and its answer as the broker's front sends it: dated by the broker's
/// clock, compressed where that is its habit.
pub(super) async fn respond(
    connection: Arc<Connection>,
    request: Request<Body>,
) -> Result<Response<ReplyBody>, Refused> {
    let _under_way = UnderWay::begin(&connection);
    let inner = Arc::clone(&connection.inner);
    let asked = request.headers().clone();
    let orders = request.version() != Version::HTTP_2 && front::is_order_back_end(&request);
    let response = answered(connection, request).await?;
    let half = response.extensions().get::<Half>().is_some();
    let ahead = response.extensions().get::<Dated>().map_or(SignedDuration::ZERO, |dated| dated.0);
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let (habits, now) = {
        let world = inner.world();
        (world.desk.habits.clone(), world.now())
    };
    let body = encoding::encode(habits.compression, &asked, &mut parts.headers, body);
    let recorded = habits.recorded_front && orders && parts.status != StatusCode::SWITCHING_PROTOCOLS;
    let body = match (half, recorded) {
        (true, _) => ReplyBody::half(&body),
        (false, true) => ReplyBody::chunked(body),
        (false, false) => ReplyBody::whole(body),
    };
    if recorded {
        front::as_recorded(&mut parts);
    }
    let date = clock::http_date(now.saturating_add(ahead).unwrap_or(now));
    if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
        parts.headers.insert(header::DATE, date);
    }
    Ok(Response::from_parts(parts, body))
}

/// One request: read whole, recorded, answered.
async fn answered(connection: Arc<Connection>, mut request: Request<Body>) -> Answered {
    let nth = connection.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let upgrade = websocket::wanted(&request).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(err) if err.is::<http_body_util::LengthLimitError>() => {
            return Ok(Reply::empty(StatusCode::PAYLOAD_TOO_LARGE).into_response());
        }
        Err(err) => return Err(err),
    };
    let (now, lax) = {
        let world = connection.inner.world();
        (world.now(), world.desk.habits.lax_paths)
    };
    let path = if lax { spelling::canonical(parts.uri.path()) } else { parts.uri.path().to_owned() };
    let mut arrived = Arrived { connection, parts, path, body, now };
    let (sequence, fault) = arrived.record(upgrade.is_some());
    if let Some(ms) = fault.as_ref().map(|fault| fault.after_ms).filter(|ms| *ms > 0) {
        arrived.connection.wait(ms).await;
        arrived.now = arrived.connection.inner.world().now();
    }
    let fault = fault.map(|fault| fault.action);
    let Some(Action::Late { ms }) = fault else { return arrived.carry_out(sequence, fault, nth, upgrade).await };
    // The broker has the request: it goes on although its caller does not wait for it.
    let tasks = arrived.connection.inner.tasks.clone();
    let later = async move {
        arrived.connection.wait(ms).await;
        arrived.now = arrived.connection.inner.world().now();
        arrived.carry_out(sequence, None, nth, upgrade).await
    };
    tasks.spawn(later).await?
}

/// A whole request and where it came from.
struct Arrived {
    connection: Arc<Connection>,
    parts: http::request::Parts,
    /// As the broker takes it.
    path: String,
    body: Bytes,
    /// The broker's clock.
    now: Timestamp,
}

impl Arrived {
    /// Do what was asked for, as far as the fault lets it, and answer.
    async fn carry_out(self, sequence: u64, fault: Option<Action>, nth: u64, upgrade: Option<OnUpgrade>) -> Answered {
        let connection = &self.connection;
        if let Some(refusal) = fault.as_ref().and_then(|fault| self.refusal(fault)) {
            return Ok(self.finish(sequence, refusal).into_response());
        }
        let reply = match (&fault, upgrade) {
            (Some(fault), _) if !fault.executes() => None,
            (fault, Some(upgrade)) => {
                if let Some(Action::Slow { ms }) = fault {
                    connection.wait(*ms).await;
                }
                return Ok(websocket::accept(&connection.inner, &self.parts, upgrade, sequence));
            }
            (fault, None) => Some(self.answer(Fate::of(fault.as_ref()))),
        };
        if let Some(reply) = &reply {
            connection.inner.world().seen.update(sequence, |seen| seen.executed = reply.executed);
        }
        match &fault {
            Some(Action::Close { .. }) => {
                connection.cut.cancel();
                return Err(Unanswered.into());
            }
            Some(Action::Hang { .. }) => {
                connection.inner.tasks.stopping().await;
                connection.cut.cancel();
                return Err(Unanswered.into());
            }
            Some(Action::BadGateway { .. }) => return Ok(self.finish(sequence, reply::bad_gateway()).into_response()),
            Some(Action::Html { status, .. }) => {
                return Ok(self.finish(sequence, reply::html(*status)).into_response());
            }
            Some(Action::Slow { ms }) => connection.wait(*ms).await,
            Some(
                Action::Refuse { .. }
                | Action::Verdict { .. }
                | Action::Quote { .. }
                | Action::Late { .. }
                | Action::RejectOrders { .. }
                | Action::LastOnConnection { .. }
                | Action::Dated { .. }
                | Action::CutOff { .. },
            )
            | None => {}
        }
        let reply = reply.unwrap_or_else(|| reply::not_found(&self.path, self.now));
        let mut response = self.finish(sequence, reply).into_response();
        if matches!(fault, Some(Action::CutOff { .. })) {
            response.extensions_mut().insert(Half);
        }
        if let Some(Action::Dated { ahead }) = fault {
            response.extensions_mut().insert(Dated(SignedDuration::from_secs(ahead)));
        }
        let last = matches!(fault, Some(Action::LastOnConnection { after }) if nth >= after);
        if last && self.parts.version != Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// The answer of a fault that refuses.
    fn refusal(&self, fault: &Action) -> Option<Reply> {
        match fault {
            Action::Refuse { status, body } => Some(reply::refused(*status, body)),
            Action::Verdict { says } => Some(says.reply(&self.path)),
            Action::Quote { what } => {
                let sent = self.parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
                Some(what.reply(sent, &self.parts.headers, &self.body))
            }
            Action::Close { .. }
            | Action::CutOff { .. }
            | Action::Hang { .. }
            | Action::BadGateway { .. }
            | Action::Html { .. }
            | Action::Slow { .. }
            | Action::Late { .. }
            | Action::RejectOrders { .. }
            | Action::LastOnConnection { .. }
            | Action::Dated { .. } => None,
        }
    }

    /// The first word of the host: `api`, `auth` and so on.
    fn service(&self) -> &str {
        self.host().map(name_only).and_then(|name| name.split('.').next()).unwrap_or_default()
    }

    fn host(&self) -> Option<&str> {
        host(&self.parts)
    }

    /// Write it into the record and see whether it is to go wrong.
    fn record(&self, websocket: bool) -> (u64, Option<Fault>) {
        let headers = &self.parts.headers;
        let token = text(headers, "access-token");
        let object: Option<Value> = serde_json::from_slice(&self.body).ok();
        let field = |name: &str| object.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let all = headers.iter().map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()));

        let mut world = self.connection.inner.world();
        let live = token.as_deref().map(|token| world.account_of(token, self.now));
        let account = match live {
            Some(TokenState::Live(client_id)) => Some(client_id),
            Some(TokenState::Dead | TokenState::Expired) | None => None,
        };
        // A dead token still says whose it was; faults are for an account's
        // traffic whatever its token is worth.
        let named = || {
            let claims = token.as_deref().and_then(|token| Claims::read(token).ok());
            claims.map(|claims| claims.client_id).or_else(|| ClientId::parse(text(headers, "client-id")?.as_str()).ok())
        };
        let login_of = (self.service() == "auth")
            .then(|| login::named(&world, self.parts.uri.query().unwrap_or_default(), &self.body))
            .flatten();
        let whose = account.clone().or_else(|| login_of.clone()).or_else(named);
        let fault = world.faults.take(&Subject {
            host: self.host().map(name_only).unwrap_or_default(),
            method: self.parts.method.as_str(),
            path: &self.path,
            client_id: whose.as_ref(),
        });
        let at = world.real(self.now);
        let sequence = world.seen.add(Seen {
            sequence: 0,
            at,
            peer: self.connection.peer,
            connection: self.connection.number,
            sni: self.connection.sni.clone(),
            host: self.host().map(str::to_owned),
            method: self.parts.method.to_string(),
            path_and_query: self.parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            version: format!("{:?}", self.parts.version),
            client_id_header: text(headers, "client-id"),
            dhan_client_id_header: text(headers, "dhanclientid"),
            body_client_id: field("dhanClientId"),
            correlation_id: field("correlationId"),
            body_length: self.body.len(),
            headers: all.collect(),
            token,
            account,
            login_of,
            websocket,
            executed: false,
            status: None,
        });
        (sequence, fault)
    }

    /// What the host that was asked for says.
    fn answer(&self, fate: Fate) -> Reply {
        let path = self.path.as_str();
        let answer = match self.service() {
            "auth" => login::answer,
            "images" => return reply::not_found(path, self.now),
            "api-order-update" | "api-feed" | "depth-api-feed" | "full-depth-api" => {
                return Reply::empty(StatusCode::UPGRADE_REQUIRED);
            }
            _ => api::answer,
        };
        let incoming = api::Incoming {
            method: &self.parts.method,
            path,
            query: self.parts.uri.query(),
            headers: &self.parts.headers,
            body: &self.body,
            two: self.parts.version == Version::HTTP_2,
            fate,
            peer: IpAddr::V6(*self.connection.peer.ip()).to_canonical(),
            now: self.now,
        };
        answer(&mut self.connection.inner.world(), &incoming)
    }

    /// Note the status that goes out.
    fn finish(&self, sequence: u64, reply: Reply) -> Reply {
        let status = reply.status.as_u16();
        self.connection.inner.world().seen.update(sequence, |seen| seen.status = Some(status));
        reply
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
