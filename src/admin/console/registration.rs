//! The two addresses at Dhan: what is assigned, what Dhan holds, and putting the one in the place of the other.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::wire::{AccountBody, SeenSlotBody};
use super::account::registered;
use super::act::not_done;
use super::call::{call, part};
use super::context::Console;
use super::field::{Field, copied, field};
use super::form::Form;
use super::page::{self, Part};
use super::shown::{heading, no_such, path};
use super::validating::{self, After};
use super::visitor::Visitor;
use super::words;
use crate::domain::{OperatorRole, india};

/// `/console/accounts/{name}/registration`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    page_of(&console, &visitor, &name, None)
}

/// Ask Dhan what it holds.
pub(super) async fn query_broker(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    // It counts among what Dhan allows the account, which is not a viewer's to spend.
    if let Some(refused) = super::act::lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    let back = format!("{}/registration", path(&name));
    let target = format!("/v1/accounts/{}/registration", part(&name));
    match call(&console.api, &visitor.operator, Method::GET, &target, &Value::Null).await {
        Ok(_) => page_of(&console, &visitor, &name, None),
        Err(refused) => not_done(&console, &visitor, &back, refused),
    }
}

/// Put the pair there.
pub(super) async fn put(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let back = format!("{}/registration", path(&name));
    let target = format!("/v1/accounts/{}/registration", part(&name));
    let replace: Vec<&str> =
        ["replace_primary", "replace_secondary"].iter().filter_map(|field| form.given(field)).collect();
    match call(&console.api, &visitor.operator, Method::PUT, &target, &json!({ "replace": replace })).await {
        Ok(reply) => {
            if let Ok(account) = console.admin.account(&name) {
                validating::begin(&console, &visitor.operator, &account.name, After::Other);
            }
            page_of(&console, &visitor, &name, Some(&reply))
        }
        Err(refused) => not_done(&console, &visitor, &back, refused),
    }
}

/// The page; with what was done just now, a line for each place.
fn page_of(console: &Console, visitor: &Visitor, name: &str, done: Option<&Value>) -> Response {
    let Ok(account) = console.admin.account(name) else { return no_such() };
    let body = AccountBody::from(&*account);
    let slots = body.registration.as_ref();
    let slot = |role: &str| {
        slots.and_then(|seen| if role == "primary" { seen.primary.as_ref() } else { seen.secondary.as_ref() })
    };
    let content = html! {
        (heading(&body))
        h2 { "Registration at Dhan" }
        p { "Dhan takes orders only from addresses that are registered, and locks each for 7 days after a change." }
        @if let Some(done) = done { (results(done)) }
        @match &body.pair {
            None => p { (words::NEXT) " Give the account two addresses first." },
            Some(pair) => {
                table.cards {
                    thead { tr { th { span.unseen { "Address" } } th { "Assigned" } th { "At Dhan" } th { "Matches" } th { "May change from" } } }
                    tbody {
                        @for (role, address) in [("primary", pair.primary), ("secondary", pair.secondary)] {
                            (row(role, &address.to_string(), slot(role)))
                        }
                    }
                }
            }
        }
        @if visitor.may(OperatorRole::Operator) && body.pair.is_some() {
            (page::form(visitor, &format!("{}/registration/ask", path(name)), &html! { button.second { "Ask Dhan now" } }))
        }
        @if visitor.may(OperatorRole::Admin) { (register(visitor, &body, &slot)) }
        @if let Some(pair) = &body.pair {
            details {
                summary { "Other ways" }
                p { "On web.dhan.co open the profile picture, then DhanHQ Trading APIs, then static IP, and paste these." }
                dl {
                    dt { "Primary" } dd { (copied(&pair.primary.to_string())) }
                    dt { "Secondary" } dd { (copied(&pair.secondary.to_string())) }
                }
                p { a href="https://web.dhan.co" target="_blank" rel="noopener noreferrer" { "Open web.dhan.co" } }
            }
        }
        p { a href=(path(name)) { "Back to the account" } }
    };
    page::page(console, visitor, Part::Accounts, &body.name, &content)
}

fn row(role: &str, assigned: &str, slot: Option<&SeenSlotBody>) -> Markup {
    html! {
        tr {
            th scope="row" data-label="" { (words::role(role)) }
            td data-label="Assigned" { (copied(assigned)) }
            td.address data-label="At Dhan" { @match slot { None => "not asked yet", Some(slot) => (slot.registered.as_deref().unwrap_or("nothing")) } }
            td data-label="Matches" { (registered(slot)) }
            td data-label="May change from" { (slot.and_then(|slot| slot.change_allowed_from.as_deref()).map_or("–".to_owned(), words::civil_day)) }
        }
    }
}

/// Why there is nothing to register, if so.
fn not_now(body: &AccountBody, slots: &[Option<&SeenSlotBody>; 2]) -> Option<String> {
    if body.pair.is_none() {
        return Some("The account has no addresses.".to_owned());
    }
    if !matches!(body.token.state, "live" | "refreshing") {
        return Some("The account is not logged in, and Dhan is asked with its token.".to_owned());
    }
    let seen: Vec<&SeenSlotBody> = slots.iter().copied().flatten().collect();
    if seen.len() == 2 && seen.iter().all(|slot| slot.matches == Some(true)) {
        return Some("Both are registered already.".to_owned());
    }
    let today = india::local(jiff::Timestamp::now()).date();
    let locked = |slot: &&&SeenSlotBody| {
        let from = slot.change_allowed_from.as_deref().and_then(|day| day.parse::<jiff::civil::Date>().ok());
        slot.matches == Some(false) && slot.registered.is_some() && from.is_some_and(|from| from > today)
    };
    // One that is free or may change can be registered beside one that is locked.
    let open = slots.iter().any(|slot| slot.is_none_or(|slot| slot.matches != Some(true) && !locked(&&slot)));
    let first = seen.iter().find(locked)?;
    (!open).then(|| {
        format!(
            "Dhan has {} there and allows no change before {}.",
            first.registered.as_deref().unwrap_or_default(),
            words::civil_day(first.change_allowed_from.as_deref().unwrap_or_default())
        )
    })
}

fn register<'s>(visitor: &Visitor, body: &AccountBody, slot: &impl Fn(&str) -> Option<&'s SeenSlotBody>) -> Markup {
    let why = not_now(body, &[slot("primary"), slot("secondary")]);
    let old =
        |role: &str| slot(role).filter(|slot| slot.matches == Some(false)).and_then(|slot| slot.registered.clone());
    page::form(
        visitor,
        &format!("{}/registration", path(&body.name)),
        &html! {
            @for role in ["primary", "secondary"] {
                @if let (Some(old), None) = (old(role), &why) {
                    (field(&Field { name: &format!("replace_{role}"), label: &format!("Old {role} address, typed, to replace it"),
                        hint: &format!("Dhan has {old}. Left empty, it stays."), ..Field::default() }))
                }
            }
            button disabled[why.is_some()] aria-describedby="register-why" { "Register these two addresses at Dhan" }
            p #register-why .hint { (why.as_deref().unwrap_or("Dhan locks them for 7 days: a typing error costs a week, which is why nobody types them.")) }
        },
    )
}

/// What was done, and why not.
fn results(done: &Value) -> Markup {
    let changes = done.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    html! {
        div #done role="status" tabindex="-1" data-focus {
            @for change in changes {
                @let text = |member: &str| change.get(member).and_then(Value::as_str).unwrap_or_default();
                @let good = matches!(text("action"), "set" | "modified" | "unchanged");
                p class=(if good { "step good" } else { "step bad" }) data-action=(text("action")) {
                    (if good { words::GOOD } else { words::BAD }) " " (words::role(text("role"))) ": " (text("detail")) "."
                }
            }
        }
    }
}
