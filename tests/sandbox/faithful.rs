//! The broker as it was seen to be where its documents say otherwise.

use serde_json::{Value, json};
use sixgate::sandbox::Habits;

use super::client::{Broker, fixture, fixture_request, same_shape};
use super::{place, replay};

/// The values of a fixture that are no order's own must be ours too.
#[tokio::test]
async fn where_there_is_nothing_rows_hold_the_brokers_own_words() {
    let broker = Broker::start().await;
    place(&broker, json!({"afterMarketOrder": true})).await;
    let mut want = fixture("orders/order-book.200.amo-pending")[0].clone();
    let book = broker.get("/v2/orders").await;
    same_shape(&fixture("orders/order-book.200.amo-pending"), &book);
    let got = &book[0];
    for own in ["orderId", "correlationId", "createTime", "updateTime", "exchangeSegment", "productType", "securityId"]
    {
        want[own] = got[own].clone();
    }
    assert_eq!(got, &want);

    place(&broker, json!({})).await;
    place(&broker, json!({"orderType": "MARKET", "price": 0})).await;
    let book = broker.get("/v2/orders").await;
    for (row, description) in [(1, "CONFIRMED"), (2, "TRADE CONFIRMED")] {
        assert_eq!(book[row]["omsErrorCode"], "0", "which is no error");
        assert_eq!(book[row]["omsErrorDescription"], description);
        assert_ne!(book[row]["exchangeOrderId"], "0");
    }
}

/// "Created after we sent" proves nothing.
#[tokio::test]
async fn create_time_moves_when_an_order_is_changed_or_cancelled() {
    let broker = Broker::start().await;
    let id = place(&broker, json!({})).await.1["orderId"].as_str().unwrap().to_owned();
    let path = format!("/v2/orders/{id}");
    let made = broker.get(&path).await[0]["createTime"].clone();
    broker.sandbox.set_clock_skew(jiff::SignedDuration::from_secs(60));
    let mut change = fixture_request("orders/modify-order").body;
    change["orderId"] = json!(id);
    assert_eq!(broker.send("PUT", &path, Some(&change)).await.0, 200);
    let changed = broker.get(&path).await[0].clone();
    assert!(changed["createTime"].as_str() > made.as_str(), "{changed}");
    assert_eq!(changed["createTime"], changed["updateTime"]);
    broker.sandbox.set_clock_skew(jiff::SignedDuration::from_secs(120));
    broker.send("DELETE", &path, None).await;
    let cancelled = broker.get(&path).await[0].clone();
    assert!(cancelled["createTime"].as_str() > changed["createTime"].as_str());
    assert_eq!(cancelled["remainingQuantity"], 0);
}

#[tokio::test]
async fn correlation_ids_are_refused_by_length_and_by_character_and_made_when_missing() {
    let broker = Broker::start().await;
    let id = |id: &str| json!({"correlationId": id});
    assert_eq!(place(&broker, id(&"a".repeat(25))).await.0, 200);
    assert_eq!(place(&broker, id(&"a".repeat(26))).await, (400, fixture("orders/place-order.400.bad-field")));
    for odd in ["a&b", "a|b", "a:b", "a.b"] {
        let refused = place(&broker, id(odd)).await;
        assert_eq!(refused, (400, fixture("orders/place-order.400.invalid-correlation-id")), "{odd}");
    }
    let (_, placed) = place(&broker, json!({"correlationId": null})).await;
    let row = broker.get(&format!("/v2/orders/{}", placed["orderId"].as_str().unwrap())).await[0].clone();
    let made = row["correlationId"].as_str().unwrap();
    assert!(made.starts_with("1000000001-") && made.len() == 24, "{made}");
    assert_eq!(broker.get(&format!("/v2/orders/external/{made}")).await["orderId"], placed["orderId"]);
}

/// 247.8 comes back as 247.8, also when it was sent as the float next to it.
#[tokio::test]
async fn prices_are_held_in_single_precision() {
    let broker = Broker::start().await;
    place(&broker, json!({"price": 247.800_003_051_757_8})).await;
    assert_eq!(broker.get("/v2/orders").await[0]["price"], json!(247.8));
    assert_eq!(broker.sandbox.orders(&broker.id)[0]["price"], json!(247.8));
    broker.sandbox.set_habits(Habits { price_noise: true, ..Habits::default() });
    let noisy = broker.get("/v2/orders").await[0]["price"].as_f64().unwrap();
    assert!(noisy != 247.8 && (noisy - 247.8).abs() < 0.001, "{noisy}");
}

#[tokio::test]
async fn a_market_order_can_show_as_a_protected_limit_order() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { market_as_limit: true, ..Habits::default() });
    for (side, price) in [("BUY", 3409.8), ("SELL", 3211.2)] {
        let market = json!({"orderType": "MARKET", "price": 0, "transactionType": side});
        let id = place(&broker, market).await.1["orderId"].as_str().unwrap().to_owned();
        let row = broker.get(&format!("/v2/orders/{id}")).await[0].clone();
        assert_eq!((&row["orderType"], &row["orderStatus"]), (&json!("LIMIT"), &json!("TRADED")));
        assert!((row["price"].as_f64().unwrap() - price).abs() < 0.051, "{row}");
    }
}

/// The documents' own sample holds such texts, and gets refused.
#[tokio::test]
async fn an_empty_text_can_be_a_bad_value() {
    let broker = Broker::start().await;
    let empty = json!({"triggerPrice": ""});
    assert_eq!(place(&broker, empty.clone()).await.0, 200);
    broker.sandbox.set_habits(Habits { empty_is_bad: true, ..Habits::default() });
    assert_eq!(place(&broker, empty).await, (400, fixture("orders/place-order.400.bad-field")));
    assert_eq!(place(&broker, json!({"drvExpiryDate": null, "triggerPrice": 0})).await.0, 200);
}

#[tokio::test]
async fn an_empty_portfolio_can_be_an_error_of_500() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { no_holdings: true, ..Habits::default() });
    assert_eq!(broker.send("GET", "/v2/holdings", None).await, (500, fixture("portfolio/holdings.500.empty")));
}

#[tokio::test]
async fn the_documented_order_and_the_live_reply_can_be_had() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { documented_order: true, says_transit: true, ..Habits::default() });
    let (_, placed) = place(&broker, json!({})).await;
    same_shape(&fixture("orders/place-order.200.transit"), &placed);
    assert_eq!(placed["orderStatus"], "TRANSIT");
    let one = broker.get(&format!("/v2/orders/{}", placed["orderId"].as_str().unwrap())).await;
    same_shape(&fixture("orders/get-order.200"), &one);
    assert_eq!(one["orderStatus"], "PENDING");
    let (status, unknown) = broker.send("GET", "/v2/orders/112611239999", None).await;
    assert_eq!((status, &unknown["errorCode"]), (400, &json!("DH-907")));
}

/// Charts stand behind the order back end and speak its language.
#[tokio::test]
async fn a_dead_token_on_charts_looks_like_a_business_error() {
    let mut broker = Broker::start().await;
    broker.token = "never-made".to_owned();
    let refused = broker.send("POST", "/v2/charts/intraday", Some(&json!({}))).await;
    assert_eq!(refused, (400, fixture("data/charts.400.bad-token")));
}

/// Two back ends: one chunks and gives no reason, the other counts and says OK.
#[tokio::test]
async fn replies_can_have_the_heads_that_were_recorded() {
    let broker = Broker::start().await;
    broker.sandbox.set_habits(Habits { recorded_front: true, ..Habits::default() });
    let recorded = fixture("errors/http-headers");
    let reply = broker.raw("GET", "/v2/profile", &[], None).await.unwrap();
    let reason = reply.extensions().get::<hyper::ext::ReasonPhrase>().map(hyper::ext::ReasonPhrase::as_bytes);
    assert_eq!(reason, Some(&b""[..]));
    let headers = reply.headers();
    assert_eq!((headers.get("content-length"), &headers["transfer-encoding"]), (None, &"chunked".parse().unwrap()));
    let varies: Vec<Value> = headers.get_all("vary").iter().map(|value| json!(value.to_str().unwrap())).collect();
    assert_eq!(json!(varies), recorded[0]["headers"]["Vary"]);
    assert!(headers.get("retry-after").is_none());
    assert_eq!(broker.get("/v2/profile").await["dhanClientId"], "1000000001");

    let order = broker.send("POST", "/v2/positions/convert", Some(&json!({}))).await;
    assert_eq!(order, (400, fixture("orders/place-order.400.bad-field")), "refusals too");
    let quote = fixture_request("data/marketfeed-ltp").body.to_string();
    let reply = broker.raw("POST", "/v2/marketfeed/ltp", &[], Some(quote)).await.unwrap();
    assert!(reply.extensions().get::<hyper::ext::ReasonPhrase>().is_none());
    assert!(reply.headers().contains_key("content-length") && !reply.headers().contains_key("vary"));
    assert_eq!(replay(&broker, "data/marketfeed-ltp", None).await.0, 200);
}
