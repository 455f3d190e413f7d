//! The packets of the market feed: whose prices they are. Pure.
//!
//! Little endian, `<BHBI`: code, length of all, segment, instrument (broker document "Live Market Feed"). One message may
//! hold several.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::subscriptions::Instrument;

/// A packet's head.
const HEAD: usize = 8;
/// Is the market open, and why does the socket end: of no instrument.
const OF_NONE: [u8; 2] = [7, 50];

/// The broker's numbers for exchanges and their segments (broker document "Annexure").
const SEGMENTS: [(&str, u8); 8] = [
    ("IDX_I", 0),
    ("NSE_EQ", 1),
    ("NSE_FNO", 2),
    ("NSE_CURRENCY", 3),
    ("BSE_EQ", 4),
    ("MCX_COMM", 5),
    ("BSE_CURRENCY", 7),
    ("BSE_FNO", 8),
];

/// An instrument, by what a packet says of it; by the caller's words where those have no number here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Numbers(u8, u32),
    Words(Instrument),
}

impl Key {
    /// What the broker is asked for: numbers in one spelling, so that no caller's decides for the others.
    pub(super) fn spelled(&self, instrument: &Instrument) -> Instrument {
        match self {
            Self::Numbers(_, id) => Instrument { security_id: id.to_string().into(), ..instrument.clone() },
            Self::Words(words) => words.clone(),
        }
    }

    /// Of an instrument as a caller names it.
    pub(super) fn of(instrument: &Instrument) -> Self {
        static NUMBERS: LazyLock<HashMap<&str, u8>> = LazyLock::new(|| SEGMENTS.into_iter().collect());
        match (NUMBERS.get(&*instrument.segment), instrument.security_id.trim().parse()) {
            (Some(segment), Ok(id)) => Self::Numbers(*segment, id),
            _ => Self::Words(instrument.clone()),
        }
    }
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) code: u8,
    /// By its segment's number and its own; `None` where it is of none.
    pub(super) instrument: Option<(u8, u32)>,
    pub(super) bytes: &'a [u8],
}

/// The packets of a message, and what is left of it where their lengths do not add up: nobody knows whose that is.
pub(super) fn packets(message: &[u8]) -> (Vec<Packet<'_>>, &[u8]) {
    let (mut rest, mut found) = (message, Vec::new());
    while let Some((packet, next)) = first_packet(rest) {
        found.push(packet);
        rest = next;
    }
    (found, rest)
}

fn first_packet(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let &[code, low, high, segment, a, b, c, d] = bytes.first_chunk::<HEAD>()?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let (bytes, rest) = bytes.split_at_checked(length).filter(|(bytes, _)| bytes.len() >= HEAD)?;
    let instrument = (!OF_NONE.contains(&code)).then(|| (segment, u32::from_le_bytes([a, b, c, d])));
    Some((Packet { code, instrument, bytes }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(segment: &str, security_id: &str) -> Instrument {
        Instrument { segment: segment.into(), security_id: security_id.into() }
    }

    #[test]
    fn an_instrument_is_the_same_in_a_subscription_and_in_a_packet() {
        assert_eq!(Key::of(&instrument("NSE_EQ", "1333")), Key::Numbers(1, 1333));
        assert_eq!(Key::of(&instrument("BSE_FNO", "01333")), Key::Numbers(8, 1333));
        // What the broker may have added since.
        for strange in
            [instrument("NSE_COMM", "1333"), instrument("NSE_EQ", "AAPL"), instrument("NSE_EQ", "5000000000")]
        {
            assert_eq!(Key::of(&strange), Key::Words(strange));
        }
    }

    #[test]
    fn a_message_is_split_by_the_lengths_that_it_gives_or_not_at_all() {
        let ticker = [2, 16, 0, 1, 0x35, 5, 0, 0, 0x32, 0, 0, 0, 0, 0, 0, 0];
        let status = [7, 8, 0, 1, 0, 0, 0, 0];
        let both = [&ticker[..], &status].concat();
        let (found, rest) = packets(&both);
        assert!(rest.is_empty() && found.len() == 2);
        assert_eq!(found[0], Packet { code: 2, instrument: Some((1, 1333)), bytes: &ticker });
        assert_eq!(found[1], Packet { code: 7, instrument: None, bytes: &status });
        // Cut, too short to be one, with something behind it.
        for broken in [&ticker[..15], &[2, 7, 0, 1, 0, 0, 0, 0], b"\x02"] {
            assert_eq!(packets(broken), (vec![], broken));
            let behind = [&ticker[..], broken].concat();
            let (found, rest) = packets(&behind);
            assert_eq!((found.len(), rest), (1, broken));
        }
    }
}
