//! Bodies by value against readers written as simply as can be: serde's values, and a list of members that keeps both of two.

use std::fmt;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn digest(text: &str) -> [u8; 32] {
    JsonBody::read(text.as_bytes()).unwrap_or_else(|err| panic!("{text}: {err}")).value_sha256()
}

/// A program that repeats an order after a time-out serialises it anew; told "another body", it has two orders.
#[test]
fn a_repeat_that_is_serialised_anew_is_the_same_body() {
    let sent =
        r#"{"dhanClientId":"1000000001","transactionType":"BUY","quantity":5,"price":3310.50,"amo":false,"x":null}"#;
    for again in [
        r#"{"quantity":5,"price":3310.50,"transactionType":"BUY","dhanClientId":"1000000001","amo":false,"x":null}"#,
        r#"{ "quantity" : "5", "price" : "3310.5",
            "transactionType":"BUY", "amo":false,"x":null }"#,
        r#"{"transactionType":"BUY","quantity":5.0,"price":33105e-1,"amo":false,"x":null,"correlationId":""}"#,
        r#"{"transaction\u0054ype":"B\u0055Y","quantity":5,"price":3310.500,"amo":false,"x":null,"correlationId":"a"}"#,
    ] {
        assert_eq!(digest(sent), digest(again), "{again}");
    }
    for other in [
        r#"{"transactionType":"SELL","quantity":5,"price":3310.50,"amo":false,"x":null}"#,
        r#"{"transactionType":"BUY","quantity":50,"price":3310.50,"amo":false,"x":null}"#,
        r#"{"transactionType":"BUY","quantity":5,"price":3310.05,"amo":false,"x":null}"#,
        r#"{"transactionType":"BUY","quantity":5,"price":3310.5,"amo":true,"x":null}"#,
        r#"{"transactionType":"BUY","quantity":5,"price":3310.5,"amo":"false","x":null}"#,
        r#"{"transactionType":"BUY","quantity":5,"price":3310.5,"amo":false}"#,
        r#"{"transactionType":"BUY","quantity":-5,"price":3310.5,"amo":false,"x":null}"#,
        r#"{"transactionType":"BUY","quantity":5,"price":3310.5,"amo":false,"x":null,"y":1}"#,
        // Some servers take the first of two, some the last.
        r#"{"transactionType":"BUY","quantity":5,"quantity":6,"price":3310.5,"amo":false,"x":null}"#,
    ] {
        assert_ne!(digest(sent), digest(other), "{other}");
    }
    assert_ne!(digest(r#"{"a":1,"a":2}"#), digest(r#"{"a":2,"a":1}"#));
    assert_ne!(digest(r#"{"a":[1,[2]]}"#), digest(r#"{"a":[[1],2]}"#));
    assert_eq!(digest("{}"), JsonBody::none().value_sha256());
}

#[test]
fn the_orders_of_a_multi_order_are_read() {
    let text = r#"{"dhanClientId":"1","orders":[
        {"sequence":"1","correlationId":"m-1","transactionType":"BUY","securityId":11536,"quantity":"1","price":3310.50},
        {"sequence":2,"correlationId":" ","transactionType":"SELL","afterMarketOrder":true},
        {"correlationId":"m-3"}]}"#;
    let body = JsonBody::read(text.as_bytes()).unwrap();
    assert_eq!(body.ids_of_orders().collect::<Vec<_>>(), ["m-1".into(), "m-3".into()]);
    let terms = body.terms();
    let first = Terms {
        side: Some("BUY".into()),
        security: Some("11536".into()),
        quantity: Number::parse("1"),
        price: Number::parse("3310.5"),
        correlation_id: Some("m-1".into()),
        sequence: Some("1".into()),
        ..Terms::default()
    };
    assert_eq!((terms.len(), &terms[0]), (3, &first));
    assert!(terms[1].after_market && terms[1].correlation_id.is_none() && terms[1].sequence.as_deref() == Some("2"));
    // Two ids in one order are two orders to somebody.
    for twice in
        [r#"{"orders":[{"correlationId":"a","correlationid":"b"}]}"#, r#"{"correlationId":"a","CorrelationID":1}"#]
    {
        assert_eq!(JsonBody::read(twice.as_bytes()), Err(UnreadableBody::Twice("correlationId")));
    }
}

#[test]
fn a_placements_terms_are_what_it_asks_for() {
    let path = format!("{}/tests/fixtures/dhan/orders/place-order.request.json", env!("CARGO_MANIFEST_DIR"));
    let request: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = request["body"].to_string();
    let terms = &JsonBody::read(text.as_bytes()).unwrap().terms()[0];
    assert_eq!(terms.side.as_deref(), request["body"]["transactionType"].as_str());
    assert_eq!(terms.security.as_deref(), request["body"]["securityId"].as_str());
    assert_eq!(terms.quantity, Number::of(&request["body"]["quantity"]));
    assert_eq!(terms.price, Number::of(&request["body"]["price"]));
    assert!(terms.correlation_id.is_none());
    // The short way, or the long one would be every order's, and nobody see it.
    assert!(cursor::object(&text, false).is_some());
}

#[test]
fn another_encoding_is_named() {
    let wide = |big: bool| -> Vec<u8> {
        r#"{"a":1}"#.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let marked = [vec![0xff, 0xfe], wide(false)].concat();
    for body in [wide(true), wide(false), marked] {
        assert_eq!(JsonBody::read(&body), Err(UnreadableBody::Encoding("UTF-16")), "{body:?}");
    }
    assert_eq!(JsonBody::read(b"{\0\0\0\"\0\0\0"), Err(UnreadableBody::Encoding("UTF-32")));
    assert_eq!(JsonBody::read(b"{\"a\":\"\xe9\"}"), Err(UnreadableBody::Encoding("not UTF-8")));
}

#[test]
fn what_is_no_object_is_refused_and_nesting_ends() {
    for no in ["[]", "null", "\"\"", "1", "[{\"a\":1}]"] {
        assert_eq!(JsonBody::read(no.as_bytes()), Err(UnreadableBody::NotObject), "{no}");
    }
    for no in ["", " ", "a=b", "{\"a\":1}{}", "{\"a\":1", "{\"a\":01}"] {
        assert!(matches!(JsonBody::read(no.as_bytes()), Err(UnreadableBody::NotJson { .. })), "{no}");
    }
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(JsonBody::read(nested(DEPTH - 1).as_bytes()).is_ok());
    assert!(JsonBody::read(nested(DEPTH).as_bytes()).is_err() && JsonBody::read(nested(100_000).as_bytes()).is_err());
}

/// As serde reads an object: names without escapes, values as they stand.
#[derive(Debug, PartialEq)]
struct Raw(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut found = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    found.push((name, map.next_value::<Box<RawValue>>()?.get().to_owned()));
                }
                Ok(Raw(found))
            }
        }
        from.deserialize_map(Walk)
    }
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "\"[a-z0-9 {}:,\u{e9}\u{1f}\\\\\"]{0,6}\"",
        "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
        prop_oneof![Just("true"), Just("false"), Just("null"), Just("tru"), Just("[1]"), Just("{\"a\":[{}]}")]
            .prop_map(str::to_owned),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("dhanClientId".to_owned()),
        Just("correlationId".to_owned()),
        Just("correlation\\u0049d".to_owned()),
        "[a-z]{0,5}",
    ]
}

/// A value and the ways to spell it.
fn spellings(value: &Value, how: u64) -> String {
    match value {
        Value::Number(number) => {
            let number = Number::parse(&number.to_string()).unwrap().to_string();
            match (how % 4, number.contains('.')) {
                (0, _) => format!("\"{number}\""),
                (1, true) => format!("{number}00"),
                (1, false) => format!("{number}.0"),
                (2, false) => format!("{number}e0"),
                _ => number,
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| spellings(item, how / 3)).collect();
            format!("[{}]", items.join(if how.is_multiple_of(2) { "," } else { " ,\n" }))
        }
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(name, value)| format!("\"{name}\" :{}", spellings(value, how / 2))).collect();
            let by = usize::try_from(how).unwrap() % members.len().max(1);
            members.rotate_left(by);
            format!("{{{}}}", members.join(","))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-1000_i64..1000).prop_map(Value::from),
        (-1000_i64..1000).prop_map(|n| Value::from(n as f64 / 20.0)),
        "[A-Z\\\\\" é]{0,4}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", json(), 0..5).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// The same but for how numbers are held.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Number(_), Value::Number(_)) => Number::of(one) == Number::of(other),
        _ => one == other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    /// Two readers that see two things are how one account's order becomes another's.
    #[test]
    fn what_is_read_here_serde_reads_too(
        members in prop::collection::vec((name(), value(), "[ \n\t]{0,2}"), 0..5),
        noise in prop::option::of((any::<prop::sample::Index>(), "[ ,:{}\\[\\]\"\\\\0a]")),
    ) {
        let inner: Vec<String> = members.iter().map(|(n, v, s)| format!("{s}\"{n}\"{s}:{s}{v}{s}")).collect();
        let mut text = format!("{{{}}}", inner.join(","));
        if let Some((at, noise)) = noise {
            let at = text.char_indices().map(|(at, _)| at).nth(at.index(text.chars().count())).unwrap();
            text.insert_str(at, &noise);
        }
        let told = |members: Vec<Member<'_>>| {
            Raw(members.into_iter().map(|m| (m.name.into_owned(), m.raw.to_owned())).collect())
        };
        let serde = serde_json::from_str::<Raw>(&text);
        if let Some(found) = cursor::object(&text, false) {
            prop_assert_eq!(&told(found), serde.as_ref().unwrap(), "{}", text);
        }
        if let Ok(serde) = serde {
            prop_assert_eq!(cursor::object(&text, true).map(told), Some(serde), "{}", text);
        }
        prop_assert_eq!(JsonBody::read(text.as_bytes()).map(|_| ()).is_err_and(|err| !matches!(err, UnreadableBody::Twice(_))),
            serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() || !text.trim_start().starts_with('{'), "{}", text);
    }

    /// One value, one digest, however it is spelt.
    #[test]
    fn equal_values_have_one_digest(value in object(), how in any::<u64>(), else_how in any::<u64>()) {
        prop_assert_eq!(digest(&spellings(&value, how)), digest(&spellings(&value, else_how)));
    }

    /// Or another order would be taken for a repeat.
    #[test]
    fn different_values_have_two_digests(one in object(), other in object()) {
        prop_assert_eq!(digest(&one.to_string()) == digest(&other.to_string()), same(&one, &other), "{} {}", one, other);
    }

    /// The short way to a number finds what the long way finds.
    #[test]
    fn a_number_is_what_the_terms_say(text in prop_oneof!["-?[0-9]{1,6}(\\.[0-9]{0,5})?", "[0-9.eE+-]{0,8}", "[0-9]{38,42}(\\.[0-9]{0,3})?"]) {
        prop_assert_eq!(value::number(&text).map(Cow::into_owned), Number::parse(&text).map(String::from), "{}", text);
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(body) = JsonBody::read(&body) {
            let _ = (body.value_sha256(), body.terms(), body.ids_of_orders().count());
        }
    }
}
