//! What can go wrong with a new connection, before there is a request on it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Inner;

/// What happens to new connections from an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// New connections are accepted and served.
    #[default]
    Open,
    /// The kernel takes the connection and nobody ever speaks: a broker that does not accept.
    Deaf,
    /// Answers the TLS handshake with what is no TLS.
    Garbles,
    /// Closes as soon as TLS is made, before it reads anything.
    HangsUp,
}

/// What is no TLS: a plain HTTP server's answer, as behind a wrong port.
const GARBLE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

/// Turn a connection away before TLS; gives it back where TLS is to be made.
pub(super) async fn before_tls(inner: &Arc<Inner>, door: Door, mut tcp: TcpStream) -> Option<TcpStream> {
    match door {
        Door::Open | Door::HangsUp => return Some(tcp),
        Door::Deaf => inner.tasks.stopping().await,
        Door::Garbles => {
            let _gone = tcp.write_all(GARBLE).await;
        }
    }
    None
}

/// A reply's body: whole, or its first half and then the end of the connection.
pub(super) enum ReplyBody {
    /// To be sent.
    Whole(Option<Bytes>),
    /// To be sent without saying how much it is, which HTTP/1.1 calls chunked.
    Chunked(Option<Bytes>),
    /// So much is sent, of so many bytes that the head promised.
    Half { sent: Option<Bytes>, promised: u64, then: Pin<Box<Sleep>> },
}

impl ReplyBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(super) fn chunked(bytes: Bytes) -> Self {
        Self::Chunked(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    pub(super) fn half(bytes: &Bytes) -> Self {
        let promised = bytes.len() as u64;
        // Long enough for the half to have left before the connection ends.
        let then = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        Self::Half { sent: Some(bytes.slice(..bytes.len() / 2)), promised, then }
    }
}

/// The rest of a reply is not sent.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox ends the connection in the middle of its answer")]
pub(super) struct CutOff;

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut *self {
            Self::Whole(bytes) | Self::Chunked(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Half { sent, then, .. } => match sent.take().filter(|bytes| !bytes.is_empty()) {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => then.as_mut().poll(cx).map(|()| Some(Err(CutOff))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Chunked(_) => SizeHint::default(),
            Self::Half { promised, .. } => SizeHint::with_exact(*promised),
        }
    }
}
