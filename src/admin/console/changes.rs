//! Who changed what: the audit log, the newest first.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::audit::{AuditBody, FieldChange};
use super::super::changes;
use super::context::Console;
use super::guard::Visitor;
use super::page::{self, Part};
use super::words;

/// Lines of a page.
const PAGE: usize = 50;

/// Which page.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    before: Option<u64>,
}

/// `/console/changes`
pub(super) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let content = match changes::page(&console.admin, wanted.before, PAGE).await {
        Err(failure) => html! { h1 { "Changes" } p.flash.bad { (words::BAD) " " (failure.detail()) } },
        Ok(found) => html! {
            h1 { "Changes" }
            p.hint { "Every change that was made or refused, and who made it. Lines are chained by hashes, in the folder audit/ of the state." }
            @if found.items.is_empty() { p { "Nothing was changed yet." } } @else {
                table.cards {
                    thead { tr { th { "When" } th { "Who" } th { "What" } th { "Result" } } }
                    tbody { @for line in &found.items { (row(line)) } }
                }
            }
            @if let Some(next) = &found.next { p { a.button.second href={ "/console/changes?before=" (next) } { "Older" } } }
        },
    };
    page::page(&console, &visitor, Part::Help, "Changes", &content)
}

fn row(line: &AuditBody) -> Markup {
    html! {
        tr {
            td data-label="When" { @if let Ok(at) = line.at.parse() { (page::time(at)) } }
            td data-label="Who" { (line.actor) div.hint { (line.role) ", " (line.via) } }
            td data-label="What" {
                code { (line.method) " " (line.path) }
                @for change in &line.changes { div { (change.field) ": " (before_and_after(change)) } }
            }
            td data-label="Result" { @if line.status < 400 { (words::GOOD) " done" } @else { (words::BAD) " refused (" (line.status) ")" } }
        }
    }
}

fn before_and_after(change: &FieldChange) -> Markup {
    html! { (value(&change.before)) " → " strong { (value(&change.after)) } }
}

/// A value as people read it.
fn value(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(self::value).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members.values().map(self::value).collect::<Vec<_>>().join(", "),
    }
}
