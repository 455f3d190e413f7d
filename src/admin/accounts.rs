//! `/v1/accounts`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::{Extension, Json};
use serde_json::{Map, Value};

use super::auth::Touched;
use super::error::{Failure, Mistakes, Problem, cut_short, lacking};
use super::fields::{self, Fields, Given, InPath};
use super::state::Admin;
use super::wire::{AccountBody, AccountChanges, AccountFields, AccountsBody, ListFilter};
use crate::accounts::overview::{Position, Sort, Trouble, Wanted};
use crate::accounts::{Account, Accounts, NewAccount, Patch, login_lacks, set_of};
use crate::domain::secret::LoginSecret;
use crate::domain::{AccountName, ClientId, Platform, RepeatsBy, StreamsMode};
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
    fields: Fields,
) -> Result<(StatusCode, Extension<Touched>, Shown), Failure> {
    let account = admin.accounts.create(new_account(&admin.accounts, fields)?).await?;
    let touched = Extension(Touched(account.name.to_string()));
    Ok((StatusCode::CREATED, touched, shown(&account)))
}

/// What would be wrong with the fields of a new account; nothing is made.
pub(super) fn mistakes(accounts: &Accounts, fields: Map<String, Value>) -> Option<Failure> {
    new_account(accounts, Fields::of(fields)).err()
}

/// A new account's fields.
fn new_account(accounts: &Accounts, mut fields: Fields) -> Result<NewAccount, Failure> {
    let mut mistakes = Mistakes::default();
    let name = mistakes.note(fields.needed_parsed("name", AccountName::parse));
    let platform = mistakes.note(fields.needed_parsed("platform", Platform::parse));
    let client_id = mistakes.note(fields.needed_parsed("client_id", ClientId::parse));
    let nickname = mistakes.note(fields.text("nickname")).flatten();
    let credentials = credentials(&mut fields, &mut mistakes);
    let access_token = mistakes.note(fields.secret("access_token")).flatten();
    let repeats_by = mistakes.note(fields.parsed("repeats_by", RepeatsBy::parse)).flatten().unwrap_or_default();
    let streams = mistakes.note(fields.parsed("streams", StreamsMode::parse)).flatten().unwrap_or_default();
    mistakes.add(fields.strange());
    if platform == Some(Platform::Automatic) {
        // What was given and is wrong is not missing too.
        let given = set_of(&credentials);
        let has = |secret: LoginSecret| given.contains_key(&secret) || mistakes.has(secret.as_str());
        let lacks = login_lacks(has, access_token.is_some() || mistakes.has("access_token"));
        mistakes.add(lacks.into_iter().map(lacking));
    }
    let refusals = accounts.refusals(name.as_ref(), client_id.as_ref(), access_token.as_ref())?;
    mistakes.add(refusals.into_iter().map(Failure::from));
    mistakes.none()?;
    let (Some(name), Some(platform), Some(client_id)) = (name, platform, client_id) else {
        return Err(cut_short());
    };
    Ok(NewAccount { name, nickname, platform, client_id, credentials, access_token, repeats_by, streams })
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
    fields: Fields,
) -> Result<Shown, Failure> {
    let name = fields::name(&name)?;
    let account = admin.accounts.change(&name, patch(&admin.accounts, &name, fields, only_at(&headers))?).await?;
    Ok(shown(&account))
}

fn patch(
    accounts: &Accounts,
    name: &AccountName,
    mut fields: Fields,
    only_at: Option<Vec<String>>,
) -> Result<Patch, Failure> {
    let mut mistakes = Mistakes::default();
    if mistakes.note(fields.text("name")).flatten().is_some() {
        mistakes.add([Failure::field("name", "cannot be changed")]);
    }
    let (remove_nickname, remove) = mistakes.note(removed(&mut fields)).unwrap_or_default();
    let patch = Patch {
        remove_nickname,
        remove,
        only_at,
        nickname: mistakes.note(fields.text("nickname")).flatten(),
        platform: mistakes.note(fields.parsed("platform", Platform::parse)).flatten(),
        client_id: mistakes.note(fields.parsed("client_id", ClientId::parse)).flatten(),
        credentials: credentials(&mut fields, &mut mistakes),
        access_token: mistakes.note(fields.secret("access_token")).flatten(),
        repeats_by: mistakes.note(fields.parsed("repeats_by", RepeatsBy::parse)).flatten(),
        streams: mistakes.note(fields.parsed("streams", StreamsMode::parse)).flatten(),
    };
    mistakes.add(fields.strange());
    mistakes.add(accounts.refusals_of_change(name, &patch)?.into_iter().map(Failure::from));
    mistakes.none()?;
    Ok(patch)
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

fn credentials(fields: &mut Fields, mistakes: &mut Mistakes) -> CredentialsRecord {
    let mut secret = |name| mistakes.note(fields.secret(name)).flatten();
    CredentialsRecord {
        pin: secret("pin"),
        totp_secret: secret("totp_secret"),
        phone: secret("phone"),
        api_key: secret("api_key"),
        api_secret: secret("api_secret"),
        ..CredentialsRecord::default()
    }
}
