//! What a button does: one call, and back to the page that it stands on, with a sentence.

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::super::sessions::Flash;
use super::call::{Refused, call};
use super::context::Console;
use super::page;
use super::visitor::Visitor;
use crate::domain::OperatorRole;

/// A call and what is said of it.
#[derive(Debug)]
pub(super) struct Act<'a> {
    /// Of the call.
    pub method: Method,
    /// Of the call, in `/v1`.
    pub path: &'a str,
    /// Of the call.
    pub body: Value,
    /// The page to go back to.
    pub back: &'a str,
    /// What is said when it was done.
    pub done: &'a str,
}

/// Do it.
pub(super) async fn act(console: &Console, visitor: &Visitor, act: Act<'_>) -> Response {
    let done = call(&console.api, &visitor.operator, act.method, act.path, &act.body).await;
    match done {
        Ok(_) => page::back(console, visitor, act.back, Flash { good: true, text: act.done.to_owned() }),
        Err(refused) => not_done(console, visitor, act.back, refused),
    }
}

/// Back, with why it was not done. What the role does not allow is a page of its own.
pub(super) fn not_done(console: &Console, visitor: &Visitor, back: &str, refused: Refused) -> Response {
    match refused.status {
        403 => forbidden(&refused.detail),
        _ => page::back(console, visitor, back, Flash { good: false, text: refused.detail }),
    }
}

/// The page for what somebody's role does not allow.
pub(super) fn forbidden(why: &str) -> Response {
    page::refused(StatusCode::FORBIDDEN, "Your role does not allow this", why)
}

/// For pages that are made of forms: the page to show in their place to who may not send them.
pub(super) fn lacks(visitor: &Visitor, role: OperatorRole) -> Option<Response> {
    let (needed, own) = (role.as_str(), visitor.operator.role.as_str());
    (!visitor.may(role)).then(|| forbidden(&format!("this page needs the role {needed}, and yours is {own}")))
}
