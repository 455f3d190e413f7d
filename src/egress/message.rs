//! A request, as whoever sends it gives it.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;

use crate::domain::Authority;

/// A request, whichever protocol it leaves by. Borrowed: a second try needs all of it again. No `Debug`: it
/// holds the token.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The host and port that it is for.
    pub authority: &'a Authority,
    /// The request's method.
    pub method: &'a Method,
    /// The path and query that it asks for.
    pub path: &'a PathAndQuery,
    /// The request's header fields. `Host` and those that frame the body are not looked at.
    pub headers: &'a HeaderMap,
    /// The request's body.
    pub body: &'a Bytes,
}

impl Message<'_> {
    /// The value of `Host`: the port only where it is not 443.
    pub(super) fn host(&self) -> Cow<'_, str> {
        host(self.authority)
    }

    /// As HTTP/2 writes it: the authority stands in `:authority` (RFC 9113 section 8.3.1).
    pub(super) fn to_http2(self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().remove(HOST);
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = self.authority.to_string().parse().ok();
        uri.path_and_query = Some(self.path.clone());
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        request
    }
}

pub(super) fn host(authority: &Authority) -> Cow<'_, str> {
    let host = authority.host.as_str();
    if authority.port == 443 && !host.contains(':') {
        // Every request to the broker: no text is put together for it.
        return Cow::Borrowed(host);
    }
    let text = authority.to_string();
    Cow::Owned(text.strip_suffix(":443").map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The broker's front picks the site by it, and takes a port it does not expect for another site.
    #[test]
    fn the_host_header_names_the_port_only_where_it_is_not_443() {
        for (authority, want) in [
            ("api.dhan.co:443", "api.dhan.co"),
            ("api.dhan.co:8443", "api.dhan.co:8443"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("192.0.2.1:443", "192.0.2.1"),
        ] {
            let authority = Authority::parse(authority, None).unwrap();
            let (path, headers) = (PathAndQuery::from_static("/"), HeaderMap::new());
            let message = Message {
                authority: &authority,
                method: &Method::GET,
                path: &path,
                headers: &headers,
                body: &Bytes::new(),
            };
            assert_eq!(message.host(), want);
        }
    }
}
