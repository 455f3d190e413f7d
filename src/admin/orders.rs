//! `/v1/orders`: the order journal, a page at a time.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::value::RawValue;

use super::error::{Failure, Problem, cut_short};
use super::parameters::Parameters;
use super::state::Admin;
use super::wire::{OrderFilter, OrdersBody};
use crate::domain::Outcome;
pub(super) use crate::orders::journal::Page as PageOfLines;
use crate::orders::journal::{Kind, Order, Query, Recorded, SafeText, query, write_json};

/// Lines of the order journal, the newest first: what was sent, and what became of it.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", params(OrderFilter), security(("bearer" = [])),
    responses((status = 200, body = OrdersBody), (status = 422, body = Problem)))]
pub(super) async fn list(State(admin): State<Admin>, given: Parameters) -> Result<Json<OrdersBody>, Failure> {
    let page = page(&admin, read(given)?).await?;
    let items = shown(&page.items)?;
    Ok(Json(OrdersBody { items, next: page.next.map(|cursor| cursor.to_string()), unreadable: page.unreadable }))
}

/// Lines as they stand in the journal.
pub(super) fn shown(lines: &[Recorded]) -> Result<Vec<Box<RawValue>>, Failure> {
    let show = |line: &Recorded| {
        let mut text = Vec::new();
        write_json(&mut text, line).map_err(unreadable)?;
        let text = String::from_utf8(text).unwrap_or_default();
        RawValue::from_string(text.trim_end().to_owned()).map_err(|_| cut_short())
    };
    lines.iter().map(show).collect()
}

pub(super) fn unreadable(err: std::io::Error) -> Failure {
    let text = format!("the journal cannot be read: {err}");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "journal_failed", text)
}

/// A page of lines, read on a thread that may wait for the disk.
pub(super) async fn page(admin: &Admin, wanted: Query) -> Result<PageOfLines, Failure> {
    let folder = admin.orders.journal.folder().to_path_buf();
    let page = tokio::task::spawn_blocking(move || query(&folder, &wanted)).await.map_err(|_| cut_short())?;
    page.map_err(unreadable)
}

/// What a query of the API asks for.
///
/// # Errors
/// 422 with the name of a parameter that is none, or is wrong.
pub(super) fn read(mut given: Parameters) -> Result<Query, Failure> {
    let outcome = |word: &str| {
        let all = [Outcome::NotSent, Outcome::Rejected, Outcome::Executed, Outcome::Unknown];
        all.into_iter().find(|outcome| outcome.as_str() == word)
    };
    let kind = |word: &str| [Kind::Intent, Kind::Outcome, Kind::Note].into_iter().find(|kind| kind.as_str() == word);
    let wanted = Query {
        order: Order::NewestFirst,
        account: given.account("account")?,
        since: given.time("since")?,
        until: given.time("until")?,
        outcome: given.read("outcome", "is not_sent, rejected, executed or unknown", outcome)?,
        kind: given.read("kind", "is intent, outcome or note", kind)?,
        request_id: given.take("request_id").as_deref().map(SafeText::new),
        order_id: given.take("order_id").as_deref().map(SafeText::new),
        correlation_id: given.take("correlation_id").as_deref().map(SafeText::new),
        limit: given.limit()?,
        cursor: match given.take("cursor").map(|cursor| cursor.parse()) {
            Some(Err(_)) => return Err(Failure::unusable("cursor", "is none of this list's")),
            Some(Ok(cursor)) => Some(cursor),
            None => None,
        },
        ..Query::default()
    };
    given.done()?;
    Ok(wanted)
}
