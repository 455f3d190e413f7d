//! Dialling: resolve, guard, bind, connect, TLS, HTTP, in that order.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::errno::Errno;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::{self, RuleId};
use super::http::{Connection, Lease, Open, Upgraded, Ways};
use super::janitor::Janitor;
use super::line::Line;
use super::pool::{Bounds, Pool};
use super::resolve::{ResolveError, Resolver};
use super::source::BoundSocket;
use super::tls::{Base, ExitTls, Profile, TlsError};
use crate::domain::host_limits::Lack;
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host, SourceAddr};
use crate::telemetry::Seldom;

/// What this host lacks it lacks for every dial: a line a minute.
static EXHAUSTED: Seldom = Seldom::once_in(Duration::from_secs(60));

/// Why no connection was made. The text says what we were doing and for whom; the
/// cause is `source()` and is not repeated, so a printed chain says each thing once.
/// Nothing of a request had been written when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot bind source address {from} (is it on this host, or covered by a local route?)")]
    Bind {
        from: SourceAddr,
        #[source]
        err: io::Error,
    },
    #[error("cannot connect from {from} to {to}")]
    Connect {
        from: SourceAddr,
        to: SocketAddrV6,
        #[source]
        err: io::Error,
    },
    #[error("no answer from {to} to {from} within {limit:?} (egress.connect_timeout)")]
    TimedOut { from: SourceAddr, to: SocketAddrV6, limit: Duration },
    #[error("the kernel reports {local:?} for a connection bound to {from}; it was closed unused")]
    WrongSource { from: SourceAddr, local: Option<SocketAddr> },
    #[error("destination {to} of {host} is forbidden by rule {rule}; pin it in egress.resolve if it is meant")]
    Forbidden { host: Host, to: SocketAddrV6, rule: RuleId },
    #[error("cannot resolve the destination")]
    Resolve(#[from] ResolveError),
    #[error("TLS with {to} at {at} failed")]
    Tls {
        to: Authority,
        at: SocketAddrV6,
        #[source]
        err: io::Error,
    },
    #[error("TLS with {to} at {at} was not done within {limit:?} (egress.connect_timeout)")]
    TlsTimedOut { to: Authority, at: SocketAddrV6, limit: Duration },
    #[error(
        "the broker sees {from} as {seen}, so nothing signed goes that way: that may be another account's address. \
         Between here and the broker something changes addresses; look for NAT66, masquerade or snat \
         (nft list ruleset) and take it away for {from}; it is asked again by itself"
    )]
    SeenAsAnother { from: SourceAddr, seen: IpAddr },
    #[error("{to} could not be dialled from {from} in this leg's share of the time")]
    OutOfTime { from: SourceAddr, to: Authority },
    #[error("HTTP with {to} could not begin")]
    Http {
        to: Authority,
        #[source]
        err: hyper::Error,
    },
    #[error("{from} has {most} connections open already (egress.connections_per_leg)")]
    TooMany { from: SourceAddr, most: usize },
    /// Says nothing of the line, of the address or of the broker: none of them was tried.
    #[error("no connection could be begun from {from}, and not for the line's sake: {lack}")]
    HostExhausted {
        from: SourceAddr,
        lack: Lack,
        #[source]
        err: io::Error,
    },
}

impl DialError {
    /// The word in metrics and logs. Never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind_failed",
            Self::Connect { .. } => "connect_failed",
            Self::TimedOut { .. } | Self::OutOfTime { .. } => "connect_timed_out",
            Self::WrongSource { .. } => "wrong_source",
            Self::SeenAsAnother { .. } => "seen_as_another",
            Self::Forbidden { .. } => "destination_forbidden",
            Self::Resolve(ResolveError::NoAddress { .. } | ResolveError::Ipv4Only { .. }) => "no_ipv6_address",
            Self::Resolve(ResolveError::Failed { .. } | ResolveError::NoServers { .. }) => "resolve_failed",
            Self::Tls { .. } => "tls_failed",
            Self::TlsTimedOut { .. } => "tls_timed_out",
            Self::Http { .. } => "http_failed",
            Self::TooMany { .. } => "too_many_connections",
            Self::HostExhausted { .. } => "host_exhausted",
        }
    }

    /// May the other leg be tried? A refusal is an answer, not an outage; and what this host lacks, it lacks for both.
    pub const fn may_try_next(&self) -> bool {
        !matches!(self, Self::Forbidden { .. } | Self::Resolve(_) | Self::TooMany { .. } | Self::HostExhausted { .. })
    }

    /// `other`, unless the error says that this host has run out of something: whatever was tried, that is why it failed.
    pub(super) fn of_host_or(from: SourceAddr, err: io::Error, other: impl FnOnce(io::Error) -> Self) -> Self {
        match Lack::of(&err) {
            Some(lack) => Self::HostExhausted { from, lack, err },
            None => other(err),
        }
    }

    /// The whole chain on one line, for a caller or a log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(err) = cause {
            text.push_str(": ");
            text.push_str(&err.to_string());
            cause = err.source();
        }
        text
    }
}

/// Settings of egress.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a TCP connect, and then a TLS handshake, may each take.
    pub connect_timeout: Duration,
    /// See [`BoundSocket::connect`].
    pub user_timeout: Duration,
    /// How long a reply's body may be silent.
    pub read_timeout: Duration,
    /// See [`BoundSocket::bind`].
    pub freebind: bool,
    /// Offer HTTP/2 for what is no order write.
    pub http2: bool,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept per exit.
    pub idle_per_exit: usize,
    /// Connections that carry HTTP open at once per exit, idle ones included.
    pub open_per_exit: usize,
    /// PEM files trusted besides the public roots.
    pub extra_roots: Vec<PathBuf>,
    /// Host to addresses, in place of DNS.
    pub resolve: BTreeMap<Host, Vec<SocketAddrV6>>,
    /// Name servers to ask instead of the system's.
    pub name_servers: Vec<SocketAddr>,
}

/// What all exits share: settings, roots, names, and the tasks that drive
/// connections. It cannot connect; only an [`Exit`] can.
#[derive(Debug)]
pub struct Egress {
    live: ArcSwap<Live>,
    bounds: Arc<Bounds>,
    janitor: Janitor,
    tls: Base,
    tasks: Tasks,
    /// The idle connections of all exits, to be let go of when the host has no room for another one.
    pools: Mutex<Vec<Weak<Pool<Connection>>>>,
    /// Connections of all exits that carry HTTP.
    open: Arc<AtomicUsize>,
    /// How many of them this process has file descriptors for.
    room: AtomicUsize,
}

/// What a reload changes. Each dial takes it once and keeps it.
#[derive(Debug)]
struct Live {
    options: Options,
    resolver: Arc<Resolver>,
    ways: Arc<Ways>,
}

impl Egress {
    /// `tasks` drives upstream connections; stop it after the callers are served.
    ///
    /// # Errors
    /// [`TlsError`] when an extra root cannot be read.
    pub fn new(options: Options, tasks: Tasks) -> Result<Arc<Self>, TlsError> {
        let tls = Base::new(&options.extra_roots)?;
        let resolver = Arc::new(Resolver::new(options.resolve.clone(), &options.name_servers));
        let bounds = Arc::new(Bounds::new(options.idle_per_exit, options.idle_timeout));
        let live = ArcSwap::from_pointee(Live { options, resolver, ways: Arc::default() });
        let janitor = Janitor::start(&tasks);
        let (pools, open, room) = (Mutex::default(), Arc::default(), AtomicUsize::new(usize::MAX));
        Ok(Arc::new(Self { live, bounds, janitor, tls, tasks, pools, open, room }))
    }

    /// Other settings for what is dialled from now on; the roots stay. When names stand
    /// for other addresses, idle connections are not used again. Not for two at once.
    pub fn reload(&self, options: Options) {
        let old = self.live.load_full();
        self.bounds.set(options.idle_per_exit, options.idle_timeout);
        let resolver = old.resolver.changed(&options.resolve, &options.name_servers).map(Arc::new);
        let renamed = resolver.is_some();
        let ways = if renamed { Arc::default() } else { Arc::clone(&old.ways) };
        let resolver = resolver.unwrap_or_else(|| Arc::clone(&old.resolver));
        self.live.store(Arc::new(Live { options, resolver, ways }));
        if renamed {
            // After the swap: what is dialled from here on goes by the new names.
            old.ways.outdate();
        }
    }

    /// How long a TCP connect, and then a TLS handshake, may each take.
    pub fn connect_timeout(&self) -> Duration {
        self.live.load().options.connect_timeout
    }

    /// How long an unused connection is kept.
    pub fn idle_timeout(&self) -> Duration {
        self.live.load().options.idle_timeout
    }

    /// This process has file descriptors for so many connections: over that none is made to lie ready, and one that is
    /// needed takes the place of one that lies idle.
    pub fn set_room(&self, room: usize) {
        self.room.store(room, Ordering::Relaxed);
    }

    /// Are there more than there is room for?
    fn is_crowded(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.room.load(Ordering::Relaxed)
    }

    /// Close the connection that has lain idle for the longest, of whichever exit. Was there one?
    fn close_an_idle_one(&self) -> bool {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = pools.iter().filter_map(Weak::upgrade).filter_map(|pool| Some((pool.oldest()?, pool)));
        oldest.min_by_key(|(since, _)| *since).is_some_and(|(_, pool)| pool.drop_oldest())
    }

    /// A way out from one address, with connections and TLS sessions of its own.
    pub fn exit(self: &Arc<Self>, source: SourceAddr) -> Arc<Exit> {
        let idle = self.janitor.pool(Arc::clone(&self.bounds));
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() == pools.capacity() {
            // Those of exits that are gone make room before the list grows.
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(Arc::downgrade(&idle));
        drop(pools);
        let open = Arc::<AtomicUsize>::default();
        Arc::new(Exit { source, tls: ExitTls::new(Arc::clone(&open)), idle, open, egress: Arc::clone(self) })
    }
}

impl Live {
    const fn profile(&self, protocol: Protocol) -> Profile {
        match protocol {
            Protocol::Any if self.options.http2 => Profile::Http2,
            Protocol::Any | Protocol::Http1 => Profile::Http1,
        }
    }
}

/// Which protocols will do for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 and no other: for order writes, which the broker has answered over HTTP/2 with a redirect to nowhere.
    Http1,
    /// HTTP/2 too, where `egress.http2` allows it.
    Any,
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Somebody waits for it.
    Request,
    /// To lie ready: not worth another idle one.
    Warmth,
}

/// One account's one way out.
#[derive(Debug)]
pub struct Exit {
    source: SourceAddr,
    tls: ExitTls,
    idle: Arc<Pool<Connection>>,
    open: Arc<AtomicUsize>,
    egress: Arc<Egress>,
}

impl Exit {
    /// The address this exit leaves from.
    pub const fn source(&self) -> SourceAddr {
        self.source
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Connections that carry HTTP, idle ones included.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Idle HTTP/1.1 connections to `to`, which an order can take, that have lain for less than `younger`.
    pub fn idle_to(&self, to: &Authority, younger: Duration) -> usize {
        self.idle.fresh(to, Profile::Http1, younger, Instant::now())
    }

    /// Drop the idle connections: what made them is in doubt.
    pub fn forget_idle(&self) {
        self.idle.clear();
    }

    /// Make a connection and let it lie idle, for an order to come: HTTP/1.1, whatever `egress.http2` says. Not where
    /// descriptors are short.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn warm(&self, to: &Authority) -> Result<(), DialError> {
        self.lay_ready(to, Need::Warmth).await
    }

    /// The same to find out whether it can be made, for which an idle one may have to go.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn prove(&self, to: &Authority) -> Result<(), DialError> {
        self.lay_ready(to, Need::Request).await
    }

    async fn lay_ready(&self, to: &Authority, need: Need) -> Result<(), DialError> {
        let live = self.egress.live.load_full();
        let open = self.one_more(&live)?;
        let connection = self.make(&live, to, Profile::Http1, (open, need)).await?;
        self.idle.put(to.clone(), Profile::Http1, connection, Instant::now());
        Ok(())
    }

    /// A connection to speak HTTP on: an idle one, else a new one.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease(&self, to: &Authority, protocol: Protocol) -> Result<Lease, DialError> {
        let (profile, read_timeout) = {
            let live = self.egress.live.load();
            (live.profile(protocol), live.options.read_timeout)
        };
        let here = Some(tokio::runtime::Handle::current().id());
        while let Some(idle) = self.idle.take(to, profile, Instant::now(), here) {
            if let Some(ready) = idle.ready().await {
                return Ok(self.lend(ready, read_timeout, to, profile));
            }
        }
        self.lease_new(to, protocol).await
    }

    /// A new connection to speak HTTP on, whatever lies idle.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_new(&self, to: &Authority, protocol: Protocol) -> Result<Lease, DialError> {
        let live = self.egress.live.load_full();
        let profile = live.profile(protocol);
        let open = self.one_more(&live)?;
        // Apart: dialling takes ten times the room of a request that finds a connection.
        let connection = Box::pin(self.make(&live, to, profile, (open, Need::Request))).await?;
        Ok(self.lend(connection, live.options.read_timeout, to, profile).made_anew())
    }

    /// A new HTTP/1.1 connection whose bytes will be taken over (WebSocket). It
    /// is never pooled.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_upgrade(&self, to: &Authority) -> Result<Lease, DialError> {
        let live = self.egress.live.load_full();
        let open = self.one_more(&live)?;
        let connection = Box::pin(self.make(&live, to, Profile::Http1, (open, Need::Request))).await?;
        Ok(Lease::once(connection, live.options.read_timeout).made_anew())
    }

    /// A new HTTP/1.1 connection for one request of our own. It is never pooled, and callers who have opened all that
    /// `egress.connections_per_leg` allows keep no account from its login.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_errand(&self, to: &Authority) -> Result<Lease, DialError> {
        let live = self.egress.live.load_full();
        let open = Open::one(&self.open).among(&self.egress.open);
        let connection = Box::pin(self.make(&live, to, Profile::Http1, (open, Need::Request))).await?;
        Ok(Lease::once(connection, live.options.read_timeout).made_anew())
    }

    /// A connected socket, for a blind tunnel.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn dial(&self, to: &Authority) -> Result<TcpStream, DialError> {
        let live = self.egress.live.load_full();
        Box::pin(self.each_address(&live, to, Need::Request, |stream, _| std::future::ready(Ok(stream)))).await
    }

    fn lend(&self, connection: Connection, read_timeout: Duration, to: &Authority, profile: Profile) -> Lease {
        Lease::returning(connection, read_timeout, Arc::clone(&self.idle), to.clone(), profile)
    }

    /// Every address in turn, to the end of `then`; the last failure is the one told.
    async fn each_address<T, F>(
        &self,
        live: &Live,
        to: &Authority,
        need: Need,
        then: impl Fn(TcpStream, SocketAddrV6) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let options = &live.options;
        let answer = live.resolver.resolve(to).await?;
        let mut last = None;
        for at in answer.addresses {
            // The guard is asked about the very address that is connected to next.
            if !answer.pinned
                && let Some(rule) = guard::forbidden(*at.ip())
            {
                // An address that could be tried and failed says more than one that may not be.
                last = last.or(Some(DialError::Forbidden { host: to.host.clone(), to: at, rule }));
                continue;
            }
            let socket = self.bind(options.freebind, need)?;
            let made = match socket.connect(at, options.connect_timeout, options.user_timeout).await {
                Ok(stream) => then(stream, at).await,
                Err(err) => Err(err),
            };
            match made {
                Ok(made) => return Ok(made),
                Err(err @ DialError::HostExhausted { .. }) => return Err(err),
                Err(err) => last = Some(err),
            }
        }
        Err(last.unwrap_or_else(|| ResolveError::NoAddress { host: to.host.clone() }.into()))
    }

    /// A bound socket; where the host has no descriptor left for one, that of an idle connection, which any exit can do
    /// without: closing it tells nobody anything.
    fn bind(&self, freebind: bool, need: Need) -> Result<BoundSocket, DialError> {
        let makes_room = need == Need::Request;
        if self.egress.is_crowded() {
            if !makes_room {
                let err = Errno::EMFILE.into();
                return Err(DialError::HostExhausted { from: self.source, lack: Lack::Descriptors, err });
            }
            self.egress.close_an_idle_one();
        }
        let mut bound = BoundSocket::bind(self.source, freebind);
        if let Err(DialError::HostExhausted { .. }) = bound
            && makes_room
            && self.egress.close_an_idle_one()
        {
            bound = BoundSocket::bind(self.source, freebind);
        }
        if let Err(DialError::HostExhausted { lack, err, .. }) = &bound
            && let Some(times) = EXHAUSTED.due()
        {
            tracing::error!(error = %err, times, "connections to the broker cannot be begun: {lack}");
        }
        bound
    }

    async fn dial_tls(&self, live: &Live, to: &Authority, profile: Profile, need: Need) -> Result<Upgraded, DialError> {
        let limit = live.options.connect_timeout;
        self.each_address(live, to, need, |stream, at| async move {
            let tls = |err| DialError::of_host_or(self.source, err, |err| DialError::Tls { to: to.clone(), at, err });
            let name = ServerName::try_from(to.host.as_str().to_owned()).map_err(|e| tls(io::Error::other(e)))?;
            let connector = TlsConnector::from(Arc::clone(self.tls.config(&self.egress.tls, profile)));
            tokio::time::timeout(limit, connector.connect(name, Line::new(stream)))
                .await
                .map_err(|_| DialError::TlsTimedOut { to: to.clone(), at, limit })?
                .map_err(tls)
        })
        .await
    }

    /// A place for one more connection, if there may be one.
    fn one_more(&self, live: &Live) -> Result<Open, DialError> {
        let most = live.options.open_per_exit;
        let open = Open::take(&self.open, most).ok_or(DialError::TooMany { from: self.source, most })?;
        Ok(open.among(&self.egress.open))
    }

    /// A new connection.
    async fn make(
        &self,
        live: &Live,
        to: &Authority,
        profile: Profile,
        (open, need): (Open, Need),
    ) -> Result<Connection, DialError> {
        let stream = self.dial_tls(live, to, profile, need).await?;
        self.start_http(live, to, stream, open).await
    }

    async fn start_http(
        &self,
        live: &Live,
        to: &Authority,
        stream: Upgraded,
        open: Open,
    ) -> Result<Connection, DialError> {
        let ways = Arc::clone(&live.ways);
        let local = stream.get_ref().0.stream().and_then(|stream| stream.local_addr().ok());
        let source = match local {
            Some(SocketAddr::V6(local)) if *local.ip() == self.source.ip() => self.source,
            local => return Err(DialError::WrongSource { from: self.source, local }),
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Ok(Connection::http1(source, stream, ways, open));
        }
        let tasks = &self.egress.tasks;
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|err| DialError::Http { to: to.clone(), err })?;
        tasks.spawn(drive(driver, tasks.clone()));
        Ok(Connection::http2(source, sender, ways, open))
    }
}

/// Drive an HTTP/2 connection to its end. What goes wrong on it shows in the request
/// that was under way; an idle one may end as it likes.
async fn drive<E: std::fmt::Display>(connection: impl Future<Output = Result<(), E>>, tasks: Tasks) {
    tokio::select! {
        ended = connection => if let Err(err) = ended {
            tracing::debug!(error = %err, "an upstream connection ended");
        },
        () = tasks.stopping() => {}
    }
}
