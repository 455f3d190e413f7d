//! Log in, then look: what follows when somebody saved an account. It goes on by itself, whoever closes the page; what it
//! found is the account's last validation.

use std::time::Duration;

use axum::http::Method;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::super::operators::Operator;
use super::call::{call, part};
use super::context::Console;
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

/// Begin a run in the name of `operator`, unless one is under way.
pub(super) fn begin(console: &Console, operator: &Operator, name: &AccountName, after: After) {
    if !console.runs.begin(name, after == After::Saved, Timestamp::now()) {
        return;
    }
    let (console, operator, name) = (console.clone(), operator.clone(), name.clone());
    let tasks = console.admin.tasks.clone();
    tasks.spawn(async move {
        let run = async {
            if let Ok(account) = console.admin.account(name.as_str()) {
                // What was just saved counts, before anybody says that no token will come.
                account.keeper.looked().await;
                let _ = account.token.wait(0, Instant::now() + PATIENCE).await;
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
