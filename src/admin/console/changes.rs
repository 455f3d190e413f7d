//! Who changed what: the audit log, the newest first.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::audit::{AuditBody, FieldChange};
use super::super::auth::ALL_HALTED;
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
                    tbody { @for line in &found.items { (row(&console, line)) } }
                }
            }
            @if let Some(next) = &found.next { p { a.button.second href={ "/console/changes?before=" (next) } { "Older" } } }
        },
    };
    page::page(&console, &visitor, Part::Help, "Changes", &content)
}

fn row(console: &Console, line: &AuditBody) -> Markup {
    html! {
        tr {
            td.short data-label="When" { @if let Ok(at) = line.at.parse() { (page::exact_time(at)) } }
            td data-label="Who" { (line.actor) div.hint { @if line.role != line.actor { (line.role) ", " } "by the " @if line.via == "api" { "API" } @else { (line.via) } } }
            td data-label="What" {
                @if let Some(word) = what(line) {
                    div { (word) @if let Some(account) = &line.account { ": " (super::shown::link(console, account)) } }
                }
                div.hint { code { (line.method) " " (line.path) } }
                @for change in line.changes.iter().filter(differs) { div { (before_and_after(change)) } }
            }
            td data-label="Result" { @if line.status < 400 { (words::GOOD) " done" } @else { (words::BAD) " refused (" (line.status) ")" } }
        }
    }
}

/// What was nothing and is nothing is no change to read.
pub(super) fn differs(change: &&FieldChange) -> bool {
    value(change.before.as_deref()) != value(change.after.as_deref())
}

pub(super) fn before_and_after(change: &FieldChange) -> Markup {
    let (before, after) = (value(change.before.as_deref()), value(change.after.as_deref()));
    let field = change.field.replace('_', " ");
    html! { (field) ": " @if before != "–" { (before) " → " } strong { (after) } }
}

/// What was asked for, in words that fit a refusal too; nothing for a call that has none.
pub(super) fn what(line: &AuditBody) -> Option<&'static str> {
    let is_halted =
        line.changes.iter().find(|change| change.field == "halted").and_then(|change| change.after.as_deref());
    match (line.path.as_str(), is_halted) {
        (ALL_HALTED, Some("true")) => Some("halt all"),
        (ALL_HALTED, Some(_)) => Some("let all trade again"),
        (path, Some(halted)) if path.ends_with("/halt") => {
            Some(if halted == "true" { "halt it" } else { "let it trade again" })
        }
        (path, _) => of_call(&line.method, path),
    }
}

fn of_call(method: &str, path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    Some(match (method, parts.as_slice()) {
        ("POST", ["accounts"]) => "create the account",
        ("PATCH", ["accounts", _]) => "change its settings",
        ("DELETE", ["accounts", _]) => "delete the account",
        ("POST", ["accounts", _, "pair"]) => "give it addresses",
        ("DELETE", ["accounts", _, "pair"]) => "retire its addresses",
        ("PUT", ["accounts", _, "halt"]) => "halt it, or let it trade again",
        ("PUT", ["accounts", _, "leg"]) => "choose its address",
        ("PUT", ["accounts", _, "token"]) => "use a pasted token",
        ("POST", ["accounts", _, "token", "consent"]) => "log in at Dhan's page",
        ("POST", ["accounts", _, "token", _]) => "log in",
        ("POST", ["accounts", _, "keys"]) => "make a key",
        ("DELETE", ["accounts", _, "keys", _]) => "delete a key",
        ("PUT", ["accounts", _, "registration"]) => "register at Dhan",
        ("POST", ["accounts", _, "validate"]) => "validate",
        ("PUT", ["halt"]) => "halt all, or let all trade again",
        ("POST", ["validate"] | ["validate", "job"]) => "validate all accounts",
        ("DELETE", ["validate", "job"]) => "stop validating all accounts",
        ("POST", ["pools"]) => "make a pool",
        ("DELETE", ["pools", _]) => "delete a pool",
        ("POST", ["pools", _, "reservations"]) => "set addresses aside",
        ("DELETE", ["pools", _, "reservations", _]) => "give back what was set aside",
        ("DELETE", ["addresses", _]) => "forget an address",
        ("POST", ["orders", _, "settled"]) => "mark an order as settled",
        ("POST", ["totp", "preview"]) => "show the code of a TOTP key",
        ("POST", ["host", "check"]) => "check this machine",
        ("POST", ["console", "links"]) => "make a link that signs in",
        ("POST", ["reload"]) => "read the configuration anew",
        _ => return None,
    })
}

/// A value as people read it.
fn value(value: Option<&str>) -> String {
    let members = |text: &str| {
        let told = |value: &Value| value.as_str().map_or_else(|| value.to_string(), words::readable);
        let shown: Vec<String> = match serde_json::from_str(text).ok()? {
            Value::Object(object) => object.values().map(told).collect(),
            Value::Array(list) => list.iter().map(told).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
        Some(shown.join(" and "))
    };
    match value {
        None | Some("" | "[]") => "–".to_owned(),
        Some("true") => "yes".to_owned(),
        Some("false") => "no".to_owned(),
        // Such as the two addresses of a pair, or the ids of keys.
        Some(text) => members(text).unwrap_or_else(|| words::readable(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_as_words() {
        assert_eq!(of_call("POST", "/v1/accounts/a/token/consent"), Some("log in at Dhan's page"));
        assert_eq!(of_call("POST", "/v1/nothing"), None);
        let halt = |path: &str, halted: bool| {
            let changes = [FieldChange {
                field: "halted".to_owned(),
                before: Some((!halted).to_string()),
                after: Some(halted.to_string()),
            }];
            let line = serde_json::json!({ "seq": 1, "at": "", "actor": "a", "role": "admin", "via": "api", "method": "PUT",
                "path": path, "status": 200, "account": null, "changes": changes, "prev": "", "hash": "" });
            what(&serde_json::from_value(line).unwrap())
        };
        assert_eq!([halt("/v1/halt", true), halt("/v1/halt", false)], [Some("halt all"), Some("let all trade again")]);
        assert_eq!(halt("/v1/accounts/a/halt", false), Some("let it trade again"));
        let pair = r#"{"primary":"2001:db8:a1::1","secondary":"2001:db8:a2::1"}"#;
        assert_eq!(value(Some(pair)), "2001:db8:a1::1 and 2001:db8:a2::1");
        assert_eq!(value(Some(r#"["d9e5d2d729","2c1fc3317a"]"#)), "d9e5d2d729 and 2c1fc3317a");
        assert_eq!(value(Some("1000000001")), "1000000001");
        let dated = r#"{"assigned_at":"2020-12-01T09:35:58.198347064Z","primary":"2001:db8:a1::1"}"#;
        assert_eq!(value(Some(dated)), "1 Dec 2020 15:05:58 IST and 2001:db8:a1::1");
        assert_eq!([value(Some("true")), value(None), value(Some("[]"))], ["yes", "–", "–"]);
    }
}
