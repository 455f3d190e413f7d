//! Name service that fails, on the real binary in namespaces: orders go on by what is known, no leg is blamed, and
//! whoever has to mend it is told what is wrong.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::support::caller::{Caller, Reply, connect, request};
use crate::support::name_server::{NameServer, Says};
use crate::support::net::{self, Ns, NsRuntime};
use crate::support::wait_until;
use crate::support::world::{LOOPBACK, World, config};

const PATIENCE: Duration = Duration::from_secs(60);
/// Where the broker is and where it moves to: nobody's addresses, but such as the guard lets pass.
const BROKER: Ipv6Addr = Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0xb);
const MOVED: Ipv6Addr = Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0xc);

/// Every order is dialled for, since no connection lies idle for the next one; and there may be many.
fn configured(more: &str) -> (String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("limits.toml");
    let kinds = ["order", "data", "quote", "other"];
    let windows = kinds.map(|kind| format!("{kind} = [{{ count = 100000, per = \"1s\" }}]\n")).concat();
    let whole = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n[windows]\n{windows}"
    );
    std::fs::write(&table, whole).unwrap();
    let limits = format!("[limits]\nfile = \"{}\"\n", table.display());
    (config(&format!("idle_timeout = \"1ms\"\n{more}\n{limits}")), dir)
}

/// A name server at one of the broker's addresses, which lives as long as the runtime.
fn name_server(runtime: &NsRuntime, at: SocketAddr, says: Says) -> NameServer {
    runtime.run(NameServer::start(at, says))
}

fn at(last: u16, port: u16) -> SocketAddr {
    SocketAddr::new(net::broker(last).into(), port)
}

fn broker_is_at(world: &World, address: Ipv6Addr) {
    world.net.ip(Ns::Broker, &format!("-6 address add {address}/128 dev lo nodad"));
}

fn place_with(world: &World, headers: &[(&str, &str)]) -> Reply {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = format!(
        r#"{{"correlationId":"n{id}","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}}"#
    );
    world.net.in_ns(Ns::Gateway, || async move {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let order = request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", headers, Some(&body));
        caller.send(order).await.unwrap()
    })
}

fn place(world: &World) -> Reply {
    place_with(world, &[])
}

/// An order that left and was taken, by the primary.
#[track_caller]
fn trades(world: &World) {
    let before = world.broker.orders(&world.traders[0].client_id).len();
    let reply = place(world);
    assert_eq!((reply.status, reply.header("sixgate-leg")), (200, "primary"), "{reply:?}");
    assert_eq!(world.broker.orders(&world.traders[0].client_id).len(), before + 1);
}

#[track_caller]
fn no_leg_is_blamed(world: &World) {
    let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
    for leg in account["legs"].as_array().unwrap() {
        assert_eq!(leg["state"], "admits", "{account}");
    }
}

/// The detail of an order that was refused, and was not sent.
#[track_caller]
fn refused(reply: &Reply) -> String {
    let body = reply.json();
    assert_eq!((reply.status, body["code"].as_str()), (503, Some("egress_unavailable")), "{body}");
    assert_eq!(body["outcome"], "not_sent", "{body}");
    body["detail"].as_str().unwrap().to_owned()
}

/// The kind: silence, "no such name" and a lie, each for longer than any answer is kept, and orders by new
/// connections all the while. Then the broker really moves.
#[test]
fn orders_go_on_whatever_the_name_server_does_and_follow_a_broker_that_moves() {
    let (text, _dir) = configured(&format!("name_servers = [\"{}\"]", at(3, 5353)));
    let world = World::up_with(1, &text);
    broker_is_at(&world, BROKER);
    let runtime = world.net.runtime(Ns::Broker);
    let says_so = |address| Says::Addresses(vec![address], 5);
    let server = name_server(&runtime, at(3, 5353), says_so(BROKER));
    trades(&world);
    for says in [Says::Nothing, Says::Error(3), Says::address(Ipv6Addr::LOCALHOST)] {
        server.says(says.clone());
        let asked = server.asked();
        // Until it has failed more than once: the answer is over, and its failure remembered.
        let mut orders = 0;
        wait_until("it is asked again and again", PATIENCE, || {
            let began = Instant::now();
            trades(&world);
            orders += 1;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(2), "{says:?} held an order up for {took:?}");
            server.asked() >= asked + if says == Says::Nothing { 4 } else { 2 }
        });
        println!("{says:?}: {orders} orders");
        no_leg_is_blamed(&world);
        server.says(says_so(BROKER));
        let asked = server.asked();
        wait_until("it is asked again", PATIENCE, || server.asked() > asked);
    }
    let log = world.gateway.log();
    let told = log.matches("What is sent goes on to the last known address").count();
    assert!((1..=3).contains(&told), "told {told} times: {log}");
    assert!(log.contains("gave no answer within"), "{log}");

    broker_is_at(&world, MOVED);
    world.net.ip(Ns::Broker, &format!("-6 address del {BROKER}/128 dev lo"));
    server.says(says_so(MOVED));
    let began = Instant::now();
    wait_until("orders follow the broker", PATIENCE, || place(&world).status == 200);
    println!("followed the broker after {:?}", began.elapsed());
}

/// A host that boots before its network: no servers in the file, then one by a rename, then another by a link
/// while the first is dead. Nobody restarts anything.
#[test]
fn an_empty_resolv_conf_at_boot_is_read_when_it_is_filled() {
    let (text, _dir) = configured("");
    let world = World::up_with_etc(1, &text);
    broker_is_at(&world, BROKER);
    let runtime = world.net.runtime(Ns::Broker);
    let server = name_server(&runtime, at(3, 53), Says::Addresses(vec![BROKER], 5));
    let detail = refused(&place(&world));
    assert!(detail.contains("/etc/resolv.conf cannot be read") && detail.contains("api.dhan.co"), "{detail}");
    world.etc().write("resolv.conf", "# by nobody yet\n");
    let names_none = || refused(&place(&world)).contains("/etc/resolv.conf names no server");
    wait_until("the file is empty and not missing", PATIENCE, names_none);
    world.etc().write("resolv.conf", &format!("nameserver {}", &at(3, 53).ip().to_string()[..9]));
    no_leg_is_blamed(&world);

    world.etc().replace("resolv.conf", &format!("options timeout:1\nnameserver {}\n", at(3, 53).ip()));
    let began = Instant::now();
    wait_until("orders leave", PATIENCE, || place(&world).status == 200);
    println!("orders left {:?} after the file was filled", began.elapsed());
    no_leg_is_blamed(&world);

    server.says(Says::Nothing);
    let second = name_server(&runtime, at(2, 53), Says::Addresses(vec![BROKER], 5));
    world.etc().write("stub-resolv.conf", &format!("nameserver {}\n", at(2, 53).ip()));
    world.etc().link("resolv.conf", "stub-resolv.conf");
    wait_until("the second server is asked", PATIENCE, || {
        trades(&world);
        second.asked() > 0
    });
    no_leg_is_blamed(&world);
}

/// The first start with dead name service: a text for whoever has to mend it, within the order's own time, and the
/// first server's silence is not waited for again where a second one answers.
#[test]
fn a_host_whose_address_was_never_known_says_what_is_wrong_and_trades_when_it_is_mended() {
    let servers = format!("name_servers = [\"{}\", \"{}\"]", at(3, 5353), at(2, 5353));
    let (text, _dir) = configured(&servers);
    let mut world = World::up_with(1, &text);
    broker_is_at(&world, BROKER);
    let runtime = world.net.runtime(Ns::Broker);
    name_server(&runtime, at(3, 5353), Says::Nothing);
    let second = name_server(&runtime, at(2, 5353), Says::Nothing);
    let detail = refused(&place_with(&world, &[("sixgate-leave-within", "300ms")]));
    // The gateway looked it up for itself before the servers ran; that failure may be what is known by then.
    let told = ["ran out while the address of api.dhan.co was looked up", "the address of api.dhan.co is not known"];
    assert!(told.iter().any(|told| detail.contains(told)), "{detail}");
    wait_until("the servers were silent for long enough", PATIENCE, || {
        let detail = refused(&place(&world));
        detail.contains(&format!("{} gave no answer within", at(3, 5353)))
            && detail.contains(&format!("{} gave no answer within", at(2, 5353)))
            && detail.contains("egress.name_servers")
    });
    no_leg_is_blamed(&world);
    assert!(world.broker.seen().is_empty(), "{:?}", world.broker.seen());
    assert!(world.gateway.has_logged("resolve_failed"), "{}", world.gateway.log());

    second.says(Says::address(BROKER));
    let began = Instant::now();
    wait_until("orders leave", PATIENCE, || place(&world).status == 200);
    println!("orders left {:?} after the second server answered", began.elapsed());
    no_leg_is_blamed(&world);

    // It boots again, and name service is dead again: the address is known from before.
    wait_until("it is kept", PATIENCE, || world.dir.path().join("state/names.json").exists());
    world.gateway.terminate();
    second.says(Says::Nothing);
    world.start_again();
    let told = place(&world);
    assert_eq!(told.status, 200, "{told:?}");
}

/// Half of an order's time goes by before its name is known: the rest is for the legs, and neither is blamed.
#[test]
fn what_a_name_takes_is_taken_from_no_leg() {
    let (text, _dir) = configured(&format!("name_servers = [\"{}\"]", at(3, 5353)));
    let world = World::up_with(1, &text);
    broker_is_at(&world, BROKER);
    let runtime = world.net.runtime(Ns::Broker);
    let server = name_server(&runtime, at(3, 5353), Says::AtLength(Box::new(Says::address(BROKER))));
    let began = Instant::now();
    let reply = place_with(&world, &[("sixgate-leave-within", "2s")]);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(server.asked() >= 3, "asked {} times", server.asked());
    println!("left after {:?}, of which the name took one second", began.elapsed());
    no_leg_is_blamed(&world);
}
