//! The binary market feed and depth: little endian, as the SDK (dhanhq 2.3.0,
//! `marketfeed.py`, `fulldepth.py`) unpacks them.

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use serde::Deserialize;

use crate::sandbox::data;
use crate::sandbox::trouble::StreamHost as Kind;

/// What one instrument is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packet {
    Ticker,
    Quote,
    Full,
    Depth(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Subscription {
    packet: Packet,
    segment: u8,
    security_id: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FeedRequest {
    request_code: u32,
    #[serde(default)]
    instrument_list: Vec<Instrument>,
    /// The 200-level feed names its one instrument at the top.
    #[serde(flatten)]
    single: Option<Instrument>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instrument {
    exchange_segment: String,
    security_id: String,
}

/// What one socket is subscribed to.
pub(super) struct Feed {
    kind: Kind,
    subscriptions: Vec<Subscription>,
}

impl Feed {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, subscriptions: Vec::new() }
    }

    /// Hear a request: the packets that answer it, or `None` if it says goodbye.
    /// What makes no sense is ignored. [C]
    pub(super) fn subscribe(&mut self, text: &[u8], now: Timestamp) -> Option<Vec<Bytes>> {
        let Ok(request) = serde_json::from_slice::<FeedRequest>(text) else { return Some(Vec::new()) };
        let levels = if self.kind == Kind::Depth200 { 200 } else { 20 };
        let (packet, begin) = match (self.kind, request.request_code) {
            (_, 12) => return None,
            (Kind::Feed, 15 | 16) => (Packet::Ticker, request.request_code == 15),
            (Kind::Feed, 17 | 18) => (Packet::Quote, request.request_code == 17),
            (Kind::Feed, 21 | 22) => (Packet::Full, request.request_code == 21),
            // The documents disagree about the code that ends it.
            (Kind::Depth20 | Kind::Depth200, 23..=25) => (Packet::Depth(levels), request.request_code == 23),
            _ => return Some(Vec::new()),
        };
        let named = request.instrument_list.into_iter().chain(request.single);
        let mut wanted: Vec<_> = named.filter_map(|instrument| Subscription::read(packet, &instrument)).collect();
        // Measured: the full mode of an index is dropped without a word.
        wanted.retain(|subscription| (subscription.packet, subscription.segment) != (Packet::Full, 0));
        self.subscriptions.retain(|subscription| !wanted.contains(subscription));
        if !begin {
            return Some(Vec::new());
        }
        let packets = wanted.iter().flat_map(|subscription| subscription.packets(now)).collect();
        self.subscriptions.extend(wanted);
        Some(packets)
    }

    /// A packet for everything subscribed to.
    pub(super) fn packets(&self, now: Timestamp) -> Vec<Bytes> {
        self.subscriptions.iter().flat_map(|subscription| subscription.packets(now)).collect()
    }
}

impl Subscription {
    fn read(packet: Packet, instrument: &Instrument) -> Option<Self> {
        let segment = match instrument.exchange_segment.as_str() {
            "IDX_I" => 0,
            "NSE_EQ" => 1,
            "NSE_FNO" => 2,
            "NSE_CURRENCY" => 3,
            "BSE_EQ" => 4,
            "MCX_COMM" => 5,
            "BSE_CURRENCY" => 7,
            "BSE_FNO" => 8,
            _ => return None,
        };
        Some(Self { packet, segment, security_id: instrument.security_id.parse().ok()? })
    }

    fn packets(&self, now: Timestamp) -> Vec<Bytes> {
        let price = data::last_price(&self.security_id.to_string());
        match self.packet {
            Packet::Ticker => vec![self.feed(2, 16, price, now)],
            Packet::Quote => vec![self.feed(4, 50, price, now)],
            Packet::Full => vec![self.feed(8, 162, price, now)],
            Packet::Depth(levels) => vec![self.depth(41, levels, price), self.depth(51, levels, price)],
        }
    }

    /// `<BHBI`, then what the code says, up to the packet's length.
    fn feed(&self, code: u8, length: u16, price: f64, now: Timestamp) -> Bytes {
        let price = price as f32;
        let time = u32::try_from(now.as_second()).unwrap_or(0);
        let mut packet = BytesMut::with_capacity(length.into());
        packet.put_u8(code);
        packet.put_u16_le(length);
        packet.put_u8(self.segment);
        packet.put_u32_le(self.security_id);
        packet.put_f32_le(price);
        if code == 2 {
            packet.put_u32_le(time);
            return packet.freeze();
        }
        packet.put_u16_le(1); // last quantity
        packet.put_u32_le(time);
        packet.put_f32_le(price); // average
        for number in [1_500, 500, 500] {
            packet.put_u32_le(number); // volume, to sell, to buy
        }
        if code == 8 {
            packet.put_bytes(0, 3 * 4); // open interest, its high and low
        }
        for _ in ["open", "close", "high", "low"] {
            packet.put_f32_le(price);
        }
        if code == 8 {
            for _ in 0..5 {
                packet.put_u32_le(100); // bid, ask: quantities, orders, prices
                packet.put_u32_le(100);
                packet.put_u16_le(1);
                packet.put_u16_le(1);
                packet.put_f32_le(price);
                packet.put_f32_le(price);
            }
        }
        packet.freeze()
    }

    /// `<hBBiI`, then a `<dII` for each level.
    fn depth(&self, code: u8, levels: u32, price: f64) -> Bytes {
        let mut packet = BytesMut::new();
        packet.put_u16_le(u16::try_from(12 + 16 * levels).unwrap_or(0));
        packet.put_u8(code);
        packet.put_u8(self.segment);
        packet.put_u32_le(self.security_id);
        packet.put_u32_le(levels);
        for level in 0..levels {
            let away = f64::from(level + 1) * 0.05;
            packet.put_f64_le(if code == 41 { price - away } else { price + away });
            packet.put_u32_le(100);
            packet.put_u32_le(1);
        }
        packet.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn request(code: u32) -> Vec<u8> {
        let one = r#"{"ExchangeSegment":"NSE_EQ","SecurityId":"1333"}"#;
        format!(r#"{{"RequestCode":{code},"InstrumentCount":1,"InstrumentList":[{one}]}}"#).into_bytes()
    }

    /// The SDK unpacks by fixed offsets: a byte too many shifts every price.
    #[test]
    fn packets_are_as_long_as_the_sdk_unpacks_them() {
        for (code, first, length) in [(15, 2, 16), (17, 4, 50), (21, 8, 162)] {
            let packets = Feed::new(Kind::Feed).subscribe(&request(code), NOW).unwrap();
            assert_eq!(packets.len(), 1);
            assert_eq!((packets[0][0], packets[0].len()), (first, length));
            assert_eq!(packets[0][1..3], (length as u16).to_le_bytes());
            assert_eq!((packets[0][3], &packets[0][4..8]), (1, 1333_u32.to_le_bytes().as_ref()));
            assert_eq!(packets[0][8..12], 1660.5_f32.to_le_bytes());
        }
        let depth = Feed::new(Kind::Depth20).subscribe(&request(23), NOW).unwrap();
        assert_eq!(depth.iter().map(|packet| (packet[2], packet.len())).collect::<Vec<_>>(), [(41, 332), (51, 332)]);
        let single = br#"{"RequestCode":23,"ExchangeSegment":"NSE_FNO","SecurityId":"74147"}"#;
        let depth = Feed::new(Kind::Depth200).subscribe(single, NOW).unwrap();
        assert_eq!(depth[0].len(), 12 + 200 * 16);
    }

    #[test]
    fn an_index_has_no_full_mode() {
        let index = br#"{"RequestCode":21,"InstrumentCount":1,"InstrumentList":[{"ExchangeSegment":"IDX_I","SecurityId":"13"}]}"#;
        let mut feed = Feed::new(Kind::Feed);
        assert!(feed.subscribe(index, NOW).unwrap().is_empty() && feed.packets(NOW).is_empty());
    }

    #[test]
    fn what_was_unsubscribed_is_silent() {
        let mut feed = Feed::new(Kind::Feed);
        feed.subscribe(&request(15), NOW);
        feed.subscribe(&request(15), NOW);
        assert_eq!(feed.packets(NOW).len(), 1, "twice is once");
        feed.subscribe(&request(16), NOW);
        assert!(feed.packets(NOW).is_empty());
        assert!(feed.subscribe(br#"{"RequestCode":12}"#, NOW).is_none());
    }
}
