//! Blind tunnels: bytes between a caller and a host, from the account's leg.
//!
//! Between two sockets the kernel moves them (`splice`); where TLS is in between, they go through a buffer. Either way
//! a tunnel that is idle holds nothing: buffers and pipes are the thread's, and a tunnel has one while bytes are on
//! their way.

mod splice;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::admission::ListenerContext;
use super::http1::Rewind;
use crate::accounts::{Account, Accounts};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, random};
use crate::legs::Legs;
use crate::net::read_buffer::poll_fill;
use splice::StreamSocket;

/// What went by an address that is gone ends over this long, and is opened again elsewhere so.
const ADDRESS_SPREAD: Duration = Duration::from_secs(2);

/// How long bytes may be passed on without a request being admitted: while the account has the legs and the client
/// keys that they began with, and the listener the terms.
#[derive(Clone, Debug)]
pub(super) struct TunnelLifetime {
    legs: CancellationToken,
    /// The leg that it was opened by turned out to be seen as another.
    pub(super) leg: Option<CancellationToken>,
    /// The address of that leg is no longer on this host. Of what would wait for a silence to find out.
    pub(super) address: Option<CancellationToken>,
    keys: CancellationToken,
    terms: Option<CancellationToken>,
    /// Of bytes that nobody can read and that may be orders: whose they are. A halt ends them.
    pub(super) blind: Option<(Arc<Accounts>, AccountName)>,
    tasks: Tasks,
}

/// Why bytes may be passed on no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The account was deleted or is another customer's, or its pair was taken away or changed.
    Account,
    /// One of its client keys was taken away.
    Keys,
    /// The listener's settings were tightened, or it is gone.
    Listener,
    /// The leg turned out to be seen as another.
    Leg,
    /// The leg's address is no longer on this host.
    Address,
    /// The account was halted, and the bytes may be orders.
    Halted,
    /// The gateway stops.
    Stopping,
}

impl TunnelLifetime {
    /// One that ends when one of these is cancelled: the legs, the keys, the leg's standing.
    #[cfg(test)]
    pub(super) fn until(
        legs: CancellationToken,
        keys: CancellationToken,
        leg: CancellationToken,
        tasks: Tasks,
    ) -> Self {
        Self { legs, leg: Some(leg), address: None, keys, terms: None, blind: None, tasks }
    }

    pub(super) fn of(account: &Account, legs: &Legs, listener: &ListenerContext, tasks: &Tasks) -> Self {
        Self {
            keys: account.keys.revoked().clone(),
            terms: listener.terms.as_ref().map(|terms| terms.load().tightened().clone()),
            ..Self::of_all_callers(legs, tasks)
        }
    }

    /// Of what is the account's own, whoever calls.
    pub(super) fn of_all_callers(legs: &Legs, tasks: &Tasks) -> Self {
        Self {
            legs: legs.ended().clone(),
            leg: None,
            address: None,
            keys: CancellationToken::new(),
            terms: None,
            blind: None,
            tasks: tasks.clone(),
        }
    }

    /// The same by whichever leg.
    pub(super) fn by_any_leg(&self) -> Self {
        Self { leg: None, address: None, ..self.clone() }
    }

    /// Waits until that is so. Cancel-safe.
    pub(super) async fn over(&self) -> Over {
        let cancelled = async |token: &Option<CancellationToken>| match token {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            biased;
            () = self.tasks.stopping() => Over::Stopping,
            () = self.legs.cancelled() => Over::Account,
            () = self.keys.cancelled() => Over::Keys,
            () = cancelled(&self.terms) => Over::Listener,
            () = cancelled(&self.leg) => Over::Leg,
            () = self.address_gone() => Over::Address,
            () = self.halted() => Over::Halted,
        }
    }

    async fn address_gone(&self) {
        match &self.address {
            Some(gone) => gone.cancelled().await,
            None => std::future::pending().await,
        }
        // With a prefix go the addresses of ten thousand accounts.
        let share = f64::from(u32::from_be_bytes(random::bytes().unwrap_or_default())) / f64::from(u32::MAX);
        tokio::time::sleep(ADDRESS_SPREAD.mul_f64(share)).await;
    }

    async fn halted(&self) {
        let Some((accounts, name)) = &self.blind else { return std::future::pending().await };
        while let Some(row) = accounts.lookup(name.as_str()) {
            if row.record.halted.is_some() {
                return;
            }
            row.replaced().cancelled().await;
        }
    }
}

/// A caller's connection: bytes, and the socket itself where nothing is in between.
pub(super) trait CallerStream: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// The socket, if these bytes are the socket's own.
    fn into_socket(self) -> Result<StreamSocket, Self>;
}

impl CallerStream for TcpStream {
    fn into_socket(self) -> Result<StreamSocket, Self> {
        Ok(StreamSocket::Tcp(self))
    }
}

impl CallerStream for UnixStream {
    fn into_socket(self) -> Result<StreamSocket, Self> {
        Ok(StreamSocket::Unix(self))
    }
}

impl CallerStream for tokio_rustls::server::TlsStream<TcpStream> {
    fn into_socket(self) -> Result<StreamSocket, Self> {
        Err(self)
    }
}

/// Pass bytes on until both sides are done, one breaks, or it may go on no longer.
pub(super) async fn relay<IO: CallerStream>(caller: Rewind<IO>, mut upstream: TcpStream, until: &TunnelLifetime) {
    let (early, io) = caller.into_parts();
    let joined = async {
        if !early.is_empty() {
            upstream.write_all(&early).await?;
        }
        drop(early);
        match io.into_socket() {
            Ok(socket) => splice::both_ways(&socket, &StreamSocket::Tcp(upstream)).await,
            Err(io) => both_ways(io, upstream).await,
        }
    };
    tokio::select! {
        _ = joined => {}
        _ = until.over() => {}
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
