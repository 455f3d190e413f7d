//! A lost answer, and what in the broker's book proves anything about it.

use serde_json::Value;
use sixgate::sandbox::{Action, Elsewhere, External, Fault, Kind, Status};

use super::{Ask, ReplyOutcome, TERMS, arrived, habits, is_executed, made, send, send_all, text, world};
use crate::support::engine::OrderRequest;
use crate::support::world::World;

/// Orders of the same customer that bear an id which a caller uses: under `id` each.
fn older() -> Vec<(&'static str, Elsewhere)> {
    let order = || Elsewhere { price: 100.0, made_before_s: 60, ..Elsewhere::default() };
    vec![
        ("refused", Elsewhere { order_status: Status::Rejected, ..order() }),
        ("phone", order()),
        ("traded", Elsewhere { order_status: Status::Traded, made_before_s: 3_000, ..order() }),
        ("super", Elsewhere { kind: Kind::Super, ..order() }),
        // Made at this moment, and another order all the same.
        ("dearer", Elsewhere { price: 101.0, made_before_s: 0, ..order() }),
        ("more", Elsewhere { quantity: 2, made_before_s: 0, ..order() }),
    ]
}

/// An engine that is told "executed" of an order that does not exist believes to have a position.
#[test]
fn an_older_order_under_the_id_is_not_taken_for_one_whose_answer_was_lost() {
    // Six are asked about at once, and the broker takes twenty questions a second.
    let world = World::up_with(
        1,
        &text("[limits]\nmax_wait = \"2s\"").replace("reconcile_for = \"2s\"", "reconcile_for = \"4s\""),
    );
    let customer = world.traders[0].client_id.clone();
    for external in [External::Newest, External::Oldest, External::All] {
        for executed in [false, true] {
            habits(&world, |habits| habits.external = external);
            let id = |name: &str| format!("{name}-{external:?}-{executed}");
            let mut others = Vec::new();
            for (name, order) in older() {
                let order = Elsewhere { correlation_id: id(name), ..order };
                others.push(world.broker.put_order(&customer, &order).unwrap());
            }
            let before = (arrived(&world), made(&world));
            world.broker.fault(Fault::new(Action::Close { executed }).on("POST", "/v2/orders"));
            let asks: Vec<Ask> =
                older().iter().map(|(name, _)| OrderRequest::place(Some(&id(name)), 100.0).into()).collect();
            for (told, (name, _)) in send_all(&world, &asks).iter().zip(older()) {
                let what = format!("{name}, {external:?}, executed: {executed}: {told:?}");
                if executed {
                    assert_eq!((told.status, told.outcome()), (200, "executed"), "{what}");
                    assert_eq!(told.header("sixgate-recovered"), "true", "{what}");
                    assert!(!others.contains(&told.order_id()), "{what}");
                } else {
                    assert_eq!((told.status, told.code().as_str()), (504, "outcome_unknown"), "{what}");
                    assert!(!others.iter().any(|other| String::from_utf8_lossy(&told.body).contains(other)), "{what}");
                }
            }
            world.broker.clear_faults();
            let count = asks.len();
            let new = if executed { count } else { 0 };
            assert_eq!((arrived(&world), made(&world)), (before.0 + count, before.1 + new));
        }
    }
}

/// The list of forever orders shows no id, and the book may show one that is older.
#[test]
fn an_older_forever_order_is_not_taken_for_one_whose_answer_was_lost() {
    let world = world();
    let customer = world.traders[0].client_id.clone();
    let old = Elsewhere {
        kind: Kind::Forever,
        correlation_id: "late".to_owned(),
        price: 100.0,
        trigger_price: 100.0,
        made_before_s: 60,
        ..Elsewhere::default()
    };
    world.broker.put_order(&customer, &old).unwrap();
    world.broker.fault(Fault::new(Action::Close { executed: false }).on("POST", "/v2/"));
    for wish in [OrderRequest::forever(Some("late"), 100.0), OrderRequest::place(Some("late2"), 100.0)] {
        let told = send(&world, wish);
        assert_eq!((told.status, told.outcome()), (504, "unknown"), "{told:?}");
    }
    world.broker.clear_faults();
    assert_eq!(arrived(&world), 2);
}

/// Some brokers turn a market order into a limit order with a protected price, and hold prices in single precision.
#[test]
fn an_order_that_the_book_shows_in_another_way_is_found() {
    let world = world();
    habits(&world, |habits| {
        habits.market_as_limit = true;
        habits.price_noise = true;
        habits.shows_after_ms = 150;
    });
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders"));
    let market = format!(r#"{{"correlationId":"market",{},"quantity":1,"price":0}}"#, TERMS.replace("LIMIT", "MARKET"));
    let market = Ask::new("POST", "/v2/orders").json(market);
    for ask in [market, OrderRequest::place(Some("noisy"), 247.8).into()] {
        let told = send(&world, ask);
        is_executed(&told);
        assert_eq!(told.header("sixgate-recovered"), "true", "{told:?}");
    }
    assert_eq!((arrived(&world), made(&world)), (2, 2));
}

/// Both look for an order that is alike, and there is one.
#[test]
fn of_two_alike_that_were_lost_one_is_told_the_order_that_is_there() {
    let world = world();
    let labels = serde_json::json!({ "repeats_by": "idempotency_key" });
    assert_eq!(world.gateway.admin().patch("/v1/accounts/a1", &labels).0, 200);
    for executed in [true, false] {
        world.broker.fault(Fault::new(Action::Close { executed }).on("POST", "/v2/orders").times(1));
    }
    let alike = || OrderRequest::place(Some("label"), 100.0).into();
    let told = send_all(&world, &[alike(), alike()]);
    let mut words: Vec<_> = told.iter().map(|told| (told.status, told.outcome())).collect();
    words.sort_unstable();
    assert_eq!(words, [(200, "executed"), (504, "unknown")], "{told:?}");
    assert_eq!((arrived(&world), made(&world)), (2, 1));
}

/// A trailing stop whose prices come out of single-precision arithmetic.
#[test]
fn a_change_to_a_price_out_of_floats_is_found_when_its_answer_is_lost() {
    let world = world();
    let order = send(&world, OrderRequest::place(Some("stop"), 240.0)).order_id();
    let change = |price: &str| {
        let body = format!(
            r#"{{"orderId":"{order}","orderType":"LIMIT","legName":"","quantity":1,"price":{price},"disclosedQuantity":0,"triggerPrice":0,"validity":"DAY"}}"#
        );
        Ask::new("PUT", &format!("/v2/orders/{order}")).json(body)
    };
    for noise in [false, true] {
        habits(&world, |habits| habits.price_noise = noise);
        let price = if noise { "251.4499969482422" } else { "247.8000030517578" };
        world.broker.fault(Fault::new(Action::Close { executed: true }).on("PUT", "/v2/orders").times(1));
        let told = send(&world, change(price));
        is_executed(&told);
        // What was not done is not found.
        world.broker.fault(Fault::new(Action::Close { executed: false }).on("PUT", "/v2/orders").times(1));
        let told = send(&world, change("260.05"));
        assert_ne!(told.outcome(), "executed", "{told:?}");
    }
    assert_eq!(arrived(&world), 5);
    let row = &world.broker.orders(&world.traders[0].client_id)[0];
    assert_eq!(row["price"].as_f64(), Some(251.45), "{row}");
    assert_eq!(row["orderId"], Value::from(order));
}

/// The line dies under all that a second takes. Each is looked for, the broker takes twenty questions a second, and of
/// slices only the whole book tells: it is asked for once for all who want it at that moment.
#[test]
fn many_that_were_lost_at_once_are_all_found_and_share_their_questions() {
    let patient = text("[limits]\nmax_wait = \"2s\"").replace("reconcile_for = \"2s\"", "reconcile_for = \"4s\"");
    let world = World::up_with(1, &patient);
    let asks: Vec<Ask> = (0..10).map(|n| OrderRequest::slicing(Some(&format!("many{n}")), 100.0).into()).collect();
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders/slicing").times(10));
    // All of them ask while the first answer is under way.
    world.broker.fault(Fault::new(Action::Slow { ms: 1_000 }).on("GET", "/v2/orders").times(100));
    for told in send_all(&world, &asks) {
        is_executed(&told);
        assert_eq!(told.header("sixgate-recovered"), "true", "{told:?}");
    }
    assert_eq!((arrived(&world), made(&world)), (10, 20));
    let seen = world.broker.seen();
    let books = seen.iter().filter(|seen| seen.method == "GET" && seen.path_and_query == "/v2/orders").count();
    assert!(books < 10, "the book was asked for {books} times");
}
