//! Watching which addresses are on this host, by netlink.
//!
//! `IPV6_FREEBIND` makes `bind` succeed for an address that is gone, and the connect
//! then runs into its timeout. The kernel says at once when an address or a local
//! route goes; legs of that address trip then, before any request has to find out.
//!
//! It also says when a way out changes: then idle connections that no route leads along any more are let go of, before an
//! order is written to one.
//!
//! Where netlink is not to be had (a sandbox that forbids it), this says so and tries again now and then:
//! legs trip meanwhile when they are dialled, as they would without it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::RcvBuf;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt, socket,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::looks;
use super::register::Register;
use crate::domain::tasks::Tasks;
use crate::net::netlink::{Follower, GROUPS};

/// The kernel fills at most 32 KiB at once.
const BUFFER: usize = 64 * 1024;
/// Room for a burst, such as an interface with thousands of addresses that goes down.
/// The kernel may give less; what does not fit is noticed, and all is asked for anew.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Reads before legs are told, so that a burst is told as one change and yet at once.
const BATCH: usize = 64;
/// Between two looks at where idle connections lead: on a host with a busy routing table something changes all the time.
const WAYS_AGAIN: Duration = Duration::from_millis(100);

/// From the end of a watch to the next try.
const AGAIN: Duration = Duration::from_secs(30);

/// Why addresses are not watched.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("netlink cannot be used")]
    Netlink(#[source] io::Error),
    #[error("netlink does not tell the routes")]
    Refused(#[source] io::Error),
}

/// Watch until the process is to stop.
pub(super) async fn run(register: Arc<Register>, tasks: Tasks) {
    let mut is_told = false;
    loop {
        tokio::select! {
            ended = watch(&register) => if let Err(err) = ended {
                // Nobody would say when one is back: each is tried, as if it were here.
                register.addresses_are_unknown();
                if !std::mem::replace(&mut is_told, true) {
                    let cause = std::error::Error::source(&err).map(ToString::to_string);
                    tracing::warn!(error = %err, cause,
                        "the kernel does not say which addresses this host has. Orders go on, but a lost address is noticed \
                         only by the next order. If this stays so, add AF_NETLINK to RestrictAddressFamilies= in the systemd \
                         unit");
                }
            },
            () = tasks.stopping() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = tasks.stopping() => return,
        }
    }
}

async fn watch(register: &Register) -> Result<(), WatchError> {
    let socket = open().map_err(WatchError::Netlink)?;
    let mut follower = Follower::default();
    follower.missed();
    let mut buffer = vec![0u8; BUFFER];
    let (mut ways_changed, mut looked) = (false, Instant::now());
    let mut heard = false;
    loop {
        if ways_changed && looked.elapsed() >= WAYS_AGAIN {
            register.ways_changed();
            (ways_changed, looked) = (false, Instant::now());
        }
        if let Some(request) = follower.next_request() {
            let sent = send(socket.get_ref().as_raw_fd(), &request, MsgFlags::empty());
            sent.map_err(|errno| WatchError::Netlink(errno.into()))?;
        }
        let mut changed = false;
        let mut guard = tokio::select! {
            guard = socket.readable() => guard.map_err(WatchError::Netlink)?,
            () = tokio::time::sleep_until(looked + WAYS_AGAIN), if ways_changed => continue,
        };
        for _ in 0..BATCH {
            match guard.try_io(|socket| receive(socket.get_ref(), &mut buffer)) {
                Ok(Ok(length)) => {
                    let news = follower.take(buffer.get(..length).unwrap_or_default());
                    changed |= news.changed;
                    ways_changed |= news.ways;
                    if let Some(errno) = news.refused {
                        return Err(WatchError::Refused(io::Error::from_raw_os_error(errno)));
                    }
                }
                Ok(Err(err)) if err.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    follower.missed();
                    ways_changed = true;
                }
                Ok(Err(err)) => return Err(WatchError::Netlink(err)),
                Err(_would_block) => break,
            }
        }
        if changed {
            // Believing that of a kernel that never told of one would trip every leg there is. One that did, and tells of
            // none, had its IPv6 turned off: then no leg is left, and all come back with their routes.
            if follower.known().is_empty() && !heard {
                tracing::warn!(
                    "the kernel reports no address of this host, not even ::1. Orders go on, but until it does, a lost \
                     address is noticed only by the next order"
                );
                continue;
            }
            heard = true;
            register.addresses_are(follower.known().clone());
            looks::hurry(register);
        }
    }
}

fn open() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    setsockopt(&socket, RcvBuf, &RECEIVE_BUFFER)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe because a type may lie about its descriptor; OwnedFd owns it and nobody replaces it"
    )]
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// One packet of the kernel's; what another process sent counts as nothing.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (length, from) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), buffer)?;
    Ok(if from.is_some_and(|from| from.pid() == 0) { length } else { 0 })
}
