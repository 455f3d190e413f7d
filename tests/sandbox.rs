//! The sandbox against the broker's documented shapes, through real TLS on `::1`.
//!
//! `tests/fixtures/dhan` holds the shapes (every value invented). A reply has the
//! same keys as its fixture, and values of the same types.

mod bad_days;
mod client;
mod faithful;
mod login;
mod ws;

use client::{Broker, fixture, fixture_request, same_shape};
use serde_json::{Value, json};
use sixgate::domain::tasks::{Stopped, Tasks};
use sixgate::domain::{ClientId, Pair, SourceAddr};
use sixgate::sandbox::{Account, Action, AddressForm, Fault};
use ws::Ws;

/// A write the sandbox answers as the fixture says, with the fixture's request.
async fn replay(broker: &Broker, request: &str, path: Option<&str>) -> (u16, Value) {
    let request = fixture_request(request);
    let path = path.unwrap_or(&request.path);
    broker.send(&request.method, path, Some(&request.body)).await
}

async fn place(broker: &Broker, changes: Value) -> (u16, Value) {
    let mut body = fixture_request("orders/place-order").body;
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(key);
        } else {
            body[key] = value.clone();
        }
    }
    broker.send("POST", "/v2/orders", Some(&body)).await
}

/// What a gateway reconciles by: every field must be where the broker has it.
#[tokio::test]
async fn an_order_lives_from_placing_to_cancelling() {
    let broker = Broker::start().await;
    let (status, placed) = place(&broker, json!({})).await;
    assert_eq!(status, 200, "{placed}");
    same_shape(&fixture("orders/place-order.200.ok"), &placed);
    assert_eq!(placed["orderStatus"], "PENDING");
    let id = placed["orderId"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 12);

    let one = broker.get(&format!("/v2/orders/{id}")).await;
    same_shape(&fixture("orders/get-order.200.array"), &one);
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!((&one[0]["orderId"], &one[0]["price"]), (&json!(id), &json!(3310.5)));
    same_shape(&fixture("orders/order-book.200"), &broker.get("/v2/orders").await);
    let found = broker.get("/v2/orders/external/gw-0001-abc_1").await;
    assert_eq!(found["orderId"], id);

    let path = format!("/v2/orders/{id}");
    let mut change = fixture_request("orders/modify-order").body;
    change["orderId"] = json!(id);
    let (status, modified) = broker.send("PUT", &path, Some(&change)).await;
    assert_eq!(status, 200);
    same_shape(&fixture("orders/modify-order.200.ok"), &modified);
    assert_eq!(broker.get(&path).await[0]["price"], 3312.0);

    let (status, cancelled) = broker.send("DELETE", &path, None).await;
    assert_eq!((status, &cancelled["orderStatus"]), (200, &json!("CANCELLED")));
    same_shape(&fixture("orders/cancel-order.200.ok"), &cancelled);
    assert_eq!(broker.get(&path).await[0]["orderStatus"], "CANCELLED");
    let (status, again) = broker.send("DELETE", &path, None).await;
    assert_eq!((status, &again["errorCode"]), (400, &json!("DH-906")));

    let seen = broker.sandbox.seen();
    let executed: Vec<_> = seen.iter().filter(|seen| seen.executed).map(|seen| seen.method.as_str()).collect();
    assert_eq!(executed, ["POST", "PUT", "DELETE"]);
}

/// An id that does not exist is an empty list, and a correlation id that does not is a
/// refusal with the code of a dead token.
#[tokio::test]
async fn what_is_not_there_is_said_in_three_ways() {
    let broker = Broker::start().await;
    assert_eq!(broker.get("/v2/orders/112611239999").await, fixture("orders/get-order.200.unknown-id"));
    let unknown = broker.send("GET", "/v2/orders/external/never-used", None).await;
    assert_eq!(unknown, (404, fixture("orders/get-order-by-correlation-id.404.not-found")));
    let (status, body) = broker.send("DELETE", "/v2/orders/112611239999", None).await;
    assert_eq!((status, &body["errorCode"]), (400, &json!("DH-906")));
    for path in ["/v2/nothing", "/v2/forever/all"] {
        let (status, body) = broker.send("GET", path, None).await;
        same_shape(&fixture("errors/gateway-404"), &body);
        assert_eq!((status, &body["path"]), (404, &json!(path)));
    }
    assert_eq!(broker.send("GET", "/v2//orders", None).await.0, 400);
}

/// A market order ends in the books in one step.
#[tokio::test]
async fn a_market_order_trades_at_once() {
    let broker = Broker::start().await;
    let (_, placed) = place(&broker, json!({"orderType": "MARKET", "price": 0})).await;
    assert_eq!(placed["orderStatus"], "TRADED");
    let trades = broker.get("/v2/trades").await;
    same_shape(&fixture("orders/trade-book.200"), &trades);
    let id = placed["orderId"].as_str().unwrap();
    assert_eq!(broker.get(&format!("/v2/trades/{id}")).await, trades);
    let positions = broker.get("/v2/positions").await;
    same_shape(&fixture("portfolio/positions.200"), &positions);
    assert_eq!(positions[0]["netQty"], 5);

    let mut convert = fixture_request("portfolio/convert").body;
    convert["convertQty"] = json!(2);
    let (status, body) = broker.send("POST", "/v2/positions/convert", Some(&convert)).await;
    assert_eq!((status, body), (202, Value::Null));
    assert_eq!(broker.get("/v2/positions").await.as_array().unwrap().len(), 2);

    let (status, exit) = broker.send("DELETE", "/v2/positions", None).await;
    assert_eq!((status, exit), (200, fixture("portfolio/exit-all.200")));
    let left = broker.get("/v2/positions").await;
    assert!(left.as_array().unwrap().iter().all(|row| row["netQty"] == 0), "{left}");
}

/// The reply is a list, and every slice carries the correlation id.
#[tokio::test]
async fn slicing_makes_several_orders() {
    let broker = Broker::start().await;
    let body = fixture_request("orders/place-order").body;
    let (status, slices) = broker.send("POST", "/v2/orders/slicing", Some(&body)).await;
    assert_eq!(status, 200);
    same_shape(&fixture("orders/slice-order.200"), &slices);
    let book = broker.get("/v2/orders").await;
    let book = book.as_array().unwrap();
    assert_eq!(book.len(), slices.as_array().unwrap().len());
    assert_eq!(book.iter().map(|order| order["quantity"].as_u64().unwrap()).sum::<u64>(), 5);
    assert!(book.iter().all(|order| order["correlationId"] == "gw-0001-abc_1"));
}

/// A client that waits for JSON here waits for bytes that never come.
#[tokio::test]
async fn a_super_order_is_cancelled_with_202_and_no_body() {
    let broker = Broker::start().await;
    let (status, placed) = replay(&broker, "orders/super-place", None).await;
    assert_eq!(status, 200, "{placed}");
    let list = broker.get("/v2/super/orders").await;
    same_shape(&fixture("orders/super-list.200"), &list);
    let id = placed["orderId"].as_str().unwrap();
    let change = json!({"dhanClientId": "1000000001", "orderId": id, "legName": "TARGET_LEG", "targetPrice": 3360.0});
    let (status, _) = broker.send("PUT", &format!("/v2/super/orders/{id}"), Some(&change)).await;
    assert_eq!(status, 200);
    assert_eq!(broker.get("/v2/super/orders").await[0]["legDetails"][1]["price"], 3360.0);

    let path = format!("/v2/super/orders/{id}/ENTRY_LEG");
    assert_eq!(broker.send("DELETE", &path, None).await, (202, Value::Null));
    let list = broker.get("/v2/super/orders").await;
    assert_eq!(
        (&list[0]["orderStatus"], &list[0]["legDetails"][0]["orderStatus"]),
        (&json!("CANCELLED"), &json!("CANCELLED"))
    );
    assert_eq!(broker.send("DELETE", &path, None).await.0, 400);
}

#[tokio::test]
async fn forever_orders_alerts_and_multi_orders_are_kept() {
    let broker = Broker::start().await;
    let (status, placed) = replay(&broker, "orders/forever-place", None).await;
    assert_eq!((status, &placed["orderStatus"]), (200, &json!("PENDING")));
    let list = broker.get("/v2/forever/orders").await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["orderStatus"]), (2, &json!("CONFIRM")));
    let path = format!("/v2/forever/orders/{}", placed["orderId"].as_str().unwrap());
    assert_eq!(broker.send("DELETE", &path, None).await.1["orderStatus"], "CANCELLED");

    let (_, alert) = replay(&broker, "orders/alert-place", None).await;
    same_shape(&fixture("orders/alert-place.200"), &alert);
    let path = format!("/v2/alerts/orders/{}", alert["alertId"].as_str().unwrap());
    assert_eq!(broker.get(&path).await["alertStatus"], "ACTIVE");
    assert_eq!(broker.send("DELETE", &path, None).await.0, 200);

    let (_, multi) = replay(&broker, "orders/multi-order", None).await;
    same_shape(&fixture("orders/multi-order.200"), &multi);
    assert_eq!(broker.get("/v2/orders/external/gw-m-1").await["orderId"], multi["orders"][0]["orderId"]);
}

/// The whole product exists because of this refusal; reads pass all the same.
#[tokio::test]
async fn an_order_from_an_unregistered_address_is_refused_and_not_executed() {
    let broker = Broker::start_with(Some(pair("2001:db8::1", "2001:db8::2"))).await;
    let (status, body) = place(&broker, json!({})).await;
    assert_eq!((status, body), (400, fixture("orders/place-order.400.invalid-ip")));
    for (method, path) in [("DELETE", "/v2/orders/1"), ("DELETE", "/v2/positions"), ("POST", "/v2/killswitch")] {
        assert_eq!(broker.send(method, path, None).await.1["errorMessage"], "Invalid IP", "{method} {path}");
    }
    assert_eq!(broker.get("/v2/orders").await, json!([]));
    assert!(broker.sandbox.seen().iter().all(|seen| !seen.executed));
    assert!(broker.sandbox.orders(&broker.id).is_empty());
}

/// The same dead token looks like a business error on one path and like an
/// authentication error on the other.
#[tokio::test]
async fn a_dead_token_has_two_shapes() {
    let mut broker = Broker::start().await;
    let old = broker.token.clone();
    let new = broker.sandbox.mint_token(&broker.id);
    let quote = fixture_request("data/marketfeed-ltp");
    for dead in [old.as_str(), "never-made"] {
        broker.token = dead.to_owned();
        let refused = broker.send("GET", "/v2/profile", None).await;
        assert_eq!(refused, (400, fixture("profile/profile.400.revoked-token")));
        assert_eq!(place(&broker, json!({})).await.1["errorMessage"], "Invalid Token");
        let refused = broker.send("POST", "/v2/marketfeed/ltp", Some(&quote.body)).await;
        assert_eq!(refused, (401, fixture("data/any.401.bad-token")));
    }
    broker.token = String::new();
    assert_eq!(broker.send("GET", "/v2/orders", None).await, (401, fixture("auth/renew-token.401.expired")));
    assert_eq!(broker.send("POST", "/v2/marketfeed/ltp", Some(&quote.body)).await.0, 401);
    broker.token = new;
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200);
}

/// The token alone selects the account: an id in the body only has to agree.
#[tokio::test]
async fn another_accounts_id_in_the_body_is_a_bad_field() {
    let broker = Broker::start().await;
    let bad = (400, fixture("orders/place-order.400.bad-field"));
    for changes in [
        json!({"dhanClientId": "1000000002"}),
        json!({"dhanClientId": null}),
        json!({"quantity": null}),
        json!({"quantity": "five"}),
        json!({"quantity": 0}),
        json!({"price": null}),
        json!({"orderType": "FANCY"}),
        json!({"correlationId": "a".repeat(26)}),
    ] {
        assert_eq!(place(&broker, changes.clone()).await, bad, "{changes}");
    }
    assert_eq!(broker.send_text("POST", "/v2/orders", "orderType=LIMIT").await, bad);
    assert!(broker.sandbox.orders(&broker.id).is_empty());
}

/// Every state of the answer that a gateway decides by.
#[tokio::test]
async fn get_ip_says_what_the_broker_sees() {
    let broker = Broker::start().await;
    let none = fixture("ip/get-ip.200.error-array");
    broker.sandbox.register(&broker.id, None);
    assert_eq!(broker.get("/v2/ip/getIP").await, none);
    broker.sandbox.set_address_form(AddressForm::SaysNotConfigured);
    for (registered, status, name) in [
        (Some(pair("::1", "2001:db8::2")), "PRIMARY_MATCH", "primary-match"),
        (Some(pair("2001:db8::1", "::1")), "SECONDARY_MATCH", "secondary-match"),
        (Some(pair("2001:db8::1", "2001:db8::2")), "MISMATCH", "mismatch"),
        (None, "NOT_CONFIGURED", "not-configured"),
    ] {
        broker.sandbox.register(&broker.id, registered);
        let said = broker.get("/v2/ip/getIP").await;
        same_shape(&fixture(&format!("ip/get-ip.200.{name}")), &said);
        assert_eq!((&said["ipMatchStatus"], &said["detectedIP"]), (&json!(status), &json!("::1")));
        assert_eq!(said["ordersAllowed"], status.ends_with("_MATCH"));
    }
}

/// A typo costs a week, and an address has one owner.
#[tokio::test]
async fn registered_addresses_are_locked_and_unique() {
    let broker = Broker::start_with(None).await;
    let other = ClientId::parse("1000000002").unwrap();
    let theirs = Account::new(other, "OTHER", "", "").registered(pair("2001:db8::a", "2001:db8::b"));
    broker.sandbox.add_account(theirs);
    let slot = |ip: &str, flag: &str| json!({"dhanClientId": "1000000001", "ip": ip, "ipFlag": flag});
    let ok = fixture("ip/set-ip.200.ok");
    let locked = fixture("ip/set-ip.error.locked");
    let set = async |ip: &str, flag: &str| broker.send("POST", "/v2/ip/setIP", Some(&slot(ip, flag))).await.1;
    let modify = async |ip: &str, flag: &str| broker.send("PUT", "/v2/ip/modifyIP", Some(&slot(ip, flag))).await.1;

    assert_eq!(set("::1", "PRIMARY").await, ok);
    assert_eq!(set("2001:db8::1", "PRIMARY").await, locked);
    assert_eq!(modify("2001:db8::1", "PRIMARY").await, locked);
    assert_eq!(set("2001:db8::a", "SECONDARY").await["status"], "ERROR");
    assert_eq!(set("::1", "SECONDARY").await["status"], "ERROR");
    assert_eq!(set("2001:db8::x", "SECONDARY").await["errorCode"], "DH-905");
    assert_eq!(place(&broker, json!({})).await.0, 200);
    broker.sandbox.unlock_registration(&broker.id);
    assert_eq!(modify("2001:db8::1", "PRIMARY").await, ok);
    assert_eq!(place(&broker, json!({})).await.1["errorMessage"], "Invalid IP");
}

#[tokio::test]
async fn only_a_web_token_renews_and_renewal_kills_it() {
    let mut broker = Broker::start().await;
    let wrong = broker.send("GET", "/v2/RenewToken", None).await;
    assert_eq!(wrong, (500, fixture("auth/renew-token.500.wrong-token-type")));
    broker.token = broker.sandbox.mint_web_token(&broker.id);
    let posted = broker.send("POST", "/v2/RenewToken", None).await;
    assert_eq!(posted.0, 400);
    let (status, renewed) = broker.send("GET", "/v2/RenewToken", None).await;
    assert_eq!(status, 200, "{renewed}");
    same_shape(&fixture("auth/renew-token.200.ok"), &renewed);
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 400);
    broker.token = renewed["accessToken"].as_str().unwrap().to_owned();
    same_shape(&fixture("profile/profile.200.ok"), &broker.get("/v2/profile").await);
}

#[tokio::test]
async fn reads_and_data_have_the_brokers_shapes() {
    let broker = Broker::start().await;
    same_shape(&fixture("portfolio/holdings.200"), &broker.get("/v2/holdings").await);
    same_shape(&fixture("funds/fundlimit.200"), &broker.get("/v2/fundlimit").await);
    same_shape(&fixture("control/killswitch.get.200"), &broker.get("/v2/killswitch").await);
    let (_, on) = broker.send("POST", "/v2/killswitch?killSwitchStatus=ACTIVATE", None).await;
    assert_eq!(on, fixture("control/killswitch.post.200"));
    assert_eq!(place(&broker, json!({})).await.0, 403);
    let (_, exit) = replay(&broker, "control/pnl-exit", None).await;
    assert_eq!(exit, fixture("control/pnl-exit.200"));

    let order = fixture_request("orders/place-order").body;
    let (status, margin) = broker.send("POST", "/v2/margincalculator", Some(&order)).await;
    assert_eq!(status, 200);
    same_shape(&fixture("funds/margincalculator.200"), &margin);
    let (status, ltp) = replay(&broker, "data/marketfeed-ltp", None).await;
    assert_eq!((status, &ltp["data"]["NSE_EQ"]["11536"]["last_price"]), (200, &json!(3310.5)));
    assert_eq!(replay(&broker, "data/optionchain", None).await.0, 200);
    let (_, expiries) = replay(&broker, "data/optionchain", Some("/v2/optionchain/expirylist")).await;
    same_shape(&fixture("data/expirylist.200"), &expiries);
    let candle = json!({"securityId": "11536", "exchangeSegment": "NSE_EQ", "instrument": "EQUITY",
        "interval": "1", "fromDate": "2026-11-20 09:15:00", "toDate": "2026-11-20 09:16:00"});
    let (_, candles) = broker.send("POST", "/v2/charts/intraday", Some(&candle)).await;
    same_shape(&fixture("data/intraday.200"), &candles);
}

/// Documented as required there and nowhere else.
#[tokio::test]
async fn quotes_need_the_client_id_header() {
    let mut broker = Broker::start().await;
    broker.client_id_header = None;
    assert_eq!(replay(&broker, "data/marketfeed-ltp", None).await.0, 401);
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200);
}

/// What the record says is what tests of the gateway will rest on.
#[tokio::test]
async fn a_request_is_recorded_as_it_came() {
    let broker = Broker::start().await;
    place(&broker, json!({})).await;
    let seen = broker.sandbox.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.path_and_query.as_str()), ("POST", "/v2/orders"));
    assert_eq!(seen.peer.ip(), broker.sandbox.address().ip());
    assert_eq!((seen.sni.as_deref(), seen.host.as_deref()), (Some("api.dhan.co"), Some("api.dhan.co")));
    assert_eq!(seen.token, Some(broker.token.clone()));
    assert_eq!(seen.body_client_id.as_deref(), Some("1000000001"));
    assert_eq!(seen.correlation_id.as_deref(), Some("gw-0001-abc_1"));
    assert_eq!((seen.status, seen.executed, seen.version.as_str()), (Some(200), true, "HTTP/1.1"));
    assert_eq!(seen.account.as_ref(), Some(&broker.id));
    broker.sandbox.clear_seen();
    assert!(broker.sandbox.seen().is_empty());
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_asked_for() {
    let mut broker = Broker::start().await;
    broker.http2 = true;
    assert_eq!(place(&broker, json!({})).await.0, 200);
    let seen = broker.sandbox.seen().pop().unwrap();
    assert_eq!((seen.version.as_str(), seen.host.as_deref()), ("HTTP/2.0", Some("api.dhan.co")));
}

/// Whether a request was carried out before its answer was lost is the one thing
/// that the caller cannot see, so the fault must do as it says.
#[tokio::test]
async fn faults_happen_before_or_after_the_order() {
    let broker = Broker::start().await;
    let order = fixture_request("orders/place-order").body;
    for (executed, orders) in [(false, 0), (true, 1)] {
        broker.sandbox.fault(Fault::new(Action::Close { executed }).on("POST", "/v2/orders").times(1));
        assert!(broker.try_send("POST", "/v2/orders", Some(&order)).await.is_err());
        assert_eq!(broker.sandbox.orders(&broker.id).len(), orders);
        assert_eq!(broker.sandbox.seen().pop().map(|seen| (seen.executed, seen.status)), Some((executed, None)));
    }
    broker.sandbox.fault(Fault::new(Action::BadGateway { executed: true }).on("POST", "/v2/orders").times(1));
    assert_eq!(broker.send("POST", "/v2/orders", Some(&order)).await.0, 502);
    assert_eq!(broker.sandbox.orders(&broker.id).len(), 2);
    let body = json!({"errorCode": "DH-904"});
    broker.sandbox.fault(Fault::new(Action::Refuse { status: 429, body: body.clone() }).times(1));
    assert_eq!(broker.send("GET", "/v2/profile", None).await, (429, body));
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200);
}

#[tokio::test]
async fn the_control_listener_runs_the_broker_from_outside() {
    let broker = Broker::start().await;
    let account = json!({"client_id": "1000000009", "pin": "424242",
        "registered": {"primary": "::1", "secondary": "2001:db8::9"}});
    assert_eq!(broker.control("POST", "/accounts", Some(&account)).await.0, 201);
    let (status, minted) = broker.control("POST", "/accounts/1000000009/token", None).await;
    assert_eq!(status, 201);
    let (_, accounts) = broker.control("GET", "/accounts", None).await;
    assert!(accounts.to_string().contains("2001:db8::9") && !accounts.to_string().contains("424242"), "{accounts}");
    let token = minted["access_token"].as_str().unwrap();
    let theirs = Broker { token: token.to_owned(), ..broker.clone() };
    assert_eq!(theirs.get("/v2/profile").await["dhanClientId"], "1000000009");
    assert_eq!(theirs.control("DELETE", "/accounts/1000000009/token", None).await.0, 204);
    assert_eq!(theirs.send("GET", "/v2/profile", None).await.0, 400);

    let (_, seen) = broker.control("GET", "/seen", None).await;
    assert_eq!(seen.as_array().unwrap().len(), 2);
    let fault = json!({"match": {"path": "/v2/profile"}, "action": {"refuse": {"status": 503}}});
    assert_eq!(broker.control("POST", "/faults", Some(&fault)).await.0, 201);
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 503);
    assert_eq!(broker.control("DELETE", "/faults", None).await.0, 204);
    assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200);
}

const ORDER_UPDATE: &str = "api-order-update.dhan.co";
const FEED: &str = "api-feed.dhan.co";

fn login_frame(broker: &Broker) -> Value {
    json!({"LoginReq": {"MsgCode": 42, "ClientId": "1000000001", "Token": broker.token}, "UserType": "SELF"})
}

/// The broker acknowledges nothing, so wait for what it recorded.
async fn logged_in(broker: &Broker) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while broker.sandbox.seen().iter().all(|seen| !seen.websocket || seen.account.is_none()) {
        assert!(std::time::Instant::now() < deadline, "no login was seen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn order_updates_say_each_change_of_an_order() {
    let broker = Broker::start().await;
    let mut updates = Ws::open(&broker, ORDER_UPDATE, "/").await;
    updates.say(&login_frame(&broker)).await;
    logged_in(&broker).await;
    let (_, placed) = place(&broker, json!({"orderType": "MARKET", "price": 0})).await;
    // The same keys as a rejected order's, which has not traded either.
    for (status, like) in [("Pending", "rejected"), ("Traded", "traded")] {
        let (opcode, text) = updates.next().await.unwrap();
        let message: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((opcode, &message["Data"]["status"]), (1, &json!(status)));
        assert_eq!(message["Data"]["orderNo"], placed["orderId"]);
        same_shape(&fixture(&format!("ws/order-update.order-alert.{like}")), &message);
    }
    let (_, waits) = place(&broker, json!({})).await;
    updates.next().await.unwrap();
    let mut change = fixture_request("orders/modify-order").body;
    change["orderId"] = waits["orderId"].clone();
    let path = format!("/v2/orders/{}", waits["orderId"].as_str().unwrap());
    assert_eq!(broker.send("PUT", &path, Some(&change)).await.0, 200);
    let message: Value = serde_json::from_slice(&updates.next().await.unwrap().1).unwrap();
    assert_eq!((&message["Data"]["status"], &message["Data"]["price"]), (&json!("Modified"), &json!(3312.0)));
    updates.send(9, b"are you there").await;
    assert_eq!(updates.next().await.unwrap(), (10, b"are you there".to_vec()));
    updates.send(8, &1000_u16.to_be_bytes()).await;
    assert_eq!(updates.next().await.unwrap().0, 8);
}

/// One account's orders must not be told to another.
#[tokio::test]
async fn order_updates_are_the_accounts_own() {
    let broker = Broker::start().await;
    let other = ClientId::parse("1000000002").unwrap();
    broker.sandbox.add_account(Account::new(other.clone(), "OTHER", "", "").registered(pair("2001:db8::a", "::1")));
    let mut updates = Ws::open(&broker, ORDER_UPDATE, "/").await;
    updates.say(&login_frame(&broker)).await;
    logged_in(&broker).await;
    let theirs = Broker { token: broker.sandbox.mint_token(&other), ..broker.clone() };
    assert_eq!(place(&theirs, json!({"dhanClientId": "1000000002"})).await.0, 200);
    updates.send(9, b"").await;
    assert_eq!(updates.next().await.unwrap().0, 10, "the pong comes first: nothing was told");
}

/// The upgrade succeeds and the login is taken; only then does the connection
/// break, without a word. So it was measured.
#[tokio::test]
async fn a_dead_token_on_a_socket_is_a_reset_without_a_close() {
    let mut broker = Broker::start().await;
    broker.sandbox.kill_token(&broker.id);
    let mut updates = Ws::open(&broker, ORDER_UPDATE, "/").await;
    updates.say(&login_frame(&broker)).await;
    updates.expect_reset().await;
    let query = format!("/?version=2&token={}&clientId=1000000001&authType=2", broker.token);
    Ws::open(&broker, FEED, &query).await.expect_reset().await;

    broker.token = broker.sandbox.mint_token(&broker.id);
    let others = format!("/?version=2&token={}&clientId=1000000002&authType=2", broker.token);
    Ws::open(&broker, FEED, &others).await.expect_reset().await;
    // Measured: 200 levels refuse the tokens that programs make.
    let app = format!("/?token={}&clientId=1000000001&authType=2", broker.token);
    Ws::open(&broker, "full-depth-api.dhan.co", &app).await.expect_reset().await;
}

#[tokio::test]
async fn a_token_that_dies_takes_its_sockets_with_it() {
    let broker = Broker::start().await;
    let mut updates = Ws::open(&broker, ORDER_UPDATE, "/").await;
    updates.say(&login_frame(&broker)).await;
    logged_in(&broker).await;
    broker.sandbox.mint_token(&broker.id);
    updates.expect_reset().await;
}

#[tokio::test]
async fn the_feed_answers_a_subscription_with_a_packet_for_each_instrument() {
    let mut broker = Broker::start().await;
    let query = format!("version=2&token={}&clientId=1000000001&authType=2", broker.token);
    let mut feed = Ws::open(&broker, FEED, &format!("/?{query}")).await;
    let both = json!([{"ExchangeSegment": "NSE_EQ", "SecurityId": "1333"},
        {"ExchangeSegment": "IDX_I", "SecurityId": "13"}]);
    feed.say(&json!({"RequestCode": 15, "InstrumentCount": 2, "InstrumentList": both})).await;
    for (segment, security, price) in [(1, 1333_u32, 1660.5_f32), (0, 13, 25_642.8)] {
        let (opcode, packet) = feed.next().await.unwrap();
        assert_eq!((opcode, packet.len(), packet[0], packet[3]), (2, 16, 2, segment));
        assert_eq!((&packet[4..8], &packet[8..12]), (&security.to_le_bytes()[..], &price.to_le_bytes()[..]));
    }
    feed.say(&json!({"RequestCode": 12})).await;
    while feed.next().await.unwrap().0 != 8 {}
    let seen = broker.sandbox.seen().pop().unwrap();
    assert_eq!((seen.host.as_deref(), seen.token), (Some(FEED), Some(broker.token.clone())));
    assert_eq!((seen.account.as_ref(), seen.status), (Some(&broker.id), Some(101)));

    let depth = json!({"RequestCode": 23, "InstrumentCount": 1,
        "InstrumentList": [{"ExchangeSegment": "NSE_EQ", "SecurityId": "1333"}]});
    let query = format!("token={}&clientId=1000000001&authType=2", broker.token);
    let mut twenty = Ws::open(&broker, "depth-api-feed.dhan.co", &format!("/twentydepth?{query}")).await;
    twenty.say(&depth).await;
    assert_eq!((twenty.next().await.unwrap().1[2], twenty.next().await.unwrap().1[2]), (41, 51));

    broker.token = broker.sandbox.mint_web_token(&broker.id);
    let query = format!("token={}&clientId=1000000001&authType=2", broker.token);
    let mut full = Ws::open(&broker, "full-depth-api.dhan.co", &format!("/?{query}")).await;
    full.say(&json!({"RequestCode": 23, "ExchangeSegment": "NSE_FNO", "SecurityId": "74147"})).await;
    assert_eq!(full.next().await.unwrap().1.len(), 12 + 200 * 16);
}

/// The accept loop, idle connections and hanging requests all end.
#[tokio::test]
async fn it_stops_when_the_process_stops() {
    let broker = Broker::start().await;
    let (mut idle, _) = broker.connect("api.dhan.co").await.unwrap();
    idle.ready().await.unwrap();
    let mut updates = Ws::open(&broker, ORDER_UPDATE, "/").await;
    updates.say(&login_frame(&broker)).await;
    logged_in(&broker).await;
    broker.sandbox.fault(Fault::new(Action::Hang { executed: true }).on("POST", "/v2/orders"));
    let hanging = broker.clone();
    let waiting = Tasks::default().spawn(async move {
        let order = fixture_request("orders/place-order").body;
        hanging.try_send("POST", "/v2/orders", Some(&order)).await
    });
    assert_eq!(updates.next().await.unwrap().0, 1, "the hanging order was carried out");
    let stopped = broker.tasks.stop(std::time::Duration::from_secs(10)).await;
    assert_eq!(stopped, Stopped::Clean);
    assert_eq!(updates.next().await.unwrap().0, 8, "sockets are told");
    assert!(waiting.await.unwrap().is_err());
}

fn pair(primary: &str, secondary: &str) -> Pair {
    Pair { primary: SourceAddr::parse(primary).unwrap(), secondary: SourceAddr::parse(secondary).unwrap() }
}
