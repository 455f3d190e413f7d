//! Frames on the wire: RFC 6455, section 5.2.

/// The longest payload of a control frame (section 5.5).
pub(super) const CONTROL_LIMIT: usize = 125;
/// The longest reason of a Close: its payload less the code.
const REASON_LIMIT: usize = CONTROL_LIMIT - 2;

/// Close codes (section 7.4.1, and the IANA registry for 1012).
pub(super) mod code {
    pub(in super::super) const NORMAL: u16 = 1000;
    pub(in super::super) const GOING_AWAY: u16 = 1001;
    pub(in super::super) const PROTOCOL: u16 = 1002;
    /// What a program is told by its library of a Close that has no code. Never sent.
    pub(in super::super) const NO_STATUS: u16 = 1005;
    pub(in super::super) const NOT_TEXT: u16 = 1007;
    pub(in super::super) const POLICY: u16 = 1008;
    pub(in super::super) const TOO_BIG: u16 = 1009;
    pub(in super::super) const UNEXPECTED: u16 = 1011;
    pub(in super::super) const RESTART: u16 = 1012;
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        self.bits() & 8 != 0
    }
}

/// What somebody did that the protocol does not allow: the code that answers it, and the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u16,
    pub(super) words: &'static str,
}

impl Violation {
    pub(super) const fn protocol(words: &'static str) -> Self {
        Self { code: code::PROTOCOL, words }
    }
}

/// The head of a frame. Each of its bits is checked that does not depend on the frames before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) opcode: Opcode,
    /// Is it the last of its message?
    pub(super) fin: bool,
    /// RSV1: of the first frame of a compressed message (RFC 7692, section 6).
    pub(super) compressed: bool,
    pub(super) mask: Option<[u8; 4]>,
    /// How long the head is.
    pub(super) length: usize,
    /// How long what comes after it is.
    pub(super) payload: u64,
}

impl FrameHead {
    /// The head at the front of `bytes`; `None` while it is not there whole.
    ///
    /// # Errors
    /// What no frame may be, as early as it can be seen.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let [first, rest @ ..] = bytes else { return Ok(None) };
        let opcode =
            Opcode::of(first & 0x0f).ok_or(Violation::protocol("a frame has an opcode that is not defined"))?;
        if first & 0x30 != 0 {
            return Err(Violation::protocol("a frame has a reserved bit set"));
        }
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        if opcode.is_control() && !fin {
            return Err(Violation::protocol("a control frame is fragmented"));
        }
        let [second, rest @ ..] = rest else { return Ok(None) };
        if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_LIMIT {
            return Err(Violation::protocol("a control frame is longer than 125 bytes"));
        }
        let (payload, wide, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 2, rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), 8, rest),
                None => return Ok(None),
            },
            short => (u64::from(short), 0, rest),
        };
        if payload > u64::MAX / 2 {
            return Err(Violation::protocol("a frame's length has its highest bit set"));
        }
        let mask = match (second & 0x80 != 0, rest.first_chunk::<4>()) {
            (false, _) => None,
            (true, Some(mask)) => Some(*mask),
            (true, None) => return Ok(None),
        };
        let length = 2 + wide + mask.map_or(0, |mask| mask.len());
        Ok(Some(Self { opcode, fin, compressed, mask, length, payload }))
    }
}

/// Mask or unmask bytes that begin at `offset` of their frame's payload (section 5.3).
pub(super) fn apply_mask(bytes: &mut [u8], mask: [u8; 4], offset: u64) {
    let skip = usize::try_from(offset % 4).unwrap_or_default();
    for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle().skip(skip)) {
        *byte ^= mask;
    }
}

/// A whole frame of ours: masked where we are the client, plain where we are the server.
pub(super) fn encode(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode.bits());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(masked | length),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        frame.extend_from_slice(payload);
    }
    frame
}

/// The payload of a Close. `words` are cut to what fits.
pub(super) fn close_payload(code: u16, words: &str) -> Vec<u8> {
    if code == code::NO_STATUS {
        return Vec::new();
    }
    let mut end = words.len().min(REASON_LIMIT);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(words.get(..end).unwrap_or_default().as_bytes());
    payload
}

/// The code and the reason of a Close that somebody sent.
///
/// # Errors
/// Half a code, a code that is never sent, or a reason that is no UTF-8.
pub(super) fn read_close(payload: &[u8]) -> Result<(u16, &str), Violation> {
    let Some((number, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok((code::NO_STATUS, "")),
            _ => Err(Violation::protocol("a Close has half a code")),
        };
    };
    let number = u16::from_be_bytes(*number);
    // 1004 is reserved; 1005, 1006 and 1015 are for programs and never on the wire (section 7.4.1).
    let known = matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !known {
        return Err(Violation::protocol("a Close has a code that is never sent"));
    }
    let not_text = Violation { code: code::NOT_TEXT, words: "the reason of a Close is no UTF-8" };
    std::str::from_utf8(reason).map(|reason| (number, reason)).map_err(|_| not_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole_and_no_earlier() {
        for (length, wide) in [(5_u64, 2), (126, 4), (70_000, 10)] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let wire = encode(Opcode::Binary, &vec![7; length as usize], mask);
                let whole = wide + mask.map_or(0, |_| 4);
                for cut in 0..whole {
                    assert_eq!(FrameHead::read(&wire[..cut]), Ok(None), "{length} {cut}");
                }
                let head = FrameHead::read(&wire).unwrap().unwrap();
                assert_eq!((head.opcode, head.fin, head.mask), (Opcode::Binary, true, mask));
                assert_eq!((head.length, head.payload), (whole, length));
            }
        }
    }

    #[test]
    fn what_no_frame_may_be_is_refused_as_soon_as_it_shows() {
        for (wire, words) in [
            (&[0x83][..], "opcode"),
            (&[0x8b], "opcode"),
            (&[0xa1], "reserved"),
            (&[0x91], "reserved"),
            (&[0x09], "fragmented"),
            (&[0x89, 0xfe], "125"),
            (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], "highest bit"),
        ] {
            let found = FrameHead::read(wire).unwrap_err();
            assert_eq!(found.code, code::PROTOCOL);
            assert!(found.words.contains(words), "{found:?}");
        }
    }

    #[test]
    fn a_close_is_read_as_the_rfc_has_it() {
        assert_eq!(read_close(b""), Ok((1005, "")));
        assert_eq!(read_close(b"\x03\xe8bye"), Ok((1000, "bye")));
        assert_eq!(read_close(b"\x0f\xa0"), Ok((4000, "")));
        for (payload, wants) in [
            (&b"\x03"[..], code::PROTOCOL),
            (b"\x03\xed", code::PROTOCOL),
            (b"\x03\xee", code::PROTOCOL),
            (b"\x00\x01", code::PROTOCOL),
            (b"\x0b\xb7", code::PROTOCOL),
            (b"\x13\x88", code::PROTOCOL),
            (b"\x03\xe8\xff\xfe", code::NOT_TEXT),
        ] {
            assert_eq!(read_close(payload).unwrap_err().code, wants, "{payload:x?}");
        }
    }

    /// A control frame that is too long would be a violation of our own.
    #[test]
    fn a_reason_is_cut_to_what_fits_between_two_characters() {
        let payload = close_payload(1008, &"é".repeat(100));
        assert_eq!(payload.len(), 2 + 122);
        assert_eq!(read_close(&payload).unwrap().0, 1008);
        assert!(close_payload(code::NO_STATUS, "x").is_empty());
    }

    #[test]
    fn a_mask_goes_on_where_the_last_piece_ended() {
        let mut whole: Vec<u8> = (0..50).collect();
        let mut pieces = whole.clone();
        apply_mask(&mut whole, [1, 20, 3, 40], 0);
        let (head, tail) = pieces.split_at_mut(7);
        apply_mask(head, [1, 20, 3, 40], 0);
        apply_mask(tail, [1, 20, 3, 40], 7);
        assert_eq!(whole, pieces);
    }
}
