//! The only place that binds and connects outside sockets.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::error::DialError;
use super::hint::Hint;
use crate::domain::SourceAddr;

/// How often a silent connection is probed by TCP.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A socket already bound to its account's address. [`BoundSocket::bind`] is the
/// only maker and `connect` exists only here, so an unbound connect does not compile.
#[must_use]
#[derive(Debug)]
pub struct BoundSocket {
    socket: TcpSocket,
    from: SourceAddr,
}

impl BoundSocket {
    /// Bind to `from`. `freebind` lets an address be used that an AnyIP route
    /// covers but no interface holds (`IPV6_FREEBIND`).
    ///
    /// # Errors
    /// [`DialError::Bind`], for instance when the address is not this host's; [`DialError::HostExhausted`].
    pub fn bind(from: SourceAddr, freebind: bool) -> Result<Self, DialError> {
        let socket = Self::prepare(from, freebind).map_err(|err| {
            DialError::of_host_or(from, err, |err| DialError::Bind { from, err, hint: Hint::default() })
        })?;
        Ok(Self { socket, from })
    }

    fn prepare(from: SourceAddr, freebind: bool) -> io::Result<TcpSocket> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_only_v6(true)?;
        if freebind {
            socket.set_freebind_v6(true)?;
        }
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        // Let connect() pick the port. A port taken here is spent for every
        // destination at once, and the account runs dry at one port range.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::from((from.ip(), 0)).into())?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    }

    /// Connect, and hold the kernel to the address that was bound.
    ///
    /// `user_timeout` is how long bytes may stay unacknowledged from then on before the
    /// kernel gives the connection up (`TCP_USER_TIMEOUT`, tcp(7)). Without it a line that
    /// died silently is noticed only when the reply is overdue. It bounds the keep-alive
    /// too: an idle connection whose first probe is not answered ends this long after.
    /// Set only now, because it would cut the connecting short, too.
    ///
    /// # Errors
    /// [`DialError::TimedOut`], [`DialError::Connect`], [`DialError::WrongSource`], [`DialError::HostExhausted`].
    pub async fn connect(
        self,
        to: SocketAddrV6,
        limit: Duration,
        user_timeout: Duration,
    ) -> Result<TcpStream, DialError> {
        let Self { socket, from } = self;
        let failed =
            |err| DialError::of_host_or(from, err, |err| DialError::Connect { from, to, err, hint: Hint::default() });
        let stream = tokio::time::timeout(limit, socket.connect(to.into()))
            .await
            .map_err(|_| DialError::TimedOut { from, to, limit, hint: Hint::default() })?
            .map_err(failed)?;
        SockRef::from(&stream).set_tcp_user_timeout(Some(user_timeout)).map_err(failed)?;
        match stream.local_addr() {
            Ok(SocketAddr::V6(local)) if *local.ip() == from.ip() => Ok(stream),
            Ok(local) => Err(DialError::WrongSource { from, local: Some(local) }),
            Err(_) => Err(DialError::WrongSource { from, local: None }),
        }
    }
}

/// Has the kernel a route from this address to that one? Nothing is sent: a datagram socket that is connected only looks
/// the route up, as a stream's would (`connect(2)`). What cannot be asked counts as yes.
pub(super) fn has_route(from: SourceAddr, to: SocketAddrV6, freebind: bool) -> bool {
    let asked = || -> io::Result<()> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        if freebind {
            socket.set_freebind_v6(true)?;
        }
        // No port is taken before it is connected, and then one of this address only.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::from((from.ip(), 0)).into())?;
        socket.connect(&SocketAddr::from(to).into())
    };
    match asked().err().and_then(|err| err.raw_os_error()).map(Errno::from_raw) {
        // A route of the types unreachable, prohibit and blackhole answers the last three (ip-route(8)).
        Some(Errno::ENETUNREACH | Errno::ENETDOWN | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL) => false,
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    async fn listener() -> (tokio::net::TcpListener, SocketAddrV6) {
        let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
        let SocketAddr::V6(at) = listener.local_addr().unwrap() else { panic!("not IPv6") };
        (listener, at)
    }

    /// Leaving from any other address would send one account's request as
    /// another's; no request at all is the lesser harm.
    #[tokio::test]
    async fn a_source_this_host_does_not_hold_fails_closed() {
        let (upstream, at) = listener().await;
        let stranger = SourceAddr::parse("2001:db8::dead").unwrap();

        let err = BoundSocket::bind(stranger, false).unwrap_err();
        assert_eq!(err.code(), "bind_failed");

        // With freebind the bind succeeds and the connect must not fall back.
        let socket = BoundSocket::bind(stranger, true).unwrap();
        let err = socket.connect(at, Duration::from_millis(200), LIMIT).await.unwrap_err();
        assert!(matches!(err.code(), "connect_timed_out" | "connect_failed"), "{err}");
        let nobody = tokio::time::timeout(Duration::from_millis(50), upstream.accept()).await;
        assert!(nobody.is_err(), "connected from {:?}", nobody.unwrap().unwrap().1);
    }

    #[tokio::test]
    async fn the_peer_sees_the_bound_address() {
        let (upstream, at) = listener().await;
        let from = SourceAddr::parse("::1").unwrap();
        let stream = BoundSocket::bind(from, true).unwrap().connect(at, LIMIT, LIMIT).await.unwrap();
        let (_, peer) = upstream.accept().await.unwrap();
        assert_eq!(peer.ip(), from.ip());
        assert_eq!(stream.local_addr().unwrap(), peer);
    }
}
