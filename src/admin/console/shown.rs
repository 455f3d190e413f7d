//! What the pages of an account are shown from, and the parts that they have in common.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::wire::AccountBody;
use super::call::part;
use super::context::Console;
use super::page;
use super::visitor::Visitor;
use crate::accounts::Account;
use crate::domain::OperatorRole;

/// Where the page of an account is.
pub(super) fn path(name: &str) -> String {
    format!("/console/accounts/{}", part(name))
}

/// A link to an account, by its nickname if it has one, with its name beside it.
pub(super) fn link(console: &Console, name: &str) -> Markup {
    let nickname = console.admin.accounts.lookup(name).and_then(|account| account.record.nickname.clone());
    html! {
        a href=(path(name)) { (nickname.as_deref().unwrap_or(name)) }
        @if nickname.is_some() { " " span.hint { (name) } }
    }
}

/// The page for an account that is not there.
pub(super) fn no_such() -> Response {
    page::refused(StatusCode::NOT_FOUND, "No such account", "It was deleted, or its name is another.")
}

/// What a page of an account begins with.
pub(super) fn heading(body: &AccountBody) -> Markup {
    html! {
        h1 { (body.nickname.as_deref().unwrap_or(&body.name)) }
        p.hint { (body.name) " · client id " (body.client_id) " · " (platform(body.platform)) }
    }
}

fn platform(platform: &str) -> String {
    let words = if platform == "DHAN_V2_IPV6" { "logs in by hand" } else { "logs in by itself" };
    format!("{words} ({platform})")
}

/// What every section is shown from.
pub(super) struct Shown<'a> {
    /// The console.
    pub console: &'a Console,
    /// Who looks.
    pub visitor: &'a Visitor,
    /// The account's row of this moment.
    pub account: &'a Account,
    /// What the API shows of it.
    pub body: &'a AccountBody,
}

impl Shown<'_> {
    /// A section that is fetched anew when one of `kinds` happens to the account.
    pub(super) fn section(&self, id: &str, title: &str, kinds: &str, content: &Markup) -> Markup {
        html! {
            section #{ (id) "-part" } aria-labelledby=(id) data-live=[(!kinds.is_empty()).then_some(kinds)]
                data-account=[(!kinds.is_empty()).then_some(&self.body.name)] {
                h2 id=(id) tabindex="-1" { (title) }
                (content)
            }
        }
    }

    /// The path of what belongs to the account.
    pub(super) fn path(&self, end: &str) -> String {
        format!("{}/{end}", path(&self.body.name))
    }

    /// May who looks do what needs `role`?
    pub(super) fn may(&self, role: OperatorRole) -> bool {
        self.visitor.may(role)
    }

    /// A button that sends a form of its own.
    pub(super) fn button(&self, end: &str, fields: &[(&str, &str)], button: &Markup) -> Markup {
        page::form(
            self.visitor,
            &self.path(end),
            &html! {
                @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                (button)
            },
        )
    }
}
