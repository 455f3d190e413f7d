//! The head of a request, and that of a reply.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use memchr::memmem;
use zeroize::Zeroizing;

use super::super::message::Message;
use super::body::BodyFraming;

/// The most header fields taken of a reply.
const FIELD_LIMIT: usize = 100;

/// The head of a reply, framing settled.
pub(crate) struct ReplyHead {
    pub response: Response<()>,
    pub framing: BodyFraming,
    /// May another request follow?
    pub keep_alive: bool,
}

/// A whole request, as it is written.
pub(crate) fn encode(message: &Message<'_>) -> Vec<u8> {
    let fields: usize = message.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = message.path.as_str();
    let mut out = Vec::with_capacity(fields + target.len() + message.body.len() + 128);
    for part in [message.method.as_str(), " ", target, " HTTP/1.1\r\nhost: "] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(message.host().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in message.headers {
        // Ours to say.
        if *name != HOST && *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    if has_length(message.method, message.body) {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(message.body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.body);
    out
}

fn has_length(method: &Method, body: &[u8]) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH) || !body.is_empty()
}

/// What a request that holds secrets asks for.
pub(crate) struct SecretTarget<'a> {
    pub host: &'a str,
    pub method: &'a Method,
    pub path: &'static str,
    /// As it is meant.
    pub query: &'a [(&'static str, &'a str)],
}

/// A whole request, as it is written, in a buffer that is long enough from the beginning: one that grew would leave a
/// copy behind that nobody wipes.
pub(crate) fn encode_secret(to: &SecretTarget<'_>, headers: &HeaderMap, body: &[u8]) -> Zeroizing<Vec<u8>> {
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let query: usize = to.query.iter().map(|(name, value)| name.len() + 2 + 3 * value.len()).sum();
    let most = to.method.as_str().len() + to.path.len() + query + to.host.len() + fields + body.len() + 128;
    let mut out = Zeroizing::new(Vec::with_capacity(most));
    for part in [to.method.as_str(), " ", to.path] {
        out.extend_from_slice(part.as_bytes());
    }
    for (n, (name, value)) in to.query.iter().enumerate() {
        out.push(if n == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        value.bytes().for_each(|byte| escape(byte, &mut out));
    }
    for part in [" HTTP/1.1\r\nhost: ", to.host, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if has_length(to.method, body) {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    debug_assert!(out.len() <= most, "it grew");
    out
}

/// Percent-encoded, but for what is unreserved (RFC 3986, section 2.3).
fn escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        out.push(byte);
        return;
    }
    out.push(b'%');
    out.extend([byte >> 4, byte & 15].iter().filter_map(|half| DIGITS.get(usize::from(*half))));
}

/// Where the head ends, if all of it is there.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    static END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));
    END.find(bytes).map(|at| at + 4)
}

/// Read the whole head of the reply to a request of `method`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(bytes: &Bytes, method: &Method) -> Result<ReplyHead, &'static str> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELD_LIMIT];
    let mut reply = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut reply, bytes, &mut fields);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err("the head of the reply ends in more than one place"),
        Err(httparse::Error::TooManyHeaders) => return Err("the reply has too many header fields"),
        Err(_) => return Err("the reply is not HTTP/1"),
    }
    let status = reply.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("the reply has no status")?;
    let mut headers = HeaderMap::with_capacity(reply.headers.len() + 8);
    for field in &*reply.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a header name of the reply")?;
        // The same bytes, and not a copy.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        headers.append(name, value.map_err(|_| "a header value of the reply")?);
    }
    let version = if reply.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let framing = framing(method, status, &headers)?;
    let keep_alive = version == Version::HTTP_11
        && framing != BodyFraming::UntilClose
        && status != StatusCode::SWITCHING_PROTOCOLS
        && !says_close(&headers);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(ReplyHead { response, framing, keep_alive })
}

/// RFC 9112 section 6.3.
fn framing(method: &Method, status: StatusCode, headers: &HeaderMap) -> Result<BodyFraming, &'static str> {
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (Some(first), None) => Some(length(first.as_bytes()).ok_or("the reply's Content-Length is no number")?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err("the reply has more than one Content-Length"),
    };
    let coding = codings.next();
    if *method == Method::HEAD || bodiless {
        return Ok(BodyFraming::Length(0));
    }
    match (coding, length) {
        (Some(coding), None) if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(BodyFraming::Chunked)
        }
        (Some(_), None) => Err("the reply has a Transfer-Encoding other than chunked"),
        (Some(_), Some(_)) => Err("the reply has both Content-Length and Transfer-Encoding"),
        (None, Some(length)) => Ok(BodyFraming::Length(length)),
        (None, None) => Ok(BodyFraming::UntilClose),
    }
}

fn length(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn says_close(headers: &HeaderMap) -> bool {
    let words = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    words.into_iter().any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}
