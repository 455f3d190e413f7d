//! The last orders of today, from the journal.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::call::part;
use super::super::orders::outcome;
use super::super::shown::Shown;
use super::super::{page, words};
use crate::domain::india;
use crate::orders::journal::{Entry, Kind, Order, Query, query};
use crate::orders::terms::Terms;

/// Rows.
const ROWS: usize = 20;
/// Lines of the journal that are read for them: it has those of all accounts, and the page is not to wait for it.
const READ: u64 = 1000;

/// The section.
pub(super) async fn show(shown: &Shown<'_>) -> Markup {
    let folder = shown.console.admin.orders.journal.folder().to_path_buf();
    let midnight = india::local(Timestamp::now()).date().to_datetime(jiff::civil::Time::midnight());
    let wanted = Query {
        account: Some(shown.account.name.clone()),
        kind: Some(Kind::Outcome),
        since: Some(india::instant(midnight)),
        order: Order::NewestFirst,
        limit: ROWS,
        scan: READ,
        ..Query::default()
    };
    let read = tokio::task::spawn_blocking(move || query(&folder, &wanted)).await;
    let Ok(Ok(found)) = read else {
        return html! { p { (words::BAD) " The journal cannot be read; see This machine." } };
    };
    html! {
        @if found.items.is_empty() { p { @if found.next.is_some() { "None lately." } @else { "None today." } } } @else {
            table.cards {
                thead { tr { th { "Time" } th { "What" } th { "Outcome" } th { "Address" } th { "Dhan's id" } th { "Your id" } } }
                tbody { @for row in &found.items { (order(&row.entry)) } }
            }
            @if found.next.is_some() && found.items.len() == ROWS { p.hint { "The last " (ROWS) "." } }
        }
        @if found.next.is_some() && found.items.len() < ROWS {
            p.hint {
                "Of the last " (READ) " lines of all accounts. "
                a href={ "/console/orders?account=" (part(shown.account.name.as_str())) } { "Look further back" } "."
            }
        }
    }
}

fn order(entry: &Entry) -> Markup {
    let text = |text: &Option<crate::orders::journal::SafeText>| {
        text.as_ref().map_or("–".to_owned(), |text| text.as_str().to_owned())
    };
    let what = match entry.terms() {
        [] => format!(
            "{} {}",
            entry.method.as_ref().map(ToString::to_string).unwrap_or_default(),
            entry.path.as_ref().map(|path| path.as_str().to_owned()).unwrap_or_default()
        ),
        terms => terms.iter().map(terms_line).collect::<Vec<_>>().join("; "),
    };
    html! {
        tr {
            td.short data-label="Time" { (page::exact_time(entry.at)) }
            td data-label="What" {
                @match &entry.request_id {
                    Some(id) => a href={ "/console/orders/" (part(id.as_str())) } { (what) },
                    None => (what),
                }
            }
            td data-label="Outcome" { (outcome(entry, true, false)) }
            td data-label="Address" { @match entry.leg { Some(leg) => (leg.as_str()), None => "–" } }
            td data-label="Dhan's id" { (text(&entry.order_id)) }
            td data-label="Your id" { (text(&entry.correlation_id)) }
        }
    }
}

/// `BUY 5 of 11536 at 3310.5`
fn terms_line(terms: &Terms) -> String {
    let words = [
        terms.side.as_deref().map(str::to_owned),
        terms.quantity.as_ref().map(|quantity| quantity.as_str().to_owned()),
        terms.security.as_deref().map(|security| format!("of {security}")),
        terms.price.as_ref().map(|price| format!("at {}", price.as_str())),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
