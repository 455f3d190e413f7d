//! Where the account's streams are reconnected, the caller's socket stays open and its instruments tick again: by the
//! leg that works, with the token of now. A socket beside it that was opened without the option is closed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault, Habits, Seen, StreamFault, StreamHost};

use super::socket::{FEED, LOGIN, Socket, UPDATES, ask, feed};
use super::{LIMIT, lines};
use crate::support::engine::OrderRequest;
use crate::support::wait::{wait_for, wait_until};
use crate::support::world::{LISTENER, World};
use crate::support::{Ns, NsRuntime};

const OTHER: &str =
    r#"{"RequestCode":17,"InstrumentCount":1,"InstrumentList":[{"ExchangeSegment":"NSE_EQ","SecurityId":"1333"}]}"#;

fn switch_on(world: &World) {
    let (status, answer) = world.gateway.admin().patch("/v1/accounts/a1", &json!({"streams": "reconnect"}));
    assert_eq!((status, &answer["streams"]), (200, &json!("reconnect")), "{answer}");
}

/// A feed that is closed with the broker's side, and one whose broker's side is opened again.
fn both(world: &World, callers: &NsRuntime) -> (Socket, Socket) {
    let plain = callers.run(feed());
    switch_on(world);
    (plain, callers.run(feed()))
}

/// The lines of reconnects.
fn reconnected(world: &World) -> Vec<String> {
    let log = world.gateway.log();
    log.lines().filter(|line| line.contains("websocket reconnected")).map(str::to_owned).collect()
}

fn wait_for_reconnects(world: &World, count: usize) -> String {
    wait_until("a reconnect", LIMIT * 2, || reconnected(world).len() >= count);
    let mut lines = reconnected(world);
    assert_eq!(lines.len(), count, "{lines:?}");
    lines.pop().unwrap()
}

/// The broker answers, and after that a price of this instrument comes.
async fn ticks(socket: &mut Socket, security_id: u32) {
    socket.say(9, b"which broker").await;
    while socket.message().await.expect("an answer") != (10, b"which broker".to_vec()) {}
    loop {
        let (opcode, packet) = socket.message().await.expect("a price");
        assert_eq!(opcode, 2, "{packet:?}");
        if packet[4..8] == security_id.to_le_bytes() {
            return;
        }
    }
}

/// The handshakes that the broker saw, the last one last.
fn handshakes(world: &World) -> Vec<Seen> {
    world.broker.seen().into_iter().filter(|seen| seen.websocket).collect()
}

#[test]
fn after_a_token_swap_the_same_socket_ticks_with_the_new_token() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    world.broker.set_habits(Habits { sockets_outlive_token: true, ..Habits::default() });
    let callers = world.net.runtime(Ns::Gateway);
    let (mut plain, mut kept) = both(&world, &callers);
    let put = |token: &str| {
        let (status, answer) = world.gateway.admin().put("/v1/accounts/a1/token", &json!({"access_token": token}));
        assert!(status < 300, "{answer}");
    };
    let new = world.broker.mint_token(&a1.client_id);
    put(&new);
    let swapped = Instant::now();
    let plain = callers.spawn(async move { plain.close().await });
    let line = wait_for_reconnects(&world, 1);
    assert!(swapped.elapsed() < LIMIT + Duration::from_secs(5), "{:?}", swapped.elapsed());
    for want in ["account=\"a1\"", "service=\"feed\"", "why=\"token_replaced\"", "leg=\"primary\"", "instruments=1"] {
        assert!(line.contains(want), "{want} is not in {line}");
    }
    assert!(!line.contains(&new) && !line.contains(&a1.token), "{line}");
    let mut kept = callers.run(async move {
        assert_eq!(plain.await.unwrap(), (1012, "reconnect: the token was replaced".to_owned()));
        ticks(&mut kept, 11_536).await;
        kept
    });
    assert_eq!(world.broker.sockets(&a1.client_id, Some(StreamHost::Feed)), 1, "the old one is gone");

    // The broker ends the sockets of the old token by itself.
    world.broker.set_habits(Habits::default());
    let newer = world.broker.mint_token(&a1.client_id);
    put(&newer);
    let last = || handshakes(&world).pop().and_then(|seen| seen.token);
    wait_until("a handshake with the newest token", LIMIT, || last().as_deref() == Some(&*newer));
    wait_until("its line", LIMIT, || reconnected(&world).len() >= 2);
    callers.run(async move { ticks(&mut kept, 11_536).await });
    let seen = handshakes(&world);
    let tokens: Vec<_> = seen.iter().map(|seen| seen.token.as_deref().unwrap()).collect();
    assert_eq!(tokens[..3], [&*a1.token, &*a1.token, &*new]);
    assert!(tokens.last() == Some(&&*newer), "{tokens:?}");
    assert!(seen.iter().all(|seen| *seen.peer.ip() == a1.pair.primary.ip()), "{seen:?}");
}

#[test]
fn after_a_failover_the_same_socket_ticks_from_the_secondary() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let callers = world.net.runtime(Ns::Gateway);
    let (mut plain, mut kept) = both(&world, &callers);
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    let gone = Instant::now();
    let line = wait_for_reconnects(&world, 1);
    assert!(gone.elapsed() < LIMIT / 2, "a dead address was noticed by its silence: {:?}", gone.elapsed());
    let source = format!("source=\"{}\"", a1.pair.secondary);
    for want in ["why=\"leg_address_gone\"", "leg=\"secondary\"", &source] {
        assert!(line.contains(want), "{want} is not in {line}");
    }
    callers.run(async move {
        let told = plain.close().await;
        assert!(told.0 == 1012 && told.1.contains("no longer on the gateway's host"), "{told:?}");
        ticks(&mut kept, 11_536).await;
    });
    let seen = handshakes(&world);
    let from: Vec<_> = seen.iter().map(|seen| *seen.peer.ip()).collect();
    let (primary, secondary) = (a1.pair.primary.ip(), a1.pair.secondary.ip());
    assert_eq!(from, [primary, primary, secondary]);
    assert!(seen.iter().all(|seen| seen.token.as_deref() == Some(&*a1.token)));
}

#[test]
fn after_a_silent_death_the_same_socket_ticks_again() {
    let world = World::up(1, "");
    let id = world.traders[0].client_id.clone();
    let callers = world.net.runtime(Ns::Gateway);
    let (mut plain, mut kept) = both(&world, &callers);
    assert_eq!(world.broker.befall(&id, Some(StreamHost::Feed), StreamFault::Silence), 2);
    let died = Instant::now();
    let plain = callers.spawn(async move { plain.close().await });
    // Every library answers pings while it waits.
    let alive = callers.spawn(async move {
        loop {
            if kept.message().await.unwrap().0 == 2 {
                return kept;
            }
        }
    });
    let line = wait_for_reconnects(&world, 1);
    assert!(line.contains("why=\"broker_silent\""), "{line}");
    assert!(died.elapsed() < LIMIT + Duration::from_secs(5), "{:?}", died.elapsed());
    callers.run(async move {
        assert_eq!(plain.await.unwrap(), (1012, "reconnect: nothing was heard from the broker for 40 s".to_owned()));
        ticks(&mut alive.await.unwrap(), 11_536).await;
    });
    super::assert_own(&world, &[&world.traders[0].token.clone()]);
}

/// What the broker does to a socket of a healthy token, one after the other to the same one; and what will not mend.
#[test]
fn what_passes_is_not_seen_by_the_caller_and_what_does_not_ends_its_socket() {
    let world = World::up(1, "");
    let id = world.traders[0].client_id.clone();
    let callers = world.net.runtime(Ns::Gateway);
    switch_on(&world);
    let mut kept = callers.run(feed());
    let befalls = |fault| {
        wait_until("one socket at the broker", LIMIT, || world.broker.sockets(&id, Some(StreamHost::Feed)) == 1);
        assert_eq!(world.broker.befall(&id, Some(StreamHost::Feed), fault), 1);
    };
    let passing = [StreamFault::Reset, StreamFault::Close { code: 1001 }, StreamFault::Disconnect { reason: 807 }];
    for (count, fault) in passing.into_iter().enumerate() {
        befalls(fault);
        wait_for_reconnects(&world, count + 1);
        kept = callers.run(async move {
            ticks(&mut kept, 11_536).await;
            kept
        });
    }
    // While the broker refuses handshakes the caller may say what else it wants.
    world.broker.fault(Fault::new(Action::Refuse { status: 503, body: Value::Null }).at("api-feed.dhan.co"));
    let before = handshakes(&world).len();
    befalls(StreamFault::Reset);
    wait_until("a handshake that is refused", LIMIT, || handshakes(&world).len() > before);
    kept = callers.run(async move {
        kept.say(1, OTHER.as_bytes()).await;
        kept.say(9, b"there?").await;
        while kept.message().await.unwrap() != (10, b"there?".to_vec()) {}
        kept
    });
    world.broker.clear_faults();
    let line = wait_for_reconnects(&world, 4);
    assert!(line.contains("instruments=1"), "as many as it had when its broker's side ended: {line}");
    kept = callers.run(async move {
        ticks(&mut kept, 11_536).await;
        ticks(&mut kept, 1_333).await;
        kept
    });
    befalls(StreamFault::Disconnect { reason: 805 });
    let told = callers.run(async move { kept.close().await });
    assert!(told.0 == 1008 && told.1.ends_with("(805)"), "{told:?}");
    wait_until("its line", LIMIT, || lines(&world, "broker_disconnected").len() == 1);
    assert!(lines(&world, "broker_disconnected")[0].contains("reconnects=4"));
    let account = world.gateway.admin().get("/v1/accounts/a1").1;
    assert_eq!(account["sockets"][0]["reconnects"], 4, "{account}");
    let metrics = world.gateway.admin().get("/metrics").1.as_str().unwrap().to_owned();
    for want in [
        "sixgate_stream_reconnects_total{kind=\"feed\",reason=\"broker_left\"} 2",
        "sixgate_stream_reconnects_total{kind=\"feed\",reason=\"broker_closed\"} 1",
        "sixgate_stream_reconnects_total{kind=\"feed\",reason=\"broker_disconnected\"} 1",
    ] {
        assert!(metrics.contains(want), "{want} is not in {metrics}");
    }
}

#[test]
fn order_updates_log_in_again_and_tell_of_the_next_order() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let callers = world.net.runtime(Ns::Gateway);
    switch_on(&world);
    let mut updates = callers.run(async {
        let mut updates = ask(UPDATES).await.socket();
        updates.say(1, LOGIN.as_bytes()).await;
        updates
    });
    let logged_in = || world.broker.sockets(&a1.client_id, Some(StreamHost::OrderUpdate)) == 1;
    wait_until("the login", LIMIT, logged_in);
    assert_eq!(world.broker.befall(&a1.client_id, Some(StreamHost::OrderUpdate), StreamFault::Reset), 1);
    wait_for_reconnects(&world, 1);
    wait_until("the second login", LIMIT, logged_in);
    let placed = world.net.in_ns(Ns::Caller, || async { OrderRequest::place(None, 100.0).send(LISTENER, &a1).await });
    assert_eq!(placed.expect("an answer").outcome, "executed");
    let (opcode, alert) = callers.run(async move { updates.message().await.unwrap() });
    assert!(opcode == 1 && alert.windows(11).any(|some| some == b"order_alert"), "{}", String::from_utf8_lossy(&alert));
    let seen = handshakes(&world);
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.token.as_deref() == Some(&*a1.token)), "{seen:?}");
}

/// Admission is asked at the deed: what was taken away while there was no broker counts.
#[test]
fn a_key_that_is_taken_away_meanwhile_ends_the_socket_and_nothing_is_opened() {
    let world = World::up(1, "");
    let id = world.traders[0].client_id.clone();
    let key = world.post("/v1/accounts/a1/keys", &json!({}), 201);
    let callers = world.net.runtime(Ns::Gateway);
    switch_on(&world);
    let mut open = callers.run(feed());
    world.broker.fault(Fault::new(Action::Refuse { status: 503, body: Value::Null }).at("api-feed.dhan.co"));
    assert_eq!(world.broker.befall(&id, Some(StreamHost::Feed), StreamFault::Reset), 1);
    wait_until("a handshake that is refused", LIMIT, || handshakes(&world).len() > 1);
    let path = format!("/v1/accounts/a1/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(world.gateway.admin().delete(&path).0, 204);
    let told = callers.run(async move { open.close().await });
    assert!(told.0 == 1008 && told.1.contains("client key"), "{told:?}");
    assert_eq!(world.broker.sockets(&id, None), 0);

    // And the option itself.
    world.broker.clear_faults();
    let mut open = callers.run(feed());
    let off = json!({"streams": "pass_on"});
    assert_eq!(world.gateway.admin().patch("/v1/accounts/a1", &off).0, 200);
    wait_until("one socket at the broker", LIMIT, || world.broker.sockets(&id, None) == 1);
    assert_eq!(world.broker.befall(&id, Some(StreamHost::Feed), StreamFault::Reset), 1);
    let told = callers.run(async move { open.close().await });
    assert_eq!(told, (1011, "reconnect: the broker ended the connection without a Close".to_owned()));
    let line = wait_for("its line", LIMIT, || {
        let log = world.gateway.log();
        log.lines().find(|line| line.contains("websocket not reconnected")).map(str::to_owned)
    });
    assert!(line.contains("the account's streams are reconnected no longer"), "{line}");
}

/// Frames that are said again could not be: what was compressed on one socket means nothing on the next.
#[test]
fn compression_is_not_offered_to_the_broker() {
    let world = World::up(1, "");
    switch_on(&world);
    world.net.in_ns(Ns::Gateway, || async {
        super::socket::ask_with(FEED, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await.socket();
    });
    let seen = handshakes(&world).remove(0);
    assert!(!seen.headers.iter().any(|(name, _)| name == "sec-websocket-extensions"), "{seen:?}");
}
