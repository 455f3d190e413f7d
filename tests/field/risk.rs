//! What takes risk away is let through in every harmless spelling; what adds risk is not made harder than it need be.

use std::time::{Duration, Instant};

use serde_json::json;
use sixgate::sandbox::AddressForm;
use tokio::net::TcpStream;

use super::{Ask, ReplyOutcome, TERMS, arrived, habits, is_executed, limited, made, send, text, world};
use crate::support::caller::{Caller, Reply};
use crate::support::engine::OrderRequest;
use crate::support::net::{Ns, Uplink};
use crate::support::world::{LOOPBACK, World};

/// On the listener that asks for no key.
fn keyless(world: &World, ask: &Ask) -> Reply {
    world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(TcpStream::connect(LOOPBACK).await.unwrap()).await;
        caller.send(ask.request(None)).await.expect("no answer")
    })
}

const KILL: &str = "/v2/killswitch?killSwitchStatus=ACTIVATE";

/// Each of these is what some program sends when its owner wants out.
#[test]
fn a_kill_switch_and_a_cancel_go_in_every_harmless_spelling() {
    let world = world();
    for ask in [
        Ask::new("POST", KILL),
        Ask::new("POST", KILL).bytes("{}"),
        Ask::new("POST", KILL).bytes("").with("content-type", "application/x-www-form-urlencoded"),
        Ask::new("POST", KILL).json("null"),
        Ask::new("POST", "/killswitch/?killSwitchStatus=ACTIVATE"),
        Ask::new("DELETE", "/v2/positions").bytes("").with("content-type", "text/plain"),
    ] {
        let before = arrived(&world);
        is_executed(&keyless(&world, &ask));
        assert_eq!(arrived(&world), before + 1, "{ask:?}");
        is_executed(&send(&world, ask));
    }
    is_executed(&send(&world, Ask::new("POST", "/v2/killswitch?killSwitchStatus=DEACTIVATE")));
    for (n, body) in ["[]", "null", "\"\"", "{}", "", "orderId=1", "\u{feff}{}"].into_iter().enumerate() {
        for typed in [true, false] {
            let order = send(&world, OrderRequest::place(Some(&format!("out-{n}-{typed}")), 100.0)).order_id();
            let cancel = Ask::new("DELETE", &format!("/v2/orders/{order}"));
            let cancel = if typed { cancel.json(body) } else { cancel.bytes(body) };
            is_executed(&if n % 2 == 0 { keyless(&world, &cancel) } else { send(&world, cancel) });
        }
    }
    // The page of a browser that finds the port stays outside.
    let page = Ask::new("POST", KILL).with("origin", "https://example.com");
    let told = keyless(&world, &page);
    assert_eq!((told.status, told.code().as_str()), (403, "browser_refused"), "{told:?}");
    let form = Ask::new("POST", "/v2/orders").bytes(OrderRequest::place(None, 100.0).body.unwrap());
    let told = keyless(&world, &form.with("content-type", "text/plain"));
    assert_eq!((told.status, told.code().as_str()), (403, "browser_refused"), "{told:?}");
}

/// An engine that ran wild must still be able to cancel.
#[test]
fn a_used_up_minute_and_hour_refuse_no_cancel() {
    let windows = r#"{ count = 10, per = "1s" }, { count = 3, per = "1m" }, { count = 3, per = "1h" }"#;
    let (world, _dir) = limited(windows, "max_wait = \"10ms\"");
    let mut orders = Vec::new();
    let refused = loop {
        let told = send(&world, OrderRequest::place(None, 100.0));
        if told.status != 200 {
            break told;
        }
        orders.push(told.order_id());
        assert!(orders.len() < 5);
    };
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{refused:?}");
    for order in orders.iter().chain(&orders).chain(&orders) {
        let told = send(&world, OrderRequest::cancel(order));
        assert!(["executed", "rejected"].contains(&told.outcome()), "{told:?}");
    }
    is_executed(&send(&world, OrderRequest::new("DELETE", "/v2/positions", None)));
    is_executed(&send(&world, Ask::new("POST", KILL)));
    assert_eq!(arrived(&world), orders.len() * 4 + 2);
}

#[test]
fn a_byte_order_mark_is_taken_away_and_utf16_is_named() {
    let world = world();
    let body = format!(r#"{{"correlationId":"marked",{TERMS},"quantity":1,"price":100.0}}"#);
    let marked = send(&world, Ask::new("POST", "/v2/orders").json([b"\xef\xbb\xbf", body.as_bytes()].concat()));
    is_executed(&marked);
    let again = send(&world, Ask::new("POST", "/v2/orders").json(body.clone()));
    assert_eq!((again.order_id(), again.repeat_of()), (marked.order_id(), marked.header("sixgate-request-id")));
    for little in [true, false] {
        let units = std::iter::once(0xfeff).chain(body.encode_utf16());
        let bytes: Vec<u8> = units.flat_map(|u| if little { u.to_le_bytes() } else { u.to_be_bytes() }).collect();
        let told = send(&world, Ask::new("POST", "/v2/orders").json(bytes));
        assert_eq!((told.status, told.outcome()), (400, "not_sent"), "{told:?}");
        assert!(told.json()["detail"].as_str().unwrap().contains("UTF-16"), "{told:?}");
    }
    assert_eq!((arrived(&world), made(&world)), (1, 1));
}

/// A library repeats by `Retry-After`, and no wait helps here.
#[test]
fn the_last_changes_of_an_order_are_counted_down_and_none_is_promised_after_them() {
    let (world, _dir) = limited(r#"{ count = 100, per = "1s" }"#, "");
    let order = send(&world, OrderRequest::place(Some("stop"), 100.0)).order_id();
    for n in 1..=25 {
        let told = send(&world, OrderRequest::modify(&order, 100.0 + f64::from(n)));
        is_executed(&told);
        let counted = if n < 20 { String::new() } else { format!("{n} of 25") };
        assert_eq!(told.header("sixgate-order-changes"), counted, "{n}");
    }
    let told = send(&world, OrderRequest::modify(&order, 99.0));
    assert_eq!((told.status, told.code().as_str(), told.outcome()), (429, "rate_limited", "not_sent"), "{told:?}");
    assert_eq!(told.header("retry-after"), "", "{told:?}");
    assert!(told.json()["detail"].as_str().unwrap().contains("cancel"), "{told:?}");
    assert_eq!(arrived(&world), 26);
    is_executed(&send(&world, OrderRequest::cancel(&order)));
    is_executed(&send(&world, OrderRequest::place(Some("anew"), 99.0)));
}

/// Half of what is left of the deadline is for a primary that does not answer.
#[test]
fn a_silent_primary_leaves_time_for_the_secondary() {
    let text = text("leave_within = \"6s\"").replace("connect_timeout = \"1s\"", "connect_timeout = \"15s\"");
    let world = World::up_with(1, &text);
    is_executed(&send(&world, OrderRequest::place(Some("before"), 100.0)));
    // What is there is closed, and nothing new is answered.
    world.broker.hang_up();
    world.wait_until_unconnected();
    world.net.uplink(1, Uplink::Silent);
    let began = Instant::now();
    let told = send(&world, OrderRequest::place(Some("fails-over"), 100.0));
    is_executed(&told);
    assert_eq!(told.header("sixgate-leg"), "secondary", "{told:?}");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!((arrived(&world), made(&world)), (2, 2));
}

/// A change of that one answer must not stop every account.
#[test]
fn an_account_trades_though_the_broker_does_not_say_which_address_it_saw() {
    use sixgate::sandbox::{Action, Fault};
    for (form, fault) in [
        (AddressForm::Unseen, None),
        (AddressForm::ErrorArray, None),
        (AddressForm::Full, Some(Action::BadGateway { executed: false })),
        (AddressForm::Full, Some(Action::Html { status: 200, executed: false })),
        (AddressForm::Full, Some(Action::Hang { executed: false })),
    ] {
        let mut world = World::up_with(0, &text(""));
        world.broker.set_address_form(form);
        if let Some(fault) = fault.clone() {
            world.broker.fault(Fault::new(fault).on("GET", "/v2/ip/getIP"));
        }
        let token = world.at_the_broker(1);
        let trader = world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
        let told = send(&world, OrderRequest::place(Some("unseen"), 100.0));
        assert_eq!((told.status, told.outcome()), (200, "executed"), "{form:?} {fault:?}: {told:?}");
        let sources: Vec<_> = super::writes(&world).iter().map(|seen| *seen.peer.ip()).collect();
        assert_eq!(sources, [trader.pair.primary.ip()], "{form:?} {fault:?}");
    }
}

/// With a registered pair and a broker that takes the primary only, what fails over is told what became of it.
#[test]
fn a_secondary_that_the_broker_refuses_loses_no_order() {
    let world = world();
    habits(&world, |habits| habits.secondary_refused = true);
    world.net.uplink(1, Uplink::Down);
    let told = send(&world, OrderRequest::place(Some("second"), 100.0));
    assert_eq!(told.outcome(), "rejected", "{told:?}");
    assert_eq!((arrived(&world), made(&world)), (1, 0));
}
