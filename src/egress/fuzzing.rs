//! For fuzzing alone: what of this room reads the broker's bytes, with plain values on both sides. Decides nothing;
//! what must hold is said in `crate::fuzzing`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::http1::{BrokerStream, Http1};

pub use super::message::Message;

/// The other side of a connection: these bytes come, so many at once at most, and then it closes its side.
#[derive(Debug)]
pub struct Fed {
    bytes: Bytes,
    piece: usize,
    /// What was written to it.
    pub written: Vec<u8>,
}

impl Fed {
    pub const fn new(bytes: Bytes, piece: usize) -> Self {
        Self { bytes, piece, written: Vec::new() }
    }
}

impl AsyncRead for Fed {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let take = self.bytes.len().min(self.piece).min(into.remaining());
        into.put_slice(&self.bytes.split_to(take));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fed {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(from);
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl BrokerStream for Fed {
    fn taken(&self) -> u64 {
        self.written.len() as u64
    }

    fn read_kernel(&mut self, _: bool) {}
}

/// Run to its end on this thread. What is fed is always ready, so no time passes.
#[expect(clippy::expect_used, reason = "without a runtime nothing would be tried, and that is no success")]
pub fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// A reply as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct ParsedReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `None` when it broke off.
    pub body: Option<Vec<u8>>,
    /// May the connection carry another request?
    pub clean: bool,
}

/// Send a request and read its reply. What was written, and the reply if there was one.
pub fn exchange(message: &Message<'_>, reply: Bytes, piece: usize) -> (Vec<u8>, Option<ParsedReply>) {
    run(async {
        let mut connection = Http1::new(Fed::new(reply, piece));
        let Ok((head, mut incoming)) = connection.exchange(message).await else {
            return (connection.into_parts().0.written, None);
        };
        let mut body = Some(Vec::new());
        while let Some(data) = std::future::poll_fn(|cx| connection.poll_body(&mut incoming, cx)).await {
            let Ok(data) = data else {
                body = None;
                break;
            };
            if let Some(body) = &mut body {
                body.extend_from_slice(&data);
            }
        }
        let clean = body.is_some() && connection.rest(&incoming);
        let (parts, ()) = head.into_parts();
        let reply = ParsedReply { status: parts.status, headers: parts.headers, body, clean };
        (connection.into_parts().0.written, Some(reply))
    })
}
