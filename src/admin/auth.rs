//! Who may call what.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::Failure;
use super::roles::{Role, TokenDigest};
use super::state::Admin;
use crate::domain::target::own_host;

/// Admit a call or answer it here; log it when it changes something.
pub(super) async fn check(State(admin): State<Admin>, mut request: Request, next: Next) -> Response {
    if let Err(refused) = refuse_pages(&admin, request.headers()) {
        return refused.into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let open = matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics" | "/openapi.json" | "/ca.pem");
    if open && !admin.reachable_from_elsewhere() {
        return next.run(request).await;
    }
    // A person's browser, on its way to the broker's page and back. What it may do hangs
    // on a secret of one use.
    if method == Method::GET && matches!(path.as_str(), "/auth/dhan" | "/auth/dhan/" | "/auth/dhan/start") {
        return next.run(request).await;
    }
    let needed = Role::needed(&method, &path);
    let role = bearer(request.headers()).and_then(|token| admin.roles.load().of(token));
    match role {
        None => {
            let text = "give the token of admin.token_file as Authorization: Bearer";
            let mut reply = Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", text).into_response();
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sixgate\""));
            return reply;
        }
        Some(role) if role < needed => {
            let text = format!("this call needs the role {}, and the token has {}", needed.as_str(), role.as_str());
            return Failure::new(StatusCode::FORBIDDEN, "forbidden", text).into_response();
        }
        Some(_) => {}
    }
    if let Some(digest) = bearer(request.headers()).map(TokenDigest::of) {
        request.extensions_mut().insert(digest);
    }
    if needed == Role::Viewer {
        return next.run(request).await;
    }
    // In a task of its own: a caller that hangs up must not leave a change half way,
    // in the store and not in its row. It is logged, whoever still listens.
    let change = async move {
        let reply = next.run(request).await;
        tracing::info!(
            target: "sixgate::audit",
            role = role.map(Role::as_str),
            method = method.as_str(),
            path,
            status = reply.status().as_u16(),
            "admin call"
        );
        reply
    };
    admin.tasks.spawn(change).await.unwrap_or_else(|_| super::error::cut_short().into_response())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A page that rebinds its name to this address sends its own `Host`; a page of
/// another origin sends `Origin`.
fn refuse_pages(admin: &Admin, headers: &HeaderMap) -> Result<(), Failure> {
    let refused = |text: &str| Err(Failure::new(StatusCode::FORBIDDEN, "browser_refused", text));
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(local) = admin.local.filter(|local| local.ip().is_loopback())
        && !own_host(host, local)
    {
        return refused("Host is not this listener's own address");
    }
    match headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default()) {
        Some(origin) if origin.split_once("://").map(|(_, rest)| rest) != Some(host) => {
            refused("Origin is another site")
        }
        _ => Ok(()),
    }
}
