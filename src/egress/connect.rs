//! Dialling: resolve, guard, bind, connect, TLS, HTTP, in that order.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::guard::{self, RuleId};
use super::handover::{Limits, OneCall};
use super::http::{Connection, Lease};
use super::pool::Pool;
use super::resolve::{ResolveError, Resolver};
use super::source::BoundSocket;
use super::tls::{Base, ExitTls, Profile, TlsError};
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host, SourceAddr};

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
    #[error("{to} could not be dialled from {from} in this leg's share of the time")]
    OutOfTime { from: SourceAddr, to: Authority },
    #[error("HTTP with {to} could not begin")]
    Http {
        to: Authority,
        #[source]
        err: hyper::Error,
    },
    #[error("the connection to {to} could not be handed to a client of our own")]
    Handover {
        to: Authority,
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
            Self::Forbidden { .. } => "destination_forbidden",
            Self::Resolve(ResolveError::NoAddress { .. } | ResolveError::Ipv4Only { .. }) => "no_ipv6_address",
            Self::Resolve(ResolveError::Failed { .. } | ResolveError::NoServers { .. }) => "resolve_failed",
            Self::Tls { .. } => "tls_failed",
            Self::TlsTimedOut { .. } => "tls_timed_out",
            Self::Http { .. } => "http_failed",
            Self::Handover { .. } => "handover_failed",
        }
    }

    /// May the other leg be tried? A refusal is an answer, not an outage.
    pub const fn may_try_next(&self) -> bool {
        !matches!(self, Self::Forbidden { .. } | Self::Resolve(_) | Self::Handover { .. })
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
    /// Offer HTTP/2.
    pub http2: bool,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Unused connections kept per exit.
    pub idle_per_exit: usize,
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
    options: Options,
    resolver: Resolver,
    tls: Base,
    tasks: Tasks,
}

impl Egress {
    /// `tasks` drives upstream connections; stop it after the callers are served.
    ///
    /// # Errors
    /// [`TlsError`] when an extra root cannot be read.
    pub fn new(options: Options, tasks: Tasks) -> Result<Arc<Self>, TlsError> {
        let tls = Base::new(&options.extra_roots)?;
        let resolver = Resolver::new(options.resolve.clone(), &options.name_servers);
        Ok(Arc::new(Self { options, resolver, tls, tasks }))
    }

    /// How long a TCP connect, and then a TLS handshake, may each take.
    pub const fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout
    }

    /// How long an unused connection is kept.
    pub const fn idle_timeout(&self) -> Duration {
        self.options.idle_timeout
    }

    /// A way out from one address, with connections and TLS sessions of its own.
    pub fn exit(self: &Arc<Self>, source: SourceAddr) -> Arc<Exit> {
        let idle = Arc::new(Pool::new(self.options.idle_per_exit, self.options.idle_timeout));
        Arc::new(Exit { source, tls: self.tls.exit(), idle, egress: Arc::clone(self) })
    }
}

/// One account's one way out.
#[derive(Debug)]
pub struct Exit {
    source: SourceAddr,
    tls: ExitTls,
    idle: Arc<Pool<Connection>>,
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

    /// Idle connections to `to` that have lain for less than `younger`.
    pub fn idle_to(&self, to: &Authority, younger: Duration) -> usize {
        self.idle.fresh(to, self.profile(), younger, Instant::now())
    }

    /// Drop the idle connections: what made them is in doubt.
    pub fn forget_idle(&self) {
        self.idle.clear();
    }

    /// Make a connection and let it lie idle, for a request to come.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn warm(&self, to: &Authority) -> Result<(), DialError> {
        let profile = self.profile();
        let stream = self.dial_tls(to, profile).await?;
        let connection = self.start_http(to, stream).await?;
        self.idle.put(to.clone(), profile, connection, Instant::now());
        Ok(())
    }

    /// A connection to speak HTTP on: an idle one, else a new one.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease(&self, to: &Authority) -> Result<Lease, DialError> {
        let profile = self.profile();
        while let Some(idle) = self.idle.take(to, profile, Instant::now()) {
            if let Some(ready) = idle.ready().await {
                return Ok(self.lend(ready, to, profile));
            }
        }
        self.lease_new(to).await
    }

    /// A new connection to speak HTTP on, whatever lies idle.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_new(&self, to: &Authority) -> Result<Lease, DialError> {
        let profile = self.profile();
        let stream = self.dial_tls(to, profile).await?;
        Ok(self.lend(self.start_http(to, stream).await?, to, profile).made_anew())
    }

    /// A new HTTP/1.1 connection whose bytes will be taken over (WebSocket). It
    /// is never pooled.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_upgrade(&self, to: &Authority) -> Result<Lease, DialError> {
        let stream = self.dial_tls(to, Profile::Http1).await?;
        Ok(Lease::once(self.start_http(to, stream).await?, self.egress.options.read_timeout).made_anew())
    }

    /// A connected socket, for a blind tunnel.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn dial(&self, to: &Authority) -> Result<TcpStream, DialError> {
        self.each_address(to, |stream, _| std::future::ready(Ok(stream))).await
    }

    /// A connected socket that [`Exit::dial`] gave for `to`, as a client for one call
    /// of our own. The request leaves within `until_sent` or not at all, and the reply
    /// ends within `whole`.
    ///
    /// # Errors
    /// [`DialError::Handover`]; nothing was sent.
    pub fn one_call(
        &self,
        stream: TcpStream,
        to: &Authority,
        until_sent: Duration,
        whole: Duration,
    ) -> Result<OneCall, DialError> {
        let limits = Limits { until_sent: until_sent.min(self.egress.options.connect_timeout), whole };
        let tls = self.tls.config(Profile::Http1).as_ref().clone();
        OneCall::over(stream, to, tls, limits, &self.egress.tasks)
            .map_err(|err| DialError::Handover { to: to.clone(), err })
    }

    fn profile(&self) -> Profile {
        if self.egress.options.http2 { Profile::Http2 } else { Profile::Http1 }
    }

    fn lend(&self, connection: Connection, to: &Authority, profile: Profile) -> Lease {
        Lease::returning(connection, self.egress.options.read_timeout, Arc::clone(&self.idle), to.clone(), profile)
    }

    /// Every address in turn, to the end of `then`; the last failure is the one told.
    async fn each_address<T, F>(
        &self,
        to: &Authority,
        then: impl Fn(TcpStream, SocketAddrV6) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let options = &self.egress.options;
        let answer = self.egress.resolver.resolve(to).await?;
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
            let socket = BoundSocket::bind(self.source, options.freebind)?;
            let made = match socket.connect(at, options.connect_timeout, options.user_timeout).await {
                Ok(stream) => then(stream, at).await,
                Err(err) => Err(err),
            };
            match made {
                Ok(made) => return Ok(made),
                Err(err) => last = Some(err),
            }
        }
        Err(last.unwrap_or_else(|| ResolveError::NoAddress { host: to.host.clone() }.into()))
    }

    async fn dial_tls(&self, to: &Authority, profile: Profile) -> Result<TlsStream<TcpStream>, DialError> {
        let limit = self.egress.options.connect_timeout;
        self.each_address(to, |stream, at| async move {
            let tls = |err| DialError::Tls { to: to.clone(), at, err };
            let name = ServerName::try_from(to.host.as_str().to_owned()).map_err(|e| tls(io::Error::other(e)))?;
            let connector = TlsConnector::from(Arc::clone(self.tls.config(profile)));
            tokio::time::timeout(limit, connector.connect(name, stream))
                .await
                .map_err(|_| DialError::TlsTimedOut { to: to.clone(), at, limit })?
                .map_err(tls)
        })
        .await
    }

    async fn start_http(&self, to: &Authority, stream: TlsStream<TcpStream>) -> Result<Connection, DialError> {
        let http = |err| DialError::Http { to: to.clone(), err };
        let tasks = &self.egress.tasks;
        let stopping = tasks.clone();
        let local = stream.get_ref().0.local_addr().ok();
        let source = match local {
            Some(SocketAddr::V6(local)) if *local.ip() == self.source.ip() => self.source,
            local => return Err(DialError::WrongSource { from: self.source, local }),
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
            tasks.spawn(drive(driver, stopping));
            return Ok(Connection::http2(source, sender));
        }
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(64 * 1024);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
        tasks.spawn(drive(driver.with_upgrades(), stopping));
        Ok(Connection::http1(source, sender))
    }
}

/// Drive a connection to its end. What goes wrong on it shows in the request
/// that was under way; an idle one may end as it likes.
async fn drive<E: std::fmt::Display>(connection: impl Future<Output = Result<(), E>>, tasks: Tasks) {
    tokio::select! {
        ended = connection => if let Err(err) = ended {
            tracing::debug!(error = %err, "an upstream connection ended");
        },
        () = tasks.stopping() => {}
    }
}
