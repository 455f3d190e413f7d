//! The list of accounts.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::super::wire::{AccountBody, LegBody, TokenBody};
use super::call::part;
use super::context::Console;
use super::guard::Visitor;
use super::page::{self, Part};
use super::words;

/// Accounts of a page.
const PAGE: usize = 50;

/// `/console`
pub(super) async fn list(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let page = match console.admin.accounts.page(None, PAGE) {
        Ok(page) => page,
        Err(err) => return super::super::error::Failure::from(err).into_response(),
    };
    let rows: Vec<AccountBody> = page.rows.iter().map(|row| AccountBody::from(&**row)).collect();
    let content = html! {
        h1 { "Accounts" }
        @if rows.is_empty() {
            p { "There is no account yet." }
        } @else {
            table #accounts .cards data-live="token leg validation account" {
                thead { tr { th { "Account" } th { "Login" } th { "Primary" } th { "Secondary" } } }
                tbody { @for account in &rows { (row(account)) } }
            }
        }
    };
    page::page(&console, &visitor, Part::Accounts, "Accounts", &content)
}

/// An account's row: the page and the live update have it from here.
pub(super) fn row(account: &AccountBody) -> Markup {
    html! {
        tr #{ "account-" (account.name) } {
            td data-label="Account" {
                a href={ "/console/accounts/" (part(&account.name)) } { (account.nickname.as_deref().unwrap_or(&account.name)) }
                div.hint { (account.name) " · client id " (account.client_id) }
                @if account.halted { div { (words::BAD) " halted" } }
            }
            td data-label="Login" { (token(&account.token)) }
            @for role in ["primary", "secondary"] {
                td data-label=(words::role(role)) { (leg(account.legs.iter().find(|leg| leg.role == role))) }
            }
        }
    }
}

/// Where a token stands.
pub(super) fn token(token: &TokenBody) -> Markup {
    let expires = token.expires_at.as_deref().and_then(|at| at.parse().ok());
    html! {
        @match (token.state, expires) {
            ("live" | "refreshing", Some(expires)) => {
                (words::GOOD) " live"
                @if let Some(left) = words::left(expires) { ", " span data-until=(token.expires_at.as_deref().unwrap_or_default()) { (left) } " left" }
            }
            (state, _) => { (words::BAD) " " (words::token_state(state)) }
        }
        @if let Some(wrong) = &token.last_error { div.hint { (wrong.summary) " " (wrong.action) } }
    }
}

/// Where a leg stands.
pub(super) fn leg(leg: Option<&LegBody>) -> Markup {
    html! {
        @match leg {
            None => { "–" }
            Some(leg) => {
                @if leg.state == "admits" { (words::GOOD) } @else { (words::BAD) }
                " " (words::leg_state(leg.state))
                @if let Some(reason) = leg.reason { ": " (words::leg_reason(reason)) }
                div.hint { (leg.address.to_string()) }
            }
        }
    }
}
