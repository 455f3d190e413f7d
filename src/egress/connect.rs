//! Dialling: resolve, guard, bind, connect, TLS, HTTP, in that order.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::{self, RuleId};
use super::hint::{Hint, Tried};
use super::http::{Connection, Lease, Open, Upgraded, Ways};
use super::janitor::Janitor;
use super::line::Line;
use super::pool::{Bounds, Pool};
use super::resolve::{ResolveError, Resolver};
use super::source::BoundSocket;
use super::tls::{Base, ExitTls, Profile, TlsError};
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host, SourceAddr};
use crate::host::{Explainer, Failure};

/// Why no connection was made. The text says what we were doing and for whom; the
/// cause is `source()` and is not repeated, so a printed chain says each thing once.
/// Nothing of a request had been written when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot bind source address {from}")]
    Bind {
        from: SourceAddr,
        #[source]
        err: io::Error,
        hint: Hint,
    },
    #[error("cannot connect from {from} to {to}")]
    Connect {
        from: SourceAddr,
        to: SocketAddrV6,
        #[source]
        err: io::Error,
        hint: Hint,
    },
    #[error("no answer from {to} to {from} within {limit:?} (egress.connect_timeout)")]
    TimedOut { from: SourceAddr, to: SocketAddrV6, limit: Duration, hint: Hint },
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
    TlsTimedOut { to: Authority, at: SocketAddrV6, limit: Duration, hint: Hint },
    #[error(
        "the broker sees {from} as {seen}, so nothing signed goes that way: that may be another account's address. \
         Between here and the broker something changes addresses; look for NAT66, masquerade or snat \
         (nft list ruleset) and take it away for {from}; it is asked again by itself"
    )]
    SeenAsAnother { from: SourceAddr, seen: IpAddr },
    #[error("{to} could not be dialled from {from} in this leg's share of the time")]
    OutOfTime { from: SourceAddr, to: Authority, hint: Hint },
    #[error("HTTP with {to} could not begin")]
    Http {
        to: Authority,
        #[source]
        err: hyper::Error,
    },
    #[error("{from} has {most} connections open already (egress.connections_per_leg)")]
    TooMany { from: SourceAddr, most: usize },
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
        }
    }

    /// May the other leg be tried? A refusal is an answer, not an outage.
    pub const fn may_try_next(&self) -> bool {
        !matches!(self, Self::Forbidden { .. } | Self::Resolve(_) | Self::TooMany { .. })
    }

    /// The whole chain on one line, for a caller or a log, and what the kernel said of the way when it was asked.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(err) = cause {
            text.push_str(": ");
            text.push_str(&err.to_string());
            cause = err.source();
        }
        if let Some(hint) = self.hint().and_then(Hint::text) {
            text.push_str("; ");
            text.push_str(hint);
        }
        text
    }

    const fn hint(&self) -> Option<&Hint> {
        match self {
            Self::Bind { hint, .. }
            | Self::Connect { hint, .. }
            | Self::TimedOut { hint, .. }
            | Self::TlsTimedOut { hint, .. }
            | Self::OutOfTime { hint, .. } => Some(hint),
            Self::WrongSource { .. }
            | Self::Forbidden { .. }
            | Self::Resolve(_)
            | Self::Tls { .. }
            | Self::SeenAsAnother { .. }
            | Self::Http { .. }
            | Self::TooMany { .. } => None,
        }
    }

    /// As this error with what `ask` says of it, where the way may be to blame.
    fn explained(mut self, ask: impl FnOnce(Failure) -> Hint) -> Self {
        let number = |err: &io::Error| err.raw_os_error().unwrap_or_default();
        match &mut self {
            Self::Bind { err, hint, .. } => *hint = ask(Failure::Bind(number(err))),
            Self::Connect { err, hint, .. } => *hint = ask(Failure::Connect(number(err))),
            Self::TimedOut { hint, .. } => *hint = ask(Failure::Silent),
            Self::TlsTimedOut { hint, .. } => *hint = ask(Failure::SilentTls),
            Self::OutOfTime { .. }
            | Self::WrongSource { .. }
            | Self::Forbidden { .. }
            | Self::Resolve(_)
            | Self::Tls { .. }
            | Self::SeenAsAnother { .. }
            | Self::Http { .. }
            | Self::TooMany { .. } => {}
        }
        self
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
    explainer: Explainer,
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
        Ok(Arc::new(Self { live, bounds, janitor, tls, tasks, explainer: Explainer::default() }))
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

    /// May an address be bound that no interface has?
    pub fn freebind(&self) -> bool {
        self.live.load().options.freebind
    }

    /// Where a host is, by its pin or the name servers.
    pub async fn address_of(&self, to: &Authority) -> Option<Ipv6Addr> {
        let resolver = Arc::clone(&self.live.load().resolver);
        resolver.resolve(to).await.ok()?.addresses.first().map(|at| *at.ip())
    }

    /// How long an unused connection is kept.
    pub fn idle_timeout(&self) -> Duration {
        self.live.load().options.idle_timeout
    }

    /// A way out from one address, with connections and TLS sessions of its own.
    pub fn exit(self: &Arc<Self>, source: SourceAddr) -> Arc<Exit> {
        let idle = self.janitor.pool(Arc::clone(&self.bounds));
        let open = Arc::<AtomicUsize>::default();
        Arc::new(Exit {
            source,
            tls: ExitTls::new(Arc::clone(&open)),
            idle,
            open,
            tried: Tried::default(),
            egress: Arc::clone(self),
        })
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

/// One account's one way out.
#[derive(Debug)]
pub struct Exit {
    source: SourceAddr,
    tls: ExitTls,
    idle: Arc<Pool<Connection>>,
    open: Arc<AtomicUsize>,
    /// What is being dialled, for who gives up waiting for it.
    tried: Tried,
    egress: Arc<Egress>,
}

impl Exit {
    /// The address this exit leaves from.
    pub const fn source(&self) -> SourceAddr {
        self.source
    }

    /// Who waited for a dial to `to` has no more time for it.
    pub fn out_of_time(&self, to: &Authority) -> DialError {
        let under_way = self.tried.take(to);
        let hint = under_way.map(|(at, failure)| self.hint(at, failure)).unwrap_or_default();
        DialError::OutOfTime { from: self.source, to: to.clone(), hint }
    }

    fn hint(&self, at: SocketAddrV6, failure: Failure) -> Hint {
        let freebind = self.egress.live.load().options.freebind;
        Hint::from(self.egress.explainer.explain(self.source, *at.ip(), failure, freebind))
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

    /// Make a connection and let it lie idle, for an order to come: HTTP/1.1, whatever `egress.http2` says.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn warm(&self, to: &Authority) -> Result<(), DialError> {
        let live = self.egress.live.load_full();
        let open = self.one_more(&live)?;
        let connection = self.make(&live, to, Profile::Http1, open).await?;
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
        let connection = Box::pin(self.make(&live, to, profile, open)).await?;
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
        let connection = Box::pin(self.make(&live, to, Profile::Http1, open)).await?;
        Ok(Lease::once(connection, live.options.read_timeout).made_anew())
    }

    /// A new HTTP/1.1 connection for one request of our own. It is never pooled, and callers who have opened all that
    /// `egress.connections_per_leg` allows keep no account from its login.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_errand(&self, to: &Authority) -> Result<Lease, DialError> {
        let live = self.egress.live.load_full();
        let open = Open::one(&self.open);
        let connection = Box::pin(self.make(&live, to, Profile::Http1, open)).await?;
        Ok(Lease::once(connection, live.options.read_timeout).made_anew())
    }

    /// A connected socket, for a blind tunnel.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn dial(&self, to: &Authority) -> Result<TcpStream, DialError> {
        let live = self.egress.live.load_full();
        Box::pin(self.each_address(&live, to, |stream, _| std::future::ready(Ok(stream)))).await
    }

    fn lend(&self, connection: Connection, read_timeout: Duration, to: &Authority, profile: Profile) -> Lease {
        Lease::returning(connection, read_timeout, Arc::clone(&self.idle), to.clone(), profile)
    }

    /// Every address in turn, to the end of `then`; the last failure is the one told.
    async fn each_address<T, F>(
        &self,
        live: &Live,
        to: &Authority,
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
            match self.one_address(options, to, at, &then).await {
                Ok(made) => return Ok(made),
                Err(err) => last = Some(err.explained(|failure| self.hint(at, failure))),
            }
            if matches!(last, Some(DialError::Bind { .. })) {
                // To no other address either.
                break;
            }
        }
        Err(last.unwrap_or_else(|| ResolveError::NoAddress { host: to.host.clone() }.into()))
    }

    async fn one_address<T, F>(
        &self,
        options: &Options,
        to: &Authority,
        at: SocketAddrV6,
        then: &impl Fn(TcpStream, SocketAddrV6) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let socket = BoundSocket::bind(self.source, options.freebind)?;
        self.tried.begins(to, at, Failure::Silent);
        let made = match socket.connect(at, options.connect_timeout, options.user_timeout).await {
            Ok(stream) => {
                self.tried.begins(to, at, Failure::SilentTls);
                then(stream, at).await
            }
            Err(err) => Err(err),
        };
        self.tried.ends();
        made
    }

    async fn dial_tls(&self, live: &Live, to: &Authority, profile: Profile) -> Result<Upgraded, DialError> {
        let limit = live.options.connect_timeout;
        self.each_address(live, to, |stream, at| async move {
            let tls = |err| DialError::Tls { to: to.clone(), at, err };
            let name = ServerName::try_from(to.host.as_str().to_owned()).map_err(|e| tls(io::Error::other(e)))?;
            let connector = TlsConnector::from(Arc::clone(self.tls.config(&self.egress.tls, profile)));
            tokio::time::timeout(limit, connector.connect(name, Line::new(stream)))
                .await
                .map_err(|_| DialError::TlsTimedOut { to: to.clone(), at, limit, hint: Hint::default() })?
                .map_err(tls)
        })
        .await
    }

    /// A place for one more connection, if there may be one.
    fn one_more(&self, live: &Live) -> Result<Open, DialError> {
        let most = live.options.open_per_exit;
        Open::take(&self.open, most).ok_or(DialError::TooMany { from: self.source, most })
    }

    /// A new connection.
    async fn make(&self, live: &Live, to: &Authority, profile: Profile, open: Open) -> Result<Connection, DialError> {
        let stream = self.dial_tls(live, to, profile).await?;
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
