//! Which header fields go on, in both directions (RFC 9110 section 7.6).

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// How we sign the lookup of a message (RFC 9110 section 7.6.3).
const VIA_SIXGATE: HeaderValue = HeaderValue::from_static("1.1 sixgate");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

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

/// What goes on to the broker; everything else stays here. A list of what may pass
/// and not of what may not: besides credentials, servers and the network in front
/// of them listen to fields that change a request's source (`X-Forwarded-For`),
/// method (`X-HTTP-Method-Override`) or path (`X-Original-URL`), and nobody knows
/// all of them.
const TO_BROKER: [HeaderName; 17] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONTENT_LANGUAGE,
    CONTENT_TYPE,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    USER_AGENT,
];

/// Keep what may go to the broker.
pub(crate) fn for_broker(headers: &mut HeaderMap) {
    let mut passed = HeaderMap::with_capacity(headers.len().min(TO_BROKER.len()) + 4);
    let mut last = None;
    for (name, value) in std::mem::take(headers) {
        // A further value of the same field comes without a name.
        if name.is_some() {
            last = name.filter(|name| TO_BROKER.contains(name));
        }
        if let Some(name) = &last {
            passed.append(name.clone(), value);
        }
    }
    passed.append(VIA, VIA_SIXGATE);
    *headers = passed;
}

/// What a caller says of the answer to an order write is ours to say: it has to be read, whole and as JSON, to know
/// what became of the order. For what [`for_broker`] has gone through.
///
/// What takes risk away is called what the broker's documents call all of it, whatever its caller did: a kill switch
/// without a body or a type must not fail for its type.
pub(super) fn for_write(headers: &mut HeaderMap, takes_risk_away: bool) {
    for name in [RANGE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE] {
        headers.remove(name);
    }
    headers.insert(ACCEPT, JSON);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if takes_risk_away {
        headers.insert(CONTENT_TYPE, JSON);
    }
}

/// Remove what belongs to the caller's connection to us, for a host that is not
/// the broker's: its own login is none of ours to take away.
pub(crate) fn for_allowed(headers: &mut HeaderMap) {
    remove_nominated(headers);
    for name in HOP_BY_HOP.iter().chain(&[HOST, EXPECT]) {
        headers.remove(name);
    }
    headers.append(VIA, VIA_SIXGATE);
}

/// Remove what belongs to the broker's connection, and what only we may say.
pub(super) fn for_caller(headers: &mut HeaderMap) {
    // Looked for by going through what is there: a reply has few fields, and seldom one of these. The length stays:
    // the codec checks it against what really comes.
    remove_nominated(headers);
    let stays = |name: &&HeaderName| **name == CONTENT_LENGTH || !(HOP_BY_HOP.contains(name) || is_ours(name));
    let gone: Vec<_> = headers.keys().filter(|name| !stays(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    headers.append(VIA, VIA_SIXGATE);
}

fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("sixgate-")
}

/// Fields that `Connection` names are for this connection too.
fn remove_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
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
            ("X-Forwarded-For", "2001:db8:a1::9"),
            ("Forwarded", "for=1.2.3.4"),
            ("X-HTTP-Method-Override", "POST"),
            ("X-Original-URL", "/v2/ip/setIP"),
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

    /// With gzip an executed exit-all was told "unknown", and a refused address brought no failover.
    #[test]
    fn the_caller_does_not_negotiate_the_answer_to_an_order() {
        let asked = [
            ("Accept", "text/html"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "gzip, br"),
            ("Range", "bytes=0-1"),
            ("If-None-Match", "*"),
            ("If-Modified-Since", "Mon, 23 Nov 2026 00:00:00 GMT"),
            ("If-Match", "x"),
            ("If-Range", "x"),
            ("If-Unmodified-Since", "x"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("User-Agent", "engine"),
        ];
        for (takes_risk_away, kind) in [(false, "application/x-www-form-urlencoded"), (true, "application/json")] {
            let mut sent = headers(&asked);
            for_broker(&mut sent);
            for_write(&mut sent, takes_risk_away);
            let mut left: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            left.sort_unstable();
            let want = [
                ("accept", "application/json"),
                ("accept-encoding", "identity"),
                ("content-type", kind),
                ("user-agent", "engine"),
                ("via", "1.1 sixgate"),
            ];
            assert_eq!(left, want);
        }
    }

    #[test]
    fn an_allowed_host_gets_the_callers_own_login_but_not_the_one_to_us() {
        let mut sent =
            headers(&[("Authorization", "Bearer x"), ("Proxy-Authorization", "Basic x"), ("Connection", "close")]);
        for_allowed(&mut sent);
        let mut left: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "via"]);
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
