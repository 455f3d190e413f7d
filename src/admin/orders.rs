//! `/v1/orders`: the order journal, a page at a time.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query as UrlQuery, State};
use axum::http::StatusCode;
use serde_json::value::RawValue;

use super::error::{Failure, Problem, cut_short};
use super::state::Admin;
use super::wire::{OrderFilter, OrdersBody};
use crate::domain::{AccountName, Outcome};
pub(super) use crate::orders::journal::Page as PageOfLines;
use crate::orders::journal::{Kind, Order, Query, SafeText, query, write_json};

/// Lines of the order journal, the newest first: what was sent, and what became of it.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", params(OrderFilter), security(("bearer" = [])),
    responses((status = 200, body = OrdersBody), (status = 422, body = Problem)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    given: Result<UrlQuery<BTreeMap<String, String>>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<OrdersBody>, Failure> {
    let bad = |_| Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the query cannot be read");
    let UrlQuery(given) = given.map_err(bad)?;
    let page = page(&admin, read(given)?).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for line in &page.items {
        let mut text = Vec::new();
        write_json(&mut text, line).map_err(failed)?;
        let text = String::from_utf8(text).unwrap_or_default();
        items.push(RawValue::from_string(text.trim_end().to_owned()).map_err(|_| cut_short())?);
    }
    Ok(Json(OrdersBody { items, next: page.next.map(|cursor| cursor.to_string()), unreadable: page.unreadable }))
}

fn failed(err: std::io::Error) -> Failure {
    let text = format!("the journal cannot be read: {err}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "journal_failed", text)
}

/// A page of lines, read on a thread that may wait for the disk.
pub(super) async fn page(admin: &Admin, wanted: Query) -> Result<PageOfLines, Failure> {
    let folder = admin.orders.journal.folder().to_path_buf();
    let page = tokio::task::spawn_blocking(move || query(&folder, &wanted)).await.map_err(|_| cut_short())?;
    page.map_err(failed)
}

/// What a query of the API asks for.
///
/// # Errors
/// 422 with the name of a parameter that is none, or is wrong.
pub(super) fn read(given: BTreeMap<String, String>) -> Result<Query, Failure> {
    let mut wanted = Query { order: Order::NewestFirst, ..Query::default() };
    for (name, value) in given {
        let wrong = |why: &str| Failure::field(&name, why.to_owned());
        match name.as_str() {
            "account" => wanted.account = Some(AccountName::parse(&value).map_err(|_| wrong("is no account's name"))?),
            "since" | "until" => {
                let at = value.parse().map_err(|_| wrong("is no time such as 2026-11-25T03:45:00Z"))?;
                if name == "since" { wanted.since = Some(at) } else { wanted.until = Some(at) }
            }
            "outcome" => {
                let all = [Outcome::NotSent, Outcome::Rejected, Outcome::Executed, Outcome::Unknown];
                let known = all.into_iter().find(|outcome| outcome.as_str() == value);
                wanted.outcome = Some(known.ok_or_else(|| wrong("is not_sent, rejected, executed or unknown"))?);
            }
            "kind" => {
                let known = [Kind::Intent, Kind::Outcome, Kind::Note].into_iter().find(|kind| kind.as_str() == value);
                wanted.kind = Some(known.ok_or_else(|| wrong("is intent, outcome or note"))?);
            }
            "order_id" => wanted.order_id = Some(SafeText::new(&value)),
            "correlation_id" => wanted.correlation_id = Some(SafeText::new(&value)),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                wanted.limit = limit.ok_or_else(|| wrong("is 1 to 1000"))?;
            }
            "cursor" => wanted.cursor = Some(value.parse().map_err(|_| wrong("is none of this list's"))?),
            _ => return Err(wrong("there is no such parameter")),
        }
    }
    Ok(wanted)
}
