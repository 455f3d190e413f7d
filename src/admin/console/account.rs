//! One account: where it stands, and what can be done with it. Each section is a file; those that change by themselves
//! are fetched anew when something happens to the account.

mod addresses;
mod checks;
mod danger;
mod history;
mod keys;
mod limits;
mod login;
mod now;
mod orders;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use maud::html;

use super::super::wire::AccountBody;
use super::context::Console;
use super::page::{self, Part};
use super::shown::{Shown, heading, no_such, path};
use super::visitor::Visitor;
use crate::domain::OperatorRole;

pub(super) use addresses::registered;
pub(super) use checks::line as check_line;
pub(super) use danger::{delete, retire};
pub(super) use login::stands;

/// `/console/accounts/{name}`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let Ok(account) = console.admin.account(&name) else { return no_such() };
    let body = AccountBody::from(&*account);
    let shown = Shown { console: &console, visitor: &visitor, account: &account, body: &body };
    let (orders, history) = (orders::show(&shown).await, history::show(&shown).await);
    let content = html! {
        (heading(&body))
        @if visitor.may(OperatorRole::Admin) {
            p { a.button.second href={ (path(&body.name)) "/edit" } { "Edit" } }
        }
        (shown.section("now", "Now", "change token leg validation order", &now::show(&shown)))
        (shown.section("addresses", "Addresses", "change leg validation", &addresses::show(&shown)))
        (shown.section("login", "Login", "change token", &login::show(&shown)))
        (shown.section("checks", "Checks", "validation", &checks::show(&shown)))
        (shown.section("keys", "Keys", "change", &keys::show(&shown)))
        (shown.section("orders", "Orders of today", "order", &orders))
        (shown.section("limits", "Limits", "order", &limits::show(&shown)))
        (shown.section("history", "History", "change", &history))
        @if visitor.may(OperatorRole::Admin) { (danger::show(&shown)) }
    };
    page::page(&console, &visitor, Part::Accounts, &body.name, &content)
}
