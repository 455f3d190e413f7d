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

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::reply::Body;

/// The longest head taken. Dhan's tokens are 300 bytes; this is generous.
const HEAD_LIMIT: usize = 32 * 1024;
/// The most header fields taken.
const FIELD_LIMIT: usize = 100;
/// The longest line of a chunked body: 16 hex digits.
const CHUNK_LINE_LIMIT: usize = 18;

/// The head of a request, framing settled. No `Debug`: it holds keys.
pub struct Head {
    /// The method.
    pub method: Method,
    /// The request target exactly as it was sent.
    pub target: String,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
    framing: Framing,
    expects_continue: bool,
    /// May another request follow?
    keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// Why a request was not taken. The connection is closed after it, because where
/// the next request would begin is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP.
    Malformed(&'static str),
    /// Two parsers could read it differently.
    Ambiguous(&'static str),
    /// The head or the body is larger than is taken.
    HeadTooLarge,
    /// See `proxy.body_limit`.
    BodyTooLarge,
    /// It did not come in time.
    TooSlow,
}

/// Why reading ended without a request.
#[derive(Debug)]
pub enum ReadError {
    /// Tell the caller, then close.
    Refused(Refusal),
    /// The caller is gone.
    Gone,
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Limits of a caller's connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
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
pub struct Connection<IO> {
    io: IO,
    buffer: BytesMut,
    limits: Limits,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Speak HTTP/1 on `io`.
    pub fn new(io: IO, limits: Limits) -> Self {
        Self { io, buffer: BytesMut::new(), limits }
    }

    /// Wait until a request begins. `false` when the caller closed or stayed idle
    /// too long. Cancel-safe.
    pub async fn begins(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        // Nothing is held for an idle caller but this future.
        self.buffer = BytesMut::new();
        let mut first = [0u8; 512];
        match tokio::time::timeout(self.limits.idle, self.io.read(&mut first)).await {
            Ok(Ok(n)) if n > 0 => {
                self.buffer.extend_from_slice(first.get(..n).unwrap_or_default());
                true
            }
            _ => false,
        }
    }

    /// Read the head of a request. By when its body must be there goes with it.
    ///
    /// # Errors
    /// [`ReadError`]; the connection is of no more use.
    pub async fn head(&mut self) -> Result<(Head, Instant), ReadError> {
        let by = Instant::now() + self.limits.request;
        let head = tokio::time::timeout_at(by, self.read_head()).await;
        head.unwrap_or(Err(Refusal::TooSlow.into())).map(|head| (head, by))
    }

    /// Read the body of the request whose head was read last.
    ///
    /// # Errors
    /// [`ReadError`]; the connection is of no more use.
    pub async fn body(&mut self, head: &Head, by: Instant) -> Result<Bytes, ReadError> {
        tokio::time::timeout_at(by, self.read_body(head)).await.unwrap_or(Err(Refusal::TooSlow.into()))
    }

    async fn read_head(&mut self) -> Result<Head, ReadError> {
        let mut seen = 0;
        let end = loop {
            let from = seen.min(self.buffer.len());
            if let Some(end) = find(self.buffer.get(from..).unwrap_or_default(), b"\r\n\r\n") {
                break from + end + 4;
            }
            // Refuse what can never become a head, at once and not at a timeout.
            if bare_line_feed(self.buffer.get(from.saturating_sub(1)..).unwrap_or_default()) {
                return Err(Refusal::Ambiguous("a line ends without a carriage return").into());
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(Refusal::HeadTooLarge.into());
            }
            seen = self.buffer.len().saturating_sub(3);
            self.fill().await?;
        };
        if end > HEAD_LIMIT {
            return Err(Refusal::HeadTooLarge.into());
        }
        let head = self.buffer.split_to(end);
        Ok(parse(&head)?)
    }

    async fn read_body(&mut self, head: &Head) -> Result<Bytes, ReadError> {
        if let Framing::Length(length) = head.framing
            && length > self.limits.body
        {
            return Err(Refusal::BodyTooLarge.into());
        }
        if head.expects_continue && head.framing != Framing::None && self.buffer.is_empty() {
            self.io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| ReadError::Gone)?;
        }
        match head.framing {
            Framing::None => Ok(Bytes::new()),
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    self.fill().await?;
                }
                Ok(self.buffer.split_to(length).freeze())
            }
            Framing::Chunked => self.chunks().await,
        }
    }

    async fn chunks(&mut self) -> Result<Bytes, ReadError> {
        let mut body = BytesMut::new();
        loop {
            let size = self.chunk_size().await?;
            if body.len().saturating_add(size) > self.limits.body {
                return Err(Refusal::BodyTooLarge.into());
            }
            while self.buffer.len() < size + 2 {
                self.fill().await?;
            }
            body.extend_from_slice(&self.buffer.split_to(size));
            // After the last chunk come trailers, which nobody sends to a broker:
            // the empty line that ends them is all that is taken.
            if !self.buffer.starts_with(b"\r\n") {
                return Err(Refusal::Ambiguous("a chunk does not end where it said, or trailers follow").into());
            }
            self.buffer.advance(2);
            if size == 0 {
                return Ok(body.freeze());
            }
        }
    }

    async fn chunk_size(&mut self) -> Result<usize, ReadError> {
        let bad = Refusal::Ambiguous("a chunk size is not plain hexadecimal followed by CRLF");
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
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
        self.buffer.reserve(4096);
        match self.io.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(ReadError::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Write a reply whole. Is the connection good for another request?
    pub async fn reply(&mut self, asked: Asked, reply: Response<Body>) -> bool {
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

    async fn write(&mut self, out: &mut BytesMut) -> bool {
        let sent = async {
            self.io.write_all(out).await?;
            self.io.flush().await
        };
        let sent = matches!(tokio::time::timeout(self.limits.write, sent).await, Ok(Ok(())));
        out.clear();
        sent
    }

    /// Answer a `CONNECT` or an upgrade, and take over the bytes.
    pub async fn switch(mut self, version: Version, reply: &Response<()>) -> Option<Rewound<IO>> {
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
        self.write(&mut out).await.then_some(Rewound { early: self.buffer.freeze(), io: self.io })
    }

    /// Close in an orderly way: over TLS a connection that just ends looks cut off.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.io.shutdown()).await;
    }

    /// Say goodbye, so that a last reply is not lost to a reset: half-close, then
    /// read what the caller still sends, for a moment.
    pub async fn linger(mut self) {
        let rest = async {
            let _ = self.io.shutdown().await;
            let mut scratch = [0u8; 4096];
            let mut left: usize = 256 * 1024;
            while let Ok(n) = self.io.read(&mut scratch).await {
                left = left.saturating_sub(n);
                if n == 0 || left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    }
}

/// What of a request decides how its reply is framed.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    version: Version,
    head: bool,
    keep_alive: bool,
}

impl Head {
    /// Does a body follow?
    pub fn has_body(&self) -> bool {
        self.framing != Framing::None
    }
}

impl Asked {
    /// Of a request that was read.
    pub fn of(head: &Head) -> Self {
        Self { version: head.version, head: head.method == Method::HEAD, keep_alive: head.keep_alive }
    }

    /// Of a request that could not be read: answer and close.
    pub const fn unreadable() -> Self {
        Self { version: Version::HTTP_11, head: false, keep_alive: false }
    }

    /// Close after this reply.
    #[must_use]
    pub const fn closing(mut self) -> Self {
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

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn bare_line_feed(bytes: &[u8]) -> bool {
    let mut before = None;
    bytes.iter().any(|b| {
        let bare = *b == b'\n' && before.is_some_and(|p| p != b'\r');
        before = Some(*b);
        bare
    })
}

fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let lines = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    // A CR or LF that is not part of CRLF, and a folded line, are read in more
    // than one way by parsers in the field (RFC 9112 sections 2.2 and 5.2).
    // httparse skips empty lines before a request; a body that was longer than its
    // length said would hide there.
    if bytes.starts_with(b"\r") {
        return Err(Refusal::Malformed("an empty line where a request should begin"));
    }
    if bare_line_feed(bytes) {
        return Err(Refusal::Ambiguous("a line ends without a carriage return"));
    }
    if lines.iter().filter(|b| **b == b'\r').count() != lines.iter().filter(|b| **b == b'\n').count() {
        return Err(Refusal::Ambiguous("a carriage return inside a line"));
    }
    if lines.windows(2).any(|w| matches!(w, [b'\n', b' ' | b'\t'])) {
        return Err(Refusal::Ambiguous("a folded header line"));
    }

    let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::Malformed("the head of the request is not whole")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(_) => return Err(Refusal::Malformed("the head of the request is not HTTP/1")),
    }
    let version = match request.version {
        Some(0) => Version::HTTP_10,
        Some(1) => Version::HTTP_11,
        _ => return Err(Refusal::Malformed("only HTTP/1.0 and HTTP/1.1 are spoken here")),
    };
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes());
    let method = method.map_err(|_| Refusal::Malformed("the method is not a token"))?;
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 8);
    for header in &*request.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Refusal::Malformed("a header name"))?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| Refusal::Malformed("a header value"))?;
        headers.append(name, value);
    }
    let framing = framing(&method, version, &headers)?;
    match (headers.get_all(HOST).iter().count(), version) {
        (1, _) | (0, Version::HTTP_10) => {}
        (0, _) => return Err(Refusal::Malformed("an HTTP/1.1 request needs a Host header")),
        _ => return Err(Refusal::Ambiguous("more than one Host header")),
    }
    let expects_continue = match headers.get(EXPECT) {
        None => false,
        // An HTTP/1.0 client cannot mean it (RFC 9110 section 10.1.1).
        Some(_) if version == Version::HTTP_10 => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => true,
        Some(_) => return Err(Refusal::Malformed("an expectation other than 100-continue")),
    };
    let keep_alive = keeps_alive(version, &headers);
    let target = request.path.unwrap_or_default().to_owned();
    Ok(Head { method, target, version, headers, framing, expects_continue, keep_alive })
}

fn framing(method: &Method, version: Version, headers: &HeaderMap) -> Result<Framing, Refusal> {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let framing = match (lengths, codings.next()) {
        (0, None) => Framing::None,
        (1, None) => {
            let digits = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes).unwrap_or_default();
            let plain = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|text| text.parse().ok());
            match length {
                Some(0) => Framing::None,
                Some(length) => Framing::Length(length),
                None => return Err(Refusal::Ambiguous("Content-Length is not a plain number")),
            }
        }
        (0, Some(coding)) => {
            if version == Version::HTTP_10 {
                return Err(Refusal::Ambiguous("Transfer-Encoding in HTTP/1.0"));
            }
            if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Ambiguous("a Transfer-Encoding other than chunked"));
            }
            Framing::Chunked
        }
        (_, Some(_)) => return Err(Refusal::Ambiguous("both Content-Length and Transfer-Encoding")),
        (_, None) => return Err(Refusal::Ambiguous("more than one Content-Length")),
    };
    if *method == Method::CONNECT && framing != Framing::None {
        return Err(Refusal::Ambiguous("a CONNECT with a body"));
    }
    Ok(framing)
}

fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        let mut values = headers.get_all(CONNECTION).iter().chain(headers.get_all("proxy-connection").iter());
        values.any(|v| v.to_str().is_ok_and(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(word))))
    };
    if version == Version::HTTP_10 { says("keep-alive") && !says("close") } else { !says("close") }
}

/// A connection whose first bytes were read too early.
pub struct Rewound<IO> {
    early: Bytes,
    io: IO,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.early.is_empty() {
            return std::pin::Pin::new(&mut self.io).poll_read(cx, into);
        }
        let take = self.early.len().min(into.remaining());
        into.put_slice(&self.early.split_to(take));
        std::task::Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        from: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
