//! The body of a reply, piece by piece (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};

/// The longest line of a chunked body: a size and extensions, or a trailer.
const LINE_LIMIT: usize = 8 * 1024;
/// Trailers of all a reply.
const TRAILERS_LIMIT: usize = 64;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
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
    state: BodyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
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
    pub(super) const fn new(framing: BodyFraming) -> Self {
        let state = match framing {
            BodyFraming::Length(0) => BodyState::Done,
            BodyFraming::Length(length) => BodyState::Length(length),
            BodyFraming::Chunked => BodyState::Size,
            BodyFraming::UntilClose => BodyState::UntilClose,
        };
        Self { state }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, BodyState::Done)
    }

    pub(super) const fn ends_with_the_connection(&self) -> bool {
        matches!(self.state, BodyState::UntilClose)
    }

    pub(super) const fn left(&self) -> Option<u64> {
        match self.state {
            BodyState::Length(left) => Some(left),
            BodyState::Done => Some(0),
            BodyState::Size
            | BodyState::Chunk(_)
            | BodyState::ChunkEnd
            | BodyState::Trailers(_)
            | BodyState::UntilClose => None,
        }
    }

    /// The next piece of what was read, which is taken out of `buffer`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match self.state {
                BodyState::Done => return Ok(Piece::End),
                _ if buffer.is_empty() => return Ok(Piece::More),
                BodyState::UntilClose => return Ok(Piece::Data(buffer.split().freeze())),
                BodyState::Length(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { BodyState::Done } else { BodyState::Length(left) };
                    return Ok(Piece::Data(data));
                }
                BodyState::Chunk(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 { BodyState::ChunkEnd } else { BodyState::Chunk(left) };
                    return Ok(Piece::Data(data));
                }
                BodyState::ChunkEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.state = BodyState::Size;
                    }
                    Some(_) => return Err("a chunk of the reply does not end where it said"),
                    None => return Ok(Piece::More),
                },
                BodyState::Size => {
                    let Some(line) = line(buffer)? else { return Ok(Piece::More) };
                    let size = line.as_ref().split(|b: &u8| *b == b';').next().unwrap_or_default().trim_ascii_end();
                    // No sign and no blanks: `from_str_radix` alone would take a plus.
                    let plain = !size.is_empty() && size.len() <= 15 && size.iter().all(u8::is_ascii_hexdigit);
                    let text = std::str::from_utf8(size).ok().filter(|_| plain);
                    let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
                    self.state = match size.ok_or("a chunk size of the reply is no hexadecimal number")? {
                        0 => BodyState::Trailers(0),
                        size => BodyState::Chunk(size),
                    };
                }
                BodyState::Trailers(seen) => {
                    let Some(line) = line(buffer)? else { return Ok(Piece::More) };
                    self.state = match (line.is_empty(), seen) {
                        (true, _) => BodyState::Done,
                        (false, TRAILERS_LIMIT) => return Err("the reply has too many trailers"),
                        (false, seen) => BodyState::Trailers(seen + 1),
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
