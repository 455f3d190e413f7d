//! Bytes from socket to socket: a few by a read and a write, many inside the kernel (splice(2)), through a pipe.
//!
//! Buffers and pipes belong to the thread and are lent while bytes are on their way.
//!
//! Invariant: a pipe that may hold bytes of one tunnel is never lent to another. One that is not known to be empty is
//! closed.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::net::read_buffer;

/// What a pipe holds. The kernel may give less.
const PIPE: usize = 256 * 1024;
/// Empty pipes that a thread keeps.
const KEPT: usize = 64;
/// Pieces moved before others of the thread have their turn.
const TURN: u32 = 16;

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A stream socket.
#[derive(Debug)]
pub(in crate::proxy) enum StreamSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl StreamSocket {
    async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.ready(interest).await,
            Self::Unix(socket) => socket.ready(interest).await,
        }
        .map(|_| ())
    }

    fn try_io<T>(&self, interest: Interest, then: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(socket) => socket.try_io(interest, then),
            Self::Unix(socket) => socket.try_io(interest, then),
        }
    }

    /// What is there, if anything is.
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut some = None;
        let read = self.try_io(Interest::READABLE, || match nix::unistd::read(self, into)? {
            // There was no more: this saves asking for it. What comes later is told by epoll, as is an end.
            n if n > 0 && n < into.len() => {
                some = Some(n);
                Err(io::ErrorKind::WouldBlock.into())
            }
            n => Ok(n),
        });
        some.map_or(read, Ok)
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.ready(Interest::WRITABLE).await?,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// How much of it the kernel took.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // Not write(2): a peer that is gone would be a signal.
        let send = || Ok(send(self.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?);
        self.try_io(Interest::WRITABLE, send)
    }

    fn end(&self) -> io::Result<()> {
        Ok(shutdown(self.as_fd().as_raw_fd(), Shutdown::Write)?)
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

/// A pipe of the thread's.
#[derive(Debug)]
struct Lent {
    pipe: Option<Pipe>,
    /// Bytes in it.
    held: usize,
}

impl Lent {
    fn take() -> io::Result<Self> {
        let kept = EMPTY.with_borrow_mut(Vec::pop);
        let pipe = match kept {
            Some(pipe) => pipe,
            None => {
                let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
                // Who is allowed no more of this size has smaller ones.
                let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIPE as i32));
                Pipe { out, into }
            }
        };
        Ok(Self { pipe: Some(pipe), held: 0 })
    }

    fn pipe(&self) -> io::Result<&Pipe> {
        self.pipe.as_ref().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) else { return };
        EMPTY.with_borrow_mut(|empty| {
            if empty.len() < KEPT {
                empty.push(pipe);
            }
        });
    }
}

/// Until both sides are done or one breaks.
pub(super) async fn both_ways(a: &StreamSocket, b: &StreamSocket) -> io::Result<()> {
    let other_ended = AtomicBool::new(false);
    tokio::try_join!(one_way(a, b, &other_ended), one_way(b, a, &other_ended)).map(|_| ())
}

/// What a first read gave.
enum First {
    End,
    /// All that was there, and it was passed on but for these.
    Few(Option<Box<[u8]>>),
    /// There is more.
    Many(Box<[u8]>),
}

fn first(from: &StreamSocket, to: &StreamSocket) -> io::Result<First> {
    read_buffer::lend(|buffer| {
        let n = from.read(buffer)?;
        let whole = n == buffer.len();
        let bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(First::End);
        }
        let given = match to.write(bytes) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => 0,
            given => given?,
        };
        let rest = bytes.get(given..).unwrap_or_default();
        Ok(match (whole, rest.is_empty()) {
            (true, _) => First::Many(rest.into()),
            (false, true) => First::Few(None),
            (false, false) => First::Few(Some(rest.into())),
        })
    })
}

async fn one_way(from: &StreamSocket, to: &StreamSocket, other_ended: &AtomicBool) -> io::Result<()> {
    // Who is the second to end closes both sockets, which says it too.
    let end = || if other_ended.swap(true, Ordering::Relaxed) { Ok(()) } else { to.end() };
    loop {
        from.ready(Interest::READABLE).await?;
        match first(from, to) {
            Ok(First::End) => return end(),
            Ok(First::Few(None)) => continue,
            Ok(First::Few(Some(rest))) => {
                to.write_all(&rest).await?;
                continue;
            }
            Ok(First::Many(rest)) => to.write_all(&rest).await?,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => continue,
            Err(err) => return Err(err),
        }
        let mut lent = Lent::take()?;
        let mut turn = 0;
        loop {
            let taken = from.try_io(Interest::READABLE, || {
                let moved = splice(from, None, &lent.pipe()?.into, None, PIPE, flags())?;
                Ok(moved)
            });
            match taken {
                Ok(0) => return end(),
                Ok(moved) => lent.held += moved,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => return Err(err),
            }
            while lent.held > 0 {
                let given = to.try_io(Interest::WRITABLE, || {
                    let moved = splice(&lent.pipe()?.out, None, to, None, lent.held, flags())?;
                    Ok(moved)
                });
                match given {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(moved) => lent.held -= moved.min(lent.held),
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => to.ready(Interest::WRITABLE).await?,
                    Err(err) => return Err(err),
                }
            }
            turn += 1;
            if turn == TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::domain::tasks::Tasks;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let near = TcpSocket::new_v6().unwrap().connect(at).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// More than a pipe holds, both ways at once, and each end's end reaches the other.
    #[tokio::test]
    async fn all_bytes_come_through_both_ways_and_so_does_the_end() {
        let ((mut caller, ours), (theirs, mut host)) = (pair().await, pair().await);
        let tasks = Tasks::default();
        let relay = tasks.spawn(async move { both_ways(&StreamSocket::Tcp(ours), &StreamSocket::Tcp(theirs)).await });
        let up: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let down: Vec<u8> = up.iter().rev().copied().collect();
        let (asked, answer) = (up.clone(), down.clone());
        let host = tasks.spawn(async move {
            let (mut from, mut to) = host.split();
            let mut heard = Vec::new();
            let (read, wrote) = tokio::join!(from.read_to_end(&mut heard), async {
                to.write_all(&answer).await?;
                to.shutdown().await
            });
            read.unwrap();
            wrote.unwrap();
            heard
        });
        let (mut from, mut to) = caller.split();
        let mut heard = Vec::new();
        let (read, wrote) = tokio::join!(from.read_to_end(&mut heard), async {
            to.write_all(&asked).await?;
            to.shutdown().await
        });
        read.unwrap();
        wrote.unwrap();
        assert!(heard == down && host.await.unwrap() == up);
        relay.await.unwrap().unwrap();
    }

    /// A few bytes that come while the host's side is full must wait for it, and come after what was there.
    #[tokio::test]
    async fn a_few_bytes_wait_for_who_does_not_read() {
        let ((mut caller, ours), (theirs, mut host)) = (pair().await, pair().await);
        let mut want = 0;
        loop {
            theirs.writable().await.unwrap();
            match theirs.try_write(&[1; 4096]) {
                Ok(n) => want += n,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                Err(err) => panic!("{err}"),
            }
        }
        caller.write_all(b"few").await.unwrap();
        let (ours, theirs) = (StreamSocket::Tcp(ours), StreamSocket::Tcp(theirs));
        ours.ready(Interest::READABLE).await.unwrap();
        assert!(matches!(first(&ours, &theirs).unwrap(), First::Few(Some(rest)) if *rest == *b"few"));
        // The same through the loop that they go through.
        caller.write_all(b"more").await.unwrap();
        caller.shutdown().await.unwrap();
        let ended = AtomicBool::new(false);
        let mut heard = Vec::new();
        let (relayed, read) = tokio::join!(one_way(&ours, &theirs, &ended), host.read_to_end(&mut heard));
        relayed.unwrap();
        read.unwrap();
        assert_eq!(heard.split_off(want), b"more");
        assert!(heard.iter().all(|byte| *byte == 1));
    }

    /// Or one account's bytes would come out of another's tunnel.
    #[tokio::test]
    async fn a_pipe_with_bytes_in_it_is_not_lent_again() {
        EMPTY.with_borrow_mut(Vec::clear);
        let ((mut caller, ours), (theirs, _host)) = (pair().await, pair().await);
        let (ours, theirs) = (StreamSocket::Tcp(ours), StreamSocket::Tcp(theirs));
        {
            // Its host reads nothing, so sooner or later a piece stays in the pipe.
            let flood = async {
                let piece = vec![7; 1 << 20];
                while caller.write_all(&piece).await.is_ok() {}
            };
            let ended = AtomicBool::new(false);
            let relay = one_way(&ours, &theirs, &ended);
            tokio::pin!(flood, relay);
            let full = tokio::time::timeout(std::time::Duration::from_millis(300), async {
                tokio::select! {
                    () = flood => {}
                    _ = relay => {}
                }
            });
            assert!(full.await.is_err(), "it ended although nobody read");
        }
        EMPTY.with_borrow(|kept| {
            for pipe in kept {
                let held = nix::unistd::read(&pipe.out, &mut [0; 1]);
                assert_eq!(held, Err(nix::errno::Errno::EAGAIN), "a pipe went back with bytes in it");
            }
        });
        // And when it is certain that one is cut off with bytes in it.
        EMPTY.with_borrow_mut(Vec::clear);
        let mut lent = Lent::take().unwrap();
        lent.held = nix::unistd::write(&lent.pipe().unwrap().into, b"of alpha").unwrap();
        drop(lent);
        assert_eq!(EMPTY.with_borrow(Vec::len), 0);
        drop(Lent::take().unwrap());
        assert_eq!(EMPTY.with_borrow(Vec::len), 1, "an empty one goes back");
    }
}
