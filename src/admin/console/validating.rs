//! Log in, then look: what follows when somebody saved an account. It goes on by itself, whoever closes the page; what it
//! found is the account's last validation.

use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::super::operators::Operator;
use super::super::sessions::Flash;
use super::call::{Refused, call, part};
use super::context::Console;
use super::form::Form;
use super::visitor::Visitor;
use super::{page, shown};
use crate::domain::AccountName;

/// How long a login is waited for: Dhan makes one token in two minutes.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a run follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The account was saved.
    Saved,
    /// Something of it is otherwise at the broker, or somebody wants to know.
    Other,
}

/// Lead on from an account that was saved, and begin to validate it unless that was not wanted. `without` is why it has no
/// addresses, if it was to have some.
pub(super) fn saved(
    console: &Console,
    visitor: &Visitor,
    name: &AccountName,
    form: &Form,
    without: Option<Refused>,
) -> Response {
    let validate = form.text("do") != "save";
    if validate {
        begin(console, &visitor.operator, name, After::Saved);
    }
    let at = shown::path(name.as_str());
    let at = if validate { format!("{at}/progress") } else { at };
    let flash = match without {
        Some(refused) => Flash { good: false, text: format!("Saved, but without addresses: {}", refused.detail) },
        // It stands there among the steps.
        None if validate => return page::to(&at),
        None => Flash { good: true, text: "Saved.".to_owned() },
    };
    page::back(console, visitor, &at, flash)
}

/// Begin a run in the name of `operator`, unless one is under way.
pub(super) fn begin(console: &Console, operator: &Operator, name: &AccountName, after: After) {
    if !console.runs.begin(name, after == After::Saved, Timestamp::now()) {
        return;
    }
    let (console, operator, name) = (console.clone(), operator.clone(), name.clone());
    let tasks = console.admin.tasks.clone();
    tasks.spawn(async move {
        let run = async {
            let by = Instant::now() + PATIENCE;
            while let Ok(account) = console.admin.account(name.as_str()) {
                // What was just saved counts, before anybody says that no token will come.
                account.keeper.looked().await;
                tokio::select! {
                    _ = account.token.wait(0, by) => break,
                    // As another customer it has another token to wait for.
                    () = account.replaced().cancelled() => {}
                }
            }
            let path = format!("/v1/accounts/{}/validate", part(name.as_str()));
            call(&console.api, &operator, Method::POST, &path, &json!({})).await
        };
        let failed = tokio::select! {
            done = run => done.err().map(|refused| refused.detail),
            () = console.admin.tasks.stopping() => Some("the gateway is stopping".to_owned()),
        };
        console.runs.end(&name, failed);
    });
}
