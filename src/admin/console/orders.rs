//! Orders: what left, and what became of it, live.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};

use super::super::orders::{self, PageOfLines};
use super::called::{self, Called, called, nobody};
use super::context::Console;
use super::page::{self, Part};
use super::shown;
use super::visitor::Visitor;
use super::words;
use crate::broker::dhan::endpoints::{WriteKind, classify};
use crate::domain::Outcome;
use crate::orders::journal::{Entry, Kind, Recorded};
use crate::orders::terms::Terms;

/// Lines of the journal that a page is made of. An order has two.
const LINES: &str = "100";
/// The word of an order that is placed.
const PLACE: &str = "Place";
/// The filters of the page, which the API has by the same names.
const FILTERS: [&str; 5] = ["account", "outcome", "since", "until", "cursor"];

/// An order write: the line before it left, and the line after.
#[derive(Debug, Default)]
struct Write<'l> {
    intent: Option<&'l Recorded>,
    outcome: Option<&'l Recorded>,
}

impl Write<'_> {
    /// The line that knows more.
    fn newest(&self) -> Option<&Entry> {
        self.outcome.or(self.intent).map(|line| &line.entry)
    }
}

/// `/console/orders`
pub(super) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(given): Query<BTreeMap<String, String>>,
) -> Response {
    let mut wanted: BTreeMap<String, String> = given
        .iter()
        .filter(|(name, value)| FILTERS.contains(&name.as_str()) && !value.is_empty())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    wanted.insert("limit".to_owned(), LINES.to_owned());
    let account = given.get("account").map(|text| text.trim()).filter(|text| !text.is_empty());
    let meant = account.map(|text| (text, called(&console, text)));
    if let Some((_, Called::One(name))) = &meant {
        wanted.insert("account".to_owned(), name.to_string());
    }
    if let Some(id) = given.get("id").map(|id| id.trim()).filter(|id| !id.is_empty()) {
        // Dhan's ids are digits; a caller's may be too, and then it is found by Dhan's.
        let digits = id.bytes().all(|byte| byte.is_ascii_digit());
        wanted.insert(if digits { "order_id" } else { "correlation_id" }.to_owned(), id.to_owned());
    }
    let found = match orders::read(wanted.into()) {
        Ok(query) => orders::page(&console.admin, query).await,
        Err(failure) => Err(failure),
    };
    // One that was deleted left its lines.
    let unclear = meant.as_ref().filter(|(_, meant)| !matches!(meant, Called::One(_)));
    let is_empty = |found: &Result<PageOfLines, _>| found.as_ref().map_or(true, |found| found.items.is_empty());
    let content = html! {
        h1 { "Orders" }
        p.hint { "Executed: Dhan took the order, whether it is filled yet or not. Rejected: nothing was done. Unknown: look in Dhan's order book." }
        (filters(&console, &given))
        @match found {
            found if is_empty(&found) && unclear.is_some() => @if let Some((text, meant)) = unclear { (nobody(meant, text)) },
            Err(failure) => p.flash.bad role="alert" { (words::BAD) " " (failure.detail()) },
            Ok(found) => (table(&console, &found, &given)),
        }
    };
    page::page(&console, &visitor, Part::Orders, "Orders", &content)
}

fn filters(console: &Console, given: &BTreeMap<String, String>) -> Markup {
    let known = called::list(console);
    let value = |name: &str| given.get(name).map(String::as_str).unwrap_or_default();
    let outcomes = [Outcome::Executed, Outcome::Rejected, Outcome::NotSent, Outcome::Unknown];
    html! {
        form.row role="search" method="get" action="/console/orders" {
            div.field { label for="account" { "Account" } input #account name="account" value=(value("account")) list=[known.as_ref().map(|_| called::LIST)]; }
            @if let Some(known) = &known { (known) }
            div.field {
                label for="outcome" { "Outcome" }
                select #outcome name="outcome" {
                    option value="" { "all" }
                    @for outcome in outcomes {
                        option value=(outcome.as_str()) selected[value("outcome") == outcome.as_str()] { (words::outcome(outcome)) }
                    }
                }
            }
            div.field { label for="id" { "Dhan's order id or your id" } input #id type="search" name="id" value=(value("id")); }
            button.second { "Show" }
        }
        @if value("outcome") == Outcome::NotSent.as_str() {
            p.hint { "Of what was not sent, only that stands here which was written down before: an order of an account that is halted, \
                      not logged in or without an address in use is refused before that, and the reply and the log say why." }
        }
    }
}

fn table(console: &Console, found: &PageOfLines, given: &BTreeMap<String, String>) -> Markup {
    let (writes, live) = (writes(&found.items), given.is_empty());
    // What was looked for is looked for on the next page too.
    let same: String = given
        .iter()
        .filter(|(name, _)| *name != "cursor")
        .map(|(name, value)| format!("&{}={}", super::call::part(name), super::call::part(value)))
        .collect();
    html! {
        div #orders data-live=[live.then_some("order")] {
            @if writes.is_empty() { p { "No order matches." } } @else {
                table.cards {
                    thead { tr { th { "Time" } th { "Account" } th { "What" } th { "Outcome" } th { "Left by" } th { "Ids" } th.number { "Dhan, gateway" } } }
                    tbody { @for (at, write) in writes.iter().enumerate() { (row(console, write, writes.get(..at).unwrap_or_default())) } }
                }
            }
        }
        @if found.unreadable > 0 { p.flash.bad { (words::counted(found.unreadable, "line")) " cannot be read: " code { "sixgate journal verify" } " says what is wrong with them." } }
        @if let Some(next) = &found.next { p { a.button.second href={ "/console/orders?cursor=" (next) (same) } { "Older" } } }
    }
}

/// Lines of one request belong together; the newest first, as they come.
fn writes(lines: &[Recorded]) -> Vec<Write<'_>> {
    let mut found: Vec<(String, Write<'_>)> = Vec::new();
    for line in lines.iter().filter(|line| line.entry.kind != Kind::Note) {
        let id = line.entry.request_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let at = match found.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                found.push((id, Write::default()));
                found.len() - 1
            }
        };
        let Some((_, write)) = found.get_mut(at) else { continue };
        match line.entry.kind {
            Kind::Intent => write.intent = Some(line),
            Kind::Outcome => write.outcome = write.outcome.or(Some(line)),
            Kind::Note => {}
        }
    }
    found.into_iter().map(|(_, write)| write).collect()
}

fn row(console: &Console, write: &Write<'_>, newer: &[Write<'_>]) -> Markup {
    let Some(entry) = write.newest() else { return html! {} };
    let terms = entry.terms.as_deref().or_else(|| write.intent?.entry.terms.as_deref()).unwrap_or_default();
    html! {
        tr {
            td.short data-label="Time" { (page::exact_time(entry.at)) }
            td data-label="Account" { @if let Some(account) = &entry.account { (shown::link(console, account.as_str())) } }
            td data-label="What" {
                // Its lines, its proof and the question to Dhan are on its own page: here they would be half a megabyte.
                @match &entry.request_id {
                    Some(id) => a href={ "/console/orders/" (super::call::part(id.as_str())) } { (what(entry)) },
                    None => (what(entry)),
                }
                @for terms in terms { div.hint { (short(terms)) } }
            }
            td data-label="Outcome" {
                (outcome(entry, write.outcome.is_some(), false))
                @if let Some(again) = again(entry, newer.iter().rev().filter_map(Write::newest)) { (tried_again(again)) }
            }
            td data-label="Left by" {
                @if let Some(leg) = entry.leg { (words::role(leg.as_str())) }
                @if let Some(source) = entry.source { div.hint.address { (source) } }
            }
            td.short data-label="Ids" {
                @if let Some(id) = &entry.order_id { div { (id) } }
                @if let Some(id) = &entry.correlation_id { div.hint { "yours: " (id) } }
            }
            td.number.short data-label="Dhan, gateway" { (times(entry)) }
        }
    }
}

/// What became of it, in a word with a shape; `is_settled`: somebody has looked, where nobody knew.
pub(super) fn outcome(entry: &Entry, ended: bool, is_settled: bool) -> Markup {
    html! {
        @match entry.outcome {
            Some(outcome @ Outcome::Executed) => { (words::GOOD) " " (words::outcome(outcome)) }
            Some(outcome @ Outcome::Unknown) => { (words::UNKNOWN) " " (words::outcome(outcome)) }
            Some(outcome @ Outcome::NotSent) => { (words::NEXT) " " (words::outcome(outcome)) }
            Some(outcome @ Outcome::Rejected) => { (words::BAD) " " (words::outcome(outcome)) }
            None if ended => { "–" }
            None => { "under way" }
        }
        @if entry.outcome == Some(Outcome::Unknown) && !is_settled { div.error { "Look in the order book before you send it again." } }
        @if entry.recovered == Some(true) { div.hint { "found by asking Dhan afterwards" } }
        @if let Some(code) = &entry.broker_code { div.hint { (code) } }
    }
}

/// What a write does, from its method and path.
pub(super) fn what(entry: &Entry) -> &'static str {
    let (Some(method), Some(path)) = (&entry.method, &entry.path) else { return "" };
    match classify(method, path.as_str(), None).write {
        Some(WriteKind::Create) => PLACE,
        Some(WriteKind::Change) => "Change",
        Some(WriteKind::Cancel) => "Cancel",
        Some(WriteKind::ExitAll) => "Exit all",
        Some(WriteKind::KillSwitchOn) => "Kill switch",
        Some(WriteKind::Other) | None => "Other",
    }
}

/// `BUY 5 of 11536 (NSE_EQ), LIMIT 3310.5`.
pub(super) fn short(terms: &Terms) -> String {
    let mut text = String::new();
    let word = |text: &mut String, before: &str, word: Option<&str>, after: &str| {
        if let Some(word) = word {
            text.push_str(before);
            text.push_str(word);
            text.push_str(after);
        }
    };
    word(&mut text, "", terms.side.as_deref(), " ");
    word(&mut text, "", terms.quantity.as_ref().map(|number| number.as_str()), "");
    word(&mut text, " of ", terms.security.as_deref(), "");
    word(&mut text, " (", terms.segment.as_deref(), ")");
    word(&mut text, ", ", terms.order_type.as_deref(), "");
    word(&mut text, " ", terms.price.as_ref().map(|number| number.as_str()), "");
    text
}

/// How long Dhan took, and the gateway besides.
pub(super) fn times(entry: &Entry) -> String {
    match (entry.upstream_us, entry.total_us) {
        (Some(upstream), Some(total)) => {
            let (dhan, rest) = (words::took(upstream), words::took(total.saturating_sub(upstream)));
            // After an answer that was lost the rest of the time went into asking what became of it.
            match entry.outcome == Some(Outcome::Unknown) || entry.recovered == Some(true) {
                true => format!("{dhan}, looking for it: {rest}"),
                false => format!("{dhan}, {rest}"),
            }
        }
        _ => String::new(),
    }
}

/// Where an order was placed again, with a link to that.
pub(super) fn tried_again(again: &Entry) -> Markup {
    html! {
        div.hint { "tried again at " @match &again.request_id {
            Some(id) => a href={ "/console/orders/" (super::call::part(id.as_str())) } { (words::day_and_exact_clock(again.at)) },
            None => (words::day_and_exact_clock(again.at)),
        } }
    }
}

/// The first of newer writes that placed an order again, under its id, after it had come to nothing.
pub(super) fn again<'w>(entry: &Entry, mut newer: impl Iterator<Item = &'w Entry>) -> Option<&'w Entry> {
    let came_to_nothing = matches!(entry.outcome, Some(Outcome::Rejected | Outcome::NotSent));
    let id = entry.correlation_id.as_ref().filter(|_| came_to_nothing && what(entry) == PLACE)?;
    let is_same = |other: &&Entry| {
        other.account == entry.account && other.correlation_id.as_ref() == Some(id) && what(other) == PLACE
    };
    newer.find(is_same)
}

/// The line as it stands in the journal.
pub(super) fn line_text(line: &Recorded) -> String {
    let mut text = Vec::new();
    match crate::orders::journal::write_json(&mut text, line) {
        Ok(()) => String::from_utf8_lossy(&text).trim_end().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::journal::{SafePath, SafeText};

    fn placed(id: &str, outcome: Outcome) -> Entry {
        let mut entry = Entry::new(Kind::Outcome, jiff::Timestamp::now());
        (entry.method, entry.path) = (Some(http::Method::POST), Some(SafePath::new("/v2/orders")));
        (entry.correlation_id, entry.outcome) = (Some(SafeText::new(id)), Some(outcome));
        (entry.upstream_us, entry.total_us) = (Some(2_400), Some(5_002_400));
        entry
    }

    /// Five seconds of asking are not five seconds that the gateway adds.
    #[test]
    fn the_time_of_looking_for_an_order_is_not_the_gateway_s() {
        assert_eq!(times(&placed("a", Outcome::Unknown)), "2.4 ms, looking for it: 5.0 s");
        assert_eq!(times(&placed("a", Outcome::Executed)), "2.4 ms, 5.0 s");
        let found = Entry { recovered: Some(true), ..placed("a", Outcome::Executed) };
        assert_eq!(times(&found), "2.4 ms, looking for it: 5.0 s");
    }

    #[test]
    fn an_order_that_was_tried_again_says_so_and_no_other_does() {
        let lines = [placed("a", Outcome::Executed), placed("b", Outcome::Executed), placed("a", Outcome::Rejected)];
        let tried = |at: usize| again(&lines[at], lines[..at].iter()).is_some();
        assert_eq!([tried(0), tried(1), tried(2)], [false, false, true]);
    }
}
