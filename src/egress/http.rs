//! Speaking HTTP on a connection: what was certainly not sent, and how a
//! connection comes back to its pool.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::Sleep;

use super::pool::{Pool, Reusable};
use super::tls::Profile;
use crate::domain::{Authority, SourceAddr};

/// How long an idle connection may take to say that it can be used. It can at
/// once, unless the last reply's end is just being worked off.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// An HTTP connection and the address the kernel reported for it.
#[derive(Debug)]
pub(super) struct Connection {
    source: SourceAddr,
    sender: Sender,
    ways: Arc<Ways>,
}

/// Do names still stand for the addresses that they stood for? A connection that was
/// made when they did not is used to its end, and not again.
#[derive(Debug, Default)]
pub(super) struct Ways {
    outdated: AtomicBool,
}

impl Ways {
    pub fn outdate(&self) {
        self.outdated.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub const fn http1(source: SourceAddr, sender: http1::SendRequest<Full<Bytes>>, ways: Arc<Ways>) -> Self {
        Self { source, sender: Sender::Http1(sender), ways }
    }

    pub const fn http2(source: SourceAddr, sender: http2::SendRequest<Full<Bytes>>, ways: Arc<Ways>) -> Self {
        Self { source, sender: Sender::Http2(sender), ways }
    }

    /// Itself, once it can take a request; `None` when it is dead. Nothing is sent.
    pub async fn ready(mut self) -> Option<Self> {
        let ready = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.ready().await.is_ok(),
                Sender::Http2(sender) => sender.ready().await.is_ok(),
            }
        };
        matches!(tokio::time::timeout(READY_WITHIN, ready).await, Ok(true)).then_some(self)
    }
}

impl Reusable for Connection {
    fn is_closed(&self) -> bool {
        let closed = match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        };
        closed || self.ways.outdated.load(Ordering::Relaxed)
    }
}

/// Where a connection goes when its reply has been read to the end.
#[derive(Debug)]
struct Home {
    pool: Arc<Pool<Connection>>,
    to: Authority,
    profile: Profile,
}

/// A connection for one request.
#[derive(Debug)]
pub struct Lease {
    connection: Connection,
    home: Option<Home>,
    read_timeout: Duration,
    is_new: bool,
}

/// What came of sending a request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once and taken apart at once; a box would be an allocation per order"
)]
pub enum Sent {
    /// The broker's reply.
    Reply(Response<ReplyBody>),
    /// It was not sent, or not whole in a way that could be acted on: the request
    /// is handed back, free to go another way.
    NotSent(Box<Request<Full<Bytes>>>, SendError),
    /// It may have been sent. Nobody here knows what became of it.
    Broken(SendError),
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the connection to the broker broke")]
    Connection(#[source] hyper::Error),
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
        connection: Connection,
        read_timeout: Duration,
        pool: Arc<Pool<Connection>>,
        to: Authority,
        profile: Profile,
    ) -> Self {
        Self { connection, home: Some(Home { pool, to, profile }), read_timeout, is_new: false }
    }

    pub(super) const fn once(connection: Connection, read_timeout: Duration) -> Self {
        Self { connection, home: None, read_timeout, is_new: false }
    }

    /// This one, made for this request.
    pub(super) fn made_anew(self) -> Self {
        Self { is_new: true, ..self }
    }

    /// Was it made for this request? One that lay idle says nothing of the line as it is now.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The address the kernel reported for this connection.
    pub const fn source(&self) -> SourceAddr {
        self.connection.source
    }

    /// Does this connection speak HTTP/2? Then a request carries its authority
    /// in its URI and no `Host`.
    pub const fn is_http2(&self) -> bool {
        matches!(self.connection.sender, Sender::Http2(_))
    }

    /// Send `request` and wait up to `limit` for the head of its reply.
    ///
    /// Not cancel-safe: a dropped future leaves it unknown whether the request was sent.
    pub async fn send(mut self, request: Request<Full<Bytes>>, limit: Duration) -> Sent {
        let answer = match &mut self.connection.sender {
            Sender::Http1(sender) => tokio::time::timeout(limit, sender.try_send_request(request)).await.map(flatten),
            Sender::Http2(sender) => tokio::time::timeout(limit, sender.try_send_request(request)).await.map(flatten),
        };
        match answer {
            Ok(Ok(reply)) => Sent::Reply(reply.map(|body| ReplyBody::new(body, self))),
            Ok(Err((Some(request), err))) => Sent::NotSent(Box::new(request), SendError::Connection(err)),
            Ok(Err((None, err))) => Sent::Broken(SendError::Connection(err)),
            Err(_) => Sent::Broken(SendError::TimedOut(limit)),
        }
    }
}

type Unsent = (Option<Request<Full<Bytes>>>, hyper::Error);

#[expect(clippy::result_large_err, reason = "it hands the request back, and is taken apart at once")]
fn flatten(
    answer: Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<Full<Bytes>>>>,
) -> Result<Response<Incoming>, Unsent> {
    answer.map_err(|mut err| (err.take_message(), err.into_error()))
}

/// The body of the broker's reply. When it has been read to its end, and only
/// then, the connection goes back to its pool.
#[derive(Debug)]
pub struct ReplyBody {
    body: Incoming,
    lease: Option<Lease>,
    read_timeout: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

/// Why the body of a reply ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error("the broker's reply broke off")]
    Broken(#[source] hyper::Error),
    #[error("the broker's reply was silent for {0:?} (egress.response_timeout)")]
    Silent(Duration),
}

impl ReplyBody {
    fn new(body: Incoming, lease: Lease) -> Self {
        let mut reply = Self { body, read_timeout: lease.read_timeout, lease: Some(lease), silence: None };
        if reply.body.is_end_stream() {
            reply.give_back();
        }
        reply
    }

    fn give_back(&mut self) {
        let Some(Lease { connection, home: Some(Home { pool, to, profile }), .. }) = self.lease.take() else { return };
        if !connection.is_closed() {
            pool.put(to, profile, connection, Instant::now());
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let limit = this.read_timeout;
            let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(silence.as_mut().poll(cx));
            this.lease = None;
            return Poll::Ready(Some(Err(ReplyError::Silent(limit))));
        };
        this.silence = None;
        match frame {
            Some(Ok(frame)) => {
                if this.body.is_end_stream() {
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
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
