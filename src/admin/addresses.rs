//! `/v1/addresses`: who has or had which address.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::{Failure, Problem};
use super::fields::{self, Given, InPath};
use super::state::Admin;
use super::wire::{AddressBody, AddressFilter, Page};
use crate::addressing::WantedAddresses;
use crate::domain::{AccountName, SourceAddr};

/// Addresses that accounts have or had, in their own order. A tombstone keeps one from every other account.
#[utoipa::path(get, path = "/v1/addresses", tag = "addresses", params(AddressFilter), security(("bearer" = [])),
    responses((status = 200, body = Page<AddressBody>), (status = 400, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn list(State(admin): State<Admin>, given: Given) -> Result<Json<Page<AddressBody>>, Failure> {
    let (mut wanted, mut limit, mut after) = (WantedAddresses::default(), fields::PAGE, None);
    for (name, value) in fields::query(given)? {
        let wrong = |why: &str| Failure::field(&name, why.to_owned());
        match name.as_str() {
            "pool" => wanted.pool = Some(value),
            "account" => {
                wanted.account = Some(AccountName::parse(&value).map_err(|_| wrong("is no account's name"))?);
            }
            "retired" => wanted.retired = Some(value.parse().map_err(|_| wrong("is true or false"))?),
            "limit" => limit = fields::limit(&value)?,
            "cursor" => after = Some(SourceAddr::parse(&value).map_err(|_| fields::strange_cursor())?),
            _ => return Err(fields::no_such_parameter(&name)),
        }
    }
    let (found, next) = admin.accounts.addressing().addresses(&wanted, after, limit)?;
    let items = found.iter().map(|(address, record)| AddressBody::from((*address, record))).collect();
    Ok(Json(Page { items, next: next.map(|address| address.to_string()) }))
}

/// Who has or had an address.
#[utoipa::path(get, path = "/v1/addresses/{address}", tag = "addresses", security(("bearer" = [])),
    responses((status = 200, body = AddressBody), (status = 404, body = Problem)))]
pub(super) async fn read(
    State(admin): State<Admin>,
    InPath(address): InPath<String>,
) -> Result<Json<AddressBody>, Failure> {
    let address = parse(&address)?;
    let record = admin.accounts.addressing().holder(address)?;
    Ok(Json(AddressBody::from((address, &record))))
}

/// Forget that an account had an address: from now on anybody may get it. Only a tombstone, never one in use. The broker
/// may still know the address with its earlier customer, and refuse it for the next.
#[utoipa::path(delete, path = "/v1/addresses/{address}", tag = "addresses", security(("bearer" = [])),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn purge(State(admin): State<Admin>, InPath(address): InPath<String>) -> Result<StatusCode, Failure> {
    let address = parse(&address)?;
    let record = admin.accounts.addressing().purge(address).await?;
    tracing::info!(target: "sixgate::audit", %address, account = %record.account, client_id = %record.client_id,
        "an address was purged");
    Ok(StatusCode::NO_CONTENT)
}

fn parse(text: &str) -> Result<SourceAddr, Failure> {
    let none = |_| Failure::new(StatusCode::NOT_FOUND, "not_found", "that is no address that an account could have");
    SourceAddr::parse(text).map_err(none)
}
