//! Every write gets the same care: those with several orders, alerts, changes, and paths in other spellings.

use serde_json::json;

use super::{Ask, ReplyOutcome, TERMS, arrived, habits, is_executed, made, send, world, writes};
use crate::support::engine::OrderRequest;

fn alert(id: &str) -> OrderRequest {
    let order = format!(r#"{{"correlationId":"{id}",{TERMS},"quantity":1,"price":100.0}}"#);
    let condition = r#"{"comparisonType":"PRICE_WITH_VALUE","exchangeSegment":"NSE_EQ","securityId":"11536","operator":"GREATER_THAN","comparingValue":3500,"expDate":"2026-12-31","frequency":"ONCE"}"#;
    let body = format!(r#"{{"condition":{condition},"orders":[{order}]}}"#);
    OrderRequest::new("POST", "/v2/alerts/orders", Some(body))
}

/// Sent once, whatever it is that is repeated, also after a crash.
#[test]
fn every_kind_of_write_under_an_id_is_sent_once_also_after_kill_9() {
    let mut world = world();
    let waiting = send(&world, OrderRequest::place(Some("waits"), 100.0)).order_id();
    let forever = send(&world, OrderRequest::forever(Some("waits-long"), 90.0)).order_id();
    let mut change_forever = OrderRequest::modify(&forever, 91.0);
    change_forever.path = format!("/v2/forever/orders/{forever}");
    change_forever.body = change_forever.body.map(|body| {
        let body = body.replace(r#""legName":"""#, r#""orderFlag":"SINGLE","legName":"ENTRY_LEG""#);
        body.replace(r#""triggerPrice":0"#, r#""triggerPrice":91.0"#)
    });
    let wishes = [
        ("several", OrderRequest::multi("several", 101.0)),
        ("several by key", OrderRequest::multi("bykey", 102.0).under("k-several")),
        ("an alert", alert("alert")),
        ("an alert by key", alert("alert-key").under("k-alert")),
        ("super", OrderRequest::super_order(Some("super"), 103.0)),
        ("super by key", OrderRequest::super_order(None, 103.0).under("k-super")),
        ("forever", OrderRequest::forever(Some("forever"), 104.0)),
        ("forever by key", OrderRequest::forever(None, 105.0).under("k-forever")),
        ("slicing by key", OrderRequest::slicing(None, 106.0).under("k-slicing")),
        ("a change by key", OrderRequest::modify(&waiting, 107.0).under("k-change")),
        ("a forever order's change by key", change_forever.under("k-forever-change")),
        ("a cancel by key", OrderRequest::cancel(&waiting).under("k-cancel")),
    ];
    let before = arrived(&world);
    let first: Vec<_> = wishes.iter().map(|(_, wish)| send(&world, wish)).collect();
    for ((what, _), told) in wishes.iter().zip(&first) {
        assert_eq!((told.status, told.outcome()), (200, "executed"), "{what}: {told:?}");
        assert_eq!(told.repeat_of(), "", "{what}: {told:?}");
    }
    let (once, books) = (arrived(&world), made(&world));
    assert_eq!(once - before, wishes.len());
    for round in ["at once", "after kill -9"] {
        if round == "after kill -9" {
            world.gateway.kill9();
            world.start_again();
        }
        for ((what, wish), first) in wishes.iter().zip(&first) {
            let again = send(&world, wish);
            let what = format!("{what}, {round}: {again:?}");
            assert_eq!((again.status, again.outcome()), (200, "executed"), "{what}");
            assert_eq!(again.repeat_of(), first.header("sixgate-request-id"), "{what}");
            assert_eq!(again.order_id(), first.order_id(), "{what}");
        }
        // One of several ids is enough to know it by.
        let other = send(&world, OrderRequest::place(Some("severalx2"), 101.0));
        assert_eq!((other.status, other.code().as_str()), (422, "idempotency_conflict"), "{round}: {other:?}");
        assert_eq!((arrived(&world), made(&world)), (once, books), "{round}");
    }
}

/// A lax server takes these for its own; the gateway must not be the only one who does not.
#[test]
fn a_write_in_another_spelling_is_refused_with_the_right_one_and_a_cancel_is_put_right() {
    let world = world();
    for lax in [false, true] {
        habits(&world, |habits| habits.lax_paths = lax);
        let before = arrived(&world);
        for path in ["/v2/orders/", "/V2/orders", "/orders", "/v2/ORDERS", "/orders/"] {
            let mut wish = OrderRequest::place(Some("spelt"), 100.0);
            wish.path = path.to_owned();
            let told = send(&world, &wish);
            assert_eq!((told.status, told.outcome()), (400, "not_sent"), "{path}: {told:?}");
            let detail = told.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("/v2/orders") && !detail.contains("/v2/orders/"), "{path}: {detail}");
        }
        for path in ["//v2/orders", "/v2/./orders", "/v2/x/../orders", "/v2/%6Frders", "/v2/orders;a=b", "/v2//orders"]
        {
            let mut wish = OrderRequest::place(Some("spelt"), 100.0);
            wish.path = path.to_owned();
            let told = send(&world, &wish);
            assert_eq!(told.status, 400, "{path}: {told:?}");
        }
        assert_eq!(arrived(&world), before, "something of that arrived");
        // A slip locks nobody out.
        let id = format!("spelt-{lax}");
        let order = send(&world, OrderRequest::place(Some(&id), 100.0)).order_id();
        let again = [format!("/orders/{order}"), format!("/V2/Orders/{order}"), format!("/v2/orders/{order}/")];
        for halted in [false, true] {
            let halt = json!({ "halted": halted, "reason": if halted { "a test" } else { "" } });
            assert_eq!(world.gateway.admin().put("/v1/accounts/a1/halt", &halt).0, 200);
            for path in &again {
                let told = send(&world, Ask::new("DELETE", path));
                // The first of them cancels it, and the broker refuses the others; all of them arrive.
                assert!(["executed", "rejected"].contains(&told.outcome()), "{path}: {told:?}");
                assert!(writes(&world).last().unwrap().path_and_query.ends_with(&format!("/v2/orders/{order}")));
            }
            let told = send(&world, Ask::new("DELETE", "/Positions/"));
            is_executed(&told);
            assert_eq!(writes(&world).last().unwrap().path_and_query, "/v2/positions");
        }
        let row = world.broker.orders(&world.traders[0].client_id).into_iter().find(|row| row["orderId"] == *order);
        assert_eq!(row.unwrap()["orderStatus"], "CANCELLED");
        let halt = json!({ "halted": false, "reason": "" });
        assert_eq!(world.gateway.admin().put("/v1/accounts/a1/halt", &halt).0, 200);
        // A read goes as it was written.
        let read = send(&world, Ask::new("GET", "/V2/orders"));
        assert_eq!(read.status == 200, lax, "{read:?}");
    }
    assert_eq!(made(&world), 2);
}
