//! Pools: prefixes from which accounts are given their pairs, what is left of them, and addresses that nobody gets again.

use std::net::Ipv6Addr;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use ipnet::Ipv6Net;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::super::pools as api;
use super::super::sessions::Flash;
use super::super::wire::{AddressBody, PoolBody};
use super::act::{Act, act, forbidden, lacks};
use super::call::{Refused, call, part};
use super::context::Console;
use super::field::{Field, block, copied, field};
use super::form::Form;
use super::page::{self, Part, form};
use super::visitor::Visitor;
use super::words;
use crate::addressing::WantedAddresses;
use crate::domain::{AccountName, OperatorRole, SourceAddr, at_most_a_million};
use crate::host::{answers_for, local_route};

/// Rows of a page.
const PAGE: usize = 50;

/// Where a page goes on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Paging {
    #[serde(default)]
    cursor: String,
}

/// `/console/pools`
pub(super) async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(paging): Query<Paging>,
) -> Response {
    shown(&console, &visitor, &paging, &Form::default(), None).await
}

async fn shown(
    console: &Console,
    visitor: &Visitor,
    paging: &Paging,
    typed: &Form,
    refused: Option<&Refused>,
) -> Response {
    let pools = api::list(State(console.admin.clone())).await.0.items;
    let unanswered = unanswered(&pools).await;
    let content = html! {
        @if let Some(refused) = refused { (page::summary(refused)) }
        h1 { "Pools" }
        p.hint { "A pool has two prefixes. Each account gets one address of each, and no other account ever gets these two." }
        @if pools.is_empty() {
            p { "There is no pool. Without one, each account brings its own two addresses." }
        } @else {
            table.cards {
                thead { tr {
                    th { "Pool" } th { "Prefixes" } th.number { "Given" } th.number { "Free" } th { "Next" }
                    @if visitor.may(OperatorRole::Admin) { th { span.unseen { "Actions" } } }
                } }
                tbody { @for pool in &pools { (row(visitor, pool)) } }
            }
        }
        (answers(&pools, &unanswered))
        @if visitor.may(OperatorRole::Admin) { (make(visitor, typed, refused, pools.is_empty())) }
        (tombstones(console, visitor, paging))
    };
    let page = page::page(console, visitor, Part::Pools, "Pools", &content);
    match refused {
        Some(refused) => page::with(refused.status, page),
        None => page,
    }
}

/// Prefixes that this machine does not take as its own, as far as the next address of each tells.
async fn unanswered(pools: &[PoolBody]) -> Vec<Ipv6Net> {
    let next = pools.iter().filter_map(|pool| {
        let pair = pool.next.as_ref()?;
        Some([(pool.primary, pair.primary), (pool.secondary, pair.secondary)])
    });
    let next: Vec<(Ipv6Net, Ipv6Addr)> = next.flatten().collect();
    // It asks the kernel.
    let look = move || next.into_iter().filter(|(_, at)| answers_for(*at) == Some(false)).map(|(net, _)| net).collect();
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// The way on from a new pool: what makes its addresses this machine's.
fn answers(pools: &[PoolBody], unanswered: &[Ipv6Net]) -> Markup {
    let commands: Vec<String> = unanswered.iter().map(|net| local_route(*net)).collect();
    html! {
        @if !commands.is_empty() {
            p { (words::BAD) " Nothing on this machine answers for " (unanswered.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")) " yet. \
                 If your provider routes it to this machine, as root:" }
            (block(&commands.join("\n")))
            p.hint { a href="/console/machine" { "This machine" } " says what else it takes, and how it is kept when the machine starts." }
        } @else if !pools.is_empty() {
            p.hint { "Whether this machine answers for these addresses, and keeps them when it starts: " a href="/console/machine" { "This machine" } "." }
        }
    }
}

fn row(visitor: &Visitor, pool: &PoolBody) -> Markup {
    html! {
        tr {
            td data-label="Pool" { a href={ "/console/pools/" (part(&pool.name)) } { (pool.name) } }
            td.address data-label="Prefixes" { (pool.primary) div { (pool.secondary) } }
            td.number data-label="Given" { (words::number(pool.assigned.saturating_sub(pool.reserved) as usize)) @if pool.reserved > 0 { div.hint { (pool.reserved) " set aside" } } }
            td.number data-label="Free" { (at_most_a_million(&pool.free)) }
            td.address data-label="Next" {
                @match &pool.next {
                    Some(pair) => { (pair.primary.to_string()) div { (pair.secondary.to_string()) } }
                    None if pool.reserved > 0 => { (words::NEXT) " none now: pairs that are set aside are free again after ten minutes" }
                    None => { (words::BAD) " none: every pair is taken" }
                }
            }
            @if visitor.may(OperatorRole::Admin) {
                td.actions data-label="" { @if pool.assigned == 0 {
                    (form(visitor, &format!("/console/pools/{}/delete", part(&pool.name)), &html! {
                        button.quiet data-confirm={ "Delete the pool " (pool.name) "?" } { "Delete" }
                    }))
                } }
            }
        }
    }
}

/// The form that makes a pool. Also on the front page, while there is none.
pub(super) fn make(visitor: &Visitor, typed: &Form, refused: Option<&Refused>, first: bool) -> Markup {
    let error = |name: &str| refused.and_then(|refused| refused.of(name));
    let of = |name, label, hint, value| {
        html! { (field(&Field { name, label, hint, value, required: true, error: error(name), ..Field::default() })) }
    };
    let name = typed.given("name").unwrap_or(if first { "main" } else { "" });
    html! {
        section aria-labelledby="make" {
            h2 #make { "Make a pool" }
            (form(visitor, "/console/pools", &html! {
                (of("name", "Name", "Yours to choose.", name))
                (of("primary", "Primary prefix", "Such as 2001:db8:a1::/64.", typed.text("primary")))
                (of("secondary", "Secondary prefix", "Of the same length, by another line if you have two.", typed.text("secondary")))
                button { "Make pool" }
            }))
        }
    }
}

/// Make a pool.
pub(super) async fn create(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Form>,
) -> Response {
    let body = form.object(&["name", "primary", "secondary"]);
    match call(&console.api, &visitor.operator, Method::POST, "/v1/pools", &body).await {
        Ok(_) => {
            let text = format!("The pool {} is there.", form.text("name"));
            page::back(&console, &visitor, "/console/pools", Flash { good: true, text })
        }
        Err(refused) if refused.status == 403 => forbidden(&refused.detail),
        Err(refused) => shown(&console, &visitor, &Paging::default(), &form, Some(&refused)).await,
    }
}

/// Delete a pool that gave nothing.
pub(super) async fn delete(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let (path, back, done) = (format!("/v1/pools/{}", part(&name)), "/console/pools", "The pool is deleted.");
    act(&console, &visitor, Act { method: Method::DELETE, path: &path, body: Value::Null, back, done }).await
}

/// A pool's pairs.
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Query(paging): Query<Paging>,
) -> Response {
    let after = AccountName::parse(&paging.cursor).ok();
    let Ok((pairs, next)) = console.admin.accounts.addressing().pairs(&name, after.as_ref(), PAGE) else {
        return page::refused(StatusCode::NOT_FOUND, "No such pool", "It was deleted, or its name is another.");
    };
    let content = html! {
        h1 { "Pool " (name) }
        @if pairs.is_empty() { p { "No account has a pair of it." } } @else {
            table.cards {
                thead { tr { th { "Account" } th { "Primary" } th { "Secondary" } th { "Since" } } }
                tbody { @for (account, record) in &pairs {
                    tr {
                        td data-label="Account" { a href={ "/console/accounts/" (part(account.as_str())) } { (account) } }
                        td data-label="Primary" { (record.pair.primary) }
                        td data-label="Secondary" { (record.pair.secondary) }
                        td data-label="Since" { (page::time(record.assigned_at)) }
                    }
                } }
            }
        }
        @if let Some(next) = next { p { a.button.second href={ "?cursor=" (part(next.as_str())) } { "Next" } } }
        p { a href="/console/pools" { "All pools" } }
    };
    page::page(&console, &visitor, Part::Pools, &name, &content)
}

/// Addresses that nobody gets again, but their customer.
fn tombstones(console: &Console, visitor: &Visitor, paging: &Paging) -> Markup {
    let wanted = WantedAddresses { retired: Some(true), ..WantedAddresses::default() };
    let after = SourceAddr::parse(&paging.cursor).ok();
    let found = console.admin.accounts.addressing().addresses(&wanted, after, PAGE);
    html! {
        section aria-labelledby="tombstones" {
            h2 #tombstones { "Addresses that were given up" }
            @match found {
                Err(err) => p.flash.bad { (words::BAD) " " (err) },
                Ok((found, _)) if found.is_empty() => p { "None. An address that an account gives up is kept here: Dhan may still know it as that customer's." },
                Ok((found, next)) => {
                    p.hint { "Dhan may still know each as that customer's, so only that customer gets it again." }
                    table.cards {
                        thead { tr { th { "Address" } th { "Who had it" } th { "Given up" } @if visitor.may(OperatorRole::Admin) { th { span.unseen { "Actions" } } } } }
                        tbody { @for (address, record) in &found { (tombstone(visitor, &AddressBody::from((*address, record)))) } }
                    }
                    @if let Some(next) = next { p { a.button.second href={ "/console/pools?cursor=" (part(&next.to_string())) "#tombstones" } { "Next" } } }
                }
            }
        }
    }
}

fn tombstone(visitor: &Visitor, body: &AddressBody) -> Markup {
    html! {
        tr {
            td.address data-label="Address" { (body.address.to_string()) }
            td data-label="Who had it" { (body.account) div.hint { "client id " (body.client_id) ", " (body.role) } }
            td data-label="Given up" { @if let Some(at) = moment(body) { (page::time(at)) } }
            @if visitor.may(OperatorRole::Admin) {
                td.actions data-label="" { a.button.quiet href={ "/console/addresses/" (part(&body.address.to_string())) "/purge" } { "Purge…" } }
            }
        }
    }
}

fn moment(body: &AddressBody) -> Option<Timestamp> {
    body.retired_at.as_deref()?.parse().ok()
}

/// `/console/addresses/{address}/purge`: asks for the address to be typed.
pub(super) async fn confirm_purge(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(address): Path<String>,
) -> Response {
    purge_page(&console, &visitor, &address, None)
}

fn purge_page(console: &Console, visitor: &Visitor, address: &str, refused: Option<&Refused>) -> Response {
    if let Some(refused) = lacks(visitor, OperatorRole::Admin) {
        return refused;
    }
    let held = SourceAddr::parse(address).ok();
    let held = held.and_then(|address| Some((address, console.admin.accounts.addressing().holder(address).ok()?)));
    let Some((source, record)) = held else {
        return page::refused(StatusCode::NOT_FOUND, "No such address", "No account has it or had it.");
    };
    let body = AddressBody::from((source, &record));
    let error = refused.map(|refused| &*refused.detail);
    let content = html! {
        @if let Some(refused) = refused { (page::summary(refused)) }
        h1 { "Forget that " (body.account) " had this address?" }
        p { (copied(&body.address.to_string())) }
        p { "The account " (body.account) " (client id " (body.client_id) ") had it"
            @if let Some(at) = moment(&body) { " until " (page::time(at)) } ". From then on any account may get it." }
        p.flash.bad { (words::BAD) " Dhan may still know it as that customer's, and refuse orders of the next one who has it." }
        (form(visitor, &format!("/console/addresses/{}/purge", part(&body.address.to_string())), &html! {
            (field(&Field { name: "address", label: "Type the address", required: true, error, ..Field::default() }))
            div.row { button.danger { "Purge" } a href="/console/pools" { "Cancel" } }
        }))
    };
    let page = page::page(console, visitor, Part::Pools, "Purge an address", &content);
    match refused {
        Some(refused) => page::with(refused.status, page),
        None => page,
    }
}

/// Forget that an account had an address.
pub(super) async fn purge(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(address): Path<String>,
    Extension(form): Extension<Form>,
) -> Response {
    let same =
        SourceAddr::parse(form.text("address")).ok().is_some_and(|typed| SourceAddr::parse(&address) == Ok(typed));
    if !same && visitor.may(OperatorRole::Admin) {
        let detail = "That is not the address. Type it as it stands above.".to_owned();
        let refused = Refused::here("invalid", Some("address"), &detail);
        return purge_page(&console, &visitor, &address, Some(&refused));
    }
    let path = format!("/v1/addresses/{}", part(&address));
    let (back, done) = ("/console/pools", "Forgotten. Any account may get it.");
    act(&console, &visitor, Act { method: Method::DELETE, path: &path, body: Value::Null, back, done }).await
}
