//! `/v1/accounts/{name}/token`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::time::Instant;

use super::error::{Failure, Problem};
use super::fields::{self, Fields, InPath};
use super::state::Admin;
use super::wire::{RefreshFields, TokenBody, TokenFields};
use crate::accounts::Account;

/// How long a call waits for a login to end. It goes on by itself after that.
pub(super) const LOGIN_WAIT: Duration = Duration::from_secs(30);

/// How long a call that only needs a token waits for a login that is under way.
const LOGIN_SOON: Duration = Duration::from_secs(10);

/// Wait for a login that is under way: whoever has just given its secrets would be told that there is no token.
pub(super) async fn wait_for_login(account: &Account) {
    account.token.wait_until_idle(Instant::now() + LOGIN_SOON).await;
}

/// The same, where the token of before will do.
pub(super) async fn wait_for_token(account: &Account) {
    if account.token.live().is_err() {
        wait_for_login(account).await;
    }
}

/// Where the account's token stands. Never the token.
#[utoipa::path(get, path = "/v1/accounts/{name}/token", tag = "tokens", security(("bearer" = [])),
    responses((status = 200, body = TokenBody), (status = 404, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<Json<TokenBody>, Failure> {
    Ok(Json(TokenBody::of(&*admin.account(&name)?)))
}

/// Get a new token now, or as soon as the broker's limits allow. Waits up to 30 s for it.
#[utoipa::path(post, path = "/v1/accounts/{name}/token/refresh", tag = "tokens", request_body = RefreshFields, security(("bearer" = [])),
    responses((status = 200, body = TokenBody), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn refresh(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<Json<TokenBody>, Failure> {
    let account = admin.account(&name)?;
    let vouched = fields.flag("vouched")?.unwrap_or(false);
    fields.done()?;
    account.keeper.refresh(vouched).await;
    account.token.wait_until_idle(Instant::now() + LOGIN_WAIT).await;
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
    let name = fields::name(&name)?;
    let token = fields.needed_secret("access_token")?;
    fields.done()?;
    let account = admin.accounts.set_token(&name, token).await?;
    Ok(Json(TokenBody::of(&account)))
}
