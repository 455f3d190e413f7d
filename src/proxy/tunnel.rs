//! Blind tunnels: bytes between a caller and a host, from the account's leg.
//!
//! Between two sockets the kernel moves them (`splice`); where TLS is in between, they go through a buffer. Either way
//! a tunnel that is idle holds nothing: buffers and pipes are the thread's, and a tunnel has one while bytes are on
//! their way.

mod splice;

use std::future::poll_fn;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::TunnelLifetime;
use super::http1::Rewind;
use crate::net::read_buffer::poll_fill;
use splice::Socket;

/// A caller's connection: bytes, and the socket itself where nothing is in between.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// The socket, if these bytes are the socket's own.
    fn into_socket(self) -> Result<Socket, Self>;
}

impl Wire for TcpStream {
    fn into_socket(self) -> Result<Socket, Self> {
        Ok(Socket::Tcp(self))
    }
}

impl Wire for UnixStream {
    fn into_socket(self) -> Result<Socket, Self> {
        Ok(Socket::Unix(self))
    }
}

impl Wire for tokio_rustls::server::TlsStream<TcpStream> {
    fn into_socket(self) -> Result<Socket, Self> {
        Err(self)
    }
}

/// Pass bytes on until both sides are done, one breaks, or it may go on no longer.
pub(super) async fn relay<IO: Wire>(caller: Rewind<IO>, mut upstream: TcpStream, until: &TunnelLifetime) {
    let (early, io) = caller.into_parts();
    let joined = async {
        if !early.is_empty() {
            upstream.write_all(&early).await?;
        }
        drop(early);
        match io.into_socket() {
            Ok(socket) => splice::both_ways(&socket, &Socket::Tcp(upstream)).await,
            Err(io) => both_ways(io, upstream).await,
        }
    };
    tokio::select! {
        _ = joined => {}
        () = until.over() => {}
    }
}

/// Copy both ways until both sides are done or one breaks.
pub(super) async fn both_ways<A, B>(a: A, b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut from_a, mut to_a) = tokio::io::split(a);
    let (mut from_b, mut to_b) = tokio::io::split(b);
    tokio::try_join!(one_way(&mut from_a, &mut to_b), one_way(&mut from_b, &mut to_a)).map(|_| ())
}

async fn one_way<R, W>(from: &mut R, to: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        // Made anew each time: what waits for bytes holds none.
        let mut buffer = BytesMut::new();
        if poll_fn(|cx| poll_fill(from, &mut buffer, cx)).await? == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer).await?;
        to.flush().await?;
    }
}
