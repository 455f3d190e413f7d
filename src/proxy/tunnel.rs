//! Blind tunnels: bytes between a caller and a host, from the account's leg.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Until;

/// Buffer for each direction. A tunnel that is idle keeps it, so it is small.
const BUFFER: usize = 16 * 1024;

/// Pass bytes on until both sides are done, one breaks, or it may go on no longer.
pub(super) async fn relay<IO: AsyncRead + AsyncWrite + Unpin>(mut caller: IO, mut upstream: TcpStream, until: &Until) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional_with_sizes(&mut caller, &mut upstream, BUFFER, BUFFER) => {}
        () = until.over() => {}
    }
}
