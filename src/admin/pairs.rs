//! `/v1/accounts/{name}/pair`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Mistakes, Problem};
use super::fields::{self, Fields, InPath};
use super::state::Admin;
use super::wire::{PairBody, PairFields};
use crate::domain::Pair;

/// Assign the next free pair (`{}`, `{"pool"}`) or the one brought along
/// (`{"primary", "secondary"}`), or one that was set aside (`{"reservation"}`). An account that has the pair already keeps it: 200.
#[utoipa::path(post, path = "/v1/accounts/{name}/pair", tag = "pairs", request_body = PairFields, security(("bearer" = [])),
    responses((status = 201, body = PairBody), (status = 200, body = PairBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn assign(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<(StatusCode, Json<PairBody>), Failure> {
    let name = fields::name(&name)?;
    let mut mistakes = Mistakes::default();
    let pool = mistakes.note(fields.text("pool")).flatten();
    let reservation = mistakes.note(fields.text("reservation")).flatten();
    let mut address = |field| mistakes.note(fields.address(field)).flatten();
    let given = (address("primary"), address("secondary"));
    mistakes.add(fields.strange());
    mistakes.none()?;
    if let Some(id) = reservation {
        if pool.is_some() || given.0.is_some() || given.1.is_some() {
            return Err(Failure::unusable("reservation", "give a reservation, a pool or a pair, and not two of them"));
        }
        let assigned = admin.accounts.assign_reserved(&name, &id).await?;
        admin.host.look_again();
        return Ok((StatusCode::CREATED, Json(assigned.pair.into())));
    }
    let assigned = match given {
        (None, None) => admin.accounts.assign_next(&name, pool.as_deref()).await?,
        (Some(_), Some(_)) if pool.is_some() => {
            return Err(Failure::unusable("pool", "give a pool or a pair, not both"));
        }
        (Some(primary), Some(secondary)) => admin.accounts.assign_given(&name, Pair { primary, secondary }).await?,
        (None, Some(_)) => return Err(Failure::unusable("primary", "is missing; a pair is two addresses")),
        (Some(_), None) => return Err(Failure::unusable("secondary", "is missing; a pair is two addresses")),
    };
    admin.host.look_again();
    let status = if assigned.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(assigned.pair.into())))
}

/// Retire the pair. A tombstone keeps its addresses from anybody else.
#[utoipa::path(delete, path = "/v1/accounts/{name}/pair", tag = "pairs", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn retire(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<StatusCode, Failure> {
    admin.accounts.retire_pair(&fields::name(&name)?).await?;
    admin.host.look_again();
    Ok(StatusCode::NO_CONTENT)
}
