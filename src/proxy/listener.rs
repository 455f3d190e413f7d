//! Accepting callers, and serving one connection to its end.

use std::convert::Infallible;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use super::caller::Door;
use super::http1::{Asked, Connection, ReadError, Refusal, Rewound};
use super::reply::{Body, Code, Problem};
use super::{Handled, Inbound, Inside, Proxy, Switch, tunnel};
use crate::config::{Bind, ClientKey, Listener};
use crate::domain::Outcome;

/// Pause after an accept error such as "too many open files", which would
/// otherwise be returned again at once for ever.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a TLS handshake of a caller may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {bind}")]
    Bind {
        bind: String,
        #[source]
        err: std::io::Error,
    },
    #[error("cannot use {path} for TLS towards callers: {reason}")]
    Tls { path: PathBuf, reason: String },
}

/// A bound listener.
pub struct Listening {
    /// As a caller would write it.
    pub at: String,
    socket: Socket,
    listener: Arc<Listener>,
    tls: Option<TlsAcceptor>,
    connections: Arc<Semaphore>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening").field("at", &self.at).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Bind a listener. Nothing is accepted until [`Listening::serve`].
///
/// # Errors
/// [`ListenError`].
pub fn listen(listener: Listener, max_connections: usize) -> Result<Listening, ListenError> {
    let tls = listener.tls.as_ref().map(|tls| acceptor(&tls.certificate, &tls.key)).transpose()?;
    let (at, socket) = match &listener.bind {
        Bind::Tcp(address) => {
            let fail = |err| ListenError::Bind { bind: address.to_string(), err };
            let socket = bind_tcp(*address).map_err(fail)?;
            let local = socket.local_addr().map_err(fail)?;
            (format!("{}://{local}", if tls.is_some() { "https" } else { "http" }), Socket::Tcp(socket))
        }
        Bind::Unix(path) => {
            let fail = |err| ListenError::Bind { bind: path.display().to_string(), err };
            // Whoever may connect trades, unless the peer's uid or a key says who it is.
            let asks = listener.client_key == ClientKey::Required || !listener.uids.is_empty();
            let mode = if asks { 0o666 } else { 0o600 };
            (format!("unix:{}", path.display()), Socket::Unix(bind_unix(path, mode).map_err(fail)?, path.clone()))
        }
    };
    let connections = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    Ok(Listening { at, socket, listener: Arc::new(listener), tls, connections })
}

/// A listening socket that can be bound again right after a restart.
pub(crate) fn bind_tcp(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        std::net::SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// A unix socket that only those `mode` allows can connect to. The file of a
/// process that was killed is removed; one that still answers belongs to somebody.
pub(crate) fn bind_unix(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if stale {
        std::fs::remove_file(path)?;
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // Before it listens: nobody gets in by the mode that the umask left.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(1024)?;
    UnixListener::from_std(socket.into())
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenError> {
    let fail = |path: &Path, reason: String| ListenError::Tls { path: path.to_owned(), reason };
    let chain = crate::egress::tls::read_certificates(certificate).map_err(|err| fail(certificate, err.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|err| fail(key, err.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| fail(certificate, err.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|err| fail(key, err.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Listening {
    /// Accept callers until the process stops.
    pub async fn serve(self, proxy: Arc<Proxy>) {
        let Self { socket, listener, tls, connections, .. } = self;
        loop {
            // More callers than allowed wait in the kernel's queue.
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            let next = Next { proxy: &proxy, listener: &listener, tls: tls.as_ref() };
            tokio::select! {
                accepted = next.accept(&socket, permit) => if let Err(err) = accepted {
                    tracing::warn!(error = %err, "could not accept a caller");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                },
                () = proxy.tasks.stopping() => break,
            }
        }
        if let Socket::Unix(_, path) = &socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

struct Next<'a> {
    proxy: &'a Arc<Proxy>,
    listener: &'a Arc<Listener>,
    tls: Option<&'a TlsAcceptor>,
}

impl Next<'_> {
    async fn accept(&self, socket: &Socket, permit: OwnedSemaphorePermit) -> std::io::Result<()> {
        match socket {
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                // A caller that vanished must not hold its place for ever.
                let alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
                socket2::SockRef::from(&stream).set_tcp_keepalive(&alive)?;
                let local = stream.local_addr().ok();
                let door = Door { listener: Arc::clone(self.listener), local, uid: None };
                let proxy = Arc::clone(self.proxy);
                match self.tls.cloned() {
                    None => self.proxy.tasks.spawn(async move {
                        proxy.connection(door, stream).await;
                        drop(permit);
                    }),
                    Some(tls) => self.proxy.tasks.spawn(async move {
                        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                            proxy.connection(door, stream).await;
                        }
                        drop(permit);
                    }),
                };
            }
            Socket::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                let door = Door { listener: Arc::clone(self.listener), local: None, uid };
                let proxy = Arc::clone(self.proxy);
                self.proxy.tasks.spawn(async move {
                    proxy.connection(door, stream).await;
                    drop(permit);
                });
            }
        }
        Ok(())
    }
}

impl Proxy {
    /// Serve one caller's connection to its end.
    async fn connection<IO>(self: Arc<Self>, door: Door, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.http1(&door, None, io).await {
            None => {}
            Some((io, Switch::Blind(upstream, until))) => tunnel::relay(io, upstream, &until).await,
            Some((io, Switch::WebSocket(relay, until))) => relay.run(io, &until).await,
            Some((io, Switch::Intercept(inside))) => self.intercepted(door, inside, io).await,
        }
    }

    /// Requests one after the other, until the caller goes or the bytes become
    /// something else.
    async fn http1<IO>(&self, door: &Door, inside: Option<&Inside>, io: IO) -> Option<(Rewound<IO>, Switch)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut connection = Connection::new(io, self.limits);
        loop {
            let begun = tokio::select! {
                begun = connection.begins() => begun,
                () = self.tasks.stopping() => false,
            };
            if !begun {
                connection.close().await;
                return None;
            }
            let (head, by) = match connection.head().await {
                Ok(head) => head,
                Err(error) => return self.unread(connection, error).await,
            };
            // Before the body is read, so that nobody makes us hold bodies without a key.
            if head.has_body()
                && let Err(problem) = self.admits(door, inside, &head.target, &head.headers)
            {
                connection.reply(Asked::of(&head).closing(), self.refuse(problem)).await;
                connection.linger().await;
                return None;
            }
            let body = match connection.body(&head, by).await {
                Ok(body) => body,
                Err(error) => return self.unread(connection, error).await,
            };
            let mut asked = Asked::of(&head);
            if self.tasks.is_stopping() {
                asked = asked.closing();
            }
            let version = head.version;
            let inbound = Inbound { method: head.method, target: head.target, headers: head.headers, body };
            match self.handle(door, inside, inbound).await {
                Handled::Reply(reply) => {
                    if !connection.reply(asked, reply).await {
                        connection.close().await;
                        return None;
                    }
                }
                Handled::Switch(reply, switch) => {
                    return connection.switch(version, &reply).await.map(|io| (io, switch));
                }
            }
        }
    }

    /// Answer what could not be read, if anybody is there to hear it.
    async fn unread<IO>(&self, mut connection: Connection<IO>, error: ReadError) -> Option<(Rewound<IO>, Switch)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if let ReadError::Refused(refusal) = error {
            connection.reply(Asked::unreadable(), self.refuse(refusal.into())).await;
            connection.linger().await;
        }
        None
    }

    /// End the TLS of a tunnel and serve what comes out of it.
    async fn intercepted<IO>(self: Arc<Self>, door: Door, inside: Inside, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let leaf = match self.interceptor.leaf(&inside.authority.host) {
            Ok(leaf) => leaf,
            Err(err) => return tracing::error!(error = %err, "no certificate for an intercepted host"),
        };
        let accepted = tokio::time::timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(leaf).accept(io)).await;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => {
                // Nearly always a caller that does not trust ca.pem yet.
                return tracing::warn!(host = %inside.authority.host, error = %err,
                    "a caller's TLS handshake failed; does it trust ca.pem?");
            }
            Err(_) => return,
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return self.http2(door, inside, stream).await;
        }
        // No tunnel inside a tunnel: a CONNECT in here is refused as a method.
        if let Some((io, Switch::WebSocket(relay, until))) = self.http1(&door, Some(&inside), stream).await {
            relay.run(io, &until).await;
        }
    }

    async fn http2<IO>(self: Arc<Self>, door: Door, inside: Inside, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let proxy = Arc::clone(&self);
        // Held by a request to its end, also when the caller has reset its stream.
        let streams = Arc::new(Semaphore::new(STREAMS as usize));
        let busy = Arc::clone(&streams);
        let service = service_fn(move |request: Request<Incoming>| {
            let (proxy, door, inside, streams) =
                (Arc::clone(&proxy), door.clone(), inside.clone(), Arc::clone(&streams));
            async move {
                let permit = streams.acquire_owned().await.ok();
                Ok::<_, Infallible>(proxy.stream(door, inside, request, permit).await)
            }
        });
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(32 * 1024)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        let connection = builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let idle = async {
            // Idle for a whole period: nothing under way at its begin and its end.
            let mut was_idle = false;
            loop {
                tokio::time::sleep(self.limits.idle).await;
                let is_idle = busy.available_permits() == STREAMS as usize;
                if was_idle && is_idle {
                    return;
                }
                was_idle = is_idle;
            }
        };
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.tasks.stopping() => connection.as_mut().graceful_shutdown(),
            () = idle => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    /// One request of an HTTP/2 connection.
    async fn stream(
        self: Arc<Self>,
        door: Door,
        inside: Inside,
        request: Request<Incoming>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        debug_assert_eq!(parts.version, Version::HTTP_2);
        let bodiless = parts.method == Method::HEAD;
        // :authority is this protocol's Host (RFC 9113 section 8.3.1).
        if let Some(authority) = parts.uri.authority()
            && !parts.headers.contains_key(http::header::HOST)
            && let Ok(host) = http::HeaderValue::from_str(authority.as_str())
        {
            parts.headers.insert(http::header::HOST, host);
        }
        let target = parts.uri.to_string();
        if let Err(problem) = self.admits(&door, Some(&inside), &target, &parts.headers) {
            return without_body(bodiless, self.refuse(problem));
        }
        let body = Limited::new(body, self.limits.body).collect();
        let refusal = match tokio::time::timeout(self.limits.request, body).await {
            Ok(Ok(body)) => {
                let body = body.to_bytes();
                let inbound = Inbound { method: parts.method, target, headers: parts.headers, body };
                return without_body(bodiless, self.to_the_end(door, inside, inbound, permit).await);
            }
            Ok(Err(err)) if err.is::<LengthLimitError>() => Refusal::BodyTooLarge,
            Ok(Err(_)) => Refusal::Malformed("the body broke off"),
            Err(_) => Refusal::TooSlow,
        };
        without_body(bodiless, self.refuse(refusal.into()))
    }

    /// In a task of its own: a stream that the caller resets must not stop an order half-way.
    async fn to_the_end(
        self: Arc<Self>,
        door: Door,
        inside: Inside,
        inbound: Inbound,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let proxy = Arc::clone(&self);
        let handled = self.tasks.spawn(async move {
            let handled = proxy.handle(&door, Some(&inside), inbound).await;
            drop(permit);
            handled
        });
        match handled.await {
            Ok(Handled::Reply(reply)) => reply,
            Ok(Handled::Switch(..)) => {
                self.refuse(Problem::before_sending(Code::BadRequest, "not possible over HTTP/2"))
            }
            // It broke down somewhere, and an order may have left before that.
            Err(_) => self.refuse(Problem::new(
                Code::OutcomeUnknown,
                "the request broke down inside the gateway; look in the order book",
                Outcome::Unknown,
            )),
        }
    }
}

/// A reply to HEAD says how long its body would be, and has none.
fn without_body(bodiless: bool, mut reply: Response<Body>) -> Response<Body> {
    if bodiless && matches!(reply.body(), Body::Own(_)) {
        if let Some(length) = reply.body().size_hint().exact() {
            reply.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        *reply.body_mut() = Body::from(bytes::Bytes::new());
    }
    reply
}
