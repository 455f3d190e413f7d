//! What a caller has subscribed to on a socket of prices, so that it can be asked for again. Pure.
//!
//! Bounded by what the broker allows a socket: a caller that asks for more is passed on, and the broker's answer is its
//! own; but what is not remembered whole is never replayed as if it were.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::broker::dhan::streams::{StreamKind, Subscribing};

/// The longest segment or id that is remembered. Real ones have 12 letters and 7 digits.
const LONGEST: usize = 24;

/// An instrument, as a caller names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instrument {
    /// The broker's word for the exchange and its segment.
    pub(super) segment: Box<str>,
    /// The broker's number for it there.
    pub(super) security_id: Box<str>,
}

/// What a caller asks of a socket of prices.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Prices of these instruments, or no more of them.
    Of {
        /// The code that subscribes to them in that mode, also where this ends it.
        code: u64,
        begins: bool,
        /// Each with whether it stands at the message's top, as depth 200 has it, and not in a list.
        instruments: Vec<(Instrument, bool)>,
        /// Could every instrument be read?
        is_whole: bool,
    },
    /// The end of the socket.
    Goodbye,
    /// It has a `RequestCode` that nobody here knows.
    Unknown,
    /// It has none.
    Other,
}

impl Request {
    /// Read a message on a socket of this kind.
    pub(super) fn read(kind: StreamKind, message: &[u8]) -> Self {
        let Ok(Value::Object(message)) = serde_json::from_slice(message) else { return Self::Other };
        let code = match message.get("RequestCode") {
            Some(Value::Number(code)) => code.as_u64(),
            Some(Value::String(code)) => code.trim().parse().ok(),
            None => return Self::Other,
            Some(_) => None,
        };
        let (code, begins) = match code.map(|code| kind.subscribing(code)) {
            Some(Subscribing::Goodbye) => return Self::Goodbye,
            Some(Subscribing::Begins(code)) => (code, true),
            Some(Subscribing::Ends(code)) => (code, false),
            Some(Subscribing::Unknown) | None => return Self::Unknown,
        };
        let list = message.get("InstrumentList");
        let listed = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let listed = listed.iter().map(|one| (one.get("ExchangeSegment"), one.get("SecurityId"), false));
        let single = message.contains_key("SecurityId").then(|| {
            let (segment, id) = (message.get("ExchangeSegment"), message.get("SecurityId"));
            (segment, id, true)
        });
        let (mut instruments, mut is_whole) = (Vec::new(), list.is_none_or(Value::is_array));
        for (segment, id, single) in listed.chain(single) {
            match (text(segment), text(id)) {
                (Some(segment), Some(security_id)) => instruments.push((Instrument { segment, security_id }, single)),
                _ => is_whole = false,
            }
        }
        Self::Of { code, begins, instruments, is_whole }
    }
}

/// The message with this code for a list of instruments.
pub(super) fn list_message<'a>(code: u64, instruments: impl Iterator<Item = &'a Instrument>) -> Value {
    let list: Vec<_> =
        instruments.map(|one| json!({ "ExchangeSegment": *one.segment, "SecurityId": *one.security_id })).collect();
    json!({ "RequestCode": code, "InstrumentCount": list.len(), "InstrumentList": list })
}

/// One instrument in one mode.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wish {
    /// The code that subscribes to it.
    code: u64,
    instrument: Instrument,
}

/// How a wish came.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Later ones have higher numbers.
    turn: u64,
    /// At the message's top, as depth 200 has it, and not in a list.
    single: bool,
}

/// What a message of the caller's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It subscribes to something, or ends that, and is remembered.
    Subscription,
    /// It asks the broker to end the socket.
    Goodbye,
    /// It is something else.
    Other,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscriptions {
    kind: StreamKind,
    wishes: HashMap<Wish, Asked>,
    turns: u64,
    /// Something was asked for that is not remembered.
    is_partial: bool,
}

impl Subscriptions {
    pub(super) fn new(kind: StreamKind) -> Self {
        Self { kind, wishes: HashMap::new(), turns: 0, is_partial: false }
    }

    /// Does it know all that the caller has asked for?
    pub(super) const fn is_whole(&self) -> bool {
        !self.is_partial
    }

    /// How many instruments, each counted for every mode.
    pub(super) fn len(&self) -> usize {
        self.wishes.len()
    }

    /// Hear a message.
    pub(super) fn hear(&mut self, message: &[u8]) -> Meaning {
        match Request::read(self.kind, message) {
            Request::Other => Meaning::Other,
            Request::Goodbye => Meaning::Goodbye,
            // What it means nobody here knows, nor what is lost if it is not said again.
            Request::Unknown => {
                self.is_partial = true;
                Meaning::Other
            }
            Request::Of { code, begins, instruments, is_whole } => {
                self.is_partial |= begins && !is_whole;
                for (instrument, single) in instruments {
                    self.note(Wish { code, instrument }, begins, single);
                }
                Meaning::Subscription
            }
        }
    }

    fn note(&mut self, wish: Wish, begins: bool, single: bool) {
        if !begins {
            self.wishes.remove(&wish);
        } else if self.wishes.len() < self.kind.instruments() || self.wishes.contains_key(&wish) {
            self.turns += 1;
            self.wishes.insert(wish, Asked { turn: self.turns, single });
        } else {
            self.is_partial = true;
        }
    }

    /// The messages that ask for all of it again, in the order in which it was asked for.
    pub(super) fn messages(&self) -> Vec<Vec<u8>> {
        let mut wishes: Vec<_> = self.wishes.iter().collect();
        wishes.sort_unstable_by_key(|(_, asked)| asked.turn);
        let is_one = |(one, first): &(&Wish, &Asked), (other, next): &(&Wish, &Asked)| {
            one.code == other.code && !first.single && !next.single
        };
        let runs = wishes.chunk_by(is_one).flat_map(|run| run.chunks(StreamKind::INSTRUMENTS_A_MESSAGE));
        runs.map(|run| message(run).to_string().into_bytes()).collect()
    }
}

/// A text, or a number as one, that is no longer than what is remembered.
fn text(value: Option<&Value>) -> Option<Box<str>> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (text.len() <= LONGEST).then(|| text.into())
}

fn message(wishes: &[(&Wish, &Asked)]) -> Value {
    match wishes {
        [(Wish { code, instrument }, Asked { single: true, .. })] => {
            json!({ "RequestCode": code, "ExchangeSegment": *instrument.segment, "SecurityId": *instrument.security_id })
        }
        _ => {
            let code = wishes.first().map(|(wish, _)| wish.code).unwrap_or_default();
            list_message(code, wishes.iter().map(|(wish, _)| &wish.instrument))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(subscriptions: &mut Subscriptions, code: u64, ids: impl IntoIterator<Item = u32>) -> Meaning {
        let list: Vec<_> =
            ids.into_iter().map(|id| json!({ "ExchangeSegment": "NSE_EQ", "SecurityId": id.to_string() })).collect();
        let message = json!({ "RequestCode": code, "InstrumentCount": list.len(), "InstrumentList": list });
        subscriptions.hear(message.to_string().as_bytes())
    }

    /// Each message's code and ids.
    fn replayed(subscriptions: &Subscriptions) -> Vec<(u64, Vec<String>)> {
        let read = |message: Vec<u8>| {
            let message: Value = serde_json::from_slice(&message).unwrap();
            let list = message["InstrumentList"].as_array().unwrap();
            assert_eq!(message["InstrumentCount"], list.len());
            let ids = list.iter().map(|one| one["SecurityId"].as_str().unwrap().to_owned()).collect();
            (message["RequestCode"].as_u64().unwrap(), ids)
        };
        subscriptions.messages().into_iter().map(read).collect()
    }

    #[test]
    fn what_was_asked_for_is_asked_for_again_in_its_order_and_what_was_given_up_is_not() {
        let mut feed = Subscriptions::new(StreamKind::Feed);
        assert_eq!(say(&mut feed, 15, [1, 2, 3]), Meaning::Subscription);
        say(&mut feed, 21, [2]);
        say(&mut feed, 17, [4, 5]);
        say(&mut feed, 16, [1]);
        say(&mut feed, 18, [4, 9]);
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(replayed(&feed), [(15, ids(&["2", "3"])), (21, ids(&["2"])), (17, ids(&["5"]))]);
        // The last wish for an instrument may be the one that counts at the broker.
        say(&mut feed, 15, [2]);
        assert_eq!(replayed(&feed), [(15, ids(&["3"])), (21, ids(&["2"])), (17, ids(&["5"])), (15, ids(&["2"]))]);
        assert!(feed.is_whole());
    }

    #[test]
    fn five_thousand_go_in_messages_of_a_hundred_and_one_more_is_not_half_replayed() {
        let mut feed = Subscriptions::new(StreamKind::Feed);
        for start in 0..50 {
            say(&mut feed, 17, (0..100).map(|n| start * 100 + n));
        }
        let messages = replayed(&feed);
        assert!(messages.len() == 50 && messages.iter().all(|(code, ids)| *code == 17 && ids.len() == 100));
        say(&mut feed, 17, [7]);
        assert!(feed.is_whole(), "it is known already");
        say(&mut feed, 17, [5_000]);
        assert!(!feed.is_whole() && feed.len() == 5_000);
    }

    /// Documents, portal and SDK disagree about the code that ends depth, and about where depth 200 names its instrument.
    #[test]
    fn depth_is_replayed_in_the_form_it_came_in() {
        let single = br#"{"RequestCode":23,"ExchangeSegment":"NSE_FNO","SecurityId":74147}"#;
        let mut depth = Subscriptions::new(StreamKind::Depth200);
        assert_eq!(depth.hear(single), Meaning::Subscription);
        let again: Value = serde_json::from_slice(&depth.messages()[0]).unwrap();
        assert_eq!(again, json!({"RequestCode": 23, "ExchangeSegment": "NSE_FNO", "SecurityId": "74147"}));
        for ends in [24, 25] {
            let ends = single.iter().map(|byte| *byte as char).collect::<String>().replace("23", &ends.to_string());
            assert_eq!(depth.hear(ends.as_bytes()), Meaning::Subscription);
            assert_eq!(depth.len(), 0);
            depth.hear(single);
        }
        assert!(depth.is_whole());
        say(&mut depth, 23, [1]);
        assert!(!depth.is_whole(), "a second one");

        let mut depth = Subscriptions::new(StreamKind::Depth20);
        say(&mut depth, 23, 0..50);
        assert!(depth.is_whole());
        say(&mut depth, 23, [50]);
        assert!(!depth.is_whole());
    }

    #[test]
    fn what_is_no_subscription_is_told_apart() {
        let mut feed = Subscriptions::new(StreamKind::Feed);
        for other in [&b"ping"[..], b"{}", b"[1]", b"\xff", br#"{"LoginReq":{}}"#] {
            assert_eq!(feed.hear(other), Meaning::Other);
        }
        assert_eq!(feed.hear(br#"{"RequestCode":"12"}"#), Meaning::Goodbye);
        assert!(feed.is_whole());
        // A code of which nobody knows what would be lost.
        assert_eq!(feed.hear(br#"{"RequestCode":99}"#), Meaning::Other);
        assert!(!feed.is_whole());

        for unreadable in
            [&br#"[{"ExchangeSegment":"NSE_EQ"}]"#[..], br#"{"ExchangeSegment":"NSE_EQ","SecurityId":"1"}"#]
        {
            let mut feed = Subscriptions::new(StreamKind::Feed);
            feed.hear(&[&br#"{"RequestCode":15,"InstrumentList":"#[..], unreadable, b"}"].concat());
            assert!(!feed.is_whole());
        }
    }

    proptest! {
        /// However often they are replayed, and whatever they were: the same ones, and never too many in a message.
        #[test]
        fn a_replay_makes_the_same_wishes(
            said in proptest::collection::vec((prop_oneof![Just(15_u64), Just(16), Just(17), Just(18), Just(21), Just(22)],
                proptest::collection::vec(0_u32..300, 0..150)), 0..12),
        ) {
            let mut feed = Subscriptions::new(StreamKind::Feed);
            for (code, ids) in said {
                say(&mut feed, code, ids);
            }
            let mut again = Subscriptions::new(StreamKind::Feed);
            for message in feed.messages() {
                prop_assert_eq!(again.hear(&message), Meaning::Subscription);
            }
            prop_assert_eq!(replayed(&again), replayed(&feed));
            prop_assert!(replayed(&feed).iter().all(|(_, ids)| (1..=100).contains(&ids.len())));
        }
    }
}
