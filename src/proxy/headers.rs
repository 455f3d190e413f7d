//! Which header fields go on, in both directions (RFC 9110 section 7.6).

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// How we sign the trail of a message (RFC 9110 section 7.6.3).
const VIA_SIXGATE: HeaderValue = HeaderValue::from_static("1.1 sixgate");

/// For one connection only (RFC 9110 section 7.6.1), or the framing of one message.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    CONTENT_LENGTH,
];

/// What a caller may send as credentials, or as the account's identity: removed
/// before the account's own is put in. A cookie is a credential too.
const CREDENTIALS: [HeaderName; 5] = [
    HeaderName::from_static("access-token"),
    HeaderName::from_static("client-id"),
    HeaderName::from_static("dhanclientid"),
    AUTHORIZATION,
    COOKIE,
];

/// Ours or of this hop; nothing to the broker.
const OURS: [HeaderName; 3] = [HOST, EXPECT, HeaderName::from_static("idempotency-key")];

/// Remove what belongs to the caller's connection and what it sent as credentials.
pub fn for_broker(headers: &mut HeaderMap) {
    remove_nominated(headers);
    for name in HOP_BY_HOP.iter().chain(&CREDENTIALS).chain(&OURS) {
        headers.remove(name);
    }
    headers.append(VIA, VIA_SIXGATE);
}

/// Remove what belongs to the broker's connection, and what only we may say.
pub fn for_caller(headers: &mut HeaderMap) {
    // The length stays: the codec checks it against what really comes.
    let length = headers.remove(CONTENT_LENGTH);
    remove_nominated(headers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, length);
    }
    let ours: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("sixgate-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    headers.append(VIA, VIA_SIXGATE);
}

/// Fields that `Connection` names are for this connection too.
fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    /// What a caller sends as credentials may be another account's.
    #[test]
    fn nothing_of_the_callers_credentials_or_connection_goes_on() {
        let mut sent = headers(&[
            ("access-token", "theirs"),
            ("ACCESS-TOKEN", "again"),
            ("client-id", "1"),
            ("dhanClientId", "1"),
            ("Authorization", "Basic x"),
            ("Proxy-Authorization", "Basic x"),
            ("Cookie", "a=b"),
            ("Connection", "keep-alive, X-Private"),
            ("X-Private", "1"),
            ("Keep-Alive", "5"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "5"),
            ("Upgrade", "h2c"),
            ("Host", "evil"),
            ("Expect", "100-continue"),
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
        ]);
        for_broker(&mut sent);
        let mut left: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-type", "via"]);
    }

    #[test]
    fn the_broker_cannot_speak_as_the_gateway() {
        let mut reply = headers(&[
            ("sixgate-outcome", "executed"),
            ("Connection", "close"),
            ("Content-Length", "2"),
            ("ETag", "x"),
        ]);
        for_caller(&mut reply);
        let mut left: Vec<_> = reply.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "etag", "via"]);
    }
}
