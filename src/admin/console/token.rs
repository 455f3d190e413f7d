//! A token for now: pasted, or fetched at Dhan's page. Nothing else of the account changes.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::sessions::Flash;
use super::super::wire::AccountBody;
use super::act::{forbidden, lacks, not_done};
use super::call::{Refused, call, part};
use super::context::Console;
use super::field::{Field, copied, field};
use super::form::Form;
use super::login_fields::{return_base, token, token_steps};
use super::page::{self, Part, csrf};
use super::shown::{heading, no_such, path};
use super::validating::{self, After};
use super::visitor::Visitor;
use crate::domain::{OperatorRole, Platform};

/// Of an account that does not log in by itself.
const BY_HAND: &str = "It lives for a day: paste the next one before it ends.";

/// `/console/accounts/{name}/token`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    lacks(&visitor, OperatorRole::Operator).unwrap_or_else(|| form(&console, &visitor, &name, None))
}

/// Take a token that was pasted.
pub(super) async fn send(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(typed): Extension<Form>,
) -> Response {
    let target = format!("/v1/accounts/{}/token", part(&name));
    let body = typed.object(&["access_token"]);
    match call(&console.api, &visitor.operator, Method::PUT, &target, &body).await {
        Ok(_) => {
            let account = console.admin.account(&name).ok();
            if let Some(account) = &account {
                // What was found without a token, or with the one before, holds no longer.
                validating::begin(&console, &visitor.operator, &account.name, After::Other);
            }
            let by_itself = account.is_some_and(|account| account.record.platform == Platform::Automatic);
            let then = if by_itself { "The gateway takes over again by itself when its time comes." } else { BY_HAND };
            let text = format!("The token is in use. {then}");
            page::back(&console, &visitor, &format!("{}#login", path(&name)), Flash { good: true, text })
        }
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        Err(refused) => page::with(refused.status, form(&console, &visitor, &name, Some(&refused))),
    }
}

fn form(console: &Console, visitor: &Visitor, name: &str, refused: Option<&Refused>) -> Response {
    let Ok(account) = console.admin.account(name) else { return no_such() };
    let body = AccountBody::from(&*account);
    let content = html! {
        (heading(&body))
        h2 { "Use a token for now" }
        @if let Some(refused) = refused { (page::summary(refused)) }
        p { "Nothing else changes. " @if account.record.platform == Platform::Automatic { "The gateway takes over again by itself." } @else { (BY_HAND) } }
        (token_steps())
        form method="post" action={ (path(name)) "/token" } {
            (csrf(visitor))
            input type="hidden" name="client_id" value=(body.client_id);
            button.unseen tabindex="-1" aria-hidden="true" { "Use this token" }
            (token(refused))
            div.row { button { "Use this token" } a.button.second href={ (path(name)) "#login" } { "Cancel" } }
        }
    };
    page::page(console, visitor, Part::Accounts, &body.name, &content)
}

/// Log in at Dhan's page: without a `tokenId` a link there, with one the token that it stands for.
pub(super) async fn consent(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Extension(typed): Extension<Form>,
) -> Response {
    let (target, back) = (format!("/v1/accounts/{}/token/consent", part(&name)), format!("{}#login", path(&name)));
    let body = if typed.ticked("token_id") { typed.object(&["token_id"]) } else { json!({}) };
    let pasted = typed.given("token_id").is_some();
    match call(&console.api, &visitor.operator, Method::POST, &target, &body).await {
        Ok(_) if pasted => {
            let text = "Asked Dhan for the token. What came of it stands under Login.".to_owned();
            page::back(&console, &visitor, &back, Flash { good: true, text })
        }
        Ok(reply) => {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            link(&console, &visitor, &name, &reply, &return_base(&console, host))
        }
        Err(refused) => not_done(&console, &visitor, &back, refused),
    }
}

/// The links. A form that leads to Dhan's host would be stopped by the browser; a link is not.
fn link(console: &Console, visitor: &Visitor, name: &str, reply: &Value, base: &str) -> Response {
    let text = |member: &str| reply.get(member).and_then(Value::as_str);
    // Begun under the name that Dhan's page leads back to: the browser knows the way back by a cookie of that name.
    let state = text("login_url").and_then(|url| url.split_once("/auth/dhan/start?state=")).map(|(_, state)| state);
    let start = state.map(|state| format!("{base}/auth/dhan/start?state={state}"));
    let left = reply.get("consents_left").and_then(Value::as_u64);
    let content = html! {
        h1 { "Log in at Dhan's page" }
        @if let Some(start) = &start {
            p { a.button href=(start) target="_blank" rel="noopener" { "Open Dhan's login page" } }
            p { "It opens in a new tab, leads back to " code { (base) "/auth/dhan" } " and says there what came of it. That address has \
                 to be the Redirect URL of the API key." }
        }
        @if let Some(left) = left { p.hint { (left) " more logins by this page are possible today." } }
        @if let Some(url) = text("broker_url") { (by_hand(visitor, name, url)) }
        p { a href={ (path(name)) "#login" } { "Back to the account" } }
    };
    page::page(console, visitor, Part::Accounts, name, &content)
}

/// For a browser that cannot reach the way back.
fn by_hand(visitor: &Visitor, name: &str, url: &str) -> Markup {
    html! {
        details {
            summary { "The browser that logs in cannot reach this gateway" }
            p { "Open this there, log in, and paste what stands behind " code { "tokenId=" } " in the address that it ends on." }
            p { (copied(url)) }
            form method="post" action={ (path(name)) "/consent" } {
                (csrf(visitor))
                (field(&Field { name: "token_id", label: "tokenId", secret: true, required: true, ..Field::default() }))
                button { "Fetch the token" }
            }
        }
    }
}
