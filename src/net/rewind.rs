//! A connection that was taken over, with what was read of it already.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection whose first bytes were read too early.
pub(crate) struct Rewind<IO> {
    pub(crate) early: Bytes,
    pub(crate) io: IO,
}

impl<IO> Rewind<IO> {
    /// `io`, of which `early` was read already.
    pub(crate) const fn new(early: Bytes, io: IO) -> Self {
        Self { early, io }
    }

    /// What was read of it already, and the rest.
    pub(crate) fn into_parts(self) -> (Bytes, IO) {
        (self.early, self.io)
    }
}

impl<IO> std::fmt::Debug for Rewind<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewind").field("early", &self.early.len()).finish_non_exhaustive()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewind<IO> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.early.is_empty() {
            return std::pin::Pin::new(&mut self.io).poll_read(cx, into);
        }
        let take = self.early.len().min(into.remaining());
        into.put_slice(&self.early.split_to(take));
        std::task::Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewind<IO> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        from: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
