//! May it trade, and what happens next?

use maud::{Markup, html};

use super::super::account_trouble::trouble_of;
use super::super::shown::Shown;
use super::super::{page, words};
use crate::accounts::overview::Trouble;
use crate::broker::dhan::calendar;
use crate::domain::{OperatorRole, Platform};

/// The section.
pub(super) fn show(shown: &Shown<'_>) -> Markup {
    let account = shown.body;
    html! {
        @if account.halted {
            p { (words::BAD) " Halted"
                @if let Some(since) = account.halted_since.as_deref().and_then(|at| at.parse().ok()) { " since " (page::time(since)) }
                @if let Some(reason) = account.halt_reason.as_deref().filter(|reason| !reason.is_empty()) { ": " (reason) }
                ". Cancels, exits and reads pass." }
        } @else if !account.problems.is_empty() {
            // Where these orders are the worst, they follow whole.
            @if !shown.account.is_traded_elsewhere() || shown.account.troubles().worst() != Some(Trouble::NotAlone) {
                p { (trouble_of(shown.account, account)) }
            }
        } @else { p { (words::GOOD) " May trade." } }
        @if let Some(found) = &account.elsewhere {
            div.trouble data-code=(found.code) {
                p { strong { (words::sentence(&found.summary)) } }
                p { (words::sentence(found.action)) }
                @if let Ok(at) = found.found_at.parse() { p.hint { "Seen " (page::time(at)) "." } }
            }
        }
        @if let Some(warning) = account.halt_warning { p.flash.bad { (warning) } }
        p { (next_login(shown)) }
        p { (last_request(shown)) }
        @if let Some(open) = sockets(shown) { p { (open) } }
        @if let Some(pin) = account.pin { p { (words::NEXT) " Pinned: only the " (pin) " address is used, and the other not even where this one fails." } }
        @if shown.may(OperatorRole::Operator) { (buttons(shown)) }
    }
}

/// When it logs in next, as far as that is the gateway's to say.
fn next_login(shown: &Shown<'_>) -> Markup {
    let standing = shown.account.token.standing();
    let until = super::login::waits_until(&standing);
    let by_itself = shown.account.record.platform == Platform::Automatic;
    let live = matches!(shown.body.token.state, "live" | "refreshing");
    let (_, window_ends) = calendar::next_refresh_window(jiff::Timestamp::now());
    html! {
        @if let Some(until) = until { "Logs in again at " strong { (words::exact_clock(until)) } "." }
        @else if by_itself && live { "Logs in again by itself, at the latest by " (page::time(window_ends)) ", before the market opens." }
        @else if shown.body.token.state == "needs_person" && by_itself { "Does not log in by itself before you have done what stands under Login." }
        @else if by_itself { "Logs in by itself as soon as it can." }
        @else if live { "Paste the next token before this one ends: under Login." }
        @else { "Logs in by a token that you paste." }
    }
}

/// Does its engine go through the gateway at all?
fn last_request(shown: &Shown<'_>) -> Markup {
    html! {
        @match shown.account.last_request.view() {
            Some(last) => {
                "Last request of a program: " (page::time(last.at)) ", " (last.class.as_str()) " by " (last.listener)
                @if let Some(program) = last.program { ", " (program) } "."
            },
            None => "No program has asked for anything since the gateway was started.",
        }
    }
}

/// The WebSockets that are open, by kind.
fn sockets(shown: &Shown<'_>) -> Option<Markup> {
    let open: Vec<_> = shown.account.streams.view().into_iter().filter(|kind| kind.open > 0).collect();
    if open.is_empty() {
        return None;
    }
    let each = open.iter().map(|kind| {
        let sharing = if kind.sharing == 0 { String::new() } else { format!(", shared by {} callers", kind.sharing) };
        format!("{} {} ({} messages{sharing})", kind.open, kind.kind, kind.messages[1])
    });
    Some(html! { "Open WebSockets: " (each.collect::<Vec<_>>().join(", ")) "." })
}

fn buttons(shown: &Shown<'_>) -> Markup {
    let account = shown.body;
    html! {
        div.row {
            @if account.halted {
                (shown.button("halt", &[("halted", "false")],
                    &html! { button data-confirm="Let this account trade again?" { "Let it trade again" } }))
            } @else {
                (shown.button("halt", &[("halted", "true")], &html! { button.danger { "Halt" } }))
            }
            @if account.pin.is_some() {
                (shown.button("leg", &[("pin", "auto")], &html! { button.second { "Let health choose the address" } }))
            } @else if account.pair.is_some() {
                @for role in ["primary", "secondary"] {
                    (shown.button("leg", &[("pin", role)], &html! { button.second { "Use only the " (role) } }))
                }
            }
        }
    }
}
