//! Egress: how bytes leave this host.
//!
//! All outside connections are made through an [`Exit`], which is one account's
//! one address. Other modules name a target; only this one knows addresses,
//! sockets and TLS.
//!
//! Invariants:
//! - A connection leaves from its exit's address or not at all. There is no
//!   default source, no kernel's choice and no IPv4 but to the hosts that
//!   `egress.ipv4_hosts` names, from the source that it names, by an exit of the
//!   account's own that reaches no other host.
//! - Idle connections and TLS sessions belong to the exit that made them. There
//!   is no table over exits in which they could be mixed up.
//! - The address that passed the guard is the one connected to: no second lookup.
//!
//! Not here: which leg to take (`legs`), what to send (`proxy`).

pub mod decode;
mod error;
mod exit;
#[doc(hidden)]
pub mod fuzzing;
pub mod guard;
mod hint;
mod http1;
mod janitor;
mod lease;
mod message;
mod names;
pub mod pool;
mod resolve;
mod sessions;
pub mod source;
mod stream;
pub mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::{Config, Ipv4Host};
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host, lock};
use crate::host::{BrokerHost, Explainer, NamesSaid};
use janitor::Janitor;
use lease::{DnsGeneration, HttpConnection};
use pool::{IdleBounds, Pool};
use resolve::{Known, ResolvedName, Resolver};
use tls::{AlpnProfile, Base, TlsError};

pub use error::{DialError, ResolveError};
pub use exit::Exit;
pub use lease::{Lease, ReplyBody, ReplyError, SecretRequest, SendError, Sent, Upgraded};
pub use message::Message;

/// Settings of egress.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a TCP connect, and then a TLS handshake, may each take.
    pub connect_timeout: Duration,
    /// See [`BoundSocket::connect`](source::BoundSocket::connect).
    pub user_timeout: Duration,
    /// How long a reply's body may be silent.
    pub read_timeout: Duration,
    /// See [`BoundSocket::bind`](source::BoundSocket::bind).
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
    /// Hosts that are reached over IPv4, and from where. No order is placed on any of them.
    pub ipv4_hosts: BTreeMap<Host, Ipv4Host>,
    /// Name servers to ask instead of the system's.
    pub name_servers: Vec<SocketAddr>,
}

impl From<&Config> for Options {
    fn from(config: &Config) -> Self {
        let egress = &config.egress;
        Self {
            connect_timeout: egress.connect_timeout,
            user_timeout: egress.user_timeout,
            read_timeout: egress.response_timeout,
            freebind: egress.freebind,
            http2: egress.http2,
            idle_timeout: egress.idle_timeout,
            idle_per_exit: egress.idle_per_leg,
            open_per_exit: egress.connections_per_leg,
            extra_roots: egress.extra_roots.clone(),
            resolve: egress.resolve.clone(),
            ipv4_hosts: egress.ipv4_hosts.clone(),
            name_servers: egress.name_servers.clone(),
        }
    }
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
    answer: ResolvedName,
    /// The settings that it was resolved by.
    live: Arc<ReloadableOptions>,
}

/// What all exits share: settings, roots, names, and the tasks that drive
/// connections. It cannot connect; only an [`Exit`] can.
#[derive(Debug)]
pub struct Egress {
    live: ArcSwap<ReloadableOptions>,
    bounds: Arc<IdleBounds>,
    janitor: Janitor,
    tls: Base,
    tasks: Tasks,
    /// The idle connections of all exits, to be let go of when the host has no room for another one.
    pools: Mutex<Vec<Weak<Pool<HttpConnection>>>>,
    /// Connections of all exits that carry HTTP.
    open: Arc<AtomicUsize>,
    /// How many of them this process has file descriptors for.
    room: AtomicUsize,
    explainer: Explainer,
}

/// What a reload changes. Each dial takes it once and keeps it.
#[derive(Debug)]
struct ReloadableOptions {
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
        let resolver = Arc::new(Resolver::new(options.known(), &options.name_servers, tasks.clone()));
        let bounds = Arc::new(IdleBounds::new(options.idle_per_exit, options.idle_timeout));
        let live = ArcSwap::from_pointee(ReloadableOptions { options, resolver, ways: Arc::default() });
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
        let resolver = old.resolver.changed(options.known(), &options.name_servers).map(Arc::new);
        let renamed = resolver.is_some();
        let ways = if renamed { Arc::default() } else { Arc::clone(&old.ways) };
        let resolver = resolver.unwrap_or_else(|| Arc::clone(&old.resolver));
        self.live.store(Arc::new(ReloadableOptions { options, resolver, ways }));
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

    /// Where a host is over IPv6, by its pin or the name servers, if that is known by `by`.
    pub async fn address_of(&self, to: &Authority, by: tokio::time::Instant) -> Option<Ipv6Addr> {
        let resolver = Arc::clone(&self.live.load().resolver);
        match resolver.resolve(to, by).await.ok()?.addresses().first()?.ip() {
            IpAddr::V6(at) => Some(at),
            IpAddr::V4(_) => None,
        }
    }

    /// The IPv4 source from which `host` is reached, if it is one of `egress.ipv4_hosts`.
    pub fn ipv4_source(&self, host: &Host) -> Option<Ipv4Addr> {
        self.live.load().resolver.ipv4_source(host)
    }

    /// What each name server says of each of these hosts, pinned ones left out. Nothing of it is remembered.
    pub async fn query_every_name_server(&self, hosts: &[BrokerHost]) -> NamesSaid {
        let options = self.live.load().options.clone();
        let is_pinned = |host: &BrokerHost| options.is_pinned(&host.name);
        let hosts = hosts.iter().filter(|host| !is_pinned(host)).cloned().collect();
        names::survey(&options.name_servers, hosts).await
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
        let pools = lock(&self.pools);
        let oldest = pools.iter().filter_map(Weak::upgrade).filter_map(|pool| Some((pool.oldest()?, pool)));
        oldest.min_by_key(|(since, _)| *since).is_some_and(|(_, pool)| pool.drop_oldest())
    }
}

impl Options {
    fn is_pinned(&self, host: &str) -> bool {
        let ipv4 = self.ipv4_hosts.iter().filter(|(_, ipv4)| !ipv4.pins.is_empty()).map(|(host, _)| host);
        self.resolve.keys().chain(ipv4).any(|pinned| pinned.as_str() == host)
    }

    fn known(&self) -> Known {
        Known { pins: self.resolve.clone(), ipv4: self.ipv4_hosts.clone() }
    }
}

impl ReloadableOptions {
    const fn profile(&self, protocol: Protocol) -> AlpnProfile {
        match protocol {
            Protocol::Any if self.options.http2 => AlpnProfile::Http2,
            Protocol::Any | Protocol::Http1 => AlpnProfile::Http1,
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
