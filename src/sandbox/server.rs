//! Connections: accept, TLS, HTTP by ALPN, and when they end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming as Body;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::domain::tasks::Tasks;

use super::arrival::respond;
use super::door::{self, Door};
use super::reply::Reply;
use super::stream::Stream;
use super::{Inner, SandboxError};

/// The longest body that is read.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// How long a handshake or a request's head may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when the host has no descriptor left for another connection.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Bind a listener; where it ended up.
pub(super) async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let fail = |err| SandboxError::Listen { at, err };
    let listener = TcpListener::bind(at).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

/// The next connection; `None` when the process is to stop. Errors of one
/// connection or of the host do not end the listener.
pub(super) async fn accept(listener: &TcpListener, tasks: &Tasks) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = tasks.stopping() => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(err) => {
                tracing::warn!(%err, "sandbox: accept failed");
                tokio::select! {
                    () = tokio::time::sleep(BACK_OFF) => {}
                    () = tasks.stopping() => return None,
                }
            }
        }
    }
}

/// Serve until the process is to stop.
pub(super) async fn serve(inner: Arc<Inner>, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let mut counted = 0;
    while let Some((tcp, peer)) = accept(&listener, &inner.tasks).await {
        counted += 1;
        let peer = match peer {
            SocketAddr::V6(peer) => peer,
            SocketAddr::V4(peer) => SocketAddrV6::new(peer.ip().to_ipv6_mapped(), peer.port(), 0, 0),
        };
        let connection = Arc::new(Connection {
            inner: Arc::clone(&inner),
            number: counted,
            peer,
            sni: None,
            requests: AtomicU64::new(0),
            cut: inner.line(),
            under_way: watch::Sender::new(0),
        });
        inner.tasks.spawn(handshake(acceptor.clone(), tcp, connection));
    }
}

/// What is known of one connection.
pub(super) struct Connection {
    pub(super) inner: Arc<Inner>,
    pub(super) number: u64,
    pub(super) peer: SocketAddrV6,
    pub(super) sni: Option<String>,
    pub(super) requests: AtomicU64,
    /// Ends the connection without another byte.
    pub(super) cut: CancellationToken,
    /// How many requests are under way.
    under_way: watch::Sender<usize>,
}

impl Connection {
    /// Resolves when nothing has been under way for as long as the broker bears.
    async fn idle(&self) {
        let mut under_way = self.under_way.subscribe();
        let mut limit = self.inner.idle_close.subscribe();
        loop {
            let (busy, limited) = (*under_way.borrow_and_update() > 0, *limit.borrow_and_update());
            let expired = async {
                match limited {
                    Some(limited) if !busy => tokio::time::sleep(limited).await,
                    Some(_) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expired => return,
                _ = under_way.changed() => {}
                _ = limit.changed() => {}
            }
        }
    }

    /// Let the client wait, unless the process is to stop.
    pub(super) async fn wait(&self, milliseconds: u64) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(milliseconds)) => {}
            () = self.inner.tasks.stopping() => {}
        }
    }
}

/// A request on a connection, from its head to its answer.
pub(super) struct UnderWay(Arc<Connection>);

impl UnderWay {
    pub(super) fn begin(connection: &Arc<Connection>) -> Self {
        connection.under_way.send_modify(|count| *count += 1);
        Self(Arc::clone(connection))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count = count.saturating_sub(1));
    }
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream, mut connection: Arc<Connection>) {
    // Replies are small and one at a time: waiting to fill a packet only delays them.
    let _best_effort = tcp.set_nodelay(true);
    let peer = IpAddr::V6(*connection.peer.ip()).to_canonical();
    let door = connection.inner.world().doors.get(&peer).copied().unwrap_or_default();
    let Some(tcp) = door::before_tls(&connection.inner, door, tcp).await else { return };
    let tls = tokio::select! {
        tls = tokio::time::timeout(PATIENCE, acceptor.accept(tcp)) => tls,
        () = connection.cut.cancelled() => return,
        () = connection.inner.tasks.stopping() => return,
    };
    let Ok(Ok(tls)) = tls else {
        tracing::debug!(peer = %connection.peer, "sandbox: TLS handshake failed");
        return;
    };
    connection.inner.handshakes.fetch_add(1, Ordering::Relaxed);
    if door == Door::HangsUp {
        return;
    }
    let (_, session) = tls.get_ref();
    let two = session.alpn_protocol() == Some(b"h2");
    if let Some(connection) = Arc::get_mut(&mut connection) {
        connection.sni = session.server_name().map(str::to_owned);
    }
    if two { serve_http2(tls, connection).await } else { serve_http1(tls, connection).await }
}

async fn serve_http1(tls: Stream, connection: Arc<Connection>) {
    let shared = Arc::clone(&connection);
    let service = service_fn(move |request| respond(Arc::clone(&shared), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE * 30)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        () = connection.cut.cancelled() => return,
        () = connection.idle() => {}
        () = connection.inner.tasks.stopping() => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        _ = served => {}
        () = connection.cut.cancelled() => {}
    }
}

async fn serve_http2(tls: Stream, connection: Arc<Connection>) {
    let shared = Arc::clone(&connection);
    let service = service_fn(move |request| respond(Arc::clone(&shared), request));
    let served = http2::Builder::new(Tracked(connection.inner.tasks.clone()))
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(tls), service);
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        () = connection.cut.cancelled() => return,
        () = connection.idle() => {}
        () = connection.inner.tasks.stopping() => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        _ = served => {}
        () = connection.cut.cancelled() => {}
    }
}

/// Runs hyper's tasks among the tracked ones.
#[derive(Clone)]
struct Tracked(Tasks);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Serve plain HTTP/1.1 on one connection, for the control listener.
pub(super) async fn serve_plain<S, F>(tcp: TcpStream, tasks: Tasks, handle: S)
where
    S: Fn(http::request::Parts, Bytes) -> F + Send + 'static,
    F: Future<Output = Reply> + Send,
{
    let service = service_fn(|request: Request<Body>| async {
        let (parts, body) = request.into_parts();
        let reply = match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => handle(parts, body.to_bytes()).await,
            Err(_) => Reply::empty(StatusCode::BAD_REQUEST),
        };
        Ok::<_, Infallible>(reply.into_response())
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE * 30)
            .serve_connection(TokioIo::new(tcp), service)
    );
    tokio::select! {
        _ = served.as_mut() => return,
        () = tasks.stopping() => {}
    }
    served.as_mut().graceful_shutdown();
    let _ended = served.await;
}
