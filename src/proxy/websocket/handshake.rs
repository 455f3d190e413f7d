//! The handshake: what a caller asks, what the broker is asked, what the answer means for the frames.

use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::broker::dhan::streams::StreamKind;
use crate::dispatch::reply::{Code, Problem};
use crate::domain::Outcome;

/// A caller's wish for a WebSocket.
#[derive(Debug)]
pub(in super::super) struct Handshake {
    /// Frames must be readable where we change one.
    plain_frames: bool,
}

impl Handshake {
    /// # Errors
    /// 400 when this is no WebSocket handshake; these hosts speak nothing else.
    pub(in super::super) fn of(method: &Method, headers: &HeaderMap, kind: StreamKind) -> Result<Self, Problem> {
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
        Ok(Self { plain_frames: kind == StreamKind::OrderUpdate })
    }

    /// The handshake's own hop-by-hop fields, after the caller's were removed.
    pub(in super::super) fn request(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if self.plain_frames {
            // A compressed login frame could not be signed.
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
        assert!(Handshake::of(&Method::GET, &headers(&ASKS), StreamKind::Feed).is_ok());
        assert!(Handshake::of(&Method::POST, &headers(&ASKS), StreamKind::Feed).is_err());
        for without in ["connection", "upgrade", "sec-websocket-key", "sec-websocket-version"] {
            let mut asked = headers(&ASKS);
            asked.remove(without);
            assert!(Handshake::of(&Method::GET, &asked, StreamKind::Feed).is_err(), "{without}");
        }
    }

    /// The login of the order updates is changed, and no compressed one could be.
    #[test]
    fn compression_is_the_two_ends_own_but_for_the_order_updates() {
        for (kind, asks) in [(StreamKind::Feed, true), (StreamKind::Depth200, true), (StreamKind::OrderUpdate, false)] {
            let handshake = Handshake::of(&Method::GET, &headers(&ASKS), kind).unwrap();
            let mut asked = headers(&ASKS);
            handshake.request(&mut asked);
            assert_eq!(asked.contains_key(SEC_WEBSOCKET_EXTENSIONS), asks, "{kind:?}");
            let deflate = headers(&[("sec-websocket-extensions", "permessage-deflate;server_no_context_takeover")]);
            assert_eq!(handshake.agreed(&deflate).ok(), asks.then_some(true), "{kind:?}");
            assert_eq!(handshake.agreed(&headers(&[])).ok(), Some(false));
            assert!(handshake.agreed(&headers(&[("sec-websocket-extensions", "x-webkit-deflate-frame")])).is_err());
        }
    }
}
