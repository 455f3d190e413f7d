//! The console: pages for people, in front of the admin API.
//!
//! Every page is HTML that works without JavaScript; six small modules of our own make it live. A page reads by the
//! same functions as `/v1`; what a form changes goes through the `/v1` route itself ([`call`]), so that roles, checks,
//! texts and the audit log stand in one place. Cookies mean nothing to `/v1`, and bearer tokens nothing here.
//!
//! [`guard`] stands before every route: whose page it was, who is signed in, is the form one of ours. This file is the
//! table of routes; pages that show the same thing are in one file.

mod account;
mod account_forms;
mod account_trouble;
mod accounts;
mod act;
mod address_fields;
mod advice;
mod assets;
mod attention;
mod call;
mod called;
mod chain_check;
mod changes;
mod connect;
mod context;
mod create;
mod docs;
mod edit;
mod evidence;
mod field;
mod first_addresses;
mod first_run;
mod first_steps;
mod form;
mod guard;
mod halt_all;
mod help;
mod keys;
mod live;
mod login_fields;
mod look;
mod machine;
mod once;
mod order;
mod orders;
mod page;
mod plot;
mod plots;
mod pools;
mod progress;
mod registration;
mod runs;
mod shown;
mod signin;
mod token;
mod trouble;
mod validate_all;
mod validating;
mod visitor;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use serde_json::Value;

use super::state::Admin;
use context::Console;

/// Every page. `api` are the `/v1` routes, ready to serve, and `document` describes them.
pub(super) fn router(admin: Admin, api: Router, document: Arc<Value>) -> Router {
    let console = Console {
        admin,
        api,
        document,
        attention: Arc::default(),
        chain: Arc::default(),
        skipped: Arc::default(),
        runs: Arc::default(),
        once: Arc::default(),
    };
    Router::new()
        .route("/", get(signin::front))
        .route("/console", get(accounts::list))
        .route("/console/sign-in", get(signin::form).post(signin::sign_in))
        .route("/console/sign-out", post(signin::sign_out))
        .route("/console/sign-out-everywhere", post(signin::sign_out_everywhere))
        .route("/console/sessions", get(signin::sessions))
        .route("/console/events", get(live::events))
        .merge(of_accounts())
        .merge(of_the_gateway())
        .route("/console/orders", get(orders::list))
        .route("/console/orders/{id}", get(order::show))
        .route("/console/orders/{id}/ask", post(order::query_broker))
        .route("/console/orders/{id}/settle", post(order::settle))
        .route("/console/changes", get(changes::list))
        .route("/console/help", get(help::show))
        .route("/docs", get(help::api))
        .route("/console/static/{version}/{file}", get(assets::file))
        .fallback(page::no_such_page)
        .method_not_allowed_fallback(page::no_page_of_its_own)
        .layer(middleware::from_fn_with_state(console.clone(), guard::check))
        .with_state(console)
}

/// The pages of what all accounts share.
fn of_the_gateway() -> Router<Console> {
    Router::new()
        .route("/console/halt-all", get(halt_all::show).post(halt_all::send))
        .route("/console/first-run", get(first_run::show))
        .route("/console/first-run/skip", post(first_run::put_off))
        .route("/console/first-run/halves", post(first_run::halve))
        .route("/console/pools", get(pools::list).post(pools::create))
        .route("/console/pools/{name}", get(pools::show))
        .route("/console/pools/{name}/delete", post(pools::delete))
        .route("/console/addresses/{address}/purge", get(pools::confirm_purge).post(pools::purge))
        .route("/console/machine", get(machine::show))
        .route("/console/machine/check", post(machine::check))
        .route("/console/plots", get(plots::show))
        .route("/console/evidence", get(evidence::show))
        .route("/console/evidence/check", post(evidence::check))
        .route("/console/evidence/download", get(evidence::download))
}

/// The pages of accounts and what is done there.
fn of_accounts() -> Router<Console> {
    Router::new()
        .route("/console/create", get(create::show).post(create::send))
        .route("/console/look/totp", post(look::totp))
        .route("/console/look/token", post(look::token))
        .route("/console/look/addresses", post(look::addresses))
        .route("/console/validate-all", get(validate_all::show).post(validate_all::start))
        .route("/console/validate-all/stop", post(validate_all::stop))
        .route("/console/validate-all.csv", get(validate_all::csv))
        .route("/console/accounts/{name}", get(account::show))
        .route("/console/accounts/{name}/assign", post(account_forms::assign))
        .route("/console/accounts/{name}/consent", post(token::consent))
        .route("/console/accounts/{name}/delete", post(account::delete))
        .route("/console/accounts/{name}/edit", get(edit::show).post(edit::send))
        .route("/console/accounts/{name}/halt", post(account_forms::halt))
        .route("/console/accounts/{name}/keys", get(keys::show).post(keys::create))
        .route("/console/accounts/{name}/keys/{id}/delete", post(keys::delete))
        .route("/console/accounts/{name}/leg", post(account_forms::pin))
        .route("/console/accounts/{name}/log-in", post(account_forms::log_in))
        .route("/console/accounts/{name}/platform", post(account_forms::platform_to))
        .route("/console/accounts/{name}/progress", get(progress::show))
        .route("/console/accounts/{name}/registration", get(registration::show).post(registration::put))
        .route("/console/accounts/{name}/registration/ask", post(registration::query_broker))
        .route("/console/accounts/{name}/retire", post(account::retire))
        .route("/console/accounts/{name}/token", get(token::show).post(token::send))
        .route("/console/accounts/{name}/validate", post(account_forms::validate))
}
