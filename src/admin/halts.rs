//! `/v1/accounts/{name}/halt` and `/leg`: what an operator does in a hurry.

use axum::Json;
use axum::extract::State;

use super::error::{Failure, Problem};
use super::fields::{self, Fields, InPath};
use super::state::Admin;
use super::wire::{AccountBody, AllHaltedBody, HaltFields, LegFields};
use crate::accounts::HaltedNow;
use crate::domain::Role;
use crate::store::records::HaltRecord;

/// Halt an account, or let it trade again. While it is halted placements and changes get 403
/// `account_halted`; reads pass, and so does what takes risk away. A halt is in force at once even where it cannot be
/// saved, as with a full disk; `halt_warning` says so then. An end of a halt is in force only when it is saved.
#[utoipa::path(put, path = "/v1/accounts/{name}/halt", tag = "accounts", request_body = HaltFields, security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn halt(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<Json<AccountBody>, Failure> {
    let name = fields::name(&name)?;
    let halted = fields.flag("halted")?.ok_or_else(|| Failure::field("halted", "is missing"))?;
    let reason = fields.text("reason")?.unwrap_or_default();
    fields.done()?;
    let halt = halted.then(|| HaltRecord { reason, since: jiff::Timestamp::now(), of_all: false });
    let account = admin.accounts.set_halt(&name, halt).await?;
    Ok(Json(AccountBody::from(&*account)))
}

/// Are all accounts halted?
#[utoipa::path(get, path = "/v1/halt", tag = "accounts", operation_id = "all_halted", security(("bearer" = [])),
    responses((status = 200, body = AllHaltedBody)))]
pub(super) async fn all_halted(State(admin): State<Admin>) -> Json<AllHaltedBody> {
    Json(all(&admin, HaltedNow::default()))
}

/// Halt all accounts, those that are made meanwhile included, or let them trade again. In force at once, as the halt of
/// one. Its end frees the accounts that were halted with all; one that was halted by itself stays halted.
#[utoipa::path(put, path = "/v1/halt", tag = "accounts", operation_id = "halt_all", request_body = HaltFields, security(("bearer" = [])),
    responses((status = 200, body = AllHaltedBody), (status = 422, body = Problem)))]
pub(super) async fn halt_all(State(admin): State<Admin>, mut fields: Fields) -> Result<Json<AllHaltedBody>, Failure> {
    let halted = fields.flag("halted")?.ok_or_else(|| Failure::field("halted", "is missing"))?;
    let reason = fields.text("reason")?.unwrap_or_default();
    fields.done()?;
    let now = if halted { admin.accounts.halt_all(reason).await? } else { admin.accounts.end_halt_of_all().await? };
    Ok(Json(all(&admin, now)))
}

fn all(admin: &Admin, now: HaltedNow) -> AllHaltedBody {
    let all = admin.accounts.all_halted();
    AllHaltedBody {
        halted: all.is_some(),
        reason: all.as_ref().map(|all| all.reason.clone()),
        since: all.as_ref().map(|all| all.since.to_string()),
        accounts: u64::try_from(admin.accounts.len()).unwrap_or(u64::MAX),
        accounts_halted: admin.accounts.halted(),
        changed: now.changed,
        failed: now.failed,
    }
}

/// Pin an account to one leg, or let its legs' health decide.
#[utoipa::path(put, path = "/v1/accounts/{name}/leg", tag = "accounts", request_body = LegFields, security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn pin(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<Json<AccountBody>, Failure> {
    let name = fields::name(&name)?;
    let pin = match fields.needed("pin")?.as_str() {
        "auto" => None,
        "primary" => Some(Role::Primary),
        "secondary" => Some(Role::Secondary),
        _ => return Err(Failure::field("pin", "is primary, secondary or auto")),
    };
    fields.done()?;
    let account = admin.accounts.set_pin(&name, pin).await?;
    Ok(Json(AccountBody::from(&*account)))
}
