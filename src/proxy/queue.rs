//! Since when callers may have waited in a listener's queue, which the kernel does not say. An order's deadline counts it.
//!
//! Who comes out of an empty queue has not waited. Into one that is not empty a connection of our own is put, a marker:
//! whoever comes out after it came in after it. Without markers strangers who never let the queue run empty would make
//! every order look as old as their flood, and none of an engine that connects anew would be sent.
//!
//! A queue that is full takes nobody, and who tries again has waited for longer than he was in it. As long as it may have
//! been full no marker is believed.

use crate::net::bind::BACKLOG;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// What kernels allow where they do not say.
const LEAST: usize = 128;
/// A marker that has not come out by then is given up: somebody keeps it out.
const LOST: Duration = Duration::from_secs(30);

/// A listener's queue.
#[derive(Debug)]
pub(super) struct AcceptQueue {
    /// Where a marker has to connect to; `None`: there can be none.
    at: Option<SocketAddr>,
    most: usize,
    since: Option<Instant>,
    marker: Option<Marker>,
    /// How many came out between the last two markers: so many waited when the second one was put in.
    before: usize,
    may_have_been_full: bool,
}

#[derive(Debug)]
struct Marker {
    _socket: socket2::Socket,
    from: SocketAddr,
    set: Instant,
    /// How many have come out before it.
    passed: usize,
}

impl Marker {
    fn put_into(queue: SocketAddr) -> std::io::Result<Self> {
        let set = Instant::now();
        let socket = socket2::Socket::new(socket2::Domain::for_address(queue), socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // It is connected some time later, and then it is in.
        if let Err(err) = socket.connect(&queue.into())
            && err.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32)
        {
            return Err(err);
        }
        let from = socket.local_addr()?.as_socket();
        let from = from.ok_or_else(|| std::io::Error::other("it has no address"))?;
        Ok(Self { _socket: socket, from, set, passed: 0 })
    }
}

impl AcceptQueue {
    /// Of a listener that is bound there.
    pub(super) fn of(at: Option<SocketAddr>) -> Self {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let allowed = allowed.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(LEAST);
        // Nobody can connect to an address that stands for all; the loopback one is among them.
        let at = at.map(|at| match at {
            SocketAddr::V4(at) if at.ip().is_unspecified() => (std::net::Ipv4Addr::LOCALHOST, at.port()).into(),
            SocketAddr::V6(at) if at.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, at.port()).into(),
            at @ (SocketAddr::V4(_) | SocketAddr::V6(_)) => at,
        });
        let most = allowed.min(BACKLOG as usize);
        Self { at, most, since: None, marker: None, before: 0, may_have_been_full: false }
    }

    /// Since when whoever came out last may have waited, if he did.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// It was found empty.
    pub(super) const fn ran_empty(&mut self) {
        self.since = None;
        self.before = 0;
        self.may_have_been_full = false;
    }

    /// Nobody has come out of it since then.
    pub(super) fn stands_since(&mut self, since: Instant) {
        self.since.get_or_insert(since);
    }

    /// Whoever came out last has to wait for his place, and the others behind him.
    pub(super) fn has_to_wait(&mut self) {
        let now = Instant::now();
        self.stands_since(now);
        if self.marker.as_ref().is_none_or(|marker| now.saturating_duration_since(marker.set) > LOST) {
            self.marker = self.at.and_then(|at| Marker::put_into(at).ok());
        }
    }

    /// Somebody came out of it. Is it our own marker?
    pub(super) fn is_marker(&mut self, peer: SocketAddr) -> bool {
        let Some(marker) = self.marker.take_if(|marker| {
            marker.passed += 1;
            marker.from == peer
        }) else {
            return false;
        };
        let waited = std::mem::replace(&mut self.before, marker.passed);
        // While the marker before this one was in it there were those before that one, and those between the two.
        self.may_have_been_full |= waited + marker.passed >= self.most;
        if !self.may_have_been_full {
            self.since = self.since.map(|since| since.max(marker.set));
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a caller's own connection")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Before, everybody had waited since the queue was last empty.
    #[test]
    fn who_comes_out_after_a_marker_came_in_after_it() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut queue = AcceptQueue::of(Some(at));
        let began = Instant::now() - Duration::from_secs(100);
        queue.stands_since(began);
        let _first = TcpStream::connect(at).unwrap();
        queue.has_to_wait();
        let _second = TcpStream::connect(at).unwrap();
        assert!(!queue.is_marker(listener.accept().unwrap().1));
        assert_eq!(queue.since(), Some(began));
        assert!(queue.is_marker(listener.accept().unwrap().1));
        let since = queue.since().unwrap();
        assert!(since > began + Duration::from_secs(50) && since <= Instant::now());
        assert!(!queue.is_marker(listener.accept().unwrap().1));
        assert_eq!(queue.since(), Some(since));
        queue.ran_empty();
        assert_eq!(queue.since(), None);
    }

    /// Who was kept out and tried again has waited for longer than he was in the queue.
    #[test]
    fn no_marker_is_believed_while_the_queue_may_have_been_full() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let at = listener.local_addr().unwrap();
        let mut queue = AcceptQueue { most: 3, ..AcceptQueue::of(Some(at)) };
        let began = Instant::now() - Duration::from_secs(100);
        queue.stands_since(began);
        let _many = [TcpStream::connect(at).unwrap(), TcpStream::connect(at).unwrap()];
        for is_marker in [false, false, true] {
            queue.has_to_wait();
            assert_eq!(queue.is_marker(listener.accept().unwrap().1), is_marker);
        }
        assert_eq!(queue.since(), Some(began));
    }
}
