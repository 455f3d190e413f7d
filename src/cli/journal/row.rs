//! A line of the journal, for people.

use crate::domain::Outcome;
use crate::domain::india;
use crate::orders::journal::{Note, Recorded};

pub(super) const HEADER: [&str; 10] =
    ["TIME (IST)", "ACCOUNT", "KIND", "REQUEST", "OUTCOME", "STATUS", "LEG", "ORDER", "CORRELATION", "MS"];

/// A line for people.
pub(super) fn row(recorded: &Recorded) -> [String; 10] {
    let e = &recorded.entry;
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let request = match (&e.method, &e.path, &e.note) {
        (_, _, Some(note)) => said(note),
        (Some(method), Some(path), None) => format!("{method} {path}"),
        (_, _, None) => "-".to_owned(),
    };
    let status = e.status.map(|status| match &e.broker_code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    });
    let outcome = e.outcome.map(|outcome| match e.recovered {
        Some(true) => format!("{} (recovered)", outcome.as_str()),
        Some(false) | None => outcome.as_str().to_owned(),
    });
    [
        india::local(e.at).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        text(e.account.as_ref().map(ToString::to_string)),
        e.kind.as_str().to_owned(),
        shown(&request),
        text(outcome),
        text(status.as_deref().map(shown)),
        text(e.leg.map(|leg| leg.as_str().to_owned())),
        text(e.order_id.as_ref().map(|id| shown(id.as_str()))),
        text(e.correlation_id.as_ref().map(|id| shown(id.as_str()))),
        text(e.total_us.map(|us| format!("{}.{:01}", us / 1000, us % 1000 / 100))),
    ]
}

/// A note in words, where it is a person's; else as it stands.
fn said(note: &Note) -> String {
    let Note::Settled { outcome, by, text } = note else { return serde_json::to_string(note).unwrap_or_default() };
    let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let outcome = outcome.map(Outcome::as_str).map(|outcome| format!("{outcome}, ")).unwrap_or_default();
    format!("settled{by}: {outcome}{text}")
}

/// Text that a caller chose may hold what moves a terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
