//! WebSockets (RFC 6455): the handshake is signed in its query or the session in
//! its first frame; after that frames are passed on as they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::http1::Rewind;
use super::tunnel::{TunnelLifetime, both_ways};
use crate::broker::dhan::hosts::Service;
use crate::dispatch::reply::{Body, Code, Problem};
use crate::domain::{ClientId, Outcome};
use crate::egress::Upgraded;
use crate::tokens::LiveToken;

/// The longest login frame taken.
const LOGIN_LIMIT: usize = 16 * 1024;
/// How long a caller may take to log in.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);

/// A caller's wish for a WebSocket.
#[derive(Debug)]
pub(super) struct Handshake {
    /// Frames must be readable where we change one.
    plain_frames: bool,
}

impl Handshake {
    /// # Errors
    /// 400 when this is no WebSocket handshake; these hosts speak nothing else.
    pub(super) fn of(method: &Method, headers: &HeaderMap, service: Service) -> Result<Self, Problem> {
        let has = |name, word: &str| {
            let mut values = headers.get_all(name).iter().filter_map(|v: &HeaderValue| v.to_str().ok());
            values.any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(word)))
        };
        let wants_upgrade = *method == Method::GET
            && has(UPGRADE, "websocket")
            && has(CONNECTION, "upgrade")
            && headers.contains_key(SEC_WEBSOCKET_KEY);
        if !wants_upgrade {
            return Err(Problem::before_sending(Code::BadRequest, "this host speaks WebSocket only"));
        }
        Ok(Self { plain_frames: service == Service::OrderUpdate })
    }

    /// The handshake's own hop-by-hop fields, after the caller's were removed.
    pub(super) fn request(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if self.plain_frames {
            // A compressed login frame could not be signed.
            headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        }
    }
}

/// What the order-update host wants to hear first.
#[derive(Debug)]
pub(super) struct Login {
    client_id: ClientId,
    token: Arc<LiveToken>,
}

impl Login {
    /// For an account.
    pub(super) const fn new(client_id: ClientId, token: Arc<LiveToken>) -> Self {
        Self { client_id, token }
    }

    /// The account's login in place of the caller's, whatever kind that was.
    fn message(&self) -> Vec<u8> {
        serde_json::json!({
            "LoginReq": {
                "MsgCode": 42,
                "ClientId": self.client_id.as_str(),
                "Token": self.token.secret().expose_secret(),
            },
            "UserType": "SELF",
        })
        .to_string()
        .into_bytes()
    }
}

/// An accepted WebSocket, to be joined with the caller's side.
#[derive(Debug)]
pub(super) struct Relay {
    upstream: Rewind<Upgraded>,
    login: Option<Login>,
}

impl Relay {
    /// Of the broker's 101.
    ///
    /// # Errors
    /// 502 when its connection cannot be taken over.
    pub(super) fn new(reply: Response<Body>, login: Option<Login>) -> Result<(Response<()>, Self), Problem> {
        let (parts, body) = reply.into_parts();
        let upgraded = match body {
            Body::Broker(body) => body.into_upgraded(),
            Body::Own(_) | Body::Begun { .. } => None,
        };
        let (upstream, early) = upgraded.ok_or_else(|| {
            Problem::new(Code::UpstreamFailed, "the broker's connection cannot be taken over", Outcome::Unknown)
        })?;
        let upstream = Rewind::new(early, upstream);
        Ok((Response::from_parts(parts, ()), Self { upstream, login }))
    }

    /// Pass frames on until one side is done or it may go on no longer.
    pub(super) async fn run<IO: AsyncRead + AsyncWrite + Unpin>(self, caller: IO, until: &TunnelLifetime) {
        let upstream = self.upstream;
        let joined = async {
            match self.login {
                Some(login) => order_updates(caller, upstream, &login).await,
                None => drop(both_ways(caller, upstream).await),
            }
        };
        tokio::select! {
            () = joined => {}
            () = until.over() => {}
        }
    }
}

/// Order updates: the caller logs in once, as its account, and listens. It has
/// nothing else to say, and a second login could be another account's.
async fn order_updates<C, U>(caller: C, upstream: U, login: &Login)
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut from_caller, mut to_caller) = tokio::io::split(caller);
    let (mut from_broker, mut to_broker) = tokio::io::split(upstream);
    let mut buffer = BytesMut::new();
    let up = async {
        let signed = caller_frames(&mut from_caller, &mut to_broker, &mut buffer, Some(login));
        match tokio::time::timeout(LOGIN_WITHIN, signed).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return tracing::info!(why, "an order-update caller did not log in"),
            Err(_) => return tracing::info!("an order-update caller did not log in in time"),
        }
        if let Err(why) = caller_frames(&mut from_caller, &mut to_broker, &mut buffer, None).await {
            tracing::debug!(why, "an order-update caller ended");
        }
    };
    let down = tokio::io::copy(&mut from_broker, &mut to_caller);
    tokio::select! {
        () = up => {}
        _ = down => {}
    }
}

/// Pass the caller's control frames on. Its first message becomes the account's
/// login, if that is still to come, and this ends; any other message is an error.
pub(super) async fn caller_frames<C, U>(
    caller: &mut C,
    upstream: &mut U,
    buffer: &mut BytesMut,
    login: Option<&Login>,
) -> Result<(), &'static str>
where
    C: AsyncRead + Unpin,
    U: AsyncWrite + Unpin,
{
    let broken = |_| "the broker closed";
    loop {
        while let Some(frame) = FrameHead::peek(buffer)? {
            if frame.is_control() {
                let bytes = buffer.split_to(frame.length);
                upstream.write_all(&bytes).await.map_err(broken)?;
                upstream.flush().await.map_err(broken)?;
                continue;
            }
            let Some(login) = login else { return Err("a message after the login") };
            if !frame.is_whole_text() {
                return Err("the first message is not one text frame");
            }
            buffer.advance(frame.length);
            upstream.write_all(&text_frame(&login.message())?).await.map_err(broken)?;
            return upstream.flush().await.map_err(broken);
        }
        if buffer.len() > LOGIN_LIMIT {
            return Err("the message is too large");
        }
        if caller.read_buf(buffer).await.map_err(|_| "the caller closed")? == 0 {
            return Err("the caller closed");
        }
    }
}

/// The head of a frame (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug)]
struct FrameHead {
    first: u8,
    /// Of the whole frame, head included.
    length: usize,
}

impl FrameHead {
    /// The first frame of `bytes`, if all of it is there.
    fn peek(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err("a caller's frame is not masked");
        }
        let (head, payload) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            (126, _) => return Ok(None),
            (127, _) => return Err("the first message is too large"),
            (short, _) => (2, usize::from(short)),
        };
        let length = head + 4 + payload;
        if length > LOGIN_LIMIT {
            return Err("the first message is too large");
        }
        Ok((bytes.len() >= length).then_some(Self { first: *first, length }))
    }

    const fn is_control(self) -> bool {
        self.first & 0x08 != 0
    }

    /// FIN, no extension bits, opcode 1.
    const fn is_whole_text(self) -> bool {
        self.first == 0x81
    }
}

/// A masked text frame.
pub(super) fn text_frame(payload: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut mask = [0u8; 4];
    getrandom::fill(&mut mask).map_err(|_| "no random bytes")?;
    let length = u16::try_from(payload.len()).map_err(|_| "the login is too large")?;
    let mut frame = vec![0x81];
    if length < 126 {
        frame.push(0x80 | u8::try_from(length).unwrap_or_default());
    } else {
        frame.push(0x80 | 126);
        frame.extend_from_slice(&length.to_be_bytes());
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn login() -> Login {
        let token = LiveToken::new("real-token".to_owned().into(), Timestamp::MAX, "manual".into(), 1).unwrap();
        Login::new(ClientId::parse("1000000001").unwrap(), Arc::new(token))
    }

    fn unmask(frame: &[u8]) -> Vec<u8> {
        let found = FrameHead::peek(frame).unwrap().unwrap();
        let head = if frame[1] & 0x7f == 126 { 4 } else { 2 };
        let mask = &frame[head..head + 4];
        frame[head + 4..found.length].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect()
    }

    async fn passed(mut sent: &[u8], login: Option<&Login>) -> (Vec<u8>, Result<(), &'static str>) {
        let mut upstream = Vec::new();
        let done = caller_frames(&mut sent, &mut upstream, &mut BytesMut::new(), login).await;
        (upstream, done)
    }

    /// The caller's login may be another account's, or a placeholder.
    #[tokio::test]
    async fn the_first_message_becomes_the_accounts_login() {
        let mut sent = vec![0x89, 0x80, 1, 2, 3, 4]; // a ping before it
        sent.extend(
            text_frame(br#"{"LoginReq":{"MsgCode":42,"ClientId":"9","Token":"fake"},"UserType":"SELF"}"#).unwrap(),
        );
        let (upstream, done) = passed(&sent, Some(&login())).await;
        assert_eq!(done, Ok(()));
        assert_eq!(&upstream[..6], &[0x89, 0x80, 1, 2, 3, 4]);
        let said: serde_json::Value = serde_json::from_slice(&unmask(&upstream[6..])).unwrap();
        assert_eq!(said["LoginReq"]["ClientId"], "1000000001");
        assert_eq!(said["LoginReq"]["Token"], "real-token");
    }

    /// With another account's token on the same connection it would listen to that one.
    #[tokio::test]
    async fn a_second_message_is_not_passed_on() {
        let mut sent = vec![0x8a, 0x80, 1, 2, 3, 4];
        sent.extend(text_frame(br#"{"LoginReq":{"Token":"another"}}"#).unwrap());
        let (upstream, done) = passed(&sent, None).await;
        assert_eq!(done, Err("a message after the login"));
        assert_eq!(upstream, [0x8a, 0x80, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_login_that_cannot_be_read_is_not_passed_on() {
        for (frame, why) in [
            (vec![0x01, 0x81, 0, 0, 0, 0, b'x'], "a fragment"),
            (vec![0xc1, 0x81, 0, 0, 0, 0, b'x'], "a compressed frame"),
            (vec![0x82, 0x81, 0, 0, 0, 0, b'x'], "a binary frame"),
            (vec![0x81, 0x01, b'x'], "an unmasked frame"),
            (vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 1], "a huge frame"),
            (vec![0x81, 0x85, 0, 0], "half a frame"),
        ] {
            let (upstream, done) = passed(&frame, Some(&login())).await;
            assert!(done.is_err() && upstream.is_empty(), "{why}");
        }
    }
}
