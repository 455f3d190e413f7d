//! `/v1/accounts`.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::auth::Touched;
use super::error::{Failure, Problem};
use super::fields::{self, Fields, InPath, Paging};
use super::state::Admin;
use super::wire::{AccountBody, AccountChanges, AccountFields, Page};
use crate::accounts::{NewAccount, Patch};
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, ClientId, Platform, RepeatsBy, Secret};
use crate::store::records::CredentialsRecord;

/// Every account, in the order of names.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", params(Paging), security(("bearer" = [])),
    responses((status = 200, body = Page<AccountBody>), (status = 422, body = Problem)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<AccountBody>>, Failure> {
    let Paging { limit, cursor } = Paging::read(query.as_deref())?;
    let page = admin.accounts.page(cursor.as_ref(), limit)?;
    let items = page.rows.iter().map(|row| AccountBody::from(&**row)).collect();
    Ok(Json(Page { items, next: page.next.map(|name| name.to_string()) }))
}

/// Make an account.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = AccountFields, security(("bearer" = [])),
    responses((status = 201, body = AccountBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    mut fields: Fields,
) -> Result<(StatusCode, Extension<Touched>, Json<AccountBody>), Failure> {
    let name = fields.parsed("name", AccountName::parse)?.ok_or_else(|| Failure::field("name", "is missing"))?;
    let platform = fields.parsed("platform", Platform::parse)?;
    let platform = platform.ok_or_else(|| Failure::field("platform", "is missing"))?;
    let client_id = fields.parsed("client_id", ClientId::parse)?;
    let client_id = client_id.ok_or_else(|| Failure::field("client_id", "is missing"))?;
    let nickname = fields.text("nickname")?;
    let credentials = credentials(&mut fields)?;
    let access_token = fields.token("access_token")?;
    let repeats_by = fields.parsed("repeats_by", RepeatsBy::parse)?.unwrap_or_default();
    fields.done()?;
    let new = NewAccount { name, nickname, platform, client_id, credentials, access_token, repeats_by };
    let account = admin.accounts.create(new).await?;
    let touched = Extension(Touched(account.name.to_string()));
    Ok((StatusCode::CREATED, touched, Json(AccountBody::from(&*account))))
}

/// One account.
#[utoipa::path(get, path = "/v1/accounts/{name}", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
) -> Result<Json<AccountBody>, Failure> {
    Ok(Json(AccountBody::from(&*admin.account(&name)?)))
}

/// Change any fields of an account but its name.
#[utoipa::path(patch, path = "/v1/accounts/{name}", tag = "accounts", request_body = AccountChanges, security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn change(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    mut fields: Fields,
) -> Result<Json<AccountBody>, Failure> {
    let name = fields::name(&name)?;
    if fields.text("name")?.is_some() {
        return Err(Failure::field("name", "cannot be changed"));
    }
    let patch = Patch {
        nickname: fields.text("nickname")?,
        platform: fields.parsed("platform", Platform::parse)?,
        client_id: fields.parsed("client_id", ClientId::parse)?,
        credentials: credentials(&mut fields)?,
        access_token: fields.token("access_token")?,
        repeats_by: fields.parsed("repeats_by", RepeatsBy::parse)?,
    };
    fields.done()?;
    let account = admin.accounts.change(&name, patch).await?;
    Ok(Json(AccountBody::from(&*account)))
}

/// Delete an account. Its addresses stay, as tombstones.
#[utoipa::path(delete, path = "/v1/accounts/{name}", tag = "accounts", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<StatusCode, Failure> {
    admin.accounts.delete(&fields::name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn credentials(fields: &mut Fields) -> Result<CredentialsRecord, Failure> {
    let checked = |name: &str, secret: Option<Secret>, check: fn(&str) -> Result<(), Invalid>| match secret {
        Some(secret) => match check(secret.expose_secret()) {
            Ok(()) => Ok(Some(secret)),
            Err(why) => Err(Failure::field(name, why.to_string())),
        },
        None => Ok(None),
    };
    let pin = fields.secret("pin")?;
    let totp_secret = fields.secret("totp_secret")?;
    Ok(CredentialsRecord {
        pin: checked("pin", pin, check_pin)?,
        totp_secret: checked("totp_secret", totp_secret, check_totp_secret)?,
        phone: fields.secret("phone")?,
        api_key: fields.secret("api_key")?,
        api_secret: fields.secret("api_secret")?,
    })
}

fn check_pin(pin: &str) -> Result<(), Invalid> {
    let good = (4..=6).contains(&pin.len()) && pin.bytes().all(|b| b.is_ascii_digit());
    good.then_some(()).ok_or(Invalid::new("a PIN is 4 to 6 digits"))
}

fn check_totp_secret(secret: &str) -> Result<(), Invalid> {
    crate::domain::totp::decode(secret).map(drop)
}
