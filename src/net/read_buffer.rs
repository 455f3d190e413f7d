//! Reading into a buffer that the thread has for all its connections: one that waits for bytes holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// Read at once.
const READ: usize = 16 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Lend the thread's buffer.
pub fn lend<T>(then: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| then(scratch))
}

/// Read and forget what can be read; how much that was, 0 at the end. Cancel-safe.
///
/// # Errors
/// The reader's.
pub fn poll_discard<R: AsyncRead + Unpin>(reader: &mut R, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut into = ReadBuf::new(scratch);
        ready!(Pin::new(reader).poll_read(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    })
}

/// Append what can be read to `buffer`; how much that was, 0 at the end. Cancel-safe.
///
/// # Errors
/// The reader's.
pub fn poll_fill<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut into = ReadBuf::new(scratch);
        ready!(Pin::new(reader).poll_read(cx, &mut into))?;
        buffer.extend_from_slice(into.filled());
        Poll::Ready(Ok(into.filled().len()))
    })
}
