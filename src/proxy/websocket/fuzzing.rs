//! For fuzzing alone: what the broker hears of a caller of order updates.

use super::frame::{Opcode, encode};
use super::liveness::Patience;
use super::login::Login;
use super::relay::Conversation;
use crate::broker::dhan::streams::StreamKind;
use crate::telemetry::streams::StreamMetrics;

/// What the broker hears when a caller says this, so many bytes at a time, and the code of the violation that ended it.
pub(in super::super) fn order_updates(login: Login, said: &[u8], piece: usize) -> (Vec<u8>, Option<u16>) {
    let (kind, mut heard) = (StreamKind::OrderUpdate, Vec::new());
    let counters = StreamMetrics::default().counters(kind.as_str());
    let sides = (tokio::io::empty(), tokio::io::empty());
    let mut both = Conversation::new(sides, kind, false, Some(login), Patience::USUAL, counters);
    for piece in said.chunks(piece) {
        match both.feed(piece) {
            Ok(more) => heard.extend(more),
            Err((more, code)) => {
                heard.extend(more);
                return (heard, Some(code));
            }
        }
    }
    (heard, None)
}

/// A masked text frame.
pub(in super::super) fn text(payload: &[u8]) -> Vec<u8> {
    encode(Opcode::Text, payload, Some([7, 1, 200, 33]))
}
