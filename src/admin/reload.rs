//! `POST /v1/reload`: put the configuration file in force, as SIGHUP does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::error::{Failure, Problem, cut_short};
use super::fields::Fields;
use super::state::Admin;
use super::wire::{NoFields, ReloadBody};

/// Put the configuration file in force without dropping a connection, as SIGHUP does. A file with problems changes
/// nothing: 422 with all of them.
#[utoipa::path(post, path = "/v1/reload", tag = "status", request_body = NoFields, security(("bearer" = [])),
    responses((status = 200, body = ReloadBody),
        (status = 422, content((ReloadBody = "application/json"), (Problem = "application/problem+json"))),
        (status = 409, body = Problem)))]
pub(super) async fn reload(
    State(admin): State<Admin>,
    fields: Fields,
) -> Result<(StatusCode, Json<ReloadBody>), Failure> {
    fields.done()?;
    let (done, outcome) = oneshot::channel();
    admin.reloads.send(done).await.map_err(|_| cut_short())?;
    let reloaded = outcome.await.map_err(|_| cut_short())?.ok_or_else(|| {
        let detail = "this gateway runs without a configuration file, so there is none to read";
        Failure::new(StatusCode::CONFLICT, "no_file", detail)
    })?;
    let body = ReloadBody::from(reloaded);
    let status = if body.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, Json(body)))
}
