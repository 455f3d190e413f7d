//! WebSockets (RFC 6455): the handshake is signed in its query or the session in
//! its first frame; after that frames are passed on as they are.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::reply::{Body, Code, Problem};
use crate::broker::dhan::hosts::Service;
use crate::domain::ClientId;
use crate::domain::tasks::Tasks;
use crate::tokens::LiveToken;

/// The longest login frame taken.
const LOGIN_LIMIT: usize = 16 * 1024;
/// How long a caller may take to log in.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);
const BUFFER: usize = 16 * 1024;

/// A caller's wish for a WebSocket.
#[derive(Debug)]
pub struct Handshake {
    /// Frames must be readable where we change one.
    plain_frames: bool,
}

impl Handshake {
    /// # Errors
    /// 400 when this is no WebSocket handshake; these hosts speak nothing else.
    pub fn of(method: &Method, headers: &HeaderMap, service: Service) -> Result<Self, Problem> {
        let has = |name, word: &str| {
            let mut values = headers.get_all(name).iter().filter_map(|v: &HeaderValue| v.to_str().ok());
            values.any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(word)))
        };
        let asks = *method == Method::GET
            && has(UPGRADE, "websocket")
            && has(CONNECTION, "upgrade")
            && headers.contains_key(SEC_WEBSOCKET_KEY);
        if !asks {
            return Err(Problem::before_sending(Code::BadRequest, "this host speaks WebSocket only"));
        }
        Ok(Self { plain_frames: service == Service::OrderUpdate })
    }

    /// The handshake's own hop-by-hop fields, after the caller's were removed.
    pub fn ask(&self, headers: &mut HeaderMap) {
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
pub struct Login {
    client_id: ClientId,
    token: Arc<LiveToken>,
}

impl Login {
    /// For an account.
    pub const fn new(client_id: ClientId, token: Arc<LiveToken>) -> Self {
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
pub struct Relay {
    upstream: OnUpgrade,
    login: Option<Login>,
}

impl Relay {
    /// Of the broker's 101.
    pub fn new(mut reply: Response<Body>, login: Option<Login>) -> (http::response::Parts, Self) {
        let upstream = hyper::upgrade::on(&mut reply);
        (reply.into_parts().0, Self { upstream, login })
    }

    /// Pass frames on until one side is done or the process stops.
    pub async fn run<IO: AsyncRead + AsyncWrite + Unpin>(self, mut caller: IO, tasks: &Tasks) {
        let Ok(upstream) = self.upstream.await else { return };
        let mut upstream = TokioIo::new(upstream);
        let joined = async {
            if let Some(login) = self.login {
                let signed = sign_first_message(&mut caller, &mut upstream, &login);
                match tokio::time::timeout(LOGIN_WITHIN, signed).await {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => return tracing::info!(why, "an order-update caller did not log in"),
                    Err(_) => return tracing::info!("an order-update caller did not log in in time"),
                }
            }
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut caller, &mut upstream, BUFFER, BUFFER).await;
        };
        tokio::select! {
            () = joined => {}
            () = tasks.stopping() => {}
        }
    }
}

/// Pass frames of the caller on until its first message, and put the account's
/// login in that one's place. Control frames before it go through as they are.
async fn sign_first_message<C, U>(caller: &mut C, upstream: &mut U, login: &Login) -> Result<(), &'static str>
where
    C: AsyncRead + Unpin,
    U: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = Frame::peek(&buffer)? {
            if frame.is_control() {
                let bytes = buffer.split_to(frame.length);
                upstream.write_all(&bytes).await.map_err(|_| "the broker closed")?;
                continue;
            }
            if !frame.is_whole_text() {
                return Err("the first message is not one text frame");
            }
            buffer.advance(frame.length);
            upstream.write_all(&text_frame(&login.message())?).await.map_err(|_| "the broker closed")?;
            upstream.write_all(&buffer).await.map_err(|_| "the broker closed")?;
            return upstream.flush().await.map_err(|_| "the broker closed");
        }
        if buffer.len() > LOGIN_LIMIT {
            return Err("the first message is too large");
        }
        if caller.read_buf(&mut buffer).await.map_err(|_| "the caller closed")? == 0 {
            return Err("the caller closed");
        }
    }
}

/// The head of a frame (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug)]
struct Frame {
    first: u8,
    /// Of the whole frame, head included.
    length: usize,
}

impl Frame {
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
fn text_frame(payload: &[u8]) -> Result<Vec<u8>, &'static str> {
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
        let found = Frame::peek(frame).unwrap().unwrap();
        let head = if frame[1] & 0x7f == 126 { 4 } else { 2 };
        let mask = &frame[head..head + 4];
        frame[head + 4..found.length].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect()
    }

    /// The caller's login may be another account's, or a placeholder.
    #[tokio::test]
    async fn the_first_message_becomes_the_accounts_login_and_the_rest_stays() {
        let mut sent = vec![0x89, 0x80, 1, 2, 3, 4]; // a ping before it
        sent.extend(
            text_frame(br#"{"LoginReq":{"MsgCode":42,"ClientId":"9","Token":"fake"},"UserType":"SELF"}"#).unwrap(),
        );
        let after = text_frame(b"later").unwrap();
        sent.extend(&after);
        let mut upstream = Vec::new();
        sign_first_message(&mut sent.as_slice(), &mut upstream, &login()).await.unwrap();
        assert_eq!(&upstream[..6], &[0x89, 0x80, 1, 2, 3, 4]);
        let said: serde_json::Value = serde_json::from_slice(&unmask(&upstream[6..])).unwrap();
        assert_eq!(said["LoginReq"]["ClientId"], "1000000001");
        assert_eq!(said["LoginReq"]["Token"], "real-token");
        assert!(upstream.ends_with(&after));
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
            let mut upstream = Vec::new();
            assert!(sign_first_message(&mut frame.as_slice(), &mut upstream, &login()).await.is_err(), "{why}");
            assert!(upstream.is_empty(), "{why}");
        }
    }
}
