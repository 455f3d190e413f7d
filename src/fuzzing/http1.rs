//! HTTP/1 on both sides of the gateway, against a reader that is as simple as can be.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::input::{parts, pieces};
use crate::domain::Authority;
use crate::egress::fuzzing::{Message, exchange};
use crate::proxy::fuzzing::{BODY_LIMIT, ParsedRequest, for_broker, requests};

/// A head, taken apart at its line ends and colons.
struct Head<'a> {
    start: &'a [u8],
    fields: Vec<(String, &'a [u8])>,
    /// What comes after it.
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    /// `None` while its end is not there.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        loop {
            let (line, after) = line(rest)?;
            rest = after;
            match (line, lines.is_empty()) {
                // Blank lines before a head are nothing.
                (b"", true) => {}
                (b"", false) => break,
                (line, _) => lines.push(line),
            }
        }
        let fields = lines.iter().skip(1).map(|line| {
            let (name, value) = parts(line, b':');
            (String::from_utf8_lossy(name).to_ascii_lowercase(), trim(value))
        });
        Some(Self { start: lines.first().copied().unwrap_or_default(), fields: fields.collect(), rest })
    }

    fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
        self.fields.iter().filter(move |(is, _)| is == name).map(|(_, value)| *value)
    }

    /// Are these its fields, and nothing else?
    fn says(&self, headers: &HeaderMap) -> bool {
        headers.len() == self.fields.len()
            && headers
                .keys()
                .all(|name| headers.get_all(name).iter().map(|value| value.as_bytes()).eq(self.all(name.as_str())))
    }

    /// The body by the head's own framing, and what comes after it. `None` where it is not there whole.
    fn body(&self) -> Option<(Vec<u8>, &'a [u8])> {
        if self.all("transfer-encoding").next().is_some() {
            return chunks(self.rest);
        }
        let length = match self.all("content-length").next() {
            Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok()?,
            None => 0,
        };
        self.rest.split_at_checked(length).map(|(body, rest)| (body.to_vec(), rest))
    }
}

/// The line at the front, without its end, and what comes after it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'\n', bytes)?;
    let (line, rest) = bytes.split_at_checked(at)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..)?))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let Some(rest) = value.strip_prefix(b" ").or_else(|| value.strip_prefix(b"\t")) {
        value = rest;
    }
    while let Some(rest) = value.strip_suffix(b" ").or_else(|| value.strip_suffix(b"\t")) {
        value = rest;
    }
    value
}

/// A chunked body, and what comes after its trailers (RFC 9112 section 7.1).
fn chunks(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (size, after) = line(rest)?;
        let size = std::str::from_utf8(parts(size, b';').0).ok()?.trim_end();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = after;
        if size == 0 {
            break;
        }
        let (data, after) = rest.split_at_checked(size)?;
        body.extend_from_slice(data);
        rest = after.strip_prefix(b"\r\n")?;
    }
    loop {
        let (trailer, after) = line(rest)?;
        rest = after;
        if trailer.is_empty() {
            return Some((body, rest));
        }
    }
}

/// Requests as callers send them: read in one way, whole or in pieces, and what goes to the broker of them is read as
/// the same again.
///
/// # Panics
/// Where that does not hold.
pub fn callers_http1(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let (found, refused) = requests(bytes.clone(), usize::MAX, false);
    for piece in pieces(data) {
        for watched in [false, true] {
            let (other, other_refused) = requests(bytes.clone(), piece, watched);
            assert_eq!(found, other, "in pieces of {piece} it is something else; watched: {watched}");
            assert_eq!(refused, other_refused, "in pieces of {piece} it ends otherwise; watched: {watched}");
        }
    }
    let mut rest = data;
    for request in &found {
        let (head, after) = simple(rest, request);
        assert!(request.body.len() <= BODY_LIMIT, "a body that is too large was taken");
        rest = after;
        assert!(head.all("host").count() <= 1, "two hosts");
        let framed = head.all("content-length").count() + head.all("transfer-encoding").count();
        assert!(framed <= 1, "framed more than once");
        assert!(request.body.is_empty() || request.method != Method::CONNECT, "a CONNECT with a body");
        goes_on_as_it_came(request);
    }
}

/// The simple reader must see this request at the front.
fn simple<'a>(bytes: &'a [u8], request: &ParsedRequest) -> (Head<'a>, &'a [u8]) {
    let head = Head::of(bytes);
    assert!(head.is_some(), "a request was read where no head ends");
    let head = head.unwrap_or_else(|| Head { start: b"", fields: Vec::new(), rest: b"" });
    let taken = bytes.get(..bytes.len() - head.rest.len()).unwrap_or_default();
    let ends = taken.windows(2).filter(|pair| pair == b"\r\n").count();
    let odd = taken.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    assert_eq!(odd, 2 * ends, "a line end that is not CRLF was taken");
    assert!(!taken.contains(&0), "a zero was taken");
    let version = if request.http_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let start = format!("{} {} {version}", request.method, request.target);
    assert!(head.start == start.as_bytes() && bytes.starts_with(head.start), "another request line");
    assert_eq!(request.target.split(' ').count(), 1, "a blank in a target");
    assert!(head.says(&request.headers), "other fields: {:?}", request.headers);
    let body = head.body();
    assert!(body.is_some(), "a body was read that is not there whole");
    let (body, after) = body.unwrap_or_default();
    assert_eq!(request.body, body, "another body");
    (head, after)
}

/// What is written to the broker for a request is one request, and the same.
fn goes_on_as_it_came(request: &ParsedRequest) {
    let Ok(path) = PathAndQuery::try_from(request.target.as_str()) else { return };
    let Ok(authority) = Authority::parse("api.dhan.co:443", None) else { return };
    let mut headers = request.headers.clone();
    for_broker(&mut headers);
    if !request.target.starts_with('/') || request.method == Method::CONNECT || headers.len() > 90 {
        return;
    }
    let message =
        Message { authority: &authority, method: &request.method, path: &path, headers: &headers, body: &request.body };
    let (written, _) = exchange(&message, Bytes::new(), usize::MAX);
    let (found, refused) = requests(written.into(), usize::MAX, false);
    assert!(!refused, "what we wrote is refused");
    let told = |request: &ParsedRequest| (request.method.clone(), request.target.clone(), request.body.clone());
    let wanted = (request.method.clone(), path.as_str().to_owned(), request.body.clone());
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), [wanted], "what we wrote is read as something else");
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        let read = found.iter().flat_map(|request| request.headers.get_all(name)).collect::<Vec<_>>();
        assert_eq!(values, read, "{name} arrives otherwise");
    }
}

/// Replies as the broker sends them; the first byte says to which method. Read in one way, whole or in pieces.
///
/// # Panics
/// Where that does not hold.
pub fn broker_http1(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let method = match first % 4 {
        0 => Method::HEAD,
        1 => Method::POST,
        2 => Method::DELETE,
        _ => Method::GET,
    };
    let (Ok(authority), path) = (Authority::parse("api.dhan.co:443", None), PathAndQuery::from_static("/")) else {
        return;
    };
    let message = Message {
        authority: &authority,
        method: &method,
        path: &path,
        headers: &HeaderMap::new(),
        body: &Bytes::new(),
    };
    let bytes = Bytes::copy_from_slice(data);
    let (_, found) = exchange(&message, bytes.clone(), usize::MAX);
    for piece in pieces(data) {
        let (_, other) = exchange(&message, bytes.clone(), piece);
        let told = |reply: Option<crate::egress::fuzzing::ParsedReply>| reply.map(|r| (r.status, r.headers, r.body));
        let same = found.as_ref().map(|r| (r.status, r.headers.clone(), r.body.clone())) == told(other);
        assert!(same, "in pieces of {piece} it is something else");
    }
    let Some(reply) = found else { return };

    // Interim replies come before the one that counts.
    let mut rest = data;
    let (head, status) = loop {
        let head = Head::of(rest);
        assert!(head.is_some(), "a reply was read where no head ends");
        let Some(head) = head else { return };
        let status: Vec<u8> = parts(head.start, b' ').1.iter().copied().take(3).collect();
        if status.first() != Some(&b'1') || status == b"101" {
            break (head, status);
        }
        rest = head.rest;
    };
    assert_eq!(reply.status.as_str().as_bytes(), status, "another status");
    assert!(head.says(&reply.headers), "other fields: {:?}", reply.headers);
    let Some(got) = reply.body else {
        assert!(!reply.clean, "a reply that broke off, and its connection is used again");
        return;
    };
    let empty = method == Method::HEAD || matches!(reply.status.as_u16(), 100..=199 | 204 | 304);
    let framed = head.all("content-length").count() + head.all("transfer-encoding").count();
    let (body, after) = match (empty, framed) {
        (true, _) => (Vec::new(), head.rest),
        (false, 0) => (head.rest.to_vec(), &b""[..]),
        (false, framed) => {
            assert_eq!(framed, 1, "framed more than once");
            let body = head.body();
            assert!(body.is_some(), "a body was read that is not there whole");
            body.unwrap_or_default()
        }
    };
    assert!(got == body, "another body");
    // What is read at once, and so seen to follow.
    let seen = data.len() <= 16 * 1024;
    assert!(!(reply.clean && seen && !after.is_empty()), "something follows, and the connection is used again");
    assert!(!reply.clean || empty || framed == 1, "a reply that ends with its connection, and that is used again");
    assert!(!reply.clean || head.start.starts_with(b"HTTP/1.1"), "a connection of HTTP/1.0 is used again");
}
