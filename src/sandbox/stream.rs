//! What requests and upgraded connections come by.

use http::header;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What upgraded connections carry.
pub(super) type Stream = TlsStream<TcpStream>;

/// The host that a request names.
pub(super) fn host(parts: &http::request::Parts) -> Option<&str> {
    let named = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    parts.uri.authority().map(http::uri::Authority::as_str).or(named)
}

/// A host without its port.
pub(super) fn name_only(host: &str) -> &str {
    if host.starts_with('[') { host } else { host.split(':').next().unwrap_or(host) }
}
