//! `/healthz`, `/readyz`, `/metrics`, and the certificate that callers trust.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::state::Admin;

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Callers are served: 200; being stopped, or no order can be written down: 503. Accounts have states of their own. When
/// the order journal is not whole, room on its disk runs low, or the host lacks something, callers are served all the
/// same, and each further line says what lacks.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    if admin.tasks.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let journal = &admin.orders.journal;
    let (status, first) = match journal.trouble() {
        Some(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "not ready: the order journal cannot be written, so placements and changes are refused: {why}. Cancels, \
                 DELETE /positions and the kill switch are sent all the same\n"
            ),
        ),
        None => (StatusCode::OK, "ready\n".to_owned()),
    };
    let lacks = journal.whole().why();
    let lacks = lacks.iter().map(|what| format!("the order journal is not whole: {what}\n"));
    let low = journal.low_room().map(|what| format!("{what}\n"));
    let state = admin.accounts.store_trouble().map(|why| {
        format!("the state cannot be written, so changes are refused and new tokens are kept in memory only: {why}\n")
    });
    let report = admin.host.last();
    let findings = report.iter().flat_map(|report| &report.findings).map(|finding| format!("this host: {finding}\n"));
    (status, std::iter::once(first).chain(lacks).chain(low).chain(state).chain(findings).collect())
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    admin.metrics.tasks(admin.tasks.running());
    let last = admin.accounts.last_requests();
    admin.metrics.last_requests(last.newest.map(|at| at.as_second()), last.without);
    let journal = &admin.orders.journal;
    admin.metrics.journal_whole(journal.whole().is_whole());
    admin.metrics.journal_room(journal.trouble().is_none(), journal.room().map(|room| room.bytes));
    ([(CONTENT_TYPE, kind)], admin.metrics.text()).into_response()
}

/// The interception authority's certificate: the one file that callers trust.
#[utoipa::path(get, path = "/ca.pem", tag = "health",
    responses((status = 200, body = String, content_type = "application/x-pem-file")))]
pub(super) async fn ca(State(admin): State<Admin>) -> Response {
    ([(CONTENT_TYPE, "application/x-pem-file")], admin.ca_pem.to_string()).into_response()
}
