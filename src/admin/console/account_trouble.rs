//! The worst of what is wrong with an account, in a sentence that says what to do.

use maud::{Markup, html};

use super::super::wire::AccountBody;
use super::{advice, words};
use crate::accounts::Account;
use crate::accounts::overview::Trouble;

/// The sentence; that there is none where nothing is wrong.
pub(super) fn trouble_of(account: &Account, body: &AccountBody) -> Markup {
    match account.troubles().worst() {
        None => html! { span.hint { "none" } },
        Some(trouble) => html! { (shape(trouble, body)) " " (sentence(account, body, trouble)) },
    }
}

/// What only comes next is no failure.
fn shape(trouble: Trouble, body: &AccountBody) -> &'static str {
    let next = trouble == Trouble::NotValidated || (trouble == Trouble::ValidationFailed && is_unregistered(body));
    if next { words::NEXT } else { words::BAD }
}

fn sentence(account: &Account, body: &AccountBody, trouble: Trouble) -> Markup {
    match trouble {
        Trouble::NeedsPerson | Trouble::NoToken if body.pair.is_none() => {
            html! { "No addresses yet: give it two." }
        }
        Trouble::NeedsPerson if account.is_pinned_down() => pinned_down(body),
        Trouble::NeedsPerson | Trouble::NoToken => login(body),
        Trouble::NotAlone => html! {
            @match (body.elsewhere.as_ref().filter(|_| account.is_traded_elsewhere()), &body.token.last_error) {
                (Some(found), _) => { (words::sentence(&found.summary)) " " (words::sentence(found.action)) }
                (None, Some(error)) => { (words::sentence(&error.summary)) " " (words::sentence(&error.action)) }
                (None, None) => "Something else logs in to it.",
            }
        },
        Trouble::Halted => html! {
            "Halted"
            @if let Some(reason) = body.halt_reason.as_deref().filter(|reason| !reason.is_empty()) { ": " (reason) }
            "."
        },
        Trouble::LegTripped => leg(body),
        Trouble::ValidationFailed | Trouble::NotValidated => checks(body),
    }
}

fn pinned_down(body: &AccountBody) -> Markup {
    let pin = body.pin.unwrap_or_default();
    let reason = body.legs.iter().find(|leg| leg.role == pin).and_then(|leg| leg.reason);
    html! {
        "Orders are refused: it is pinned to its " (pin) " address, which is out of use"
        @if let Some(reason) = reason { " (" (words::leg_reason(reason)) ")" }
        ". Let health choose the address, or mend that one."
    }
}

fn login(body: &AccountBody) -> Markup {
    html! {
        @match &body.token.last_error {
            Some(error) => { (words::sentence(advice::found(brief(&error.summary)))) " " span.hint { "See Login." } }
            None => "Not logged in: see Login.",
        }
    }
}

fn leg(body: &AccountBody) -> Markup {
    let out = || body.legs.iter().filter(|leg| leg.state != "admits");
    let told = out().find_map(|leg| Some((words::role(leg.role), words::leg_reason(leg.reason?), leg.state)));
    let other = body.legs.iter().find(|leg| leg.state == "admits");
    html! {
        @match told {
            Some((role, reason, "probing")) => { (role) ": back after \"" (reason) "\", and watched for a while before it is used first. " }
            Some((role, reason, _)) => { (role) ": " (reason) ". " a href="/console/machine" { "See This machine" } ". " }
            None => "One of its addresses is being tried again. ",
        }
        @match other {
            Some(other) => { "Orders go by the " (other.role) "." }
            None => "No address of it is in use.",
        }
    }
}

/// Is it logged in and not registered yet? Then that is what the look at it found, whatever else follows from it.
fn is_unregistered(body: &AccountBody) -> bool {
    body.validated.as_ref().is_some_and(|done| done.checks.iter().any(|check| advice::is_next(check, &done.checks)))
}

fn checks(body: &AccountBody) -> Markup {
    let Some(done) = &body.validated else { return html! { "Not validated since the start: Validate." } };
    let failed = done.checks.iter().find(|check| check.result == "failed" && !advice::is_next(check, &done.checks));
    html! {
        @match failed {
            Some(check) => { (words::sentence(advice::found(&check.detail))) " " span.hint { "See Checks." } }
            None if is_unregistered(body) => "Not registered at Dhan yet: register its two addresses.",
            None => "Dhan did not tell everything at the last look: see Checks.",
        }
    }
}

/// Without the broker's own words, which stand under Login.
fn brief(summary: &str) -> &str {
    summary.split_once("; the broker says ").map_or(summary, |(brief, _)| brief)
}
