//! Who is asked for what and hears what, without a socket.

use serde_json::{Value, json};

use super::*;

const TICKER: u64 = 15;
const QUOTE: u64 = 17;
const FULL: u64 = 21;

fn stocks(ids: impl IntoIterator<Item = u32>) -> Vec<Instrument> {
    ids.into_iter().map(|id| Instrument { segment: "NSE_EQ".into(), security_id: id.to_string().into() }).collect()
}

fn packet(code: u8, id: u32) -> Vec<u8> {
    [&[code, 12, 0, 1], &id.to_le_bytes()[..], &[9, 9, 9, code]].concat()
}

/// What is said where: the socket, the code and the ids.
fn says(steps: &[Step]) -> Vec<(SocketId, u64, Vec<String>)> {
    let read = |step: &Step| {
        let Step::Say(socket, message) = step else { return None };
        let message: Value = serde_json::from_slice(message).unwrap();
        let list = message["InstrumentList"].as_array().unwrap();
        assert_eq!(message["InstrumentCount"], json!(list.len()));
        let ids = list.iter().map(|one| one["SecurityId"].as_str().unwrap().to_owned()).collect();
        Some((*socket, message["RequestCode"].as_u64().unwrap(), ids))
    };
    steps.iter().filter_map(read).collect()
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn to(caller: Caller, bytes: &[u8]) -> (Whose, Vec<u8>) {
    (Whose::Caller(caller), bytes.to_vec())
}

fn sorted(mut given: Vec<(Whose, Vec<u8>)>) -> Vec<(Whose, Vec<u8>)> {
    given.sort_by_key(|(whose, _)| match whose {
        Whose::Everybody => None,
        Whose::Caller(caller) => Some(*caller),
    });
    given
}

#[test]
fn what_two_callers_want_is_subscribed_to_once_and_given_up_after_the_last() {
    let (mut interests, first) = Interests::new();
    let steps = interests.subscribe(1, TICKER, &stocks([10, 11])).unwrap();
    assert_eq!(says(&steps), [(first, 15, ids(&["10", "11"]))]);
    interests.deliver(first, &packet(2, 11));
    let steps = interests.subscribe(2, TICKER, &stocks([11, 12])).unwrap();
    assert_eq!(says(&steps), [(first, 15, ids(&["12"]))]);
    // Nothing has come of it: the broker may have dropped it without a word.
    assert_eq!(says(&interests.subscribe(2, TICKER, &stocks([11, 12])).unwrap()), [(first, 15, ids(&["12"]))]);

    assert_eq!(says(&interests.unsubscribe(1, TICKER, &stocks([10, 11]))), [(first, 16, ids(&["10"]))]);
    assert_eq!(interests.unsubscribe(1, TICKER, &stocks([11])), [], "it has none of it");
    assert_eq!(interests.unsubscribe(2, QUOTE, &stocks([11])), [], "not in that mode");
    assert_eq!(interests.callers(first), [2]);
    let mut left = says(&interests.leave(2));
    left[0].2.sort();
    assert_eq!(left, [(first, 16, ids(&["11", "12"]))]);
    assert_eq!(interests.callers(first), [0; 0]);
}

/// What one caller spells in its own way is not asked for in that way for all.
#[test]
fn the_broker_is_asked_in_its_own_spelling() {
    let (mut interests, first) = Interests::new();
    let spelled = |id: &str| [Instrument { segment: "NSE_EQ".into(), security_id: id.into() }];
    assert_eq!(says(&interests.subscribe(1, TICKER, &spelled(" 010")).unwrap()), [(first, 15, ids(&["10"]))]);
    assert_eq!(interests.deliver(first, &packet(2, 10)), [to(1, &packet(2, 10))]);
    interests.subscribe(2, TICKER, &spelled("10")).unwrap();
    assert_eq!(interests.unsubscribe(1, TICKER, &spelled("10")), []);
    assert_eq!(says(&interests.unsubscribe(2, TICKER, &spelled("+10"))), [(first, 16, ids(&["10"]))]);
}

#[test]
fn a_packet_goes_to_whoever_wants_its_instrument_and_to_nobody_else() {
    let (mut interests, first) = Interests::new();
    interests.subscribe(1, TICKER, &stocks([10, 11])).unwrap();
    interests.subscribe(2, TICKER, &stocks([11, 12])).unwrap();
    let [ten, eleven, twelve] = [10, 11, 12].map(|id| packet(2, id));
    assert_eq!(interests.deliver(first, &ten), [to(1, &ten)]);
    assert_eq!(interests.deliver(first, &eleven), [to(1, &eleven), to(2, &eleven)]);
    // Several in one message stay together.
    let given = interests.deliver(first, &[ten.clone(), twelve.clone(), eleven.clone()].concat());
    assert_eq!(given, [to(1, &[ten, eleven.clone()].concat()), to(2, &[twelve, eleven].concat())]);
    assert_eq!(interests.deliver(first, &packet(2, 99)), [], "nobody asked");
    // Of no instrument: everybody's.
    for code in [7, 50] {
        assert_eq!(interests.deliver(first, &packet(code, 0)), [(Whose::Everybody, packet(code, 0))]);
    }
    // Of nobody knows which: theirs who want something of this socket, and what could be read is as it was.
    let broken = [packet(2, 10), b"\x02\xff\xff".to_vec()].concat();
    assert_eq!(sorted(interests.deliver(first, &broken)), [to(1, &broken), to(2, b"\x02\xff\xff")]);
}

/// The broker may have more segments than are known here.
#[test]
fn an_instrument_without_a_number_gets_what_nobody_else_wants() {
    let (mut interests, first) = Interests::new();
    let strange = [Instrument { segment: "NSE_COMM".into(), security_id: "77".into() }];
    interests.subscribe(1, TICKER, &strange).unwrap();
    interests.subscribe(2, TICKER, &stocks([10])).unwrap();
    let unknown = [&[2, 12, 0, 9], &77_u32.to_le_bytes()[..], &[0; 4]].concat();
    assert_eq!(interests.deliver(first, &unknown), [to(1, &unknown)]);
    assert_eq!(interests.deliver(first, &packet(2, 10)), [to(2, &packet(2, 10))]);
    interests.unsubscribe(1, TICKER, &strange);
    assert_eq!(interests.deliver(first, &unknown), []);
}

#[test]
fn who_joins_late_gets_what_came_last_of_each_kind() {
    let (mut interests, first) = Interests::new();
    interests.subscribe(1, FULL, &stocks([10])).unwrap();
    for code in [6, 8, 5] {
        interests.deliver(first, &packet(code, 10));
    }
    let mut last = packet(8, 10);
    last[9] = 1;
    interests.deliver(first, &last);
    let steps = interests.subscribe(2, FULL, &stocks([10])).unwrap();
    let given: Vec<_> = [packet(6, 10), last, packet(5, 10)].into_iter().map(|one| Step::Give(one.into())).collect();
    assert_eq!(steps, given);
    // One of another mode was still on its way, and is no price of this one.
    interests.deliver(first, &packet(2, 10));
    assert_eq!(interests.subscribe(3, FULL, &stocks([10])).unwrap().len(), 3);
    interests.leave(3);
    // Nothing is kept of what nobody wanted for a while.
    interests.leave(1);
    interests.leave(2);
    assert_eq!(says(&interests.subscribe(3, FULL, &stocks([10])).unwrap()).len(), 1);
}

/// Whether the broker sends both modes on one socket, or only the last, nobody knows.
#[test]
fn a_second_mode_of_an_instrument_goes_by_a_socket_of_its_own_until_nobody_wants_it() {
    let (mut interests, first) = Interests::new();
    interests.subscribe(1, TICKER, &stocks([10])).unwrap();
    let steps = interests.subscribe(2, FULL, &stocks([10, 11])).unwrap();
    let Step::Open(second) = steps[0] else { panic!("{steps:?}") };
    let mut said = says(&steps);
    said.sort();
    assert_eq!(said, [(first, 21, ids(&["11"])), (second, 21, ids(&["10"]))]);
    assert_eq!(interests.deliver(first, &packet(2, 10)), [to(1, &packet(2, 10))]);
    assert_eq!(interests.deliver(second, &packet(8, 10)), [to(2, &packet(8, 10))]);
    assert_eq!(interests.deliver(second, b"\x08"), [to(2, b"\x08")]);
    // One caller may want both.
    assert_eq!(interests.subscribe(2, TICKER, &stocks([10])).unwrap(), [Step::Give(packet(2, 10).into())]);

    let steps = interests.unsubscribe(2, FULL, &stocks([10, 11]));
    assert_eq!(steps.last(), Some(&Step::Close(second)));
    assert_eq!(interests.deliver(second, &packet(8, 10)), [], "it is over");
    assert_eq!(interests.ended(second), [0; 0]);
    assert_eq!(interests.first(), Some(first));
}

#[test]
fn more_than_a_socket_may_have_goes_by_the_next_and_more_than_all_may_have_is_refused() {
    let (mut interests, first) = Interests::new();
    let most = u32::try_from(StreamKind::Feed.instruments()).unwrap();
    let steps = interests.subscribe(1, QUOTE, &stocks(0..most + 1)).unwrap();
    let said = says(&steps);
    assert!(said.iter().all(|(_, _, ids)| ids.len() <= 100));
    let on_first: usize = said.iter().filter(|(socket, ..)| *socket == first).map(|(_, _, ids)| ids.len()).sum();
    assert_eq!((on_first, said.len()), (5000, 51));
    interests.subscribe(1, QUOTE, &stocks(0..5 * most)).unwrap();
    assert_eq!(interests.subscribe(2, QUOTE, &stocks([5 * most])), Err(NoRoom));
    assert!(interests.subscribe(2, QUOTE, &stocks([7])).is_ok(), "what is there already is for everybody");
    assert_eq!(interests.subscribe(2, TICKER, &stocks([7])), Err(NoRoom), "and no other mode");
}

#[test]
fn whoever_wanted_something_of_a_socket_that_ended_is_known() {
    let (mut interests, first) = Interests::new();
    interests.subscribe(1, TICKER, &stocks([10, 12])).unwrap();
    let steps = interests.subscribe(2, FULL, &stocks([10, 11])).unwrap();
    let Step::Open(second) = steps[0] else { panic!("{steps:?}") };
    interests.subscribe(3, FULL, &stocks([10])).unwrap();
    assert_eq!(interests.ended(second), [2, 3]);
    assert_eq!(interests.ended(second), [0; 0], "once");
    assert_eq!(interests.ended(first), [1, 2]);
    assert_eq!(interests.first(), None);
}

/// Whatever the broker sends, what is kept of it is bounded.
#[test]
fn what_is_kept_is_bounded() {
    let (mut interests, first) = Interests::new();
    interests.subscribe(1, TICKER, &stocks([10])).unwrap();
    for code in (0..=255).filter(|code| ![7, 50].contains(code)) {
        interests.deliver(first, &packet(code, 10));
    }
    let long = [&[200, 0x10, 0x27, 1], &10_u32.to_le_bytes()[..], &[0; 9992]].concat();
    assert_eq!(interests.deliver(first, &long), [to(1, &long)]);
    assert_eq!(interests.subscribe(2, TICKER, &stocks([10])).unwrap().len(), CODES);
}
