//! What the buttons of an account's page do.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::sessions::{Flash, Undo};
use super::act::{Act, act, lacks, not_done};
use super::call::{call, part};
use super::context::Console;
use super::form::Form;
use super::shown::{no_such, path};
use super::validating::{self, After};
use super::visitor::Visitor;
use super::{edit, page, words};
use crate::domain::OperatorRole;

/// Halt an account, or let it trade again.
pub(super) async fn halt(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let halted = form.text("halted") == "true";
    let done = if halted { "Halted. Cancels, exits and reads pass." } else { "This account may trade again." };
    let (target, back) = (format!("/v1/accounts/{}/halt", part(&name)), path(&name));
    let body = json!({ "halted": halted, "reason": form.given("reason") });
    act(&console, &visitor, Act { method: Method::PUT, path: &target, body, back: &back, done }).await
}

/// Use one address only, or let health decide.
pub(super) async fn pin(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let pin = form.text("pin");
    let done = match pin {
        "auto" => "The gateway chooses the address by its health.".to_owned(),
        role => format!("Only the {role} address is used from now on."),
    };
    let (target, back) = (format!("/v1/accounts/{}/leg", part(&name)), path(&name));
    act(
        &console,
        &visitor,
        Act { method: Method::PUT, path: &target, body: json!({ "pin": pin }), back: &back, done: &done },
    )
    .await
}

/// Log in now, or as soon as Dhan allows.
pub(super) async fn log_in(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let (target, back) = (format!("/v1/accounts/{}/token/refresh", part(&name)), format!("{}#login", path(&name)));
    let body = json!({ "vouched": form.text("vouched") == "true" });
    match call(&console.api, &visitor.operator, Method::POST, &target, &body).await {
        Ok(reply) => page::back(&console, &visitor, &back, came_of_login(&reply)),
        Err(refused) => not_done(&console, &visitor, &back, refused),
    }
}

/// What a login that was asked for came to, by the token's state after it.
fn came_of_login(token: &Value) -> Flash {
    let word = |member: &str| token.get(member).and_then(Value::as_str);
    let until = word("waiting_until").and_then(|at| at.parse().ok()).map(words::exact_clock);
    let (good, text) = match (word("state"), until) {
        (Some("live"), _) => (true, "Logged in.".to_owned()),
        (Some("waiting"), Some(until)) => (
            false,
            format!(
                "Not before {until}: it waits for {}. It is tried then by itself.",
                words::waits_for(word("waiting_for"))
            ),
        ),
        (Some("minting" | "refreshing"), _) => (true, "Logging in: what comes of it stands under Login.".to_owned()),
        _ => (false, "Not logged in: why stands under Login.".to_owned()),
    };
    Flash { good, text }
}

/// Log in the other way from now on, with a way back.
pub(super) async fn platform_to(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let Ok(account) = console.admin.account(&name) else { return no_such() };
    let (old, new) = (account.record.platform.as_str(), form.text("platform"));
    let (target, back) = (format!("/v1/accounts/{}", part(&name)), format!("{}#login", path(&name)));
    let done = call(&console.api, &visitor.operator, Method::PATCH, &target, &json!({ "platform": new })).await;
    let text = match done {
        // It lacks what the other way needs: the form that asks for it.
        Err(refused) if refused.field.is_some() => {
            return edit::form_again(&console, &visitor, &account, &form, refused);
        }
        Err(refused) => return not_done(&console, &visitor, &back, refused),
        Ok(_) if new == "DHAN_V2_IPV6" => "This account logs in by hand from now on; its PIN and TOTP key are kept.",
        Ok(_) => "This account logs in by itself from now on.",
    };
    if old != new {
        let undo = Undo { path: format!("{}/platform", path(&name)), fields: vec![("platform", old.to_owned())] };
        console.admin.sessions.set_undo(visitor.session, undo);
    }
    page::back(&console, &visitor, &back, Flash { good: true, text: text.to_owned() })
}

/// Log in if that is needed, and look at everything.
pub(super) async fn validate(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    if let Some(refused) = lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    let Ok(account) = console.admin.account(&name) else { return no_such() };
    validating::begin(&console, &visitor.operator, &account.name, After::Other);
    page::to(&format!("{}/progress", path(&name)))
}

/// Give it the next two free addresses.
pub(super) async fn assign(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let (target, back) = (format!("/v1/accounts/{}/pair", part(&name)), format!("{}#addresses", path(&name)));
    let done = "These two addresses are this account's from now on, and nobody else's ever.";
    act(&console, &visitor, Act { method: Method::POST, path: &target, body: json!({}), back: &back, done }).await
}
