//! Reading one side's frames as they come, in pieces: a message is never held whole.
//!
//! A frame up to [`HELD`] bytes comes out whole, so that what we say ourselves can nearly always follow it at once; a
//! longer one in the pieces in which it arrived. What comes out is what came in, byte for byte, masks included.

use bytes::{Bytes, BytesMut};

use super::frame::{FrameHead, Opcode, Violation, apply_mask, code, read_close};
use super::utf8::Utf8Check;

/// The longest frame that is held until it is there whole.
pub(super) const HELD: u64 = 16 * 1024;

/// Whose frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A client: each of its frames is masked, and its messages are short.
    Caller,
    /// A server: none is.
    Broker,
}

/// The longest message of a caller. Subscriptions to a hundred instruments have 6 KiB.
const CALLERS_MESSAGE: u64 = 1024 * 1024;

/// What came out.
#[derive(Debug)]
pub(super) enum Piece {
    /// Of a message.
    Data(Data),
    /// A whole ping, pong or Close.
    Control(Control),
}

/// A frame of a message, or a part of one.
#[derive(Debug)]
pub(super) struct Data {
    /// As it came.
    pub(super) wire: BytesMut,
    /// Where in `wire` the payload begins.
    payload_at: usize,
    mask: Option<[u8; 4]>,
    /// Where in the frame's payload this part of it begins.
    offset: u64,
    /// What the message is, as its first frame says.
    pub(super) kind: Opcode,
    /// Does the message begin with it?
    pub(super) begins: bool,
    /// Does the frame end with it?
    pub(super) ends_frame: bool,
    /// Does the message end with it?
    pub(super) ends_message: bool,
}

impl Data {
    /// What a broker says, which is not masked.
    pub(super) fn plain_payload(&self) -> &[u8] {
        self.wire.get(self.payload_at..).unwrap_or_default()
    }

    /// What it says, unmasked. Of a compressed message as compressed.
    pub(super) fn payload(&self) -> BytesMut {
        let mut payload = BytesMut::from(self.plain_payload());
        if let Some(mask) = self.mask {
            apply_mask(&mut payload, mask, self.offset);
        }
        payload
    }
}

/// A control frame.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) opcode: Opcode,
    /// As it came.
    pub(super) wire: BytesMut,
    /// Unmasked.
    pub(super) payload: Bytes,
}

/// A message that is under way.
#[derive(Clone, Copy, Debug)]
struct Message {
    kind: Opcode,
    /// Its bytes so far, with all of the frame that is being read.
    length: u64,
    /// Of a text that is not compressed.
    text: Option<Utf8Check>,
}

/// A frame of which some was given out already.
#[derive(Clone, Copy, Debug)]
struct Open {
    left: u64,
    offset: u64,
    mask: Option<[u8; 4]>,
    fin: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct FrameReader {
    sender: Sender,
    /// Was permessage-deflate agreed upon?
    deflate: bool,
    message: Option<Message>,
    open: Option<Open>,
}

impl FrameReader {
    pub(super) const fn new(sender: Sender, deflate: bool) -> Self {
        Self { sender, deflate, message: None, open: None }
    }

    /// Was some of a message given out, and not all of it?
    pub(super) const fn is_inside_message(&self) -> bool {
        self.message.is_some()
    }

    /// Take the next piece from the front of `input`; `None` while there is not enough of it.
    ///
    /// # Errors
    /// What its sender may not send. Nothing that comes after it means anything.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Violation> {
        if let Some(open) = self.open {
            return self.go_on(open, input);
        }
        let Some(head) = FrameHead::read(input)? else { return Ok(None) };
        self.check(&head)?;
        let there = (input.len() - head.length.min(input.len())) as u64;
        if there < head.payload && (head.opcode.is_control() || head.payload <= HELD) {
            return Ok(None);
        }
        if head.opcode.is_control() {
            return control(&head, input).map(|control| Some(Piece::Control(control)));
        }
        let taken = there.min(head.payload);
        let begins = head.opcode != Opcode::Continuation;
        let mut message = match self.message {
            Some(message) if !begins => message,
            _ => Message {
                kind: head.opcode,
                length: 0,
                text: (head.opcode == Opcode::Text && !head.compressed).then(Utf8Check::default),
            },
        };
        message.length += head.payload;
        self.message = Some(message);
        let open = Open { left: head.payload, offset: 0, mask: head.mask, fin: head.fin };
        self.give(open, input, head.length, taken, begins)
    }

    /// The next part of a frame that was begun.
    fn go_on(&mut self, open: Open, input: &mut BytesMut) -> Result<Option<Piece>, Violation> {
        let taken = open.left.min(input.len() as u64);
        if taken == 0 {
            return Ok(None);
        }
        self.give(open, input, 0, taken, false)
    }

    /// Give out `taken` bytes of a frame's payload, which begin at `payload_at`.
    fn give(
        &mut self,
        open: Open,
        input: &mut BytesMut,
        payload_at: usize,
        taken: u64,
        begins: bool,
    ) -> Result<Option<Piece>, Violation> {
        let wire = input.split_to((payload_at + usize::try_from(taken).unwrap_or(usize::MAX)).min(input.len()));
        let left = open.left - taken;
        let ends_frame = left == 0;
        let kind = self.message.map_or(Opcode::Binary, |message| message.kind);
        let ends_message = ends_frame && open.fin;
        let data =
            Data { wire, payload_at, mask: open.mask, offset: open.offset, kind, begins, ends_frame, ends_message };
        if let Some(text) = self.message.as_mut().and_then(|message| message.text.as_mut())
            && (!text.takes(&data.payload()) || ends_message && !text.is_whole())
        {
            return Err(Violation { code: code::NOT_TEXT, words: "a text message is no UTF-8" });
        }
        self.open = (!ends_frame).then_some(Open { left, offset: open.offset + taken, ..open });
        if ends_message {
            self.message = None;
        }
        Ok(Some(Piece::Data(data)))
    }

    /// What a head may be after the frames before it, and from this sender.
    fn check(&self, head: &FrameHead) -> Result<(), Violation> {
        match (self.sender, head.mask) {
            (Sender::Caller, None) => return Err(Violation::protocol("a frame is not masked")),
            (Sender::Broker, Some(_)) => return Err(Violation::protocol("a frame is masked")),
            (Sender::Caller, Some(_)) | (Sender::Broker, None) => {}
        }
        let first = matches!(head.opcode, Opcode::Text | Opcode::Binary);
        if head.compressed && !(self.deflate && first) {
            return Err(Violation::protocol("a frame has the bit of an extension that was not agreed upon"));
        }
        match (head.opcode, self.message) {
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::protocol("a message begins inside another"));
            }
            (Opcode::Continuation, None) => return Err(Violation::protocol("a continuation of nothing")),
            _ => {}
        }
        let whole = self.message.map_or(0, |message| message.length).saturating_add(head.payload);
        if self.sender == Sender::Caller && !head.opcode.is_control() && whole > CALLERS_MESSAGE {
            return Err(Violation { code: code::TOO_BIG, words: "the message is longer than 1 MiB" });
        }
        Ok(())
    }
}

/// A control frame that is there whole.
fn control(head: &FrameHead, input: &mut BytesMut) -> Result<Control, Violation> {
    let whole = head.length + usize::try_from(head.payload).unwrap_or_default();
    let wire = input.split_to(whole.min(input.len()));
    let mut payload = BytesMut::from(wire.get(head.length..).unwrap_or_default());
    if let Some(mask) = head.mask {
        apply_mask(&mut payload, mask, 0);
    }
    if head.opcode == Opcode::Close {
        read_close(&payload)?;
    }
    Ok(Control { opcode: head.opcode, wire, payload: payload.freeze() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::encode;
    use super::*;

    const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

    /// Messages and control frames, unmasked.
    type Found = Vec<(Opcode, Vec<u8>)>;

    /// What comes out when the bytes arrive so many at a time: all the bytes, the messages and controls, and how it ends.
    fn read(sender: Sender, wire: &[u8], piece: usize) -> (Vec<u8>, Found, Option<Violation>, usize) {
        let mut reader = FrameReader::new(sender, true);
        let (mut input, mut out, mut found, mut message) = (BytesMut::new(), Vec::new(), Vec::new(), Vec::new());
        let mut most = 0;
        for piece in wire.chunks(piece) {
            input.extend_from_slice(piece);
            loop {
                match reader.next(&mut input) {
                    Ok(Some(Piece::Data(data))) => {
                        out.extend_from_slice(&data.wire);
                        message.extend_from_slice(&data.payload());
                        if data.ends_message {
                            found.push((data.kind, std::mem::take(&mut message)));
                        }
                    }
                    Ok(Some(Piece::Control(control))) => {
                        out.extend_from_slice(&control.wire);
                        found.push((control.opcode, control.payload.to_vec()));
                    }
                    Ok(None) => break,
                    Err(why) => return (out, found, Some(why), most),
                }
            }
            most = most.max(input.len());
        }
        (out, found, None, most)
    }

    /// A frame that is not the last of its message, or not the first.
    fn fragment(opcode: u8, fin: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut frame = encode(Opcode::Binary, payload, mask);
        frame[0] = opcode | if fin { 0x80 } else { 0 };
        frame
    }

    #[test]
    fn fragments_and_the_controls_between_them_come_out_as_they_went_in() {
        let wire = [
            fragment(1, false, "pri".as_bytes(), MASK),
            encode(Opcode::Ping, b"there?", MASK),
            fragment(0, false, "ce €".as_bytes().split_at(4).0, MASK),
            encode(Opcode::Pong, b"", MASK),
            fragment(0, true, "ce €".as_bytes().split_at(4).1, MASK),
            encode(Opcode::Close, b"\x03\xe8", MASK),
        ]
        .concat();
        for piece in [1, 3, 1000] {
            let (out, found, end, _) = read(Sender::Caller, &wire, piece);
            assert_eq!((out, end), (wire.clone(), None));
            let kinds: Vec<_> = found.iter().map(|(kind, said)| (*kind, said.as_slice())).collect();
            let price = "price €".as_bytes();
            let wants = [
                (Opcode::Ping, &b"there?"[..]),
                (Opcode::Pong, b""),
                (Opcode::Text, price),
                (Opcode::Close, b"\x03\xe8"),
            ];
            assert_eq!(kinds, wants);
        }
    }

    /// A broker that sends a huge message must not make the gateway hold it.
    #[test]
    fn a_long_frame_is_passed_on_in_pieces_and_a_short_one_whole() {
        let wire = encode(Opcode::Binary, &vec![5; 3_000_000], None);
        let (out, found, end, most) = read(Sender::Broker, &wire, 4096);
        assert_eq!((out.len(), end), (wire.len(), None));
        assert_eq!(found, [(Opcode::Binary, vec![5; 3_000_000])]);
        assert!(most <= 16, "{most} bytes were held");
        let mut reader = FrameReader::new(Sender::Broker, false);
        let mut input = BytesMut::from(&encode(Opcode::Binary, &[1; 3212], None)[..3000]);
        assert!(reader.next(&mut input).unwrap().is_none());
        assert_eq!(input.len(), 3000, "the frame is held until it is whole");
    }

    #[test]
    fn what_a_sender_may_not_send_is_named() {
        let unmasked = encode(Opcode::Text, b"x", None);
        let masked = encode(Opcode::Text, b"x", MASK);
        let caller = |wires: &[Vec<u8>]| read(Sender::Caller, &wires.concat(), 1).2.map(|why| (why.code, why.words));
        let words = |wires: &[Vec<u8>]| caller(wires).unwrap();
        assert_eq!(words(&[unmasked]).0, code::PROTOCOL);
        assert_eq!(read(Sender::Broker, &masked, 1).2.unwrap().words, "a frame is masked");
        assert!(words(&[fragment(0, true, b"x", MASK)]).1.contains("continuation of nothing"));
        assert!(words(&[fragment(1, false, b"x", MASK), masked]).1.contains("inside another"));
        assert!(words(&[fragment(0x40, true, b"x", MASK)]).1.contains("extension"));
        assert!(words(&[fragment(0x49, true, b"x", MASK)]).1.contains("extension"));
        assert_eq!(words(&[encode(Opcode::Text, b"\xff", MASK)]).0, code::NOT_TEXT);
        assert_eq!(words(&[encode(Opcode::Text, b"\xe2\x82", MASK)]).0, code::NOT_TEXT);
        assert_eq!(words(&[encode(Opcode::Close, b"\x03\xe8\xff", MASK)]).0, code::NOT_TEXT);
        let huge = [fragment(2, false, &[0; 600_000], MASK), fragment(0, true, &[0; 600_000], MASK)];
        assert_eq!(read(Sender::Caller, &huge.concat(), 8192).2.unwrap().code, code::TOO_BIG);
        // Compressed text is no UTF-8, and nobody here reads it.
        assert_eq!(caller(&[fragment(0x41, true, b"\xff", MASK)]), None);
    }

    /// A frame as it may be, or bytes that are none.
    fn wires() -> impl Strategy<Value = Vec<u8>> {
        let short = proptest::collection::vec(any::<u8>(), 0..9);
        let text = "[ -~é€😀]{0,6}".prop_map(String::into_bytes);
        // Longer than what is held, so that it is given out before it is there whole.
        let long = (text.clone(), any::<u8>()).prop_map(|(text, last)| {
            let mut payload = text.repeat(HELD as usize / text.len().max(1) + 1);
            payload.resize(payload.len().max(HELD as usize) + 1, last);
            payload
        });
        let payload = prop_oneof![4 => short, 4 => text, 1 => long];
        let opcode = proptest::sample::select(vec![0, 0, 1, 1, 2, 8, 9, 10, 0x41, 0x11, 3]);
        let mask = proptest::option::of(any::<[u8; 4]>());
        let frame = (opcode, any::<bool>(), payload, mask)
            .prop_map(|(opcode, fin, payload, mask)| fragment(opcode, fin, &payload, mask));
        let noise = proptest::collection::vec(any::<u8>(), 0..12);
        proptest::collection::vec(prop_oneof![9 => frame, 1 => noise], 0..6).prop_map(|wires| wires.concat())
    }

    proptest! {
        /// What comes out does not depend on the pieces in which it came, but for a long text that is none in the end: what
        /// was good of it may have been given out by then.
        #[test]
        fn whatever_comes_pieces_do_not_matter(wire in wires(), piece in 1..9_usize, is_caller in any::<bool>()) {
            let sender = if is_caller { Sender::Caller } else { Sender::Broker };
            let (whole, found, end, _) = read(sender, &wire, usize::MAX);
            let (out, pieces, other_end, _) = read(sender, &wire, piece);
            prop_assert_eq!((&found, &end), (&pieces, &other_end));
            prop_assert!(wire.starts_with(&out) && out.starts_with(&whole));
            if end.is_none_or(|why| why.code != code::NOT_TEXT) {
                prop_assert_eq!(whole, out);
            }
        }
    }
}
