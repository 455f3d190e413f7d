//! What a caller speaks, by its first byte: people mix up `http://` and `https://`, and take a proxy for another kind.

use tokio::net::TcpStream;

/// What begins with a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// A handshake record (RFC 8446 section 5.1).
    Tls,
    /// The version of SOCKS 4 or 5 (RFC 1928 section 3).
    Socks,
    /// A method, or whatever else an HTTP parser is to judge.
    Http,
}

impl Protocol {
    /// By the first byte.
    pub(crate) const fn of(first: u8) -> Self {
        match first {
            0x16 => Self::Tls,
            0x04 | 0x05 => Self::Socks,
            _ => Self::Http,
        }
    }
}

/// What the caller speaks; `None` when it is gone. Nothing is read. Cancel-safe.
pub(crate) async fn of(stream: &TcpStream) -> Option<Protocol> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1..) => Some(Protocol::of(first[0])),
        Ok(0) | Err(_) => None,
    }
}
