//! HTTP/1 towards callers.
//!
//! The grammar of a request's head is httparse's. What is ours is the framing, on
//! purpose: an order may be read in one way only, so everything that two parsers
//! could read differently is refused and never repaired (RFC 9112 sections 6.1,
//! 6.3 and 11.2). hyper's server repairs some of it before a handler could look:
//! it drops a `Content-Length` beside `Transfer-Encoding`, folds repeated lengths
//! into one and takes bare line feeds. It also keeps 20 KB for every idle caller.
//!
//! Not here: what a request means (`proxy`).

mod head;

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use crate::dispatch::reply::{Body, Code, Problem, Retry};
use crate::domain::time::within;
use crate::net::protocol::Protocol;
use crate::net::read_buffer::{poll_discard, poll_fill};

pub(super) use crate::net::rewind::Rewind;
pub(super) use head::{ParseRefusal, RequestHead};

use head::{RequestFraming, bare_line_feed, end_of_head, parse};

/// The longest head taken. Dhan's tokens are 300 bytes; this is generous.
const HEAD_LIMIT: usize = 32 * 1024;
/// What is read of the requests to come while one is answered: enough to see that a caller is gone, and no more.
const AHEAD_LIMIT: usize = 64 * 1024;
/// The longest line of a chunked body: 16 hex digits.
const CHUNK_LINE_LIMIT: usize = 18;

/// How long whoever makes room may take to read why.
const LAST_WORD: Duration = Duration::from_millis(200);
/// What of it has come by then is taken in at most.
const LAST_BYTES: usize = 256 * 1024;

/// What is taken in of a request that was refused while it was sent. Many times the largest body that is ever served.
const LINGER_BYTES: usize = 256 * 1024 * 1024;
/// Whoever was refused and sends nothing for so long, and does not go, has had the time to read.
const LINGER_GAP: Duration = Duration::from_secs(5);

/// Why reading ended without a request.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Tell the caller, then close.
    Refused(ParseRefusal),
    /// The caller is gone.
    Gone,
}

impl From<ParseRefusal> for Problem {
    fn from(refusal: ParseRefusal) -> Self {
        match refusal {
            ParseRefusal::Malformed(what) => Self::before_sending(Code::BadRequest, what),
            ParseRefusal::Ambiguous(what) => Self::before_sending(Code::AmbiguousFraming, what),
            ParseRefusal::HeadTooLarge => {
                Self::before_sending(Code::BodyTooLarge, "the head of the request is over 32 KiB or 100 fields")
            }
            ParseRefusal::BodyTooLarge => Self::before_sending(Code::BodyTooLarge, "the body is over proxy.body_limit"),
            // It is nothing of the caller's that is wrong with it, and not a byte of it went on.
            ParseRefusal::MakesRoom => Self {
                retry: Retry::After(Duration::from_secs(1)),
                ..Self::before_sending(
                    Code::NotInTime,
                    "the gateway has no place left for callers, and this one had not shown a key or sent a whole request \
                     when others needed it; nothing was sent; connect again and send it at once",
                )
            },
            ParseRefusal::Tls => Self::before_sending(
                Code::BadRequest,
                "the caller began TLS, and plain HTTP is spoken here: write http:// in the proxy's URL (also for https:// \
                 targets), or give the listener tls_certificate and tls_key",
            ),
            ParseRefusal::WithoutTls => Self::before_sending(
                Code::BadRequest,
                "the caller speaks plain HTTP, and this listener speaks TLS: write https:// in the proxy's URL",
            ),
            ParseRefusal::Socks => Self::before_sending(
                Code::BadRequest,
                "the caller speaks SOCKS, and this is an HTTP proxy: write http:// in the proxy's URL",
            ),
            ParseRefusal::TooSlow => {
                Self::before_sending(Code::BadRequest, "the request did not arrive within proxy.request_timeout")
            }
        }
    }
}

impl From<ParseRefusal> for ReadError {
    fn from(refusal: ParseRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Limits of a caller's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// The largest body.
    pub body: usize,
    /// Between requests.
    pub idle: Duration,
    /// For one request to arrive.
    pub request: Duration,
    /// For the caller to take a piece of a reply.
    pub write: Duration,
}

/// A caller's connection.
pub(super) struct Connection<IO> {
    io: IO,
    buffer: BytesMut,
    limits: ConnectionLimits,
    /// When the first of the bytes in `buffer` came, if they are not the request's that is read now.
    came: Option<Instant>,
    /// Runs out when the caller may have been idle for too long. It is set once, and looked at when it has run out.
    idle: Option<Pin<Box<Sleep>>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Speak HTTP/1 on `io`.
    pub(super) fn new(io: IO, limits: ConnectionLimits) -> Self {
        Self { io, buffer: BytesMut::new(), limits, came: None, idle: None }
    }

    /// The first request's bytes have lain here since then.
    pub(super) const fn waiting_since(&mut self, since: Option<Instant>) {
        self.came = since;
    }

    /// Has the caller sent more than what was read of it?
    pub(super) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Other limits for what comes next.
    pub(super) const fn set_limits(&mut self, limits: ConnectionLimits) {
        self.limits = limits;
    }

    /// Wait until a request begins, and say when it came: before now, if it waited here for its turn. `None` when the
    /// caller closed or stayed idle too long. Cancel-safe.
    pub(super) async fn begins(&mut self) -> Option<Instant> {
        if !self.buffer.is_empty() {
            return Some(self.came.take().unwrap_or_else(Instant::now));
        }
        if !self.first_bytes().await {
            return None;
        }
        Some(self.came.take().unwrap_or_else(Instant::now))
    }

    async fn first_bytes(&mut self) -> bool {
        // Nothing is held for an idle caller but this future.
        self.buffer = BytesMut::new();
        let by = Instant::now() + self.limits.idle;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(by)));
        if idle.deadline() > by {
            // A reload made it shorter.
            idle.as_mut().reset(by);
        }
        std::future::poll_fn(|cx| {
            if let Poll::Ready(read) = poll_fill(&mut self.io, &mut self.buffer, cx) {
                return Poll::Ready(matches!(read, Ok(1..)));
            }
            while idle.as_mut().poll(cx).is_ready() {
                if idle.deadline() >= by {
                    return Poll::Ready(false);
                }
                // It was set for a request before this one.
                idle.as_mut().reset(by);
            }
            Poll::Pending
        })
        .await
    }

    /// Wait until the caller closes its side or the connection breaks: until then bytes of further requests are kept,
    /// up to a bound, behind which nothing is seen any more. Cancel-safe.
    pub(super) async fn ends(&mut self) {
        loop {
            if self.buffer.len() >= AHEAD_LIMIT {
                std::future::pending::<()>().await;
            }
            match std::future::poll_fn(|cx| poll_fill(&mut self.io, &mut self.buffer, cx)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {
                    self.came.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// Read the head of a request. By when its body must be there goes with it.
    ///
    /// # Errors
    /// [`ReadError`]; the connection is of no more use.
    pub(super) async fn head(&mut self) -> Result<(RequestHead, Instant), ReadError> {
        let by = Instant::now() + self.limits.request;
        let head = tokio::time::timeout_at(by, self.read_head()).await;
        head.unwrap_or(Err(ParseRefusal::TooSlow.into())).map(|head| (head, by))
    }

    /// Did the body of the request whose head was read last come with it?
    pub(super) fn holds_body(&self, head: &RequestHead) -> bool {
        match head.framing {
            RequestFraming::None => true,
            RequestFraming::Length(length) => self.buffer.len() >= length,
            RequestFraming::Chunked => false,
        }
    }

    /// Read the body of the request whose head was read last.
    ///
    /// # Errors
    /// [`ReadError`]; the connection is of no more use.
    pub(super) async fn body(&mut self, head: &RequestHead, by: Instant) -> Result<Bytes, ReadError> {
        let body = tokio::time::timeout_at(by, self.read_body(head)).await.unwrap_or(Err(ParseRefusal::TooSlow.into()));
        // What came with it is of the next request, and came no later than now.
        self.came = (!self.buffer.is_empty()).then(Instant::now);
        body
    }

    async fn read_head(&mut self) -> Result<RequestHead, ReadError> {
        let mut seen = 0;
        let end = loop {
            let from = seen.min(self.buffer.len());
            if let Some(end) = end_of_head(self.buffer.get(from..).unwrap_or_default()) {
                break from + end + 4;
            }
            match self.buffer.first().map(|first| Protocol::of(*first)) {
                Some(Protocol::Tls) => return Err(ParseRefusal::Tls.into()),
                Some(Protocol::Socks) => return Err(ParseRefusal::Socks.into()),
                Some(Protocol::Http) | None => {}
            }
            // Refuse what can never become a head, at once and not at a timeout.
            if bare_line_feed(self.buffer.get(from.saturating_sub(1)..).unwrap_or_default()) {
                return Err(ParseRefusal::Ambiguous("a line ends without a carriage return").into());
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(ParseRefusal::HeadTooLarge.into());
            }
            seen = self.buffer.len().saturating_sub(3);
            self.fill().await?;
        };
        if end > HEAD_LIMIT {
            return Err(ParseRefusal::HeadTooLarge.into());
        }
        let head = self.buffer.split_to(end).freeze();
        Ok(parse(&head)?)
    }

    async fn read_body(&mut self, head: &RequestHead) -> Result<Bytes, ReadError> {
        if let RequestFraming::Length(length) = head.framing
            && length > self.limits.body
        {
            return Err(ParseRefusal::BodyTooLarge.into());
        }
        if head.expects_continue && head.framing != RequestFraming::None && self.buffer.is_empty() {
            self.io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| ReadError::Gone)?;
        }
        match head.framing {
            RequestFraming::None => Ok(Bytes::new()),
            RequestFraming::Length(length) => {
                while self.buffer.len() < length {
                    self.fill().await?;
                }
                Ok(self.buffer.split_to(length).freeze())
            }
            RequestFraming::Chunked => self.chunks().await,
        }
    }

    async fn chunks(&mut self) -> Result<Bytes, ReadError> {
        let mut body = BytesMut::new();
        loop {
            let size = self.chunk_size().await?;
            if body.len().saturating_add(size) > self.limits.body {
                return Err(ParseRefusal::BodyTooLarge.into());
            }
            while self.buffer.len() < size + 2 {
                self.fill().await?;
            }
            body.extend_from_slice(&self.buffer.split_to(size));
            // After the last chunk come trailers, which nobody sends to a broker:
            // the empty line that ends them is all that is taken.
            if !self.buffer.starts_with(b"\r\n") {
                return Err(ParseRefusal::Ambiguous("a chunk does not end where it said, or trailers follow").into());
            }
            self.buffer.advance(2);
            if size == 0 {
                return Ok(body.freeze());
            }
        }
    }

    async fn chunk_size(&mut self) -> Result<usize, ReadError> {
        let bad = ParseRefusal::Ambiguous("a chunk size is not plain hexadecimal followed by CRLF");
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                break end;
            }
            if self.buffer.len() > CHUNK_LINE_LIMIT {
                return Err(bad.into());
            }
            self.fill().await?;
        };
        let line = self.buffer.split_to(end + 2);
        let digits = line.get(..end).unwrap_or_default();
        // No sign, no blanks, no extensions: `from_str_radix` alone would take a plus.
        if digits.is_empty() || end > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(bad.into());
        }
        let text = std::str::from_utf8(digits).map_err(|_| bad)?;
        Ok(usize::from_str_radix(text, 16).map_err(|_| bad)?)
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        match std::future::poll_fn(|cx| poll_fill(&mut self.io, &mut self.buffer, cx)).await {
            Ok(0) | Err(_) => Err(ReadError::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Write a reply whole. Is the connection good for another request?
    pub(super) async fn reply(&mut self, asked: ReplyFraming, reply: Response<Body>) -> bool {
        let (parts, mut body) = reply.into_parts();
        let bodiless = asked.head || no_body(parts.status);
        let length = body.size_hint().exact();
        let chunked = !bodiless && length.is_none() && asked.version == Version::HTTP_11;
        let closes = !asked.keep_alive || (!bodiless && length.is_none() && !chunked);

        let mut out = BytesMut::with_capacity(1024);
        status_line(&mut out, parts.status);
        let described = asked.head && parts.headers.contains_key(CONTENT_LENGTH);
        for (name, value) in &parts.headers {
            // Ours to say; for HEAD the broker's length describes what GET would give.
            if *name != CONNECTION && *name != TRANSFER_ENCODING && (*name != CONTENT_LENGTH || described) {
                field(&mut out, name.as_str(), value.as_bytes());
            }
        }
        if chunked {
            field(&mut out, "transfer-encoding", b"chunked");
        } else if let (Some(length), false) = (length, asked.head || parts.status == StatusCode::NOT_MODIFIED)
            && !no_body(parts.status)
        {
            field(&mut out, "content-length", length.to_string().as_bytes());
        }
        if closes {
            field(&mut out, "connection", b"close");
        } else if asked.version == Version::HTTP_10 {
            field(&mut out, "connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        if bodiless {
            return self.write(&mut out).await && !closes;
        }
        while let Some(frame) = body.frame().await {
            // A reply that broke off must not look whole: close in its middle.
            let Ok(frame) = frame else {
                let _ = self.write(&mut out).await;
                return false;
            };
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            if chunked {
                out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            }
            out.extend_from_slice(&data);
            if chunked {
                out.extend_from_slice(b"\r\n");
            }
            // Head and a small body leave in one write.
            if !body.is_end_stream() && !self.write(&mut out).await {
                return false;
            }
        }
        if chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.write(&mut out).await && !closes
    }

    /// Write a reply as far as it can be written now, and close: nobody is waited for. What has come is taken in first,
    /// or the close would be a reset, which may overtake the reply.
    pub(super) async fn last_word(mut self, asked: ReplyFraming, reply: Response<Body>) {
        let word = async {
            self.reply(asked, reply).await;
            let _ = self.io.shutdown().await;
        };
        let _ = tokio::time::timeout(LAST_WORD, word).await;
        let mut left = LAST_BYTES;
        while let Some(Ok(n @ 1..)) = self.discarded().now_or_never() {
            left = left.saturating_sub(n);
            if left == 0 {
                return;
            }
        }
    }

    async fn discarded(&mut self) -> std::io::Result<usize> {
        std::future::poll_fn(|cx| poll_discard(&mut self.io, cx)).await
    }

    async fn write(&mut self, out: &mut BytesMut) -> bool {
        let sent = async {
            self.io.write_all(out).await?;
            self.io.flush().await
        };
        let sent = matches!(within(self.limits.write, sent).await, Ok(Ok(())));
        out.clear();
        sent
    }

    /// Answer a `CONNECT` or an upgrade, and take over the bytes.
    pub(super) async fn switch(mut self, version: Version, reply: &Response<()>) -> Option<Rewind<IO>> {
        let mut out = BytesMut::with_capacity(256);
        // A client that speaks 1.0 is answered in 1.0 (http.client of Python 3.11
        // sends CONNECT so); the tunnel is the same.
        let protocol: &[u8] = if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
        out.extend_from_slice(protocol);
        out.extend_from_slice(reply.status().as_str().as_bytes());
        let reason = match reply.status() {
            StatusCode::OK => "Connection established",
            other => other.canonical_reason().unwrap_or_default(),
        };
        out.extend_from_slice(format!(" {reason}\r\n").as_bytes());
        for (name, value) in reply.headers() {
            field(&mut out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        self.write(&mut out).await.then_some(Rewind { early: self.buffer.freeze(), io: self.io })
    }

    /// Close in an orderly way: over TLS a connection that just ends looks cut off.
    pub(super) async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.io.shutdown()).await;
    }

    /// Say goodbye, so that a last reply is not lost to a reset: half-close, then take in and forget what the caller
    /// still sends, for as long as a request may take. Most programs read a reply when they have sent their request, and
    /// a reset in the middle of it is all that they would see. Ends when the caller does, or `gives_way`.
    pub(super) async fn linger(mut self, gives_way: impl Future<Output = ()>) {
        let within = self.limits.request;
        let rest = async {
            let _ = self.io.shutdown().await;
            let mut left = LINGER_BYTES;
            while let Ok(Ok(n @ 1..)) = tokio::time::timeout(LINGER_GAP, self.discarded()).await {
                left = left.saturating_sub(n);
                if left == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(within, rest) => {}
            () = gives_way => {}
        }
    }
}

/// What of a request decides how its reply is framed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyFraming {
    version: Version,
    head: bool,
    keep_alive: bool,
}

impl ReplyFraming {
    /// Of a request that was read.
    pub(super) fn of(head: &RequestHead) -> Self {
        Self { version: head.version, head: head.method == Method::HEAD, keep_alive: head.keep_alive }
    }

    /// Of a request that could not be read: answer and close.
    pub(super) const fn unreadable() -> Self {
        Self { version: Version::HTTP_11, head: false, keep_alive: false }
    }

    /// Close after this reply.
    #[must_use]
    pub(super) const fn closing(mut self) -> Self {
        self.keep_alive = false;
        self
    }
}

fn status_line(out: &mut BytesMut, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Statuses whose reply ends with its head (RFC 9112 section 6.3).
fn no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests;
