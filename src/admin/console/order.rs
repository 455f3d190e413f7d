//! One order's page: what the journal has of it, fit for one sheet of paper; what Dhan says of it now; and the word of a
//! person who has looked, where nobody knew what became of it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::super::orders as api;
use super::super::sessions::Flash;
use super::act::{forbidden, lacks};
use super::call::{Refused, call, part};
use super::context::Console;
use super::field::{Field, field};
use super::form::Form;
use super::orders::{again, line_text, outcome, short, times, tried_again, what};
use super::page::{self, Part, form};
use super::shown;
use super::visitor::Visitor;
use super::words;
use crate::domain::{OperatorRole, Outcome};
use crate::orders::journal::{Entry, Kind, Note, Order, Query, Recorded, SafeText};

/// Lines of one request at most.
const LINES: usize = 50;

/// `/console/orders/{request_id}`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    shown(&console, &visitor, &id, None, None).await
}

async fn shown(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    refused: Option<&Refused>,
    dhan: Option<&Result<Value, Refused>>,
) -> Response {
    let wanted =
        Query { request_id: Some(SafeText::new(id)), order: Order::OldestFirst, limit: LINES, ..Query::default() };
    let lines = match api::page(&console.admin, wanted).await {
        Ok(page) => page.items,
        Err(failure) => return page::refused(StatusCode::INTERNAL_SERVER_ERROR, "No order", failure.detail()),
    };
    let Some(newest) = newest(&lines) else {
        return page::refused(
            StatusCode::NOT_FOUND,
            "No such order",
            "The journal has no line of it: it is older than what is kept, or the link is wrong.",
        );
    };
    let again = placed_again(console, newest).await;
    let open = newest.outcome == Some(Outcome::Unknown) && !is_settled(&lines);
    let content = html! {
        @if let Some(refused) = refused { (page::summary(refused)) }
        h1 { "Order of " (page::full_time(newest.at)) }
        (facts(console, newest, &lines, again.as_ref()))
        @if let Some(answer) = dhan { (of_dhan(answer)) }
        @if visitor.may(OperatorRole::Operator) { (actions(visitor, id, newest, open, refused)) }
        (settlements(&lines))
        section aria-labelledby="lines" {
            h2 #lines { "In the journal" }
            p.hint { "Each line has the hash of the line before it. " code { "sixgate journal verify" } " checks the whole chain." }
            @for line in &lines {
                h3 { (words::number(line.seq as usize)) " · " (line.entry.kind.as_str()) " · " (page::full_time(line.entry.at)) }
                pre { (line_text(line)) }
            }
        }
        p { a href="/console/orders" { "All orders" } }
    };
    let page = page::page(console, visitor, Part::Orders, "Order", &content);
    match refused {
        Some(refused) => page::with(refused.status, page),
        None => page,
    }
}

/// The line that knows most: the last outcome, or else the intent.
fn newest(lines: &[Recorded]) -> Option<&Entry> {
    let of = |kind| lines.iter().rev().map(|line| &line.entry).find(move |entry| entry.kind == kind);
    of(Kind::Outcome).or_else(|| of(Kind::Intent))
}

fn is_settled(lines: &[Recorded]) -> bool {
    lines.iter().any(|line| matches!(line.entry.note, Some(Note::Settled { .. })))
}

/// The order that was placed in place of this one, which came to nothing.
async fn placed_again(console: &Console, entry: &Entry) -> Option<Entry> {
    let wanted = Query {
        account: entry.account.clone(),
        correlation_id: Some(entry.correlation_id.clone()?),
        since: Some(entry.at),
        order: Order::OldestFirst,
        limit: LINES,
        ..Query::default()
    };
    let lines = api::page(&console.admin, wanted).await.ok()?.items;
    let newer = lines.iter().map(|line| &line.entry).filter(|other| other.request_id != entry.request_id);
    again(entry, newer).cloned()
}

fn facts(console: &Console, entry: &Entry, lines: &[Recorded], again: Option<&Entry>) -> Markup {
    let ended = lines.iter().any(|line| line.entry.kind == Kind::Outcome);
    let text = |text: &Option<SafeText>| text.as_ref().map_or("–".to_owned(), |text| text.as_str().to_owned());
    html! {
        dl {
            dt { "Account" } dd { @match &entry.account { Some(name) => (shown::link(console, name.as_str())), None => "–" } }
            dt { "What" } dd { (what(entry)) @for terms in entry.terms() { div { (short(terms)) } } }
            dt { "Outcome" } dd { (outcome(entry, ended, is_settled(lines))) @if let Some(again) = again { (tried_again(again)) } }
            dt { "Left by" } dd {
                @match entry.leg { Some(leg) => (words::role(leg.as_str())), None => "–" }
                @if let Some(source) = entry.source { ", from " (source) }
            }
            dt { "Dhan's id" } dd { (text(&entry.order_id)) }
            dt { "Your id" } dd { (text(&entry.correlation_id)) }
            dt { "Request" } dd { (text(&entry.request_id)) }
            dt { "Dhan, gateway" } dd { (times(entry)) }
        }
    }
}

fn actions(visitor: &Visitor, id: &str, entry: &Entry, open: bool, refused: Option<&Refused>) -> Markup {
    let path = format!("/console/orders/{}", part(id));
    let error = refused.filter(|refused| refused.field.as_deref() == Some("note")).map(|refused| &*refused.detail);
    html! {
        @if id_at_dhan(entry).is_some() {
            (form(visitor, &format!("{path}/ask"), &html! { button.second { "Ask Dhan now" } }))
            p.hint { "Counts among the questions that Dhan allows the account." }
        }
        @if open {
            section aria-labelledby="settle" {
                h2 #settle { "Mark as settled" }
                p { "Look in Dhan's order book for it. Then say here what you found; the journal keeps it beside the outcome, which stays \
                     unknown." }
                (form(visitor, &format!("{path}/settle"), &html! {
                    div.field {
                        label for="outcome" { "What became of it" }
                        select #outcome name="outcome" {
                            option value="" { "still not known" }
                            @for outcome in [Outcome::Executed, Outcome::Rejected, Outcome::NotSent] {
                                option value=(outcome.as_str()) { (words::outcome(outcome)) }
                            }
                        }
                    }
                    (field(&Field { name: "note", label: "What you found, and where", hint: "Kept for years. No secret.", required: true, error, ..Field::default() }))
                    button { "Mark as settled" }
                }))
            }
        }
    }
}

/// What people said of it.
fn settlements(lines: &[Recorded]) -> Markup {
    html! {
        @for line in lines {
            @if let Some(Note::Settled { outcome, by, text }) = &line.entry.note {
                p { (words::GOOD) " Settled " (page::time(line.entry.at))
                    @if let Some(by) = by { " by " (by) } ": "
                    @if let Some(outcome) = outcome { (words::outcome(*outcome)) ", " } (text) }
            }
        }
    }
}

/// What Dhan says of it now: the fields that it has.
fn of_dhan(answer: &Result<Value, Refused>) -> Markup {
    const SHOWN: [(&str, &str); 12] = [
        ("status", "Status"),
        ("side", "Side"),
        ("symbol", "Symbol"),
        ("segment", "Segment"),
        ("order_type", "Kind"),
        ("quantity", "Quantity"),
        ("filled", "Filled"),
        ("price", "Price"),
        ("average_price", "Average price"),
        ("reason", "Dhan's words"),
        ("created_at", "Made"),
        ("updated_at", "Changed"),
    ];
    html! {
        section #dhan aria-labelledby="asked" {
            h2 #asked { "Dhan says, " (words::clock(jiff::Timestamp::now())) }
            @match answer {
                Err(refused) if refused.status == 404 => p role="status" { (words::UNKNOWN) " " (words::sentence(&refused.detail)) },
                Err(refused) => p.flash.bad role="alert" { (words::BAD) " " (refused.detail) },
                Ok(order) => dl {
                    @for (name, word) in SHOWN {
                        @if let Some(text) = order.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) { dt { (word) } dd { (words::readable(text)) } }
                    }
                },
            }
        }
    }
}

/// Ask Dhan how it stands.
pub(super) async fn query_broker(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    // It counts among what Dhan allows the account, which is not a viewer's to spend.
    if let Some(refused) = lacks(&visitor, OperatorRole::Operator) {
        return refused;
    }
    let wanted =
        Query { request_id: Some(SafeText::new(&id)), order: Order::OldestFirst, limit: LINES, ..Query::default() };
    let lines = api::page(&console.admin, wanted).await.map(|page| page.items).unwrap_or_default();
    let Some(path) = newest(&lines).and_then(id_at_dhan) else {
        return page::refused(
            StatusCode::NOT_FOUND,
            "Nothing to ask for",
            "The journal has no id by which Dhan knows it.",
        );
    };
    match call(&console.api, &visitor.operator, Method::GET, &path, &Value::Null).await {
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        answer => shown(&console, &visitor, &id, None, Some(&answer)).await,
    }
}

/// The path of the question after it: by Dhan's id, and where the reply that had it was lost, by the one that it was sent
/// with.
fn id_at_dhan(entry: &Entry) -> Option<String> {
    let orders = format!("/v1/accounts/{}/orders", part(entry.account.as_ref()?.as_str()));
    let own = |id: &SafeText| format!("{orders}/{}?by=correlation_id", part(id.as_str()));
    let dhans = entry.order_ids().next().map(|id| format!("{orders}/{}", part(id)));
    dhans.or_else(|| entry.correlation_id.as_ref().map(own))
}

/// A person has looked.
pub(super) async fn settle(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let path = format!("/v1/orders/{}/settled", part(&id));
    match call(&console.api, &visitor.operator, Method::POST, &path, &form.object(&["note", "outcome"])).await {
        Ok(_) => {
            let (back, text) = (format!("/console/orders/{}", part(&id)), "Settled.".to_owned());
            page::back(&console, &visitor, &back, Flash { good: true, text })
        }
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        Err(refused) => shown(&console, &visitor, &id, Some(&refused), None).await,
    }
}
