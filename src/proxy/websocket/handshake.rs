//! The handshake: what a caller asks, what the broker is asked, what the answer means for the frames.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use data_encoding::BASE64;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::broker::dhan::streams::StreamKind;
use crate::dispatch::reply::{Code, Problem};
use crate::domain::{Outcome, random};

/// A caller's wish for a WebSocket.
#[derive(Debug)]
pub(in super::super) struct Handshake {
    /// Frames must be readable where we change one, or say it again.
    plain_frames: bool,
}

impl Handshake {
    /// `replayed`: what the caller says may be said again on another socket of the broker's.
    ///
    /// # Errors
    /// 400 when this is no WebSocket handshake; these hosts speak nothing else.
    pub(in super::super) fn of(
        method: &Method,
        headers: &HeaderMap,
        kind: StreamKind,
        replayed: bool,
    ) -> Result<Self, Problem> {
        let asks = *method == Method::GET
            && has(headers, UPGRADE, "websocket")
            && has(headers, CONNECTION, "upgrade")
            && headers.contains_key(SEC_WEBSOCKET_KEY);
        if !asks {
            return Err(Problem::before_sending(Code::BadRequest, "this host speaks WebSocket only"));
        }
        if !has(headers, SEC_WEBSOCKET_VERSION, "13") {
            return Err(Problem::before_sending(Code::BadRequest, "the WebSocket's version is not 13 (RFC 6455)"));
        }
        Ok(Self { plain_frames: replayed || kind == StreamKind::OrderUpdate })
    }

    /// The handshake's own hop-by-hop fields, after the caller's were removed.
    pub(in super::super) fn request(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if self.plain_frames {
            // A compressed login could not be signed, and what was compressed on one socket means nothing on another.
            headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        }
    }

    /// Was permessage-deflate agreed upon (RFC 7692)?
    ///
    /// # Errors
    /// An extension that was not asked for, or that would change frames in a way that is not known here.
    pub(in super::super) fn agreed(&self, reply: &HeaderMap) -> Result<bool, Problem> {
        let mut extensions = words(reply, SEC_WEBSOCKET_EXTENSIONS)
            .map(|extension| extension.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let known = |extension: &str| extension == "permessage-deflate" && !self.plain_frames;
        match (extensions.next(), extensions.next()) {
            (None, _) => Ok(false),
            (Some(one), None) if known(&one) => Ok(true),
            _ => {
                let detail = "the broker's handshake has a WebSocket extension that it was not asked for";
                Err(Problem::new(Code::UpstreamFailed, detail, Outcome::Unknown))
            }
        }
    }
}

/// A key of our own for a handshake (RFC 6455, section 4.1), and what the broker has to answer to it.
///
/// # Errors
/// When the kernel has no random bytes.
pub(super) fn key() -> Result<(HeaderValue, String), getrandom::Error> {
    let key = BASE64.encode(&random::bytes::<16>()?);
    let accepted = accepted(key.as_bytes());
    Ok((HeaderValue::try_from(key).unwrap_or_else(|_| HeaderValue::from_static("")), accepted))
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455, section 4.2.2).
pub(in super::super) fn accepted(key: &[u8]) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finish().as_ref())
}

/// Our own 101 to a caller, whose key comes to this.
pub(in super::super) fn switching(accepted: Option<&str>) -> Response<()> {
    let mut reply = Response::new(());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Some(accepted) = accepted.and_then(|accepted| HeaderValue::from_str(accepted).ok()) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    }
    reply
}

/// Is this the answer to our own handshake, which nobody else looks at: with its own `Sec-WebSocket-Accept`, and no
/// extension?
pub(super) fn is_answer(reply: &HeaderMap, accepted: &str) -> bool {
    let mut values = reply.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    values.next().is_some_and(|value| value.as_bytes() == accepted.as_bytes())
        && values.next().is_none()
        && !reply.contains_key(SEC_WEBSOCKET_EXTENSIONS)
}

fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

fn has(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    const ASKS: [(&str, &str); 5] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];

    #[test]
    fn what_is_no_handshake_is_refused_in_words() {
        assert!(Handshake::of(&Method::GET, &headers(&ASKS), StreamKind::Feed, false).is_ok());
        assert!(Handshake::of(&Method::POST, &headers(&ASKS), StreamKind::Feed, false).is_err());
        for without in ["connection", "upgrade", "sec-websocket-key", "sec-websocket-version"] {
            let mut asked = headers(&ASKS);
            asked.remove(without);
            assert!(Handshake::of(&Method::GET, &asked, StreamKind::Feed, false).is_err(), "{without}");
        }
    }

    /// The login of the order updates is changed, and subscriptions are said again: compressed ones could not be.
    #[test]
    fn compression_is_the_two_ends_own_but_where_frames_are_rewritten() {
        for (kind, replayed, asks) in [
            (StreamKind::Feed, false, true),
            (StreamKind::Depth200, false, true),
            (StreamKind::OrderUpdate, false, false),
            (StreamKind::Feed, true, false),
        ] {
            let handshake = Handshake::of(&Method::GET, &headers(&ASKS), kind, replayed).unwrap();
            let mut asked = headers(&ASKS);
            handshake.request(&mut asked);
            assert_eq!(asked.contains_key(SEC_WEBSOCKET_EXTENSIONS), asks, "{kind:?}");
            let deflate = headers(&[("sec-websocket-extensions", "permessage-deflate;server_no_context_takeover")]);
            assert_eq!(handshake.agreed(&deflate).ok(), asks.then_some(true), "{kind:?}");
            assert_eq!(handshake.agreed(&headers(&[])).ok(), Some(false));
            assert!(handshake.agreed(&headers(&[("sec-websocket-extensions", "x-webkit-deflate-frame")])).is_err());
        }
    }

    /// The RFC's own example. An answer that is not to our key may be a cache's.
    #[test]
    fn an_answer_to_our_own_handshake_is_looked_at() {
        let rfc = accepted(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(rfc, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_answer(&headers(&[("sec-websocket-accept", &rfc)]), &rfc));
        assert!(!is_answer(&headers(&[]), &rfc));
        assert!(!is_answer(&headers(&[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")]), &rfc));
        let extended = [("sec-websocket-accept", rfc.as_str()), ("sec-websocket-extensions", "permessage-deflate")];
        assert!(!is_answer(&headers(&extended), &rfc));
        let ((one, accepts), (other, _)) = (key().unwrap(), key().unwrap());
        assert!(one != other && accepts == accepted(one.as_bytes()) && one.len() == 24);
    }
}
