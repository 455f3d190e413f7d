//! `/v1/accounts/{name}/token`.

use axum::Json;
use axum::extract::State;

use super::Admin;
use super::error::Failure;
use super::wire::{self, Fields, InPath, Problem, TokenBody, TokenFields};

/// Where the account's token stands. Never the token.
#[utoipa::path(get, path = "/v1/accounts/{name}/token", tag = "tokens", security(("bearer" = [])),
    responses((status = 200, body = TokenBody), (status = 404, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<Json<TokenBody>, Failure> {
    let name = wire::name(&name)?;
    let account = admin.accounts.lookup(name.as_str());
    let account = account.ok_or(crate::accounts::AccountError::NoSuchAccount(name))?;
    Ok(Json(TokenBody::of(&account)))
}

/// Give a token by hand.
#[utoipa::path(put, path = "/v1/accounts/{name}/token", tag = "tokens", request_body = TokenFields, security(("bearer" = [])),
    responses((status = 200, body = TokenBody), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn put(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<Json<TokenBody>, Failure> {
    let name = wire::name(&name)?;
    let token = fields.token("access_token")?.ok_or_else(|| Failure::field("access_token", "is missing"))?;
    fields.done()?;
    let account = admin.accounts.set_token(&name, token).await?;
    Ok(Json(TokenBody::of(&account)))
}
