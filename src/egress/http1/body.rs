//! The body of a reply, piece by piece (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};

/// The longest line of a chunked body: a size and extensions, or a trailer.
const LINE_LIMIT: usize = 8 * 1024;
/// Trailers of all a reply.
const TRAILERS_LIMIT: usize = 64;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A body of this many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the broker closes.
    UntilClose,
}

/// Where in a body a reader is.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailers(usize),
    UntilClose,
    Done,
}

/// What can be had of what was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the body, at least one.
    Data(Bytes),
    /// There is no more of it.
    End,
    /// More has to be read.
    More,
}

impl Decoder {
    pub(super) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(super) const fn ends_with_the_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    pub(super) const fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            State::Size | State::Chunk(_) | State::ChunkEnd | State::Trailers(_) | State::UntilClose => None,
        }
    }

    /// The next piece of what was read, which is taken out of `buffer`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match self.state {
                State::Done => return Ok(Piece::End),
                _ if buffer.is_empty() => return Ok(Piece::More),
                State::UntilClose => return Ok(Piece::Data(buffer.split().freeze())),
                State::Length(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Piece::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Piece::Data(data));
                }
                State::ChunkEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.state = State::Size;
                    }
                    Some(_) => return Err("a chunk of the reply does not end where it said"),
                    None => return Ok(Piece::More),
                },
                State::Size => {
                    let Some(line) = line(buffer)? else { return Ok(Piece::More) };
                    let size = line.as_ref().split(|b: &u8| *b == b';').next().unwrap_or_default().trim_ascii_end();
                    // No sign and no blanks: `from_str_radix` alone would take a plus.
                    let plain = !size.is_empty() && size.len() <= 15 && size.iter().all(u8::is_ascii_hexdigit);
                    let text = std::str::from_utf8(size).ok().filter(|_| plain);
                    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
                    self.state = match size.ok_or("a chunk size of the reply is no hexadecimal number")? {
                        0 => State::Trailers(0),
                        size => State::Chunk(size),
                    };
                }
                State::Trailers(seen) => {
                    let Some(line) = line(buffer)? else { return Ok(Piece::More) };
                    self.state = match (line.is_empty(), seen) {
                        (true, _) => State::Done,
                        (false, TRAILERS_LIMIT) => return Err("the reply has too many trailers"),
                        (false, seen) => State::Trailers(seen + 1),
                    };
                }
            }
        }
    }
}

fn take(buffer: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    (buffer.split_to(n).freeze(), left - n as u64)
}

/// The next line without its end, if all of it is there.
fn line(buffer: &mut BytesMut) -> Result<Option<BytesMut>, &'static str> {
    match memchr::memchr(b'\n', buffer) {
        Some(end) => {
            let mut line = buffer.split_to(end + 1);
            if !line.ends_with(b"\r\n") {
                return Err("a line of the reply's framing ends without a carriage return");
            }
            line.truncate(end - 1);
            Ok(Some(line))
        }
        None if buffer.len() > LINE_LIMIT => Err("a line of the reply's framing is too long"),
        None => Ok(None),
    }
}
