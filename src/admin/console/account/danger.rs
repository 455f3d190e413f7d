//! What cannot be taken back: it asks for the account's name.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::super::super::sessions::Flash;
use super::super::act::{Act, act};
use super::super::call::part;
use super::super::context::Console;
use super::super::field::{Field, field};
use super::super::form::Form;
use super::super::page;
use super::super::shown::{Shown, path};
use super::super::visitor::Visitor;

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    let name = &shown.body.name;
    html! {
        section aria-labelledby="danger" {
            h2 #danger { "Danger" }
            p { "Nobody else ever gets these addresses: Dhan has seen them, and refuses them for another customer. This account's \
                 customer may have them back." }
            @if shown.body.pair.is_some() {
                details {
                    summary { "Retire the two addresses" }
                    p { "The account stays, and cannot trade until it has others. A new pair has to be registered at Dhan, which \
                         locks for 7 days." }
                    (confirmed(shown, "retire", "Retire the addresses"))
                }
            }
            details {
                summary { "Delete " (name) }
                p { "Its keys and its secrets go with it. The order journal stays." }
                (confirmed(shown, "delete", "Delete the account"))
            }
        }
    }
}

fn confirmed(shown: &Shown<'_>, end: &str, button: &str) -> Markup {
    let (id, label) = (format!("{end}-name"), format!("Type {} to go on", shown.body.name));
    page::form(
        shown.visitor,
        &shown.path(end),
        &html! {
            (field(&Field { name: &id, label: &label, required: true, ..Field::default() }))
            button.danger { (button) }
        },
    )
}

/// Take its addresses away.
pub(in super::super) async fn retire(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let (target, back) = (format!("/v1/accounts/{}/pair", part(&name)), path(&name));
    let done = "Retired. Nobody else ever gets these addresses.";
    confirm(&console, &visitor, &form, ("retire-name", &name), &target, &back, done).await
}

/// Delete it.
pub(in super::super) async fn delete(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let target = format!("/v1/accounts/{}", part(&name));
    let has_pair = console.admin.account(&name).is_ok_and(|account| account.legs.is_some());
    let more = if has_pair { " Nobody else ever gets its addresses." } else { "" };
    let done = format!("{name} is deleted.{more}");
    confirm(&console, &visitor, &form, ("delete-name", &name), &target, "/console", &done).await
}

async fn confirm(
    console: &Console,
    visitor: &Visitor,
    form: &Form,
    (field, name): (&str, &str),
    target: &str,
    back: &str,
    done: &str,
) -> Response {
    // Who may not is told so by the call, whatever they typed.
    if visitor.may(crate::domain::OperatorRole::Admin) && form.text(field) != name {
        let text = format!("Nothing was done: type {name} to go on.");
        return page::back(console, visitor, &path(name), Flash { good: false, text });
    }
    act(console, visitor, Act { method: Method::DELETE, path: target, body: Value::Null, back, done }).await
}
