//! How the login stands: what went wrong, in words, and the ways on.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::shown::Shown;
use super::super::trouble::{self, Facts, Way};
use super::super::{page, words};
use crate::domain::{OperatorRole, Platform, steady};
use crate::tokens::TokenStatus;
use crate::tokens::lifecycle::{ANOTHER_LOGS_IN, State};

/// Until when the keeper waits by itself.
pub(in super::super) fn waits_until(standing: &TokenStatus) -> Option<Timestamp> {
    match standing.state {
        Some(State::Waiting { until, .. }) => Some(until),
        _ => None,
    }
}

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    let token = &shown.body.token;
    html! {
        div { (stands(shown)) }
        @if let Some(source) = &token.source { p.hint { "The last token came " (came(source)) "." } }
        @if token.last_error.is_some() { (wrong(shown)) } @else if shown.may(OperatorRole::Operator) {
            details { summary { "Other ways to log in" } (ways(shown, &[Way::Now, Way::Paste, Way::Page, Way::Switch])) }
        }
    }
}

/// The state in a line.
pub(in super::super) fn stands(shown: &Shown<'_>) -> Markup {
    let token = &shown.body.token;
    let ends = token.expires_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    let until = waits_until(&shown.account.token.standing());
    html! {
        @match (token.state, ends) {
            ("live" | "refreshing", Some(ends)) => {
                (words::GOOD) " Logged in; the token lives until " (page::time(ends))
                @if let Some(left) = words::left(ends) { ", " span data-until=(ends.to_string()) data-what="the token" { (left) } " left" }
                "."
            }
            ("minting", _) => { (words::UNDER_WAY) " Logging in." }
            ("waiting", _) => {
                (words::UNDER_WAY) " Login: waits for "
                @if token.last_error.as_ref().is_some_and(|error| error.code == ANOTHER_LOGS_IN) {
                    "a while, so that two programs do not end each other's tokens all day"
                } @else { (words::waits_for(token.waiting_for)) }
                ". The next try is"
                @if let Some(until) = until {
                    " at " (words::exact_clock(until)) ", in " span data-until=(until.to_string()) data-what="the next try" { (words::left(until).unwrap_or_default()) }
                }
                "."
            }
            ("needs_person", _) => { (words::BAD) " Login: needs you, and goes on when you have done what stands under Login." }
            ("absent", _) => { (words::BAD) " Not logged in: there is no token." }
            (state, _) => { (words::BAD) " Login: " (words::token_state(state)) "." }
        }
    }
}

/// What went wrong, and what to do.
fn wrong(shown: &Shown<'_>) -> Markup {
    let Some(error) = &shown.body.token.last_error else { return html! {} };
    let standing = shown.account.token.standing();
    let secrets = &shown.body.secrets;
    let said = trouble::said(&Facts {
        code: &error.code,
        summary: &error.summary,
        action: &error.action,
        automatic: shown.account.record.platform == Platform::Automatic,
        stopped: shown.body.token.state == "needs_person",
        until: waits_until(&standing),
        clock: steady::brokers_ahead_of_host().map(|ahead| ahead.as_secs_f64()),
        has_pin_totp: secrets.pin.set && secrets.totp_secret.set,
    });
    html! {
        div.trouble data-code=(error.code) {
            p { @match said.text.split_once(". ") {
                Some((first, rest)) => { strong { (first) "." } " " (rest) }
                None => strong { (said.text) },
            } }
            @if let Some(words) = said.brokers_words { details { summary { "Dhan's own words" } p { (words) } } }
            @if shown.may(OperatorRole::Operator) {
                (ways(shown, &said.ways))
                details { summary { "Other ways" } (ways(shown, &trouble::others(&said.ways))) }
            }
        }
    }
}

/// Buttons and links, the first the one that is meant.
fn ways(shown: &Shown<'_>, ways: &[Way]) -> Markup {
    let admin = shown.may(OperatorRole::Admin);
    let secrets = &shown.body.secrets;
    let link = |end: &str, text: &str| html! { a.button.second href=(shown.path(end)) { (text) } };
    html! {
        div.row {
            @for way in ways {
                @match way {
                    Way::Wait => { span.button.second.still { "Wait" @if let Some(until) = waits_until(&shown.account.token.standing()) {
                        ": " span data-until=(until.to_string()) { (words::left(until).unwrap_or_default()) } } } }
                    Way::Now => (shown.button("log-in", &[("vouched", "true")], &html! { button.second { "Log in now" } })),
                    Way::Paste => (link("token", "Paste a token")),
                    Way::Page if secrets.api_key.set && secrets.api_secret.set => {
                        (shown.button("consent", &[], &html! { button.second { "Log in at Dhan's page" } }))
                    }
                    Way::Page => {}
                    Way::Machine => a.button.second href="/console/machine" { "See This machine" },
                    Way::Totp if admin => (link("edit#totp_secret", "Type the TOTP key again")),
                    Way::Pin if admin => (link("edit#pin", "Type the PIN again")),
                    Way::Automatic if admin => {
                        @let text = match shown.account.record.platform {
                            Platform::Automatic => "Type PIN and TOTP key",
                            Platform::Manual => "Make it automatic",
                        };
                        (link("edit?platform=DHAN_V2_AT_IPV6#pin", text))
                    },
                    Way::Switch if admin => (switch(shown)),
                    Way::Totp | Way::Pin | Way::Automatic | Way::Switch => {}
                }
            }
        }
        @if ways.contains(&Way::Paste) {
            p.hint {
                "A pasted token changes nothing else"
                @if shown.account.record.platform == Platform::Automatic { ": use it for now, and the gateway takes over again by itself." }
                @else { "." }
            }
        }
    }
}

fn switch(shown: &Shown<'_>) -> Markup {
    let (to, text) = match shown.account.record.platform {
        Platform::Automatic => ("DHAN_V2_IPV6", "Switch to login by hand"),
        Platform::Manual => ("DHAN_V2_AT_IPV6", "Switch to automatic login"),
    };
    shown.button("platform", &[("platform", to)], &html! { button.second { (text) } })
}

fn came(source: &str) -> &'static str {
    match source {
        "pin_totp" => "by PIN and TOTP",
        "consent" => "by Dhan's page",
        "renewal" => "by renewing the one before",
        "sandbox" => "from the built-in broker, when the gateway started",
        _ => "from a person who pasted it",
    }
}
