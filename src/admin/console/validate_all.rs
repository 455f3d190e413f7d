//! Validate All: the gateway's job as a page. It goes on when the page is closed.

use axum::Extension;
use axum::extract::State;
use axum::http::Method;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::validation_job::{NotReady, Progress};
use super::act::{Act, act, not_done};
use super::advice;
use super::call::call;
use super::context::Console;
use super::page::{self, Part};
use super::shown;
use super::visitor::Visitor;
use super::words;
use crate::accounts::validate::CheckVerdict;
use crate::domain::OperatorRole;

/// Rows that are shown while it runs.
const ROWS: usize = 50;

/// `/console/validate-all`
pub(super) async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let progress = console.admin.validate_all.progress();
    let content = html! {
        h1 { "Validate All" }
        p { "Every account is looked at, 8 at a time. The gateway goes on when this page is closed; Dhan is only asked, and nothing \
             changes." }
        div #job data-live="validation" { (job(&console, &visitor, progress.as_ref())) }
        p { a href="/console/validate-all" { "Look again" } }
    };
    page::page(&console, &visitor, Part::Accounts, "Validate All", &content)
}

fn job(console: &Console, visitor: &Visitor, progress: Option<&Progress>) -> Markup {
    let may = visitor.may(OperatorRole::Operator);
    let start = |word: &str| page::form(visitor, "/console/validate-all", &html! { button { (word) } });
    html! {
        @match progress {
            None => {
                p { (words::counted(console.admin.accounts.len(), "account")) "." }
                @if may { (start("Validate All")) }
            }
            Some(progress) if progress.ended.is_none() => {
                (bar(progress))
                @if may { (page::form(visitor, "/console/validate-all/stop", &html! { button.danger { "Stop" } })) }
                (rows(console, "Found so far"))
            }
            Some(progress) => {
                (result(console, progress))
                @if may { (start("Validate All again")) }
                (rows(console, "Those that are not ready"))
                @if progress.not_ready > 0 {
                    p { a href="/console/validate-all.csv" download { "Download all " (words::number(progress.not_ready)) " as CSV" } }
                }
            }
        }
    }
}

fn bar(progress: &Progress) -> Markup {
    let (done, total) = (words::number(progress.done), words::number(progress.total));
    html! {
        p role="status" {
            (done) " of " (total) ", " (words::number(progress.not_ready)) " not ready"
            @if let Some(left) = progress.left { ", about " (words::roughly(left)) } "."
        }
        progress max=(progress.total) value=(progress.done) aria-label={ (done) " of " (total) " accounts" } {}
        p.hint { "Begun " (page::time(progress.started)) " by " (progress.by) "." }
    }
}

/// The end of it: how many are ready, and the rest by cause with one advice each.
fn result(console: &Console, progress: &Progress) -> Markup {
    let ready = words::number(progress.done - progress.not_ready);
    html! {
        p role="status" {
            @if progress.not_ready == 0 { (words::GOOD) } @else { (words::BAD) } " " strong { (ready) " ready" }
            @if progress.not_ready > 0 { ", " (words::number(progress.not_ready)) " not" }
            @if progress.stopped { "; stopped after " (words::number(progress.done)) " of " (words::number(progress.total)) }
            "."
            @if let Some(ended) = progress.ended { span.hint { " Ended " (page::time(ended)) ", begun by " (progress.by) "." } }
        }
        @if !progress.causes.is_empty() {
            table.cards {
                thead { tr { th { "Cause" } th.number { "Accounts" } th { "What to do" } th { "Which" } } }
                tbody {
                    @for ((check, result), cause) in &progress.causes {
                        tr {
                            td.name data-label="Cause" { (shape(*result == "failed")) " " (advice::label(check)) @if *result != "failed" { ": not known" } }
                            td.number data-label="Accounts" { (words::number(cause.accounts as usize)) }
                            td data-label="What to do" { (advice::todo(check, result).unwrap_or("See the account.")) }
                            td data-label="Which" {
                                @for (at, account) in cause.first.iter().enumerate() {
                                    @if at > 0 { ", " } (shown::link(console, account.as_str()))
                                }
                                @if cause.accounts > cause.first.len() as u64 { " …" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rows(console: &Console, title: &str) -> Markup {
    let rows: Vec<NotReady> = console.admin.validate_all.not_ready(ROWS);
    html! {
        @if !rows.is_empty() {
            h2 { (title) }
            table.cards {
                thead { tr { th { "Account" } th { "Cause" } th { "Found" } } }
                tbody {
                    @for row in &rows {
                        tr {
                            td data-label="Account" { (shown::link(console, row.account.as_str())) }
                            td.name data-label="Cause" { (shape(row.verdict == CheckVerdict::Failed)) " " (advice::label(row.check)) }
                            td data-label="Found" { (advice::found(&row.detail)) }
                        }
                    }
                }
            }
            @if rows.len() == ROWS { p.hint { "The last " (ROWS) "." } }
        }
    }
}

const fn shape(failed: bool) -> &'static str {
    if failed { words::BAD } else { words::UNKNOWN }
}

/// Begin.
pub(super) async fn start(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    const HERE: &str = "/console/validate-all";
    match call(&console.api, &visitor.operator, Method::POST, "/v1/validate/job", &json!({})).await {
        // The bar says that it has begun, and goes when it has ended; a sentence above it would stay.
        Ok(_) => page::to(HERE),
        Err(refused) => not_done(&console, &visitor, HERE, refused),
    }
}

/// Stop.
pub(super) async fn stop(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let (done, back) = ("No more accounts are looked at. What was found stays.", "/console/validate-all");
    act(&console, &visitor, Act { method: Method::DELETE, path: "/v1/validate/job", body: Value::Null, back, done })
        .await
}

/// Every account that is not ready.
pub(super) async fn csv(State(console): State<Console>) -> Response {
    let mut text = String::from("account,check,result,found\r\n");
    for row in console.admin.validate_all.not_ready(usize::MAX).iter().rev() {
        let cells = [row.account.as_str(), row.check, row.verdict.as_str(), &row.detail].map(cell);
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    let headers =
        [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, "attachment; filename=\"not-ready.csv\"")];
    (headers, text).into_response()
}

/// A cell (RFC 4180). What a spreadsheet would take for a formula is text: Dhan's words may stand in it.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_to_a_spreadsheet() {
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
    }
}
