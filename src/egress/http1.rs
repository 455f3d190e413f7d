//! HTTP/1.1 towards the broker, driven by whoever holds the connection.
//!
//! There is no task behind a connection: a request costs no wake-up from one task to another, an idle
//! connection costs its TLS session and nothing else, and it can go on under another runtime. What the
//! kernel took of a request is counted, so "not sent" is known and not guessed.
//!
//! Invariants:
//! - A request of which the kernel took no byte was not sent; of anything else nobody knows.
//! - A connection on which something failed is never written to again: TLS may still hold bytes of a
//!   request that was called "not sent".
//! - Only a connection whose reply was read to its end, with nothing after it, may carry another request.
//!
//! The grammar of a reply's head is httparse's; framing is RFC 9112 section 6.3, and a reply that could be
//! read in two ways is refused.
//!
//! Not here: HTTP/2 and what a reply means (`http`), pooling (`pool`).

mod body;
pub(super) mod head;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::message::Message;
use super::stream::CountingStream;
use crate::domain::NoAnswer;
use crate::net::read_buffer::poll_fill;
use body::{Decoder, Piece};
use head::ReplyHead;

/// The longest head of a reply taken.
const HEAD_LIMIT: usize = 64 * 1024;
/// Interim replies (1xx) before one reply.
const INTERIM_LIMIT: u32 = 16;
/// Bytes to and from the broker: TLS over a [`CountingStream`].
pub(super) trait BrokerStream: AsyncRead + AsyncWrite + Unpin {
    /// Bytes the kernel took for sending until now.
    fn taken(&self) -> u64;

    /// Ask the kernel at each read from now on, whatever the reactor has seen; or no longer.
    fn read_kernel(&mut self, always: bool);
}

impl BrokerStream for tokio_rustls::client::TlsStream<CountingStream> {
    fn taken(&self) -> u64 {
        self.get_ref().0.taken()
    }

    fn read_kernel(&mut self, always: bool) {
        self.get_mut().0.read_kernel(always);
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Http1<W> {
    wire: W,
    /// What was read and belongs to the reply under way.
    buffer: BytesMut,
}

/// How a reply's body comes.
#[derive(Debug)]
pub(super) struct Incoming {
    decoder: Decoder,
    keep_alive: bool,
}

impl Incoming {
    /// Has all of it been read, and may the connection be used again?
    pub(super) const fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Bytes that are still to come, if that is known.
    pub(super) const fn left(&self) -> Option<u64> {
        self.decoder.left()
    }
}

impl<W: BrokerStream> Http1<W> {
    /// Speak on `wire`, on which nothing was said yet.
    pub(super) fn new(wire: W) -> Self {
        Self { wire, buffer: BytesMut::new() }
    }

    /// What it speaks on.
    pub(super) const fn wire(&self) -> &W {
        &self.wire
    }

    /// What it speaks on, to move it.
    pub(super) const fn wire_mut(&mut self) -> &mut W {
        &mut self.wire
    }

    /// The bytes are something else from now on, and these came already.
    pub(super) fn into_parts(self) -> (W, Bytes) {
        (self.wire, self.buffer.freeze())
    }

    /// Does it lie there as it was left, as far as the reactor has seen? Reads what belongs to TLS alone. A
    /// broker that closed, or said something nobody asked for, ends a connection. While it is quiet, `waker`
    /// is woken by whatever comes. No system call while nothing has come.
    pub(super) fn is_quiet(&mut self, waker: &Waker) -> bool {
        let mut one = [0u8; 1];
        let mut cx = Context::from_waker(waker);
        self.buffer.is_empty() && Pin::new(&mut self.wire).poll_read(&mut cx, &mut ReadBuf::new(&mut one)).is_pending()
    }

    /// As [`Http1::is_quiet`], as far as the kernel knows at this moment: one system call while nothing has come.
    /// For what must not be sent on a connection that the broker has closed.
    pub(super) fn is_quiet_now(&mut self) -> bool {
        self.wire.read_kernel(true);
        let quiet = self.is_quiet(Waker::noop());
        self.wire.read_kernel(false);
        quiet
    }

    /// Send a request and read the head of its reply.
    ///
    /// Not cancel-safe, and after an error the connection is of no more use.
    pub(super) async fn exchange(
        &mut self,
        message: &Message<'_>,
    ) -> Result<(Response<()>, Incoming), NoAnswer<io::Error>> {
        self.exchange_written(head::encode(message), message.method).await
    }

    /// As [`Http1::exchange`], of a request that is written out already. It is dropped before the reply is waited for.
    pub(super) async fn exchange_written(
        &mut self,
        request: impl AsRef<[u8]>,
        method: &Method,
    ) -> Result<(Response<()>, Incoming), NoAnswer<io::Error>> {
        let before = self.wire.taken();
        let written = async {
            self.wire.write_all(request.as_ref()).await?;
            self.wire.flush().await
        };
        if let Err(err) = written.await {
            return Err(if self.wire.taken() == before { NoAnswer::NotSent(err) } else { NoAnswer::Unknown(err) });
        }
        drop(request);
        self.reply(method).await.map_err(NoAnswer::Unknown)
    }

    async fn reply(&mut self, method: &Method) -> io::Result<(Response<()>, Incoming)> {
        let mut interim = 0;
        loop {
            let Some(end) = head::end(&self.buffer) else {
                if self.buffer.len() > HEAD_LIMIT {
                    return Err(malformed("the head of the reply is too long"));
                }
                if std::future::poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "it was closed before the reply was whole",
                    ));
                }
                continue;
            };
            let ReplyHead { response, framing, keep_alive } =
                head::parse(&self.buffer.split_to(end).freeze(), method).map_err(malformed)?;
            if response.status().is_informational() && response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
                interim += 1;
                if interim > INTERIM_LIMIT {
                    return Err(malformed("too many interim replies"));
                }
                continue;
            }
            return Ok((response, Incoming { decoder: Decoder::new(framing), keep_alive }));
        }
    }

    /// The next piece of a body; `None` at its end.
    pub(super) fn poll_body(
        &mut self,
        incoming: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match incoming.decoder.decode(&mut self.buffer) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::More) => {}
                Err(why) => return Poll::Ready(Some(Err(malformed(why)))),
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if incoming.decoder.ends_with_the_connection() => {
                    incoming.keep_alive = false;
                    return Poll::Ready(None);
                }
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(err) => return Poll::Ready(Some(Err(err))),
            }
        }
    }

    /// The reply is over: may another request follow it? If so, nothing but its session is held until then.
    pub(super) fn rest(&mut self, incoming: &Incoming) -> bool {
        let clean = incoming.keep_alive && incoming.is_done() && self.buffer.is_empty();
        self.buffer = BytesMut::new();
        clean
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_fill(&mut self.wire, &mut self.buffer, cx)
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
