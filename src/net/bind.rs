//! Listening sockets: bound so that what they accept needs no further setting.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

/// How many a listener asks the kernel to let wait.
pub(crate) const BACKLOG: u32 = 1024;
/// How long a caller may be silent before the kernel asks whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A listening socket that can be bound again right after a restart.
pub(crate) fn bind_tcp(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        std::net::SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // What is set before it listens, every connection that it accepts inherits (tcp(7)).
    let all = socket2::SockRef::from(&socket);
    all.set_tcp_nodelay(true)?;
    // A caller that vanished must not hold its place for ever.
    all.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Let a listening socket accept connections to addresses that are not this host's, as nftables' TPROXY brings them.
///
/// # Errors
/// The kernel's: it takes `CAP_NET_ADMIN` or `CAP_NET_RAW` (ip(7), `IP_TRANSPARENT`).
pub(crate) fn accept_for_others(socket: &TcpListener) -> std::io::Result<()> {
    // One flag for both families: an IPv6 socket takes the options of level `SOL_IP` too.
    socket2::SockRef::from(socket).set_ip_transparent_v4(true)
}

/// May this process's sockets accept for others? Asked of a socket that goes at once.
///
/// # Errors
/// As [`accept_for_others`].
pub(crate) fn may_accept_for_others() -> std::io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_ip_transparent_v4(true)
}

/// Does the kernel let this process send from an address, as an interface or a local route of this host has it? Asked of a
/// socket that goes at once and sends nothing.
///
/// # Errors
/// `EADDRNOTAVAIL` where this host has it not, in this network namespace.
pub(crate) fn may_send_from(source: Ipv4Addr) -> std::io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())
}

/// A unix socket that only those `mode` allows can connect to. The file of a
/// process that was killed is removed; one that still answers belongs to somebody.
pub(crate) fn bind_unix(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err();
    if stale {
        std::fs::remove_file(path)?;
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // Before it listens: nobody gets in by the mode that the umask left.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG.cast_signed())?;
    UnixListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_set_for_a_listener_holds_for_who_comes() {
        let listener = bind_tcp("[::1]:0".parse().unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let _caller = tokio::net::TcpSocket::new_v6().unwrap().connect(at).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let set = socket2::SockRef::from(&stream);
        assert!(set.tcp_nodelay().unwrap() && set.keepalive().unwrap());
        assert_eq!(set.tcp_keepalive_time().unwrap(), KEEPALIVE);
    }
}
