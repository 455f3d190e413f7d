//! Who changed what: the audit log, the newest first.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::audit::{AuditBody, FieldChange};
use super::super::changes;
use super::context::Console;
use super::page::{self, Part};
use super::visitor::Visitor;
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
    html! { (value(change.before.as_deref())) " → " strong { (value(change.after.as_deref())) } }
}

/// A value as people read it.
pub(super) fn value(value: Option<&str>) -> &str {
    match value {
        None | Some("" | "[]") => "–",
        Some("true") => "yes",
        Some("false") => "no",
        Some(text) => text,
    }
}
