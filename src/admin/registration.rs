//! `/v1/accounts/{name}/registration`: the account's pair at the broker.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Problem};
use super::fields::{self, Fields, InPath};
use super::limits::wait_for_room;
use super::state::Admin;
use super::tokens::wait_for_token;
use super::wire::{RegisteredBody, RegistrationBody, ReplaceFields};
use crate::accounts::registration::{self, RegistrationError};

/// What the broker holds, beside the pair that is assigned. A login that is under way is waited for, ten seconds at most.
#[utoipa::path(get, path = "/v1/accounts/{name}/registration", tag = "registration", security(("bearer" = [])),
    responses((status = 200, body = RegistrationBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 429, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn read(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
) -> Result<Json<RegistrationBody>, Failure> {
    let name = fields::name(&name)?;
    let account = admin.account(name.as_str())?;
    wait_for_token(&account).await;
    wait_for_room(&admin, &account).await?;
    let subject = admin.subject(&name)?;
    let found = registration::read(&admin.client, &subject).await.map_err(|err| failure(&name, err))?;
    Ok(Json((&found).into()))
}

/// Put the pair there: into empty slots, and in the place of the addresses that
/// `replace` names. The broker allows a change once a week. Where it does not say what
/// it holds, as for an account that never registered, each slot is set and none changed.
#[utoipa::path(put, path = "/v1/accounts/{name}/registration", tag = "registration", request_body = ReplaceFields, security(("bearer" = [])),
    responses((status = 200, body = RegisteredBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 502, body = Problem)))]
pub(super) async fn put(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<Json<RegisteredBody>, Failure> {
    let name = fields::name(&name)?;
    let replace = fields.ips("replace")?;
    fields.done()?;
    let subject = admin.subject(&name)?;
    let put = registration::put(&admin.client, &subject, &replace).await;
    let (found, changes) = put.map_err(|err| failure(&name, err))?;
    for change in &changes {
        tracing::info!(target: "sixgate::audit", account = %name, role = change.role.as_str(),
            action = change.action.as_str(), detail = change.detail, "registration");
    }
    Ok(Json(RegisteredBody::of(&found, &changes)))
}

fn failure(name: &crate::domain::AccountName, err: RegistrationError) -> Failure {
    let text = err.to_string().replace("{name}", name.as_str());
    match err {
        RegistrationError::NoPair => Failure::new(StatusCode::CONFLICT, "no_pair", text),
        RegistrationError::NoToken(_) => Failure::new(StatusCode::CONFLICT, "token_unavailable", text),
        RegistrationError::Broker(_) | RegistrationError::Unreported { .. } => {
            Failure::new(StatusCode::BAD_GATEWAY, "broker_failed", text)
        }
    }
}
