//! The control listener: plain HTTP with JSON, on loopback, for tests in other
//! processes and for people. Accounts are shown without PINs and secrets; the
//! record shows requests as they came, logins included.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::domain::{ClientId, Pair};

use super::reply::Reply;
use super::{Account, AddressForm, Elsewhere, Fault, Habits, Sandbox, StreamFault, StreamHost, server};

/// Serve until the process is to stop.
pub(super) async fn serve(sandbox: Sandbox, listener: TcpListener) {
    let tasks = sandbox.inner.tasks.clone();
    while let Some((tcp, _)) = server::accept(&listener, &tasks).await {
        let sandbox = sandbox.clone();
        let answer = move |parts: http::request::Parts, body: Bytes| {
            std::future::ready(answer(&sandbox, parts.method.as_str(), parts.uri.path(), &body))
        };
        tasks.spawn(server::serve_plain(tcp, tasks.clone(), answer));
    }
}

/// An account as it is given: by `POST /accounts`, or in a file. Without `Debug`: it has a PIN.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenAccount {
    client_id: ClientId,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    registered: Option<Pair>,
    #[serde(default)]
    pin: Option<String>,
    #[serde(default)]
    totp_secret: Option<String>,
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    api_secret: Option<String>,
    #[serde(default)]
    redirect_url: Option<String>,
}

impl GivenAccount {
    /// The account, or one that exists with what is given changed.
    fn over(self, existing: Option<Account>) -> Account {
        let mut account = existing.unwrap_or_else(|| Account::new(self.client_id.clone(), "SANDBOX TRADER", "", ""));
        account.name = self.name.unwrap_or(account.name);
        account.pin = self.pin.unwrap_or(account.pin);
        account.totp_secret = self.totp_secret.unwrap_or(account.totp_secret);
        account.api_key = self.api_key.or(account.api_key);
        account.api_secret = self.api_secret.or(account.api_secret);
        account.redirect_url = self.redirect_url.or(account.redirect_url);
        account.registered = self.registered.or(account.registered);
        account
    }
}

impl From<GivenAccount> for Account {
    fn from(given: GivenAccount) -> Self {
        given.over(None)
    }
}

fn answer(sandbox: &Sandbox, method: &str, path: &str, body: &[u8]) -> Reply {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let known = |id: &str| {
        let id = ClientId::parse(id).ok()?;
        sandbox.inner.world().ledger(&id).is_some().then_some(id)
    };
    match (method, segments.as_slice()) {
        ("GET", ["seen"]) => Reply::ok(&sandbox.seen()),
        ("DELETE", ["seen"]) => {
            sandbox.clear_seen();
            Reply::empty(StatusCode::NO_CONTENT)
        }
        ("GET", ["ca.pem"]) => Reply::text("application/x-pem-file", sandbox.ca_pem().to_owned()),
        ("GET", ["accounts"]) => Reply::ok(&accounts(sandbox)),
        ("POST", ["accounts"]) => match serde_json::from_slice(body) {
            Ok(new) => add_account(sandbox, new),
            Err(err) => bad(&err),
        },
        ("GET", ["accounts", id, "orders"]) => match known(id) {
            Some(id) => Reply::ok(&sandbox.orders(&id)),
            None => missing(),
        },
        ("POST", ["accounts", id, "orders"]) => match (known(id), serde_json::from_slice::<Elsewhere>(body)) {
            (None, _) => missing(),
            (_, Err(err)) => bad(&err),
            (Some(id), Ok(order)) => match sandbox.put_order(&id, &order) {
                Ok(order_id) => Reply::json(StatusCode::CREATED, &json!({"orderId": order_id})),
                Err(err) => Reply::json(StatusCode::BAD_REQUEST, &json!({"error": err.to_string()})),
            },
        },
        (_, ["habits"]) => habits(sandbox, method, body),
        ("PUT", ["address-form"]) => match serde_json::from_slice::<AddressForm>(body) {
            Ok(form) => {
                sandbox.set_address_form(form);
                Reply::empty(StatusCode::NO_CONTENT)
            }
            Err(err) => bad(&err),
        },
        ("GET", ["accounts", id, "login"]) => match known(id) {
            Some(id) => Reply::ok(&json!({
                "attempts": sandbox.login_attempts(&id),
                "locked": sandbox.login_locked(&id),
                "mints": sandbox.mints(&id),
            })),
            None => missing(),
        },
        (method, ["accounts", id, "sockets"]) => match known(id) {
            Some(id) => sockets(sandbox, method, &id, body),
            None => missing(),
        },
        ("POST", ["accounts", id, "token"]) => match known(id) {
            Some(id) => Reply::json(StatusCode::CREATED, &json!({"access_token": sandbox.mint_token(&id)})),
            None => missing(),
        },
        ("DELETE", ["accounts", id, "token"]) => match known(id) {
            Some(id) => {
                sandbox.kill_token(&id);
                Reply::empty(StatusCode::NO_CONTENT)
            }
            None => missing(),
        },
        (method, ["faults"]) => faults(sandbox, method, body),
        _ => missing(),
    }
}

fn faults(sandbox: &Sandbox, method: &str, body: &[u8]) -> Reply {
    match method {
        "GET" => Reply::ok(&sandbox.faults()),
        "POST" => match serde_json::from_slice::<Fault>(body) {
            Ok(fault) => {
                sandbox.fault(fault);
                Reply::empty(StatusCode::CREATED)
            }
            Err(err) => bad(&err),
        },
        "DELETE" => {
            sandbox.clear_faults();
            Reply::empty(StatusCode::NO_CONTENT)
        }
        _ => missing(),
    }
}

/// What an account's open sockets are, and what is to befall them.
fn sockets(sandbox: &Sandbox, method: &str, id: &ClientId, body: &[u8]) -> Reply {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        /// Of every kind without it.
        kind: Option<StreamHost>,
        fault: StreamFault,
    }
    match method {
        "GET" => Reply::ok(&json!({"sockets": sandbox.sockets(id, None)})),
        "POST" => match serde_json::from_slice::<Given>(body) {
            Ok(given) => Reply::ok(&json!({"sockets": sandbox.befall(id, given.kind, given.fault)})),
            Err(err) => bad(&err),
        },
        _ => missing(),
    }
}

/// What the broker does at all times.
fn habits(sandbox: &Sandbox, method: &str, body: &[u8]) -> Reply {
    match method {
        "GET" => Reply::ok(&sandbox.habits()),
        "PUT" => match serde_json::from_slice::<Habits>(body) {
            Ok(habits) => {
                sandbox.set_habits(habits);
                Reply::empty(StatusCode::NO_CONTENT)
            }
            Err(err) => bad(&err),
        },
        "DELETE" => {
            sandbox.set_habits(Habits::default());
            Reply::empty(StatusCode::NO_CONTENT)
        }
        _ => missing(),
    }
}

fn accounts(sandbox: &Sandbox) -> Vec<Value> {
    let world = sandbox.inner.world();
    let mut rows: Vec<_> = world.ledgers().collect();
    rows.sort_by(|a, b| a.account.client_id.cmp(&b.account.client_id));
    let address = |slot: &Option<super::registration::Slot>| slot.as_ref().map(|slot| slot.address);
    rows.into_iter()
        .map(|ledger| {
            json!({
                "client_id": ledger.account.client_id,
                "name": ledger.account.name,
                "registered": {"primary": address(&ledger.primary), "secondary": address(&ledger.secondary)},
                "token": ledger.token.is_some(),
            })
        })
        .collect()
}

/// Add an account, or change what is given of one that exists.
fn add_account(sandbox: &Sandbox, new: GivenAccount) -> Reply {
    let mut world = sandbox.inner.world();
    let existing = world.ledger(&new.client_id).map(|ledger| ledger.account.clone());
    let status = if existing.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let account = new.over(existing);
    let row = json!({"client_id": account.client_id, "name": account.name, "registered": account.registered});
    let now = world.now();
    world.add_account(account, now);
    Reply::json(status, &row)
}

fn bad(err: &serde_json::Error) -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, &json!({"error": err.to_string()}))
}

fn missing() -> Reply {
    Reply::json(StatusCode::NOT_FOUND, &json!({"error": "no such thing"}))
}
