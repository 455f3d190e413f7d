//! Signing: the caller's credentials out, the account's in.
//!
//! The token alone selects the account at the broker, so a body that names
//! another account's `dhanClientId` is refused: either the caller is confused
//! about who it is, or somebody else is speaking.
//!
//! Not here: reading a body and comparing it by value (`orders::body`).

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};
use jiff::civil::Date;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::headers;
use super::reply::{Code, Problem};
use crate::accounts::Account;
use crate::broker::dhan::endpoints::{Endpoint, WriteKind};
use crate::domain::{ClientId, random};
use crate::orders::body::{JsonBody, TextValue, UnreadableBody};
use crate::orders::terms::Terms;
use crate::tokens::LiveToken;

const ACCESS_TOKEN: HeaderName = HeaderName::from_static("access-token");
const CLIENT_ID: HeaderName = HeaderName::from_static("client-id");

/// Turn a caller's headers into the account's.
pub(crate) fn headers(headers: &mut HeaderMap, account: &Account, token: &LiveToken) {
    headers::for_broker(headers);
    self::token(headers, token);
    headers.insert(CLIENT_ID, account.client_id_header.clone());
}

/// Sign with this token, in place of whichever it was.
pub(crate) fn token(headers: &mut HeaderMap, token: &LiveToken) {
    headers.insert(ACCESS_TOKEN, token.header().clone());
}

/// A feed's query: the caller's token and client id out, the account's in.
///
/// # Errors
/// [`Problem`] when the result is no URI, which a checked token rules out.
pub(crate) fn feed_query(path: &PathAndQuery, account: &Account, token: &LiveToken) -> Result<PathAndQuery, Problem> {
    let mut query: Vec<String> = unsigned(path).map(str::to_owned).collect();
    // Some servers split at a semicolon too, and take the first of two.
    if query
        .iter()
        .any(|pair| pair.contains(';') || pair.split('=').next().is_some_and(|name| name.contains(['%', '+'])))
    {
        let detail = "the query has a semicolon, or hides a character of a name behind a percent sign";
        return Err(Problem::before_sending(Code::BadRequest, detail));
    }
    query.push(format!("token={}", token.secret().expose_secret()));
    query.push(format!("clientId={}", account.client_id()));
    format!("{}?{}", path.path(), query.join("&"))
        .parse()
        .map_err(|_| Problem::before_sending(Code::BadRequest, "the query is no URI"))
}

/// What a feed's query says beside the token and the client id.
pub(crate) fn unsigned(path: &PathAndQuery) -> impl Iterator<Item = &str> {
    path.query().unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && !["token", "clientid"].contains(&name.to_ascii_lowercase().as_str())
    })
}

/// The path alone.
pub(crate) fn no_query(path: &PathAndQuery) -> PathAndQuery {
    path.path().parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
}

/// The longest correlation id that the broker documents.
const LONGEST_ID: usize = 30;
/// So much of a longer one is shown: it may be a megabyte, or a token in the wrong place.
const SHOWN_OF_ID: usize = 12;

/// A body as it goes to the broker, and what it says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Signed {
    /// The body. Bytes that did not have to change are the caller's own.
    pub body: Bytes,
    /// The correlation id that it carries, where the endpoint takes one.
    pub correlation: Option<Correlation>,
    /// Every correlation id that an order write goes by, the one that was filled in too: at the top, and of each of
    /// several orders. Of a change it may be the order's own, echoed.
    pub ids: Vec<Arc<str>>,
    /// An order write's body by value (`orders::body`). No body is as good as an empty one.
    pub value_sha256: [u8; 32],
    /// What a placement or a change asks for: once, or once for each of several orders.
    pub terms: Vec<Terms>,
}

/// A correlation id and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Correlation {
    /// The caller's.
    Given(Arc<str>),
    /// Filled in.
    Made(Arc<str>),
}

impl Correlation {
    /// The id.
    pub(crate) const fn id(&self) -> &Arc<str> {
        let (Self::Given(id) | Self::Made(id)) = self;
        id
    }

    /// The id, if it was filled in: the caller has to be told.
    pub(crate) const fn made(&self) -> Option<&Arc<str>> {
        match self {
            Self::Made(id) => Some(id),
            Self::Given(_) => None,
        }
    }
}

/// Check the account's id in a JSON body, and fill in what the endpoint takes
/// and the caller left out. With an `Idempotency-Key` the correlation id follows from it ([`derived`]; `day` is the
/// trading day), so that the order can be found by the key after a restart.
///
/// # Errors
/// 403 `client_id_mismatch`; 400 when a member that matters stands twice, an id is longer than the broker takes, or
/// the body of an order write that adds risk is no JSON object.
pub(crate) fn body(
    body: Bytes,
    endpoint: &Endpoint,
    client_id: &ClientId,
    key: Option<&str>,
    day: Date,
) -> Result<Signed, Problem> {
    if !endpoint.is_write() {
        return read_body(body, endpoint, client_id);
    }
    let body = without_mark(body);
    let said = match JsonBody::read(&body) {
        _ if body.is_empty() => JsonBody::none(),
        Ok(said) => said,
        // The broker takes no body of these, and whoever sends one is not to be taught JSON now.
        Err(err) if endpoint.takes_risk_away() && err != UnreadableBody::Twice(CLIENT_MEMBER) => {
            return Ok(Signed { value_sha256: JsonBody::none().value_sha256(), ..Signed::default() });
        }
        Err(err @ UnreadableBody::Twice(_)) => return Err(bad(err.to_string())),
        Err(err) => return Err(bad(format!("the body of an order write must be a JSON object: {err}"))),
    };
    let has_terms = matches!(endpoint.write, Some(WriteKind::Create | WriteKind::Change));
    if has_terms && said.has_id_of_many_spellings() {
        let detail = "correlationId is a number with a point or an exponent, and the same number may be written in another \
                      way when the order is sent again; send it as text";
        return Err(bad(detail.to_owned()));
    }
    let mut signed = Signed { value_sha256: said.value_sha256(), ..Signed::default() };
    if has_terms && !body.is_empty() {
        signed.terms = said.terms();
    }
    let mut edits = Edits::default();
    if !body.is_empty() {
        own_client_id(&body, &said, endpoint, client_id, &mut edits)?;
        correlation(&body, &said, endpoint, &mut signed, &mut edits, |value_sha256| match key {
            Some(key) => Ok(derived(client_id, key, day, value_sha256)),
            None => new_correlation_id(),
        })?;
    }
    signed.body = if edits.is_empty() { body.clone() } else { edits.apply(&body, said.is_empty()) };
    Ok(signed)
}

/// Of what only reads: what is no JSON object names no account in a way the broker would read.
fn read_body(body: Bytes, endpoint: &Endpoint, client_id: &ClientId) -> Result<Signed, Problem> {
    let mut edits = Edits::default();
    let said = match JsonBody::read(&body) {
        _ if body.is_empty() => return Ok(Signed::default()),
        Ok(said) => said,
        Err(err @ UnreadableBody::Twice(_)) => return Err(bad(err.to_string())),
        Err(_) => return Ok(Signed { body, ..Signed::default() }),
    };
    own_client_id(&body, &said, endpoint, client_id, &mut edits)?;
    let body = if edits.is_empty() { body.clone() } else { edits.apply(&body, said.is_empty()) };
    Ok(Signed { body, ..Signed::default() })
}

/// A body without the byte order mark of UTF-8, which some editors and runtimes put before it (RFC 8259 section 8.1).
fn without_mark(body: Bytes) -> Bytes {
    if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body }
}

const CLIENT_MEMBER: &str = "dhanClientId";

/// The account's own id, and nobody else's.
fn own_client_id<'a>(
    body: &[u8],
    said: &JsonBody<'_>,
    endpoint: &Endpoint,
    client_id: &'a ClientId,
    edits: &mut Edits<'a>,
) -> Result<(), Problem> {
    match said.client_id().map(TextValue::of) {
        Some(TextValue::Is(own)) if own == client_id.as_str() => {}
        Some(TextValue::Is(other)) if !other.trim().is_empty() => {
            let detail =
                format!("the body's dhanClientId is not this account's, {client_id}; leave it out and it is filled in");
            return Err(Problem::before_sending(Code::ClientIdMismatch, detail));
        }
        Some(TextValue::Is(_) | TextValue::Null) => edits.replace(body, said.client_id(), client_id.as_str()),
        Some(TextValue::Other) => {
            return Err(Problem::before_sending(Code::ClientIdMismatch, "dhanClientId must be a text of digits"));
        }
        None if endpoint.client_id => edits.client_id = Some(client_id.as_str()),
        None => {}
    }
    Ok(())
}

/// The ids that a write goes by: the caller's, or one that is made where the endpoint takes one.
fn correlation(
    body: &[u8],
    said: &JsonBody<'_>,
    endpoint: &Endpoint,
    signed: &mut Signed,
    edits: &mut Edits<'_>,
    make: impl FnOnce(&[u8; 32]) -> Result<Arc<str>, Problem>,
) -> Result<(), Problem> {
    let given = match said.correlation_id().map(TextValue::of) {
        Some(TextValue::Is(id)) if !id.trim().is_empty() => Some(Arc::<str>::from(&*id)),
        Some(TextValue::Other) if endpoint.correlation => return Err(bad("correlationId must be a text")),
        Some(_) | None => None,
    };
    signed.ids.extend(given.iter().cloned());
    signed.ids.extend(said.ids_of_orders());
    // Before anything is remembered under it. An order under such an id does not exist, so a change that has one does not
    // go by it, and nothing but what would be new is refused for one.
    if matches!(endpoint.write, Some(WriteKind::Create | WriteKind::Other))
        && let Some(long) = signed.ids.iter().find(|id| id.chars().count() > LONGEST_ID)
    {
        let (length, begins) = (long.chars().count(), long.chars().take(SHOWN_OF_ID).collect::<String>());
        let detail = format!(
            "the correlationId that begins with {begins:?} has {length} characters; the broker takes {LONGEST_ID} at most"
        );
        return Err(bad(detail));
    }
    if !endpoint.correlation {
        return Ok(());
    }
    signed.correlation = Some(match given {
        Some(given) => Correlation::Given(given),
        None => {
            let made = make(&signed.value_sha256)?;
            match said.correlation_id() {
                Some(blank) => edits.replace(body, Some(blank), &made),
                None => edits.correlation_id = Some(Arc::clone(&made)),
            }
            signed.ids.insert(0, Arc::clone(&made));
            Correlation::Made(made)
        }
    });
    Ok(())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::before_sending(Code::BadRequest, detail)
}

/// 24 characters of `A-Z 0-9` that begin with `SG`: 110 random bits, within the
/// broker's 30 characters of letters, digits, `_` and `-`.
fn new_correlation_id() -> Result<Arc<str>, Problem> {
    let random: [u8; 14] = random::bytes()
        .map_err(|_| Problem::before_sending(Code::EgressUnavailable, "the kernel gave no random bytes"))?;
    Ok(correlation_id(&random))
}

/// `SG` and the first 110 bits of these.
fn correlation_id(bytes: &[u8; 14]) -> Arc<str> {
    let mut id = *b"SG-----------------------";
    if let Some(digits) = id.get_mut(2..) {
        BASE32_NOPAD.encode_mut(bytes, digits);
    }
    // All of it is ASCII.
    std::str::from_utf8(id.get(..24).unwrap_or_default()).unwrap_or_default().into()
}

/// The id of an order that has only an `Idempotency-Key`: the same for the same account, key, trading day and body by
/// value, so 110 bits of SHA-256 of those. Another order under the same key, or the key again on another day, must not
/// be found by it.
pub(crate) fn derived(client_id: &ClientId, key: &str, day: Date, value_sha256: &[u8; 32]) -> Arc<str> {
    let mut hash = Sha256::new();
    hash.update(client_id.as_str());
    hash.update([0]);
    hash.update(key);
    hash.update([0]);
    hash.update(day.to_string());
    hash.update(value_sha256);
    let hash: [u8; 32] = hash.finalize().into();
    correlation_id(hash.first_chunk().unwrap_or(&[0; 14]))
}

/// Changes to a JSON object's text. Everything else stays byte for byte: numbers
/// keep the spelling that the caller gave a price.
#[derive(Debug, Default)]
struct Edits<'a> {
    /// Byte range and what goes there.
    replace: Vec<(std::ops::Range<usize>, String)>,
    client_id: Option<&'a str>,
    correlation_id: Option<Arc<str>>,
}

impl Edits<'_> {
    const fn is_empty(&self) -> bool {
        self.replace.is_empty() && self.client_id.is_none() && self.correlation_id.is_none()
    }

    fn replace(&mut self, body: &[u8], raw: Option<&str>, value: &str) {
        let Some(raw) = raw else { return };
        // The raw value is a slice of the body, so this is its place in it.
        let start = (raw.as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        self.replace.push((start..start + raw.len(), format!("\"{value}\"")));
    }

    fn apply(mut self, body: &[u8], empty: bool) -> Bytes {
        let mut out = Vec::with_capacity(body.len() + 96);
        let open = body.iter().position(|b| *b == b'{').map_or(0, |at| at + 1);
        out.extend_from_slice(body.get(..open).unwrap_or_default());
        let ids = [("dhanClientId", self.client_id), ("correlationId", self.correlation_id.as_deref())];
        let mut first = true;
        for (name, value) in ids.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            for part in [if first { "\"" } else { ",\"" }, name, "\":\"", value, "\""] {
                out.extend_from_slice(part.as_bytes());
            }
            first = false;
        }
        if !first && !empty {
            out.push(b',');
        }
        self.replace.sort_by_key(|(range, _)| range.start);
        let mut at = open;
        for (range, text) in &self.replace {
            out.extend_from_slice(body.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(text.as_bytes());
            at = range.end;
        }
        out.extend_from_slice(body.get(at..).unwrap_or_default());
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::broker::dhan::endpoints::classify;
    use crate::domain::Outcome;

    fn id() -> ClientId {
        ClientId::parse("1000000001").unwrap()
    }

    const DAY: Date = jiff::civil::date(2026, 11, 23);

    fn sign(method: Method, path: &str, sent: impl AsRef<[u8]>) -> Result<Signed, Problem> {
        body(Bytes::copy_from_slice(sent.as_ref()), &classify(&method, path, None), &id(), None, DAY)
    }

    fn place(text: &str) -> Result<Signed, Problem> {
        sign(Method::POST, "/v2/orders", text)
    }

    #[test]
    fn a_missing_or_empty_client_id_is_filled_in_and_nothing_else_changes() {
        for (sent, want) in [
            (
                r#"{"correlationId":"c","price":3310.50}"#,
                r#"{"dhanClientId":"1000000001","correlationId":"c","price":3310.50}"#,
            ),
            (r#"{"dhanClientId":"","correlationId":"c"}"#, r#"{"dhanClientId":"1000000001","correlationId":"c"}"#),
            (
                r#" { "correlationId":"c", "dhanClientId" : null , "x":1e3}"#,
                r#" { "correlationId":"c", "dhanClientId" : "1000000001" , "x":1e3}"#,
            ),
            (
                r#"{"dhanClientId":"1000000001","correlationId":"c"}"#,
                r#"{"dhanClientId":"1000000001","correlationId":"c"}"#,
            ),
        ] {
            let signed = place(sent).unwrap();
            assert_eq!(std::str::from_utf8(&signed.body).unwrap(), want);
            assert_eq!(signed.correlation, Some(Correlation::Given("c".into())));
        }
    }

    #[test]
    fn a_missing_correlation_id_is_made_as_the_broker_takes_it() {
        for sent in [
            r#"{"price":1}"#,
            "{}",
            r#"{"correlationId":""}"#,
            r#"{"correlationId":null,"a":[]}"#,
            r#"{"correlationId":" \t"}"#,
        ] {
            let signed = place(sent).unwrap();
            let made = signed.correlation.unwrap().made().unwrap().to_string();
            let value: serde_json::Value = serde_json::from_slice(&signed.body).unwrap();
            assert_eq!(value["correlationId"], made.as_str(), "{sent}");
            assert!(
                crate::orders::correlation::is_made_by_a_gateway(&made),
                "{made}: another gateway would not know it"
            );
            assert_eq!(value["dhanClientId"], "1000000001");
            assert!(made.len() <= 25 && made.bytes().all(|b| b.is_ascii_alphanumeric()), "{made}");
        }
    }

    /// The same number is another text when another library writes it, and would be another order.
    #[test]
    fn an_id_that_is_a_number_has_one_spelling() {
        let multi = |id: &str| format!(r#"{{"orders":[{{"correlationId":"a"}},{{"correlationId":{id}}}]}}"#);
        for id in ["1.5", "1.50", "15e-1", "-1E3", "1.0"] {
            let one = format!(r#"{{"correlationId":{id}}}"#);
            for refused in [
                place(&one),
                sign(Method::PUT, "/v2/orders/1", &one),
                sign(Method::POST, "/v2/alerts/multi/orders", multi(id)),
            ] {
                let problem = refused.unwrap_err();
                assert_eq!((problem.code, problem.outcome), (Code::BadRequest, Outcome::NotSent), "{id}");
            }
            // Nobody is taught JSON by a cancel.
            assert!(sign(Method::DELETE, "/v2/orders/1", &one).is_ok(), "{id}");
            let text = place(&format!(r#"{{"correlationId":"{id}"}}"#)).unwrap();
            assert_eq!(text.correlation, Some(Correlation::Given(id.into())));
        }
        assert_eq!(place(r#"{"correlationId":15}"#).unwrap().correlation, Some(Correlation::Given("15".into())));
        assert!(sign(Method::POST, "/v2/alerts/multi/orders", multi("2")).is_ok());
    }

    /// After a restart the order is looked for by it. Another body, or the key again next day, is another order.
    #[test]
    fn an_idempotency_key_and_a_body_give_the_same_correlation_id_each_time() {
        let orders = classify(&Method::POST, "/v2/orders", None);
        let made = |client: &str, key: &str, day: i8, text: &'static str| {
            let client = ClientId::parse(client).unwrap();
            let day = jiff::civil::date(2026, 11, day);
            let signed = body(Bytes::from_static(text.as_bytes()), &orders, &client, Some(key), day).unwrap();
            signed.correlation.unwrap().id().to_string()
        };
        let first = made("1000000001", "k", 23, r#"{"quantity":5}"#);
        assert_eq!(first, made("1000000001", "k", 23, r#"{ "correlationId":"", "quantity":"5.0" }"#));
        assert_ne!(first, made("1000000001", "l", 23, r#"{"quantity":5}"#));
        assert_ne!(first, made("1000000002", "k", 23, r#"{"quantity":5}"#));
        assert_ne!(first, made("1000000001", "k", 24, r#"{"quantity":5}"#));
        assert_ne!(first, made("1000000001", "k", 23, r#"{"quantity":6}"#));
        assert_eq!(first.len(), 24);
    }

    /// A first try without an id and its repeat are one order.
    #[test]
    fn what_is_filled_in_does_not_count() {
        let first = place(r#"{"quantity":5,"price":3310.50}"#).unwrap();
        let again = sign(Method::POST, "/v2/orders", &first.body).unwrap();
        assert_eq!(first.value_sha256, again.value_sha256);
        assert_eq!((again.ids.as_slice(), again.correlation.as_ref().unwrap().made()), (first.ids.as_slice(), None));
        assert_ne!(first.value_sha256, place(r#"{"quantity":6,"price":3310.50}"#).unwrap().value_sha256);
        assert_eq!(first.terms[0].quantity.as_ref().unwrap().as_str(), "5");
    }

    /// Ids counted only where a row of the table said so: multi-orders, alerts and changes were sent twice.
    #[test]
    fn every_id_of_every_write_counts() {
        let ids = |method, path, text| -> Vec<String> {
            sign(method, path, text).unwrap().ids.iter().map(ToString::to_string).collect()
        };
        let several = r#"{"orders":[{"correlationId":"a"},{"correlationId":""},{"correlationId":"c","quantity":1}]}"#;
        assert_eq!(ids(Method::POST, "/v2/alerts/multi/orders", several), ["a", "c"]);
        assert_eq!(sign(Method::POST, "/v2/alerts/multi/orders", several).unwrap().terms.len(), 3);
        let one = r#"{"correlationId":"x"}"#;
        for (method, path) in [
            (Method::POST, "/v2/orders"),
            (Method::POST, "/v2/alerts/orders"),
            (Method::PUT, "/v2/orders/1"),
            (Method::DELETE, "/v2/orders/1"),
            (Method::POST, "/v9/new"),
        ] {
            assert_eq!(ids(method, path, one), ["x"], "{path}");
        }
        for none in [r#"{"correlationId":"  "}"#, r#"{"correlationId":null}"#, "{}"] {
            assert!(ids(Method::PUT, "/v2/orders/1", none).is_empty(), "{none}");
            assert_ne!(place(none).unwrap().ids, place(none).unwrap().ids, "two orders of blanks are two");
        }
    }

    /// The broker documents 30; beyond them it would be cut, or refused in words that say nothing.
    #[test]
    fn an_id_that_is_too_long_for_the_broker_is_refused_before_it_leaves() {
        let of = |length: usize| format!(r#"{{"correlationId":"{}"}}"#, "é".repeat(length));
        assert_eq!(place(&of(30)).unwrap().correlation.unwrap().id().chars().count(), 30);
        assert_eq!(place(&of(31)).unwrap_err().code, Code::BadRequest);
        let several = format!(r#"{{"orders":[{}]}}"#, of(31));
        assert_eq!(sign(Method::POST, "/v2/alerts/multi/orders", several).unwrap_err().code, Code::BadRequest);
        // No order is under it, and a change or a cancel does not go by it.
        assert!(
            sign(Method::PUT, "/v2/orders/1", of(31)).is_ok() && sign(Method::DELETE, "/v2/orders/1", of(31)).is_ok()
        );
    }

    /// Refusing costs most here.
    #[test]
    fn what_takes_risk_away_is_taken_with_any_body_that_says_nothing_else() {
        let on = Endpoint { write: Some(WriteKind::KillSwitchOn), ..classify(&Method::POST, "/v2/killswitch", None) };
        let cancel = classify(&Method::DELETE, "/v2/orders/1", None);
        let nothing = sign(Method::DELETE, "/v2/orders/1", "").unwrap().value_sha256;
        let wide: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for sent in [
            &b""[..],
            b"  ",
            b"[]",
            b"null",
            b"\"\"",
            b"a=b&c=d",
            b"{",
            b"\xff\xfe",
            &wide,
            b"{\"correlationid\":1}",
            b"\x1f\x8b",
        ] {
            for endpoint in [&on, &cancel] {
                let signed = body(Bytes::copy_from_slice(sent), endpoint, &id(), None, DAY).unwrap();
                assert_eq!((&*signed.body, signed.value_sha256), (&b""[..], nothing), "{sent:?}");
            }
            if !sent.is_empty() {
                assert_eq!(sign(Method::POST, "/v2/orders", sent).unwrap_err().code, Code::BadRequest, "{sent:?}");
            }
        }
        for sent in ["{}", "\u{feff}{}", r#"{"dhanClientId":"1000000001"}"#] {
            assert_eq!(body(sent.into(), &cancel, &id(), None, DAY).unwrap().value_sha256, nothing, "{sent}");
        }
        // Another account's is no harmless spelling.
        for other in [r#"{"dhanClientId":"1000000002"}"#, r#"{"dhanClientId":"1000000001","dhanClientId":"1"}"#] {
            assert!(body(other.into(), &cancel, &id(), None, DAY).is_err(), "{other}");
        }
    }

    #[test]
    fn a_placement_behind_a_byte_order_mark_is_taken_without_it() {
        let signed = place("\u{feff}{\"quantity\":1}").unwrap();
        assert!(signed.body.starts_with(b"{\"dhanClientId\""));
        assert_eq!(signed.value_sha256, place("{\"quantity\":1}").unwrap().value_sha256);
        let wide: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for wide in [wide.clone(), [vec![0xff, 0xfe], wide].concat()] {
            let refused = sign(Method::POST, "/v2/orders", wide).unwrap_err();
            assert!(refused.detail.contains("UTF-16"), "{}", refused.detail);
        }
    }

    /// An order with another account's id on it must not leave at all.
    #[test]
    fn another_accounts_client_id_is_refused() {
        for sent in [
            r#"{"dhanClientId":"1000000002"}"#,
            r#"{"dhanClientId":1000000002}"#,
            r#"{"dhanClientId":["1000000001"]}"#,
            r#"{"dhanClientId":"1000000001 "}"#,
        ] {
            assert_eq!(place(sent).unwrap_err().code, Code::ClientIdMismatch, "{sent}");
        }
        // Escapes are read as the broker would read them.
        assert_eq!(place(r#"{"dhanClient\u0049d":"1000000002"}"#).unwrap_err().code, Code::ClientIdMismatch);
        assert!(place(r#"{"dhanClientId":"\u0031000000001"}"#).is_ok());
        // Not an order, and still somebody else's.
        let sent = r#"{"dhanClientId":"1000000002","NSE_EQ":[1]}"#;
        assert_eq!(sign(Method::POST, "/v2/marketfeed/ltp", sent).unwrap_err().code, Code::ClientIdMismatch);
    }

    #[test]
    fn a_body_that_two_parsers_could_read_differently_is_refused() {
        for sent in [
            r#"{"dhanClientId":"1000000001","dhanClientId":"1000000002"}"#,
            r#"{"dhanClientId":"1000000001","DHANCLIENTID":"1000000002"}"#,
            r#"{"correlationId":"a","correlationId":"b"}"#,
            r#"{"correlationid":"a"}"#,
            r#"[{"dhanClientId":"1000000001"}]"#,
            r#"{"a":1"#,
            r#"{"a":1}{"b":2}"#,
            "a=b&c=d",
        ] {
            assert_eq!(place(sent).unwrap_err().code, Code::BadRequest, "{sent}");
        }
    }

    proptest! {
        /// Whatever JSON object a caller sends: the result is the same object with
        /// the account's own id, or a refusal.
        #[test]
        fn what_goes_out_names_this_account_and_changes_nothing_else(
            members in prop::collection::btree_map("[a-zA-Z]{1,8}", prop_oneof![Just("1".to_owned()), Just("\"x{\"".to_owned()), Just("[{}]".to_owned())], 0..5),
            own in prop::option::of(prop_oneof![Just("\"1000000001\""), Just("\"\""), Just("null")]),
        ) {
            let mut parts: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\" : {v}")).collect();
            if let Some(own) = own {
                parts.insert(parts.len() / 2, format!("\"dhanClientId\":{own}"));
            }
            let sent = format!("{{{}}}", parts.join(" ,"));
            let signed = place(&sent).unwrap();
            let mut before: serde_json::Value = serde_json::from_str(&sent).unwrap();
            let after: serde_json::Value = serde_json::from_slice(&signed.body).unwrap();
            before["dhanClientId"] = "1000000001".into();
            before["correlationId"] = (&**signed.correlation.unwrap().id()).into();
            prop_assert_eq!(before, after);
        }
    }
}
