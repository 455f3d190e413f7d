//! How many client keys there are.

use maud::{Markup, html};

use super::super::shown::Shown;
use super::super::words;

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    let keys = shown.console.admin.accounts.keys(&shown.account.name).unwrap_or_default();
    html! {
        @if keys.is_empty() { p { "No client key yet." } } @else {
            ul { @for key in &keys { li { (key.label.as_deref().unwrap_or("without a label")) " "
                span.hint { "made " (words::day(key.created_at))
                    @match key.last_used_at { Some(at) => { ", last used " (words::day_and_clock(at)) } None => { ", not used yet" } } } } } }
        }
        p { a href=(shown.path("keys")) { "Connect your program, make and delete keys" } }
    }
}
