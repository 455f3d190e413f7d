//! `/v1/audit`: who changed what.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa::IntoParams;

use super::audit::AuditBody;
use super::error::{Failure, Problem, cut_short};
use super::parameters::Parameters;
use super::state::Admin;
use super::wire::Page;

/// Which lines. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct AuditPaging {
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    #[param(value_type = Option<i64>, minimum = 0)]
    pub cursor: Option<u64>,
}

/// Every change that was made or refused, the newest first, and who made it. Lines are chained by hashes.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditPaging), security(("bearer" = [])),
    responses((status = 200, body = Page<AuditBody>), (status = 422, body = Problem)))]
pub(super) async fn list(State(admin): State<Admin>, mut given: Parameters) -> Result<Json<Page<AuditBody>>, Failure> {
    let limit = given.limit()?;
    // As far as the document's integers go.
    let cursor =
        given.read("cursor", "is none of this list's", |text| u64::try_from(text.parse::<i64>().ok()?).ok())?;
    given.done()?;
    page(&admin, cursor, limit).await.map(Json)
}

/// A page of the audit log, read on a thread that may wait for the disk.
pub(super) async fn page(admin: &Admin, cursor: Option<u64>, limit: usize) -> Result<Page<AuditBody>, Failure> {
    let log = admin.audit.clone();
    let items = tokio::task::spawn_blocking(move || log.page(cursor, limit)).await.map_err(|_| cut_short())?;
    let items = items.map_err(|err| {
        let text = format!("the audit log cannot be read: {err}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "audit_failed", text)
    })?;
    let next = items.last().filter(|last| items.len() == limit && last.seq > 1).map(|last| last.seq.to_string());
    Ok(Page { items, next })
}
