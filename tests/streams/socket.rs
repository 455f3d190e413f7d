//! A WebSocket by plain HTTP through the gateway's loopback listener, with a client that knows nothing of its codec.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::caller::{basic, connect};
use crate::support::world::{LISTENER, LOOPBACK, TestAccount};

pub(super) const FEED: &str = "api-feed.dhan.co/?version=2&token=placeholder&clientId=9&authType=2";
pub(super) const UPDATES: &str = "api-order-update.dhan.co/";
const SUBSCRIBE: &str =
    r#"{"RequestCode":15,"InstrumentCount":1,"InstrumentList":[{"ExchangeSegment":"NSE_EQ","SecurityId":"11536"}]}"#;
pub(super) const LOGIN: &str = r#"{"UserType":"SELF","LoginReq":{"Token":"x","ClientId":"9","MsgCode":42}}"#;
/// Above the 40 s that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a handshake.
pub(super) struct Opened {
    pub(super) head: String,
    pub(super) body: String,
    stream: TcpStream,
}

impl Opened {
    /// It must have been accepted.
    pub(super) fn socket(self) -> Socket {
        assert!(self.head.starts_with("http/1.1 101 "), "{}{}", self.head, self.body);
        Socket(self.stream)
    }

    /// It must have been refused: with this status, and these words.
    pub(super) fn refused(self, status: u16, words: &str) -> String {
        assert!(self.head.starts_with(&format!("http/1.1 {status} ")), "{}{}", self.head, self.body);
        assert!(self.body.contains(words), "{}", self.body);
        self.head
    }
}

/// Ask for a WebSocket.
pub(super) async fn ask(target: &str) -> Opened {
    ask_on(connect(LOOPBACK.parse().unwrap()).await, target, "").await
}

/// The same with more fields, each with its end of line.
pub(super) async fn ask_with(target: &str, more: &str) -> Opened {
    ask_on(connect(LOOPBACK.parse().unwrap()).await, target, more).await
}

/// The same from an account that shows its key, on the listener that serves all.
pub(super) async fn ask_as(account: &TestAccount, target: &str) -> Opened {
    ask_on(connect(LISTENER).await, target, &key_of(account)).await
}

/// The field by which an account shows its key.
pub(super) fn key_of(account: &TestAccount) -> String {
    format!("Proxy-Authorization: {}\r\n", basic(&account.name, &account.key))
}

/// The same on this connection, with these fields more.
pub(super) async fn ask_on(mut stream: TcpStream, target: &str, fields: &str) -> Opened {
    let host = target.split('/').next().unwrap();
    let head = format!(
        "GET http://{target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    Opened { head, body: String::from_utf8(body).unwrap(), stream }
}

/// A feed with one instrument, of which a price has come.
pub(super) async fn feed() -> Socket {
    ask(FEED).await.socket().with_a_price().await
}

/// An open WebSocket.
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Subscribe to one instrument, and hear of it.
    pub(super) async fn with_a_price(mut self) -> Self {
        self.say(1, SUBSCRIBE.as_bytes()).await;
        assert_eq!(self.message().await.unwrap().0, 2, "a price");
        self
    }

    pub(super) async fn say(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        // In the shortest form, as the protocol wants it (RFC 6455 section 5.2).
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let _it_may_have_ended = self.0.write_all(&frame).await;
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await?;
        let length = match self.0.read_u8().await? {
            126 => self.0.read_u16().await?.into(),
            127 => self.0.read_u64().await?,
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await?;
        Ok((first & 0x0f, payload))
    }

    /// The next frame that is no ping; pings are answered, as every library does.
    pub(super) async fn message(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            match timeout(PATIENCE, self.frame()).await.expect("something within a minute")? {
                (9, payload) => self.say(10, &payload).await,
                other => return Ok(other),
            }
        }
    }

    /// The Close that comes, whatever comes before it: its code and words. It is answered.
    pub(super) async fn close(&mut self) -> (u16, String) {
        loop {
            let (opcode, payload) = self.message().await.expect("a Close before the end");
            if opcode == 8 {
                self.say(8, &payload[..2]).await;
                assert!(self.message().await.is_err(), "something after the Close");
                let (code, words) = payload.split_at(2);
                return (u16::from_be_bytes([code[0], code[1]]), String::from_utf8(words.to_vec()).unwrap());
            }
        }
    }
}
