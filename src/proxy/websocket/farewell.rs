//! The end of one side's connection, after a Close was said there or could not be.

use std::future::poll_fn;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::Opcode;
use super::lane::Lane;
use super::reader::{Control, FrameReader, Piece};

/// What is still heard of one side before its connection ends. Bytes that nobody reads would be answered by a reset,
/// and our Close be lost with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Nothing: it has said its Close, or is gone.
    End,
    /// Whatever comes, unread.
    Discard,
    /// Its answer to our Close.
    HearClose,
}

/// Write what there is, hear what there is to hear, and end the connection. Each takes `limit` at most.
pub(super) async fn end<IO: AsyncRead + AsyncWrite + Unpin>(
    io: &mut IO,
    lane: &mut Lane,
    (reader, input): (&mut FrameReader, &mut BytesMut),
    then: Then,
    limit: Duration,
) {
    if !matches!(timeout(limit, poll_fn(|cx| lane.poll_write(io, cx))).await, Ok(Ok(()))) {
        return;
    }
    let heard = async {
        match then {
            Then::End => {}
            Then::Discard => discard(io).await,
            Then::HearClose => hear_close(io, reader, input).await,
        }
    };
    // Who does not answer, or is gone by now, has been told all the same.
    let _answered = timeout(limit, heard).await;
    let _ended = timeout(limit, io.shutdown()).await;
}

/// Read until the Close or the end.
async fn hear_close<R: AsyncRead + Unpin>(from: &mut R, reader: &mut FrameReader, input: &mut BytesMut) {
    loop {
        match reader.next(input) {
            Ok(Some(Piece::Control(Control { opcode: Opcode::Close, .. }))) | Err(_) => return,
            Ok(Some(_)) => {}
            Ok(None) => {
                if !matches!(from.read_buf(input).await, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

/// Read until the end.
async fn discard<R: AsyncRead + Unpin>(from: &mut R) {
    let mut some = [0; 512];
    while matches!(from.read(&mut some).await, Ok(1..)) {}
}
