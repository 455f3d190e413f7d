//! A host that gives too little: of file descriptors, and of readers of what is printed. Orders go on, nobody is told
//! that a line or an address is at fault, and what is wrong stands in the log once.

mod descriptors;
mod log;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::caller::{Caller, Reply, basic, connect, request, tunnel};
use crate::support::engine::{HOST, OrderRequest};
use crate::support::net::Ns;
use crate::support::world::{World, config, pins};
use crate::support::{Gateway, Ready};

/// Whatever is waited for comes within this on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The configuration of these tests.
fn text(more: &str) -> String {
    config(&format!("{more}\n{}", pins()))
}

/// Start the gateway anew from a shell that does this first.
fn start_from(world: &mut World, shell: &str, more: &str) {
    start_with(world, shell, &text(more));
}

/// The same with a whole configuration.
fn start_with(world: &mut World, shell: &str, config: &str) {
    if world.gateway.ended().is_none() {
        world.gateway.terminate();
    }
    let script = world.dir.path().join("start.sh");
    let lines = format!("#!/bin/sh\nset -e\n{shell}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_sixgate"));
    std::fs::write(&script, lines).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let place = world.net.place(Ns::Gateway);
    world.gateway = Gateway::start_program(&script, &place, config, world.dir.path(), Ready::Readyz, |_| {});
}

/// An order that the broker takes, from an engine that connects for it, and how long it took.
fn trades(world: &World, at: SocketAddr, price: f64) -> Duration {
    let began = Instant::now();
    let ns = if at.ip().is_loopback() { Ns::Gateway } else { Ns::Caller };
    let told = world.net.in_ns(ns, || async { OrderRequest::place(None, price).send(at, &world.traders[0]).await });
    let told = told.expect("an answer");
    assert_eq!((told.status, told.outcome.as_str()), (200, "executed"), "{told:?}");
    began.elapsed()
}

/// Send an order on a connection that is kept.
async fn place(caller: &mut Caller, world: &World, price: f64) -> Reply {
    let trader = &world.traders[0];
    let auth = basic(&trader.name, &trader.key);
    let body = OrderRequest::place(None, price).body.unwrap();
    let target = format!("http://{HOST}/v2/orders");
    caller.send(request("POST", &target, HOST, &[("proxy-authorization", &auth)], Some(&body))).await.unwrap()
}

/// A line of the metrics, and 0 where there is none.
fn metric(world: &World, name: &str) -> u64 {
    world.gateway.metric(name).unwrap_or_default() as u64
}
