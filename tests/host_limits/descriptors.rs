//! A process has so many file descriptors, and whoever connects to it takes one.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::support::wait_until;
use crate::support::world::{LISTENER, LOOPBACK};

/// Where the admin API is.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);
/// No test here may depend on more, and 300 strangers alone take more than there are.
const FEW: &str = "ulimit -n 256";
/// Nothing, and a request that never ends; and one that is refused, again and again, by who does not read that it is.
const SILENCE: &[u8] = b"";
const FLOOD: &[u8] = b"GET http://api.dhan.co/v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\n\r\n";
const HALF: &[u8] = b"GET http://api.dhan.co/v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\n";

/// Connections that say this and no more, opened anew whenever one is ended, until the end of this.
struct Strangers {
    over: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    _runtime: crate::support::NsRuntime,
}

impl Strangers {
    fn come(world: &World, ns: Ns, at: SocketAddr, count: usize, says: &'static [u8]) -> Self {
        let (over, ended, open) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let runtime = world.net.runtime(ns);
        for _ in 0..count {
            let (over, ended, open) = (Arc::clone(&over), Arc::clone(&ended), Arc::clone(&open));
            let _task = runtime.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut stream = connect(at).await;
                    open.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(says).await;
                    while says == FLOOD && stream.write_all(&says.repeat(100)).await.is_ok() {}
                    while says != FLOOD && matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Connected is who stands in the kernel's queue, too.
        wait_until("all of them to be connected", LIMIT, || open.load(Ordering::Relaxed) >= count);
        Self { over, ended, _runtime: runtime }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Let a running process have so many, or as many as it had.
fn limit(world: &World, soft: &str) {
    let done =
        Command::new("prlimit").args(["--pid", &world.gateway.id().to_string(), &format!("--nofile={soft}:")]).status();
    assert!(done.expect("prlimit of util-linux").success());
}

/// The soft limit of a running process.
fn soft_limit(world: &World) -> usize {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.gateway.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Most hosts start a program with a soft limit of 1,024, and let it raise that itself.
#[test]
fn the_limit_is_raised_and_what_is_too_little_is_told_with_the_way_out() {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, "ulimit -Sn 256; ulimit -Hn 4096", "");
    assert_eq!(soft_limit(&world), 4096);
    wait_until("the warning", LIMIT, || {
        let log = world.gateway.log();
        ["4096 file descriptors", "LimitNOFILE=", "proxy.max_connections", "allows 30000", "that never happens"]
            .iter()
            .all(|what| log.contains(what))
    });
    start_from(&mut world, "ulimit -n 4096", "[proxy]\nmax_connections = 100");
    wait_until("no warning", LIMIT, || world.gateway.log().contains("file descriptors, and how many connections"));
    assert!(!world.gateway.log().contains("LimitNOFILE="), "{}", world.gateway.log());
}

/// They took all descriptors, and no order of any account left.
#[test]
fn silent_connections_to_the_admin_port_stop_neither_orders_nor_operators() {
    for says in [SILENCE, HALF] {
        with_strangers_at_the_admin_port(says);
    }
}

fn with_strangers_at_the_admin_port(says: &'static [u8]) {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, FEW, "");
    let strangers = Strangers::come(&world, Ns::Gateway, ADMIN.into(), 300, says);
    for n in 0..5 {
        trades(&world, LISTENER, 100.0 + f64::from(n));
    }
    let began = Instant::now();
    assert_eq!(world.gateway.admin().get("/v1/accounts/a1").0, 200);
    assert!(began.elapsed() < LIMIT);
    wait_until("some of them to be ended", LIMIT, || strangers.ended.load(Ordering::Relaxed) > 0);
    assert_eq!(metric(&world, r#"sixgate_leg_changes_total{from="admits",to="tripped",reason="bind_failed"}"#), 0);
}

/// Consoles and programs that watch held every place, and the one who wanted to halt an account got no byte.
#[test]
fn streams_of_events_keep_no_operator_out_and_the_oldest_of_too_many_is_ended_and_told_of() {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, FEW, "");
    let token = std::fs::read_to_string(world.dir.path().join("state/admin.token")).unwrap();
    let asks =
        format!("GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nAuthorization: Bearer {}\r\n\r\n", token.trim());
    let listening = Strangers::come(&world, Ns::Gateway, ADMIN.into(), 40, asks.leak().as_bytes());
    wait_until("the oldest to be ended", LIMIT, || listening.ended.load(Ordering::Relaxed) > 0);
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(world.gateway.admin().get("/healthz").0, 200);
        assert!(began.elapsed() < LIMIT);
    }
    assert!(world.gateway.has_logged("the oldest stream of /v1/events was ended"), "{}", world.gateway.log());
}

/// Strangers at a keyed listener held every place for 75 seconds.
#[test]
fn strangers_at_a_keyed_listener_keep_no_engine_from_trading_and_end_none_of_its_connections() {
    for says in [FLOOD, HALF, SILENCE] {
        with_strangers_at_the_keyed_listener(says);
    }
}

fn with_strangers_at_the_keyed_listener(says: &'static [u8]) {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, FEW, "");
    let world = world;
    world.net.in_ns(Ns::Caller, || async {
        let mut engine = Caller::http1(connect(LISTENER).await).await;
        assert_eq!(place(&mut engine, &world, 100.0).await.status, 200);
        let strangers = std::thread::scope(|scope| {
            scope.spawn(|| Strangers::come(&world, Ns::Caller, LISTENER, 300, says)).join().unwrap()
        });
        // The connection that has shown a key is kept through several rounds of them, and an engine that connects anew
        // gets in.
        let (mut round, mut executed) = (0, 0);
        while round < 6 || strangers.ended.load(Ordering::Relaxed) < 150 {
            round += 1;
            let reply = place(&mut engine, &world, 100.0 + f64::from(round)).await;
            assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
            let wish = OrderRequest::place(None, 200.0 + f64::from(round));
            let told = tokio::time::timeout(LIMIT, wish.send(LISTENER, &world.traders[0]));
            let told = told.await.expect("in time").expect("an answer");
            // What waited for its place for longer than an order may is told so, and is not sent.
            assert!(told.outcome == "executed" || told.code() == "not_in_time", "{told:?}");
            executed += u32::from(told.outcome == "executed");
            // Within the broker's ten orders a second.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!(2 * executed > round, "{executed} of {round} orders of engines that connected anew were executed");
    });
}

/// With every place taken by somebody who is busy, callers waited without end, and nothing said so.
#[test]
fn a_full_house_is_told_of_with_what_to_do_and_counted() {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, FEW, "[proxy]\nmax_connections = 2\nrequest_timeout = \"10m\"");
    let world = world;
    world.net.in_ns(Ns::Caller, || async {
        let auth = basic("a1", &world.traders[0].key);
        let head = format!("POST http://{HOST}/v2/orders HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {auth}\r\n");
        // Its key is shown and its body is not there yet.
        let head =
            format!("{head}Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n");
        let mut busy = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(LISTENER).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            assert!(stream.read(&mut [0; 100]).await.unwrap() > 0, "it is asked for its body");
            busy.push(stream);
        }
        let mut waiting = Caller::http1(connect(LISTENER).await).await;
        wait_until("it is told", LIMIT, || world.gateway.log().contains("callers wait to be served"));
        let log = world.gateway.log();
        for what in ["of 2 connections", "2 of them are busy", "proxy.max_connections", "LimitNOFILE=", "ERROR"] {
            assert!(log.contains(what), "{what}: {log}");
        }
        let places = |name: &str, of: &str| metric(&world, &format!("sixgate_{name}{{of=\"{of}\"}}"));
        assert_eq!(
            (places("places", "callers"), places("places_taken", "callers")),
            (6, 2),
            "three listeners have two each"
        );
        assert_eq!(places("places", "operators"), 32);
        // That of this very question; on a busy host the one before it has not ended yet.
        wait_until("one operator's place is taken", LIMIT, || places("places_taken", "operators") == 1);
        drop(busy);
        // It is served as soon as somebody goes; its order waited too long by then, and is not sent.
        let told = place(&mut waiting, &world, 100.0).await;
        assert!(told.status == 200 || told.json()["code"] == "not_in_time", "{told:?}");
    });
}

/// A connection of HTTP/2 held its place for as long as it was open.
#[test]
fn http2_that_idles_makes_room_and_answers_what_is_under_way_first() {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, FEW, "[proxy]\nmax_connections = 1");
    let world = world;
    let ca = world.dir.path().join("gateway-ca.pem");
    std::fs::write(&ca, world.gateway.admin().get("/ca.pem").1.as_str().unwrap()).unwrap();
    world.net.in_ns(Ns::Caller, || async {
        let auth = basic("a1", &world.traders[0].key);
        let (status, stream) =
            tunnel(connect(LISTENER).await, &format!("{HOST}:443"), &[("proxy-authorization", &auth)]).await;
        assert_eq!(status, 200);
        let mut caller = Caller::inside(stream, HOST, &ca, true).await;
        let body = OrderRequest::place(None, 100.0).body.unwrap();
        let asked = request("POST", &format!("https://{HOST}/v2/orders"), HOST, &[], Some(&body));
        assert_eq!(caller.send(asked).await.unwrap().status, 200);
        let wish = OrderRequest::place(None, 101.0);
        let told = tokio::time::timeout(LIMIT, wish.send(LISTENER, &world.traders[0])).await;
        let told = told.expect("a place").expect("an answer");
        assert_eq!((told.status, told.outcome.as_str()), (200, "executed"), "{told:?}");
    });
}

/// Engines open connections ahead. With places free nobody ends them.
#[test]
fn connections_that_were_opened_ahead_stay_while_there_is_room() {
    let mut world = World::up_with(1, &text(""));
    start_from(&mut world, FEW, "");
    let world = world;
    world.net.in_ns(Ns::Caller, || async {
        let mut ahead = Vec::new();
        for _ in 0..20 {
            ahead.push(Caller::http1(connect(LISTENER).await).await);
        }
        // Longer than anybody has who is to make room: what must not happen in this time is what the test is about.
        tokio::time::sleep(Duration::from_secs(3)).await;
        for caller in &mut ahead {
            let auth = basic("a1", &world.traders[0].key);
            let asked =
                request("GET", "http://auth.dhan.co/x", "auth.dhan.co", &[("proxy-authorization", &auth)], None);
            assert_eq!(caller.send(asked).await.unwrap().status, 403);
        }
    });
}

/// No descriptor was left for a dial, and both legs tripped: for a minute after that no order left, though the line was
/// good all the time.
#[test]
fn a_dial_without_a_descriptor_is_not_the_lines_fault_and_trading_goes_on_with_the_first_one() {
    let world = World::up_with(1, &text(""));
    let before = soft_limit(&world);
    let (refused, log) = world.net.in_ns(Ns::Gateway, || async {
        let mut engine = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        assert_eq!(place(&mut engine, &world, 100.0).await.status, 200);
        world.broker.hang_up();
        std::thread::scope(|scope| scope.spawn(|| world.wait_until_unconnected()).join().unwrap());
        limit(&world, "10");
        let refused = place(&mut engine, &world, 101.0).await;
        // Somebody knocks, and nobody can open.
        let waiting = connect(LOOPBACK.parse().unwrap()).await;
        wait_until("it is told", LIMIT, || world.gateway.log().contains("wait to be accepted"));
        // Dozens of tries: what is counted is the lines that come in this time.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let log = world.gateway.log();
        limit(&world, &before.to_string());
        let reply = place(&mut engine, &world, 102.0).await;
        assert_eq!((reply.status, reply.header("sixgate-leg")), (200, "primary"), "{reply:?}");
        // Nor is who waited lost.
        let mut waiting = Caller::http1(waiting).await;
        assert_eq!(place(&mut waiting, &world, 103.0).await.status, 200);
        (refused, log)
    });
    let said = refused.json();
    assert_eq!((refused.status, refused.header("sixgate-outcome")), (503, "not_sent"), "{said}");
    assert_eq!(said["code"], "egress_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("LimitNOFILE=") && detail.contains("file descriptors"), "{detail}");
    assert!(!detail.contains("cannot connect") && !detail.contains("cannot bind"), "{detail}");
    assert_eq!(log.matches("wait to be accepted").count(), 1, "{log}");
    assert_eq!(metric(&world, r#"sixgate_dial_errors_total{error="host_exhausted"}"#), 1);
    assert!(!world.gateway.log().contains("a leg changed state"), "{}", world.gateway.log());
    let orders = world.broker.orders(&world.traders[0].client_id);
    assert_eq!(orders.len(), 3, "the one that was refused did not leave");
}

/// Connections to the broker that are kept open.
fn to_the_broker(world: &World) -> usize {
    let mut list = world.net.command(Ns::Gateway, "ss");
    list.args(["-Htn", "state", "established", "dport", "=", ":443"]);
    String::from_utf8(list.output().expect("ss of iproute2").stdout).unwrap().lines().count()
}

/// With more accounts than there are descriptors for, those that lie ready took all that callers connect with.
#[test]
fn connections_that_lie_ready_leave_descriptors_for_callers_and_make_room_for_those_that_are_needed() {
    let mut world = World::up_with(7, &text(""));
    // Eight for each of fourteen legs are more than half of 256.
    let warm = text("").replace("warm = 0", "warm = 8\nwarm_hours = \"always\"");
    start_with(&mut world, FEW, &warm);
    wait_until("as many as there is room for", LIMIT, || to_the_broker(&world) >= 50);
    let strangers = Strangers::come(&world, Ns::Caller, LISTENER, 100, b"");
    for (n, trader) in world.traders.iter().enumerate() {
        let wish = OrderRequest::place(None, 100.0 + n as f64);
        let told = world.net.in_ns(Ns::Caller, || wish.send(LISTENER, trader)).expect("an answer");
        assert_eq!((told.status, told.outcome.as_str()), (200, "executed"), "{told:?}");
    }
    assert!(to_the_broker(&world) < 110, "{}", to_the_broker(&world));
    wait_until("strangers come and go", LIMIT, || strangers.ended.load(Ordering::Relaxed) > 100);
    let log = world.gateway.log();
    assert!(!log.contains("wait to be accepted") && !log.contains("a leg changed state"), "{log}");
}
