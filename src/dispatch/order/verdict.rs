//! What the broker's reply to an order write says of it.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::broker::dhan::errors::{self, Context, Rule};
use crate::dispatch::reply::Body;
use crate::domain::Outcome;
use crate::domain::time::within;
use crate::egress::ReplyBody;
use crate::egress::decode::decoded;
use crate::orders::idempotency::WriteResult;
use crate::orders::lookup::order_of;

/// The longest reply to an order write. The broker's have a few hundred bytes; a
/// multi-order's a few thousand.
const REPLY_LIMIT: usize = 256 * 1024;

/// What is known after a send.
pub(crate) enum Verdict {
    /// The broker answered, and what it said settles it.
    Settled(Outcome, WriteReply),
    /// It refused the address that this came from.
    RefusesSource(WriteReply),
    /// It refused the token.
    RefusesToken(WriteReply),
    /// It answered, and that proves nothing.
    Nothing(WriteReply),
    /// No answer.
    Lost(String),
}

/// A reply of the broker, read whole.
pub(crate) struct WriteReply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    order_id: OnceLock<Option<Box<str>>>,
}

impl WriteReply {
    pub(crate) const fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body, order_id: OnceLock::new() }
    }

    /// The order that it names, if it does. It is asked for several times an order and read once.
    pub(crate) fn order_id(&self) -> Option<&str> {
        self.order_id.get_or_init(|| order_of(&self.body)).as_deref()
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn broker_code(&self) -> Option<String> {
        if self.status.is_success() {
            return None;
        }
        errors::classify(&self.refusal(), Context::Trading).and_then(|found| found.broker_code)
    }

    /// Does it say anything against the token?
    pub(crate) fn doubts_token(&self) -> bool {
        errors::doubts_token(&self.refusal())
    }

    fn refusal(&self) -> errors::Reply<'_> {
        errors::Reply { status: self.status.as_u16(), content_type: self.content_type(), body: &self.body }
    }
}

/// What a reply says of an order write. A 5xx and a page from something in between
/// prove nothing; nor does a good status with what is no JSON, nor what is in an encoding that cannot be read.
///
/// It goes on decoded: nobody was asked for the encoding, so the caller may not know it.
pub(crate) fn judge(mut reply: WriteReply) -> Verdict {
    match decoded(&reply.headers, &reply.body, REPLY_LIMIT) {
        Ok(body) => reply.body = body,
        Err(_) => return Verdict::Nothing(reply),
    }
    reply.headers.remove(CONTENT_ENCODING);
    let text = reply.body.trim_ascii_start();
    let page = text.starts_with(b"<") || reply.content_type().is_some_and(|kind| kind.starts_with("text/html"));
    if page || reply.status.is_server_error() {
        return Verdict::Nothing(reply);
    }
    if reply.status.is_success() {
        if is_rejected(text) {
            return Verdict::Settled(Outcome::Rejected, reply);
        }
        if reply.order_id().is_some() {
            return Verdict::Settled(Outcome::Executed, reply);
        }
        let json = text.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
        // Some of the broker's errors come with a good status.
        let refused = errors::classify(&reply.refusal(), Context::Trading).is_some();
        return if json && !refused { Verdict::Settled(Outcome::Executed, reply) } else { Verdict::Nothing(reply) };
    }
    if !reply.status.is_client_error() || reply.status == StatusCode::REQUEST_TIMEOUT {
        return Verdict::Nothing(reply);
    }
    if errors::refuses_source(&reply.refusal()) {
        return Verdict::RefusesSource(reply);
    }
    if errors::refuses_token(&reply.refusal()) {
        return Verdict::RefusesToken(reply);
    }
    let rule = errors::classify(&reply.refusal(), Context::Trading).map(|found| found.row.rule);
    if matches!(rule, Some(Rule::OtherLeg | Rule::Remint)) && names_an_order(text) {
        // Of several orders one may have been taken.
        return Verdict::Nothing(reply);
    }
    Verdict::Settled(Outcome::Rejected, reply)
}

/// Is the order that this names, or every one of those that it names, REJECTED?
fn is_rejected(text: &[u8]) -> bool {
    // Of nearly every reply this is all that is looked at.
    if memchr::memmem::find(text, b"EJECTED").or_else(|| memchr::memmem::find(text, b"ejected")).is_none() {
        return false;
    }
    let (value, mut orders): (Value, _) = (serde_json::from_slice(text).unwrap_or_default(), Vec::new());
    statuses(&value, &mut orders);
    !orders.is_empty() && orders.iter().all(|status| status.is_some_and(|word| word.eq_ignore_ascii_case("REJECTED")))
}

/// The status of each order that is named; `None` of one that shows none. Lists are sometimes wrapped.
fn statuses<'v>(value: &'v Value, found: &mut Vec<Option<&'v str>>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| statuses(item, found)),
        Value::Object(members) => {
            let within: Vec<_> = ["orders", "data"].iter().filter_map(|name| members.get(*name)).collect();
            if within.is_empty() {
                found.push(members.get("orderStatus").and_then(Value::as_str));
            }
            within.into_iter().for_each(|value| statuses(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Does an order's id stand anywhere in this?
fn names_an_order(text: &[u8]) -> bool {
    fn named(value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(named),
            Value::Object(members) => members.iter().any(|(name, value)| {
                let id = name.eq_ignore_ascii_case("orderId") || name.eq_ignore_ascii_case("order_id");
                let said = match value {
                    Value::String(id) => !matches!(id.trim(), "" | "0" | "NA"),
                    Value::Number(id) => id.as_f64() != Some(0.0),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
                };
                id && said || named(value)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    named(&serde_json::from_slice(text).unwrap_or_default())
}

/// The longest correlation id that the live broker is known to take; its documents say 30.
const SURE_LENGTH: usize = 25;

/// What may be wrong with the ids of a write, where its refusal says so or leaves open what it is about. The reply
/// itself goes on as it came.
pub(crate) fn hint<'i>(reply: &WriteReply, ids: impl IntoIterator<Item = &'i str>) -> Option<&'static str> {
    if !reply.status.is_client_error() {
        return None;
    }
    let found = errors::classify(&reply.refusal(), Context::Trading)?;
    let words = found.broker_words.unwrap_or_default().to_ascii_lowercase();
    // Of a code that means six things the words decide; what names something else is no id's fault.
    let about_ids = words.contains("correlationid") || words.contains("correlation id");
    let says_nothing = words.is_empty() || words.contains("bad values for parameters");
    if !(about_ids || says_nothing && found.broker_code.as_deref() == Some("DH-905")) {
        return None;
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    ids.into_iter().find_map(|id| {
        if id.chars().count() > SURE_LENGTH {
            return Some(
                "a correlationId has more than 25 characters: the broker documents 30 and refuses some above 25",
            );
        }
        id.contains(odd)
            .then_some("a correlationId has characters that the broker refuses: use letters, digits, blank, - and _")
    })
}

/// Read a reply whole, within `limit`, and judge it. One that breaks off is lost, whatever
/// its status: a placement's good status without its order id is of no use to a caller.
pub(crate) async fn read(reply: Response<ReplyBody>, limit: Duration) -> Verdict {
    let (parts, body) = reply.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Verdict::Lost("the broker answered 101 to a request that asked for no upgrade".to_owned());
    }
    match within(limit, Body::Broker(Box::new(body)).peek(REPLY_LIMIT)).await {
        Ok((Some(body), _)) => judge(WriteReply::new(parts.status, parts.headers, body)),
        Ok((None, _)) => Verdict::Lost(format!("the broker's reply ({}) broke off", parts.status)),
        Err(_) => Verdict::Lost(format!("the broker's reply ({}) did not end in time", parts.status)),
    }
}

/// The reply that a write was answered with before.
pub(crate) fn reply_of(recorded: &WriteResult) -> WriteReply {
    let mut headers = HeaderMap::new();
    if let Some(value) = recorded.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    let status = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::OK);
    WriteReply::new(status, headers, recorded.body.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, kind: &str, body: &'static str) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        match judge(WriteReply::new(status, headers, Bytes::from_static(body.as_bytes()))) {
            Verdict::Settled(outcome, _) => outcome.as_str(),
            Verdict::RefusesSource(_) => "source",
            Verdict::RefusesToken(_) => "token",
            Verdict::Nothing(_) => "nothing",
            Verdict::Lost(_) => "lost",
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

    /// A caller that has no position believes to have one.
    #[test]
    fn an_order_that_is_rejected_at_once_is_no_order() {
        let json = "application/json";
        for (body, outcome) in [
            (r#"{"orderId":"1","orderStatus":"REJECTED"}"#, "rejected"),
            (r#"{"orderId":"1","orderStatus":"Rejected"}"#, "rejected"),
            (r#"[{"orderId":"1","orderStatus":"REJECTED"}]"#, "rejected"),
            (r#"{"data":{"orderId":"1","orderStatus":"REJECTED"}}"#, "rejected"),
            (
                r#"{"orders":[{"orderId":"1","orderStatus":"REJECTED"},{"orderId":"2","orderStatus":"REJECTED"}]}"#,
                "rejected",
            ),
            (
                r#"{"orders":[{"orderId":"1","orderStatus":"REJECTED"},{"orderId":"2","orderStatus":"TRANSIT"}]}"#,
                "executed",
            ),
            (r#"{"orders":[{"orderId":"1","orderStatus":"REJECTED"},{"orderId":"2"}]}"#, "executed"),
            (r#"{"orderId":"1","orderStatus":"TRANSIT","remarks":"REJECTED"}"#, "executed"),
            (r#"{"orderId":"1","orderStatus":"PART_REJECTED"}"#, "executed"),
        ] {
            assert_eq!(said(200, json, body), outcome, "{body}");
        }
    }

    /// A front that compresses unasked must not make every order unknown, nor a refused leg a business error.
    #[test]
    fn an_encoded_reply_is_judged_by_what_it_says() {
        let of = |status: u16, encoding: &str, body: Vec<u8>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
            headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
            judge(WriteReply::new(StatusCode::from_u16(status).unwrap(), headers, body.into()))
        };
        let gzip = |text: &str| {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut to, text.as_bytes()).unwrap();
            to.finish().unwrap()
        };
        let placed = r#"{"orderId":"7","orderStatus":"TRANSIT"}"#;
        let Verdict::Settled(Outcome::Executed, reply) = of(200, "gzip", gzip(placed)) else { panic!("not executed") };
        // Identity was asked for, so the caller may read nothing else.
        assert_eq!((&*reply.body, reply.order_id()), (placed.as_bytes(), Some("7")));
        assert!(!reply.headers.contains_key(CONTENT_ENCODING));
        let source = r#"{"errorType":"Input_Exception","errorCode":"DH-905","errorMessage":"Invalid IP"}"#;
        assert!(matches!(of(400, "gzip", gzip(source)), Verdict::RefusesSource(_)));
        let token = r#"{"errorType":"Order_Error","errorCode":"DH-906","errorMessage":"Invalid Token"}"#;
        assert!(matches!(of(401, "gzip", gzip(token)), Verdict::RefusesToken(_)));
        for (status, encoding, body) in
            [(200, "zstd", placed.into()), (200, "gzip", placed.into()), (400, "zstd", source.into())]
        {
            assert!(matches!(of(status, encoding, body), Verdict::Nothing(_)), "{status} {encoding}");
        }
    }

    /// One order of several may have been taken; sent again, it is there twice.
    #[test]
    fn a_refusal_with_an_order_in_it_is_no_refusal_of_the_whole() {
        let json = "application/json";
        for body in [
            r#"{"errorType":"Input_Exception","errorCode":"DH-905","errorMessage":"Invalid IP","orderId":"7"}"#,
            r#"{"errorType":"Input_Exception","errorCode":"DH-905","errorMessage":"Invalid IP","orders":[{"OrderID":7}]}"#,
            r#"{"errorType":"Order_Error","errorCode":"DH-906","errorMessage":"Invalid Token","data":{"order_id":"7"}}"#,
        ] {
            assert_eq!(said(400, json, body), "nothing", "{body}");
        }
        let none = r#"{"errorType":"Input_Exception","errorCode":"DH-905","errorMessage":"Invalid IP","orderId":""}"#;
        assert_eq!(said(400, json, none), "source");
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

    /// The broker's generic words let a caller look for the fault in its prices.
    #[test]
    fn a_refusal_that_an_id_may_have_drawn_is_explained() {
        let refusal = |code: &str, words: &str| {
            let body = format!(r#"{{"errorType":"Input_Exception","errorCode":"{code}","errorMessage":"{words}"}}"#);
            WriteReply::new(StatusCode::BAD_REQUEST, HeaderMap::new(), body.into())
        };
        let generic = "Missing required fields, bad values for parameters etc.";
        let (long, odd, good) = ("a23456789012345678901234567", "a|b", "a-b_c D1");
        for words in ["Invalid correlationId", generic] {
            assert!(hint(&refusal("DH-905", words), [good, long]).is_some_and(|hint| hint.contains("25")), "{words}");
            assert!(hint(&refusal("DH-905", words), [odd]).is_some_and(|hint| hint.contains("letters")), "{words}");
            assert_eq!(hint(&refusal("DH-905", words), [good]), None, "{words}");
        }
        assert_eq!(hint(&refusal("DH-905", "quantity is required"), [long, odd]), None);
        assert_eq!(hint(&refusal("DH-906", generic), [long]), None);
        let good = WriteReply::new(StatusCode::OK, HeaderMap::new(), Bytes::new());
        assert_eq!(hint(&good, [long]), None);
    }
}
