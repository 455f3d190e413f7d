//! `/v1/host`: what the machine lacks.

use axum::Json;
use axum::extract::State;

use super::state::Admin;
use super::wire::HostBody;

/// What the last self-check of the host found: what is so, why it matters, and what to do. It is made at the start,
/// after a reload, and when addresses, routes or legs change.
#[utoipa::path(get, path = "/v1/host", tag = "health", security(("bearer" = [])), responses((status = 200, body = HostBody)))]
pub(super) async fn read(State(admin): State<Admin>) -> Json<HostBody> {
    Json(admin.host.last().as_deref().into())
}
