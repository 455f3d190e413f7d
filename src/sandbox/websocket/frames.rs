//! WebSocket frames: RFC 6455, section 5.2. No extensions.

use bytes::{Buf, Bytes, BytesMut};

/// The longest message that is taken.
pub(super) const LONGEST: usize = 1024 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn read(bits: u8) -> Result<Self, Malformed> {
        let all = [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];
        all.into_iter().find(|opcode| *opcode as u8 == bits).ok_or(Malformed)
    }
}

/// Not a frame that a client may send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A client's frame, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) last: bool,
    pub(super) opcode: Opcode,
    pub(super) payload: Bytes,
}

impl Frame {
    /// Take a frame from the front of a buffer; `None` while it is not there whole.
    pub(super) fn parse(buffer: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let &[first, second, ..] = buffer.as_ref() else { return Ok(None) };
        let opcode = Opcode::read(first & 0x0f)?;
        // Reserved bits belong to extensions; a client's frame is always masked.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Malformed);
        }
        let mut rest = buffer.as_ref().get(2..).unwrap_or_default();
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.remaining() < wide + 4 {
            return Ok(None);
        }
        let length = match wide {
            0 => u64::from(second & 0x7f),
            2 => u64::from(rest.get_u16()),
            _ => rest.get_u64(),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST).ok_or(Malformed)?;
        // Control frames are short and whole.
        if opcode as u8 >= Opcode::Close as u8 && (length > 125 || first & 0x80 == 0) {
            return Err(Malformed);
        }
        let mask = rest.get_u32().to_be_bytes();
        if rest.remaining() < length {
            return Ok(None);
        }
        buffer.advance(2 + wide + 4);
        let mut payload = buffer.split_to(length);
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Some(Self { last: first & 0x80 != 0, opcode, payload: payload.freeze() }))
    }
}

/// A server's frame: whole and unmasked.
pub(super) fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode as u8];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The RFC's example of a masked "Hello", fed byte by byte: frames arrive in
    /// pieces on a real network.
    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let mut buffer = BytesMut::new();
        for byte in &wire[..wire.len() - 1] {
            buffer.extend_from_slice(&[*byte]);
            assert_eq!(Frame::parse(&mut buffer), Ok(None));
        }
        buffer.extend_from_slice(&[0x58, 0x81]);
        let frame = Frame::parse(&mut buffer).unwrap().unwrap();
        assert_eq!((frame.last, frame.opcode, frame.payload.as_ref()), (true, Opcode::Text, b"Hello".as_ref()));
        assert_eq!(buffer.as_ref(), [0x81], "what follows stays");
    }

    #[test]
    fn what_a_client_may_not_send_is_malformed() {
        let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let reserved_bit = [0xc1, 0x80, 0, 0, 0, 0];
        let unknown_opcode = [0x83, 0x80, 0, 0, 0, 0];
        let split_ping = [0x09, 0x80, 0, 0, 0, 0];
        let endless = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        for wire in [&unmasked[..], &reserved_bit, &unknown_opcode, &split_ping, &endless] {
            assert_eq!(Frame::parse(&mut BytesMut::from(wire)), Err(Malformed), "{wire:x?}");
        }
    }

    /// The three widths of a length.
    #[test]
    fn lengths_are_written_as_short_as_they_fit() {
        for (length, head) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(encode(Opcode::Binary, &vec![0; length]).len(), length + head);
        }
    }
}
