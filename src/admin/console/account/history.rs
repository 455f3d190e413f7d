//! What people did to it, from the audit log.

use maud::{Markup, html};

use super::super::super::audit::AuditBody;
use super::super::super::changes;
use super::super::changes::value;
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
    let own = found.items.iter().filter(|line| line.account.as_deref() == Some(&shown.body.name));
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
    let end = line.path.splitn(5, '/').nth(4).unwrap_or_default();
    html! {
        tr {
            td data-label="Time" { @if let Ok(at) = line.at.parse() { (page::time(at)) } }
            td data-label="Who" { (line.actor) " (" (line.role) ")" }
            td data-label="What" {
                (what(&line.method, end))
                @if line.status >= 400 { " " span.bad { (words::BAD) " refused (" (line.status) ")" } }
                @for change in &line.changes {
                    div.hint { (change.field) ": " (value(change.before.as_deref())) " → " (value(change.after.as_deref())) }
                }
            }
        }
    }
}

/// A call in words.
fn what(method: &str, end: &str) -> String {
    let word = match (method, end.split('/').next().unwrap_or_default()) {
        ("POST", "") => "created",
        ("PATCH", "") => "settings changed",
        ("DELETE", "") => "deleted",
        ("POST", "pair") => "addresses given",
        ("DELETE", "pair") => "addresses retired",
        ("PUT", "halt") => "halted, or let trade again",
        ("PUT", "leg") => "address chosen",
        ("PUT", "token") => "token pasted",
        ("POST", "token") if end.ends_with("consent") => "login by Dhan's page",
        ("POST", "token") => "login asked for",
        ("POST", "keys") => "key made",
        ("DELETE", "keys") => "key deleted",
        ("PUT", "registration") => "registered at Dhan",
        ("POST", "validate") => "validated",
        _ => return format!("{method} {end}"),
    };
    word.to_owned()
}
