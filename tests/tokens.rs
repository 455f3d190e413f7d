//! Tokens on the real binary against the built-in broker: logged in by itself, within
//! the broker's limits, and replaced under way.
//!
//! No test waits out the 130 s between two logins: the gateway is stopped and the times
//! in its login record are moved back, as if it had been down that long.

mod consent;
mod data_path;
mod guard;
mod life;
mod validate;

use std::time::Duration;

use crate::support::caller::{Caller, Reply, basic, connect, request};
use crate::support::net::Ns;
use crate::support::wait::wait_for;
use crate::support::world::{LISTENER, TestAccount, World, config, pins};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sixgate::domain::{AccountName, ClientId};
use sixgate::sandbox::Seen;
use sixgate::store::records::LoginRecord;
use sixgate::store::seal::MasterKey;
use sixgate::store::{Change, Store};

/// For what takes milliseconds, or until the next code: 30 s.
const LIMIT: Duration = Duration::from_secs(60);

/// Callers wait as long as a login and a queue may take on a busy machine.
const PATIENT: &str = r#"
    [orders]
    leave_within = "40s"
    response_timeout = "40s"
    [limits]
    max_wait = "40s"
"#;

const MINT: &str = "/app/generateAccessToken";

/// No accounts yet, and a broker that leaves the time between logins to us.
fn world() -> World {
    // A TLS handshake may take long on a busy machine, and no leg is down here.
    let config = config(&format!("{PATIENT}\n{}", pins()));
    let world = World::up_with(0, &config.replace("connect_timeout = \"1s\"", "connect_timeout = \"30s\""));
    world.broker.set_cooldown(Duration::ZERO);
    world
}

/// Where the token of an account stands, as the API tells it.
fn token(world: &World, name: &str) -> Value {
    let (status, body) = world.gateway.admin().get(&format!("/v1/accounts/{name}/token"));
    assert_eq!(status, 200, "{body}");
    body
}

/// Wait until it stands like this.
#[track_caller]
fn becomes(world: &World, name: &str, state: &str) -> Value {
    let mut last = Value::Null;
    let found = crate::support::wait::poll(LIMIT, || {
        last = token(world, name);
        (last["state"] == state).then_some(())
    });
    assert!(found.is_some(), "{name} did not become {state}: {last}");
    last
}

/// `POST .../token/refresh`, which answers when nothing is under way any more.
fn refresh(world: &World, name: &str, body: &Value) -> Value {
    world.post(&format!("/v1/accounts/{name}/token/refresh"), body, 200)
}

/// What callers send.
fn order(correlation: &str) -> String {
    json!({
        "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
        "validity": "DAY", "securityId": "11536", "quantity": 1, "price": 3310.5, "correlationId": correlation,
    })
    .to_string()
}

async fn send(trader: TestAccount, method: &str, path: &str, body: Option<&str>) -> Reply {
    let auth = basic(&trader.name, &trader.key);
    let mut caller = Caller::http1(connect(LISTENER).await).await;
    let headers = [("authorization", auth.as_str())];
    caller.send(request(method, path, "gateway.example", &headers, body)).await.unwrap()
}

fn call(world: &World, trader: &TestAccount, method: &str, path: &str, body: Option<&str>) -> Reply {
    world.net.in_ns(Ns::Caller, || send(trader.clone(), method, path, body))
}

/// An order under this id.
fn place(world: &World, trader: &TestAccount, correlation: &str) -> Reply {
    call(world, trader, "POST", "/v2/orders", Some(&order(correlation)))
}

/// The 503 that says why there is no token: its detail, and for how long.
#[track_caller]
fn unavailable(reply: &Reply) -> (String, i64) {
    let body = reply.json();
    assert_eq!((reply.status, &body["code"]), (503, &json!("token_unavailable")), "{reply:?}");
    (body["detail"].as_str().unwrap().to_owned(), reply.header("retry-after").parse().unwrap())
}

/// The logins of an account that reached the broker, carried out or not.
fn logins(world: &World, id: &ClientId) -> Vec<Seen> {
    let login = |seen: &Seen| seen.path_and_query.starts_with(MINT) && seen.login_of.as_ref() == Some(id);
    world.broker.seen().into_iter().filter(login).collect()
}

/// The codes that they showed.
fn codes(world: &World, id: &ClientId) -> Vec<String> {
    let code = |seen: Seen| seen.path_and_query.split_once("totp=").map(|(_, rest)| rest.to_owned());
    logins(world, id).into_iter().filter_map(code).collect()
}

/// Look at the state of a gateway that has ended, and start it again.
fn between(world: &mut World, look: impl FnOnce(&Store)) {
    let state = world.dir.path().join("state");
    let key = MasterKey::load_or_create(&state.join("master.key")).unwrap();
    let store = Store::open(&state, key).unwrap();
    look(&store);
    store.close();
    drop(store);
    world.start_again();
}

/// What is moved back.
#[derive(Clone, Copy, PartialEq)]
enum Moved {
    /// Everything: no code of the time since was used.
    All,
    /// All but the code that was used last: it is this window's.
    AllButTheCode,
}

/// Restart, as if an hour had passed in between.
fn an_hour_later(world: &mut World, name: &str, moved: Moved) {
    world.gateway.terminate();
    between(world, |store| {
        let name = AccountName::parse(name).unwrap();
        let LoginRecord(mut record) = store.get::<LoginRecord>(&name).unwrap().unwrap();
        let mut times = 0;
        for (field, value) in record.as_object_mut().unwrap() {
            if let Some(time) = value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
                *value = json!(time.checked_sub(SignedDuration::from_hours(1)).unwrap().to_string());
                times += 1;
            } else if field == "last_totp_step" && moved == Moved::All {
                *value = value.as_u64().map_or(Value::Null, |step| json!(step - 120));
            }
        }
        assert!(times > 0, "no time in {record}");
        store.commit_blocking(Change::new().put(&name, &LoginRecord(record))).unwrap();
    });
}

/// End the gateway at once and start it again.
fn killed_and_started(world: &mut World) {
    world.gateway.kill9();
    world.start_again();
}

/// Wait until the broker has seen so many logins.
#[track_caller]
fn after_logins(world: &World, id: &ClientId, count: usize) {
    wait_for(&format!("login {count} at the broker"), LIMIT, || (logins(world, id).len() >= count).then_some(()));
}
