//! A WebSocket client that knows nothing of the gateway or of the sandbox's codec.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::client::Broker;

/// An open WebSocket.
pub(super) struct Ws {
    tls: TlsStream<TcpStream>,
}

impl Ws {
    /// Connect and expect the upgrade to be accepted.
    pub(super) async fn open(broker: &Broker, host: &str, path: &str) -> Self {
        let mut tls = broker.tls(host, b"http/1.1").await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3ppLMBiTxaQ9kYGzzhZRbK+xOo=".to_ascii_lowercase().as_str()),
            "{head}"
        );
        Self { tls }
    }

    pub(super) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        let length = u16::try_from(payload.len()).unwrap();
        let mut frame = vec![0x80 | opcode, 0x80 | 126];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.tls.write_all(&frame).await.unwrap();
    }

    pub(super) async fn say(&mut self, message: &Value) {
        self.send(1, message.to_string().as_bytes()).await;
    }

    /// The next frame: opcode and payload.
    pub(super) async fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let first = self.tls.read_u8().await?;
        let length = match self.tls.read_u8().await? {
            126 => self.tls.read_u16().await?.into(),
            127 => self.tls.read_u64().await?,
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.tls.read_exact(&mut payload).await?;
        Ok((first & 0x0f, payload))
    }

    /// The connection must end by a reset, without a frame.
    pub(super) async fn expect_reset(&mut self) {
        let err = self.next().await.expect_err("a frame before the reset");
        assert_eq!(err.kind(), io::ErrorKind::ConnectionReset, "{err}");
    }
}
