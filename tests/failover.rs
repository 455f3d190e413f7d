//! How long a failover takes, as the caller sees it. Printed, not asserted: a busy machine
//! has its own ideas of time. What is asserted is the way that the orders took.
//!
//! Bounds, of what is configured here: a line that refuses, or an address that is gone,
//! costs nothing but the other leg; a line that swallows packets costs the first order
//! `egress.connect_timeout` where a connection has to be made, and where one was kept it
//! is told "unknown" after `egress.user_timeout` (or `orders.response_timeout`, whichever
//! is less) and `orders.reconcile_for`. With both legs warm no order pays a handshake.

use std::time::{Duration, Instant};

use crate::support::engine::{OrderAnswer, OrderRequest};
use crate::support::net::{Ns, Uplink};
use crate::support::wait::wait_for;
use crate::support::world::{LISTENER, World, config, pins};

const LIMIT: Duration = Duration::from_secs(30);

fn world(warm: u8) -> World {
    let orders = "[orders]\nresponse_timeout = \"3s\"\nreconcile_for = \"2s\"\n";
    let text = config(&format!("user_timeout = \"1s\"\n{}\n{orders}", pins()))
        .replace("warm = 0", &format!("warm = {warm}\nwarm_hours = \"always\"\ndwell = \"10s\""));
    let world = World::up_with(1, &text);
    if warm > 0 {
        // Each leg is looked at on a connection of its own, and keeps another one.
        wait_for("both legs to be warm", LIMIT, || {
            let looked = world.broker.seen().iter().filter(|seen| seen.path_and_query == "/v2/ip/getIP").count();
            (world.broker.handshakes() >= 4 && looked == 2).then_some(())
        });
    }
    world
}

fn place(world: &World) -> (OrderAnswer, Duration) {
    let began = Instant::now();
    let told = world
        .net
        .in_ns(Ns::Caller, || async { OrderRequest::place(None, 100.0).send(LISTENER, &world.traders[0]).await });
    // The thread and its runtime are a few hundred microseconds of this.
    (told.expect("no answer"), began.elapsed())
}

/// Break it, then place orders one after another until one is carried out by the secondary.
fn measure(what: &str, warm: u8, bound: &str, breaks: impl FnOnce(&World)) {
    let world = world(warm);
    if warm > 0 {
        let (told, _) = place(&world);
        assert_eq!((told.outcome.as_str(), told.leg.as_str()), ("executed", "primary"), "{told:?}");
    }
    let before = world.broker.handshakes();
    breaks(&world);
    let began = Instant::now();
    let mut lost = Vec::new();
    let took = wait_for("an order by the secondary", LIMIT, || {
        let (told, took) = place(&world);
        if told.outcome == "executed" && told.leg == "secondary" {
            return Some(took);
        }
        // A kept connection swallowed it: the one thing that nobody can know.
        assert_eq!(told.outcome, "unknown", "{told:?}");
        lost.push(took);
        None
    });
    let whole = began.elapsed();
    let (next, after) = place(&world);
    assert_eq!((next.outcome.as_str(), next.leg.as_str()), ("executed", "secondary"), "{next:?}");
    let kind = if warm > 0 { "warm" } else { "cold" };
    println!(
        "{what:13} {kind}: {whole:9.1?} to the first order by the secondary, which took {took:.1?}; lost before {lost:.1?}; the next {after:.1?} (bound: {bound})"
    );
    if warm > 0 {
        let orders = world.broker.seen();
        let order = orders.iter().filter(|seen| seen.method == "POST" && seen.executed).nth(1).unwrap();
        assert_eq!(*order.peer.ip(), world.traders[0].pair.secondary.ip());
        if lost.is_empty() {
            assert!(
                order.connection <= before,
                "connection {} was made after the failure, at {before}",
                order.connection
            );
        }
    }
}

#[test]
fn how_long_a_refused_connection_takes() {
    measure("refused", 0, "the other leg's handshake", |world| world.net.uplink(1, Uplink::Down));
}

#[test]
fn how_long_an_address_that_is_gone_takes() {
    let gone = |world: &World| {
        world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
        wait_for("the leg to trip", LIMIT, || {
            let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
            (account["legs"][0]["state"] == "tripped").then_some(())
        });
    };
    measure("address gone", 0, "the other leg's handshake", gone);
    measure("address gone", 1, "nothing: no handshake", gone);
}

#[test]
fn how_long_a_silent_line_takes() {
    measure("silent drop", 0, "egress.connect_timeout = 1s", |world| world.net.uplink(1, Uplink::Silent));
    let bound = "egress.user_timeout = 1s + orders.reconcile_for = 2s for what was on the kept connection";
    measure("silent drop", 1, bound, |world| world.net.uplink(1, Uplink::Silent));
}
