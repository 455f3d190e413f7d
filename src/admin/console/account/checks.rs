//! What the last validation found.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::super::wire::{CheckBody, SeenSlotBody, ValidatedBody};
use super::super::shown::Shown;
use super::super::{advice, page, words};
use crate::domain::OperatorRole;

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    html! {
        @match &shown.body.validated {
            None => p { (words::UNKNOWN) " Not looked at since the gateway was started." },
            Some(validated) => {
                @let since = since_then(shown, validated);
                p {
                    @match (since, validated.ok) {
                        (Some(_), true) => { (words::UNKNOWN) " Was ready to trade." }
                        (Some(_), false) => { (words::UNKNOWN) " Was not ready." }
                        (None, true) => { (words::GOOD) " Ready to trade." }
                        (None, false) => { (words::BAD) " Not ready." }
                    }
                    @if let Ok(at) = validated.at.parse() { span.hint { " Looked at " (page::time(at)) "." } }
                }
                @if let Some(since) = since { p { (words::NEXT) " Since then " (since) ": validate again." } }
                @for check in &validated.checks { (line(shown, check, validated.checks.as_slice())) }
            }
        }
        @if shown.may(OperatorRole::Operator) { (shown.button("validate", &[], &html! { button.second { "Validate" } })) }
    }
}

/// What has changed since the look, so that what it found holds no longer.
fn since_then(shown: &Shown<'_>, validated: &ValidatedBody) -> Option<&'static str> {
    let said =
        |name: &str, result: &str| validated.checks.iter().any(|check| check.name == name && check.result == result);
    let looked: Timestamp = validated.at.parse().ok()?;
    let live = matches!(shown.body.token.state, "live" | "refreshing");
    let seen = shown.body.registration.as_ref();
    let newer = |slot: Option<&SeenSlotBody>| {
        slot.is_some_and(|slot| slot.seen_at.parse().is_ok_and(|at: Timestamp| at > looked))
    };
    let registered = |slot: Option<&SeenSlotBody>| newer(slot) && slot.is_some_and(|slot| slot.matches == Some(true));
    let admits = |role: &str| shown.body.legs.iter().any(|leg| leg.role == role && leg.state == "admits");
    let out = |role: &str, check: &str| said(check, "ok") && !admits(role);
    if said("token", "ok") && !live {
        Some("its token was lost")
    } else if !said("token", "ok") && live {
        Some("it has logged in")
    } else if !said("registration", "ok")
        && seen.is_some_and(|seen| registered(seen.primary.as_ref()) || registered(seen.secondary.as_ref()))
    {
        Some("addresses of it were registered")
    } else if out("primary", "line_primary") || out("secondary", "line_secondary") {
        Some("an address of it went out of use")
    } else {
        None
    }
}

/// A check: its shape, what was found and what to do.
pub(in super::super) fn line(shown: &Shown<'_>, check: &CheckBody, all: &[CheckBody]) -> Markup {
    let (next, waits) = (advice::is_next(check, all), advice::waits_for_login(check, all));
    let shape = match check.result {
        "ok" => words::GOOD,
        _ if next => words::NEXT,
        "failed" => words::BAD,
        _ => words::UNKNOWN,
    };
    let class = match check.result {
        "ok" => "step good",
        "failed" if !next => "step bad",
        _ => "step",
    };
    html! {
        p class=(class) role="status" data-check=(check.name) data-result=(check.result) {
            (shape) " " (advice::label(check.name)) ": " span.found { (advice::told(check, all)) }
            @if check.result != "ok" {
                @if next && check.name == "registration" {
                    " " a href=(shown.path("registration")) { "Register these two addresses at Dhan" } " Dhan locks them for 7 days."
                } @else if let Some(todo) = advice::todo(check.name, check.result).filter(|_| !next && !waits) { span.do { " " (todo) } }
            }
        }
    }
}
