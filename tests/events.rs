//! What a watcher of `/v1/events` hears, on the real binary.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::caller::{Caller, connect, request};
use crate::support::net::Ns;
use crate::support::wait_until;
use crate::support::world::{LOOPBACK, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ORDER: &str = r#"{"correlationId":"e-1","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;
const LIMIT: Duration = Duration::from_secs(30);

/// The events heard so far, with their subjects.
fn heard(text: &str) -> Vec<(String, Value)> {
    let event = |block: &str| {
        let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Some((line("event:")?.to_owned(), serde_json::from_str(line("data:")?).ok()?))
    };
    text.split("\n\n").filter_map(event).collect()
}

/// A console shows an order, a leg and a token as they change, and a stop does not wait for it.
#[test]
fn a_watcher_hears_of_orders_legs_tokens_and_validations() {
    let mut world = World::up(1, "");
    let token = std::fs::read_to_string(world.dir.path().join("state/admin.token")).unwrap();
    let text = Arc::new(Mutex::new(String::new()));
    let watcher = world.net.runtime(Ns::Gateway);
    let (into, show) = (Arc::clone(&text), token.trim().to_owned());
    let watching = watcher.spawn(async move {
        let mut stream = connect("127.0.0.1:8081".parse().unwrap()).await;
        let head = format!("GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nAuthorization: Bearer {show}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0_u8; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            // Chunk sizes stand between; no event is cut by one, as each is written whole.
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]).replace("\r\n", "\n"));
        }
    });
    wait_until("the stream is open", LIMIT, || text.lock().unwrap().contains("text/event-stream"));

    let reply = world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        caller.send(request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(ORDER))).await.unwrap()
    });
    assert_eq!(reply.status, 200, "{reply:?}");
    let find = |subject: &str, fits: &dyn Fn(&Value) -> bool| {
        heard(&text.lock().unwrap())
            .into_iter()
            .find(|(about, data)| about == subject && fits(data))
            .map(|(_, data)| data)
    };
    wait_until("the order is heard of", LIMIT, || find("order", &|_| true).is_some());
    let order = find("order", &|_| true).unwrap();
    assert_eq!((&order["account"], &order["outcome"]), (&json!("a1"), &json!("executed")));
    assert_eq!((&order["correlation_id"], &order["leg"]), (&json!("e-1"), &json!("primary")));
    assert_eq!(order["order_id"], reply.json()["orderId"]);

    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    wait_until("the leg is heard of", LIMIT, || {
        find("leg", &|leg| leg["role"] == "primary" && leg["state"] == "tripped" && leg["reason"] == "address_gone")
            .is_some()
    });
    world.post("/v1/accounts/a1/validate", &json!({}), 200);
    wait_until("the validation is heard of", LIMIT, || find("validation", &|found| found["ok"] == false).is_some());
    world.broker.kill_token(&world.traders[0].client_id);
    world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        caller.send(request("GET", "http://api.dhan.co/v2/profile", "api.dhan.co", &[], None)).await.unwrap()
    });
    wait_until("the token is heard of", LIMIT, || find("token", &|token| token["state"] == "needs_person").is_some());
    assert!(!text.lock().unwrap().contains(&world.traders[0].token), "a token in an event");

    assert_eq!(world.gateway.terminate().code(), Some(0));
    watcher.run(async move { watching.await.unwrap() });
}
