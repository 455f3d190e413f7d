//! Signing: the caller's credentials out, the account's in.
//!
//! The token alone selects the account at the broker, so a body that names
//! another account's `dhanClientId` is refused: either the caller is confused
//! about who it is, or somebody else is speaking.

pub(super) mod members;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::headers;
use super::reply::{Code, Problem};
use crate::accounts::Account;
use crate::broker::dhan::endpoints::Endpoint;
use crate::domain::{ClientId, random};
use crate::tokens::LiveToken;

const ACCESS_TOKEN: HeaderName = HeaderName::from_static("access-token");
const CLIENT_ID: HeaderName = HeaderName::from_static("client-id");

/// Turn a caller's headers into the account's.
pub fn headers(headers: &mut HeaderMap, account: &Account, token: &LiveToken) {
    headers::for_broker(headers);
    self::token(headers, token);
    headers.insert(CLIENT_ID, account.client_id_header.clone());
}

/// Sign with this token, in place of whichever it was.
pub fn token(headers: &mut HeaderMap, token: &LiveToken) {
    headers.insert(ACCESS_TOKEN, token.header().clone());
}

/// A feed's query: the caller's token and client id out, the account's in.
///
/// # Errors
/// [`Problem`] when the result is no URI, which a checked token rules out.
pub fn feed_query(path: &PathAndQuery, account: &Account, token: &LiveToken) -> Result<PathAndQuery, Problem> {
    let mut query: Vec<String> = path
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && !["token", "clientid"].contains(&name.to_ascii_lowercase().as_str())
        })
        .map(str::to_owned)
        .collect();
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

/// The path alone.
pub fn no_query(path: &PathAndQuery) -> PathAndQuery {
    path.path().parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
}

/// A body as it goes to the broker.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// The body. Bytes that did not have to change are the caller's own.
    pub body: Bytes,
    /// The correlation id that it carries, where the endpoint takes one.
    pub correlation: Option<Correlation>,
}

/// A correlation id and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// The caller's.
    Given(Arc<str>),
    /// Filled in.
    Made(Arc<str>),
}

impl Correlation {
    /// The id.
    pub const fn id(&self) -> &Arc<str> {
        let (Self::Given(id) | Self::Made(id)) = self;
        id
    }

    /// The id, if it was filled in: the caller has to be told.
    pub const fn made(&self) -> Option<&Arc<str>> {
        match self {
            Self::Made(id) => Some(id),
            Self::Given(_) => None,
        }
    }
}

/// Check the account's id in a JSON body, and fill in what the endpoint takes
/// and the caller left out. With an `Idempotency-Key` the correlation id follows from
/// account and key, so that the order can be found by the key after a restart.
///
/// # Errors
/// 403 `client_id_mismatch`; 400 when a member that matters stands twice, or an
/// order write's body is no JSON object.
pub fn body(body: Bytes, endpoint: Endpoint, client_id: &ClientId, key: Option<&str>) -> Result<Signed, Problem> {
    let same = |body| Ok(Signed { body, correlation: None });
    if body.is_empty() {
        return same(body);
    }
    let members = match members::read(&body) {
        Ok(members) => members,
        Err(err) if err.is_data() && err.to_string().contains(members::TWICE) => {
            let detail = "dhanClientId or correlationId stands in the body twice, or in another spelling";
            return Err(Problem::before_sending(Code::BadRequest, detail));
        }
        // What is no JSON object names no account in a way the broker would read.
        Err(_) if !endpoint.write => return same(body),
        Err(err) => {
            let detail = format!("the body of an order write must be a JSON object: {}", position(&err));
            return Err(Problem::before_sending(Code::BadRequest, detail));
        }
    };
    let mut edits = Edits::default();
    match members.client_id.map(Text::of) {
        Some(Text::Is(own)) if own == client_id.as_str() => {}
        Some(Text::Is(other)) if !other.is_empty() => {
            let detail =
                format!("the body's dhanClientId is not this account's, {client_id}; leave it out and it is filled in");
            return Err(Problem::before_sending(Code::ClientIdMismatch, detail));
        }
        Some(Text::Is(_) | Text::Null) => edits.replace(&body, members.client_id, client_id.as_str()),
        Some(Text::Other) => {
            return Err(Problem::before_sending(Code::ClientIdMismatch, "dhanClientId must be a text of digits"));
        }
        None if endpoint.client_id => edits.client_id = Some(client_id.as_str()),
        None => {}
    }
    let mut correlation = None;
    if endpoint.correlation {
        match members.correlation_id.map(Text::of) {
            Some(Text::Is(given)) if !given.is_empty() => correlation = Some(Correlation::Given((&*given).into())),
            Some(Text::Other) => {
                return Err(Problem::before_sending(Code::BadRequest, "correlationId must be a text"));
            }
            found => {
                let made = match key {
                    Some(key) => derived_correlation_id(client_id, key),
                    None => new_correlation_id()?,
                };
                match found {
                    Some(_) => edits.replace(&body, members.correlation_id, &made),
                    None => edits.correlation_id = Some(Arc::clone(&made)),
                }
                correlation = Some(Correlation::Made(made));
            }
        }
    }
    let body = if edits.is_empty() { body } else { edits.apply(&body, members.empty) };
    Ok(Signed { body, correlation })
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

/// The same for the same account and key: 110 bits of SHA-256.
fn derived_correlation_id(client_id: &ClientId, key: &str) -> Arc<str> {
    let mut hash = Sha256::new();
    hash.update(client_id.as_str());
    hash.update([0]);
    hash.update(key);
    let hash: [u8; 32] = hash.finalize().into();
    correlation_id(hash.first_chunk().unwrap_or(&[0; 14]))
}

/// Where JSON went wrong, without quoting any of it.
fn position(err: &serde_json::Error) -> String {
    format!("line {}, column {}", err.line(), err.column())
}

/// A raw value read as text.
enum Text<'a> {
    Is(Cow<'a, str>),
    Null,
    Other,
}

impl<'a> Text<'a> {
    fn of(raw: &'a str) -> Self {
        // It was read as JSON already: without an escape it is what stands there.
        if let Some(text) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|t| !t.contains('\\'))
        {
            return Self::Is(Cow::Borrowed(text));
        }
        match serde_json::from_str::<serde_json::Value>(raw) {
            Ok(serde_json::Value::String(text)) => Self::Is(text.into()),
            Ok(serde_json::Value::Null) => Self::Null,
            // Some SDKs send the id as a number.
            Ok(serde_json::Value::Number(number)) => Self::Is(number.to_string().into()),
            _ => Self::Other,
        }
    }
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

    fn id() -> ClientId {
        ClientId::parse("1000000001").unwrap()
    }

    fn place(text: &str) -> Result<Signed, Problem> {
        body(Bytes::copy_from_slice(text.as_bytes()), classify(&Method::POST, "/v2/orders"), &id(), None)
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
        for sent in [r#"{"price":1}"#, "{}", r#"{"correlationId":""}"#, r#"{"correlationId":null,"a":[]}"#] {
            let signed = place(sent).unwrap();
            let made = signed.correlation.unwrap().made().unwrap().to_string();
            let value: serde_json::Value = serde_json::from_slice(&signed.body).unwrap();
            assert_eq!(value["correlationId"], made.as_str(), "{sent}");
            assert_eq!(value["dhanClientId"], "1000000001");
            assert!(
                made.len() <= 30 && made.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
                "{made}"
            );
        }
    }

    /// After a restart the order is looked for by what the key alone gives.
    #[test]
    fn an_idempotency_key_gives_the_same_correlation_id_each_time() {
        let orders = classify(&Method::POST, "/v2/orders");
        let made = |client: &str, key: &str| {
            let client = ClientId::parse(client).unwrap();
            body(Bytes::from_static(b"{}"), orders, &client, Some(key)).unwrap().correlation.unwrap().id().to_owned()
        };
        // For good: an order that an older version placed is looked for by it.
        assert_eq!(&*made("1000000001", "k"), "SGMF3XGAHLZ764EANSOUUL3M");
        assert_ne!(made("1000000001", "k"), made("1000000001", "l"));
        assert_ne!(made("1000000001", "k"), made("1000000002", "k"));
        assert_eq!(made("1000000001", "k").len(), 24);
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
        let quote = classify(&Method::POST, "/v2/marketfeed/ltp");
        let sent = Bytes::from_static(br#"{"dhanClientId":"1000000002","NSE_EQ":[1]}"#);
        assert_eq!(body(sent, quote, &id(), None).unwrap_err().code, Code::ClientIdMismatch);
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
