//! `/v1/host`: what the machine lacks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Problem};
use super::fields::Fields;
use super::state::Admin;
use super::wire::{ExaminationBody, HostBody, NoFields};
use crate::host::NotExamined;

/// What the last self-check of the host found: what is so, why it matters, and what to do. It is made at the start,
/// after a reload, and when addresses, routes or legs change. With it the last examination that was asked for
/// (`POST /v1/host/check`), which looks at more.
#[utoipa::path(get, path = "/v1/host", tag = "health", security(("bearer" = [])), responses((status = 200, body = HostBody)))]
pub(super) async fn read(State(admin): State<Admin>) -> Json<HostBody> {
    Json(HostBody::of(admin.host.last().as_deref(), admin.host.examined().as_deref()))
}

/// Examine the host now: all checks of `sixgate doctor`, inside the running gateway. Asks the name servers for the broker's
/// hosts and connects to each from one address of each prefix; takes seconds. One at a time: 409 `busy` while another is
/// under way.
#[utoipa::path(post, path = "/v1/host/check", tag = "health", request_body = NoFields, security(("bearer" = [])),
    responses((status = 200, body = ExaminationBody), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn check(State(admin): State<Admin>, fields: Fields) -> Result<Json<ExaminationBody>, Failure> {
    fields.done()?;
    match admin.host.examine(&*admin.examiner).await {
        Ok(examination) => Ok(Json(ExaminationBody::from(&*examination))),
        Err(NotExamined::Busy) => {
            let detail = "the host is being examined already; ask again when that is done";
            Err(Failure::new(StatusCode::CONFLICT, "busy", detail))
        }
        Err(NotExamined::Lack(lack)) => {
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "host_exhausted", lack.to_string()))
        }
    }
}
