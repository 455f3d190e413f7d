//! A caller's side whose broker's side may be opened again: its messages are read whole, what it subscribes to is
//! remembered, and what it says while there is no broker is held.

use super::frame::{Opcode, Violation, code};
use super::reader::Data;
use super::subscriptions::{Meaning, Subscriptions};
use crate::broker::dhan::streams::StreamKind;

/// The longest message. A subscription to a hundred instruments has 6 KiB.
const MESSAGE: usize = 64 * 1024;
/// So much is held of what is no subscription and is said while there is no broker.
const HELD: usize = 16 * 1024;

/// What becomes of a part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The message is not whole, or waits for a broker, or needs none: it will be in what is replayed.
    Held,
    /// This is to be said to the broker.
    PassOn(Opcode, Vec<u8>),
    /// There is no broker, and no more room to hold it.
    Dropped,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Replay {
    subscriptions: Subscriptions,
    /// The message that is coming.
    begun: Vec<u8>,
    held: Vec<(Opcode, Vec<u8>)>,
    held_bytes: usize,
    /// The caller has asked the broker to end the socket.
    is_over: bool,
}

impl Replay {
    pub(super) fn new(kind: StreamKind) -> Self {
        Self {
            subscriptions: Subscriptions::new(kind),
            begun: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            is_over: false,
        }
    }

    /// Hear the next part of what the caller says; `away` while there is no broker.
    ///
    /// # Errors
    /// A message that is longer than any.
    pub(super) fn hear(&mut self, data: &Data, away: bool) -> Result<Said, Violation> {
        if data.begins {
            self.begun.clear();
        }
        if self.begun.len() + data.wire.len() > MESSAGE {
            let words = "the message is longer than 64 KiB, and this account's streams are reconnected";
            return Err(Violation { code: code::TOO_BIG, words });
        }
        self.begun.extend_from_slice(&data.payload());
        if !data.ends_message {
            return Ok(Said::Held);
        }
        let message = std::mem::take(&mut self.begun);
        let meaning = self.subscriptions.hear(&message);
        self.is_over |= meaning == Meaning::Goodbye;
        if !away {
            return Ok(Said::PassOn(data.kind, message));
        }
        if meaning == Meaning::Subscription {
            return Ok(Said::Held);
        }
        if self.held_bytes + message.len() > HELD {
            return Ok(Said::Dropped);
        }
        // An empty one takes room too.
        self.held_bytes += message.len().max(64);
        self.held.push((data.kind, message));
        Ok(Said::Held)
    }

    /// May the broker's side be opened again? Not where the caller has asked for its end, nor where something would be
    /// missing afterwards that it has asked for.
    pub(super) const fn may_be_replayed(&self) -> bool {
        !self.is_over && self.subscriptions.is_whole()
    }

    /// How many instruments it has subscribed to.
    pub(super) fn instruments(&self) -> usize {
        self.subscriptions.len()
    }

    /// What a new broker's side is told first: what was subscribed to, then what was held, which is held no longer.
    pub(super) fn messages(&mut self) -> Vec<(Opcode, Vec<u8>)> {
        self.held_bytes = 0;
        let mut messages: Vec<_> =
            self.subscriptions.messages().into_iter().map(|message| (Opcode::Text, message)).collect();
        messages.append(&mut self.held);
        messages
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::frame::encode;
    use super::super::reader::{FrameReader, Piece, Sender};
    use super::*;

    const SUBSCRIBES: &[u8] =
        br#"{"RequestCode":15,"InstrumentList":[{"ExchangeSegment":"NSE_EQ","SecurityId":"1333"}]}"#;

    fn hear(replay: &mut Replay, away: bool, wire: &[u8]) -> Result<Vec<Said>, Violation> {
        let (mut reader, mut input) = (FrameReader::new(Sender::Caller, false), BytesMut::from(wire));
        let mut found = Vec::new();
        while let Some(piece) = reader.next(&mut input)? {
            if let Piece::Data(data) = piece {
                found.push(replay.hear(&data, away)?);
            }
        }
        Ok(found)
    }

    fn text(payload: &[u8]) -> Vec<u8> {
        encode(Opcode::Text, payload, Some([1, 2, 3, 4]))
    }

    /// A broker's side that ends in the middle of a caller's message must not leave half of it, nor lose it.
    #[test]
    fn a_message_in_fragments_is_whole_on_whichever_side_it_ends() {
        let (head, tail) = SUBSCRIBES.split_at(30);
        let mut wire = [text(head), text(tail)].concat();
        wire[0] = 0x01;
        let second = text(head).len();
        wire[second] = 0x80;
        let mut replay = Replay::new(StreamKind::Feed);
        let said = hear(&mut replay, false, &wire).unwrap();
        assert_eq!(said, [Said::Held, Said::PassOn(Opcode::Text, SUBSCRIBES.to_vec())]);
        let said = hear(&mut Replay::new(StreamKind::Feed), true, &wire).unwrap();
        assert_eq!(said, [Said::Held, Said::Held]);
    }

    #[test]
    fn while_there_is_no_broker_subscriptions_are_kept_and_other_messages_up_to_a_bound() {
        let mut replay = Replay::new(StreamKind::Feed);
        let said = hear(&mut replay, true, &[text(SUBSCRIBES), text(b"hello")].concat()).unwrap();
        assert_eq!(said, [Said::Held, Said::Held]);
        let long = vec![b'x'; HELD];
        assert_eq!(hear(&mut replay, true, &text(&long)).unwrap(), [Said::Dropped]);
        let endless = text(b"").repeat(10_000);
        assert!(hear(&mut replay, true, &endless).unwrap().contains(&Said::Dropped));
        assert!(replay.held.len() <= HELD / 64 + 1, "{}", replay.held.len());

        let messages = replay.messages();
        assert!(messages[0].1.starts_with(b"{") && messages[1] == (Opcode::Text, b"hello".to_vec()), "{messages:?}");
        assert_eq!((replay.messages().len(), replay.instruments()), (1, 1), "said once");
        assert!(replay.may_be_replayed());
    }

    #[test]
    fn a_caller_that_says_goodbye_is_not_reconnected() {
        let mut replay = Replay::new(StreamKind::Feed);
        hear(&mut replay, false, &text(br#"{"RequestCode":12}"#)).unwrap();
        assert!(!replay.may_be_replayed());
    }

    #[test]
    fn a_message_that_does_not_end_is_not_held() {
        let long = text(&vec![b'x'; MESSAGE + 1]);
        assert_eq!(hear(&mut Replay::new(StreamKind::Feed), false, &long).unwrap_err().code, code::TOO_BIG);
    }
}
