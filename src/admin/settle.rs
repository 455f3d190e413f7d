//! `/v1/orders/unsettled` and `/v1/orders/{request_id}/settled`: orders of which nobody knows what became of them.
//!
//! What the journal says of them stays; that a person has looked is a note in it.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Problem, cut_short};
use super::fields::{Fields, InPath};
use super::operators::Operator;
use super::orders::shown;
use super::state::Admin;
use super::wire::{SettleFields, UnsettledBody};
use crate::domain::Outcome;
use crate::orders::journal::{Entry, Kind, Note, Order, Query, Recorded, SafeText, query};

/// Orders at most.
const MOST: usize = 100;

/// Orders of the last seven days whose outcome is `unknown` and at which no person has looked, the newest first.
#[utoipa::path(get, path = "/v1/orders/unsettled", tag = "orders", operation_id = "unsettled", security(("bearer" = [])),
    responses((status = 200, body = UnsettledBody)))]
pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<UnsettledBody>, Failure> {
    let found = admin.orders.journal.unsettled(MOST).await.map_err(super::orders::unreadable)?;
    Ok(Json(UnsettledBody { items: shown(&found)? }))
}

/// A person has looked what became of an order whose outcome is `unknown`. It is noted in the journal with the name of
/// the operator who calls (`note.by`) and the time, and the outcome stays as it is. Twice is noted twice: the second look
/// may have found more.
#[utoipa::path(post, path = "/v1/orders/{request_id}/settled", tag = "orders", operation_id = "settle", request_body = SettleFields, security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn settle(
    State(admin): State<Admin>,
    Extension(operator): Extension<Operator>,
    InPath(request_id): InPath<String>,
    mut fields: Fields,
) -> Result<StatusCode, Failure> {
    let text = fields.needed("note")?;
    if text.chars().any(char::is_control) {
        return Err(Failure::field("note", "has control characters in it"));
    }
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(Failure::field("note", "is empty; say what was found, and where"));
    }
    let outcome = fields.text("outcome")?.map(|word| {
        let known = [Outcome::NotSent, Outcome::Rejected, Outcome::Executed];
        let found = known.into_iter().find(|outcome| outcome.as_str() == word);
        found.ok_or_else(|| Failure::field("outcome", "is not_sent, rejected or executed"))
    });
    let outcome = outcome.transpose()?;
    fields.done()?;
    let last = last_of(&admin, &request_id).await?;
    if last.entry.outcome != Some(Outcome::Unknown) {
        let known = last.entry.outcome.map_or("not there yet", Outcome::as_str);
        let text = format!("the outcome of {request_id} is {known}: there is nothing to settle");
        return Err(Failure::new(StatusCode::CONFLICT, "not_unknown", text));
    }
    // Whoever pastes a token into the note does not find it in the journal.
    let words = text.split_whitespace().map(|word| SafeText::new(word).as_str().to_owned());
    let text = words.collect::<Vec<_>>().join(" ");
    let by = Some(operator.name.to_string());
    let mut note = Entry::note(Note::Settled { outcome, by, text }, admin.orders.stamp());
    note.request_id.clone_from(&last.entry.request_id);
    note.account.clone_from(&last.entry.account);
    note.correlation_id.clone_from(&last.entry.correlation_id);
    note.order_id.clone_from(&last.entry.order_id);
    admin.orders.journal.append_durable(&note).await.map_err(|err| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "journal_unavailable", crate::domain::chain(&err))
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// The last outcome line of a request.
async fn last_of(admin: &Admin, request_id: &str) -> Result<Recorded, Failure> {
    let folder = admin.orders.journal.folder().to_path_buf();
    let wanted = Query {
        request_id: Some(SafeText::new(request_id)),
        kind: Some(Kind::Outcome),
        order: Order::NewestFirst,
        limit: 1,
        ..Query::default()
    };
    let page = read(move || query(&folder, &wanted)).await?;
    let none = || Failure::new(StatusCode::NOT_FOUND, "not_found", "the journal has no outcome of such a request");
    page.items.into_iter().next().ok_or_else(none)
}

async fn read<T: Send + 'static>(read: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(read).await.map_err(|_| cut_short())?;
    done.map_err(super::orders::unreadable)
}
