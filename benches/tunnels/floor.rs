//! The least that a relay can do: one thread, epoll and splice(2), so that no byte passes through the program.
//!
//! It reads nothing, checks nobody, and knows one upstream. A tunnel has two sockets and a few words of state; it
//! has a pipe only while there are bytes in it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::pipe2;
use socket2::{Domain, Socket, Type};

/// How much a pipe is asked to hold; the kernel may give less. With 64 KiB, which they have by themselves, bulk cost a
/// quarter more (0.25 CPU s/GB against 0.19); with 256 KiB 0.20.
const PIPE: i32 = 1 << 20;
/// How often one direction of a tunnel moves bytes before the others have their turn.
const BURST: usize = 16;
/// Pipes that are kept for the next tunnel that needs one.
const SPARE_PIPES: usize = 64;
/// The listener's mark among the events; tunnels have their index.
const LISTENER: u64 = u64::MAX;

/// Relay from `listen` to `to` until the process is ended.
pub(crate) fn serve(listen: SocketAddr, to: SocketAddr) -> ! {
    let mut floor = Floor::new(listen, to).unwrap_or_else(|err| panic!("cannot relay from {listen}: {err}"));
    loop {
        floor.turn().expect("epoll");
    }
}

struct Floor {
    epoll: Epoll,
    listener: TcpListener,
    to: SocketAddr,
    tunnels: Vec<Option<Tunnel>>,
    free: Vec<usize>,
    /// Ended in this turn: an event for one of them may still be in the batch, so it is not given out yet.
    ended: Vec<usize>,
    /// Have more to move than one burst.
    unfinished: Vec<usize>,
    pipes: Vec<Pipe>,
}

struct Tunnel {
    caller: TcpStream,
    upstream: TcpStream,
    /// Caller to upstream, and back.
    directions: [Direction; 2],
    /// Is it among the unfinished?
    queued: bool,
}

#[derive(Default)]
struct Direction {
    pipe: Option<Pipe>,
    /// What the pipe holds.
    held: usize,
    source_ended: bool,
    done: bool,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> nix::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        // Who is not privileged may have only so many large ones; a small one does too.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE));
        Ok(Self { read, write })
    }
}

/// Why a burst ended.
#[derive(PartialEq, Eq)]
enum Burst {
    /// There will be an event when it can go on, or it is done.
    Waits,
    /// It could go on at once.
    Unfinished,
}

impl Direction {
    fn burst(&mut self, from: &TcpStream, to: &TcpStream, pipes: &mut Vec<Pipe>) -> nix::Result<Burst> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        for _ in 0..BURST {
            if self.done {
                return Ok(Burst::Waits);
            }
            let pipe = match self.pipe.take().or_else(|| pipes.pop()) {
                Some(pipe) => pipe,
                None => Pipe::new()?,
            };
            let pipe = self.pipe.insert(pipe);
            if self.held == 0 && !self.source_ended {
                match splice(from, None, &pipe.write, None, PIPE as usize, flags) {
                    Ok(0) => self.source_ended = true,
                    Ok(count) => self.held = count,
                    Err(Errno::EAGAIN) => {
                        self.give_back(pipes);
                        return Ok(Burst::Waits);
                    }
                    Err(err) => return Err(err),
                }
            }
            while self.held > 0 {
                match splice(&pipe.read, None, to, None, self.held, flags) {
                    Ok(count) => self.held -= count,
                    Err(Errno::EAGAIN) => return Ok(Burst::Waits),
                    Err(err) => return Err(err),
                }
            }
            if self.source_ended {
                self.done = true;
                self.give_back(pipes);
                // Fails if the other side has gone already.
                let _ = to.shutdown(Shutdown::Write);
            }
        }
        Ok(Burst::Unfinished)
    }

    /// An empty pipe is of use to others.
    fn give_back(&mut self, pipes: &mut Vec<Pipe>) {
        if let Some(pipe) = self.pipe.take()
            && pipes.len() < SPARE_PIPES
        {
            pipes.push(pipe);
        }
    }
}

impl Floor {
    fn new(listen: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        // The standard library's backlog of 128 is less than what is connected at once.
        socket2::SockRef::from(&listener).listen(4096)?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        let (tunnels, free, ended, unfinished, pipes) = Default::default();
        Ok(Self { epoll, listener, to, tunnels, free, ended, unfinished, pipes })
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let patience = if self.unfinished.is_empty() { EpollTimeout::NONE } else { EpollTimeout::ZERO };
        let count = match self.epoll.wait(&mut events, patience) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(err) => return Err(err.into()),
        };
        for index in std::mem::take(&mut self.unfinished) {
            if let Some(tunnel) = &mut self.tunnels[index] {
                tunnel.queued = false;
                self.relay(index);
            }
        }
        for event in &events[..count] {
            match event.data() {
                LISTENER => self.accept(),
                index => self.relay(usize::try_from(index).expect("an index")),
            }
        }
        self.free.append(&mut self.ended);
        Ok(())
    }

    fn accept(&mut self) {
        // One event stands for all that wait; what is left makes another event.
        for _ in 0..BURST {
            let Ok((caller, _)) = self.listener.accept() else { return };
            // A connection that fails at once is the caller's to try again.
            let _ = self.open(caller);
        }
    }

    fn open(&mut self, caller: TcpStream) -> io::Result<()> {
        caller.set_nonblocking(true)?;
        caller.set_nodelay(true)?;
        let upstream = Socket::new(Domain::for_address(self.to), Type::STREAM.nonblocking().cloexec(), None)?;
        upstream.set_tcp_nodelay(true)?;
        match upstream.connect(&self.to.into()) {
            Err(err) if err.raw_os_error() != Some(Errno::EINPROGRESS as i32) => return Err(err),
            // Until it is connected, both ways of splicing answer EAGAIN; then there is an event.
            _ => {}
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.tunnels.push(None);
            self.tunnels.len() - 1
        });
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        let upstream = TcpStream::from(upstream);
        self.epoll.add(&caller, EpollEvent::new(interest, index as u64))?;
        self.epoll.add(&upstream, EpollEvent::new(interest, index as u64))?;
        self.tunnels[index] = Some(Tunnel { caller, upstream, directions: Default::default(), queued: false });
        Ok(())
    }

    fn relay(&mut self, index: usize) {
        let Some(tunnel) = &mut self.tunnels[index] else { return };
        let [there, back] = &mut tunnel.directions;
        let bursts = there.burst(&tunnel.caller, &tunnel.upstream, &mut self.pipes).and_then(|there| {
            let back = back.burst(&tunnel.upstream, &tunnel.caller, &mut self.pipes)?;
            Ok([there, back])
        });
        let over = bursts.is_err() || (there.done && back.done);
        if over {
            // Its sockets leave epoll as they are closed. A pipe that still holds bytes is closed with them.
            self.tunnels[index] = None;
            self.ended.push(index);
        } else if bursts.is_ok_and(|bursts| bursts.contains(&Burst::Unfinished)) && !tunnel.queued {
            tunnel.queued = true;
            self.unfinished.push(index);
        }
    }
}
