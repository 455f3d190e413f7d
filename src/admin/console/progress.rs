//! Validate and Save, as it happens. All of it is read from the account as it is, so that reloading or closing the page
//! loses nothing.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::super::wire::{AccountBody, ValidatedBody};
use super::account::{check_line, stands};
use super::context::Console;
use super::page::{self, Part};
use super::runs::Run;
use super::shown::{Shown, heading, no_such, path};
use super::visitor::Visitor;
use super::words;
use crate::domain::OperatorRole;

/// `/console/accounts/{name}/progress`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let Ok(account) = console.admin.account(&name) else { return no_such() };
    let body = AccountBody::from(&*account);
    let shown = Shown { console: &console, visitor: &visitor, account: &account, body: &body };
    let run = console.runs.of(&account.name);
    let content = html! {
        (heading(&body))
        h2 { @if run.as_ref().is_some_and(|run| !run.saved) { "Validate" } @else { "Validate and Save" } }
        div #progress data-live="change token leg validation" data-account=(body.name) { (steps(&shown, run.as_ref())) }
        p.row {
            a href=(path(&body.name)) { "The account" }
            a href={ (path(&body.name)) "/progress" } { "Look again" }
        }
    };
    page::page(&console, &visitor, Part::Accounts, &body.name, &content)
}

/// A line of its own for each step.
fn steps(shown: &Shown<'_>, run: Option<&Run>) -> Markup {
    let body = shown.body;
    let validated = body.validated.as_ref().filter(|validated| is_of(&validated.at, run));
    html! {
        @if run.is_some_and(|run| run.saved) { p.step.good role="status" { (words::GOOD) " Saved." } }
        @match &body.pair {
            Some(pair) => p.step.good role="status" { (words::GOOD) " Addresses: " code { (pair.primary) } " and " code { (pair.secondary) } "." },
            None => {
                p.step.bad role="status" { (words::BAD) " Addresses: none yet, so nothing of this account can leave." }
                @if shown.may(OperatorRole::Admin) {
                    (shown.button("assign", &[], &html! { button.second { "Auto Assign IP" } }))
                }
            }
        }
        div.step role="status" { (stands(shown)) }
        @if body.token.last_error.is_some() && body.token.state != "live" {
            p.step { (words::NEXT) " " a href={ (path(&body.name)) "#login" } { "Why, and the ways on" } }
        }
        @if let Some(validated) = validated {
            @for check in &validated.checks { (check_line(shown, check, &validated.checks)) }
            (verdict(shown, validated))
        } @else { (without_result(shown, run)) }
    }
}

/// Is a result of this run, or of a later look? Times are told to the second at least.
fn is_of(at: &str, run: Option<&Run>) -> bool {
    run.is_none_or(|run| at.parse::<Timestamp>().is_ok_and(|at| at >= run.since))
}

fn verdict(shown: &Shown<'_>, validated: &ValidatedBody) -> Markup {
    let keys = format!("{}/keys", path(&shown.body.name));
    let is =
        |name: &str, result: &str| validated.checks.iter().any(|check| check.name == name && check.result == result);
    let unregistered = is("token", "ok") && !is("registration", "ok");
    let failed = validated.checks.iter().any(|check| check.result == "failed");
    html! {
        @if validated.ok {
            p.step.good role="status" { strong { (words::GOOD) " This account can trade." } " " a href=(keys) { "Connect your program" } }
        } @else {
            p.step role="status" { strong { (words::NEXT) @if unregistered { " Not ready yet: register its addresses, then validate again." }
                @else if failed { " Not ready yet: see the lines above." }
                @else { " Nothing failed, but Dhan did not tell everything." } } }
            div.row {
                @if unregistered { a.button href=(shown.path("registration")) { "Register these two addresses at Dhan" } }
                @if shown.may(OperatorRole::Operator) {
                    (shown.button("validate", &[], &html! { button.second[unregistered] { "Validate again" } }))
                }
            }
        }
    }
}

fn without_result(shown: &Shown<'_>, run: Option<&Run>) -> Markup {
    html! {
        @match run {
            Some(Run { failed: Some(why), .. }) => { p.step.bad role="status" { (words::BAD) " The checks were not made: " (why) } }
            Some(_) => { p.step role="status" { (words::UNDER_WAY) " The checks come once there is a token, or it is clear that none comes by itself." } }
            None => { p.step role="status" { (words::UNKNOWN) " Not looked at since the gateway was started." } }
        }
        @if shown.may(OperatorRole::Operator) && run.is_none_or(|run| run.failed.is_some()) {
            (shown.button("validate", &[], &html! { button { "Validate" } }))
        }
    }
}
