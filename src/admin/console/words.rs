//! The words and shapes of states, and times as people in India read them. A colour never stands alone.

use std::time::Duration;

use jiff::Timestamp;

use crate::accounts::overview::Trouble;
use crate::domain::india::{instant, local};
use crate::domain::{Outcome, grouped};

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
    if is_today(at) { exact_clock(at) } else { full(at) }
}

/// `30 Nov 09:02:30 IST`, whenever it is read: on paper nobody knows which day was today.
pub(super) fn full(at: Timestamp) -> String {
    format!("{} {}", day(at), exact_clock(at))
}

fn is_today(at: Timestamp) -> bool {
    local(at).date() == local(Timestamp::now()).date()
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
    if is_today(at) { clock(at) } else { format!("{} {}", day(at), clock(at)) }
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
    grouped(number as u128)
}

/// `1 line`, `10,000 lines`.
pub(super) fn counted(count: impl TryInto<u128>, one: &str) -> String {
    crate::domain::counted(count, one)
}

/// A moment in a text of the API or of Dhan's as people read it; any other text as it is.
pub(super) fn readable(text: &str) -> String {
    let of_india = || text.parse::<jiff::civil::DateTime>().ok().filter(|_| text.contains(':')).map(instant);
    match text.parse::<Timestamp>().ok().or_else(of_india) {
        Some(at) => day_and_exact_clock(at),
        None => text.to_owned(),
    }
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

/// An operator with the role, where the name does not say that already.
pub(super) fn operator(name: &str, role: &str) -> String {
    if name == role { name.to_owned() } else { format!("{name} ({role})") }
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

/// A field of the API, by its label in a form.
pub(super) fn field(name: &str) -> &str {
    match name {
        "platform" => "How it logs in",
        "nickname" => "Nickname",
        "name" => "Name",
        "client_id" => "Dhan client id",
        "pin" => "PIN",
        "totp_secret" => "TOTP key",
        "phone" => "Phone",
        "api_key" => "API key",
        "api_secret" => "API secret",
        "access_token" => "Access token",
        "primary" => "Primary",
        "secondary" => "Secondary",
        "remove" => "What to remove",
        "streams" => "WebSockets",
        other => other,
    }
}

/// What a login waits for.
pub(super) fn waits_for(why: Option<&str>) -> &'static str {
    match why {
        Some("cooldown") => "Dhan, which allows one login in two minutes",
        Some("next_code") => "the next code of the TOTP key",
        Some("check") => "Dhan's word on whether the token lives",
        Some("backoff") => "a while after a login that failed",
        Some(_) | None => "its next try",
    }
}

/// A trouble, as a filter.
pub(super) const fn trouble(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NeedsPerson => "Need you",
        Trouble::NotAlone => "Not alone",
        Trouble::Halted => "Halted",
        Trouble::LegTripped => "Address out of use",
        Trouble::NoToken => "No token",
        Trouble::ValidationFailed => "Validation failed",
        Trouble::NotValidated => "Not validated",
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
    fn rough_times_can_be_read_at_a_glance() {
        assert_eq!([0, 59, 100, 7000].map(|s| roughly(Duration::from_secs(s))), ["1 s", "59 s", "2 min", "2 h"]);
    }

    #[test]
    fn an_operator_who_is_called_like_the_role_is_named_once() {
        assert_eq!([operator("admin", "admin"), operator("asha", "admin")], ["admin", "asha (admin)"]);
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
        let then = "2020-01-01T20:00:00.123456Z".parse().unwrap();
        assert_eq!([day_and_clock(then), full(then)], ["2 Jan 2020 01:30 IST", "2 Jan 2020 01:30:00 IST"]);
        let told = ["2020-01-01T20:00:00.123456Z", "2020-01-02 01:30:00", "2020-01-02", "d9e5d2d729"].map(readable);
        assert_eq!(told, ["2 Jan 2020 01:30:00 IST", "2 Jan 2020 01:30:00 IST", "2020-01-02", "d9e5d2d729"]);
    }
}
