//! The only place that binds and connects outside sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::error::DialError;
use super::hint::Hint;
use crate::domain::{LocalAddress, SourceAddr};

/// How often a silent connection is probed by TCP.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A socket already bound to its account's address. [`BoundSocket::bind`] is the
/// only maker and `connect` exists only here, so an unbound connect does not compile.
#[must_use]
#[derive(Debug)]
pub struct BoundSocket {
    socket: TcpSocket,
    from: LocalAddress,
}

impl BoundSocket {
    /// Bind to `from`. `freebind` lets a leg's address be used that an AnyIP route
    /// covers but no interface holds (`IPV6_FREEBIND`). An IPv4 source is an address of an interface, or is none.
    ///
    /// # Errors
    /// [`DialError::Bind`], for instance when the address is not this host's; [`DialError::HostExhausted`].
    pub fn bind(from: LocalAddress, freebind: bool) -> Result<Self, DialError> {
        let socket = Self::prepare(from, freebind).map_err(|err| {
            DialError::of_host_or(from, err, |err| DialError::Bind { from, err, hint: Hint::default() })
        })?;
        Ok(Self { socket, from })
    }

    fn prepare(from: LocalAddress, freebind: bool) -> io::Result<TcpSocket> {
        let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if !from.is_ipv4() {
            socket.set_only_v6(true)?;
            if freebind {
                socket.set_freebind_v6(true)?;
            }
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
        to: SocketAddr,
        limit: Duration,
        user_timeout: Duration,
    ) -> Result<TcpStream, DialError> {
        let Self { socket, from } = self;
        let failed =
            |err| DialError::of_host_or(from, err, |err| DialError::Connect { from, to, err, hint: Hint::default() });
        let stream = tokio::time::timeout(limit, socket.connect(to))
            .await
            .map_err(|_| DialError::TimedOut { from, to, limit, hint: Hint::default() })?
            .map_err(failed)?;
        SockRef::from(&stream).set_tcp_user_timeout(Some(user_timeout)).map_err(failed)?;
        match stream.local_addr() {
            Ok(local) if local.ip() == from.ip() => Ok(stream),
            Ok(local) => Err(DialError::WrongSource { from, local: Some(local) }),
            Err(_) => Err(DialError::WrongSource { from, local: None }),
        }
    }
}

/// Has the kernel a route from this address to that one? Nothing is sent: a datagram socket that is connected only looks
/// the route up, as a stream's would (`connect(2)`). What cannot be asked counts as yes.
pub(super) fn has_route(from: SourceAddr, to: SocketAddr, freebind: bool) -> bool {
    let asked = || -> io::Result<()> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        if freebind {
            socket.set_freebind_v6(true)?;
        }
        // No port is taken before it is connected, and then one of this address only.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::from((from.ip(), 0)).into())?;
        socket.connect(&to.into())
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

    async fn listener(at: &str) -> (tokio::net::TcpListener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    fn leg(address: &str) -> LocalAddress {
        SourceAddr::parse(address).unwrap().into()
    }

    /// Leaving from any other address would send one account's request as
    /// another's; no request at all is the lesser harm.
    #[tokio::test]
    async fn a_source_this_host_does_not_hold_fails_closed() {
        let (upstream, at) = listener("[::1]:0").await;
        let stranger = leg("2001:db8::dead");

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
        for (from, at) in [(leg("::1"), "[::1]:0"), (LocalAddress::Ipv4([127, 0, 0, 9].into()), "127.0.0.1:0")] {
            let (upstream, at) = listener(at).await;
            let stream = BoundSocket::bind(from, true).unwrap().connect(at, LIMIT, LIMIT).await.unwrap();
            let (_, peer) = upstream.accept().await.unwrap();
            assert_eq!(peer.ip(), from.ip());
            assert_eq!(stream.local_addr().unwrap(), peer);
        }
    }

    /// Neither family may stand in for the other, nor an IPv4 address for one that no interface has.
    #[tokio::test]
    async fn an_ipv4_source_binds_only_what_this_host_holds_and_reaches_ipv4_only() {
        let stranger = LocalAddress::Ipv4([192, 0, 2, 77].into());
        assert_eq!(BoundSocket::bind(stranger, true).unwrap_err().code(), "bind_failed");
        let (_upstream, six) = listener("[::1]:0").await;
        let four = LocalAddress::Ipv4([127, 0, 0, 1].into());
        let err = BoundSocket::bind(four, true).unwrap().connect(six, LIMIT, LIMIT).await.unwrap_err();
        assert_eq!(err.code(), "connect_failed");
        let (_upstream, four) = listener("127.0.0.1:0").await;
        let err = BoundSocket::bind(leg("::1"), true).unwrap().connect(four, LIMIT, LIMIT).await.unwrap_err();
        assert_eq!(err.code(), "connect_failed");
    }
}
