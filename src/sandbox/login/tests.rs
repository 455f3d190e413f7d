//! Login at the built-in broker.

use super::*;
use std::time::Duration;

const SECRET: &str = "JBSWY3DPEHPK3PXP";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_401_000 + seconds).unwrap()
}

fn account() -> Account {
    Account::new(ClientId::parse("1000000001").unwrap(), "T", "123456", SECRET)
}

/// A gateway that retries inside the window keeps it shut for ever; one that
/// counts from its last token alone would not notice.
#[test]
fn every_attempt_begins_the_window_again_unless_told_otherwise() {
    let mut rules = LoginRules::default();
    let mut state = State::default();
    let tries = |state: &mut State, rules: &LoginRules| {
        [0, 100, 219, 340].map(|second| state.attempt(rules, at(second)).is_ok())
    };
    assert_eq!(tries(&mut state, &rules), [true, false, false, true]);
    assert_eq!(state.attempts, 4);

    rules.window = Window::LastToken;
    let mut state = State::default();
    assert_eq!(tries(&mut state, &rules), [true; 4], "no token was made");
    state.counted_from = Some(at(0));
    assert_eq!(tries(&mut state, &rules), [false, false, true, true]);

    rules.cooldown = Duration::ZERO;
    assert!(state.attempt(&rules, at(0)).is_ok());
}

/// The account that this happens to needs a person; the count is what a gateway
/// must stay below.
#[test]
fn three_refusals_in_a_row_lock_and_a_right_one_begins_the_count_again() {
    let account = account();
    let mut state = State::default();
    let code = |second| totp::code(SECRET, at(second)).unwrap();
    let mut check = |pin: &str, code: &str, second| {
        let outcome = state.check(&account, &Given { pin, code }, 3, at(second));
        (outcome.err(), state.locked)
    };
    assert_eq!(check("999999", &code(0), 0), (Some(Refusal::Pin), false));
    assert_eq!(check("123456", "", 0), (Some(Refusal::Totp), false));
    assert_eq!(check("123456", &code(0), 0), (None, false));
    assert_eq!(check("123456", &code(0), 0), (Some(Refusal::Totp), false), "used");
    assert_eq!(check("", &code(0), 0), (Some(Refusal::Pin), false));
    assert_eq!(check("123456", "abcdef", 0), (Some(Refusal::Totp), true));
    assert_eq!(check("123456", &code(60), 60), (Some(Refusal::Pin), true), "even when all is right");
}

/// An account without a PIN or secret must not be open to an empty one.
#[test]
fn an_account_without_credentials_cannot_log_in() {
    let mut account = account();
    account.totp_secret = String::new();
    let given = Given { pin: "123456", code: "000000" };
    assert_eq!(State::default().check(&account, &given, 3, at(0)), Err(Refusal::Totp));
    account.pin = String::new();
    assert_eq!(State::default().check(&account, &Given { pin: "", code: "" }, 3, at(0)), Err(Refusal::Pin));
}

/// Browsers escape what people type.
#[test]
fn forms_are_read_as_browsers_write_them() {
    let form = "phone=%2B91+98&pin=12%3456&broken=%4&totp=";
    assert_eq!(form_value(form, "phone").as_deref(), Some("+91 98"));
    assert_eq!(form_value(form, "pin").as_deref(), Some("12456"));
    assert_eq!(form_value(form, "broken").as_deref(), Some("%4"));
    assert_eq!(form_value(form, "totp").as_deref(), Some(""));
    assert_eq!(form_value(form, "none"), None);
}
