//! `/v1/accounts/{name}/validate` and `/v1/validate`: are accounts ready to trade?

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::error::{Failure, Problem};
use super::fields::{Fields, InPath};
use super::limits::wait_for_room;
use super::state::{self, Admin};
use super::tokens::wait_for_login;
use super::wire::{AccountChecksBody, AllChecksBody, ChecksBody, NoFields};
use crate::accounts::Account;
use crate::accounts::validate::{Check, CheckVerdict, Validated, all_ok, validate};
use crate::domain::{AccountName, steady};
use crate::telemetry::events::Subject;
use crate::tokens::By;
use crate::tokens::client::Answered;

/// Accounts that are looked at at once: each makes three calls, and a broker that is
/// asked by 10,000 at once sees an attack.
pub(super) const AT_ONCE: usize = 8;
/// Rows that are read at once.
const ROWS: usize = 500;
/// One JSON object a line.
const LINES: &str = "application/x-ndjson";

/// Look at one account. Changes nothing at the broker; a token that it refuses is asked about once more, as after any
/// read that was refused, and replaced or told as dead only then. A login that is under way is waited for, ten seconds
/// at most.
#[utoipa::path(post, path = "/v1/accounts/{name}/validate", tag = "validate", request_body = NoFields, security(("bearer" = [])),
    responses((status = 200, body = ChecksBody), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn one(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    fields: Fields,
) -> Result<Json<ChecksBody>, Failure> {
    fields.done()?;
    let account = admin.account(&name)?;
    wait_for_login(&account).await;
    wait_for_room(&admin, &account).await?;
    let checks = look_only(&admin, &account).await;
    publish(&admin, &account.name, &checks);
    Ok(Json(checks.as_slice().into()))
}

/// Look at every account. With `Accept: application/x-ndjson` each is told on a line of
/// its own as soon as it is done; else all are, in the order of names.
#[utoipa::path(post, path = "/v1/validate", tag = "validate", request_body = NoFields, security(("bearer" = [])),
    responses((status = 200, content((AllChecksBody = "application/json"), (AccountChecksBody = "application/x-ndjson")))))]
pub(super) async fn all(State(admin): State<Admin>, headers: HeaderMap, fields: Fields) -> Result<Response, Failure> {
    fields.done()?;
    let rows = every_row(&admin)?;
    let looked = futures_util::stream::iter(rows).map(move |row| {
        let admin = admin.clone();
        async move { look(&admin, &row).await }
    });
    let lines = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains(LINES));
    if !lines {
        let items: Vec<AccountChecksBody> = looked.buffered(AT_ONCE).collect().await;
        return Ok(Json(AllChecksBody { items }).into_response());
    }
    let lines = looked.buffer_unordered(AT_ONCE).map(|body| {
        let mut line = serde_json::to_vec(&body).map_err(std::io::Error::other)?;
        line.push(b'\n');
        Ok::<_, std::io::Error>(Bytes::from(line))
    });
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response())
}

async fn look(admin: &Admin, row: &Account) -> AccountChecksBody {
    let checks = look_only(admin, row).await;
    publish(admin, &row.name, &checks);
    AccountChecksBody::of(&row.name, &checks)
}

/// Look, and keep what was found. Nobody is told of it yet: who is told looks at what is kept.
pub(super) async fn look_only(admin: &Admin, row: &Account) -> Vec<Check> {
    let at = jiff::Timestamp::now();
    let subject = state::subject(row);
    let checks = validate(&admin.client, &subject, steady::now()).await;
    if let Ok(token) = &subject.token
        && checks.iter().any(|check| check.name == "token" && check.verdict == CheckVerdict::Failed)
    {
        // As of any refused read: it signs on until whoever keeps it has heard the same, so that one wrong answer stops
        // nobody. Untold, its page went on saying for a day that it is logged in.
        row.keeper.refused(token.generation(), By::Read);
    }
    if checks.iter().any(|check| check.name == "token" && check.ok()) {
        look_at_book(admin, row);
    }
    row.validated.store(Some(Arc::new(Validated { at, checks: checks.clone() })));
    checks
}

/// Beside it, and waited for by nobody: are there orders of today that did not come through this gateway? The book of a
/// busy day is slow at times, and it is no part of what an order needs.
fn look_at_book(admin: &Admin, row: &Account) {
    let (Some(account), Ok(place)) =
        (admin.accounts.lookup(row.name.as_str()), Arc::clone(&admin.readers_of_books).try_acquire_owned())
    else {
        return;
    };
    let (admin, tasks) = (admin.clone(), admin.tasks.clone());
    let read = async move {
        let _place = place;
        let (Some(legs), Ok(token)) = (account.legs.as_ref(), account.token.live()) else { return };
        if wait_for_room(&admin, &account).await.is_err() {
            return;
        }
        let called = admin.client.order_book(legs, account.client_id(), &token.secret()).await;
        if let Answered::Good(book) = called.answered {
            account.saw_book(&admin.orders, &book);
        }
    };
    tasks.spawn(read);
}

/// Whoever watches hears of it too.
pub(super) fn publish(admin: &Admin, account: &AccountName, checks: &[Check]) {
    let names = |verdict: CheckVerdict| -> Vec<_> {
        checks.iter().filter(|check| check.verdict == verdict).map(|check| check.name).collect()
    };
    let (failed, unknown) = (names(CheckVerdict::Failed), names(CheckVerdict::Unknown));
    let event = serde_json::json!({ "ok": all_ok(checks), "failed": failed, "unknown": unknown });
    admin.orders.events.publish(Subject::Validation, account, move || event.clone());
}

pub(super) fn every_row(admin: &Admin) -> Result<Vec<Arc<Account>>, Failure> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = admin.accounts.page(after.as_ref(), ROWS)?;
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(rows),
        }
    }
}
