//! An order of which nobody knows what became of it, until a person has looked.

use std::time::Duration;

use crate::support::caller::{Caller, Reply, connect, request};
use crate::support::net::Ns;
use crate::support::wait_until;
use crate::support::world::{LOOPBACK, World, config, pins};
use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault};

pub(crate) const ORDER: &str = r#"{"correlationId":"s-1","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;

pub(crate) fn place(world: &World, body: &str) -> Reply {
    world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        caller.send(request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(body))).await.unwrap()
    })
}

/// The red line on the front page goes when a person has looked, and the journal does not say more than it knows.
#[test]
fn an_unknown_order_is_asked_for_at_the_broker_and_settled_by_a_note() {
    let world =
        World::up_with(1, &config(&format!("{}\n[orders]\nresponse_timeout = \"2s\"\nreconcile_for = \"1s\"", pins())));
    let get = |path: &str, status: u16| {
        let (got, body) = world.gateway.admin().get(path);
        assert_eq!(got, status, "GET {path}: {body}");
        body
    };
    let good = place(&world, ORDER);
    assert_eq!(good.status, 200, "{good:?}");
    let id = good.json()["orderId"].as_str().unwrap().to_owned();
    let asked = get(&format!("/v1/accounts/a1/orders/{id}"), 200);
    assert_eq!(
        (&asked["order_id"], &asked["correlation_id"], &asked["quantity"]),
        (&json!(id), &json!("s-1"), &json!("1"))
    );
    assert!(asked["status"].is_string() && asked["symbol"].is_string(), "{asked}");
    get("/v1/accounts/a1/orders/999999", 502);

    // The order does not arrive, and neither does what is asked after it.
    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("POST", "/v2/orders").times(1));
    let lost = place(&world, &ORDER.replace("s-1", "s-2"));
    assert_eq!((lost.status, lost.header("sixgate-outcome")), (504, "unknown"), "{lost:?}");
    let request_id = lost.header("sixgate-request-id").to_owned();
    let unsettled = get("/v1/orders/unsettled", 200);
    assert_eq!(unsettled["items"].as_array().unwrap().len(), 1, "{unsettled}");
    assert_eq!(
        (&unsettled["items"][0]["request_id"], &unsettled["items"][0]["outcome"]),
        (&json!(request_id), &json!("unknown"))
    );

    let good_id = good.header("sixgate-request-id").to_owned();
    let refused = world.post(&format!("/v1/orders/{good_id}/settled"), &json!({ "note": "looked" }), 409);
    assert_eq!(refused["code"], "not_unknown");
    let token = &world.traders[0].token;
    // Whoever pastes a token into the note does not find it in the journal.
    let part = &token[..150];
    let looked = json!({ "note": format!("not in the order book {part}"), "outcome": "not_sent" });
    world.post(&format!("/v1/orders/{request_id}/settled"), &looked, 204);
    assert_eq!(get("/v1/orders/unsettled", 200), json!({ "items": [] }));
    let lines = get(&format!("/v1/orders?request_id={request_id}"), 200);
    let kinds: Vec<&str> =
        lines["items"].as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["note", "outcome", "intent"]);
    let note = &lines["items"][0]["note"];
    assert_eq!((&note["what"], &note["outcome"]), (&json!("settled"), &json!("not_sent")));
    assert!(note["text"].as_str().unwrap().starts_with("not in the order book sha256:"), "{note}");
    assert_eq!(lines["items"][1]["outcome"], "unknown", "the journal says what it said");
    let limits = get("/v1/accounts/a1/limits", 200);
    let used = |class: &str, seconds: u64| {
        let of = |limit: &&Value| limit["class"] == class && limit["seconds"] == seconds;
        limits["items"].as_array().unwrap().iter().find(of).unwrap()["used"].as_u64().unwrap()
    };
    assert_eq!(used("order", 86_400), 2, "{limits}");
}

/// What the broker holds is shown without asking it again, with the day on which it may be changed.
#[test]
fn what_the_broker_holds_is_seen_by_the_legs_own_questions() {
    let world = World::up(1, "");
    // A leg asks before it carries what is signed.
    assert_eq!(place(&world, ORDER).status, 200);
    let account = || world.gateway.admin().get("/v1/accounts/a1").1;
    wait_until("the broker to have said what it holds", Duration::from_secs(30), || {
        !account()["registration"].is_null()
    });
    let seen = account()["registration"].clone();
    for (role, own) in [("primary", &world.traders[0].pair.primary), ("secondary", &world.traders[0].pair.secondary)] {
        assert_eq!(
            (&seen[role]["registered"], &seen[role]["matches"]),
            (&json!(own.to_string()), &json!(true)),
            "{seen}"
        );
        assert!(seen[role]["seen_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{seen}");
    }
}
