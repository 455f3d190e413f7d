//! A caller of the gateway, in every mode that there is: what an order engine's
//! HTTP client does, and nothing that the gateway's own code does for it.

#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Any stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// A kept connection.
pub(crate) enum Caller {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Caller {
    pub(crate) async fn http1(stream: impl Stream) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(stream: impl Stream) -> Self {
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn(connection);
        Self::Http2(sender)
    }

    /// Over TLS inside a tunnel, as the client's library negotiates.
    pub(crate) async fn inside(tunnel: impl Stream, host: &str, ca: &Path, http2: bool) -> Self {
        let tls = tls(tunnel, host, ca, if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] }).await.unwrap();
        if http2 { Self::http2(tls).await } else { Self::http1(tls).await }
    }

    /// Send and read the whole reply.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
        let reply = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = reply.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// A request with a JSON body (or none), for any mode: `target` is absolute, or a path.
pub(crate) fn request(
    method: &str,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target.parse::<Uri>().unwrap());
    if !target.starts_with("https:") {
        request = request.header("host", host);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::from(body.unwrap_or_default().to_owned()))).unwrap()
}

/// `Basic` credentials.
pub(crate) fn basic(account: &str, key: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("{account}:{key}").as_bytes()))
}

pub(crate) async fn connect(to: std::net::SocketAddr) -> TcpStream {
    let socket = if to.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
    socket.unwrap().connect(to).await.unwrap()
}

pub(crate) async fn connect_unix(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.unwrap()
}

/// Ask for a tunnel. The status, and the stream when it is 200.
pub(crate) async fn tunnel<S: Stream>(mut stream: S, to: &str, headers: &[(&str, &str)]) -> (u16, S) {
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0u8; 1];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        answer.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    assert!(text.contains("sixgate-request-id: "), "{text}");
    (status.unwrap_or_else(|| panic!("no status in {text:?}")), stream)
}

/// TLS that trusts `ca` only.
pub(crate) async fn tls<S: Stream>(
    stream: S,
    host: &str,
    ca: &Path,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(der.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Send bytes as they are; what comes back until the other side closes or `limit` bytes.
pub(crate) async fn raw(to: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(to).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
