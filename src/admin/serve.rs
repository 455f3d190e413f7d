//! Serving the admin API's connections: so many at once, none silent for long.
//!
//! Each costs a file descriptor that an order may need. A connection that says nothing, between requests too, is closed
//! after [`SILENT_FOR`]; and when somebody comes while all places are taken, whoever is silent makes room
//! ([`places`](crate::domain::places)), so that programs that hold connections keep no operator out. A call that is under
//! way is never ended for it. A stream of `/v1/events` is: those have half of the places at the most, and whoever listens
//! connects again.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::misdirected;
use crate::domain::places::{ConnectionPermit, ListenerLimit, NewCaller};
use crate::domain::tasks::Tasks;
use crate::net::protocol::{self, Protocol};
use crate::net::tls_server::{self, CertificateError};
use crate::telemetry::{Seldom, accepting};

/// How long the head of a request may take from when one may begin. Longer than the minute that Prometheus lets pass between
/// two visits when nobody sets it otherwise, so that it keeps its connection.
const SILENT_FOR: Duration = Duration::from_secs(75);
/// How long a connection has for its first request when others need its place. Who connects here asks at once.
const GRACE: Duration = Duration::from_millis(250);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Streams that are ended for others to be heard, one line of them in this time.
static ENDED: Seldom = Seldom::once_in(Duration::from_secs(60));
/// How long the last bytes of a reply may take when a connection is to end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where the admin API listens.
#[derive(Debug)]
pub enum Socket {
    /// An address and a port.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// TLS towards operators, if the listener has it. Its certificate changes at a reload.
pub struct Tls(Option<ArcSwap<TlsAcceptor>>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.is_on()).finish()
    }
}

impl Tls {
    /// Read the certificate and the key that the configuration names.
    ///
    /// # Errors
    /// `CertificateError` names the file that cannot be used.
    pub fn read(admin: &crate::config::AdminConfig) -> Result<Arc<Self>, CertificateError> {
        let acceptor = admin.tls.as_ref().map(|tls| tls_server::acceptor(&tls.certificate, &tls.key)).transpose()?;
        Ok(Arc::new(Self(acceptor.map(ArcSwap::from_pointee))))
    }

    /// Is TLS spoken?
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Show the certificate of `other` from now on, if both have one.
    pub fn replace(&self, other: &Self) {
        if let (Some(own), Some(new)) = (&self.0, &other.0) {
            own.store(new.load_full());
        }
    }
}

/// The address that a request's connection comes from; nothing on a unix socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub Option<IpAddr>);

/// Serve until `tasks` are to stop.
pub async fn serve(socket: Socket, tls: Arc<Tls>, router: Router, places: Arc<ListenerLimit>, tasks: Tasks) {
    let accepting = async {
        loop {
            if let Err(err) = accept(&socket, &tls, &router, &places, &tasks).await {
                accepting::failed(&err, &places).await;
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = tasks.stopping() => {}
    }
}

async fn accept(
    socket: &Socket,
    tls: &Tls,
    router: &Router,
    places: &Arc<ListenerLimit>,
    tasks: &Tasks,
) -> io::Result<()> {
    match socket {
        Socket::Tcp(socket) => {
            let (stream, peer) = socket.accept().await?;
            let place =
                accepting::place(places, NewCaller { peer: Some(peer.ip()), grace: GRACE }, &accepting::OPERATORS)
                    .await;
            let (router, tasks_of_it, ip) = (router.clone(), tasks.clone(), peer.ip());
            let tls = tls.0.as_ref().map(ArcSwap::load_full);
            tasks.spawn(async move {
                let within = if tls.is_some() { HANDSHAKE } else { SILENT_FOR };
                let beginning = async {
                    match (protocol::of(&stream).await?, tls) {
                        (Protocol::Tls, Some(tls)) => Some(Spoken::Tls(tls.accept(stream).await.ok()?.into())),
                        (Protocol::Http, None) => Some(Spoken::Plain(stream)),
                        (other, _) => Some(Spoken::Otherwise(stream, other)),
                    }
                };
                let begun = tokio::select! {
                    begun = tokio::time::timeout(within, beginning) => begun,
                    () = tasks_of_it.stopping() => return,
                    () = place.close_requested() => return,
                };
                let peer = Peer(Some(ip));
                match begun {
                    Ok(Some(Spoken::Plain(stream))) => connection(stream, peer, place, router, tasks_of_it).await,
                    Ok(Some(Spoken::Tls(stream))) => connection(*stream, peer, place, router, tasks_of_it).await,
                    Ok(Some(Spoken::Otherwise(stream, other))) => misdirected::other_protocol(stream, other, ip).await,
                    // What goes wrong in a handshake is the caller's to see.
                    Ok(None) | Err(_) => {}
                }
            });
        }
        Socket::Unix(socket) => {
            let (stream, _) = socket.accept().await?;
            let place = accepting::place(places, NewCaller { peer: None, grace: GRACE }, &accepting::OPERATORS).await;
            tasks.spawn(connection(stream, Peer(None), place, router.clone(), tasks.clone()));
        }
    }
    Ok(())
}

/// What a caller speaks, when that is known.
enum Spoken {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Not what this listener speaks.
    Otherwise(TcpStream, Protocol),
}

/// Serve one connection to its end.
async fn connection<IO>(io: IO, peer: Peer, place: ConnectionPermit, router: Router, tasks: Tasks)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let place = Arc::new(place);
    let (router, of_call) = (TowerToHyperService::new(router), Arc::clone(&place));
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        let under_way = UnderWay::begin(&of_call);
        let answering = router.call(request);
        async move {
            answering.await.map(|reply: Response| {
                // Of this kind no reply ends by itself.
                if reply.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(STREAM)) {
                    listens(&under_way.0);
                }
                reply.map(|body| Held { body, under_way })
            })
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(SILENT_FOR);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        biased;
        // What goes wrong on it is the caller's to see.
        _ = serving.as_mut() => return,
        () = tasks.stopping() => {}
        // Who has asked nothing yet has nothing coming.
        () = place.close_requested() => if place.standing().is_strangers() { return },
    }
    serving.as_mut().graceful_shutdown();
    let silent = async {
        loop {
            tokio::time::sleep(GOODBYE).await;
            if !place.standing().is_busy() {
                return;
            }
        }
    };
    tokio::select! {
        _ = serving => {}
        () = silent => {}
    }
}

/// The media type of server-sent events.
const STREAM: &[u8] = b"text/event-stream";

fn listens(place: &ConnectionPermit) {
    if place.listens()
        && let Some(times) = ENDED.due()
    {
        tracing::warn!(
            times,
            "the oldest stream of /v1/events was ended for a new one: streams may have half of the admin API's places, so              that operators are always heard. Whoever listened connects again and has missed what came between; let fewer              programs and consoles listen at once"
        );
    }
}

/// A call that is under way, until it is dropped.
struct UnderWay(Arc<ConnectionPermit>);

impl UnderWay {
    fn begin(place: &Arc<ConnectionPermit>) -> Self {
        place.is_busy();
        Self(Arc::clone(place))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.is_idle();
    }
}

/// The body of a reply. While it is sent its call is under way.
struct Held {
    body: Body,
    under_way: UnderWay,
}

impl http_body::Body for Held {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let place = &self.under_way.0;
        // The connection's task is woken when it is told, and asks here again.
        if place.must_close() && place.standing().is_listeners() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
