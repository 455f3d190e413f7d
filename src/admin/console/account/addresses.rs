//! The two addresses: in use, registered at Dhan, and until when they are locked there.

use maud::{Markup, html};

use super::super::super::wire::SeenSlotBody;
use super::super::accounts::leg;
use super::super::field::copied;
use super::super::shown::Shown;
use super::super::{page, words};
use crate::domain::OperatorRole;

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    let body = shown.body;
    let seen = body.registration.as_ref();
    html! {
        @if body.legs.is_empty() {
            p { "None yet: nothing of this account can leave this machine." }
            @if shown.may(OperatorRole::Admin) {
                div.row {
                    (shown.button("assign", &[], &html! { button { "Auto Assign IP" } }))
                    a.button.second href={ (shown.path("edit")) "#pair" } { "Bring my own" }
                }
            }
        } @else {
            dl {
                @for of in &body.legs {
                    dt { (words::role(of.role)) }
                    dd {
                        (copied(&of.address.to_string()))
                        div { (leg(Some(of)))
                            @if body.pin.is_some_and(|pin| pin != of.role) { span.hint { " Not used: the account is pinned to the other." } } }
                        @let slot = seen.and_then(|seen| if of.role == "primary" { seen.primary.as_ref() } else { seen.secondary.as_ref() });
                        div { (registered(slot)) }
                    }
                }
            }
            p { a href=(shown.path("registration")) { "Registration at Dhan" } }
        }
    }
}

/// How it stands with an address at Dhan.
pub(in super::super) fn registered(slot: Option<&SeenSlotBody>) -> Markup {
    let locked = |slot: &SeenSlotBody| slot.change_allowed_from.clone();
    html! {
        @match slot {
            None => { (words::UNKNOWN) " Not asked yet whether Dhan has it." }
            Some(slot) if slot.matches == Some(true) => {
                (words::GOOD) " Registered at Dhan"
                @if let Some(from) = locked(slot) { "; locked there until " (words::civil_day(&from)) }
                "."
            }
            Some(slot) => {
                @match &slot.registered {
                    None => { (words::NEXT) " Not registered at Dhan yet." }
                    Some(other) => {
                        (words::BAD) " Dhan has " code { (other) } " in its place"
                        @if let Some(from) = locked(slot) { "; it may change from " (words::civil_day(&from)) }
                        "."
                    }
                }
            }
        }
        @if let Some(at) = slot.and_then(|slot| slot.seen_at.parse().ok()) { span.hint { " Seen " (page::time(at)) "." } }
    }
}
