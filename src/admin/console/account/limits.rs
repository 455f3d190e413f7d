//! How much of Dhan's limits is used, as bars with numbers.

use maud::{Markup, html};

use super::super::shown::Shown;
use super::super::words;
use crate::broker::dhan::endpoints::RateClass;

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    let gate = shown.console.admin.orders.gate(shown.account.client_id());
    let usage = gate.usage();
    html! {
        p.hint { "Order writes, of what the gateway lets through: Dhan's number less a margin." }
        dl {
            @for one in usage.iter().filter(|usage| usage.class == RateClass::Order) {
                @let window = window(one.window.per.as_secs());
                dt { "In " (window) }
                dd {
                    progress max=(one.allowed) value=(one.used) aria-label={ "Orders in " (window) } {}
                    " " (words::number(one.used as usize)) " of " (words::number(one.allowed as usize))
                    span.hint { " (Dhan allows " (words::number(one.window.count as usize)) ")" }
                }
            }
        }
        @if gate.waiting() > 0 { p { (words::counted(gate.waiting(), "request")) " waiting for room." } }
    }
}

fn window(seconds: u64) -> &'static str {
    match seconds {
        1 => "a second",
        60 => "a minute",
        3600 => "an hour",
        _ => "a day",
    }
}
