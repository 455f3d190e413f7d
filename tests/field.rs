//! Bad days as they come in the field, on the real binary and the built-in broker: other orders under the same id,
//! replies that are compressed, paths in other spellings, bodies written anew, journals that lack something, verdicts
//! of the wrong back end. Of each is asserted what the caller was told and what the broker saw.

mod clocks;
mod encoded;
mod evidence;
mod lost_journal;
mod meaning;
mod opt_in;
mod repeated;
mod risk;
mod verdicts;

use std::time::Duration;

use crate::support::caller::{Caller, Reply, basic, connect};
use crate::support::engine::{HOST, OrderRequest};
use crate::support::net::Ns;
use crate::support::world::{LISTENER, TestAccount, World, config, pins};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use sixgate::sandbox::Seen;

const LIMIT: Duration = Duration::from_secs(30);

/// A gateway that does not ask for long.
fn text(more: &str) -> String {
    config(&format!("{}\n[orders]\nresponse_timeout = \"3s\"\nreconcile_for = \"2s\"\n{more}", pins()))
}

/// A fast machine uses up the broker's ten orders a second, so they wait for their turn.
fn world() -> World {
    World::up_with(1, &text("[limits]\nmax_wait = \"2s\""))
}

/// A world whose broker takes so many order writes; the folder has the table.
fn limited(orders: &str, more: &str) -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("limits.toml");
    let other = r#"{ count = 100, per = "1s" }"#;
    let whole = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n[windows]\norder = [{orders}]\ndata = [{other}]\nquote = [{other}]\nother = [{other}]\n"
    );
    std::fs::write(&table, whole).unwrap();
    let limits = format!("[limits]\nfile = \"{}\"\n{more}\n", table.display());
    (World::up_with(1, &text(&limits)), dir)
}

/// A request of a caller, with whatever fields it has.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    path: String,
    fields: Vec<(&'static str, String)>,
    body: Option<Bytes>,
}

impl Ask {
    fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.to_owned(), fields: Vec::new(), body: None }
    }

    /// With a JSON body.
    fn json(self, body: impl Into<Bytes>) -> Self {
        self.with("content-type", "application/json").bytes(body)
    }

    /// With a body and no type.
    fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }

    /// The request itself; `trader` shows its key.
    fn request(&self, trader: Option<&TestAccount>) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method).uri(format!("http://{HOST}{}", self.path));
        request = request.header("host", HOST);
        if let Some(trader) = trader {
            request = request.header("proxy-authorization", basic(&trader.name, &trader.key));
        }
        for (name, value) in &self.fields {
            request = request.header(*name, value.as_str());
        }
        request.body(Full::new(self.body.clone().unwrap_or_default())).unwrap()
    }
}

impl From<&OrderRequest> for Ask {
    fn from(wish: &OrderRequest) -> Self {
        let mut ask = Self::new(wish.method, &wish.path);
        if let Some(key) = &wish.key {
            ask = ask.with("idempotency-key", key);
        }
        match &wish.body {
            Some(body) => ask.json(body.clone()),
            None => ask,
        }
    }
}

impl From<OrderRequest> for Ask {
    fn from(wish: OrderRequest) -> Self {
        Self::from(&wish)
    }
}

/// What the caller is told.
trait ReplyOutcome {
    fn outcome(&self) -> &str;
    fn code(&self) -> String;
    fn order_id(&self) -> String;
    /// Which request this repeats.
    fn repeat_of(&self) -> &str;
}

impl ReplyOutcome for Reply {
    fn outcome(&self) -> &str {
        self.header("sixgate-outcome")
    }

    fn code(&self) -> String {
        self.json().get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn order_id(&self) -> String {
        let json = self.json();
        let one = json.get(0).or_else(|| json.get("orders")?.get(0)).unwrap_or(&json);
        let id = one.get("orderId").or_else(|| one.get("alertId"));
        id.and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn repeat_of(&self) -> &str {
        self.header("sixgate-repeat")
    }
}

async fn exchange(trader: &TestAccount, ask: &Ask) -> Reply {
    let mut caller = Caller::http1(connect(LISTENER).await).await;
    caller.send(ask.request(Some(trader))).await.expect("no answer")
}

/// The answers to all, sent at the same moment.
#[track_caller]
fn send_all(world: &World, asks: &[Ask]) -> Vec<Reply> {
    let trader = &world.traders[0];
    world.net.in_ns(Ns::Caller, || async { join_all(asks.iter().map(|ask| exchange(trader, ask))).await })
}

#[track_caller]
fn send(world: &World, ask: impl Into<Ask>) -> Reply {
    let ask = ask.into();
    send_all(world, std::slice::from_ref(&ask)).remove(0)
}

/// It was carried out.
#[track_caller]
fn is_executed(told: &Reply) {
    assert_eq!((told.status, told.outcome()), (200, "executed"), "{told:?}");
}

/// Order writes that arrived at the broker.
fn writes(world: &World) -> Vec<Seen> {
    let seen = world.broker.seen().into_iter();
    seen.filter(|seen| seen.method != "GET" && seen.host.as_deref() == Some(HOST)).collect()
}

fn arrived(world: &World) -> usize {
    writes(world).len()
}

/// Orders in the broker's book.
fn made(world: &World) -> usize {
    world.broker.orders(&world.traders[0].client_id).len()
}

/// A line of the metrics.
fn metric(world: &World, line: &str) -> u64 {
    world.gateway.metric(line).unwrap_or_default() as u64
}

fn account(world: &World) -> Value {
    world.gateway.admin().get("/v1/accounts/a1").1
}

/// Both legs admit, and the token lives.
#[track_caller]
fn is_well(world: &World) {
    let account = account(world);
    let legs: Vec<_> = account["legs"].as_array().unwrap().iter().map(|leg| leg["state"].clone()).collect();
    assert_eq!(legs, ["admits", "admits"], "{account:#}");
    assert_eq!(account["token"]["state"], "live", "{account:#}");
}

/// The members of a limit order, without any id.
const TERMS: &str = r#""transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536""#;

fn habits(world: &World, change: impl FnOnce(&mut sixgate::sandbox::Habits)) {
    let mut habits = world.broker.habits();
    change(&mut habits);
    world.broker.set_habits(habits);
}
