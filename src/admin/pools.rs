//! `/v1/pools`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Mistakes, Problem, cut_short};
use super::fields::{self, Fields, Given, InPath};
use super::state::Admin;
use super::wire::{GivenPairBody, NoFields, Page, PairBody, PairPaging, PoolBody, PoolFields, ReservationBody};
use crate::addressing::{AddressingError, PoolView};
use crate::domain::AccountName;

fn body(admin: &Admin, pool: PoolView) -> Result<PoolBody, AddressingError> {
    let room = admin.accounts.addressing().room(&pool.name)?;
    Ok(PoolBody {
        name: pool.name,
        primary: pool.prefixes.primary,
        secondary: pool.prefixes.secondary,
        capacity: pool.capacity.to_string(),
        assigned: pool.assigned,
        free: room.free.to_string(),
        next: room.next.map(PairBody::from),
        retired: room.retired,
        reserved: room.reserved,
    })
}

/// Every pool.
#[utoipa::path(get, path = "/v1/pools", tag = "pools", security(("bearer" = [])),
    responses((status = 200, body = Page<PoolBody>)))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Page<PoolBody>> {
    admin.accounts.tend_reservations();
    // One that is deleted at this moment is left out.
    let pools = admin.accounts.addressing().pools().into_iter();
    let items = pools.filter_map(|pool| body(&admin, pool).ok()).collect();
    Json(Page { items, next: None })
}

/// Make a pool of two prefixes that overlap nothing.
#[utoipa::path(post, path = "/v1/pools", tag = "pools", request_body = PoolFields, security(("bearer" = [])),
    responses((status = 201, body = PoolBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    mut fields: Fields,
) -> Result<(StatusCode, Json<PoolBody>), Failure> {
    let mut mistakes = Mistakes::default();
    let name = mistakes.note(fields.needed("name"));
    let primary = mistakes.note(fields.prefix("primary"));
    let secondary = mistakes.note(fields.prefix("secondary"));
    mistakes.add(fields.strange());
    mistakes.none()?;
    let (Some(name), Some(primary), Some(secondary)) = (name, primary, secondary) else {
        return Err(cut_short());
    };
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
    admin.accounts.tend_reservations();
    admin.accounts.addressing().delete_pool(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The pairs of accounts whose primary is in the pool, in the order of the accounts' names.
#[utoipa::path(get, path = "/v1/pools/{name}/pairs", tag = "pools", params(PairPaging), security(("bearer" = [])),
    responses((status = 200, body = Page<GivenPairBody>), (status = 400, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn pairs(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    given: Given,
) -> Result<Json<Page<GivenPairBody>>, Failure> {
    let (mut limit, mut after) = (fields::PAGE, None);
    for (name, value) in fields::query(given)? {
        match name.as_str() {
            "limit" => limit = fields::limit(&value)?,
            "cursor" => after = Some(AccountName::parse(&value).map_err(|_| fields::strange_cursor())?),
            _ => return Err(fields::no_such_parameter(&name)),
        }
    }
    let (found, next) = admin.accounts.addressing().pairs(&name, after.as_ref(), limit)?;
    let items = found.iter().map(GivenPairBody::from).collect();
    Ok(Json(Page { items, next: next.map(|name| name.to_string()) }))
}

/// Set the next free pair aside for ten minutes: whoever fills in a form sees which it will be. Gone after a restart.
#[utoipa::path(post, path = "/v1/pools/{name}/reservations", tag = "pools", operation_id = "reserve", request_body = NoFields, security(("bearer" = [])),
    responses((status = 201, body = ReservationBody), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn reserve(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    fields: Fields,
) -> Result<(StatusCode, Json<ReservationBody>), Failure> {
    fields.done()?;
    Ok((StatusCode::CREATED, Json(admin.accounts.reserve_pair(&name)?.into())))
}

/// Give a pair back that was set aside.
#[utoipa::path(delete, path = "/v1/pools/{name}/reservations/{id}", tag = "pools", operation_id = "release", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn release(
    State(admin): State<Admin>,
    InPath((name, id)): InPath<(String, String)>,
) -> Result<StatusCode, Failure> {
    admin.accounts.release_pair(&name, &id)?;
    Ok(StatusCode::NO_CONTENT)
}

fn find(admin: &Admin, name: &str) -> Result<PoolBody, Failure> {
    admin.accounts.tend_reservations();
    let found = admin.accounts.addressing().pools().into_iter().find(|pool| pool.name == name);
    Ok(body(admin, found.ok_or_else(|| AddressingError::NoSuchPool(name.to_owned()))?)?)
}
