//! The REST API: who asks, may they, and which handler answers.
//!
//! The order of the checks is the broker's as far as it is known: the token, for
//! order writes the source address, then the body.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use crate::broker::dhan::endpoints::{self, Endpoint, RateClass};
use crate::domain::ClientId;

use super::fields::Fields;
use super::reply::{self, Answer, Reply};
use super::tokens::TokenState;
use super::world::{Ids, Ledger, World};
use super::{brackets, data, orders, portfolio, registration, tokens, triggers};

/// A request that arrived whole.
pub(super) struct Incoming<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
    pub(super) peer: IpAddr,
    pub(super) now: Timestamp,
}

/// A request whose token was accepted: `client_id` is the token's account.
pub(super) struct Call<'a> {
    pub(super) client_id: ClientId,
    pub(super) peer: IpAddr,
    pub(super) now: Timestamp,
    endpoint: Endpoint,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

impl Call<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A parameter of the query, as it is written there.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        query_value(self.query?, name)
    }

    /// The body's object. `dhanClientId` is checked where the endpoint takes it:
    /// missing or another account's is a bad field.
    pub(super) fn fields(&self) -> Result<Fields, Reply> {
        let fields = Fields::parse(self.body)?;
        if self.endpoint.client_id {
            let named = fields.text("dhanClientId")?;
            if named.as_deref().is_some_and(|id| id != self.client_id.as_str()) {
                return Err(reply::bad_field());
            }
            // Orders require it; the OpenAPI document does not for the IP calls.
            if named.is_none() && self.endpoint.static_ip {
                return Err(reply::bad_field());
            }
        }
        Ok(fields)
    }

    /// The account's books. An account whose token was accepted has them.
    pub(super) fn ledger<'w>(&self, world: &'w World) -> Result<&'w Ledger, Reply> {
        world.ledger(&self.client_id).ok_or_else(reply::invalid_token)
    }

    /// The books to write to, with the counter of ids.
    pub(super) fn books<'w>(&self, world: &'w mut World) -> Result<(&'w mut Ledger, &'w mut Ids), Reply> {
        world.books(&self.client_id).ok_or_else(reply::invalid_token)
    }
}

/// A parameter of a query, as it is written there.
pub(super) fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Answer one request.
pub(super) fn answer(world: &mut World, incoming: &Incoming<'_>) -> Reply {
    // Seen in production: a doubled slash earns 400 for everything behind it.
    if incoming.path.contains("//") {
        return reply::bad_field();
    }
    let Some(below) = incoming.path.strip_prefix("/v2/") else { return reply::not_found(incoming.path) };
    let segments: Vec<&str> = below.split('/').collect();
    admit(world, incoming)
        .and_then(|call| route(world, &call, incoming.method.as_str(), &segments, incoming.path))
        .unwrap_or_else(|refusal| refusal)
}

/// Check the token, and what of the request does not need its body.
fn admit<'a>(world: &World, incoming: &Incoming<'a>) -> Result<Call<'a>, Reply> {
    let endpoint = endpoints::classify(incoming.method, incoming.path, incoming.query);
    let data = matches!(endpoint.rate, RateClass::Data | RateClass::Quote | RateClass::OptionChain);
    let token = incoming.headers.get("access-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let client_id = match world.account_of(token, incoming.now) {
        TokenState::Live(client_id) => client_id,
        TokenState::Dead if data => return Err(reply::data_invalid_token()),
        TokenState::Expired if data => return Err(reply::data_expired()),
        TokenState::Dead if !token.is_empty() => return Err(reply::invalid_token()),
        TokenState::Dead | TokenState::Expired => return Err(reply::unauthenticated()),
    };
    let call = Call {
        client_id,
        peer: incoming.peer,
        now: incoming.now,
        endpoint,
        query: incoming.query,
        headers: incoming.headers,
        body: incoming.body,
    };
    if matches!(endpoint.rate, RateClass::Quote | RateClass::OptionChain)
        && call.header("client-id") != Some(call.client_id.as_str())
    {
        return Err(reply::data_client_id());
    }
    // The table takes a write that it does not know for an order's; renewal asks
    // for no address, whatever its verb (measured for POST).
    let renewal = incoming.path == "/v2/RenewToken";
    if endpoint.static_ip && !renewal && !call.ledger(world)?.registered(call.peer) {
        return Err(reply::invalid_ip());
    }
    Ok(call)
}

/// The table of what there is.
fn route(world: &mut World, call: &Call<'_>, method: &str, segments: &[&str], path: &str) -> Answer {
    match (method, segments) {
        ("GET", ["profile"]) => tokens::profile(world, call),
        ("GET", ["RenewToken"]) => tokens::renew(world, call),

        ("POST", ["orders"]) => orders::place(world, call),
        ("POST", ["orders", "slicing"]) => orders::slice(world, call),
        ("GET", ["orders"]) => orders::book(world, call),
        ("GET", ["orders", "external", id]) => orders::by_correlation_id(world, call, id),
        ("GET", ["orders", id]) => orders::by_id(world, call, id),
        ("PUT", ["orders", id]) => orders::modify(world, call, id),
        ("DELETE", ["orders", id]) => orders::cancel(world, call, id),
        ("GET", ["trades"]) => orders::trades(world, call, None),
        ("GET", ["trades", id]) => orders::trades(world, call, Some(id)),
        ("GET", ["trades", _from, _to, _page]) => orders::trades(world, call, None),

        ("POST", ["super", "orders"]) => brackets::place(world, call),
        ("GET", ["super", "orders"]) => brackets::list(world, call),
        ("PUT", ["super", "orders", id]) => brackets::modify(world, call, id),
        ("DELETE", ["super", "orders", id, leg]) => brackets::cancel(world, call, id, leg),

        ("POST", ["forever", "orders"]) => triggers::place_forever(world, call),
        ("GET", ["forever", "orders" | "all"]) => triggers::list_forever(world, call),
        ("PUT", ["forever", "orders", id]) => triggers::modify_forever(world, call, id),
        ("DELETE", ["forever", "orders", id]) => triggers::cancel_forever(world, call, id),
        ("POST", ["alerts", "orders"]) => triggers::place_alert(world, call),
        ("POST", ["alerts", "multi", "orders"]) => triggers::place_multi(world, call),
        ("GET", ["alerts", "orders"]) => triggers::list_alerts(world, call),
        ("GET", ["alerts", "orders", id]) => triggers::read_alert(world, call, id),
        ("PUT", ["alerts", "orders", id]) => triggers::modify_alert(world, call, id),
        ("DELETE", ["alerts", "orders", id]) => triggers::cancel_alert(world, call, id),

        ("GET", ["positions"]) => portfolio::positions(world, call),
        ("DELETE", ["positions"]) => portfolio::exit_all(world, call),
        ("POST", ["positions", "convert"]) => portfolio::convert(world, call),
        ("GET", ["holdings"]) => portfolio::holdings(),
        ("GET", ["fundlimit"]) => portfolio::funds(call),
        ("POST", ["margincalculator"]) => portfolio::margin(call),
        ("GET", ["killswitch"]) => portfolio::kill_switch(world, call),
        ("POST", ["killswitch"]) => portfolio::set_kill_switch(world, call),
        ("GET", ["pnlExit"]) => portfolio::pnl_exit(world, call),
        ("POST", ["pnlExit"]) => portfolio::set_pnl_exit(world, call),
        ("DELETE", ["pnlExit"]) => portfolio::clear_pnl_exit(world, call),

        ("GET", ["ip", "getIP"]) => registration::get(world, call),
        ("POST", ["ip", "setIP"]) => registration::set(world, call),
        ("PUT", ["ip", "modifyIP"]) => registration::modify(world, call),

        ("POST", ["marketfeed", what @ ("ltp" | "ohlc" | "quote")]) => data::quotes(call, what),
        ("POST", ["optionchain"]) => data::option_chain(call),
        ("POST", ["optionchain", "expirylist"]) => data::expiries(call),
        ("POST", ["charts", "intraday" | "historical"]) => data::candles(call),
        // Measured for RenewToken, taken for all: a wrong verb is a bad field.
        (_, [first, ..]) if KNOWN.contains(first) => Err(reply::bad_field()),
        _ => Err(reply::not_found(path)),
    }
}

/// The first segments under which there is anything.
const KNOWN: [&str; 17] = [
    "profile",
    "RenewToken",
    "orders",
    "trades",
    "super",
    "forever",
    "alerts",
    "positions",
    "holdings",
    "fundlimit",
    "margincalculator",
    "killswitch",
    "pnlExit",
    "ip",
    "marketfeed",
    "optionchain",
    "charts",
];

/// 202 and not a byte, as several calls answer.
pub(super) fn accepted() -> Reply {
    Reply::empty(StatusCode::ACCEPTED)
}
