//! The words and shapes of states, and times as people in India read them. A colour never stands alone.

use std::time::Duration;

use jiff::Timestamp;

use crate::accounts::overview::Trouble;
use crate::domain::Outcome;
use crate::domain::india::local;

/// Before what is good.
pub(super) const GOOD: &str = "✔";
/// Before what is wrong.
pub(super) const BAD: &str = "✘";

/// Before what comes next, and is neither.
pub(super) const NEXT: &str = "→";
/// Before what nobody could tell.
pub(super) const UNKNOWN: &str = "?";
/// Before what is under way.
pub(super) const UNDER_WAY: &str = "…";

/// `24 Nov`, with the year when it is another's.
pub(super) fn day(at: Timestamp) -> String {
    let (then, now) = (local(at), local(Timestamp::now()));
    then.strftime(if then.year() == now.year() { "%-d %b" } else { "%-d %b %Y" }).to_string()
}

/// `09:02:30 IST`, for a moment that somebody waits for.
pub(super) fn exact_clock(at: Timestamp) -> String {
    local(at).strftime("%H:%M:%S IST").to_string()
}

/// `30 Nov 09:02:30 IST`; without the day when it is today's.
pub(super) fn day_and_exact_clock(at: Timestamp) -> String {
    let (then, now) = (local(at), local(Timestamp::now()));
    if then.date() == now.date() { exact_clock(at) } else { then.strftime("%-d %b %H:%M:%S IST").to_string() }
}

/// `8 Dec` for a day of the API, `2026-12-08`; the text itself where it is none.
pub(super) fn civil_day(text: &str) -> String {
    match text.parse::<jiff::civil::Date>() {
        Ok(day) => {
            let same = day.year() == local(Timestamp::now()).year();
            day.strftime(if same { "%-d %b" } else { "%-d %b %Y" }).to_string()
        }
        Err(_) => text.to_owned(),
    }
}

/// How long something took, from microseconds: `740 µs`, `1.2 ms`, `13 ms`, `5.0 s`.
pub(super) fn took(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{} ms", us / 1_000, us / 100 % 10),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// `09:02 IST`.
pub(super) fn clock(at: Timestamp) -> String {
    local(at).strftime("%H:%M IST").to_string()
}

/// `30 Nov 09:02 IST`; without the day when it is today's.
pub(super) fn day_and_clock(at: Timestamp) -> String {
    let (then, now) = (local(at), local(Timestamp::now()));
    if then.date() == now.date() { clock(at) } else { then.strftime("%-d %b %H:%M IST").to_string() }
}

/// `21 h 4 min`, to the coarser two units that matter.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// About how long: `2 min`.
pub(super) fn roughly(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds @ 60..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1800) / 3600),
    }
}

/// `10,000`.
pub(super) fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long from now until `at`; nothing once it has passed.
pub(super) fn left(at: Timestamp) -> Option<String> {
    let left = Duration::try_from(at.duration_since(Timestamp::now())).ok()?;
    Some(span(left))
}

/// A text as a sentence: with a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let mut sentence: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    if !sentence.ends_with(['.', '!', '?', ':']) {
        sentence.push('.');
    }
    sentence
}

/// How long it is since `at`: `10 s`.
pub(super) fn since(at: Timestamp) -> String {
    span(Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default())
}

/// A leg's role as a heading.
pub(super) fn role(role: &str) -> &'static str {
    if role == "primary" { "Primary" } else { "Secondary" }
}

/// What became of an order write.
pub(super) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Executed => "executed",
        Outcome::Rejected => "rejected",
        Outcome::NotSent => "not sent",
        Outcome::Unknown => "unknown",
    }
}

/// A token's state.
pub(super) fn token_state(state: &str) -> &'static str {
    match state {
        "absent" => "no token",
        "minting" => "logging in",
        "live" => "live",
        "refreshing" => "being renewed",
        "waiting" => "waiting for its next try",
        "needs_person" => "needs you",
        _ => "unknown",
    }
}

/// A trouble, as a filter.
pub(super) const fn trouble(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NeedsPerson => "Need you",
        Trouble::NotAlone => "Not alone",
        Trouble::Halted => "Halted",
        Trouble::LegTripped => "Leg tripped",
        Trouble::NoToken => "No token",
        Trouble::ValidationFailed => "Validation failed",
        Trouble::NotValidated => "Not validated",
    }
}

/// What is wrong with an account, the worst of it.
pub(super) fn problem(problem: &str) -> &'static str {
    match problem {
        "needs_person" => "Needs you: see Login and Addresses.",
        "not_alone" => "Something else logs in or places orders for it.",
        "halted" => "Halted.",
        "leg_tripped" => "One of its addresses is out of use.",
        "no_token" => "Not logged in.",
        "validation_failed" => "The last validation failed: see Checks.",
        "not_validated" => "Not validated since the gateway was started.",
        _ => "Something is wrong: see below.",
    }
}

/// A leg's state.
pub(super) fn leg_state(state: &str) -> &'static str {
    match state {
        "admits" => "in use",
        "tripped" => "out of use",
        "probing" => "being tried again",
        _ => "unknown",
    }
}

/// Why a leg is out of use.
pub(super) fn leg_reason(reason: &str) -> &'static str {
    match reason {
        "bind_failed" => "this machine cannot send from the address",
        "connect_failed" => "no connection to Dhan from it",
        "connect_timed_out" => "Dhan does not answer from it",
        "wrong_source" => "the connection left from another address",
        "tls_failed" | "tls_timed_out" => "no safe connection to Dhan from it",
        "http_failed" => "Dhan's reply could not be read",
        "address_gone" => "the address is not on this machine",
        "no_reply" => "a request from it was not answered",
        "source_refused" => "Dhan refuses the address",
        "orders_not_allowed" => "Dhan takes no orders from it",
        "seen_as_another" => "Dhan sees another address",
        _ => "see the log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_units_that_matter() {
        let told = [0, 59, 60, 3599, 3600, 75_840, 86_400, 100_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(told, ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "21 h 4 min", "1 d 0 h", "1 d 3 h"]);
    }

    #[test]
    fn numbers_and_rough_times_can_be_read_at_a_glance() {
        assert_eq!([0, 999, 1000, 10_000, 1_234_567].map(number), ["0", "999", "1,000", "10,000", "1,234,567"]);
        assert_eq!([0, 59, 100, 7000].map(|s| roughly(Duration::from_secs(s))), ["1 s", "59 s", "2 min", "2 h"]);
    }

    #[test]
    fn a_text_becomes_a_sentence() {
        assert_eq!(sentence("the clock is off"), "The clock is off.");
        assert_eq!([sentence("Why?"), sentence("")], ["Why?", "."]);
    }

    #[test]
    fn what_took_long_is_told_in_the_unit_that_matters() {
        let told = [0, 999, 1_000, 9_990, 10_000, 999_999, 5_004_601].map(took);
        assert_eq!(told, ["0 µs", "999 µs", "1.0 ms", "9.9 ms", "10 ms", "999 ms", "5.0 s"]);
        assert_eq!(civil_day("2020-12-08"), "8 Dec 2020");
        assert_eq!(civil_day("soon"), "soon");
    }

    #[test]
    fn clocks_are_india_s() {
        assert_eq!(clock("2026-11-30T03:32:00Z".parse().unwrap()), "09:02 IST");
        assert_eq!(day_and_clock("2020-01-01T20:00:00Z".parse().unwrap()), "2 Jan 01:30 IST");
    }
}
