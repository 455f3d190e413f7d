//! `/v1/accounts`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::{Extension, Json};

use super::auth::Touched;
use super::error::{Failure, Problem};
use super::fields::{self, Fields, Given, InPath};
use super::state::Admin;
use super::wire::{AccountBody, AccountChanges, AccountFields, AccountsBody, ListFilter};
use crate::accounts::overview::{Position, Sort, Trouble, Wanted};
use crate::accounts::{Account, NewAccount, Patch};
use crate::domain::problem::Invalid;
use crate::domain::secret::{ExposeSecret, LoginSecret};
use crate::domain::{AccountName, ClientId, Platform, RepeatsBy, totp};
use crate::store::records::CredentialsRecord;

/// Accounts, in the order of names or the worst first, and how many of them are in which trouble.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", params(ListFilter), security(("bearer" = [])),
    responses((status = 200, body = AccountsBody), (status = 400, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn list(State(admin): State<Admin>, given: Given) -> Result<Json<AccountsBody>, Failure> {
    let wanted = wanted(fields::query(given)?)?;
    let page = admin.accounts.overview(&wanted);
    let items = page.rows.iter().map(|row| AccountBody::from(&**row)).collect();
    let next = page.next.map(|position| position.show(wanted.sort));
    Ok(Json(AccountsBody { items, next, counts: page.counts.into() }))
}

/// What a query asks for.
pub(super) fn wanted(mut given: BTreeMap<String, String>) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { limit: fields::PAGE, ..Wanted::default() };
    // First: a cursor is of one order.
    if let Some(sort) = given.remove("sort") {
        wanted.sort = Sort::parse(&sort).ok_or_else(|| Failure::field("sort", "is name or trouble"))?;
    }
    for (name, value) in given {
        let wrong = |why: &str| Failure::field(&name, why.to_owned());
        match name.as_str() {
            "q" => wanted.text = Some(value),
            "state" => {
                const STATES: [&str; 6] = ["absent", "minting", "live", "refreshing", "waiting", "needs_person"];
                let known = STATES.contains(&value.as_str());
                wanted.state = known.then_some(value);
                if !known {
                    return Err(wrong("is absent, minting, live, refreshing, waiting or needs_person"));
                }
            }
            "problem" => {
                let words = Trouble::ALL.map(Trouble::as_str).join(", ");
                let trouble = Trouble::parse(&value);
                wanted.trouble = Some(trouble.ok_or_else(|| wrong(&format!("is one of {words}")))?);
            }
            "limit" => {
                wanted.limit = fields::limit(&value)?;
            }
            "cursor" => {
                wanted.after = Some(Position::read(&value, wanted.sort).map_err(|_| fields::strange_cursor())?);
            }
            _ => return Err(fields::no_such_parameter(&name)),
        }
    }
    Ok(wanted)
}

/// Make an account.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = AccountFields, security(("bearer" = [])),
    responses((status = 201, body = AccountBody), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    mut fields: Fields,
) -> Result<(StatusCode, Extension<Touched>, Shown), Failure> {
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
    Ok((StatusCode::CREATED, touched, shown(&account)))
}

/// One account.
#[utoipa::path(get, path = "/v1/accounts/{name}", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<Shown, Failure> {
    Ok(shown(&*admin.account(&name)?))
}

/// Change any fields of an account but its name. With `If-Match` only if nobody changed its settings since they were
/// read.
#[utoipa::path(patch, path = "/v1/accounts/{name}", tag = "accounts", request_body = AccountChanges, security(("bearer" = [])),
    params(("if-match" = Option<String>, Header, description = "`ETag` of the account as it was read")),
    responses((status = 200, body = AccountBody), (status = 404, body = Problem), (status = 409, body = Problem), (status = 412, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn change(
    State(admin): State<Admin>,
    InPath(name): InPath<String>,
    headers: HeaderMap,
    mut fields: Fields,
) -> Result<Shown, Failure> {
    let name = fields::name(&name)?;
    if fields.text("name")?.is_some() {
        return Err(Failure::field("name", "cannot be changed"));
    }
    let (remove_nickname, remove) = removed(&mut fields)?;
    let patch = Patch {
        remove_nickname,
        remove,
        only_at: only_at(&headers),
        nickname: fields.text("nickname")?,
        platform: fields.parsed("platform", Platform::parse)?,
        client_id: fields.parsed("client_id", ClientId::parse)?,
        credentials: credentials(&mut fields)?,
        access_token: fields.token("access_token")?,
        repeats_by: fields.parsed("repeats_by", RepeatsBy::parse)?,
    };
    fields.done()?;
    let account = admin.accounts.change(&name, patch).await?;
    Ok(shown(&account))
}

/// Delete an account. Its addresses stay, as tombstones.
#[utoipa::path(delete, path = "/v1/accounts/{name}", tag = "accounts", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(State(admin): State<Admin>, InPath(name): InPath<String>) -> Result<StatusCode, Failure> {
    admin.accounts.delete(&fields::name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An account, and its version as `ETag`.
type Shown = ([(HeaderName, String); 1], Json<AccountBody>);

fn shown(account: &Account) -> Shown {
    ([(ETAG, format!("\"{}\"", account.version()))], Json(AccountBody::from(account)))
}

/// The versions that `If-Match` names. What is no version of ours matches none.
fn only_at(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut given = headers.get_all(IF_MATCH).iter().map(|value| value.to_str().unwrap_or_default()).peekable();
    given.peek()?;
    let tags: Vec<String> = given.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
    // `*`: any version of what there is; whether it is there is asked anyhow.
    if tags.iter().any(|tag| tag == "*") {
        return None;
    }
    let version = |tag: &String| tag.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    Some(tags.iter().filter_map(version).collect())
}

/// What is to be taken away: the nickname, and secrets.
fn removed(fields: &mut Fields) -> Result<(bool, Vec<LoginSecret>), Failure> {
    let names = fields.texts("remove")?;
    let secrets = names.iter().filter(|name| *name != "nickname").map(|name| {
        let words = LoginSecret::ALL.map(LoginSecret::as_str).join(", ");
        LoginSecret::parse(name).ok_or_else(|| Failure::field("remove", format!("is a list of nickname, {words}")))
    });
    Ok((names.iter().any(|name| name == "nickname"), secrets.collect::<Result<_, _>>()?))
}

fn credentials(fields: &mut Fields) -> Result<CredentialsRecord, Failure> {
    let pin = fields.secret("pin")?;
    let totp_secret = fields.secret("totp_secret")?;
    if let Some(Err(why)) = pin.as_ref().map(|pin| check_pin(pin.expose_secret())) {
        return Err(Failure::field("pin", why.to_string()));
    }
    // Its letters may be right, and their number not.
    if let Some(Err(why)) = totp_secret.as_ref().map(|secret| totp::decode(secret.expose_secret())) {
        return Err(Failure::unusable("totp_secret", why.to_string()));
    }
    Ok(CredentialsRecord {
        pin,
        totp_secret,
        phone: fields.secret("phone")?,
        api_key: fields.secret("api_key")?,
        api_secret: fields.secret("api_secret")?,
        ..CredentialsRecord::default()
    })
}

fn check_pin(pin: &str) -> Result<(), Invalid> {
    let good = (4..=6).contains(&pin.len()) && pin.bytes().all(|b| b.is_ascii_digit());
    good.then_some(()).ok_or(Invalid::new("a PIN is 4 to 6 digits"))
}
