//! JSON of callers and of the broker.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::Method;
use http::uri::PathAndQuery;
use serde_json::{Map, Value, json};

use super::input::parts;
use crate::broker::dhan::endpoints::classify;
use crate::broker::dhan::token::{Claims, PLACEHOLDER_ISSUER};
use crate::domain::ClientId;
use crate::orders::lookup::{Bounds, Evidence, Lookup, order_of, orders_of};
use crate::orders::terms::Number;
use crate::proxy::bench_hooks::sign_body;

/// A signed body is what the caller sent with the account's ids in it, signed once and for all.
///
/// # Panics
/// Where that does not hold.
pub fn body_members(data: &[u8]) {
    let Ok(client_id) = ClientId::parse("1000000001") else { return };
    for (method, path) in [(Method::POST, "/v2/orders"), (Method::PUT, "/v2/orders/1")] {
        let endpoint = classify(&method, path, None);
        let sign = |body| sign_body(body, endpoint, &client_id, Some("key"));
        let Ok((signed, correlation)) = sign(Bytes::copy_from_slice(data)) else { continue };
        let Some(before) = object(data) else { continue };
        let after = object(&signed);
        assert!(after.is_some(), "an object was made into something else");
        let after = after.unwrap_or_default();
        assert_eq!(other_members(&before), other_members(&after), "a member that is none of ours was changed");
        let own = |name: &str| after.keys().filter(|key| key.eq_ignore_ascii_case(name)).count() <= 1;
        assert!(own("dhanClientId") && own("correlationId"), "two spellings of one member");
        assert_eq!(after.get("dhanClientId").map(text_of).as_deref(), Some(client_id.as_str()), "another account");
        if let Some(correlation) = &correlation {
            assert_eq!(after.get("correlationId").map(text_of).as_ref(), Some(correlation), "another correlation id");
        }
        assert_eq!(sign(signed.clone()), Ok((signed, correlation)), "signed twice it is something else");
    }
}

fn object(text: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(text).ok()
}

/// A text or a number, as text.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn other_members(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    object.iter().filter(|(name, _)| !matches!(name.as_str(), "dhanClientId" | "correlationId")).collect()
}

/// Claims are those that stand in the token. Taken as a token, and as the claims of one.
///
/// # Panics
/// Where that does not hold.
pub fn jwt(data: &[u8]) {
    token(&String::from_utf8_lossy(data));
    token(&format!("eyJ0eXAiOiJKV1QifQ.{}.c2ln", BASE64URL_NOPAD.encode(data)));
}

fn token(token: &str) {
    let Ok(claims) = Claims::read(token) else { return };
    let parts: Vec<_> = token.split('.').collect();
    let [_, middle, _] = parts.as_slice() else { return assert_eq!(parts.len(), 3, "not three parts") };
    let text = BASE64URL_NOPAD.decode(middle.trim_end_matches('=').as_bytes()).unwrap_or_default();
    // Numbers that no double holds are no harm in claims that are not looked at.
    let Ok(value) = serde_json::from_slice::<Value>(&text) else { return };
    let says = |name| value.get(name).and_then(Value::as_str);
    let number = |name| value.get(name).and_then(Value::as_i64);
    assert_eq!(says("dhanClientId"), Some(claims.client_id.as_str()), "another account");
    assert_eq!(number("exp"), Some(claims.expires_at), "another end");
    assert_eq!(number("iat"), claims.issued_at, "another beginning");
    assert_eq!(says("tokenConsumerType"), claims.consumer.as_deref(), "another kind");
    assert_ne!(says("iss"), Some(PLACEHOLDER_ISSUER), "a placeholder taken for a token");
}

/// A number is the number that it spells, whatever the spelling. Two, a line each, are the same if their values are.
///
/// # Panics
/// Where that does not hold.
pub fn number(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, two) = text.split_once('\n').unwrap_or((text, text));
    let (Some(first), Some(second)) = (one_number(one), one_number(two)) else { return };
    if let (Some(a), Some(b)) = (exact(one), exact(two)) {
        let scale = a.1.min(b.1);
        let whole =
            |(mantissa, exponent): (i128, i32)| mantissa.checked_mul(10_i128.checked_pow(exponent.abs_diff(scale))?);
        if let (Some(a), Some(b)) = (whole(a), whole(b)) {
            assert_eq!(a == b, first == second, "{one} and {two}");
        }
    }
}

fn one_number(text: &str) -> Option<Number> {
    let number = Number::parse(text);
    let bare = text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && !text.ends_with(char::is_whitespace);
    let json = bare && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let Some(number) = number else {
        let long = text.len() > 40 || text.contains(['e', 'E']);
        assert!(!json || long, "a number of JSON that is none here: {text}");
        return None;
    };
    assert!(json, "not a number of JSON: {text}");
    assert_eq!(Number::parse(number.as_str()).as_ref(), Some(&number), "its own text is another number: {text}");
    assert!(number.as_str().bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')), "not written out: {text}");
    assert!(!number.as_str().contains('.') || !number.as_str().ends_with(['0', '.']), "zeros that say nothing: {text}");
    // Both round the same decimal, so to the same double. Zero has no sign here.
    assert_eq!(text.parse::<f64>().map(|value| value + 0.0), Ok(number.to_f64()), "another value: {text}");
    Some(number)
}

/// Mantissa and exponent of ten, if they are small.
fn exact(text: &str) -> Option<(i128, i32)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.unsigned_abs() < 1000)?;
    let places = i32::try_from(fraction.len()).ok()?;
    Some((format!("{whole}{fraction}").parse().ok()?, exponent - places))
}

/// What is found of a lost write hangs on what the broker's answers say, not on how they spell it, how often they say it
/// or what they say of somebody else's orders, and names orders only that are there. Lines of the input: method and
/// path, the write's body, the answers' status; the rest are answers to its paths, with a byte 0x1e between them.
///
/// # Panics
/// Where that does not hold.
pub fn trail(data: &[u8]) {
    let (asked, rest) = parts(data, b'\n');
    let (body, rest) = parts(rest, b'\n');
    let (status, answers) = parts(rest, b'\n');
    let (method, path) = parts(asked, b' ');
    let status = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let (Ok(method), Ok(path)) = (Method::from_bytes(method), PathAndQuery::try_from(path)) else { return };
    let trail = Lookup::of(&method, path.path(), body, None);
    let paths = trail.paths();
    for path in &paths {
        let asked = PathAndQuery::try_from(path.as_str());
        assert!(asked.is_ok_and(|asked| asked.path() == path), "not a path: {path}");
    }
    let answers: Vec<&[u8]> = answers.split(|byte| *byte == 0x1e).collect();
    // With `times` each is heard so often; what is JSON as `change` makes it.
    let find = |times: usize, known: bool, change: &dyn Fn(Value) -> Value| {
        let mut search = trail.search();
        for (path, answer) in paths.iter().zip(&answers) {
            let changed = serde_json::from_slice(answer).ok().map(|said| change(said).to_string().into_bytes());
            for _ in 0..times {
                search.hear(path, status, changed.as_deref().unwrap_or(answer));
            }
        }
        search.finding(&Bounds { known: &|_| known, window: None })
    };
    let mut search = trail.search();
    for (path, answer) in paths.iter().zip(&answers) {
        search.hear(path, status, answer);
    }
    let found = search.finding(&Bounds { known: &|_| false, window: None });
    assert!((200..300).contains(&status) || found == Evidence::Open, "found in a refusal");
    assert_eq!(found, find(1, false, &|said| said), "another spelling, another finding");
    assert_eq!(found, find(2, false, &|said| said), "said twice it proves something else");
    let said: Value = answers.iter().filter_map(|answer| serde_json::from_slice::<Value>(answer).ok()).collect();
    for id in placed(&found) {
        assert!(holds(&said, id), "an order that no answer names: {id}");
    }
    assert!(placed(&find(1, true, &|said| said)).is_empty(), "another write's order is evidence");
    let other = "not-this-one";
    if !String::from_utf8_lossy(data).contains(other) {
        let order = json!({ "orderId": other, "correlationId": other, "orderStatus": "TRADED", "quantity": 1 });
        let more = |said: Value| match said {
            Value::Array(orders) => orders.into_iter().chain([order.clone()]).collect(),
            one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => one,
        };
        assert_eq!(found, find(1, false, &more), "somebody else's order is evidence");
    }
    for answer in &answers {
        let first = orders_of(answer).into_iter().next();
        assert_eq!(order_of(answer), first, "the short way names another order");
    }
}

fn placed(finding: &Evidence) -> &[Box<str>] {
    match finding {
        Evidence::Executed(found) | Evidence::Rejected(Some(found)) => &found.placed,
        Evidence::Rejected(None) | Evidence::Open => &[],
    }
}

/// Does this order's id stand anywhere in it?
fn holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
        Value::Object(members) => {
            let is = |name| members.get(name).map(text_of).as_deref() == Some(wanted);
            is("orderId") || is("alertId") || members.values().any(|member| holds(member, wanted))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
