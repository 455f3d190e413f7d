//! Which leg, and when, on the real binary in namespaces.

use std::io::Write;
use std::net::Ipv6Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::Gateway;
use crate::support::caller::{Caller, Reply, connect, request};
use crate::support::net::{Ns, Uplink};
use crate::support::wait::{wait_for, wait_until};
use crate::support::world::{LOOPBACK, World, config, pins};
use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault};

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
    // The kernel gives an address its route in a work queue of its own: on a busy machine the address would be gone between.
    wait_until("the address to have its route", LIMIT, || {
        !world.net.ip(Ns::Gateway, "-6 route show table local 2001:db8:a1::1").is_empty()
    });
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
    // The kernel gives the neighbour up about when the limit is reached, and the look was first to try.
    let reason = primary(&world).1;
    assert!(matches!(reason.as_deref(), Some("connect_timed_out" | "connect_failed")), "{reason:?}");
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
    // Each leg is looked at on a connection of its own, and keeps another one.
    let looked = |world: &World| world.broker.seen().iter().filter(|seen| is_get_ip(seen)).count();
    let ready = wait_for("both legs to be warm", LIMIT, || {
        let made = world.broker.handshakes();
        (made >= 4 && looked(&world) == 2).then_some(made)
    });
    goes_by(&world, "primary");
    let order = world.broker.seen().into_iter().find(|seen| seen.method == "POST").unwrap();
    let warm =
        |connection| world.broker.seen().iter().all(|seen| seen.connection != connection || seen.method == "POST");
    assert!(order.connection <= ready && warm(order.connection), "the first order paid a handshake");
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    wait_until("the leg to trip", LIMIT, || primary(&world) == tripped("address_gone"));
    goes_by(&world, "secondary");
    let seen = world.broker.seen();
    let order = seen.last().unwrap();
    assert_eq!(*order.peer.ip(), world.traders[0].pair.secondary.ip());
    assert!(order.connection <= ready, "connection {} was made after {ready}", order.connection);
}

fn is_get_ip(seen: &sixgate::sandbox::Seen) -> bool {
    seen.path_and_query == "/v2/ip/getIP"
}

/// Every packet from `from` leaves the gateway's host as if it were from `to`.
fn snat(world: &World, rules: &[(Ipv6Addr, Ipv6Addr)]) {
    let rules: String = rules.iter().map(|(from, to)| format!("ip6 saddr {from} snat to {to}\n")).collect();
    let table = format!(
        "table ip6 wrong\ndelete table ip6 wrong\n\
         table ip6 wrong {{ chain post {{ type nat hook postrouting priority srcnat; {rules}}}\n}}\n"
    );
    let mut nft = world.net.command(Ns::Gateway, "nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft -f -: {table}");
}

/// Nothing is known of its legs any more, and no connection of theirs is left.
fn restart(world: &mut World) {
    world.gateway.terminate();
    world.start_again();
}

/// Any request as account `a1`.
fn ask(world: &World, method: &str, path: &str, body: Option<&str>) -> Reply {
    world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        caller.send(request(method, &format!("http://api.dhan.co{path}"), "api.dhan.co", &[], body)).await.unwrap()
    })
}

fn journal(world: &World) -> Vec<Value> {
    let (status, page) = world.gateway.admin().get("/v1/orders?account=a1&kind=intent&limit=100");
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
}

/// Two accounts; what the first one sends by its primary arrives from the second one's.
#[test]
fn what_arrives_from_another_accounts_address_is_no_more_than_the_question_that_finds_out() {
    let mut world = World::up_with(2, &text("warm = 0"));
    let [first, second] = [world.traders[0].clone(), world.traders[1].clone()];
    snat(&world, &[(first.pair.primary.ip(), second.pair.primary.ip())]);
    restart(&mut world);
    world.broker.clear_seen();

    goes_by(&world, "secondary");
    let (reply, _) = place(&world);
    assert_eq!(reply.header("sixgate-source"), first.pair.secondary.to_string());
    assert_eq!(ask(&world, "GET", "/v2/holdings", None).header("sixgate-leg"), "secondary");
    assert_eq!(primary(&world), tripped("seen_as_another"));
    let (seen, own) = (world.broker.seen(), &first.client_id);
    let arrived = |address: Ipv6Addr| {
        seen.iter().filter(move |s| *s.peer.ip() == address && s.account.as_ref() == Some(own)).collect::<Vec<_>>()
    };
    let theirs = arrived(second.pair.primary.ip());
    assert!(theirs.len() >= 2 && theirs.iter().all(|seen| is_get_ip(seen)), "{theirs:?}");
    assert_ne!(theirs[0].connection, theirs[1].connection);
    assert!(arrived(first.pair.primary.ip()).is_empty());
    let sources: Vec<_> = journal(&world).iter().map(|order| order["source"].clone()).collect();
    assert!(
        sources.len() >= 2 && sources.iter().all(|source| *source == first.pair.secondary.to_string()),
        "{sources:?}"
    );

    // A pin is no proof.
    let (status, answer) = world.gateway.admin().put("/v1/accounts/a1/leg", &json!({ "pin": "primary" }));
    assert_eq!(status, 200, "{answer}");
    let (reply, _) = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (503, "not_sent"), "{reply:?}");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&format!("as {}", second.pair.primary)) && detail.contains("masquerade"), "{detail}");
}

/// Out is always open, but not by another account's address.
#[test]
fn with_both_legs_seen_as_another_a_cancel_goes_by_nobodys_address_and_an_order_does_not() {
    let mut world = World::up_with(2, &text("warm = 0"));
    let (reply, _) = place(&world);
    let id = reply.json()["orderId"].as_str().unwrap().to_owned();
    let [first, second] = [world.traders[0].clone(), world.traders[1].clone()];
    let nobodys: Ipv6Addr = "2001:db8:a1::ff".parse().unwrap();
    for (seen_as, goes) in [(second.pair.primary.ip(), false), (nobodys, true)] {
        snat(&world, &[(first.pair.primary.ip(), seen_as), (first.pair.secondary.ip(), seen_as)]);
        restart(&mut world);
        let (order, _) = place(&world);
        assert_eq!((order.status, order.header("sixgate-outcome")), (503, "not_sent"), "{order:?}");
        let read = ask(&world, "GET", "/v2/orders", None);
        assert_eq!(read.status, 503, "{read:?}");
        let before = world.broker.seen().len();
        let cancel = ask(&world, "DELETE", &format!("/v2/orders/{id}"), None);
        let arrived = world.broker.seen()[before..].iter().any(|seen| seen.method == "DELETE");
        assert_eq!(arrived, goes, "{cancel:?}");
    }
}

/// What the broker does not say, it may have its reasons for: nobody is stopped by it.
#[test]
fn a_broker_that_does_not_say_what_it_saw_stops_nobody_and_validate_says_so() {
    let mut world = World::up_with(1, &text("warm = 0"));
    let documented = json!({ "primaryIP": "NA", "secondaryIP": "NA" });
    let error = json!([{ "message": "Something went wrong", "status": "ERROR" }]);
    for body in [documented, error, json!("strange")] {
        world.broker.clear_faults();
        world.broker.fault(Fault::new(Action::Refuse { status: 200, body: body.clone() }).on("GET", "/v2/ip/getIP"));
        restart(&mut world);
        goes_by(&world, "primary");
        let (_, told) = world.gateway.admin().post("/v1/accounts/a1/validate", &json!({}));
        assert!(told.to_string().contains("not proved"), "{body}: {told}");
        assert_eq!(primary(&world).0, "admits", "{body}");
    }
}

/// A question that is not answered costs a second, once.
#[test]
fn a_broker_that_does_not_answer_the_question_delays_one_order_by_a_second() {
    let mut world = World::up_with(1, &text("warm = 0"));
    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("GET", "/v2/ip/getIP"));
    restart(&mut world);
    let (reply, took) = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-leg")), (200, "primary"), "{reply:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let (reply, took) = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-leg")), (200, "primary"), "{reply:?}");
    assert!(took < Duration::from_millis(900), "the second one waited too: {took:?}");
}

/// Which way packets go after an address came back, nobody knows: it is asked before anything is signed.
#[test]
fn a_leg_whose_address_came_back_is_asked_about_again_before_it_signs() {
    let world = patient_world();
    goes_by(&world, "primary");
    let [own, other] = [world.traders[0].pair.primary.ip(), "2001:db8:a1::ff".parse().unwrap()];
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    wait_until("the leg to trip", LIMIT, || primary(&world) == tripped("address_gone"));
    snat(&world, &[(own, other)]);
    world.net.ip(Ns::Gateway, "-6 route add local 2001:db8:a1::/64 dev lo");
    wait_until("the leg to be known for another", LIMIT, || {
        let (reply, _) = place(&world);
        assert_ne!(reply.header("sixgate-leg"), "primary", "{reply:?}");
        primary(&world).1.as_deref() == Some("seen_as_another")
    });
    let seen = world.broker.seen();
    assert!(seen.iter().filter(|seen| *seen.peer.ip() == other).all(is_get_ip), "{seen:?}");
}

fn read(world: &World) -> Reply {
    ask(world, "GET", "/v2/orders", None)
}

fn quote(world: &World) -> Reply {
    ask(world, "POST", "/v2/marketfeed/ltp", Some(r#"{"NSE_EQ":[11536]}"#))
}

fn hangs(world: &World, times: u32) {
    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("GET", "/v2/orders").times(times));
}

/// A way that loses replies and lets handshakes pass held every read for its whole timeout, for ever.
#[test]
fn a_read_without_a_reply_goes_by_the_other_leg_and_those_after_it_too_but_no_order() {
    let world = World::up_with(1, &text("warm = 0").replace("user_timeout", "response_timeout = \"2s\"\nuser_timeout"));
    goes_by(&world, "primary");
    hangs(&world, 1);
    // Until the leg has carried a whole reply again, nothing proves that it does.
    let asked = Fault::new(Action::Close { executed: false }).on("GET", "/v2/ip/getIP").times(3);
    world.broker.fault(asked);
    let told = read(&world);
    assert_eq!((told.status, told.header("sixgate-leg")), (200, "secondary"), "{told:?}");
    assert_eq!(primary(&world), tripped("no_reply"));
    assert_eq!(read(&world).header("sixgate-leg"), "secondary");
    goes_by(&world, "primary");
    wait_until("a whole reply by it, and the dwell", LIMIT, || primary(&world).0 == "admits");
    assert_eq!(read(&world).header("sixgate-leg"), "primary");
    goes_by(&world, "primary");
}

/// The broker has slow pages: what neither leg answers says nothing of either.
#[test]
fn a_read_that_neither_leg_answers_moves_nothing() {
    let world = World::up_with(1, &text("warm = 0").replace("user_timeout", "response_timeout = \"2s\"\nuser_timeout"));
    goes_by(&world, "primary");
    hangs(&world, 2);
    let told = read(&world);
    assert_eq!((told.status, told.json()["code"].as_str()), (502, Some("upstream_failed")), "{told:?}");
    let legs = world.gateway.admin().get("/v1/accounts/a1").1["legs"].clone();
    assert!(legs.as_array().unwrap().iter().all(|leg| leg["state"] == "admits"), "{legs:#}");
    assert_eq!(read(&world).header("sixgate-leg"), "primary");
}

/// Who has no other leg is told at once, and what to do: with freebind a connect from it ran into its timeout.
#[test]
fn addresses_that_are_gone_are_not_waited_for_though_no_other_leg_is_left() {
    let world = patient_world();
    goes_by(&world, "primary");
    let change = |word: &str| {
        for prefix in ["2001:db8:a1::/64", "2001:db8:a2::/64"] {
            world.net.ip(Ns::Gateway, &format!("-6 route {word} local {prefix} dev lo"));
        }
    };
    let gone = |leg: &Value| leg["reason"] == "address_gone";
    let legs = || world.gateway.admin().get("/v1/accounts/a1").1["legs"].as_array().unwrap().clone();
    change("del");
    wait_until("both legs to trip", LIMIT, || legs().iter().all(gone));
    let (told, took) = place(&world);
    assert_eq!((told.status, told.header("sixgate-outcome")), (503, "not_sent"), "{told:?}");
    assert!(told.json()["detail"].as_str().unwrap().contains("is not an address of this host any more"), "{told:?}");
    assert!(took < Duration::from_secs(2), "after {took:?}");
    change("add");
    wait_until("an order to leave again", LIMIT, || place(&world).0.status == 200);
}

/// Its address stays, its way out does not: an order was written to an idle connection, and nobody knew for ten seconds
/// what had become of it, though no route existed.
#[test]
fn a_lost_route_costs_no_order_its_outcome() {
    for lost in [
        "-6 route del default table 101",
        "-6 route add unreachable default table 101 metric 1",
        "link set uplink1 down",
    ] {
        let world = world("warm = 0");
        goes_by(&world, "primary");
        world.net.ip(Ns::Gateway, lost);
        // Nobody sends anything: the kernel says so.
        wait_until("the leg to trip", LIMIT, || primary(&world).0 == "tripped");
        goes_by(&world, "secondary");
        assert_eq!(world.broker.orders(&world.traders[0].client_id).len(), 2, "{lost}");
    }
}

/// What is sent twice counts twice: the broker does not know that it was one request of a caller.
#[test]
fn a_read_that_is_sent_again_counts_again() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("limits.toml");
    // Quotes: of the other kinds the gateway asks for some by itself.
    let windows =
        ["order", "data", "other"].map(|kind| format!("{kind} = [{{ count = 100, per = \"1s\" }}]\n")).concat();
    let whole = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n[windows]\n{windows}quote = [{{ count = 2, per = \"1h\" }}]\n"
    );
    std::fs::write(&table, whole).unwrap();
    let world =
        World::up_with(1, &format!("{}\n[limits]\nfile = \"{}\"\nmargin = 0.0\n", text("warm = 0"), table.display()));
    world.broker.fault(Fault::new(Action::Close { executed: false }).on("POST", "/v2/marketfeed/ltp").times(3));
    let told = quote(&world);
    assert_eq!((told.status, told.json()["code"].as_str()), (502, Some("upstream_failed")), "{told:?}");
    let told = quote(&world);
    assert_eq!((told.status, told.json()["code"].as_str()), (429, Some("rate_limited")), "{told:?}");
    let reads = world.broker.seen().into_iter().filter(|seen| seen.path_and_query == "/v2/marketfeed/ltp").count();
    assert_eq!(reads, 2);
}

/// A feed that is slow to open says nothing of the way that orders and reads take, and its handshake is not offered twice.
#[test]
fn a_feed_that_does_not_open_moves_no_read() {
    let world = World::up_with(1, &text("warm = 0").replace("user_timeout", "response_timeout = \"2s\"\nuser_timeout"));
    goes_by(&world, "primary");
    world.broker.fault(Fault::new(Action::Hang { executed: false }).at("api-feed.dhan.co"));
    let answer = world.net.in_ns(Ns::Gateway, || async {
        let mut stream = connect(LOOPBACK.parse().unwrap()).await;
        let head = "GET http://api-feed.dhan.co/?version=2&token=placeholder&clientId=9&authType=2 HTTP/1.1\r\n\
            Host: api-feed.dhan.co\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let mut answer = vec![0u8; 1024];
        let length = tokio::io::AsyncReadExt::read(&mut stream, &mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    });
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_eq!(primary(&world).0, "admits");
    assert_eq!(read(&world).header("sixgate-leg"), "primary");
}
