//! A WebSocket of the broker's: messages in, frames out, and its ends.

use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::stream::Stream;
use super::frames::{Frame, LONGEST, Opcode, encode};

/// A message from the client.
pub(super) enum Message {
    Text(Bytes),
    Binary,
    Ping(Bytes),
    Pong,
    Close,
}

/// Why there is no message.
pub(super) enum Gone {
    Closed,
    Malformed,
}

/// A WebSocket on an accepted connection.
pub(super) struct Socket {
    io: Stream,
    read: BytesMut,
    /// The message begun by frames that did not end it, and whether it is text.
    begun: Option<(bool, BytesMut)>,
}

impl Socket {
    pub(super) fn new(upgraded: hyper::upgrade::Upgraded) -> Option<Self> {
        let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
        Some(Self { io: parts.io.into_inner(), read: BytesMut::from(parts.read_buf.as_ref()), begun: None })
    }

    /// The next message. Cancel-safe: what was read stays in the buffer.
    pub(super) async fn next(&mut self) -> Result<Message, Gone> {
        loop {
            if let Some(frame) = Frame::parse(&mut self.read).map_err(|_| Gone::Malformed)? {
                if let Some(message) = self.assemble(frame)? {
                    return Ok(message);
                }
            } else if self.io.read_buf(&mut self.read).await.is_ok_and(|read| read > 0) {
                continue;
            } else {
                return Err(Gone::Closed);
            }
        }
    }

    fn assemble(&mut self, frame: Frame) -> Result<Option<Message>, Gone> {
        let (text, mut payload) = match (frame.opcode, self.begun.take()) {
            (Opcode::Close, _) => return Ok(Some(Message::Close)),
            (Opcode::Ping, begun) => {
                self.begun = begun;
                return Ok(Some(Message::Ping(frame.payload)));
            }
            (Opcode::Pong, begun) => {
                self.begun = begun;
                return Ok(Some(Message::Pong));
            }
            (Opcode::Text, None) => (true, BytesMut::new()),
            (Opcode::Binary, None) => (false, BytesMut::new()),
            (Opcode::Continuation, Some(begun)) => begun,
            (Opcode::Text | Opcode::Binary | Opcode::Continuation, _) => return Err(Gone::Malformed),
        };
        payload.extend_from_slice(&frame.payload);
        if payload.len() > LONGEST {
            return Err(Gone::Malformed);
        }
        if !frame.last {
            self.begun = Some((text, payload));
            return Ok(None);
        }
        Ok(Some(if text { Message::Text(payload.freeze()) } else { Message::Binary }))
    }

    pub(super) async fn send(&mut self, opcode: Opcode, payload: &[u8]) -> std::io::Result<()> {
        self.io.write_all(&encode(opcode, payload)).await?;
        self.io.flush().await
    }

    pub(super) async fn close(&mut self, code: u16) -> std::io::Result<()> {
        self.send(Opcode::Close, &code.to_be_bytes()).await?;
        self.io.shutdown().await
    }

    /// End the connection without a Close.
    pub(super) async fn shut_down(&mut self) -> std::io::Result<()> {
        self.io.shutdown().await
    }

    /// Let the drop be a TCP reset: no Close, no end of the TLS stream.
    pub(super) fn reset_when_dropped(&self) {
        // Without it the drop is a plain end of the connection, which a client
        // must take just as badly.
        let _best_effort = self.io.get_ref().0.set_zero_linger();
    }

    pub(super) fn reset(self) {
        self.reset_when_dropped();
    }
}
