//! `/v1/accounts`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Admin;
use super::error::Failure;
use super::wire::{self, AccountBody, AccountFields, Fields, Page, Problem};
use crate::accounts::{NewAccount, Patch};
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, ClientId, Platform, Secret};
use crate::store::records::{CredentialsRecord, Login};

/// Items of a page when the call does not say.
const PAGE: usize = 100;
/// Items of a page at most.
const PAGE_LIMIT: usize = 1000;

/// Where a page begins and how long it is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Items at most: 1 to 1000, 100 when not given.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Every account, in the order of names.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", params(Paging), security(("bearer" = [])),
    responses((status = 200, body = Page<AccountBody>), (status = 422, body = Problem)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<AccountBody>>, Failure> {
    let limit = paging.limit.unwrap_or(PAGE);
    if !(1..=PAGE_LIMIT).contains(&limit) {
        return Err(Failure::field("limit", format!("is 1 to {PAGE_LIMIT}")));
    }
    let after = paging.cursor.as_deref().map(AccountName::parse).transpose();
    let after = after.map_err(|_| Failure::field("cursor", "is none of this list's"))?;
    // One more than asked for tells whether there is a next page.
    let mut rows = admin.accounts.page(after.as_ref(), limit + 1)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.name.to_string());
    Ok(Json(Page { items: rows.iter().map(|row| AccountBody::from(&**row)).collect(), next }))
}

/// Make an account.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = AccountFields, security(("bearer" = [])),
    responses((status = 201, body = AccountBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    body: Bytes,
) -> Result<(StatusCode, Json<AccountBody>), Failure> {
    let mut fields = Fields::read(&body)?;
    let name = fields.parsed("name", AccountName::parse)?.ok_or_else(|| Failure::field("name", "is missing"))?;
    let platform = fields.parsed("platform", Platform::parse)?;
    let platform = platform.ok_or_else(|| Failure::field("platform", "is missing"))?;
    let client_id = fields.parsed("client_id", ClientId::parse)?;
    let client_id = client_id.ok_or_else(|| Failure::field("client_id", "is missing"))?;
    let nickname = fields.text("nickname")?;
    let credentials = credentials(&mut fields)?;
    let access_token = fields.secret("access_token")?;
    fields.done()?;
    if platform == Platform::Automatic {
        can_log_in(credentials.login(), access_token.is_some())?;
    }
    let new = NewAccount { name, nickname, platform, client_id, credentials, access_token };
    let account = admin.accounts.create(new).await?;
    Ok((StatusCode::CREATED, Json(AccountBody::from(&*account))))
}

/// One account.
#[utoipa::path(get, path = "/v1/accounts/{name}", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Json<AccountBody>, Failure> {
    let name = wire::name(&name)?;
    let account = admin.accounts.lookup(name.as_str());
    let account = account.ok_or(crate::accounts::AccountError::NoSuchAccount(name))?;
    Ok(Json(AccountBody::from(&*account)))
}

/// Change any fields of an account but its name.
#[utoipa::path(patch, path = "/v1/accounts/{name}", tag = "accounts", request_body = AccountFields, security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn change(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<AccountBody>, Failure> {
    let name = wire::name(&name)?;
    let mut fields = Fields::read(&body)?;
    if fields.text("name")?.is_some_and(|given| given != name.as_str()) {
        return Err(Failure::field("name", "cannot be changed"));
    }
    let patch = Patch {
        nickname: fields.text("nickname")?,
        platform: fields.parsed("platform", Platform::parse)?,
        client_id: fields.parsed("client_id", ClientId::parse)?,
        credentials: credentials(&mut fields)?,
        access_token: fields.secret("access_token")?,
    };
    fields.done()?;
    if patch.platform == Some(Platform::Automatic) {
        let has = admin.accounts.can_log_in(&name, &patch.credentials)?;
        can_log_in(has, patch.access_token.is_some())?;
    }
    let account = admin.accounts.change(&name, patch).await?;
    Ok(Json(AccountBody::from(&*account)))
}

/// Delete an account. Its addresses stay, as tombstones.
#[utoipa::path(delete, path = "/v1/accounts/{name}", tag = "accounts", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(State(admin): State<Admin>, Path(name): Path<String>) -> Result<StatusCode, Failure> {
    admin.accounts.delete(&wire::name(&name)?).await?;
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

/// Brokers show the secret in groups, in either case, with or without padding.
fn check_totp_secret(secret: &str) -> Result<(), Invalid> {
    let plain: String = secret.chars().filter(|c| !matches!(c, ' ' | '-' | '=')).collect();
    let decoded = data_encoding::BASE32_NOPAD.decode(plain.to_ascii_uppercase().as_bytes());
    let good = decoded.is_ok_and(|bytes| bytes.len() >= 10);
    good.then_some(()).ok_or(Invalid::new(
        "a TOTP secret is at least 16 letters A-Z and digits 2-7, as shown when TOTP is set up (not a 6-digit code)",
    ))
}

/// An automatic account needs something to log in with.
fn can_log_in(login: Login, token: bool) -> Result<(), Failure> {
    match (login.pin, login.totp_secret) {
        (true, true) => Ok(()),
        (false, false) if login.consent || token => Ok(()),
        (false, _) => Err(Failure::field("pin", "is missing; DHAN_V2_AT_IPV6 logs in by PIN and TOTP")),
        (_, false) => Err(Failure::field("totp_secret", "is missing; DHAN_V2_AT_IPV6 logs in by PIN and TOTP")),
    }
}
