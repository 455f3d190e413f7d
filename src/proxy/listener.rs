//! Listening sockets: binding them, accepting callers, and what a reload changes.
//!
//! A connection keeps the terms it was accepted on to its end. A socket whose terms
//! change stays bound, so no caller finds the port closed meanwhile; one that is closed
//! leaves its connections alone.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Proxy;
use super::admission::ListenerContext;
use super::connection::HANDSHAKE_WITHIN;
use super::listener_settings::{ListenError, ListenerSettings};
use super::queue::AcceptQueue;
use crate::config::{Bind, Listener};
use crate::domain::places::{ConnectionLimit, ConnectionPermit, ListenerLimit, NewCaller};
use crate::net::bind::{accept_for_others, bind_tcp, bind_unix};
use crate::net::protocol::{self, Protocol};
use crate::telemetry::accepting;

/// How long a caller has for its key when others need its place: the request that shows it comes on the heels of the
/// connection, or after a handshake over half the world.
const GRACE: Duration = Duration::from_millis(250);
const GRACE_FOR_TLS: Duration = Duration::from_secs(1);
/// How often it is looked whether the worker that accepts stands.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A bound listener.
#[derive(Debug)]
pub struct Listening {
    /// As a caller would write it.
    pub at: String,
    socket: ListeningSocket,
    handle: ListenerHandle,
}

/// What can be done with a listener while it is served.
#[derive(Clone, Debug)]
pub struct ListenerHandle {
    bind: Bind,
    /// Where it is bound, if that is an address: the port may have been chosen by the kernel.
    local: Option<std::net::SocketAddr>,
    terms: Arc<ArcSwap<ListenerSettings>>,
    places: Arc<ListenerLimit>,
    closed: CancellationToken,
    /// Cancelled when the socket is gone.
    gone: CancellationToken,
}

#[derive(Debug)]
enum ListeningSocket {
    /// With its address.
    Tcp(TcpListener, std::net::SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// Bind a listener, with so many places in the house of all callers. Nothing is accepted until [`Listening::start`].
///
/// # Errors
/// [`ListenError::Bind`].
pub fn listen(
    terms: ListenerSettings,
    max_connections: usize,
    house: &Arc<ConnectionLimit>,
) -> Result<Listening, ListenError> {
    let bind = terms.bind().clone();
    let (local, socket) = match &bind {
        Bind::Tcp(address) => {
            let fail = |err| ListenError::Bind { bind: address.to_string(), err };
            let socket = bind_tcp(*address).map_err(fail)?;
            if terms.listener().transparent
                && let Err(err) = accept_for_others(&socket)
            {
                tracing::info!(error = %err, at = %address,
                    "nftables TPROXY cannot bring callers here without CAP_NET_ADMIN; REDIRECT, DNS and /etc/hosts can");
            }
            let local = socket.local_addr().map_err(fail)?;
            (Some(local), ListeningSocket::Tcp(socket, local))
        }
        Bind::Unix(path) => {
            let fail = |err| ListenError::Bind { bind: path.display().to_string(), err };
            let socket = bind_unix(path, terms.mode()).map_err(fail)?;
            (None, ListeningSocket::Unix(socket, path.clone()))
        }
    };
    let places = ListenerLimit::new(house, max_connections);
    let terms = Arc::new(ArcSwap::from_pointee(terms));
    let (closed, gone) = (CancellationToken::new(), CancellationToken::new());
    let handle = ListenerHandle { bind, local, terms, places, closed, gone };
    Ok(Listening { at: handle.at(), socket, handle })
}

impl ListenerHandle {
    /// Where it listens, as configured.
    pub const fn bind(&self) -> &Bind {
        &self.bind
    }

    /// As a caller would write it, on the terms of now.
    pub fn at(&self) -> String {
        match self.local {
            Some(local) => format!("{}://{local}", if self.terms.load().tls.is_some() { "https" } else { "http" }),
            None => self.bind.to_string(),
        }
    }

    /// The terms of now.
    pub fn listener(&self) -> Arc<Listener> {
        Arc::clone(self.terms.load().listener())
    }

    /// Accept on other terms from now on; `terms` are of the same address.
    pub fn change(&self, terms: ListenerSettings, max_connections: usize) {
        let (old, new) = (self.terms.load().mode(), terms.mode());
        // Stricter before, laxer after: nobody gets in who may on neither terms.
        if new < old {
            self.set_mode(new);
        }
        // Two reloads do not run at once.
        let terms = terms.after(&self.terms.load());
        self.terms.store(Arc::new(terms));
        if new > old {
            self.set_mode(new);
        }
        self.places.resize(max_connections);
    }

    fn set_mode(&self, mode: u32) {
        let Bind::Unix(path) = &self.bind else { return };
        if let Err(err) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
            tracing::error!(error = %err, path = %path.display(), "the mode of a unix socket could not be changed");
        }
    }

    /// Until nobody is to be accepted any more.
    async fn ends(&self, proxy: &Proxy) {
        tokio::select! {
            () = proxy.tasks.stopping() => {}
            () = self.closed.cancelled() => {}
        }
    }

    /// Accept nobody any more. Open connections go on. Returns when the address is free.
    pub async fn close(&self) {
        self.closed.cancel();
        self.gone.cancelled().await;
    }
}

impl Listening {
    /// What can be done with it while it is served.
    pub const fn handle(&self) -> &ListenerHandle {
        &self.handle
    }

    /// Accept callers, on the first of the workers, until it is closed or the process stops; on the spare one while that
    /// stands.
    pub fn start(self, proxy: &Arc<Proxy>) {
        let substitute = match self.socket.again() {
            Ok(again) => {
                let substitute = substitute(again, self.handle.clone(), Arc::clone(proxy));
                Some(proxy.tasks.spawn_on(substitute, proxy.workers.spare()))
            }
            Err(err) => {
                tracing::warn!(error = %err, at = self.at,
                    "while the thread that accepts waits for a disk that hangs, nobody new will be accepted here");
                None
            }
        };
        let serving = self.serve(Arc::clone(proxy), substitute);
        match proxy.workers.first() {
            Some(worker) => proxy.tasks.spawn_on(serving, worker),
            None => proxy.tasks.spawn(serving),
        };
    }

    async fn serve(self, proxy: Arc<Proxy>, substitute: Option<JoinHandle<()>>) {
        let Self { socket, handle, .. } = self;
        let socket = match socket.moved_here() {
            Ok(socket) => socket,
            Err(err) => {
                tracing::error!(error = %err, at = self.at, "a listener could not be served");
                return handle.gone.cancel();
            }
        };
        tokio::select! {
            () = accept(&socket, &handle, &proxy) => {}
            () = handle.ends(&proxy) => {}
        }
        socket.close();
        // The address is free when the last descriptor is gone.
        if let Some(substitute) = substitute {
            let _ = substitute.await;
        }
        handle.gone.cancel();
    }

    /// It is not to be served after all.
    pub fn discard(self) {
        self.socket.close();
    }
}

impl ListeningSocket {
    /// The same socket, woken by this runtime.
    fn moved_here(self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket, at) => Self::Tcp(TcpListener::from_std(socket.into_std()?)?, at),
            Self::Unix(socket, path) => Self::Unix(UnixListener::from_std(socket.into_std()?)?, path),
        })
    }

    /// Another descriptor of it, for another runtime.
    fn again(&self) -> std::io::Result<Again> {
        Ok(match self {
            Self::Tcp(socket, at) => Again::Tcp(socket.as_fd().try_clone_to_owned()?.into(), *at),
            Self::Unix(socket, path) => Again::Unix(socket.as_fd().try_clone_to_owned()?.into(), path.clone()),
        })
    }

    fn close(self) {
        if let Self::Unix(_, path) = &self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Accept on the spare worker while the first stands.
async fn substitute(again: Again, handle: ListenerHandle, proxy: Arc<Proxy>) {
    let accepting = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Not before: who comes would wake this thread as well.
            if proxy.workers.first_stands()
                && let Ok(socket) = again.here()
            {
                // Not cut off when the first goes on: somebody may wait for a place in here.
                let mut queue = AcceptQueue::of(None);
                queue.stands_since(Instant::now());
                while proxy.workers.first_stands() {
                    if let Err(err) = accept_one(&socket, &handle, &proxy, &mut queue).await {
                        accepting::failed(&err, &handle.places).await;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = handle.ends(&proxy) => {}
    }
}

async fn accept(socket: &ListeningSocket, handle: &ListenerHandle, proxy: &Arc<Proxy>) {
    let mut queue = AcceptQueue::of(match socket {
        ListeningSocket::Tcp(_, at) => Some(*at),
        // Peers of unix sockets have no names to be told apart by.
        ListeningSocket::Unix(..) => None,
    });
    loop {
        let begun = Instant::now();
        if let Err(err) = accept_one(socket, handle, proxy, &mut queue).await {
            queue.stands_since(begun);
            accepting::failed(&err, &handle.places).await;
        }
    }
}

/// The next in a queue.
async fn next<T>(accepting: impl Future<Output = std::io::Result<T>>, queue: &mut AcceptQueue) -> std::io::Result<T> {
    tokio::pin!(accepting);
    match accepting.as_mut().now_or_never() {
        Some(accepted) => accepted,
        None => {
            queue.ran_empty();
            accepting.await
        }
    }
}

/// Has a caller said something already? Nothing is read.
fn has_spoken<'s>(socket: impl Into<socket2::SockRef<'s>>) -> bool {
    let mut one = [std::mem::MaybeUninit::uninit()];
    socket.into().peek(&mut one).is_ok()
}

/// A listening socket that wakes nobody.
enum Again {
    Tcp(std::net::TcpListener, std::net::SocketAddr),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Again {
    /// Woken by this runtime, as long as it is held.
    fn here(&self) -> std::io::Result<ListeningSocket> {
        Ok(match self {
            Self::Tcp(socket, at) => ListeningSocket::Tcp(TcpListener::from_std(socket.try_clone()?)?, *at),
            Self::Unix(socket, path) => {
                ListeningSocket::Unix(UnixListener::from_std(socket.try_clone()?)?, path.clone())
            }
        })
    }
}

async fn accept_one(
    socket: &ListeningSocket,
    handle: &ListenerHandle,
    proxy: &Arc<Proxy>,
    queue: &mut AcceptQueue,
) -> std::io::Result<()> {
    let serving = Arc::clone(proxy);
    let terms = &handle.terms;
    match socket {
        ListeningSocket::Tcp(socket, at) => {
            let (stream, peer) = next(socket.accept(), queue).await?;
            if queue.is_marker(peer) {
                return Ok(());
            }
            let grace = if terms.load().tls.is_some() { GRACE_FOR_TLS } else { GRACE };
            let comer = NewCaller { peer: Some(peer.ip()), grace };
            let place = place(&handle.places, comer, queue).await;
            // Who opens connections ahead has not asked for anything yet.
            let came = queue.since().filter(|_| has_spoken(&stream));
            let local = if at.ip().is_unspecified() { stream.local_addr().ok() } else { Some(*at) };
            // After the caller came: these may have changed while nobody did.
            let ListenerSettings { listener, tls, .. } = terms.load().as_ref().clone();
            let (peer, terms) = (Some(peer.ip()), Some(Arc::clone(terms)));
            let listener = ListenerContext { listener, local, uid: None, peer, terms };
            serve_on_a_worker(proxy, stream, move |stream| async move {
                match tls {
                    None if listener.listener.transparent => {
                        Box::pin(serving.transparent(listener, place, came, stream)).await;
                    }
                    None => serving.connection(listener, place, came, stream).await,
                    // Apart: who speaks plainly must not hold the room of a TLS session.
                    Some(tls) => {
                        Box::pin(async move {
                            let accepted = tokio::select! {
                                accepted = tokio::time::timeout(HANDSHAKE_WITHIN, tls_or_plain(tls, stream)) => accepted,
                                () = place.close_requested() => return,
                            };
                            match accepted {
                                Ok(Ok(Spoken::Tls(stream))) => serving.connection(listener, place, came, *stream).await,
                                Ok(Ok(Spoken::Plain(stream))) => serving.without_tls(&place, stream).await,
                                Ok(Err(_)) | Err(_) => {}
                            }
                        })
                        .await;
                    }
                }
            })
        }
        ListeningSocket::Unix(socket, _) => {
            let (stream, _) = next(socket.accept(), queue).await?;
            let place = place(&handle.places, NewCaller { peer: None, grace: GRACE }, queue).await;
            let came = queue.since().filter(|_| has_spoken(&stream));
            let uid = stream.peer_cred().ok().map(|peer| peer.uid());
            let listener = Arc::clone(&terms.load().listener);
            let listener = ListenerContext { listener, local: None, uid, peer: None, terms: Some(Arc::clone(terms)) };
            serve_on_a_worker(proxy, stream, move |stream| async move {
                serving.connection(listener, place, came, stream).await;
            })
        }
    }
}

/// What a caller of a TLS listener speaks.
enum Spoken {
    Tls(Box<TlsStream<TcpStream>>),
    /// By mistake.
    Plain(TcpStream),
}

async fn tls_or_plain(tls: TlsAcceptor, stream: TcpStream) -> std::io::Result<Spoken> {
    match protocol::of(&stream).await {
        Some(Protocol::Http | Protocol::Socks) => Ok(Spoken::Plain(stream)),
        Some(Protocol::Tls) | None => tls.accept(stream).await.map(|stream| Spoken::Tls(Box::new(stream))),
    }
}

/// A place for who was just accepted. Where there is none he waits for one, and those behind him in the kernel's queue
/// with him.
async fn place(places: &Arc<ListenerLimit>, comer: NewCaller, queue: &mut AcceptQueue) -> ConnectionPermit {
    match places.try_take(comer) {
        Some(place) => place,
        None => {
            queue.has_to_wait();
            accepting::place(places, comer, &accepting::CALLERS).await
        }
    }
}

/// A stream that another runtime can go on with.
trait Movable: Send + Sized + 'static {
    /// Woken by nobody.
    type Std: Send + 'static;
    fn into_std(self) -> std::io::Result<Self::Std>;
    /// Woken by the current runtime.
    fn from_std(std: Self::Std) -> std::io::Result<Self>;
}

impl Movable for TcpStream {
    type Std = std::net::TcpStream;
    fn into_std(self) -> std::io::Result<Self::Std> {
        self.into_std()
    }
    fn from_std(std: Self::Std) -> std::io::Result<Self> {
        Self::from_std(std)
    }
}

impl Movable for UnixStream {
    type Std = std::os::unix::net::UnixStream;
    fn into_std(self) -> std::io::Result<Self::Std> {
        self.into_std()
    }
    fn from_std(std: Self::Std) -> std::io::Result<Self> {
        Self::from_std(std)
    }
}

/// Serve a connection on the worker that has the fewest.
fn serve_on_a_worker<S, F>(proxy: &Proxy, stream: S, serve: impl FnOnce(S) -> F + Send + 'static) -> std::io::Result<()>
where
    S: Movable,
    F: Future<Output = ()> + Send + 'static,
{
    let here = tokio::runtime::Handle::current().id();
    let seat = proxy.workers.seat();
    if seat.handle.id() == here {
        proxy.tasks.spawn(async move {
            serve(stream).await;
            drop(seat);
        });
        return Ok(());
    }
    let (std, worker) = (stream.into_std()?, seat.handle.clone());
    proxy.tasks.spawn_on(
        async move {
            match S::from_std(std) {
                Ok(stream) => serve(stream).await,
                Err(err) => tracing::warn!(error = %err, "could not serve a caller"),
            }
            drop(seat);
        },
        &worker,
    );
    Ok(())
}
