//! The bad days of the field, each as the broker is told to have it. What a fault or a
//! habit claims to do, it must do, or the test that uses it proves something else.

use std::io::Read;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use serde_json::{Value, json};
use sixgate::domain::ClientId;
use sixgate::domain::tasks::Tasks;
use sixgate::sandbox::{
    Account, Action, AddressForm, Compression, Elsewhere, Encoding, External, Fault, Habits, Kind, Quoted, Status,
    Unfit, Verdict,
};

use super::client::{Broker, fixture, fixture_request, same_shape};
use super::{pair, place, replay};

/// Yield until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::task::yield_now().await;
    }
}

fn unpacked(encoding: &str, packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(packed).read_to_end(&mut plain)?,
        "deflate" => flate2::read::ZlibDecoder::new(packed).read_to_end(&mut plain)?,
        "br" => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain)?,
        _ => packed.take(u64::MAX).read_to_end(&mut plain)?,
    };
    Ok(plain)
}

/// The profile, and what its head says of its encoding.
async fn encoded(broker: &Broker, asked: &'static str) -> (Option<String>, Vec<u8>) {
    let reply = broker.raw("GET", "/v2/profile", &[("accept-encoding", asked)], None).await.unwrap();
    assert_eq!(reply.status(), 200);
    let said = reply.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
    (said, reply.into_body().to_vec())
}

#[tokio::test]
async fn replies_are_compressed_as_asked_or_unasked() {
    let broker = Broker::start().await;
    let plain = broker.get("/v2/profile").await;
    let set = |compression| broker.sandbox.set_habits(Habits { compression, ..Habits::default() });
    assert_eq!(encoded(&broker, "gzip, br").await.0, None, "a broker without a CDN sends plain text");

    set(Compression::Asked);
    for (asked, encoding) in [("gzip, deflate", "gzip"), ("gzip, br", "br"), ("deflate", "deflate"), ("identity", "")] {
        let (said, body) = encoded(&broker, asked).await;
        assert_eq!(said.as_deref().unwrap_or_default(), encoding, "{asked}");
        assert_eq!(serde_json::from_slice::<Value>(&unpacked(encoding, &body).unwrap()).unwrap(), plain, "{asked}");
    }
    for (always, name) in [(Encoding::Gzip, "gzip"), (Encoding::Deflate, "deflate"), (Encoding::Br, "br")] {
        set(Compression::Always(always));
        let (said, body) = encoded(&broker, "identity").await;
        assert_eq!(said.as_deref(), Some(name));
        assert!(serde_json::from_slice::<Value>(&body).is_err(), "{name} is no JSON");
        assert_eq!(serde_json::from_slice::<Value>(&unpacked(name, &body).unwrap()).unwrap(), plain);

        set(Compression::Broken(always));
        let (said, body) = encoded(&broker, "identity").await;
        assert_eq!(said.as_deref(), Some(name));
        let unpacked = unpacked(name, &body);
        assert!(unpacked.is_err_and(|err| err.kind() != std::io::ErrorKind::Other), "{name} breaks off");

        set(Compression::Mislabelled(always));
        let (said, body) = encoded(&broker, "identity").await;
        assert_eq!((said.as_deref(), serde_json::from_slice::<Value>(&body).unwrap()), (Some(name), plain.clone()));
    }
}

/// Refusals go through the same CDN.
#[tokio::test]
async fn refusals_and_faults_are_compressed_too() {
    let broker = Broker::start_with(Some(pair("2001:db8::1", "2001:db8::2"))).await;
    broker.sandbox.set_habits(Habits { compression: Compression::Asked, ..Habits::default() });
    let order = fixture_request("orders/place-order").body.to_string();
    let reply = broker.raw("POST", "/v2/orders", &[("accept-encoding", "gzip")], Some(order)).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["content-encoding"]), (400, &"gzip".parse().unwrap()));
    let plain = unpacked("gzip", reply.body()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap(), fixture("orders/place-order.400.invalid-ip"));
}

#[tokio::test]
async fn other_spellings_are_the_brokers_only_where_it_is_lax() {
    let broker = Broker::start().await;
    let order = fixture_request("orders/place-order").body;
    let spellings = ["/v2/orders/", "/V2/orders", "/v2/Orders", "/orders", "//v2/orders", "/v2/%6frders"];
    for path in spellings {
        let status = broker.send("POST", path, Some(&order)).await.0;
        assert!(status >= 400, "{path}: {status}");
    }
    assert!(broker.sandbox.orders(&broker.id).is_empty());
    broker.sandbox.set_habits(Habits { lax_paths: true, ..Habits::default() });
    for (count, path) in (1..).zip(spellings) {
        let (status, reply) = broker.send("POST", path, Some(&order)).await;
        assert_eq!((status, broker.sandbox.orders(&broker.id).len()), (200, count), "{path}: {reply}");
        let seen = broker.sandbox.seen().pop().unwrap();
        assert_eq!((seen.path_and_query.as_str(), seen.executed), (path, true), "recorded as it came");
    }
    assert_eq!(broker.get("/v2/orders/EXTERNAL/gw-0001-abc_1/").await["correlationId"], "gw-0001-abc_1");
    broker.sandbox.register(&broker.id, Some(pair("2001:db8::1", "2001:db8::2")));
    let refused = broker.send("POST", "/V2/orders/", Some(&order)).await.1;
    assert_eq!(refused["errorMessage"], "Invalid IP", "a spelling is no way around the check");
}

/// The token lives all the while: other paths take it before, between and after.
#[tokio::test]
async fn a_data_back_end_can_be_wrong_about_a_token() {
    let broker = Broker::start().await;
    let candle = json!({"securityId": "11536", "exchangeSegment": "NSE_EQ", "instrument": "EQUITY",
        "fromDate": "2026-11-20", "toDate": "2026-11-21"});
    let chart = async || broker.send("POST", "/v2/charts/historical", Some(&candle)).await;
    let quote = async || replay(&broker, "data/marketfeed-ltp", None).await;
    for (says, quoted, charted) in [
        (Verdict::NotAuthenticated, "808", "DH-901"),
        (Verdict::InvalidToken, "809", "DH-906"),
        (Verdict::Expired, "807", "DH-901"),
        (Verdict::NoDataPlan, "806", "DH-902"),
        (Verdict::Dh901, "DH-901", "DH-901"),
        (Verdict::Dh902, "DH-902", "DH-902"),
        (Verdict::Dh906, "DH-906", "DH-906"),
    ] {
        let other = ClientId::parse("1000000002").unwrap();
        broker.sandbox.fault(Fault::new(Action::Verdict { says }).on_data().of(&other));
        broker.sandbox.fault(Fault::new(Action::Verdict { says }).on_data().of(&broker.id).times(2));
        let (status, body) = quote().await;
        assert_eq!(status, 401);
        assert!(body["data"].get(quoted).is_some() || body["errorCode"] == quoted, "{says:?}: {body}");
        assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200, "{says:?}");
        let (status, body) = chart().await;
        assert_eq!((status, &body["errorCode"]), (401, &json!(charted)), "{says:?}");
        assert_eq!((quote().await.0, chart().await.0), (200, 200), "{says:?}: twice only, and only this client");
        broker.sandbox.clear_faults();
    }
}

#[tokio::test]
async fn without_a_data_plan_data_alone_is_401() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { no_data_plan: true, ..Habits::default() });
    let quote = replay(&broker, "data/marketfeed-ltp", None).await;
    assert_eq!(quote, (401, fixture("data/any.401.not-subscribed")));
    let chart = broker.send("POST", "/v2/charts/intraday", Some(&json!({}))).await;
    assert_eq!(chart, (401, fixture("data/charts.401.not-subscribed")));
    assert_eq!(broker.get("/v2/profile").await["dataPlan"], "Deactive");
    assert_eq!(place(&broker, json!({})).await.0, 200);
}

/// A correlation id is a search key: what stands under it may be anybody's.
#[tokio::test]
async fn other_orders_may_stand_under_the_same_correlation_id() {
    let broker = Broker::start().await;
    let theirs = |order_status, kind, made_before_s| Elsewhere {
        correlation_id: "gw-0001-abc_1".to_owned(),
        order_status,
        kind,
        made_before_s,
        quantity: 5,
        ..Elsewhere::default()
    };
    let mut ids = Vec::new();
    for (status, kind, ago) in [
        (Status::Confirm, Kind::Forever, 86_400),
        (Status::Rejected, Kind::Plain, 60),
        (Status::Traded, Kind::Plain, 30),
        (Status::Pending, Kind::Super, 20),
    ] {
        ids.push(broker.sandbox.put_order(&broker.id, &theirs(status, kind, ago)).unwrap());
    }
    let (_, placed) = place(&broker, json!({})).await;
    ids.push(placed["orderId"].as_str().unwrap().to_owned());

    let path = "/v2/orders/external/gw-0001-abc_1";
    assert_eq!(broker.get(path).await["orderId"], ids[4]);
    broker.sandbox.set_habits(Habits { external: External::Oldest, ..Habits::default() });
    let oldest = broker.get(path).await;
    assert_eq!((&oldest["orderId"], &oldest["orderStatus"]), (&json!(ids[0]), &json!("CONFIRM")));
    broker.sandbox.set_habits(Habits { external: External::All, ..Habits::default() });
    let all = broker.get(path).await;
    let of = |name: &str| all.as_array().unwrap().iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("orderId"), ids);
    assert_eq!(of("orderStatus"), ["CONFIRM", "REJECTED", "TRADED", "PENDING", "PENDING"]);
    let made = of("createTime");
    assert!(made.windows(2).all(|two| two[0].as_str() < two[1].as_str()), "{made:?}");
    assert_eq!(broker.get("/v2/super/orders").await[0]["orderId"], ids[3]);
    assert_eq!(broker.get("/v2/forever/orders").await[0]["orderId"], ids[0]);
    assert!(broker.sandbox.seen().iter().filter(|seen| seen.executed).count() == 1, "they did not come over the API");
}

#[tokio::test]
async fn orders_from_elsewhere_must_be_orders_of_somebody() {
    let broker = Broker::start().await;
    let stranger = ClientId::parse("1000000077").unwrap();
    assert_eq!(broker.sandbox.put_order(&stranger, &Elsewhere::default()), Err(Unfit::Account));
    let odd = Elsewhere { order_type: "FANCY".to_owned(), ..Elsewhere::default() };
    assert_eq!(broker.sandbox.put_order(&broker.id, &odd), Err(Unfit::Word("orderType")));
}

/// A broker that has a request does not ask whether somebody still waits for it.
#[tokio::test]
async fn a_late_order_is_carried_out_although_its_caller_is_gone() {
    let broker = Broker::start().await;
    broker.sandbox.fault(Fault::new(Action::Late { ms: 100 }).on("POST", "/v2/orders").times(1));
    let (mut sender, ()) = broker.connect("api.dhan.co").await.unwrap();
    let order = fixture_request("orders/place-order").body.to_string();
    let waiting = Tasks::default().spawn(sender.send_request(broker.request("POST", "/v2/orders", Some(order))));
    until("the order arrives", || !broker.sandbox.seen().is_empty()).await;
    assert!(broker.sandbox.orders(&broker.id).is_empty(), "not yet");
    waiting.abort();
    drop(sender);
    until("it is carried out", || broker.sandbox.orders(&broker.id).len() == 1).await;
    assert!(broker.sandbox.seen().iter().all(|seen| seen.executed));
}

#[tokio::test]
async fn logins_and_replies_can_be_slow() {
    let broker = Broker::start().await;
    let delay = Duration::from_millis(80);
    for action in [Action::Slow { ms: 80 }, Action::Late { ms: 80 }] {
        broker.sandbox.fault(Fault::new(action.clone()).at("auth.dhan.co").times(1));
        let begun = Instant::now();
        assert_eq!(broker.send("GET", "/v2/profile", None).await.0, 200);
        assert!(broker.sandbox.login_attempts(&broker.id) == 0);
        let (mut auth, ()) = broker.connect("auth.dhan.co").await.unwrap();
        let mut request = broker.request("POST", "/app/generateAccessToken?dhanClientId=1000000001", None);
        request.headers_mut().insert("host", "auth.dhan.co".parse().unwrap());
        auth.send_request(request).await.unwrap();
        assert!(begun.elapsed() >= delay, "{action:?}");
    }
}

/// The broker ends what is idle, and only that.
#[tokio::test]
async fn an_idle_connection_is_ended_by_the_broker() {
    let broker = Broker::start().await;
    let (mut open, ()) = broker.connect("api.dhan.co").await.unwrap();
    let ask = async |sender: &mut hyper::client::conn::http1::SendRequest<_>| {
        let reply = sender.send_request(broker.request("GET", "/v2/profile", None)).await?;
        reply.into_body().collect().await
    };
    ask(&mut open).await.unwrap();
    broker.sandbox.fault(Fault::new(Action::Slow { ms: 1_500 }).times(1));
    broker.sandbox.set_habits(Habits { idle_close_ms: Some(1_000), ..Habits::default() });
    until("the connection that was open before ends", || open.is_closed()).await;

    let (mut busy, ()) = broker.connect("api.dhan.co").await.unwrap();
    ask(&mut busy).await.unwrap();
    assert!(!busy.is_closed(), "a request under way keeps it");
    ask(&mut busy).await.unwrap();
    until("it ends when it is idle", || busy.is_closed()).await;
}

/// A refusal that quotes the caller is no refusal of the words that it quotes.
#[tokio::test]
async fn refusals_can_quote_what_was_sent() {
    let broker = Broker::start().await;
    for (what, quoted) in [
        (Quoted::CorrelationId, "Invalid IP".to_owned()),
        (Quoted::AccessToken, broker.token.clone()),
        (Quoted::Path, "/v2/orders?x=1".to_owned()),
        (Quoted::Body, "\"correlationId\":\"Invalid IP\"".to_owned()),
    ] {
        broker.sandbox.fault(Fault::new(Action::Quote { what }).on("POST", "/v2/orders").times(1));
        let mut order = fixture_request("orders/place-order").body;
        order["correlationId"] = json!("Invalid IP");
        let (status, refused) = broker.send("POST", "/v2/orders?x=1", Some(&order)).await;
        assert_eq!((status, &refused["errorCode"]), (400, &json!("DH-905")));
        let message = refused["errorMessage"].as_str().unwrap();
        assert!(message.starts_with("Invalid value: ") && message.contains(&quoted), "{what:?}");
    }
    assert!(broker.sandbox.orders(&broker.id).is_empty());
}

/// A gateway that gates on this answer must live with each form of it.
#[tokio::test]
async fn get_ip_can_say_less_or_something_else() {
    let broker = Broker::start().await;
    let full = broker.get("/v2/ip/getIP").await;
    broker.sandbox.set_address_form(AddressForm::Unseen);
    let unseen = broker.get("/v2/ip/getIP").await;
    assert_eq!((unseen.get("detectedIP"), &unseen["ipMatchStatus"]), (None, &full["ipMatchStatus"]));
    broker.sandbox.set_address_form(AddressForm::Sees("2001:db8::66".parse().unwrap()));
    let other = broker.get("/v2/ip/getIP").await;
    assert_eq!((&other["detectedIP"], &other["ipMatchStatus"]), (&json!("2001:db8::66"), &json!("MISMATCH")));
    assert_eq!(other["ordersAllowed"], false);
    broker.sandbox.set_address_form(AddressForm::ErrorArray);
    assert_eq!(broker.get("/v2/ip/getIP").await, fixture("ip/get-ip.200.error-array"));
    broker.sandbox.fault(Fault::new(Action::Refuse { status: 500, body: Value::Null }).on("GET", "/v2/ip/getIP"));
    assert_eq!(broker.send("GET", "/v2/ip/getIP", None).await.0, 500);
    assert_eq!(place(&broker, json!({})).await.0, 200, "what it says changes nothing about what it does");
}

#[tokio::test]
async fn the_secondary_address_can_be_refused_although_it_is_registered() {
    let broker = Broker::start_with(Some(pair("2001:db8::1", "::1"))).await;
    assert_eq!(place(&broker, json!({})).await.0, 200);
    broker.sandbox.set_habits(Habits { secondary_refused: true, ..Habits::default() });
    assert_eq!(place(&broker, json!({})).await, (400, fixture("orders/place-order.400.invalid-ip")));
    assert_eq!(broker.get("/v2/ip/getIP").await["ipMatchStatus"], "SECONDARY_MATCH");
    broker.sandbox.register(&broker.id, Some(pair("::1", "2001:db8::1")));
    assert_eq!(place(&broker, json!({})).await.0, 200);
}

#[tokio::test]
async fn a_200_can_be_a_rejection_of_all_or_of_some() {
    let broker = Broker::start().await;
    let reject = |first, silent| broker.sandbox.fault(Fault::new(Action::RejectOrders { first, silent }).times(1));
    reject(None, false);
    let (status, placed) = place(&broker, json!({"orderType": "MARKET", "price": 0})).await;
    assert_eq!((status, &placed["orderStatus"]), (200, &json!("REJECTED")));
    let book = broker.get("/v2/orders").await;
    same_shape(&fixture("orders/order-book.200.rejected-rms"), &book);
    assert_eq!((&book[0]["orderStatus"], &book[0]["omsErrorCode"]), (&json!("REJECTED"), &json!("0")));
    assert!(book[0]["omsErrorDescription"].as_str().unwrap().starts_with("RMS:"));
    assert_eq!(broker.get("/v2/trades").await, json!([]));

    reject(None, true);
    let (_, placed) = place(&broker, json!({})).await;
    assert_eq!(placed["orderStatus"], "TRANSIT", "the reply does not say so");
    let path = format!("/v2/orders/{}", placed["orderId"].as_str().unwrap());
    assert_eq!(broker.get(&path).await[0]["orderStatus"], "REJECTED");

    let statuses = |rows: &Value| {
        rows.as_array().unwrap().iter().map(|row| row["orderStatus"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let order = fixture_request("orders/place-order").body;
    let mut two = fixture_request("orders/multi-order").body;
    let again = two["orders"][0].clone();
    two["orders"].as_array_mut().unwrap().push(again);
    for (first, said) in [(Some(1), ["REJECTED", "TRANSIT"]), (None, ["REJECTED", "REJECTED"])] {
        reject(first, false);
        assert_eq!(statuses(&broker.send("POST", "/v2/orders/slicing", Some(&order)).await.1), said);
        reject(first, false);
        assert_eq!(statuses(&broker.send("POST", "/v2/alerts/multi/orders", Some(&two)).await.1["orders"]), said);
    }
    reject(None, false);
    assert_eq!(replay(&broker, "orders/forever-place", None).await.1["orderStatus"], "REJECTED");
    assert_eq!(place(&broker, json!({})).await.1["orderStatus"], "PENDING", "once only");
}

/// One empty answer never proves that there is no order.
#[tokio::test]
async fn an_order_can_show_late() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { shows_after_ms: 60_000, ..Habits::default() });
    let id = place(&broker, json!({})).await.1["orderId"].as_str().unwrap().to_owned();
    replay(&broker, "orders/forever-place", None).await;
    let path = format!("/v2/orders/{id}");
    for path in ["/v2/orders", &path, "/v2/super/orders", "/v2/forever/orders"] {
        assert_eq!(broker.get(path).await, json!([]), "{path}");
    }
    assert_eq!(broker.send("GET", "/v2/orders/external/gw-0001-abc_1", None).await.0, 404);
    assert_eq!(broker.sandbox.orders(&broker.id).len(), 1, "the broker has it all the while");
    broker.sandbox.set_clock_skew(jiff::SignedDuration::from_secs(61));
    assert_eq!(broker.get(&path).await[0]["orderId"], id);
    assert_eq!(broker.get("/v2/orders/external/gw-0001-abc_1").await["orderId"], id);
    assert_eq!(broker.get("/v2/forever/orders").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_order_in_transit_shows_as_such_and_cannot_be_cancelled() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { transit_ms: 60_000, ..Habits::default() });
    let (_, placed) = place(&broker, json!({})).await;
    assert_eq!(placed["orderStatus"], "TRANSIT");
    let path = format!("/v2/orders/{}", placed["orderId"].as_str().unwrap());
    let row = broker.get(&path).await;
    assert_eq!((&row[0]["orderStatus"], &row[0]["exchangeOrderId"]), (&json!("TRANSIT"), &json!("0")));
    let external = broker.send("GET", "/v2/orders/external/gw-0001-abc_1", None).await;
    assert_eq!(external, (404, fixture("orders/get-order-by-correlation-id.404.not-found")));
    let cancel = broker.send("DELETE", &path, None).await;
    assert_eq!(cancel, (400, fixture("orders/cancel-order.400.in-transit")));
    let mut change = fixture_request("orders/modify-order").body;
    change["orderId"] = placed["orderId"].clone();
    assert_eq!(broker.send("PUT", &path, Some(&change)).await.0, 200, "a change is taken");
    broker.sandbox.set_clock_skew(jiff::SignedDuration::from_secs(61));
    assert_eq!(broker.get(&path).await[0]["orderStatus"], "PENDING");
    assert_eq!(broker.send("DELETE", &path, None).await.0, 200);
}

#[tokio::test]
async fn the_kill_switch_can_want_everything_closed_first() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { kill_switch_needs_flat: true, ..Habits::default() });
    let switch = async || broker.send("POST", "/v2/killswitch?killSwitchStatus=ACTIVATE", None).await.0;
    let (_, placed) = place(&broker, json!({})).await;
    assert_eq!(switch().await, 400, "an order waits");
    place(&broker, json!({"orderType": "MARKET", "price": 0})).await;
    broker.send("DELETE", &format!("/v2/orders/{}", placed["orderId"].as_str().unwrap()), None).await;
    assert_eq!(switch().await, 400, "a position is open");
    assert_eq!(broker.get("/v2/killswitch").await["killSwitchStatus"], "DEACTIVATE");

    let (_, waits) = place(&broker, json!({})).await;
    let path = format!("/v2/orders/{}", waits["orderId"].as_str().unwrap());
    assert_eq!(broker.send("DELETE", "/v2/positions", None).await.0, 200);
    assert_eq!(broker.get(&path).await[0]["orderStatus"], "CANCELLED", "an exit-all cancels what waits");
    assert_eq!(switch().await, 200);
}

#[tokio::test]
async fn forever_orders_can_stand_in_the_book() {
    let broker = Broker::start().await;
    let mut order = fixture_request("orders/forever-place").body;
    order["correlationId"] = json!("forever-1");
    broker.send("POST", "/v2/forever/orders", Some(&order)).await;
    assert_eq!(broker.send("GET", "/v2/orders/external/forever-1", None).await.0, 404);
    broker.sandbox.set_habits(Habits { forever_in_book: true, ..Habits::default() });
    let (_, placed) = broker.send("POST", "/v2/forever/orders", Some(&order)).await;
    let found = broker.get("/v2/orders/external/forever-1").await;
    assert_eq!((&found["orderId"], &found["orderStatus"]), (&placed["orderId"], &json!("CONFIRM")));
    let list = broker.get("/v2/forever/orders").await;
    assert!(list.as_array().unwrap().iter().all(|row| row["orderType"] == "OCO"), "the flag, not LIMIT");
}

/// Measured for forever orders: a redirect on a write proves nothing, least of all an order.
#[tokio::test]
async fn writes_over_http2_can_be_redirected_to_nowhere() {
    let mut broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { redirects_http2_writes: true, ..Habits::default() });
    broker.http2 = true;
    let order = fixture_request("orders/place-order").body.to_string();
    let reply = broker.raw("POST", "/v2/orders", &[], Some(order.clone())).await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["location"]),
        (301, &"https://api.dhan.co:443/v2/".parse().unwrap())
    );
    assert_eq!(broker.get("/v2/orders").await, json!([]));
    broker.http2 = false;
    assert_eq!(broker.raw("POST", "/v2/orders", &[], Some(order)).await.unwrap().status(), 200);
}

/// Everything is there for a person with `curl` as well.
#[tokio::test]
async fn the_control_listener_sets_habits_and_puts_orders() {
    let broker = Broker::start().await;
    let (_, habits) = broker.control("GET", "/habits", None).await;
    assert_eq!((&habits["compression"], &habits["lax_paths"]), (&json!("never"), &json!(false)));
    let habits = json!({"compression": {"always": "gzip"}, "external": "all", "idle_close_ms": 700});
    assert_eq!(broker.control("PUT", "/habits", Some(&habits)).await.0, 204);
    let want = Habits {
        compression: Compression::Always(Encoding::Gzip),
        external: External::All,
        idle_close_ms: Some(700),
        ..Habits::default()
    };
    assert_eq!(broker.sandbox.habits(), want);
    assert_eq!(broker.control("PUT", "/habits", Some(&json!({"lax": true}))).await.0, 400);
    broker.sandbox.set_habits(Habits::default());

    let order = json!({"correlationId": "c-1", "orderStatus": "REJECTED", "madeBeforeS": 60, "kind": "plain"});
    let (status, put) = broker.control("POST", "/accounts/1000000001/orders", Some(&order)).await;
    assert_eq!(status, 201);
    assert_eq!(broker.get("/v2/orders/external/c-1").await["orderId"], put["orderId"]);
    assert_eq!(broker.control("POST", "/accounts/1000000077/orders", Some(&order)).await.0, 404);
    let odd = json!({"orderType": "FANCY"});
    assert_eq!(broker.control("POST", "/accounts/1000000001/orders", Some(&odd)).await.0, 400);
    let form = json!({"sees": "2001:db8::66"});
    assert_eq!(broker.control("PUT", "/address-form", Some(&form)).await.0, 204);
    assert_eq!(broker.get("/v2/ip/getIP").await["detectedIP"], "2001:db8::66");
    for action in [
        json!({"late": {"ms": 5}}),
        json!({"verdict": {"says": "no_data_plan"}}),
        json!({"quote": {"what": "access_token"}}),
        json!({"reject_orders": {"first": 1}}),
    ] {
        let fault = json!({"match": {"data": true, "client_id": "1000000002"}, "action": action});
        assert_eq!(broker.control("POST", "/faults", Some(&fault)).await.0, 201, "{fault}");
    }
    broker.sandbox.add_account(Account::new(ClientId::parse("1000000002").unwrap(), "OTHER", "", ""));
}
