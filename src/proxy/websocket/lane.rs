//! One direction of a socket: what is read of one side and still to be written to the other.
//!
//! Bounded: nothing more is read before what was read is written, so a slow reader slows its sender down. What waits
//! for bytes holds none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::reader::{FrameReader, Sender};
use crate::net::read_buffer::poll_fill;

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Whole messages, dropped ones too.
    pub(super) messages: u64,
    /// Bytes as they came.
    pub(super) bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) reader: FrameReader,
    pub(super) input: BytesMut,
    output: BytesMut,
    /// Was something written that may lie in a buffer of TLS?
    unflushed: bool,
    /// Did the last write have to wait?
    blocked: bool,
    /// Did one that had to wait go on?
    read_on: bool,
    /// Does the output end inside a frame?
    inside_frame: bool,
    /// A Close was said, by whoever it is for: nothing follows it.
    pub(super) closed: bool,
    pub(super) passed: Passed,
}

impl Lane {
    pub(super) fn new(reader: FrameReader) -> Self {
        Self {
            reader,
            input: BytesMut::new(),
            output: BytesMut::new(),
            unflushed: false,
            blocked: false,
            read_on: false,
            inside_frame: false,
            closed: false,
            passed: Passed::default(),
        }
    }

    /// Is all written that was to be written?
    pub(super) fn is_written(&self) -> bool {
        self.output.is_empty() && !self.unflushed
    }

    /// Pass on what came, which ends a frame or not.
    pub(super) fn pass(&mut self, wire: BytesMut, ends_frame: bool) {
        if self.output.is_empty() {
            self.output = wire;
        } else {
            self.output.unsplit(wire);
        }
        self.inside_frame = !ends_frame;
    }

    /// Say something of our own, a whole frame. Answers whether it can be said: not inside a frame, not after a Close.
    pub(super) fn say(&mut self, frame: &[u8]) -> bool {
        let can = !self.inside_frame && !self.closed;
        if can {
            self.output.extend_from_slice(frame);
        }
        can
    }

    /// What is still to be written, as a lane of its own that is written to its end elsewhere. This one goes on without.
    pub(super) fn split_output(&mut self) -> Self {
        Self {
            output: std::mem::take(&mut self.output),
            unflushed: std::mem::take(&mut self.unflushed),
            inside_frame: std::mem::take(&mut self.inside_frame),
            closed: self.closed,
            ..Self::new(FrameReader::new(Sender::Broker, false))
        }
    }

    /// Another sender takes the place of the one that was read: what is not a whole frame of that one's is forgotten.
    pub(super) fn start_anew(&mut self, reader: FrameReader) {
        self.reader = reader;
        self.input = BytesMut::new();
    }

    /// What is still to be written, in place of writing it.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output).into()
    }

    /// Write what is there.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_write_all(to, cx);
        self.blocked = polled.is_pending();
        polled
    }

    fn poll_write_all<W: AsyncWrite + Unpin>(&mut self, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let wrote = ready!(Pin::new(&mut *to).poll_write(cx, &self.output))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(wrote);
            self.unflushed = true;
            self.read_on |= self.blocked;
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
            self.read_on |= self.blocked;
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Has a reader that had us wait read on, since this was last asked?
    pub(super) const fn take_read_on(&mut self) -> bool {
        std::mem::replace(&mut self.read_on, false)
    }

    /// Read on, if all is written that was read. How much came; 0 at the end.
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !self.is_written() {
            // Whoever writes it wakes us.
            return Poll::Pending;
        }
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        let read = ready!(poll_fill(from, &mut self.input, cx))?;
        self.passed.bytes += read as u64;
        Poll::Ready(Ok(read))
    }
}
