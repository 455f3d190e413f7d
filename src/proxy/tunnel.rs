//! Blind tunnels: bytes between a caller and a host, from the account's leg.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::domain::tasks::Tasks;

/// Buffer for each direction. A tunnel that is idle keeps it, so it is small.
const BUFFER: usize = 16 * 1024;

/// Pass bytes on until both sides are done, one breaks, or the process stops.
pub async fn relay<IO: AsyncRead + AsyncWrite + Unpin>(mut caller: IO, mut upstream: TcpStream, tasks: &Tasks) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional_with_sizes(&mut caller, &mut upstream, BUFFER, BUFFER) => {}
        () = tasks.stopping() => {}
    }
}
