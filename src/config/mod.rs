//! The configuration: its types, and how a file becomes them.
//!
//! A value of [`Config`] has been read and checked as a whole; nothing later
//! checks it again. Every problem of a file is reported at once, each with its
//! key, its value and a way out ([`Problems`]).
//!
//! How a file becomes a [`Config`]: `load` reads it and the environment, `reader`
//! walks the known keys, `values` and `collections` turn each into its type, `sections` names the
//! keys with their defaults (the only place that has them), `check` and `ipv4` look at what
//! no key can know alone. `config/sixgate.toml` describes every key to people; a
//! test compares it with what is read here.
//!
//! Invariants:
//! - Zero never means unlimited.
//! - A problem never shows a value that may be a secret: unknown keys and the
//!   files of secrets are named without their values.
//!
//! Not here: what the command line says, and files that are made at first start.

mod assemble;
mod check;
mod collections;
mod ipv4;
mod load;
mod problems;
mod reader;
mod sections;
mod spelling;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::domain::{AccountName, Authority, Host, OperatorRole, OwnHost};

pub use load::{from_text, from_text_and_environment, load};
pub use problems::Problems;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where state is kept.
    pub state: State,
    /// Where callers connect.
    pub listeners: Vec<Listener>,
    /// The admin API.
    pub admin: AdminConfig,
    /// How bytes leave this host.
    pub egress: EgressConfig,
    /// When an account moves between its two legs.
    pub legs: LegsConfig,
    /// How order writes are sent and settled (`[orders]`).
    pub orders: OrdersConfig,
    /// How tokens are got.
    pub tokens: Tokens,
    /// The broker's limits, as we keep them.
    pub limits: LimitsConfig,
    /// The order journal.
    pub journal: JournalConfig,
    /// The caller's side of the proxy.
    pub proxy: ProxyConfig,
    /// What speed is paid with.
    pub latency: Latency,
    /// Dhan's hosts.
    pub dhan: Dhan,
    /// Pools made at start or reload if absent.
    pub pools: Vec<PoolConfig>,
    /// What is logged and how (`[log]`).
    pub log: LogConfig,
    /// What is odd but no reason to stop, in sentences to log at start: an
    /// unknown `SIXGATE_` variable, a pin for a host nobody may reach.
    pub warnings: Vec<String>,
}

impl Config {
    /// The IPv6 addresses that listeners and the admin API are bound to.
    pub fn bound_addresses(&self) -> impl Iterator<Item = std::net::Ipv6Addr> {
        let binds = self.listeners.iter().map(|listener| &listener.bind).chain([&self.admin.bind]);
        binds.filter_map(|bind| match bind {
            Bind::Tcp(std::net::SocketAddr::V6(address)) => Some(*address.ip()),
            Bind::Tcp(std::net::SocketAddr::V4(_)) | Bind::Unix(_) => None,
        })
    }
}

/// `[state]`
#[derive(Clone, Debug)]
pub struct State {
    /// The folder of the store, the CA and the journal. Made when absent.
    pub path: PathBuf,
    /// The key that seals secrets; made at first start with mode 0600 if absent.
    pub master_key_file: PathBuf,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An address and port, IPv4 or IPv6.
    Tcp(std::net::SocketAddr),
    /// A unix socket's path, at most 107 bytes (`sun_path` and its final zero).
    Unix(PathBuf),
}

impl Bind {
    /// Can another host connect? Unspecified addresses (`0.0.0.0`, `[::]`) count,
    /// and so does whatever is not plainly loopback.
    pub fn is_reachable_from_elsewhere(&self) -> bool {
        match self {
            Self::Tcp(at) => !at.ip().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[[listener]]`
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where callers connect.
    pub bind: Bind,
    /// The one account it serves, if so. It need not exist yet.
    pub account: Option<AccountName>,
    /// Must callers show a client key?
    pub client_key: ClientKey,
    /// Which account a peer's uid is. Only on a unix socket without an `account`.
    pub uids: BTreeMap<u32, AccountName>,
    /// TLS towards callers: certificate chain and key, PEM files.
    pub tls: Option<ListenerTls>,
    /// What callers may have in `Host` besides this listener's own address and loopback names.
    pub own_hosts: Vec<OwnHost>,
    /// Does it answer as if it were the broker itself?
    pub transparent: bool,
    /// Which account a peer's address is. Only on a transparent listener without an `account`.
    pub sources: BTreeMap<IpAddr, AccountName>,
}

/// `tls_certificate` and `tls_key` of a listener or of `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// `listener.client_key`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKey {
    /// Callers show `account:client-key`.
    Required,
    /// Whoever can connect may trade: loopback or unix listeners only.
    None,
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where operators connect.
    pub bind: Bind,
    /// The admin role's bearer token; made at first start, mode 0600, if absent.
    pub token_file: PathBuf,
    /// The operator role's, if there is one; made likewise.
    pub operator_token_file: Option<PathBuf>,
    /// The viewer role's, if there is one; made likewise.
    pub viewer_token_file: Option<PathBuf>,
    /// Named people and programs besides.
    pub operators: Vec<Operator>,
    /// TLS towards operators.
    pub tls: Option<ListenerTls>,
    /// Where a browser reaches the console, if that is not `bind`: behind a proxy that ends TLS, by a name.
    pub public_url: Option<PublicUrl>,
    /// Names that a browser may have in `Host` besides loopback ones and addresses.
    pub hosts: Vec<Host>,
}

/// `[[admin.operator]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Who it is, in logs and in the audit log. Spelled as account names are.
    pub name: String,
    /// What it may do.
    pub role: OperatorRole,
    /// Its bearer token; made at first start, mode 0600, if absent.
    pub token_file: PathBuf,
}

/// `admin.public_url`: scheme, host and port, and no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// Is it `https`?
    pub https: bool,
    /// Host and port.
    pub at: Authority,
}

impl fmt::Display for PublicUrl {
    /// As a browser writes it: without the port that the scheme has by itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        let whole = self.at.to_string();
        let shown = if self.at.port == usual { whole.trim_end_matches(&format!(":{usual}")) } else { &whole };
        write!(f, "{scheme}://{shown}")
    }
}

/// `[egress]`
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// How long a TCP connect, and then a TLS handshake, may each take.
    pub connect_timeout: Duration,
    /// How long bytes that were sent may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// How long a read may wait for its reply's head.
    pub response_timeout: Duration,
    /// `IPV6_FREEBIND`: needed for addresses of an AnyIP prefix.
    pub freebind: bool,
    /// PEM files trusted besides the public roots.
    pub extra_roots: Vec<PathBuf>,
    /// Offer HTTP/2 to the broker.
    pub http2: bool,
    /// How long an unused upstream connection is kept.
    pub idle_timeout: Duration,
    /// Unused upstream connections kept per leg.
    pub idle_per_leg: usize,
    /// Upstream connections open at once per leg, unused ones included.
    pub connections_per_leg: usize,
    /// Host to addresses, in place of DNS. The name stays the one on the certificate.
    pub resolve: BTreeMap<Host, Vec<SocketAddrV6>>,
    /// Hosts that are reached over IPv4 and no other way. They are the broker's, and no order is placed on any of them.
    pub ipv4_hosts: BTreeMap<Host, Ipv4Host>,
    /// Name servers to ask instead of the system's.
    pub name_servers: Vec<std::net::SocketAddr>,
    /// Hosts besides the broker's that callers may reach, from the account's leg and
    /// never signed. No broker host is among them.
    pub allow: Vec<Authority>,
}

/// A host of `egress.ipv4_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4Host {
    /// The address of this host to send from. All accounts share it.
    pub source: Ipv4Addr,
    /// Its pins of `egress.resolve`, in place of DNS.
    pub pins: Vec<SocketAddrV4>,
}

/// `[legs]`
#[derive(Clone, Debug)]
pub struct LegsConfig {
    /// How long a leg's probes must be healthy before it is used again.
    pub dwell: Duration,
    /// Warm connections kept per leg; 0 keeps none.
    pub warm: usize,
    /// When they are kept.
    pub warm_hours: Hours,
}

/// `legs.warm_hours`, `latency.spin_hours`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hours {
    /// While something is traded in India.
    Market,
    /// At any hour.
    Always,
}

/// `[latency]`
#[derive(Clone, Debug)]
pub struct Latency {
    /// Do the threads that serve callers stay awake?
    pub spin: bool,
    /// When they do.
    pub spin_hours: Hours,
    /// How many they are; 0 for one a core, less one if they spin.
    pub threads: usize,
}

/// `[orders]`
#[derive(Clone, Debug)]
pub struct OrdersConfig {
    /// How long an order write may wait for its reply.
    pub response_timeout: Duration,
    /// How long the broker is asked about an order write whose reply was lost.
    pub reconcile_for: Duration,
    /// How long after its arrival an order write may still leave.
    pub leave_within: Duration,
}

/// `[tokens]`
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Logins a second over all accounts, at most.
    pub logins_per_second: u32,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// How long a request that would break a limit waits before it gets 429.
    pub max_wait: Duration,
    /// The part of each limit left unused, 0 to 0.5: jitter on the way can bring
    /// requests closer together than they left.
    pub margin: f64,
    /// A table of limits in place of the built-in one.
    pub file: Option<PathBuf>,
}

/// `[journal]`
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Sync each line to disk, to survive a power cut and not only a killed process.
    pub fsync: bool,
    /// How long journal files are kept.
    pub keep: Duration,
}

/// `[proxy]`
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// The largest request body taken, in bytes.
    pub body_limit: usize,
    /// How long a caller's connection may stay idle between requests.
    pub idle_timeout: Duration,
    /// How long a caller may take to send one request.
    pub request_timeout: Duration,
    /// Connections a listener serves at once; more wait to be accepted.
    pub max_connections: usize,
    /// End the TLS of a broker host that is reached by `CONNECT`?
    pub intercept: bool,
    /// Broker hosts whose `CONNECT` stays a blind tunnel all the same.
    pub tunnel_hosts: Vec<Host>,
    /// How long a stop waits for requests in flight.
    pub drain: Duration,
}

/// `[broker.dhan]`: base addresses. Only scheme (`https` or `wss`), host and port.
#[derive(Clone, Debug)]
pub struct Dhan {
    /// REST.
    pub api: Authority,
    /// The host that logins go to.
    pub auth: Authority,
    /// The WebSocket of order updates.
    pub order_update: Authority,
    /// The WebSocket of the market feed.
    pub feed: Authority,
    /// Depth, 20 levels.
    pub depth20: Authority,
    /// Depth, 200 levels.
    pub depth200: Authority,
    /// The host that serves the lists of instruments.
    pub images: Authority,
}

/// `[[pool]]`
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its name, spelled as account names are.
    pub name: String,
    /// The prefix of primaries.
    pub primary: Ipv6Net,
    /// The prefix of secondaries.
    pub secondary: Ipv6Net,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
    /// One JSON object a line instead of text.
    pub json: bool,
}
