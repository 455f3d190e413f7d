//! Real clients, unmodified: the broker's own SDK and curl.

use crate::support::Ns;
use crate::support::python::{client, python};
use crate::support::world::World;
use serde_json::Value;

/// A trader's program holds no token and no certificate but ours.
#[test]
fn the_official_sdk_places_changes_reads_and_cancels_an_order() {
    let python = python();
    let world = World::up(1, "");
    let a1 = &world.traders[0];
    let output = world
        .net
        .command(Ns::Gateway, &python)
        .arg(client("sdk_orders.py"))
        .args([a1.client_id.as_str(), "sdk-1"])
        .env("HTTPS_PROXY", "http://127.0.0.1:8080")
        .env("REQUESTS_CA_BUNDLE", world.ca())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let steps: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(steps.len() >= 6 && steps.iter().all(|step| step["status"] == "success"), "{said}");

    let seen = world.broker.seen();
    assert!(seen.len() >= 6, "{seen:?}");
    for request in &seen {
        assert_eq!(*request.peer.ip(), a1.pair.primary.ip());
        assert_eq!(request.token.as_deref(), Some(a1.token.as_str()));
        let shown = request.headers.iter().any(|(_, value)| value.contains("placeholder"));
        assert!(!shown, "the SDK's placeholder reached the broker: {request:?}");
    }
    let orders = world.broker.orders(&a1.client_id);
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!((&orders[0]["orderStatus"], &orders[0]["correlationId"]), (&"CANCELLED".into(), &"sdk-1".into()));
}

/// Plain `http://`: the caller leaves TLS to the gateway.
#[test]
fn curl_places_an_order_over_plain_http_with_a_client_key() {
    let world = World::up(1, "");
    let a1 = &world.traders[0];
    let output = world
        .net
        .command(Ns::Caller, "curl")
        .args(["-sS", "-x", &format!("http://{}:{}@[2001:db8:c::1]:8080", a1.name, a1.key)])
        .args(["-H", "Content-Type: application/json"])
        .args(["-d", r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":5,"price":3310.5}"#])
        .args(["-D", "-", "http://api.dhan.co/v2/orders"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("200 OK") && said.contains("sixgate-outcome: executed"), "{said}{output:?}");
    let mut seen = world.broker.seen();
    // The leg's own look.
    seen.retain(|s| !s.path_and_query.ends_with("/getIP"));
    assert_eq!(seen.len(), 1);
    assert_eq!(*seen[0].peer.ip(), a1.pair.primary.ip());
    assert_eq!(seen[0].token.as_deref(), Some(a1.token.as_str()));
    assert!(seen[0].executed);
}
