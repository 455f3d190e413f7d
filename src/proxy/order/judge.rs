//! What the broker's reply to an order write says of it.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::broker::dhan::errors::{self, Context};
use crate::domain::Outcome;
use crate::domain::time::within;
use crate::egress::ReplyBody;
use crate::orders::memory::Recorded;
use crate::orders::trail::order_of;
use crate::proxy::reply::Body;

/// The longest reply to an order write. The broker's have a few hundred bytes; a
/// multi-order's a few thousand.
const REPLY_LIMIT: usize = 256 * 1024;

/// What is known after a send.
pub(super) enum Said {
    /// The broker answered, and what it said settles it.
    Settled(Outcome, Reply),
    /// It refused the address that this came from.
    RefusesSource(Reply),
    /// It refused the token.
    RefusesToken(Reply),
    /// It answered, and that proves nothing.
    Nothing(Reply),
    /// No answer.
    Lost(String),
}

/// A reply of the broker, read whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    order_id: OnceLock<Option<Box<str>>>,
}

impl Reply {
    pub(super) const fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body, order_id: OnceLock::new() }
    }

    /// The order that it names, if it does. It is asked for several times an order and read once.
    pub(super) fn order_id(&self) -> Option<&str> {
        self.order_id.get_or_init(|| order_of(&self.body)).as_deref()
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }

    pub(super) fn broker_code(&self) -> Option<String> {
        if self.status.is_success() {
            return None;
        }
        errors::classify(&self.refusal(), Context::Trading).and_then(|found| found.broker_code)
    }

    fn refusal(&self) -> errors::Reply<'_> {
        errors::Reply { status: self.status.as_u16(), content_type: self.content_type(), body: &self.body }
    }
}

/// What a reply says of an order write. A 5xx and a page from something in between
/// prove nothing; nor does a good status with what is no JSON.
pub(super) fn judge(reply: Reply) -> Said {
    let text = reply.body.trim_ascii_start();
    let page = text.starts_with(b"<") || reply.content_type().is_some_and(|kind| kind.starts_with("text/html"));
    if page || reply.status.is_server_error() {
        return Said::Nothing(reply);
    }
    if reply.status.is_success() {
        if reply.order_id().is_some() {
            return Said::Settled(Outcome::Executed, reply);
        }
        let json = text.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
        // Some of the broker's errors come with a good status.
        let refused = errors::classify(&reply.refusal(), Context::Trading).is_some();
        return if json && !refused { Said::Settled(Outcome::Executed, reply) } else { Said::Nothing(reply) };
    }
    if !reply.status.is_client_error() || reply.status == StatusCode::REQUEST_TIMEOUT {
        return Said::Nothing(reply);
    }
    if errors::refuses_source(&reply.refusal()) {
        return Said::RefusesSource(reply);
    }
    if errors::refuses_token(&reply.refusal()) {
        return Said::RefusesToken(reply);
    }
    Said::Settled(Outcome::Rejected, reply)
}

/// Read a reply whole, within `limit`, and judge it. One that breaks off is lost, whatever
/// its status: a placement's good status without its order id is of no use to a caller.
pub(super) async fn read(reply: Response<ReplyBody>, limit: Duration) -> Said {
    let (parts, body) = reply.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Said::Lost("the broker answered 101 to a request that asked for no upgrade".to_owned());
    }
    match within(limit, Body::Broker(Box::new(body)).peek(REPLY_LIMIT)).await {
        Ok((Some(body), _)) => judge(Reply::new(parts.status, parts.headers, body)),
        Ok((None, _)) => Said::Lost(format!("the broker's reply ({}) broke off", parts.status)),
        Err(_) => Said::Lost(format!("the broker's reply ({}) did not end in time", parts.status)),
    }
}

/// The reply that a write was answered with before.
pub(super) fn reply_of(recorded: &Recorded) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some(value) = recorded.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    let status = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::OK);
    Reply::new(status, headers, recorded.body.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, kind: &str, body: &'static str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        match judge(Reply::new(status, headers, Bytes::from_static(body.as_bytes()))) {
            Said::Settled(outcome, _) => outcome.as_str(),
            Said::RefusesSource(_) => "source",
            Said::RefusesToken(_) => "token",
            Said::Nothing(_) => "nothing",
            Said::Lost(_) => "lost",
        }
    }

    /// A caller that is told "rejected" sends again, and one that is told "executed" does
    /// not: only the broker's own word may say either.
    #[test]
    fn only_the_brokers_own_word_settles_an_outcome() {
        let json = "application/json";
        let bad = r#"{"errorType":"Order_Error","errorCode":"DH-906","errorMessage":"Bad quantity"}"#;
        assert_eq!(said(200, json, r#"{"orderId":"1","orderStatus":"TRANSIT"}"#), "executed");
        assert_eq!(said(202, json, ""), "executed");
        assert_eq!(said(400, json, bad), "rejected");
        assert_eq!(said(429, json, ""), "rejected");
        for (status, kind, body) in [
            (500, json, bad),
            (502, "text/html", "<html>"),
            (200, "text/html", "<html>"),
            (200, json, "<html>"),
            (200, json, "ok"),
            (200, json, bad),
            (403, "text/html; charset=utf-8", "<html>"),
            (302, json, ""),
            (408, json, ""),
        ] {
            assert_eq!(said(status, kind, body), "nothing", "{status} {kind} {body}");
        }
    }

    /// Both are proof that nothing was done, and a 5xx that says the same is not.
    #[test]
    fn refusals_of_source_and_token_are_told_from_business_errors() {
        let json = "application/json";
        let source = r#"{"errorType":"Input_Exception","errorCode":"DH-905","errorMessage":"Invalid IP"}"#;
        let token = r#"{"errorType":"Order_Error","errorCode":"DH-906","errorMessage":"Invalid Token"}"#;
        assert_eq!((said(400, json, source), said(403, json, source)), ("source", "source"));
        assert_eq!((said(400, json, token), said(401, json, token)), ("token", "token"));
        assert_eq!((said(500, json, source), said(500, json, token)), ("nothing", "nothing"));
    }
}
