//! Checks on answers that are made up; `tests/broker_calls.rs` has them asked for.

use data_encoding::BASE64URL_NOPAD;

use super::*;
use crate::domain::{ClientId, SourceAddr};
use crate::tokens::client::{Holds, Slot};

fn subject(consumer: &str, ends: &str, automatic: bool) -> AccountSnapshot {
    let claims = format!(r#"{{"exp":1,"dhanClientId":"1000000001","tokenConsumerType":"{consumer}"}}"#);
    let text = format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()));
    let token = LiveToken::new(text.into(), at(ends), "manual".into(), 1).unwrap();
    let client_id = ClientId::parse("1000000001").unwrap();
    AccountSnapshot { client_id, legs: None, token: Ok(Arc::new(token)), automatic, seen: Arc::default() }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seen(detected: Option<&str>, allowed: Option<bool>) -> Registered {
    Registered {
        detected: detected.map(|text| text.parse().unwrap()),
        orders_allowed: allowed,
        ..Registered::default()
    }
}

/// A token that ends while the market is open ends an account's day, unless it is
/// replaced before.
#[test]
fn a_token_may_not_end_in_market_hours_unless_the_gateway_replaces_it_before() {
    // Two days of trading in a row. 04:30 UTC is 10:00 in India.
    let day = (1..=28)
        .map(|day| jiff::civil::date(2026, 9, day))
        .find(|day| calendar::trading_day(*day) && calendar::trading_day(day.yesterday().unwrap()))
        .unwrap();
    let (inside, evening) = (format!("{day}T04:30:00Z"), format!("{day}T20:30:00Z"));
    let (day_before, early, late) = (
        at(&format!("{}T06:00:00Z", day.yesterday().unwrap())),
        at(&format!("{day}T01:00:00Z")),
        at(&format!("{day}T03:20:00Z")),
    );
    for (consumer, ends, automatic, now, ok) in [
        ("APP", &evening, false, day_before, true),
        // Pasted in the morning, it ends in the next: there is a day to paste another.
        ("APP", &inside, false, day_before, true),
        ("APP", &inside, false, early, false),
        ("APP", &inside, true, day_before, true),
        ("SELF", &inside, false, day_before, true),
        ("APP", &inside, true, early, true),
        ("APP", &inside, true, late, false),
        ("SELF", &inside, false, late, false),
    ] {
        let check = token_expiry(&subject(consumer, ends, automatic), now);
        assert_eq!(check.ok(), ok, "{consumer} {automatic} {now}: {}", check.detail);
        assert!(check.detail.contains(" IST"), "{}", check.detail);
    }
}

/// Addresses in another spelling are the same; what is not said is not held against an account, nor for it.
#[test]
fn a_leg_is_what_the_broker_sees() {
    let own: Ipv6Addr = "2001:db8::1".parse().unwrap();
    for (answer, verdict, says) in [
        (Ok(seen(Some("2001:0DB8:0:0::1"), None)), CheckVerdict::Good, "2001:db8::1"),
        (Ok(seen(Some("2001:db8::2"), None)), CheckVerdict::Failed, "as 2001:db8::2, and refuses orders from there"),
        (Ok(seen(Some("203.0.113.1"), None)), CheckVerdict::Failed, "203.0.113.1"),
        (Ok(seen(None, None)), CheckVerdict::Unknown, "did not say which address it saw"),
        (Ok(seen(Some("10.0.0.7"), None)), CheckVerdict::Unknown, "did not say which address it saw"),
        (Err("no line".to_owned()), CheckVerdict::Unknown, "not proved as what the broker sees it: no line"),
    ] {
        let check = leg("leg_primary", Role::Primary, Some(own), &answer);
        assert!(check.verdict == verdict && check.detail.contains(says), "{check:?}");
    }
    assert!(!leg("leg_primary", Role::Primary, None, &Err("not asked".to_owned())).ok());
}

#[test]
fn registration_and_permission_are_told_for_both_legs() {
    let address = |text: &str| SourceAddr::parse(text).unwrap();
    let pair = Pair { primary: address("2001:db8::1"), secondary: address("2001:db8::2") };
    let holds = |text: &str| Slot { holds: Holds::Address(text.parse().unwrap()), change_allowed_from: None };
    let asked = |primary: AddressReply, secondary: AddressReply| BrokerReplies {
        profile: Err(String::new()),
        primary,
        secondary,
        lines: None,
        skew: None,
    };
    let slots = |primary, secondary| Registered { primary, secondary, ..Registered::default() };
    let unknown = || Err("no line".to_owned());

    let good = slots(holds("2001:db8::1"), holds("2001:db8::2"));
    assert!(registration(Some(pair), &asked(Ok(good.clone()), unknown()), "alpha").ok());
    assert!(registration(Some(pair), &asked(unknown(), Ok(good)), "alpha").ok(), "one leg's answer is enough");
    let swapped =
        registration(Some(pair), &asked(Ok(slots(holds("2001:db8::2"), holds("2001:db8::1"))), unknown()), "alpha");
    assert!(
        !swapped.ok()
            && swapped.detail.contains("sixgate register alpha")
            && swapped.detail.contains("primary: the broker has 2001:db8::2 registered, the account uses 2001:db8::1"),
        "{swapped:?}"
    );
    let half = registration(
        Some(pair),
        &asked(Ok(slots(holds("2001:db8::1"), Slot { holds: Holds::Empty, ..Slot::default() })), unknown()),
        "alpha",
    );
    assert!(!half.ok() && half.detail.contains("nothing"), "{half:?}");
    let silent = registration(Some(pair), &asked(Ok(slots(holds("2001:db8::1"), Slot::default())), unknown()), "alpha");
    assert!(silent.verdict == CheckVerdict::Unknown && silent.detail.contains("does not say"), "{silent:?}");
    assert!(!registration(Some(pair), &asked(unknown(), unknown()), "alpha").ok());
    assert!(!registration(None, &asked(unknown(), unknown()), "NAME").ok());

    let allowed = |one, two| orders_allowed(&asked(Ok(seen(None, one)), Ok(seen(None, two))), "alpha");
    assert!(allowed(Some(true), Some(true)).ok());
    assert_eq!(allowed(Some(true), None).verdict, CheckVerdict::Unknown, "what is not said is neither a yes nor a no");
    let no = allowed(Some(true), Some(false));
    assert!(
        !no.ok()
            && no.detail.contains("secondary: the broker does not let orders in from this address")
            && no.detail.contains("sixgate register alpha"),
        "{no:?}"
    );
    assert!(!orders_allowed(&asked(Ok(seen(None, Some(true))), unknown()), "alpha").ok());
}

#[test]
fn a_clock_that_is_two_seconds_off_is_told() {
    for (ms, ok, says) in [
        (0, true, "0.0 s ahead of"),
        (-300, true, "0.3 s behind this"),
        (2_000, false, "2.0 s ahead of"),
        (-61_500, false, "61.5 s behind this host's: timedatectl set-ntp true"),
    ] {
        let check = clock(Some(SignedDuration::from_millis(ms)));
        assert!(check.ok() == ok && check.detail.contains(says), "{check:?}");
    }
    assert_eq!(clock(None).verdict, CheckVerdict::Unknown);
}

/// An empty list of checks must not read as a good one.
#[test]
fn nothing_looked_at_is_not_all_right() {
    assert!(!all_ok(&[]));
    assert!(!all_ok(&[check("a", true, String::new()), check("b", false, String::new())]));
    assert!(all_ok(&[check("a", true, String::new())]));
}
