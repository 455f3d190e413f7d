//! Which leg, and when, on the real binary in namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod support;

use std::time::{Duration, Instant};

use support::Gateway;
use support::caller::{Caller, Reply, connect, request};
use support::net::{Ns, Uplink};
use support::wait::{wait_for, wait_until};
use support::world::{LOOPBACK, World, config, pins};

const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;
const DWELL: Duration = Duration::from_secs(1);
/// Far above what an order takes on a busy machine, and below the connect timeout where nothing is to be waited for.
const AT_ONCE: Duration = Duration::from_secs(8);
const LIMIT: Duration = Duration::from_secs(30);

/// One account, a dwell of a second, and a connect timeout that would be noticed.
fn world(legs: &str) -> World {
    World::up_with(1, &text(legs))
}

/// Where an address is gone, so that nobody may wait for it.
fn patient_world() -> World {
    World::up_with(1, &text("warm = 0").replace("connect_timeout = \"3s\"", "connect_timeout = \"9s\""))
}

fn text(legs: &str) -> String {
    config(&pins())
        .replace("warm = 0", &format!("dwell = \"1s\"\n{legs}"))
        .replace("connect_timeout = \"1s\"", "connect_timeout = \"3s\"\nuser_timeout = \"1s\"")
}

/// An order, and how long it took.
fn place(world: &World) -> (Reply, Duration) {
    world.net.in_ns(Ns::Gateway, || async {
        let began = Instant::now();
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let order = request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(ORDER));
        (caller.send(order).await.unwrap(), began.elapsed())
    })
}

#[track_caller]
fn goes_by(world: &World, leg: &str) {
    let (reply, took) = place(world);
    assert_eq!((reply.status, reply.header("sixgate-leg")), (200, leg), "{reply:?}");
    assert!(took < AT_ONCE, "by the {leg} after {took:?}");
}

/// State and reason of the primary.
fn primary(world: &World) -> (String, Option<String>) {
    let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
    let leg = &account["legs"][0];
    (leg["state"].as_str().unwrap().to_owned(), leg["reason"].as_str().map(str::to_owned))
}

fn tripped(reason: &str) -> (String, Option<String>) {
    ("tripped".to_owned(), Some(reason.to_owned()))
}

/// The same for an address of an interface and for an AnyIP prefix: gone, an order goes
/// by the secondary at once; back, by the primary after the dwell and not before.
fn goes_and_comes_back(world: &World, gone: &str, back: &str) {
    goes_by(world, "primary");
    assert_eq!(primary(world).0, "admits");

    world.net.ip(Ns::Gateway, gone);
    let began = Instant::now();
    wait_until("the leg to trip", LIMIT, || primary(world) == tripped("address_gone"));
    println!("tripped, and told by the API, {:?} after the address went", began.elapsed());
    goes_by(world, "secondary");

    let began = Instant::now();
    world.net.ip(Ns::Gateway, back);
    wait_until("the dwell to end", LIMIT, || primary(world).0 == "admits");
    assert!(began.elapsed() >= DWELL, "back after {:?}", began.elapsed());
    goes_by(world, "primary");
    let metrics = world.gateway.admin().get("/metrics").1;
    let metrics = metrics.as_str().unwrap();
    let change = r#"sixgate_leg_changes_total{from="admits",to="tripped",reason="address_gone"} 1"#;
    assert!(metrics.contains(change) && metrics.contains(r#"sixgate_legs{state="admits"} 2"#), "{metrics}");
}

#[test]
fn an_order_does_not_wait_for_an_address_that_left_the_interface() {
    let world = patient_world();
    world.net.ip(Ns::Gateway, "-6 address add 2001:db8:a1::1/128 dev lo nodad");
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    let change =
        |word| format!("-6 address {word} 2001:db8:a1::1/128 dev lo{}", if word == "add" { " nodad" } else { "" });
    goes_and_comes_back(&world, &change("del"), &change("add"));
}

#[test]
fn an_order_does_not_wait_for_a_prefix_that_is_routed_here_no_more() {
    let world = patient_world();
    let change = |word| format!("-6 route {word} local 2001:db8:a1::/64 dev lo");
    goes_and_comes_back(&world, &change("del"), &change("add"));
}

/// It was not there when the gateway started either: nobody has to find out by a timeout.
#[test]
fn an_address_that_never_was_here_is_not_waited_for() {
    let mut world = world("warm = 0");
    world.gateway.terminate();
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    world.gateway = Gateway::start(&world.net.place(Ns::Gateway), &text("warm = 0"), world.dir.path());
    wait_until("the leg to trip", LIMIT, || primary(&world) == tripped("address_gone"));
    goes_by(&world, "secondary");
}

/// Only the first order waits for a line that swallows packets.
#[test]
fn a_dead_line_is_left_until_it_has_worked_for_the_dwell() {
    let world = world("warm = 0");
    world.net.uplink(1, Uplink::Silent);
    let (reply, took) = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-leg")), (200, "secondary"), "{reply:?}");
    println!("the first order took {took:?}");
    for _ in 0..3 {
        goes_by(&world, "secondary");
    }
    assert_eq!(primary(&world), tripped("connect_timed_out"));
    world.net.uplink(1, Uplink::Up);
    wait_until("the dwell to end", LIMIT, || primary(&world).0 == "admits");
    goes_by(&world, "primary");
}

/// A connection that was good a moment ago: what was sent on it may have arrived, so
/// that order is unknown, but soon, and the next one is not lost in the same way.
#[test]
fn a_line_that_dies_under_a_kept_connection_costs_one_order_and_not_for_long() {
    let world = world("warm = 0");
    goes_by(&world, "primary");
    world.net.uplink(1, Uplink::Silent);
    let (reply, took) = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (504, "unknown"), "{reply:?}");
    // Without the socket's own timeout it would be orders.response_timeout (10 s), and then the asking (5 s).
    assert!(took < Duration::from_secs(10), "told after {took:?}");
    println!("told after {took:?}");
    wait_until("a probe to find out", LIMIT, || primary(&world) == tripped("connect_timed_out"));
    goes_by(&world, "secondary");
}

/// Both legs have a connection ready before anybody asks; the order after the failover
/// takes the secondary's.
#[test]
fn a_failover_pays_no_handshake() {
    let world = world("warm = 1\nwarm_hours = \"always\"");
    let ready = wait_for("both legs to be warm", LIMIT, || Some(world.broker.handshakes()).filter(|made| *made >= 2));
    goes_by(&world, "primary");
    assert_eq!(world.broker.handshakes(), ready, "the first order paid a handshake");
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    wait_until("the leg to trip", LIMIT, || primary(&world) == tripped("address_gone"));
    goes_by(&world, "secondary");
    let seen = world.broker.seen();
    let order = seen.last().unwrap();
    assert_eq!(*order.peer.ip(), world.traders[0].pair.secondary.ip());
    assert!(order.connection <= ready, "connection {} was made after {ready}", order.connection);
}
