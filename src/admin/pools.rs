//! `/v1/pools`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Problem};
use super::fields::{Fields, InPath};
use super::state::Admin;
use super::wire::{Page, PoolBody, PoolFields};
use crate::addressing::{AddressingError, PoolView};

impl From<PoolView> for PoolBody {
    fn from(pool: PoolView) -> Self {
        Self {
            name: pool.name,
            primary: pool.prefixes.primary,
            secondary: pool.prefixes.secondary,
            capacity: pool.capacity.to_string(),
            assigned: pool.assigned,
        }
    }
}

/// Every pool.
#[utoipa::path(get, path = "/v1/pools", tag = "pools", security(("bearer" = [])),
    responses((status = 200, body = Page<PoolBody>)))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Page<PoolBody>> {
    let items = admin.accounts.addressing().pools().into_iter().map(PoolBody::from).collect();
    Json(Page { items, next: None })
}

/// Make a pool of two prefixes that overlap nothing.
#[utoipa::path(post, path = "/v1/pools", tag = "pools", request_body = PoolFields, security(("bearer" = [])),
    responses((status = 201, body = PoolBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    mut fields: Fields,
) -> Result<(StatusCode, Json<PoolBody>), Failure> {
    let name = fields.needed("name")?;
    let (primary, secondary) = (fields.prefix("primary")?, fields.prefix("secondary")?);
    fields.done()?;
    admin.accounts.addressing().create_pool(&name, primary, secondary).await?;
    admin.host.look_again();
    Ok((StatusCode::CREATED, Json(find(&admin, &name)?)))
}

/// One pool.
#[utoipa::path(get, path = "/v1/pools/{name}", tag = "pools", security(("bearer" = [])),
    responses((status = 200, body = PoolBody), (status = 404, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<Json<PoolBody>, Failure> {
    Ok(Json(find(&admin, &name)?))
}

/// Delete a pool that has no pairs.
#[utoipa::path(delete, path = "/v1/pools/{name}", tag = "pools", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<StatusCode, Failure> {
    admin.accounts.addressing().delete_pool(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(admin: &Admin, name: &str) -> Result<PoolBody, Failure> {
    let found = admin.accounts.addressing().pools().into_iter().find(|pool| pool.name == name);
    Ok(found.ok_or_else(|| AddressingError::NoSuchPool(name.to_owned()))?.into())
}
