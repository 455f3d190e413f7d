//! Halting all accounts, and letting all trade again: a page of its own, because it stops everybody.

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use maud::html;
use serde_json::json;

use super::act::{Act, act, lacks};
use super::context::Console;
use super::field::{Field, field};
use super::form::Form;
use super::page::{self, Part, form};
use super::visitor::Visitor;
use super::words;
use crate::domain::OperatorRole;

/// `/console/halt-all`
pub(super) async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    let accounts = &console.admin.accounts;
    let (count, halted) = (accounts.len(), usize::try_from(accounts.halted()).unwrap_or(usize::MAX));
    let content = html! {
        @match accounts.all_halted() {
            None => {
                h1 { "Halt all accounts?" }
                p { "New orders and changes of " @if count == 1 { "the account" } @else { "all " (words::counted(count, "account")) } " are refused at once, \
                     and those of accounts that are made meanwhile. Cancels, exits and reads pass." }
                (form(&visitor, "/console/halt-all", &html! {
                    (field(&Field { name: "reason", label: "Reason", hint: "For whoever wonders why. No secret.", ..Field::default() }))
                    input type="hidden" name="halted" value="true";
                    div.row { button.danger { "Halt All" } a href="/console" { "Cancel" } }
                }))
            }
            Some(all) => {
                h1 { "Let all trade again?" }
                p { "All accounts are halted since " (page::time(all.since)) @if !all.reason.is_empty() { ": " (all.reason) } ". "
                    (words::number(halted)) " of " (words::number(count)) " are halted now." }
                p { "Accounts that were halted with all may trade again. One that was halted by itself stays halted." }
                (form(&visitor, "/console/halt-all", &html! {
                    input type="hidden" name="halted" value="false";
                    div.row { button { "Let all trade again" } a href="/console" { "Cancel" } }
                }))
            }
        }
    };
    page::page(&console, &visitor, Part::Accounts, "Halt All", &content)
}

/// Do it.
pub(super) async fn send(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    let halted = form.text("halted") == "true";
    let done = if halted {
        "Done. Cancels, exits and reads pass."
    } else {
        "Accounts that were halted with all may trade again."
    };
    let body = json!({ "halted": halted, "reason": form.given("reason") });
    act(&console, &visitor, Act { method: Method::PUT, path: "/v1/halt", body, back: "/console", done }).await
}
