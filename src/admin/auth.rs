//! Who may call what.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::audit::{Change, Via, differences};
use super::error::Failure;
use super::operators::{self, Operator};
use super::site::cut;
use super::state::Admin;
use super::wire::AccountBody;
use crate::domain::OperatorRole;

/// Admit a call or answer it here; log it when it changes something.
pub(super) async fn check(State(admin): State<Admin>, mut request: Request, next: Next) -> Response {
    if let Err(refused) = refuse_pages(&admin, request.headers()) {
        return refused.into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let open = matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics" | "/openapi.json" | "/ca.pem");
    if open && !admin.site.is_reachable_from_elsewhere() {
        return next.run(request).await;
    }
    // A person's browser, on its way to the broker's page and back. What it may do hangs
    // on a secret of one use.
    if method == Method::GET && matches!(path.as_str(), "/auth/dhan" | "/auth/dhan/" | "/auth/dhan/start") {
        return next.run(request).await;
    }
    let needed = operators::needed(&method, &path);
    let (caller, via) = match request.extensions().get::<SignedIn>() {
        Some(SignedIn(operator)) => (Some(operator.clone()), Via::Console),
        None => (bearer(request.headers()).and_then(|token| admin.operators.load().of(token)), Via::Api),
    };
    let Some(caller) = caller else {
        let text = "give the token of admin.token_file as Authorization: Bearer";
        let mut reply = Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", text).into_response();
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sixgate\""));
        return reply;
    };
    let log = admin.audit.clone();
    let mut change = Change {
        at: jiff::Timestamp::now(),
        actor: caller.name.to_string(),
        role: caller.role.as_str(),
        via,
        method: method.to_string(),
        path: path.clone(),
        status: StatusCode::FORBIDDEN.as_u16(),
        account: account_of(&path).map(str::to_owned),
        changes: Vec::new(),
    };
    if caller.role < needed {
        log.record(change).await;
        let text = format!("this call needs the role {}, and yours is {}", needed.as_str(), caller.role.as_str());
        return Failure::new(StatusCode::FORBIDDEN, "forbidden", text).into_response();
    }
    request.extensions_mut().insert(caller);
    // What needs more than a viewer is written down, reads too.
    if matches!(method, Method::GET | Method::HEAD) && needed == OperatorRole::Viewer {
        return next.run(request).await;
    }
    // In a task of its own: a caller that hangs up must not leave a change half way,
    // in the store and not in its row. It is logged, whoever still listens.
    let tasks = admin.tasks.clone();
    let work = async move {
        let before = shown(&admin, &change);
        let reply = next.run(request).await;
        if let Some(Touched(made)) = reply.extensions().get() {
            change.account = Some(made.clone());
        }
        let after = shown(&admin, &change);
        change.changes = differences(&before.unwrap_or_default(), &after.unwrap_or_default());
        change.status = reply.status().as_u16();
        log.record(change).await;
        reply
    };
    tasks.spawn(work).await.unwrap_or_else(|_| super::error::cut_short().into_response())
}

/// Where all accounts are halted.
pub(super) const ALL_HALTED: &str = "/v1/halt";

/// Marks a request that a person makes through the console, whose session was looked at. No request from outside has it.
#[derive(Clone, Debug)]
pub(super) struct SignedIn(pub Operator);

/// Marks a reply with the account that was made, whose name is not in the path.
#[derive(Clone, Debug)]
pub(super) struct Touched(pub String);

/// The account that a path names.
fn account_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/accounts/")?.split('/').next().filter(|name| !name.is_empty())
}

/// What the call may change, as the API shows it.
fn shown(admin: &Admin, change: &Change) -> Option<serde_json::Value> {
    match (&change.account, change.path.as_str()) {
        (Some(name), _) => settings(admin, name),
        (None, ALL_HALTED) => {
            let all = admin.accounts.all_halted();
            let reason = all.as_ref().map(|all| all.reason.clone()).filter(|reason| !reason.is_empty());
            Some(serde_json::json!({ "halted": all.is_some(), "reason": reason }))
        }
        (None, _) => None,
    }
}

/// What an account is set to, as the API shows it: no secret is in it, and nothing that changes by itself.
fn settings(admin: &Admin, name: &str) -> Option<serde_json::Value> {
    const SET: [&str; 9] =
        ["nickname", "platform", "client_id", "pair", "halted", "halt_reason", "pin", "repeats_by", "streams"];
    let account = admin.account(name).ok()?;
    let serde_json::Value::Object(mut shown) = serde_json::to_value(AccountBody::from(&*account)).ok()? else {
        return None;
    };
    shown.retain(|member, _| SET.contains(&member.as_str()));
    let keys = admin.accounts.keys(&account.name).ok()?;
    // People know a key by its label, programs by its id.
    let named = keys.into_iter().map(|key| match key.label {
        Some(label) => format!("{label} ({})", key.id),
        None => key.id,
    });
    shown.insert("keys".to_owned(), named.collect());
    Some(shown.into())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A page that rebinds its name to this address sends its own `Host`; a page of another origin sends `Origin`.
fn refuse_pages(admin: &Admin, headers: &HeaderMap) -> Result<(), Failure> {
    let refused = |text: String| Err(Failure::new(StatusCode::FORBIDDEN, "browser_refused", text));
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Err(why) = admin.site.admits(host) {
        return refused(why);
    }
    match headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default()) {
        Some(origin) if !admin.site.is_own_origin(origin, host) => refused(format!(
            "the header Origin names another site ({}): this listener answers no other site's pages",
            cut(origin)
        )),
        _ => Ok(()),
    }
}
