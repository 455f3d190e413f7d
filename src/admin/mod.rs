//! The admin API (`/v1`): what operators and their programs talk to.
//!
//! Roles: a viewer reads; an operator also gives tokens and validates; an admin does
//! everything.
//! Which role a call needs stands beside its route. Every change is logged with
//! who made it. A page open in a browser on this host cannot reach it: `Host` must
//! be the listener's own and `Origin`, if there is one, the same.
//!
//! `wire` alone has JSON types, `fields` reads what a call brings, `state` is what calls work on; each resource has a
//! file. This file is the table of routes.

mod about;
mod accounts;
mod addresses;
mod audit;
mod auth;
mod awaited;
mod changes;
mod consent;
mod console;
mod counts;
mod document;
mod error;
mod events;
mod evidence;
mod fields;
mod halts;
mod health;
mod history;
mod host;
mod keys;
mod limits;
mod links;
mod misdirected;
mod operators;
mod orders;
mod pairs;
mod parameters;
mod pools;
mod previews;
mod registration;
mod reload;
mod reloads;
mod sampled;
mod serve;
mod sessions;
mod settle;
mod site;
mod state;
mod status;
mod tokens;
mod totp;
mod validate;
mod validate_all;
mod validation_job;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use about::{About, OpenListener};
pub use audit::AuditLog;
pub use operators::{Operator, Operators, TokenError};
pub use reloads::{Reloaded, Reloads};
pub use sampled::Sampled;
pub use serve::{Socket, Tls, serve};
pub use site::Site;
pub use state::{Admin, Parts};
pub use wire::ExaminationBody;

#[derive(OpenApi)]
#[openapi(info(
    title = "Sixgate admin API",
    description = "Accounts, their pairs of static IPv6 addresses, tokens and client keys. Errors are \
                   application/problem+json (RFC 9457); times are RFC 3339 in UTC; lists answer `items` and `next`."
))]
struct Description;

/// Every route, and the document that describes them.
fn routes() -> (Router<Admin>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::read, accounts::change, accounts::delete))
        .routes(routes!(pairs::assign, pairs::retire))
        .routes(routes!(halts::halt))
        .routes(routes!(halts::all_halted, halts::halt_all))
        .routes(routes!(limits::read))
        .routes(routes!(limits::order_at_broker))
        .routes(routes!(orders::list))
        .routes(routes!(settle::list))
        .routes(routes!(settle::settle))
        .routes(routes!(evidence::export))
        .routes(routes!(events::listen))
        .routes(routes!(events::recent))
        .routes(routes!(halts::pin))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::delete))
        .routes(routes!(tokens::read, tokens::put))
        .routes(routes!(tokens::refresh))
        .routes(routes!(totp::preview))
        .routes(routes!(consent::begin))
        .routes(routes!(consent::leave))
        .routes(routes!(consent::come_back))
        .routes(routes!(registration::read, registration::put))
        .routes(routes!(validate::one))
        .routes(routes!(validate::all))
        .routes(routes!(validate_all::begin, validate_all::read, validate_all::stop))
        .routes(routes!(pools::list, pools::create))
        .routes(routes!(pools::read, pools::delete))
        .routes(routes!(pools::pairs))
        .routes(routes!(pools::reserve))
        .routes(routes!(pools::release))
        .routes(routes!(addresses::list))
        .routes(routes!(addresses::read, addresses::purge))
        .routes(routes!(host::read))
        .routes(routes!(host::check))
        .routes(routes!(reload::reload))
        .routes(routes!(changes::list))
        .routes(routes!(links::create))
        .routes(routes!(status::read))
        .routes(routes!(history::read))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::ca))
        .split_for_parts()
}

/// The router, ready to serve.
pub fn router(admin: Admin) -> Router {
    let (routes, document) = routes();
    let document: Arc<str> = document::text(document).into();
    let described = Arc::new(serde_json::from_str(&document).unwrap_or_default());
    let describe = async move |_: State<Admin>| {
        ([(axum::http::header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
    };
    let api = routes
        // The broker puts a slash between the redirect URL and its query.
        .route("/auth/dhan/", get(consent::come_back))
        .route("/openapi.json", get(describe))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(fields::BODY_LIMIT))
        .layer(middleware::from_fn_with_state(admin.clone(), auth::check))
        .with_state(admin.clone());
    let site = Arc::clone(&admin.site);
    let pages = console::router(admin, api.clone(), described);
    let (pages, api) = (TowerToHyperService::new(pages), TowerToHyperService::new(api));
    Router::new().fallback(async move |request: Request| {
        if let Some(refused) = misdirected::proxy_request(&site, &request) {
            return Ok(refused);
        }
        let path = request.uri().path();
        let is_page = matches!(path, "/" | "/console" | "/docs") || path.starts_with("/console/");
        if is_page { pages.call(request).await } else { api.call(request).await }
    })
}

/// The OpenAPI document.
pub fn openapi() -> String {
    document::text(routes().1)
}
