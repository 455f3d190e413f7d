//! HTTP/1.1 over one kept connection, as little of it as is needed, by a thread that blocks: nothing stands between a
//! reply and the look at the clock.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::upstream::content_length;

/// How long a connect or a reply may take. The first reply after a start may have to wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(at: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Send these bytes and wait for the whole reply; its status and body.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        loop {
            if let Some((status, head)) = whole(&self.buffer) {
                return Ok((status, &self.buffer[head..]));
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&piece[..count]);
        }
    }
}

/// The status of a reply that is whole, and where its body begins.
fn whole(bytes: &[u8]) -> Option<(u16, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut reply = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = reply.parse(bytes).ok()? else { return None };
    let length = content_length(reply.headers).unwrap_or_default();
    (bytes.len() >= head + length).then_some((reply.code?, head))
}

/// The admin API over one connection.
pub(crate) struct Admin {
    wire: Wire,
    /// The API answers who names it as it is only.
    host: String,
    token: String,
}

impl Admin {
    pub(crate) fn connect(at: SocketAddr, token: &str) -> Self {
        let wire = Wire::connect(at).unwrap_or_else(|err| panic!("cannot connect to the admin API at {at}: {err}"));
        Self { wire, host: at.to_string(), token: token.to_owned() }
    }

    /// A call's bytes.
    pub(crate) fn request(&self, method: &str, path: &str, body: &Value) -> Bytes {
        let body = body.to_string();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            self.token,
            body.len()
        )
        .into()
    }

    /// Make something; panics if it is not made.
    pub(crate) fn create(&mut self, path: &str, what: &Value) -> Value {
        let request = self.request("POST", path, what);
        let (status, answer) = self.wire.exchange(&request).unwrap_or_else(|err| panic!("POST {path}: {err}"));
        assert_eq!(status, 201, "POST {path}: {}", String::from_utf8_lossy(answer));
        serde_json::from_slice(answer).unwrap_or(Value::Null)
    }
}
