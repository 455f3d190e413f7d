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
    // That the broker shows no such order is an answer of its own; that nobody could ask is another.
    let none = get("/v1/accounts/a1/orders/999999", 404);
    assert_eq!(none["code"], "order_not_found");
    assert!(none["detail"].as_str().unwrap().contains("no order 999999 for account a1"), "{none}");
    world.broker.fault(Fault::new(Action::Html { status: 200, executed: false }).on("GET", "/v2/orders/").times(1));
    assert_eq!(get(&format!("/v1/accounts/a1/orders/{id}"), 502)["code"], "broker_failed");

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
    assert_eq!(note["by"], "admin", "who has looked");
    assert!(lines["items"][0]["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "and when");
    let mut command = world.gateway.place().command(env!("CARGO_BIN_EXE_sixgate"));
    let listed = command.args(["journal", "list", "--kind", "note"]).current_dir(world.dir.path()).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("settled by admin: not_sent, not in the order book"), "{listed}");
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

/// What a start finds in files must be what was known before it, and it must not be read again for each who asks.
#[test]
fn unsettled_orders_are_known_over_a_restart_and_until_each_is_settled() {
    let text = config(&format!("{}\n[orders]\nresponse_timeout = \"1s\"\nreconcile_for = \"300ms\"", pins()));
    let mut world = World::up_with(1, &text);
    let unsettled = |world: &World| -> Vec<String> {
        let (status, body) = world.gateway.admin().get("/v1/orders/unsettled");
        assert_eq!(status, 200, "{body}");
        let ids = body["items"].as_array().unwrap().iter().map(|line| line["request_id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let lose = |world: &World, id: &str| {
        world.broker.fault(Fault::new(Action::Hang { executed: false }).on("POST", "/v2/orders").times(1));
        let lost = place(world, &ORDER.replace("s-1", id));
        assert_eq!(lost.header("sixgate-outcome"), "unknown", "{lost:?}");
        lost.header("sixgate-request-id").to_owned()
    };
    let (first, second) = (lose(&world, "u-1"), lose(&world, "u-2"));
    assert_eq!(unsettled(&world), [second.clone(), first.clone()], "the newest first");
    let status = |world: &World| world.gateway.admin().get("/v1/status").1["unsettled_orders"].clone();
    assert_eq!(status(&world), 2);
    world.post(&format!("/v1/orders/{first}/settled"), &json!({ "note": "cancelled by hand" }), 204);
    assert_eq!(unsettled(&world), [second.as_str()]);

    world.gateway.terminate();
    world.start_again();
    assert_eq!(unsettled(&world), [second.as_str()], "also without anything that was said since the start");
    let third = lose(&world, "u-3");
    assert_eq!(unsettled(&world), [third.clone(), second.clone()]);
    for id in [&second, &third] {
        world.post(&format!("/v1/orders/{id}/settled"), &json!({ "note": "not in the order book" }), 204);
    }
    assert_eq!(unsettled(&world), Vec::<String>::new());
    assert_eq!(status(&world), 0);
    // All that is known of it is in memory: the files may be gone.
    std::fs::rename(world.dir.path().join("state/journal"), world.dir.path().join("gone")).unwrap();
    assert_eq!(unsettled(&world), Vec::<String>::new());
}
