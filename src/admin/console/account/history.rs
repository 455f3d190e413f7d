//! What people did to it, from the audit log.

use maud::{Markup, html};

use super::super::super::audit::AuditBody;
use super::super::super::auth::ALL_HALTED;
use super::super::super::changes;
use super::super::changes::{before_and_after, differs, what};
use super::super::shown::Shown;
use super::super::{page, words};

/// Lines that are read back.
const READ: usize = 1000;
/// Lines that are shown.
const SHOWN: usize = 20;

/// The section.
pub(super) async fn show(shown: &Shown<'_>) -> Markup {
    let Ok(found) = changes::page(&shown.console.admin, None, READ).await else {
        return html! { p { (words::BAD) " The audit log cannot be read." } };
    };
    // What is done to all is done to this one too, if it was there then.
    let of_all = |line: &AuditBody| {
        line.path == ALL_HALTED && line.status < 400 && line.method == "PUT" && line.at >= shown.body.created_at
    };
    let own = found.items.iter().filter(|line| line.account.as_deref() == Some(&shown.body.name) || of_all(line));
    let lines: Vec<&AuditBody> = own.take(SHOWN).collect();
    html! {
        @if lines.is_empty() { p { "Nothing lately." } } @else {
            table.cards {
                thead { tr { th { "Time" } th { "Who" } th { "What" } } }
                tbody { @for line in lines { (row(line)) } }
            }
        }
        @if let Ok(made) = shown.body.created_at.parse() { p.hint { "Created " (page::time(made)) "." } }
    }
}

fn row(line: &AuditBody) -> Markup {
    html! {
        tr {
            td.short data-label="Time" { @if let Ok(at) = line.at.parse() { (page::exact_time(at)) } }
            td data-label="Who" { (words::operator(&line.actor, &line.role)) }
            td data-label="What" {
                @match what(line) { Some(word) => (word), None => { (line.method) " " (line.path) } }
                @if line.status >= 400 { " " span.bad { (words::BAD) " refused (" (line.status) ")" } }
                @for change in line.changes.iter().filter(differs) { div.hint { (before_and_after(change)) } }
            }
        }
    }
}
