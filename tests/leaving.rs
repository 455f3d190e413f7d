//! When an order write leaves, and when it does not any more: its caller is gone, it is late, an exit came, it may no
//! longer. On the real binary, counted at the broker.

use std::time::{Duration, Instant};

use crate::support::caller::{Caller, basic, request};
use crate::support::engine::{HOST, OrderAnswer, OrderRequest};
use crate::support::net::Ns;
use crate::support::wait::wait_until;
use crate::support::world::{LISTENER, LOOPBACK, TestAccount, World, automatic, config, pins};
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const LIMIT: Duration = Duration::from_secs(30);
/// One placement of a customer in four seconds: a second one waits.
const SLOW_PACE: &str = r#"{ count = 1, per = "4s" }, { count = 9, per = "1h" }"#;

fn text(orders: &str, more: &str) -> String {
    config(&format!("{}\n[orders]\n{orders}\n{more}", pins()))
}

/// A world whose broker takes so many order writes, with what else belongs to `[orders]` and `[limits]`.
fn limited(windows: &str, orders: &str, limits: &str) -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("limits.toml");
    let other = r#"{ count = 100, per = "1s" }"#;
    let windows = format!("order = [{windows}]\ndata = [{other}]\nquote = [{other}]\nother = [{other}]\n");
    let whole = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n[windows]\n{windows}"
    );
    std::fs::write(&table, whole).unwrap();
    let limits = format!("[limits]\nfile = \"{}\"\n{limits}\n", table.display());
    (World::up_with(1, &text(orders, &limits)), dir)
}

fn send(world: &World, trader: &TestAccount, wish: &OrderRequest) -> OrderAnswer {
    world.net.in_ns(Ns::Caller, || wish.send(LISTENER, trader)).expect("no answer")
}

/// Order writes that arrived at the broker.
fn arrived(world: &World) -> Vec<String> {
    let writes =
        world.broker.seen().into_iter().filter(|seen| seen.method != "GET" && seen.path_and_query.starts_with("/v2/"));
    writes.map(|seen| format!("{} {}", seen.method, seen.path_and_query.split('?').next().unwrap())).collect()
}

/// An order as text, on a connection that can be cut off at any time.
fn raw(trader: &TestAccount, wish: &OrderRequest) -> String {
    let (body, auth) = (wish.body.clone().unwrap_or_default(), basic(&trader.name, &trader.key));
    let key = wish.key.as_deref().map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    format!(
        "{} http://{HOST}{} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {auth}\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n{body}",
        wish.method,
        wish.path,
        body.len()
    )
}

async fn connect() -> TcpStream {
    TcpSocket::new_v6().unwrap().connect(LISTENER).await.unwrap()
}

/// Send and go away without waiting for the answer.
async fn send_and_go(trader: &TestAccount, wish: &OrderRequest) {
    let mut stream = connect().await;
    stream.write_all(raw(trader, wish).as_bytes()).await.unwrap();
}

/// How many requests of an account have been answered, by the access log's words.
fn answered(world: &World, word: &str) -> usize {
    world.gateway.log().lines().filter(|line| line.contains("sixgate::access") && line.contains(word)).count()
}

/// An engine with a time-out shorter than a login tries again and again and is killed: none of its orders may be
/// carried out for nobody.
#[test]
fn an_order_whose_caller_is_gone_is_not_sent() {
    let mut world = World::up_with(0, &text("leave_within = \"20s\"", ""));
    world.at_the_broker(1);
    world.broker.fault(Fault::new(Action::Slow { ms: 3_000 }).at("auth.dhan.co"));
    let trader = world.add(1, &automatic());
    world.net.in_ns(Ns::Caller, || async {
        for n in 0..4 {
            // Under one id, under a key, and under none.
            let wish = match n {
                0 | 1 => OrderRequest::place(Some("one"), 100.0),
                2 => OrderRequest::place(None, 100.0).under("key"),
                _ => OrderRequest::place(None, 100.0),
            };
            send_and_go(&trader, &wish).await;
        }
    });
    wait_until("all of them to be given up", LIMIT, || answered(&world, "not_in_time") == 4);
    let told = send(&world, &trader, &OrderRequest::place(Some("last"), 101.0));
    assert_eq!((told.status, told.outcome.as_str()), (200, "executed"), "{told:?}");
    assert_eq!(arrived(&world), ["POST /v2/orders"], "{}", world.gateway.log());
}

/// The engine's last act before it ends is a cancel.
#[test]
fn what_takes_risk_away_leaves_though_its_caller_is_gone() {
    let mut world = World::up_with(0, &text("", ""));
    world.at_the_broker(1);
    world.broker.fault(Fault::new(Action::Slow { ms: 1_500 }).at("auth.dhan.co"));
    World::wait_for_a_code_that_lasts(Duration::from_secs(10));
    let trader = world.add(1, &automatic());
    world.net.in_ns(Ns::Caller, || async {
        send_and_go(&trader, &OrderRequest::cancel("112611230001")).await;
        send_and_go(&trader, &OrderRequest::new("DELETE", "/v2/positions", None)).await;
    });
    wait_until("both to arrive", LIMIT, || arrived(&world).len() == 2);
}

/// Some programs close their side when they have sent all they want, and wait for the answer.
#[test]
fn who_closes_only_its_half_is_told_that_nothing_was_sent() {
    let mut world = World::up_with(0, &text("leave_within = \"20s\"", ""));
    world.at_the_broker(1);
    world.broker.fault(Fault::new(Action::Slow { ms: 6_000 }).at("auth.dhan.co"));
    let trader = world.add(1, &automatic());
    let reply = world.net.in_ns(Ns::Caller, || async {
        let mut stream = connect().await;
        stream.write_all(raw(&trader, &OrderRequest::place(Some("half"), 100.0)).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    });
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("sixgate-outcome: not_sent") && reply.contains("\"code\":\"not_in_time\""), "{reply}");
    assert_eq!(arrived(&world).len(), 0);
}

/// A stream of HTTP/2 that its caller resets is a caller that is gone.
#[test]
fn a_reset_stream_of_http2_is_a_caller_that_is_gone() {
    let mut world = World::up_with(0, &text("leave_within = \"20s\"", ""));
    world.at_the_broker(1);
    world.broker.fault(Fault::new(Action::Slow { ms: 6_000 }).at("auth.dhan.co"));
    let trader = world.add(1, &automatic());
    let ca = world.ca();
    let status = world.net.in_ns(Ns::Caller, || async {
        let mut stream = connect().await;
        let auth = basic(&trader.name, &trader.key);
        let ask = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\nProxy-Authorization: {auth}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let mut caller = Caller::inside(stream, HOST, &ca, true).await;
        let url = format!("https://{HOST}/v2/orders");
        let order = OrderRequest::place(Some("reset"), 100.0).body.unwrap();
        let given_up = caller.send(request("POST", &url, HOST, &[], Some(&order)));
        // Dropped before its answer, the request's stream is reset.
        assert!(tokio::time::timeout(Duration::from_millis(300), given_up).await.is_err());
        let order = OrderRequest::place(Some("kept"), 100.0).body.unwrap();
        caller.send(request("POST", &url, HOST, &[], Some(&order))).await.unwrap().status
    });
    assert_eq!(status, 200);
    assert_eq!(arrived(&world), ["POST /v2/orders"]);
}

/// Nobody wants an order that leaves a minute late; and who waited is told for what.
#[test]
fn an_order_leaves_by_its_deadline_or_not_at_all() {
    let mut world = World::up_with(0, &text("leave_within = \"1s\"", ""));
    world.at_the_broker(1);
    world.broker.fault(Fault::new(Action::Slow { ms: 4_000 }).at("auth.dhan.co"));
    // What an order waits for here is a login under way, not the next code.
    World::wait_for_a_code_that_lasts(Duration::from_secs(10));
    let trader = world.add(1, &automatic());
    let began = Instant::now();
    let told = send(&world, &trader, &OrderRequest::place(Some("late"), 100.0));
    assert_eq!((told.status, told.code().as_str(), told.outcome.as_str()), (503, "token_unavailable", "not_sent"));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    // The id is free again, and what takes risk away has more time.
    let cancelled = send(&world, &trader, &OrderRequest::cancel("112611230001"));
    assert_ne!(cancelled.outcome, "not_sent", "{cancelled:?}");
    let told = send(&world, &trader, &OrderRequest::place(Some("late"), 100.0));
    assert_eq!(told.outcome, "executed", "{told:?}");
}

#[test]
fn a_caller_can_want_its_order_gone_sooner_and_not_later() {
    let (world, _dir) = limited(SLOW_PACE, "leave_within = \"1500ms\"", "max_wait = \"10s\"");
    let trader = &world.traders[0];
    assert_eq!(send(&world, trader, &OrderRequest::place(None, 100.0)).outcome, "executed");
    let wanting = |within: &str| {
        let auth = basic(&trader.name, &trader.key);
        let fields = [("proxy-authorization", auth.as_str()), ("sixgate-leave-within", within)];
        let order = OrderRequest::place(None, 101.0).body.unwrap();
        let target = format!("http://{HOST}/v2/orders");
        let began = Instant::now();
        let reply = world.net.in_ns(Ns::Caller, || async {
            let mut caller = Caller::http1(connect().await).await;
            caller.send(request("POST", &target, HOST, &fields, Some(&order))).await.unwrap()
        });
        (reply.status, reply.header("sixgate-outcome").to_owned(), began.elapsed())
    };
    let (status, outcome, _) = wanting("300ms");
    assert_eq!((status, outcome.as_str()), (429, "not_sent"));
    let (status, outcome, _) = wanting("1h");
    assert_eq!((status, outcome.as_str()), (429, "not_sent"), "not later than orders.leave_within");
    for wrong in ["", "soon", "0s", "-1s"] {
        assert_eq!(wanting(wrong).0, 400, "{wrong:?}");
    }
    assert_eq!(arrived(&world).len(), 1);
}

/// With one place for callers, and a request under way in it, the second waits; nobody says for how long.
#[test]
fn the_wait_for_being_accepted_counts() {
    let text = text("leave_within = \"2s\"", "[proxy]\nmax_connections = 1\nidle_timeout = \"30s\"");
    let world = World::up_with(1, &text);
    let trader = &world.traders[0];
    // Longer than the order may take to leave.
    world.broker.fault(Fault::new(Action::Slow { ms: 3_000 }).on("GET", "/v2/orders"));
    let replies = world.net.in_ns(Ns::Caller, || async {
        let mut holder = connect().await;
        holder.write_all(raw(trader, &OrderRequest::read()).as_bytes()).await.unwrap();
        wait_until("the first to be under way", LIMIT, || world.broker.seen().iter().any(|seen| seen.method == "GET"));
        let mut queued = connect().await;
        queued.write_all(raw(trader, &OrderRequest::place(Some("queued"), 100.0)).as_bytes()).await.unwrap();
        assert!(holder.read(&mut [0; 4096]).await.unwrap() > 0);
        drop(holder);
        let mut reply = vec![0; 4096];
        let length = queued.read(&mut reply).await.unwrap();
        let first = String::from_utf8_lossy(&reply[..length]).into_owned();
        // The next one on the same connection has not waited.
        queued.write_all(raw(trader, &OrderRequest::place(Some("next"), 100.0)).as_bytes()).await.unwrap();
        let length = queued.read(&mut reply).await.unwrap();
        (first, String::from_utf8_lossy(&reply[..length]).into_owned())
    });
    assert!(replies.0.starts_with("HTTP/1.1 503 ") && replies.0.contains("not_in_time"), "{}", replies.0);
    assert!(replies.1.starts_with("HTTP/1.1 200 "), "{}", replies.1);
    assert_eq!(arrived(&world).len(), 1);
}

/// A burst that waits for the limit, and whose engine is killed: what has not left stays here.
#[test]
fn a_burst_whose_engine_is_killed_stops() {
    let windows = r#"{ count = 10, per = "1s" }, { count = 250, per = "1m" }"#;
    let (world, _dir) = limited(windows, "leave_within = \"20s\"", "max_wait = \"10s\"");
    let trader = &world.traders[0];
    world.net.in_ns(Ns::Caller, || async {
        let engine = (0..60).map(|n| async move {
            let mut stream = connect().await;
            stream.write_all(raw(trader, &OrderRequest::place(None, 100.0 + f64::from(n))).as_bytes()).await.unwrap();
            stream
        });
        let connections = join_all(engine).await;
        wait_until("the first to arrive", LIMIT, || !arrived(&world).is_empty());
        drop(connections);
    });
    wait_until("the rest to be given up", LIMIT, || answered(&world, "not_in_time") + arrived(&world).len() == 60);
    assert!((1..=20).contains(&arrived(&world).len()), "{}", arrived(&world).len());
}

/// Wait until so many order writes stand in line in the gateway.
fn wait_until_under_way(world: &World, count: usize) {
    let line = format!("sixgate_orders_under_way {count}");
    wait_until(&line, LIMIT, || {
        world.gateway.admin().get("/metrics").1.as_str().unwrap_or_default().lines().any(|found| found == line)
    });
}

/// The answers to all, sent at the same moment.
fn all_at_once(world: &World, trader: &TestAccount, wishes: Vec<OrderRequest>) -> Vec<OrderAnswer> {
    let sent =
        world.net.in_ns(Ns::Caller, || async { join_all(wishes.iter().map(|wish| wish.send(LISTENER, trader))).await });
    sent.into_iter().map(|told| told.expect("no answer")).collect()
}

/// Placements that stand in line, and then an exit: `exit` is what happens to it at the broker.
fn placements_and_then(world: &World, exit: &OrderRequest) -> (Vec<OrderAnswer>, OrderAnswer) {
    let trader = &world.traders[0];
    // The first one takes the room, so that the others wait.
    assert_eq!(send(world, trader, &OrderRequest::place(None, 99.0)).outcome, "executed");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let wishes = (0..6).map(|n| OrderRequest::place(Some(&format!("older-{n}")), 100.0)).collect();
            all_at_once(world, trader, wishes)
        });
        wait_until_under_way(world, 6);
        let told = send(world, trader, exit);
        (waiting.join().unwrap(), told)
    })
}

/// Sent after the exit they would open the position anew.
#[test]
fn an_exit_turns_older_placements_away_and_lets_newer_ones_go() {
    let (world, _dir) = limited(SLOW_PACE, "leave_within = \"30s\"", "max_wait = \"30s\"");
    let (older, exit) = placements_and_then(&world, &OrderRequest::new("DELETE", "/v2/positions", None));
    assert_eq!((exit.status, exit.outcome.as_str()), (200, "executed"), "{exit:?}");
    for told in &older {
        assert_eq!(
            (told.status, told.code().as_str(), told.outcome.as_str()),
            (409, "superseded", "not_sent"),
            "{told:?}"
        );
    }
    assert_eq!(arrived(&world), ["POST /v2/orders", "DELETE /v2/positions"]);
    let newer = send(&world, &world.traders[0], &OrderRequest::place(Some("older-0"), 100.0));
    assert_eq!(newer.outcome, "executed", "its id is free, and it came after the exit: {newer:?}");
}

/// A kill switch is refused while positions are open, and what waits may be the order that closes them.
#[test]
fn after_a_refused_kill_switch_what_waited_goes_on() {
    let pace = r#"{ count = 1, per = "3s" }, { count = 90, per = "1h" }"#;
    let (world, _dir) = limited(pace, "leave_within = \"30s\"", "max_wait = \"30s\"");
    let refusal = json!({ "errorType": "Order_Error", "errorCode": "DH-906", "errorMessage": "Positions are open" });
    world.broker.fault(Fault::new(Action::Refuse { status: 400, body: refusal }).on("POST", "/v2/killswitch"));
    let kill = OrderRequest::new("POST", "/v2/killswitch?killSwitchStatus=ACTIVATE", None);
    let (older, kill) = placements_and_then(&world, &kill);
    assert_eq!((kill.status, kill.outcome.as_str()), (400, "rejected"), "{kill:?}");
    assert!(older.iter().all(|told| told.outcome == "executed"), "{older:#?}");
}

/// A cancel is not held up by an exit, nor turned away by it.
#[test]
fn an_exit_does_not_stop_a_cancel_that_waits() {
    let (world, _dir) = limited(r#"{ count = 2, per = "1s" }"#, "", "");
    let trader = &world.traders[0];
    world.broker.fault(Fault::new(Action::Slow { ms: 1_000 }).on("DELETE", "/v2/positions"));
    let mut wishes: Vec<OrderRequest> = (0..4).map(|n| OrderRequest::cancel(&format!("11261123000{n}"))).collect();
    wishes.insert(2, OrderRequest::new("DELETE", "/v2/positions", None));
    let told = all_at_once(&world, trader, wishes);
    assert!(told.iter().all(|told| told.outcome != "not_sent"), "{told:#?}");
    assert_eq!(arrived(&world).len(), 5);
}

#[test]
fn a_halt_turns_away_at_once_what_has_not_left() {
    let (world, _dir) = limited(SLOW_PACE, "leave_within = \"20s\"", "max_wait = \"20s\"");
    let trader = &world.traders[0];
    assert_eq!(send(&world, trader, &OrderRequest::place(None, 99.0)).outcome, "executed");
    let (waited, told) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let told = send(&world, trader, &OrderRequest::place(Some("waits"), 100.0));
            (Instant::now(), told)
        });
        wait_until_under_way(&world, 1);
        let halt = json!({ "halted": true, "reason": "a test" });
        let began = Instant::now();
        assert_eq!(world.gateway.admin().put("/v1/accounts/a1/halt", &halt).0, 200);
        let (ended, told) = waiting.join().unwrap();
        (ended.saturating_duration_since(began), told)
    });
    assert_eq!((told.status, told.code().as_str(), told.outcome.as_str()), (403, "account_halted", "not_sent"));
    assert!(waited < Duration::from_secs(3), "before its moment would have come: {waited:?}");
    assert_eq!(arrived(&world).len(), 1);
    // Cancels in any harmless spelling pass.
    for path in ["/v2/orders/112611230001", "/orders/112611230001", "/v2/Orders/112611230001/"] {
        let told = send(&world, trader, &OrderRequest::new("DELETE", path, None));
        assert_ne!(told.outcome, "not_sent", "{path}: {told:?}");
    }
}

/// Who took a key away must not find an order of its holder afterwards.
#[test]
fn a_key_that_is_deleted_while_its_order_waits_trades_no_more() {
    let (world, _dir) = limited(SLOW_PACE, "leave_within = \"20s\"", "max_wait = \"20s\"");
    let trader = &world.traders[0];
    assert_eq!(send(&world, trader, &OrderRequest::place(None, 99.0)).outcome, "executed");
    let told = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| send(&world, trader, &OrderRequest::place(Some("waits"), 100.0)));
        wait_until_under_way(&world, 1);
        let keys = world.gateway.admin().get("/v1/accounts/a1/keys").1;
        let id = keys["items"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(world.gateway.admin().delete(&format!("/v1/accounts/a1/keys/{id}")).0, 204);
        waiting.join().unwrap()
    });
    assert_eq!((told.status, told.code().as_str(), told.outcome.as_str()), (407, "proxy_auth_required", "not_sent"));
    assert_eq!(arrived(&world).len(), 1);
}

/// A reload that asks for a key reaches connections that were opened without one.
#[test]
fn a_reload_that_tightens_a_listener_reaches_open_connections() {
    let text = text("", "");
    let mut world = World::up_with(1, &text);
    let runtime = world.net.runtime(Ns::Gateway);
    let mut stream = runtime.run(async { TcpStream::connect(LOOPBACK).await.unwrap() });
    let order = OrderRequest::place(None, 100.0).body.unwrap();
    let ask = format!(
        "POST http://{HOST}/v2/orders HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{order}",
        order.len()
    );
    let exchange = |stream: TcpStream| {
        let ask = ask.clone();
        runtime.run(async move {
            let mut stream = stream;
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut reply = vec![0; 8192];
            let length = stream.read(&mut reply).await.unwrap();
            (String::from_utf8_lossy(&reply[..length]).into_owned(), stream)
        })
    };
    let (first, kept) = exchange(stream);
    stream = kept;
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    let loopback = format!("address = \"{LOOPBACK}\"");
    crate::support::Gateway::write_config(
        world.dir.path(),
        &text.replace(&loopback, &format!("{loopback}\nclient_key = \"required\"")),
    );
    world.gateway.signal(Signal::SIGHUP);
    wait_until("the reload", LIMIT, || world.gateway.log().contains("the configuration was reloaded"));
    let (second, _) = exchange(stream);
    assert!(second.starts_with("HTTP/1.1 407 "), "{second}");
    assert_eq!(arrived(&world).len(), 1);
}

/// Nobody can see an order in a blind tunnel, so a halt is kept by having none.
#[test]
fn a_halt_refuses_blind_tunnels_to_the_api_and_cuts_open_ones() {
    let world = World::up_with(1, &text("", "[proxy]\nintercept = false"));
    let trader = world.traders[0].clone();
    let runtime = world.net.runtime(Ns::Caller);
    let tunnel = |host: &'static str| {
        let auth = basic(&trader.name, &trader.key);
        runtime.run(async move {
            let mut stream = connect().await;
            let ask = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nProxy-Authorization: {auth}\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            (String::from_utf8_lossy(&head[..length]).into_owned(), stream)
        })
    };
    let (opened, mut stream) = tunnel(HOST);
    assert!(opened.starts_with("HTTP/1.1 200 "), "{opened}");
    let halt = json!({ "halted": true, "reason": "a test" });
    assert_eq!(world.gateway.admin().put("/v1/accounts/a1/halt", &halt).0, 200);
    let cut = runtime.run(async move { tokio::time::timeout(LIMIT, stream.read(&mut [0; 16])).await.is_ok() });
    assert!(cut, "an open tunnel goes on");
    let (refused, _) = tunnel(HOST);
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("account_halted"), "{refused}");
    // Reading prices goes on.
    let (opened, _) = tunnel("api-feed.dhan.co");
    assert!(opened.starts_with("HTTP/1.1 200 "), "{opened}");
    let _: Value = world.gateway.admin().get("/v1/accounts/a1").1;
}

/// The broker refuses the address after a while, and the order may go by the other leg: unless its caller is gone by then,
/// its time is over, or its key was taken away. Nothing is waited for that could notice it, for a connection lies ready.
#[test]
fn an_order_that_was_refused_is_tried_again_only_for_who_still_may() {
    let world = World::up_with(1, &text("leave_within = \"20s\"", ""));
    let trader = &world.traders[0];
    let refuses_address = || {
        let body = json!({ "errorType": "Input_Exception", "errorCode": "DH-905", "errorMessage": "Invalid IP" });
        Fault::new(Action::Refuse { status: 400, body }).on("POST", "/v2/orders").times(1)
    };
    world.broker.fault(refuses_address());
    assert_eq!(send(&world, trader, &OrderRequest::place(Some("both"), 99.0)).outcome, "executed");
    assert_eq!(arrived(&world).len(), 2, "each leg has a connection now");

    let refused_late = || world.broker.fault(refuses_address().after(1_500));
    refused_late();
    let order = OrderRequest::place(Some("late"), 100.0);
    let auth = basic(&trader.name, &trader.key);
    let fields = [("proxy-authorization", auth.as_str()), ("sixgate-leave-within", "1s")];
    let target = format!("http://{HOST}/v2/orders");
    let reply = world.net.in_ns(Ns::Caller, || async {
        let mut caller = Caller::http1(connect().await).await;
        caller.send(request("POST", &target, HOST, &fields, order.body.as_deref())).await.unwrap()
    });
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (503, "rejected"), "{reply:?}");
    assert_eq!(arrived(&world).len(), 3);

    refused_late();
    let gone = answered(&world, "not_in_time");
    let runtime = world.net.runtime(Ns::Caller);
    let ask = raw(trader, &OrderRequest::place(Some("gone"), 101.0));
    let stream = runtime.run(async move {
        let mut stream = connect().await;
        stream.write_all(ask.as_bytes()).await.unwrap();
        stream
    });
    wait_until("it to arrive", LIMIT, || arrived(&world).len() == 4);
    drop(stream);
    wait_until("it to be given up", LIMIT, || answered(&world, "not_in_time") > gone);
    assert_eq!(arrived(&world).len(), 4);

    refused_late();
    let told = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| send(&world, trader, &OrderRequest::place(Some("keyless"), 102.0)));
        wait_until("it to arrive", LIMIT, || arrived(&world).len() == 5);
        let keys = world.gateway.admin().get("/v1/accounts/a1/keys").1;
        let id = keys["items"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(world.gateway.admin().delete(&format!("/v1/accounts/a1/keys/{id}")).0, 204);
        waiting.join().unwrap()
    });
    assert_eq!((told.status, told.outcome.as_str()), (407, "rejected"), "{told:?}");
    assert_eq!(arrived(&world).len(), 5);
}

/// A connection that the broker closed while the intent was written down would lose the order.
#[test]
fn an_order_goes_by_another_connection_when_the_broker_closed_its_own_at_the_last_moment() {
    let world = World::up_with_slow_disk(1, &text("", ""));
    let trader = &world.traders[0];
    assert_eq!(send(&world, trader, &OrderRequest::place(Some("first"), 100.0)).outcome, "executed");
    let told = std::thread::scope(|scope| {
        let before = world.disk().begun();
        world.disk().set(Duration::from_millis(1_500));
        let sending = scope.spawn(|| send(&world, trader, &OrderRequest::place(Some("then"), 100.0)));
        wait_until("its line to be written", LIMIT, || world.disk().begun() > before);
        world.broker.hang_up();
        world.disk().set(Duration::ZERO);
        sending.join().unwrap()
    });
    assert_eq!((told.status, told.outcome.as_str(), told.recovered), (200, "executed", false), "{told:?}");
    assert_eq!(arrived(&world).len(), 2);
}

/// What has its place in line, and is being written down when an exit comes, must not open the position anew after it.
#[test]
fn an_exit_that_comes_at_the_last_moment_goes_first() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(cores > 1, "one worker does one thing after the other: this test needs two cores");
    let world = World::up_with_slow_disk(1, &text("leave_within = \"20s\"", ""));
    let auth = basic(&world.traders[0].name, &world.traders[0].key);
    let ask = move |method: &str, path: &str, body: Option<&str>| {
        request(method, &format!("http://{HOST}{path}"), HOST, &[("proxy-authorization", auth.as_str())], body)
    };
    let runtime = world.net.runtime(Ns::Caller);
    // Each is given to the worker that has fewer.
    let (mut engine, mut person) = runtime.run(async {
        let engine = Caller::http1(connect().await).await;
        (engine, Caller::http1(connect().await).await)
    });
    let order = OrderRequest::place(Some("then"), 100.0).body;
    let (placement, exit) = (ask("POST", "/v2/orders", order.as_deref()), ask("DELETE", "/v2/positions", None));
    let read = ask("GET", "/v2/positions", None);
    let (mut person, before) =
        (runtime.run(async move { person.send(read).await.map(|_| person).unwrap() }), world.disk().begun());
    world.disk().set(Duration::from_millis(1_500));
    let placing = runtime.spawn(async move { engine.send(placement).await.unwrap() });
    wait_until("its line to be written", LIMIT, || world.disk().begun() > before);
    let exiting = runtime.spawn(async move { person.send(exit).await.unwrap() });
    let (told, exit) = runtime.run(async move { (placing.await.unwrap(), exiting.await.unwrap()) });
    assert_eq!((exit.status, exit.header("sixgate-outcome")), (200, "executed"), "{exit:?}");
    assert_eq!((told.status, told.header("sixgate-outcome")), (409, "not_sent"), "{told:?}");
    assert_eq!(arrived(&world), ["DELETE /v2/positions"]);
}
