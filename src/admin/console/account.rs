//! One account: where it stands, and what can be done with it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::json;

use super::super::sessions::Flash;
use super::super::wire::AccountBody;
use super::accounts::{leg, token};
use super::call::{call, part};
use super::context::Console;
use super::field::copied;
use super::form::Form;
use super::guard::Visitor;
use super::page::{self, Part, csrf};
use super::words;
use crate::domain::OperatorRole;

/// `/console/accounts/{name}`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let Ok(account) = console.admin.account(&name) else {
        return page::refused(StatusCode::NOT_FOUND, "No such account", "It was deleted, or its name is another.");
    };
    let body = AccountBody::from(&*account);
    let content = html! {
        h1 { (body.nickname.as_deref().unwrap_or(&body.name)) }
        p.hint { (body.name) " · client id " (body.client_id) " · " (body.platform) }
        div #live data-live="token leg validation account" data-account=(body.name) {
            (now(&visitor, &body))
            (addresses(&body))
            (login(&body))
        }
    };
    page::page(&console, &visitor, Part::Accounts, &body.name, &content)
}

fn now(visitor: &Visitor, account: &AccountBody) -> Markup {
    html! {
        section aria-labelledby="now" {
            h2 #now { "Now" }
            @if account.halted {
                p { (words::BAD) " Halted"
                    @if let Some(since) = account.halted_since.as_deref().and_then(|at| at.parse().ok()) { " since " (page::time(since)) }
                    @if let Some(reason) = account.halt_reason.as_deref().filter(|reason| !reason.is_empty()) { ": " (reason) }
                    ". Cancels, exits and reads pass." }
            } @else { p { (words::GOOD) " May trade." } }
            @if let Some(warning) = account.halt_warning { p.flash.bad { (warning) } }
            @if let Some(pin) = account.pin { p { "Pinned to the " (pin) " address." } }
            @if visitor.may(OperatorRole::Operator) {
                form method="post" action={ "/console/accounts/" (part(&account.name)) "/halt" } {
                    (csrf(visitor))
                    @if account.halted {
                        input type="hidden" name="halted" value="false";
                        button data-confirm="Let this account trade again?" { "Let it trade again" }
                    } @else {
                        input type="hidden" name="halted" value="true";
                        button.danger { "Halt" }
                    }
                }
            }
        }
    }
}

fn addresses(account: &AccountBody) -> Markup {
    html! {
        section aria-labelledby="addresses" {
            h2 #addresses { "Addresses" }
            @if account.legs.is_empty() { p { "None yet." } }
            dl {
                @for of in &account.legs {
                    dt { (words::role(of.role)) }
                    dd { (copied(&of.address.to_string())) div { (leg(Some(of))) } }
                }
            }
        }
    }
}

fn login(account: &AccountBody) -> Markup {
    html! {
        section aria-labelledby="login" {
            h2 #login { "Login" }
            div { (token(&account.token)) }
        }
    }
}

/// Halt an account, or let it trade again.
pub(super) async fn halt(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let halted = form.text("halted") == "true";
    let body = json!({ "halted": halted, "reason": form.given("reason") });
    let path = format!("/v1/accounts/{}/halt", part(&name));
    let done = call(&console.api, &visitor.operator, Method::PUT, &path, &body).await;
    let flash = match done {
        Ok(_) if halted => Flash { good: true, text: "Halted. Cancels, exits and reads pass.".to_owned() },
        Ok(_) => Flash { good: true, text: "This account may trade again.".to_owned() },
        Err(refused) => Flash { good: false, text: refused.detail },
    };
    page::back(&console, &visitor, &format!("/console/accounts/{}", part(&name)), flash)
}
