//! A socket that counts what the kernel took, and can go on under another runtime.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Id};

/// See the module. Bytes of TLS go through it.
#[derive(Debug)]
pub struct CountingStream {
    /// `None` only after a move that failed.
    stream: Option<TcpStream>,
    /// Whose reactor wakes it.
    runtime: Id,
    /// Bytes the kernel took for sending. What it has not taken, nobody can have seen.
    taken: u64,
    /// Is the kernel asked at each read, whatever the reactor has seen?
    reads_kernel: bool,
}

impl CountingStream {
    /// Of a stream that was made on this runtime.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), runtime: Handle::current().id(), taken: 0, reads_kernel: false }
    }

    /// Bytes the kernel took for sending until now.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Read what the kernel has, or else only what the reactor has seen. The reactor looks when its thread has
    /// nothing else to do, so what came this moment it does not know. Nobody is woken by such a read.
    pub(super) const fn read_kernel(&mut self, always: bool) {
        self.reads_kernel = always;
    }

    /// The runtime whose reactor wakes it.
    pub(super) const fn runtime(&self) -> Id {
        self.runtime
    }

    /// The socket, while there is one.
    pub(super) const fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    /// Let the current runtime wake it from now on: one that is woken by another core's
    /// costs a wake-up across cores for each reply.
    ///
    /// # Errors
    /// The kernel's; the line is dead then.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        let here = Handle::current().id();
        if self.runtime == here {
            return Ok(());
        }
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        self.stream = Some(TcpStream::from_std(stream.into_std()?)?);
        self.runtime = here;
        Ok(())
    }

    fn poll<T>(
        self: Pin<&mut Self>,
        then: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.get_mut().stream {
            Some(stream) => then(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn count(mut self: Pin<&mut Self>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = wrote {
            self.taken += n as u64;
        }
        wrote
    }
}

/// One read of the socket itself, past the reactor.
fn read_now(stream: &TcpStream, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    // The socket is non-blocking, as tokio made it so.
    let read = (&*SockRef::from(stream)).read(into.initialize_unfilled());
    match read {
        Ok(n) => {
            into.advance(n);
            Poll::Ready(Ok(()))
        }
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(err) => Poll::Ready(Err(err)),
    }
}

impl AsyncRead for CountingStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reads_kernel {
            return self.poll(|stream| read_now(&stream, into));
        }
        self.poll(|stream| stream.poll_read(cx, into))
    }
}

impl AsyncWrite for CountingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = self.as_mut().poll(|stream| stream.poll_write(cx, from));
        self.count(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = self.as_mut().poll(|stream| stream.poll_write_vectored(cx, from));
        self.count(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}
