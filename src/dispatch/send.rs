//! Sending what is no order write, and what of it may be tried again.
//!
//! A request goes another way while nothing of it had been written: a leg that could
//! not be dialled, or a connection that gave the request back. A read that broke is
//! repeated once, on a new connection; what may do more than read is not. One that got no
//! reply in time is repeated by the other leg, and an answer there says that this leg loses
//! replies: reads go by the other one then (`legs::health`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::headers;
use super::reply::{self, Body, Code, Problem};
use super::retry::NextConnection;
use crate::domain::{Authority, NoAnswer, Outcome};
use crate::egress::{Message, SendError};
use crate::legs::{Leg, Legs, Purpose, Reuse};
use crate::orders::limits::{RateLimiter, RateRequest};
use crate::telemetry::access::Access;

/// A request that is ready to leave. No `Debug`: a feed's token stands in its path.
pub struct UpstreamRequest {
    /// Where to.
    pub authority: Authority,
    /// How.
    pub method: Method,
    /// Signed where the service signs there.
    pub path: PathAndQuery,
    /// Signed.
    pub headers: HeaderMap,
    /// Signed.
    pub body: Bytes,
    /// May it be sent again when it may have arrived?
    pub may_repeat: bool,
    /// How long the reply's head may take.
    pub limit: Duration,
    /// Does it ask for other bytes than HTTP (a WebSocket)?
    pub upgrade: bool,
    /// Is the account's token in its path? Then the reply must not repeat it.
    pub secret_path: bool,
    /// What it counts against, where the broker limits it: sent again, it counts again.
    pub counts: Option<(Arc<RateLimiter>, RateRequest)>,
}

/// Send it, and make the broker's answer the caller's.
///
/// # Errors
/// The [`Problem`] to answer with.
///
/// Not cancel-safe: what was sent may be carried out.
pub(crate) async fn send(legs: &Legs, out: &UpstreamRequest, record: &mut Access) -> Result<Response<Body>, Problem> {
    let mut next = NextConnection::first(if out.upgrade { Reuse::ForUpgrade } else { Reuse::Idle });
    let mut repeated = false;
    // The leg by which it got no reply in time, and why.
    let mut silent: Option<(&Leg, SendError)> = None;
    let mut dial_by = Instant::now() + out.limit;
    loop {
        if let Some((one, err)) = &silent {
            // By the other one only, if that works, for however long.
            let other = legs.other_than(one.role(), Purpose::Read).filter(|other| other.works());
            next.only = Some(other.ok_or_else(|| out.failed(err, Outcome::Unknown))?.role());
        }
        let leased = next.lease_any(legs, &out.authority, dial_by.into()).await;
        let (leg, lease) = leased.map_err(|none| match &silent {
            Some((_, err)) => out.failed(err, Outcome::Unknown),
            None => none.into_problem(record),
        })?;
        record.leg = leg.map(Leg::role);
        record.source = Some(lease.source());
        let began = Instant::now();
        let sent = lease.send(&out.message(), out.limit).await;
        record.upstream = Some(began.elapsed());
        if matches!(sent, Err(NoAnswer::Unknown(_))) {
            leg.map_or_else(|| legs.suspect_ipv4(), Leg::suspect);
        }
        match sent {
            // Nobody asked for other bytes: what they mean, and where a reply to the
            // next request would begin, is not known.
            Ok(reply) if reply.status() == StatusCode::SWITCHING_PROTOCOLS && !out.upgrade => {
                let detail = "the broker answered 101 to a request that asked for no upgrade";
                return Err(Problem::new(Code::UpstreamFailed, detail, Outcome::Unknown));
            }
            Ok(reply) => {
                if let Some((silent, _)) = silent {
                    silent.gave_no_reply(&out.authority);
                }
                return Ok(out.answer(reply.map(|body| Body::Broker(Box::new(body))), record));
            }
            Err(NoAnswer::NotSent(err)) => {
                if !next.after_unsent() {
                    return Err(out.failed(&err, Outcome::NotSent));
                }
            }
            Err(NoAnswer::Unknown(err)) => {
                // A handshake that got no reply is its host's matter: streams are opened anew by who listens.
                let is_silent = matches!(err, SendError::TimedOut(_));
                // Over IPv4 there is no other way to try.
                let is_last = is_silent && (out.upgrade || leg.is_none());
                if repeated || is_last || !out.may_go_again().await {
                    return Err(out.failed(&err, Outcome::Unknown));
                }
                repeated = true;
                next.must_be_new();
                dial_by = Instant::now() + out.limit;
                silent = leg.filter(|_| is_silent).map(|leg| (leg, err));
            }
        }
    }
}

impl UpstreamRequest {
    /// A read of our own, signed already.
    pub fn read(authority: Authority, path: PathAndQuery, headers: HeaderMap, limit: Duration) -> Self {
        Self {
            authority,
            method: Method::GET,
            path,
            headers,
            body: Bytes::new(),
            may_repeat: true,
            limit,
            upgrade: false,
            secret_path: false,
            counts: None,
        }
    }

    /// May it be sent again, and has the broker's limit room for that? Then it is counted.
    async fn may_go_again(&self) -> bool {
        self.may_repeat
            && match &self.counts {
                Some((gate, rate_request)) => gate.enter(rate_request.clone()).await.is_ok(),
                None => true,
            }
    }

    /// As it is sent.
    pub const fn message(&self) -> Message<'_> {
        let Self { authority, method, path, headers, body, .. } = self;
        Message { authority, method, path, headers, body }
    }

    fn answer(&self, mut reply: Response<Body>, record: &mut Access) -> Response<Body> {
        let switched = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
        if self.secret_path && !switched {
            reply = without_echo(&reply);
        }
        let upgrade = reply.headers().get(UPGRADE).filter(|_| switched).cloned();
        headers::for_caller(reply.headers_mut());
        if let Some(upgrade) = upgrade {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            reply.headers_mut().insert(UPGRADE, upgrade);
        }
        reply::mark(record, reply.headers_mut());
        reply
    }

    fn failed(&self, err: &SendError, outcome: Outcome) -> Problem {
        let advice = match outcome {
            Outcome::NotSent => "it is safe to send it again",
            _ if self.may_repeat => "it only reads, so it is safe to send it again",
            Outcome::Unknown | Outcome::Rejected | Outcome::Executed => "it may have been carried out",
        };
        Problem::new(Code::UpstreamFailed, format!("{}; {advice}", err.chain()), outcome)
    }
}

/// A refusal of a request whose path held the token: its status and nothing that
/// may quote the path, such as `Location` or an error page.
fn without_echo(reply: &Response<Body>) -> Response<Body> {
    let mut plain = Response::new(Body::from(Bytes::new()));
    *plain.status_mut() = reply.status();
    if let Some(wait) = reply.headers().get(RETRY_AFTER) {
        plain.headers_mut().insert(RETRY_AFTER, wait.clone());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feed's token stands in its URL; a redirect or an error page may quote it.
    #[test]
    fn a_refused_feed_does_not_tell_its_url() {
        let mut reply = Response::new(Body::from(Bytes::from("<a href='?token=secret'>")));
        *reply.status_mut() = StatusCode::FOUND;
        reply.headers_mut().insert("location", "wss://api-feed.dhan.co/x?token=secret".parse().unwrap());
        reply.headers_mut().insert(RETRY_AFTER, "60".parse().unwrap());
        let plain = without_echo(&reply);
        assert_eq!(plain.status(), StatusCode::FOUND);
        assert_eq!(plain.headers().keys().collect::<Vec<_>>(), [RETRY_AFTER]);
        assert!(http_body::Body::is_end_stream(plain.body()));
    }
}
