//! Dialling: resolve, guard, bind, connect, TLS, HTTP, in that order.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::errno::Errno;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::guard::{self, RuleId};
use super::hint::{Hint, Tried};
use super::janitor::Janitor;
use super::lease::{Connection, ConnectionSlot, DnsGeneration, Lease, Upgraded};
use super::names::Name;
use super::pool::{Bounds, Pool};
use super::resolve::{Answer, ResolveError, Resolver};
use super::source::{self, BoundSocket};
use super::stream::CountingStream;
use super::tls::{Base, ExitTls, Profile, TlsError};
use crate::domain::host_limits::Lack;
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, BootInstant, Host, SourceAddr};
use crate::host::{Explainer, Failure};
use crate::telemetry::Seldom;

/// What this host lacks it lacks for every dial: a line a minute.
static EXHAUSTED: Seldom = Seldom::once_in(Duration::from_secs(60));

/// Why no connection was made. The text says what we were doing and for whom; the
/// cause is `source()` and is not repeated, so a printed chain says each thing once.
/// Nothing of a request had been written when one of these is returned.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("this host refuses to send from {from}")]
    Bind {
        from: SourceAddr,
        #[source]
        err: io::Error,
        hint: Hint,
    },
    /// What to do is in the hint, or where there is none added by [`chain`](Self::chain).
    #[error("{from} is not an address of this host any more (no interface has it, and no local route covers it)")]
    AddressGone { from: SourceAddr, hint: Hint },
    #[error("cannot connect from {from} to {to}")]
    Connect {
        from: SourceAddr,
        to: SocketAddrV6,
        #[source]
        err: io::Error,
        hint: Hint,
    },
    #[error("{to} did not answer {from} within {limit:?} (egress.connect_timeout)")]
    TimedOut { from: SourceAddr, to: SocketAddrV6, limit: Duration, hint: Hint },
    #[error(
        "the kernel gave a connection from {from} another address ({local:?}); it was closed before anything was sent"
    )]
    WrongSource { from: SourceAddr, local: Option<SocketAddr> },
    #[error(
        "{host} leads to {to}, an address that nothing is sent to (rule {rule}); if it is right, pin it in egress.resolve"
    )]
    Forbidden { host: Host, to: SocketAddrV6, rule: RuleId },
    #[error("no connection to the broker can be made")]
    Resolve(#[from] ResolveError),
    #[error("TLS with {to} at {at} failed")]
    Tls {
        to: Authority,
        at: SocketAddrV6,
        #[source]
        err: io::Error,
    },
    #[error("the TLS handshake with {to} at {at} was not done within {limit:?} (egress.connect_timeout)")]
    TlsTimedOut { to: Authority, at: SocketAddrV6, limit: Duration, hint: Hint },
    #[error(
        "the broker sees {from} as {seen}, which may be another account's address, so no order is sent from there. \
         Something between here and the broker changes addresses: look for NAT66, masquerade or snat (nft list ruleset), \
         and remove it for {from}. The gateway asks the broker again by itself"
    )]
    SeenAsAnother { from: SourceAddr, seen: IpAddr },
    #[error("no connection from {from} to {to} could be made in the time that the request has")]
    OutOfTime { from: SourceAddr, to: Authority, hint: Hint },
    #[error("HTTP with {to} could not begin")]
    Http {
        to: Authority,
        #[source]
        err: hyper::Error,
    },
    #[error("{from} already has {most} connections open, and may not have more (egress.connections_per_leg)")]
    TooMany { from: SourceAddr, most: usize },
    /// Says nothing of the line, of the address or of the broker: none of them was tried.
    #[error("no connection to the broker could be opened from {from}; the network is not at fault: {lack}")]
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
            Self::AddressGone { .. } => "address_gone",
            Self::Connect { .. } => "connect_failed",
            Self::TimedOut { .. } | Self::OutOfTime { .. } => "connect_timed_out",
            Self::WrongSource { .. } => "wrong_source",
            Self::SeenAsAnother { .. } => "seen_as_another",
            Self::Forbidden { .. } | Self::Resolve(ResolveError::Forbidden { .. }) => "destination_forbidden",
            Self::Resolve(ResolveError::NoAddress { .. } | ResolveError::Ipv4Only { .. }) => "no_ipv6_address",
            Self::Resolve(ResolveError::Failed { .. } | ResolveError::NoServers { .. } | ResolveError::Late { .. }) => {
                "resolve_failed"
            }
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
        } else if let Self::AddressGone { from, .. } = self {
            text.push_str(&format!(
                ", so no order can be sent from it. What to do, as root: ip -6 addr add {from}/128 dev INTERFACE nodad; or, \
                 if the provider routes the whole prefix to this host: ip -6 route add local PREFIX dev lo"
            ));
        }
        text
    }

    const fn hint(&self) -> Option<&Hint> {
        match self {
            Self::Bind { hint, .. }
            | Self::AddressGone { hint, .. }
            | Self::Connect { hint, .. }
            | Self::TimedOut { hint, .. }
            | Self::TlsTimedOut { hint, .. }
            | Self::OutOfTime { hint, .. } => Some(hint),
            Self::WrongSource { .. }
            | Self::HostExhausted { .. }
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
            | Self::AddressGone { .. }
            | Self::HostExhausted { .. }
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

/// A host and port, and the addresses that they stand for. Only [`Egress::resolve`] makes one, and every dial takes one:
/// so no time-out of a leg can run while name servers are asked. For a dial that is about to begin, not to be kept.
#[derive(Clone, Debug)]
pub struct Destination(Arc<Resolved>);

impl Destination {
    /// The host and port.
    pub fn authority(&self) -> &Authority {
        &self.0.to
    }
}

#[derive(Debug)]
struct Resolved {
    to: Authority,
    answer: Answer,
    /// The settings that it was resolved by.
    live: Arc<Live>,
}

/// An address that is being tried. If that comes to nothing, or is given up, others of its name go first for a while.
struct Trial<'a> {
    name: Option<&'a Arc<Name>>,
    at: Ipv6Addr,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            name.did_not_work(self.at);
        }
    }
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
    explainer: Explainer,
}

/// What a reload changes. Each dial takes it once and keeps it.
#[derive(Debug)]
struct Live {
    options: Options,
    resolver: Arc<Resolver>,
    ways: Arc<DnsGeneration>,
}

impl Egress {
    /// `tasks` drives upstream connections; stop it after the callers are served.
    ///
    /// # Errors
    /// [`TlsError`] when an extra root cannot be read.
    pub fn new(options: Options, tasks: Tasks) -> Result<Arc<Self>, TlsError> {
        let tls = Base::new(&options.extra_roots)?;
        let resolver = Arc::new(Resolver::new(options.resolve.clone(), &options.name_servers, tasks.clone()));
        let bounds = Arc::new(Bounds::new(options.idle_per_exit, options.idle_timeout));
        let live = ArcSwap::from_pointee(Live { options, resolver, ways: Arc::default() });
        let janitor = Janitor::start(&tasks);
        let (pools, open, room) = (Mutex::default(), Arc::default(), AtomicUsize::new(usize::MAX));
        let explainer = Explainer::default();
        Ok(Arc::new(Self { live, bounds, janitor, tls, tasks, pools, open, room, explainer }))
    }

    /// Know the addresses that hosts had at the end of the last run, and keep them in this file: name service may be
    /// dead when this host boots. Blocks.
    pub fn keep_names_in(&self, file: PathBuf) {
        self.live.load().resolver.keep_in(file);
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

    /// Where a host is, by its pin or the name servers, if that is known by `by`.
    pub async fn address_of(&self, to: &Authority, by: tokio::time::Instant) -> Option<Ipv6Addr> {
        let resolver = Arc::clone(&self.live.load().resolver);
        resolver.resolve(to, by).await.ok()?.addresses().first().map(|at| *at.ip())
    }

    /// How long an unused connection is kept.
    pub fn idle_timeout(&self) -> Duration {
        self.live.load().options.idle_timeout
    }

    /// The addresses of `to`, by `by`. What was known once is known at once, however name servers fare.
    ///
    /// # Errors
    /// [`DialError::Resolve`]; it says nothing of any leg.
    pub async fn resolve(&self, to: &Authority, by: tokio::time::Instant) -> Result<Destination, DialError> {
        let live = self.live.load_full();
        let answer = live.resolver.resolve(to, by).await?;
        Ok(Destination(Arc::new(Resolved { to: to.clone(), answer, live })))
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

    /// Why nothing is dialled from here: its address is known to be gone.
    pub fn address_gone(&self, at: &Destination) -> DialError {
        let to = at.0.answer.addresses().first().copied();
        let hint = to.map(|to| self.hint(to, Failure::Silent)).unwrap_or_default();
        DialError::AddressGone { from: self.source, hint }
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
        self.idle.fresh(to, Profile::Http1, younger, BootInstant::now())
    }

    /// Drop the idle connections: what made them is in doubt.
    pub fn forget_idle(&self) {
        self.idle.clear();
    }

    /// Drop the idle connections to where the kernel has no route from here any more: they look alive, and what is
    /// written to them goes nowhere. Were there any? A system call or three for each destination.
    pub fn forget_unroutable(&self) -> bool {
        let freebind = self.egress.live.load().options.freebind;
        let mut known: Vec<(SocketAddrV6, bool)> = Vec::new();
        self.idle.keep_only(|connection| {
            let Some(to) = connection.peer() else { return true };
            let routed = known.iter().find(|(one, _)| *one == to).map(|(_, routed)| *routed);
            routed.unwrap_or_else(|| {
                let routed = source::has_route(self.source, to, freebind);
                known.push((to, routed));
                routed
            })
        })
    }

    /// Make a connection and let it lie idle, for an order to come: HTTP/1.1, whatever `egress.http2` says. Not where
    /// descriptors are short.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn warm(&self, at: &Destination) -> Result<(), DialError> {
        self.lay_ready(at, Need::Warmth).await
    }

    /// The same to find out whether it can be made, for which an idle one may have to go.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn prove(&self, at: &Destination) -> Result<(), DialError> {
        self.lay_ready(at, Need::Request).await
    }

    async fn lay_ready(&self, at: &Destination, need: Need) -> Result<(), DialError> {
        let open = self.one_more(&at.0.live)?;
        let connection = self.make(&at.0, Profile::Http1, (open, need)).await?;
        self.idle.put(at.0.to.clone(), Profile::Http1, connection, BootInstant::now());
        Ok(())
    }

    /// An idle connection to speak HTTP on, if there is one.
    pub async fn lease_idle(&self, to: &Authority, protocol: Protocol) -> Option<Lease> {
        let (profile, read_timeout) = {
            let live = self.egress.live.load();
            (live.profile(protocol), live.options.read_timeout)
        };
        let here = Some(tokio::runtime::Handle::current().id());
        while let Some(idle) = self.idle.take(to, profile, BootInstant::now(), here) {
            if let Some(ready) = idle.ready().await {
                return Some(self.lend(ready, read_timeout, to, profile));
            }
        }
        None
    }

    /// A new connection to speak HTTP on, whatever lies idle.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_new(&self, at: &Destination, protocol: Protocol) -> Result<Lease, DialError> {
        let Resolved { to, live, .. } = &*at.0;
        let profile = live.profile(protocol);
        let open = self.one_more(live)?;
        // Apart: dialling takes ten times the room of a request that finds a connection.
        let connection = Box::pin(self.make(&at.0, profile, (open, Need::Request))).await?;
        Ok(self.lend(connection, live.options.read_timeout, to, profile).made_anew())
    }

    /// A new HTTP/1.1 connection whose bytes will be taken over (WebSocket). It
    /// is never pooled.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_upgrade(&self, at: &Destination) -> Result<Lease, DialError> {
        let open = self.one_more(&at.0.live)?;
        self.lease_once(at, open).await
    }

    /// A new HTTP/1.1 connection for one request of our own. It is never pooled, and callers who have opened all that
    /// `egress.connections_per_leg` allows keep no account from its login.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_errand(&self, at: &Destination) -> Result<Lease, DialError> {
        self.lease_once(at, ConnectionSlot::one(&self.open).among(&self.egress.open)).await
    }

    async fn lease_once(&self, at: &Destination, open: ConnectionSlot) -> Result<Lease, DialError> {
        let connection = Box::pin(self.make(&at.0, Profile::Http1, (open, Need::Request))).await?;
        Ok(Lease::once(connection, at.0.live.options.read_timeout).made_anew())
    }

    /// A connected socket, for a blind tunnel.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn dial(&self, at: &Destination) -> Result<TcpStream, DialError> {
        Box::pin(self.each_address(&at.0, Need::Request, |stream, _| std::future::ready(Ok(stream)))).await
    }

    fn lend(&self, connection: Connection, read_timeout: Duration, to: &Authority, profile: Profile) -> Lease {
        Lease::returning(connection, read_timeout, Arc::clone(&self.idle), to.clone(), profile)
    }

    /// Every address in turn, to the end of `then`; the last failure is the one told.
    async fn each_address<T, F>(
        &self,
        resolved: &Resolved,
        need: Need,
        then: impl Fn(TcpStream, SocketAddrV6) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let Resolved { to, answer, live } = resolved;
        let options = &live.options;
        let mut last = None;
        for at in answer.addresses() {
            // The guard is asked about the very address that is connected to next.
            if !answer.is_pinned()
                && let Some(rule) = guard::forbidden(*at.ip())
            {
                // An address that could be tried and failed says more than one that may not be.
                last = last.or(Some(DialError::Forbidden { host: to.host.clone(), to: at, rule }));
                continue;
            }
            match self.one_address(options, (to, at, need), answer.name(), &then).await {
                Ok(made) => return Ok(made),
                Err(err) => last = Some(err.explained(|failure| self.hint(at, failure))),
            }
            if matches!(last, Some(DialError::Bind { .. } | DialError::HostExhausted { .. })) {
                // To no other address either.
                break;
            }
        }
        Err(last.unwrap_or_else(|| {
            ResolveError::NoAddress { host: to.host.clone(), said: "Its list of addresses is empty".to_owned() }.into()
        }))
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

    async fn one_address<T, F>(
        &self,
        options: &Options,
        (to, at, need): (&Authority, SocketAddrV6, Need),
        name: Option<&Arc<Name>>,
        then: &impl Fn(TcpStream, SocketAddrV6) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let socket = self.bind(options.freebind, need)?;
        let mut trial = Trial { name, at: *at.ip() };
        self.tried.begins(to, at, Failure::Silent);
        let made = match socket.connect(at, options.connect_timeout, options.user_timeout).await {
            Ok(stream) => {
                self.tried.begins(to, at, Failure::SilentTls);
                then(stream, at).await
            }
            Err(err) => Err(err),
        };
        self.tried.ends();
        // What this host lacks says nothing of that one.
        if matches!(made, Ok(_) | Err(DialError::HostExhausted { .. })) {
            trial.name = None;
        }
        made
    }

    async fn dial_tls(&self, resolved: &Resolved, profile: Profile, need: Need) -> Result<Upgraded, DialError> {
        let Resolved { to, answer, live } = resolved;
        let limit = live.options.connect_timeout;
        self.each_address(resolved, need, |stream, at| async move {
            let tls = |err| DialError::of_host_or(self.source, err, |err| DialError::Tls { to: to.clone(), at, err });
            let name = ServerName::try_from(to.host.as_str().to_owned()).map_err(|e| tls(io::Error::other(e)))?;
            let connector = TlsConnector::from(Arc::clone(self.tls.config(&self.egress.tls, profile)));
            let made = tokio::time::timeout(limit, connector.connect(name, CountingStream::new(stream)))
                .await
                .map_err(|_| DialError::TlsTimedOut { to: to.clone(), at, limit, hint: Hint::default() })?
                .map_err(tls)?;
            if let Some(name) = answer.name() {
                name.worked(*at.ip());
            }
            Ok(made)
        })
        .await
    }

    /// A place for one more connection, if there may be one.
    fn one_more(&self, live: &Live) -> Result<ConnectionSlot, DialError> {
        let most = live.options.open_per_exit;
        let open = ConnectionSlot::take(&self.open, most).ok_or(DialError::TooMany { from: self.source, most })?;
        Ok(open.among(&self.egress.open))
    }

    /// A new connection.
    async fn make(
        &self,
        resolved: &Resolved,
        profile: Profile,
        (open, need): (ConnectionSlot, Need),
    ) -> Result<Connection, DialError> {
        let stream = self.dial_tls(resolved, profile, need).await?;
        self.start_http(resolved, stream, open).await
    }

    async fn start_http(
        &self,
        resolved: &Resolved,
        stream: Upgraded,
        open: ConnectionSlot,
    ) -> Result<Connection, DialError> {
        let Resolved { to, live, .. } = resolved;
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
