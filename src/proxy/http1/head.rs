//! The head of a request: its grammar is httparse's, its framing is settled here,
//! in one way or not at all.

use std::mem::MaybeUninit;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use memchr::memmem;

/// The most header fields taken.
const FIELD_LIMIT: usize = 100;

/// The head of a request, framing settled. No `Debug`: it holds keys.
pub(crate) struct RequestHead {
    /// The method.
    pub method: Method,
    /// The request target exactly as it was sent.
    pub target: String,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
    pub(super) framing: RequestFraming,
    pub(super) expects_continue: bool,
    /// May another request follow?
    pub(super) keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFraming {
    None,
    Length(usize),
    Chunked,
}

/// Why a request was not taken. The connection is closed after it, because where
/// the next request would begin is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseRefusal {
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
    /// Its place is needed, and nobody knows yet who it is.
    MakesRoom,
    /// It begins a TLS handshake where plain HTTP is spoken.
    Tls,
    /// It is plain HTTP where TLS is spoken.
    WithoutTls,
    /// It speaks SOCKS.
    Socks,
}

impl RequestHead {
    /// Does a body follow?
    pub(crate) fn has_body(&self) -> bool {
        self.framing != RequestFraming::None
    }
}

/// Where the empty line that ends a head begins: the end of the line before it.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    static END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));
    END.find(bytes)
}

/// Does a line end without a carriage return? The first byte's own end is not known.
pub(super) fn bare_line_feed(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes)
        .any(|at| at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(|b| *b != b'\r'))
}

/// Read the head of a request, which ends with the empty line that ends a head.
pub(super) fn parse(bytes: &Bytes) -> Result<RequestHead, ParseRefusal> {
    // A CR or LF that is not part of CRLF, and a folded line, are read in more
    // than one way by parsers in the field (RFC 9112 sections 2.2 and 5.2).
    // httparse skips empty lines before a request; a body that was longer than its
    // length said would hide there.
    if bytes.starts_with(b"\r") {
        return Err(ParseRefusal::Malformed("an empty line where a request should begin"));
    }
    let mut lines = 0;
    for at in memchr::memchr_iter(b'\n', bytes) {
        if at.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\r') {
            return Err(ParseRefusal::Ambiguous("a line ends without a carriage return"));
        }
        if matches!(bytes.get(at + 1), Some(b' ' | b'\t')) {
            return Err(ParseRefusal::Ambiguous("a folded header line"));
        }
        lines += 1;
    }
    if memchr::memchr_iter(b'\r', bytes).count() != lines {
        return Err(ParseRefusal::Ambiguous("a carriage return inside a line"));
    }

    let mut fields = [const { MaybeUninit::uninit() }; FIELD_LIMIT];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(ParseRefusal::Malformed("the head of the request is not whole")),
        Err(httparse::Error::TooManyHeaders) => return Err(ParseRefusal::HeadTooLarge),
        Err(_) => return Err(ParseRefusal::Malformed("the head of the request is not HTTP/1")),
    }
    let version = match request.version {
        Some(0) => Version::HTTP_10,
        Some(1) => Version::HTTP_11,
        _ => return Err(ParseRefusal::Malformed("only HTTP/1.0 and HTTP/1.1 are spoken here")),
    };
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes());
    let method = method.map_err(|_| ParseRefusal::Malformed("the method is not a token"))?;
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 8);
    for header in &*request.headers {
        let name =
            HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| ParseRefusal::Malformed("a header name"))?;
        // The same bytes, and not a copy.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value));
        let value = value.map_err(|_| ParseRefusal::Malformed("a header value"))?;
        headers.append(name, value);
    }
    let framing = framing(&method, version, &headers)?;
    match (headers.get_all(HOST).iter().count(), version) {
        (1, _) | (0, Version::HTTP_10) => {}
        (0, _) => return Err(ParseRefusal::Malformed("an HTTP/1.1 request needs a Host header")),
        _ => return Err(ParseRefusal::Ambiguous("more than one Host header")),
    }
    let expects_continue = match headers.get(EXPECT) {
        None => false,
        // An HTTP/1.0 client cannot mean it (RFC 9110 section 10.1.1).
        Some(_) if version == Version::HTTP_10 => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => true,
        Some(_) => return Err(ParseRefusal::Malformed("an expectation other than 100-continue")),
    };
    let keep_alive = keeps_alive(version, &headers);
    let target = request.path.unwrap_or_default().to_owned();
    Ok(RequestHead { method, target, version, headers, framing, expects_continue, keep_alive })
}

fn framing(method: &Method, version: Version, headers: &HeaderMap) -> Result<RequestFraming, ParseRefusal> {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let framing = match (lengths, codings.next()) {
        (0, None) => RequestFraming::None,
        (1, None) => {
            let digits = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes).unwrap_or_default();
            let plain = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|text| text.parse().ok());
            match length {
                Some(0) => RequestFraming::None,
                Some(length) => RequestFraming::Length(length),
                None => return Err(ParseRefusal::Ambiguous("Content-Length is not a plain number")),
            }
        }
        (0, Some(coding)) => {
            if version == Version::HTTP_10 {
                return Err(ParseRefusal::Ambiguous("Transfer-Encoding in HTTP/1.0"));
            }
            if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(ParseRefusal::Ambiguous("a Transfer-Encoding other than chunked"));
            }
            RequestFraming::Chunked
        }
        (_, Some(_)) => return Err(ParseRefusal::Ambiguous("both Content-Length and Transfer-Encoding")),
        (_, None) => return Err(ParseRefusal::Ambiguous("more than one Content-Length")),
    };
    if *method == Method::CONNECT && framing != RequestFraming::None {
        return Err(ParseRefusal::Ambiguous("a CONNECT with a body"));
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
