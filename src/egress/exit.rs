//! Dialling: resolve, guard, bind, connect, TLS, HTTP, in that order.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::errno::Errno;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{DialError, ResolveError};
use super::guard;
use super::hint::{Hint, Tried};
use super::lease::{ConnectionSlot, HttpConnection, Lease, Upgraded};
use super::names::Name;
use super::pool::Pool;
use super::source::{self, BoundSocket};
use super::stream::CountingStream;
use super::tls::{AlpnProfile, ExitTls};
use super::{Destination, Egress, Options, Protocol, ReloadableOptions, Resolved};
use crate::domain::host_limits::Lack;
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, BootInstant, LocalAddress, SourceAddr, lock};
use crate::host::Failure;
use crate::telemetry::Seldom;

/// What this host lacks it lacks for every dial: a line a minute.
static EXHAUSTED: Seldom = Seldom::once_in(Duration::from_secs(60));

/// An address that is being tried. If that comes to nothing, or is given up, others of its name go first for a while.
struct Trial<'a> {
    name: Option<&'a Arc<Name>>,
    at: IpAddr,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            name.did_not_work(self.at);
        }
    }
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Somebody waits for it.
    Request,
    /// To lie ready: not worth another idle one.
    Warmth,
}

/// From where an exit's connections leave.
#[derive(Clone, Copy, Debug)]
enum Sources {
    /// A leg's address, to any host that has an IPv6 address.
    Leg(SourceAddr),
    /// For each host of `egress.ipv4_hosts` the source named there, and to no other host.
    Ipv4,
}

/// One account's one way out.
#[derive(Debug)]
pub struct Exit {
    sources: Sources,
    tls: ExitTls,
    idle: Arc<Pool<HttpConnection>>,
    open: Arc<AtomicUsize>,
    /// What is being dialled, for who gives up waiting for it.
    tried: Tried,
    egress: Arc<Egress>,
}

impl Egress {
    /// A way out from one address, with connections and TLS sessions of its own.
    pub fn exit(self: &Arc<Self>, source: SourceAddr) -> Arc<Exit> {
        self.exit_from(Sources::Leg(source))
    }

    /// A way out to the hosts of `egress.ipv4_hosts` for one account. The sources are shared; its connections and TLS
    /// sessions are its own.
    pub fn ipv4_exit(self: &Arc<Self>) -> Arc<Exit> {
        self.exit_from(Sources::Ipv4)
    }

    fn exit_from(self: &Arc<Self>, sources: Sources) -> Arc<Exit> {
        let idle = self.janitor.pool(Arc::clone(&self.bounds));
        let mut pools = lock(&self.pools);
        if pools.len() == pools.capacity() {
            // Those of exits that are gone make room before the list grows.
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(Arc::downgrade(&idle));
        drop(pools);
        let open = Arc::<AtomicUsize>::default();
        Arc::new(Exit {
            sources,
            tls: ExitTls::new(Arc::clone(&open)),
            idle,
            open,
            tried: Tried::default(),
            egress: Arc::clone(self),
        })
    }
}

impl Exit {
    /// The address that a connection to `host` leaves from. The one place where the two kinds of hosts are told apart:
    /// what an IPv4 host is sent never leaves by a leg, and nothing else leaves over IPv4.
    ///
    /// # Errors
    /// [`DialError::ByIpv4Only`].
    fn source_for(&self, live: &ReloadableOptions, to: &Authority) -> Result<LocalAddress, DialError> {
        match (self.sources, live.resolver.ipv4_source(&to.host)) {
            (Sources::Leg(source), None) => Ok(LocalAddress::Leg(source)),
            (Sources::Ipv4, Some(source)) => Ok(LocalAddress::Ipv4(source)),
            (Sources::Leg(_), Some(_)) => Err(DialError::ByIpv4Only { host: to.host.clone() }),
            // It was taken out of the configuration this moment.
            (Sources::Ipv4, None) => Err(ResolveError::NoAddress {
                host: to.host.clone(),
                said: "It is in egress.ipv4_hosts no longer".to_owned(),
            }
            .into()),
        }
    }

    /// Who waited for a dial to `to` has no more time for it.
    pub fn out_of_time(&self, to: &Authority) -> DialError {
        self.late(to, |_| true, |from, to, hint| DialError::OutOfTime { from, to, hint })
    }

    /// The same, where it `had` too little time to say anything of the line by being late.
    pub fn too_little_time(&self, to: &Authority, had: Duration) -> DialError {
        // What the kernel knows of the way is so all the same; that packets get lost was only guessed from the wait.
        let is_known = |failure| failure != Failure::SilentTls;
        self.late(to, is_known, |from, to, hint| DialError::TooLittleTime { from, to, had, hint })
    }

    fn late(
        &self,
        to: &Authority,
        explains: impl Fn(Failure) -> bool,
        error: impl FnOnce(LocalAddress, Authority, Hint) -> DialError,
    ) -> DialError {
        let from = match self.source_for(&self.egress.live.load(), to) {
            Ok(from) => from,
            Err(err) => return err,
        };
        let under_way = self.tried.take(to).filter(|(_, failure)| explains(*failure));
        error(from, to.clone(), under_way.map(|(at, failure)| self.hint(at, failure)).unwrap_or_default())
    }

    /// Why nothing is dialled from `source`, which is this leg's: it is known to be gone.
    pub fn address_gone(&self, source: SourceAddr, at: &Destination) -> DialError {
        let to = at.0.answer.addresses().first().copied();
        let hint = to.map(|to| self.hint(to, Failure::Silent)).unwrap_or_default();
        DialError::AddressGone { from: source, hint }
    }

    /// What the kernel says of the way. Of IPv4 it is not asked.
    fn hint(&self, at: SocketAddr, failure: Failure) -> Hint {
        let (Sources::Leg(source), IpAddr::V6(to)) = (self.sources, at.ip()) else { return Hint::default() };
        let freebind = self.egress.live.load().options.freebind;
        Hint::from(self.egress.explainer.explain(source, to, failure, freebind))
    }

    /// How many connections lie idle.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Connections that carry HTTP, idle ones included.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Idle HTTP/1.1 connections to `to`, which an order can take, that have lain for less than `younger`.
    pub fn idle_to(&self, to: &Authority, younger: Duration) -> usize {
        self.idle.fresh(to, AlpnProfile::Http1, younger, BootInstant::now())
    }

    /// Drop the idle connections: what made them is in doubt.
    pub fn forget_idle(&self) {
        self.idle.clear();
    }

    /// Drop the idle connections to where the kernel has no route from here any more: they look alive, and what is
    /// written to them goes nowhere. Were there any? A system call or three for each destination.
    pub fn forget_unroutable(&self) -> bool {
        let Sources::Leg(source) = self.sources else { return false };
        let freebind = self.egress.live.load().options.freebind;
        let mut known: Vec<(SocketAddr, bool)> = Vec::new();
        self.idle.keep_only(|connection| {
            let Some(to) = connection.peer() else { return true };
            let routed = known.iter().find(|(one, _)| *one == to).map(|(_, routed)| *routed);
            routed.unwrap_or_else(|| {
                let routed = source::has_route(source, to, freebind);
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
        let open = self.one_more(&at.0)?;
        let connection = self.make(&at.0, AlpnProfile::Http1, (open, need)).await?;
        self.idle.put(at.0.to.clone(), AlpnProfile::Http1, connection, BootInstant::now());
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
        let open = self.one_more(&at.0)?;
        // Apart: dialling takes ten times the room of a request that finds a connection.
        let connection = Box::pin(self.make(&at.0, profile, (open, Need::Request))).await?;
        Ok(self.lend(connection, live.options.read_timeout, to, profile).fresh_only())
    }

    /// A new HTTP/1.1 connection whose bytes will be taken over (WebSocket). It
    /// is never pooled.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn lease_for_upgrade(&self, at: &Destination) -> Result<Lease, DialError> {
        let open = self.one_more(&at.0)?;
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
        let connection = Box::pin(self.make(&at.0, AlpnProfile::Http1, (open, Need::Request))).await?;
        Ok(Lease::once(connection, at.0.live.options.read_timeout).fresh_only())
    }

    /// A connected socket, for a blind tunnel.
    ///
    /// # Errors
    /// [`DialError`]; nothing was sent.
    pub async fn dial(&self, at: &Destination) -> Result<TcpStream, DialError> {
        Box::pin(self.each_address(&at.0, Need::Request, |stream, _| std::future::ready(Ok(stream)))).await
    }

    fn lend(&self, connection: HttpConnection, read_timeout: Duration, to: &Authority, profile: AlpnProfile) -> Lease {
        Lease::returning(connection, read_timeout, Arc::clone(&self.idle), to.clone(), profile)
    }

    /// Every address in turn, to the end of `then`; the last failure is the one told.
    async fn each_address<T, F>(
        &self,
        resolved: &Resolved,
        need: Need,
        then: impl Fn(TcpStream, SocketAddr) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let Resolved { to, answer, live } = resolved;
        let options = &live.options;
        let from = self.source_for(live, to)?;
        let mut last = None;
        for at in answer.addresses() {
            // The guard is asked about the very address that is connected to next.
            if !answer.is_pinned()
                && let Some(rule) = guard::forbidden(at.ip())
            {
                // An address that could be tried and failed says more than one that may not be.
                last = last.or(Some(DialError::Forbidden { host: to.host.clone(), to: at, rule }));
                continue;
            }
            match self.one_address(options, from, (to, at, need), answer.name(), &then).await {
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
    fn bind(&self, from: LocalAddress, freebind: bool, need: Need) -> Result<BoundSocket, DialError> {
        let makes_room = need == Need::Request;
        if self.egress.is_crowded() {
            if !makes_room {
                let err = Errno::EMFILE.into();
                return Err(DialError::HostExhausted { from, lack: Lack::Descriptors, err });
            }
            self.egress.close_an_idle_one();
        }
        let mut bound = BoundSocket::bind(from, freebind);
        if let Err(DialError::HostExhausted { .. }) = bound
            && makes_room
            && self.egress.close_an_idle_one()
        {
            bound = BoundSocket::bind(from, freebind);
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
        from: LocalAddress,
        (to, at, need): (&Authority, SocketAddr, Need),
        name: Option<&Arc<Name>>,
        then: &impl Fn(TcpStream, SocketAddr) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let socket = self.bind(from, options.freebind, need)?;
        let mut trial = Trial { name, at: at.ip() };
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

    async fn dial_tls(&self, resolved: &Resolved, profile: AlpnProfile, need: Need) -> Result<Upgraded, DialError> {
        let Resolved { to, answer, live } = resolved;
        let limit = live.options.connect_timeout;
        let from = self.source_for(live, to)?;
        self.each_address(resolved, need, |stream, at| async move {
            let tls = |err| DialError::of_host_or(from, err, |err| DialError::Tls { to: to.clone(), at, err });
            let name = ServerName::try_from(to.host.as_str().to_owned()).map_err(|e| tls(io::Error::other(e)))?;
            let connector = TlsConnector::from(Arc::clone(self.tls.config(&self.egress.tls, profile)));
            let made = tokio::time::timeout(limit, connector.connect(name, CountingStream::new(stream)))
                .await
                .map_err(|_| DialError::TlsTimedOut { to: to.clone(), at, limit, hint: Hint::default() })?
                .map_err(tls)?;
            if let Some(name) = answer.name() {
                name.worked(at.ip());
            }
            Ok(made)
        })
        .await
    }

    /// A place for one more connection, if there may be one.
    fn one_more(&self, resolved: &Resolved) -> Result<ConnectionSlot, DialError> {
        let (from, most) = (self.source_for(&resolved.live, &resolved.to)?, resolved.live.options.open_per_exit);
        let open = ConnectionSlot::take(&self.open, most).ok_or(DialError::TooMany { from, most })?;
        Ok(open.among(&self.egress.open))
    }

    /// A new connection.
    async fn make(
        &self,
        resolved: &Resolved,
        profile: AlpnProfile,
        (open, need): (ConnectionSlot, Need),
    ) -> Result<HttpConnection, DialError> {
        let stream = self.dial_tls(resolved, profile, need).await?;
        self.start_http(resolved, stream, open).await
    }

    async fn start_http(
        &self,
        resolved: &Resolved,
        stream: Upgraded,
        open: ConnectionSlot,
    ) -> Result<HttpConnection, DialError> {
        let Resolved { to, live, .. } = resolved;
        let ways = Arc::clone(&live.ways);
        let local = stream.get_ref().0.stream().and_then(|stream| stream.local_addr().ok());
        let from = self.source_for(live, to)?;
        let source = match local {
            Some(local) if local.ip() == from.ip() => from,
            local => return Err(DialError::WrongSource { from, local }),
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Ok(HttpConnection::http1(source, stream, ways, open));
        }
        let tasks = &self.egress.tasks;
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|err| DialError::Http { to: to.clone(), err })?;
        tasks.spawn(drive(driver, tasks.clone()));
        Ok(HttpConnection::http2(source, sender, ways, open))
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
