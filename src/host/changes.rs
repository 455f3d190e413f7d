//! The kernel's word that something about links, addresses, routes or rules changed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The multicast groups of links, IPv6 addresses, IPv6 routes and IPv6 rules.
const GROUPS: u32 = 0x1 | 0x100 | 0x400 | 0x4_0000;
/// Packets that are thrown away at a time. What they say does not matter, only that they came.
const BATCH: usize = 1024;

/// Tells that something changed, not what.
#[derive(Debug)]
pub struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// # Errors
    /// Where netlink may not be used.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe because a type may lie about its descriptor; OwnedFd owns it and nobody replaces it"
        )]
        AsyncFd::with_interest(socket, Interest::READABLE).map(Self)
    }

    /// Wait for the next change. Several at once are one. Cancel-safe.
    ///
    /// # Errors
    /// When the socket is of no more use.
    pub async fn next(&self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        let mut byte = [0u8; 1];
        for _ in 0..BATCH {
            match guard.try_io(|socket| Ok(recv(socket.get_ref().as_raw_fd(), &mut byte, MsgFlags::empty())?)) {
                Ok(Ok(_)) => {}
                // More came than fits: that is a change too.
                Ok(Err(err)) if err.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
                Ok(Err(err)) => return Err(err),
                Err(_would_block) => break,
            }
        }
        Ok(())
    }
}
