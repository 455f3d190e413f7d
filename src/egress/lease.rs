//! Speaking HTTP on a connection: what was certainly not sent, and how a
//! connection comes back to its pool.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::client::conn::http2;
use tokio::runtime::Id;
use tokio::time::Sleep;
use tokio::time::error::Elapsed;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::http1::{Http1, Incoming, head};
use super::message::{Message, host};
use super::pool::{Pool, Reusable};
use super::stream::CountingStream;
use super::tls::AlpnProfile;
use crate::domain::{Authority, BootInstant, LocalAddress, NoAnswer};

/// How long an idle HTTP/2 connection may take to say that it can be used.
const READY_WITHIN: Duration = Duration::from_millis(100);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A connection that carries something else than HTTP from now on.
pub type Upgraded = TlsStream<CountingStream>;

/// A request of our own that holds secrets, as it is written, in one buffer that never grows and is wiped. No `Debug`.
///
/// What cannot be wiped here: TLS copies what it encrypts into records of its own, and encrypts them where they lie.
pub struct SecretRequest {
    method: Method,
    written: Zeroizing<Vec<u8>>,
}

impl SecretRequest {
    /// A request for `path` at `authority` with a query of these, escaped here (RFC 3986: all but unreserved
    /// characters), and no second copy of them.
    pub fn new(
        authority: &Authority,
        method: &Method,
        path: &str,
        query: &[(&'static str, &str)],
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let host = host(authority);
        let to = head::SecretTarget { host: &host, method, path, query };
        Self { method: method.clone(), written: head::encode_secret(&to, headers, body) }
    }
}

/// An HTTP connection and the address the kernel reported for it.
#[derive(Debug)]
pub(super) struct HttpConnection {
    source: LocalAddress,
    sender: HttpSender,
    ways: Arc<DnsGeneration>,
    _open: ConnectionSlot,
}

/// A place among the connections that an exit may have, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    of_exit: Arc<AtomicUsize>,
    of_all: Option<Arc<AtomicUsize>>,
}

impl ConnectionSlot {
    /// One more, if there are fewer than `most`.
    pub(super) fn take(open: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |open: usize| (open < most).then_some(open + 1);
        let taken = open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Self { of_exit: Arc::clone(open), of_all: None })
    }

    /// One more, however many there are.
    pub(super) fn one(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { of_exit: Arc::clone(open), of_all: None }
    }

    /// Counted among those of all exits, too.
    pub(super) fn among(mut self, all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        self.of_all = Some(Arc::clone(all));
        self
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.of_exit.fetch_sub(1, Ordering::Relaxed);
        if let Some(all) = &self.of_all {
            all.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Do names still stand for the addresses that they stood for? A connection that was
/// made when they did not is used to its end, and not again.
#[derive(Debug, Default)]
pub(super) struct DnsGeneration {
    outdated: AtomicBool,
}

impl DnsGeneration {
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum HttpSender {
    /// Boxed: a TLS session is large, and a connection is handed about.
    Http1(Box<Http1<Upgraded>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl HttpConnection {
    pub(super) fn http1(
        source: LocalAddress,
        stream: Upgraded,
        ways: Arc<DnsGeneration>,
        open: ConnectionSlot,
    ) -> Self {
        Self { source, sender: HttpSender::Http1(Box::new(Http1::new(stream))), ways, _open: open }
    }

    pub(super) const fn http2(
        source: LocalAddress,
        sender: http2::SendRequest<Full<Bytes>>,
        ways: Arc<DnsGeneration>,
        open: ConnectionSlot,
    ) -> Self {
        Self { source, sender: HttpSender::Http2(sender), ways, _open: open }
    }

    /// Where it leads; not of an HTTP/2 connection, whose driver sees to it.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        let HttpSender::Http1(connection) = &self.sender else { return None };
        connection.wire().get_ref().0.stream()?.peer_addr().ok()
    }

    /// Itself, once it can take a request from here; `None` when it is dead. Nothing is sent.
    pub(super) async fn ready(mut self) -> Option<Self> {
        let ready = match &mut self.sender {
            HttpSender::Http1(connection) => connection.wire_mut().get_mut().0.move_here().is_ok(),
            HttpSender::Http2(sender) => {
                matches!(tokio::time::timeout(READY_WITHIN, sender.ready()).await, Ok(Ok(())))
            }
        };
        ready.then_some(self)
    }
}

impl Reusable for HttpConnection {
    fn is_closed(&mut self, waker: &Waker) -> bool {
        let closed = match &mut self.sender {
            HttpSender::Http1(connection) => !connection.is_quiet(waker),
            HttpSender::Http2(sender) => sender.is_closed(),
        };
        closed || self.ways.outdated.load(Ordering::Relaxed)
    }

    fn runtime(&self) -> Option<Id> {
        match &self.sender {
            HttpSender::Http1(connection) => Some(connection.wire().get_ref().0.runtime()),
            HttpSender::Http2(_) => None,
        }
    }
}

/// Where a connection goes when its reply has been read to the end.
#[derive(Debug)]
struct ReturnTo {
    pool: Arc<Pool<HttpConnection>>,
    to: Authority,
    profile: AlpnProfile,
}

/// A connection for one request.
#[derive(Debug)]
pub struct Lease {
    connection: HttpConnection,
    home: Option<ReturnTo>,
    read_timeout: Duration,
    is_new: bool,
}

/// What came of sending: the broker's reply, or why there is none.
pub type Sent = Result<Response<ReplyBody>, NoAnswer<SendError>>;

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum SendError {
    #[error("the connection to the broker broke")]
    Connection(#[source] Cause),
    #[error("the broker did not answer within {0:?}")]
    TimedOut(Duration),
}

impl SendError {
    /// The whole chain on one line, for a caller or a log.
    pub fn chain(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

impl Lease {
    pub(super) fn returning(
        connection: HttpConnection,
        read_timeout: Duration,
        pool: Arc<Pool<HttpConnection>>,
        to: Authority,
        profile: AlpnProfile,
    ) -> Self {
        Self { connection, home: Some(ReturnTo { pool, to, profile }), read_timeout, is_new: false }
    }

    pub(super) const fn once(connection: HttpConnection, read_timeout: Duration) -> Self {
        Self { connection, home: None, read_timeout, is_new: false }
    }

    /// This one, made for this request.
    pub(super) fn fresh_only(self) -> Self {
        Self { is_new: true, ..self }
    }

    /// Was it made for this request? One that lay idle says nothing of the line as it is now.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The address the kernel reported for this connection.
    pub const fn source(&self) -> LocalAddress {
        self.connection.source
    }

    /// Has the broker neither closed it nor said anything, as far as the kernel knows at this moment? To be asked
    /// again right before an order is sent: a limit, a token or the disk may have taken longer than the broker
    /// keeps an idle connection, and nobody knows what became of an order that was written to a closed one. What
    /// is on the way here cannot be known. When it is not good, nothing was sent: drop it and lease another.
    ///
    /// Of an HTTP/2 connection it is what its driver has seen.
    pub fn still_good(&mut self) -> bool {
        match &mut self.connection.sender {
            HttpSender::Http1(connection) => connection.is_quiet_now(),
            HttpSender::Http2(sender) => !sender.is_closed(),
        }
    }

    /// Send a request and wait up to `limit` for the head of its reply.
    ///
    /// Not cancel-safe: a dropped future leaves it unknown whether the request was sent.
    pub async fn send(mut self, message: &Message<'_>, limit: Duration) -> Sent {
        let answer = tokio::time::timeout(limit, self.connection.sender.send(message)).await;
        self.sent(answer, limit)
    }

    /// As [`Lease::send`], of a request that holds secrets. It is wiped as soon as it was written.
    pub async fn send_secret(mut self, request: SecretRequest, limit: Duration) -> Sent {
        let answer = tokio::time::timeout(limit, self.connection.sender.send_secret(request)).await;
        self.sent(answer, limit)
    }

    fn sent(self, answer: Result<Result<Response<Framed>, NoAnswer<Cause>>, Elapsed>, limit: Duration) -> Sent {
        match answer {
            Ok(Ok(reply)) => Ok(reply.map(|body| ReplyBody::new(body, self))),
            Ok(Err(none)) => Err(none.map(SendError::Connection)),
            Err(_) => Err(NoAnswer::Unknown(SendError::TimedOut(limit))),
        }
    }
}

impl HttpSender {
    async fn send(&mut self, message: &Message<'_>) -> Result<Response<Framed>, NoAnswer<Cause>> {
        match self {
            Self::Http1(connection) => http1_answer(connection.exchange(message).await),
            Self::Http2(sender) => {
                let sent = sender.try_send_request(message.to_http2()).await;
                sent.map(|reply| reply.map(Framed::Http2)).map_err(|mut err| match err.take_message() {
                    Some(_) => NoAnswer::NotSent(err.into_error().into()),
                    None => NoAnswer::Unknown(err.into_error().into()),
                })
            }
        }
    }

    async fn send_secret(&mut self, request: SecretRequest) -> Result<Response<Framed>, NoAnswer<Cause>> {
        match self {
            Self::Http1(connection) => {
                http1_answer(connection.exchange_written(request.written, &request.method).await)
            }
            // Its fields would be copied by whoever compresses them.
            Self::Http2(_) => Err(NoAnswer::NotSent("a request that holds secrets goes over HTTP/1.1 only".into())),
        }
    }
}

fn http1_answer(
    answer: Result<(Response<()>, Incoming), NoAnswer<std::io::Error>>,
) -> Result<Response<Framed>, NoAnswer<Cause>> {
    match answer {
        Ok((reply, incoming)) => Ok(reply.map(|()| Framed::Http1(incoming))),
        Err(none) => Err(none.map(Into::into)),
    }
}

#[derive(Debug)]
enum Framed {
    Http1(Incoming),
    Http2(hyper::body::Incoming),
}

impl Framed {
    fn is_done(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_done(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }
}

/// The body of the broker's reply. When it has been read to its end, and only
/// then, the connection goes back to its pool.
#[derive(Debug)]
pub struct ReplyBody {
    body: Framed,
    /// `None` when the body is over, in whichever way.
    lease: Option<Lease>,
    read_timeout: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

/// Why the body of a reply ended early.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum ReplyError {
    #[error("the broker's reply broke off")]
    Broken(#[source] Cause),
    #[error("the broker's reply was silent for {0:?} (egress.response_timeout)")]
    Silent(Duration),
}

impl ReplyBody {
    fn new(body: Framed, lease: Lease) -> Self {
        let mut reply = Self { read_timeout: lease.read_timeout, lease: Some(lease), silence: None, body };
        // After a 101 it is not HTTP any more.
        if reply.body.is_done() && !matches!(reply.lease, Some(Lease { home: None, .. })) {
            reply.give_back();
        }
        reply
    }

    /// The connection, and what came after the head already, of a reply that was `101 Switching Protocols`.
    pub fn into_upgraded(self) -> Option<(Upgraded, Bytes)> {
        match self.lease?.connection.sender {
            HttpSender::Http1(connection) => Some(connection.into_parts()),
            HttpSender::Http2(_) => None,
        }
    }

    fn give_back(&mut self) {
        let Some(Lease { mut connection, home: Some(ReturnTo { pool, to, profile }), .. }) = self.lease.take() else {
            return;
        };
        if let (HttpSender::Http1(http1), Framed::Http1(incoming)) = (&mut connection.sender, &self.body)
            && !http1.rest(incoming)
        {
            return;
        }
        pool.put(to, profile, connection, BootInstant::now());
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match (&mut self.body, &mut self.lease) {
            (
                Framed::Http1(incoming),
                Some(Lease { connection: HttpConnection { sender: HttpSender::Http1(http1), .. }, .. }),
            ) => {
                let piece = ready!(http1.poll_body(incoming, cx));
                Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Cause::from)))
            }
            (Framed::Http2(incoming), Some(_)) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Cause::from)))
            }
            _ => Poll::Ready(None),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = this.poll_piece(cx) else {
            let limit = this.read_timeout;
            let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(silence.as_mut().poll(cx));
            this.lease = None;
            return Poll::Ready(Some(Err(ReplyError::Silent(limit))));
        };
        this.silence = None;
        match frame {
            Some(Ok(frame)) => {
                if this.body.is_done() {
                    this.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(err)) => {
                this.lease = None;
                Poll::Ready(Some(Err(ReplyError::Broken(err))))
            }
            None => {
                this.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Framed::Http1(incoming) => incoming.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Framed::Http2(incoming) => incoming.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_are_open_than_may_be() {
        let open = Arc::new(AtomicUsize::new(0));
        let first = ConnectionSlot::take(&open, 2).unwrap();
        let _second = ConnectionSlot::take(&open, 2).unwrap();
        assert!(ConnectionSlot::take(&open, 2).is_none());
        drop(first);
        assert!(ConnectionSlot::take(&open, 2).is_some());
    }
}
