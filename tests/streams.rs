//! WebSockets through the gateway, in namespaces, from the account's own address: what a strict peer finds, the broker's
//! limits, and how a socket ends when its token is replaced, its line dies or its permission is taken away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault, Habits, StreamFault, StreamHost};

use crate::support::Ns;
use crate::support::python::{client, python};
use crate::support::wait::wait_until;
use crate::support::world::World;

mod crowd;
mod dead_lines;
mod ipv4;
mod reconnect;
mod share;
mod slow_callers;
mod socket;
mod strict_broker;

use socket::{FEED, LOGIN, UPDATES, ask, feed};

/// Within which any dead socket ends.
const LIMIT: Duration = Duration::from_secs(40);

/// The lines of the log of sockets that have ended, each with this word.
fn lines(world: &World, why: &str) -> Vec<String> {
    let log = world.gateway.log();
    let word = format!("why=\"{why}\"");
    log.lines().filter(|line| line.contains("websocket ended") && line.contains(&word)).map(str::to_owned).collect()
}

/// Every WebSocket that the broker has seen came from the account's own primary address, with its own token.
fn assert_own(world: &World, tokens: &[&str]) {
    let a1 = &world.traders[0];
    let seen: Vec<_> = world.broker.seen().into_iter().filter(|seen| seen.websocket).collect();
    assert!(!seen.is_empty());
    for one in &seen {
        assert_eq!(*one.peer.ip(), a1.pair.primary.ip(), "{one:?}");
        let token = one.token.as_deref();
        assert!(token.is_none_or(|token| tokens.contains(&token)), "{one:?}");
    }
}

/// The table of the page for callers says what each case brings.
#[test]
fn every_case_of_a_strict_peer_has_its_result() {
    let python = python();
    let world = World::up(1, "");
    let mut command = world.net.command(Ns::Gateway, &python);
    let output = command.arg(client("strict_frames.py")).args(["127.0.0.1", "8080"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["case"].as_str().unwrap().to_owned(), line["result"].clone())
    };
    let mut found: BTreeMap<_, _> = said.lines().map(line).collect();
    let mut result = |case: &str| found.remove(case).unwrap_or_else(|| panic!("no case {case:?} in {said}"));

    let want = json!({"pong": "between", "code": 2, "length": 16, "open": true});
    assert_eq!(result("fragments with a ping between"), want);
    assert_eq!(result("a byte at a time"), json!({"code": 2, "open": true}));
    let want = json!({"lengths": [125, 0], "open": true});
    assert_eq!(result("pings of 125 and of no bytes, an unasked pong"), want);
    assert_eq!(result("a login in binary fragments, texts before and after it"), json!({"open": true}));
    for (case, code, words) in [
        ("no mask", 1002, "a frame is not masked"),
        ("RSV1 without an extension", 1002, "a frame has the bit of an extension that was not agreed upon"),
        ("RSV2", 1002, "a frame has a reserved bit set"),
        ("RSV1 on order updates", 1002, "a frame has the bit of an extension that was not agreed upon"),
        ("opcode 3", 1002, "a frame has an opcode that is not defined"),
        ("opcode 11", 1002, "a frame has an opcode that is not defined"),
        ("a fragmented ping", 1002, "a control frame is fragmented"),
        ("a ping of 126 bytes", 1002, "a control frame is longer than 125 bytes"),
        ("a continuation of nothing", 1002, "a continuation of nothing"),
        ("a message inside another", 1002, "a message begins inside another"),
        ("a length with its highest bit", 1002, "a frame's length has its highest bit set"),
        ("text that is no UTF-8", 1007, "a text message is no UTF-8"),
        ("text that ends inside a character", 1007, "a text message is no UTF-8"),
        ("a message of more than 1 MiB", 1009, "the message is longer than 1 MiB"),
        ("fragments of more than 1 MiB", 1009, "the message is longer than 1 MiB"),
        ("a login of more than 16 KiB", 1009, "the login is longer than 16 KiB"),
        // What the broker answers to a Close; the built-in one says 1000.
        ("Close 1000", 1000, ""),
        ("Close without a code", 1000, ""),
        ("Close 4000", 1000, ""),
        ("Close with half a code", 1002, "a Close has half a code"),
        ("Close 1005", 1002, "a Close has a code that is never sent"),
        ("Close 1006", 1002, "a Close has a code that is never sent"),
        ("Close 2999", 1002, "a Close has a code that is never sent"),
        ("Close with a reason that is no UTF-8", 1007, "the reason of a Close is no UTF-8"),
    ] {
        assert_eq!(result(case), json!({"code": code, "words": words, "ended": true}), "{case}");
    }
    assert!(found.is_empty(), "cases that nobody knows: {found:?}");

    wait_until("every end in the log", LIMIT, || lines(&world, "caller_broke_protocol").len() == 21);
    assert_eq!(lines(&world, "caller_closed").len(), 3);
    let metrics = world.gateway.admin().get("/metrics").1.as_str().unwrap().to_owned();
    for want in [
        "sixgate_streams_ended_total{kind=\"feed\",reason=\"caller_broke_protocol\"}",
        "sixgate_stream_messages_dropped_total{kind=\"order_update\"} 3",
        "sixgate_stream_bytes_total{kind=\"feed\",from=\"caller\"}",
        "sixgate_streams{kind=\"feed\"} 0",
    ] {
        assert!(metrics.contains(want), "{want} is not in {metrics}");
    }
    assert_own(&world, &[&world.traders[0].token.clone()]);
}

/// Who watches an account sees its sockets come and go, and how many there are.
#[test]
fn an_accounts_sockets_are_shown_by_kind_and_told_as_events() {
    let world = World::up(1, "");
    let of = |kind: &str| -> Value {
        let account = world.gateway.admin().get("/v1/accounts/a1").1;
        account["sockets"].as_array().unwrap().iter().find(|one| one["kind"] == kind).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(of("feed"), Value::Null, "there was none");
    let callers = world.net.runtime(Ns::Gateway);
    let mut open = callers.run(feed());
    wait_until("an open feed with a price", LIMIT, || {
        let feed = of("feed");
        feed["open"] == 1
            && feed["messages_from_broker"].as_u64() > Some(0)
            && feed["bytes_from_broker"].as_u64() > Some(0)
    });
    callers.run(async {
        for _ in 0..4 {
            ask(FEED).await.socket();
        }
    });
    world
        .broker
        .fault(Fault::new(Action::Refuse { status: 404, body: Value::Null }).at("api-order-update.dhan.co").times(1));
    callers.run(async { ask(UPDATES).await.refused(404, "") });
    callers.run(async move {
        open.say(8, &1000_u16.to_be_bytes()).await;
        while open.message().await.is_ok() {}
    });
    wait_until("all to have ended", LIMIT, || of("feed")["open"] == 0);
    assert_eq!(
        (&of("feed")["opened"], &of("order_update")["refused"], &of("order_update")["open"]),
        (&json!(5), &json!(1), &json!(0))
    );
    assert!(of("feed")["since"].as_str().is_some());

    let told = || {
        let recent = world.gateway.admin().get("/v1/events/recent?subject=stream&account=a1").1;
        recent["items"].as_array().unwrap().iter().map(|event| event["data"].clone()).collect::<Vec<_>>()
    };
    wait_until("every end told", LIMIT, || told().iter().filter(|data| data["what"] == "ended").count() == 5);
    let told = told();
    assert_eq!(told.iter().filter(|data| data["what"] == "opened" && data["kind"] == "feed").count(), 5);
    let refused = told.iter().find(|data| data["what"] == "refused").unwrap();
    assert_eq!((&refused["kind"], &refused["reason"]), (&json!("order_update"), &json!("broker_refused")));
    let closed = told.iter().find(|data| data["reason"] == "caller_closed").unwrap();
    assert_eq!(
        (&closed["leg"], &closed["close_code"], &closed["account"]),
        (&json!("primary"), &json!(1000), &json!("a1"))
    );
    assert!(closed["messages_from_broker"].as_u64() > Some(0), "{closed}");
    let secret = world.traders[0].token.as_str();
    assert!(told.iter().all(|data| !data.to_string().contains(secret)));
}

/// The broker would end the oldest for it, and two engines would take each other's feed for ever.
#[test]
fn the_sixth_socket_of_a_kind_is_refused_and_five_stay() {
    let world = World::up(1, "");
    let (net, broker, id) = (&world.net, &world.broker, &world.traders[0].client_id);
    net.in_ns(Ns::Gateway, || async {
        let mut open = Vec::new();
        for _ in 0..5 {
            open.push(feed().await);
        }
        let head = ask(FEED).await.refused(429, "as many as the broker allows");
        assert!(head.contains("retry-after: 40\r\n"), "{head}");
        assert_eq!(broker.sockets(id, Some(StreamHost::Feed)), 5);
        let updates = ask(UPDATES).await.socket();
        for socket in &mut open {
            socket.say(9, b"still there").await;
            while socket.message().await.unwrap() != (10, b"still there".to_vec()) {}
        }
        drop((open.pop(), updates));
        tokio::time::timeout(LIMIT, async { while ask(FEED).await.head.starts_with("http/1.1 429") {} }).await.unwrap();
    });
    let handshakes = world.broker.seen().iter().filter(|seen| seen.path_and_query.contains("authType")).count();
    assert_eq!(handshakes, 6, "what is refused is not sent");
}

#[test]
fn a_429_of_the_brokers_is_remembered() {
    let world = World::up(1, "");
    world.broker.fault(Fault::new(Action::Refuse { status: 429, body: Value::Null }).at("api-feed.dhan.co").times(1));
    let head = world.net.in_ns(Ns::Gateway, || async {
        ask(FEED).await.refused(429, "");
        ask(UPDATES).await.refused(429, "the broker answered 429")
    });
    assert!(head.contains("retry-after: 30\r\n") || head.contains("retry-after: 29\r\n"), "{head}");
    assert_eq!(world.broker.seen().iter().filter(|seen| seen.websocket).count(), 1);
}

/// Nobody has measured whether the broker ends sockets of an old token by itself: it may leave them, with or without prices.
#[test]
fn a_token_swap_in_the_middle_of_a_feed_ends_it_within_40_seconds_and_the_next_one_has_the_new_token() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    world.broker.set_habits(Habits { sockets_outlive_token: true, ..Habits::default() });
    let callers = world.net.runtime(Ns::Gateway);
    let mut open = callers.run(feed());
    let new = world.broker.mint_token(&a1.client_id);
    let (status, answer) = world.gateway.admin().put("/v1/accounts/a1/token", &json!({"access_token": new}));
    assert!(status < 300, "{answer}");
    let swapped = Instant::now();
    let told = callers.run(async move {
        let told = open.close().await;
        feed().await;
        told
    });
    assert_eq!(told, (1012, "reconnect: the token was replaced".to_owned()));
    assert!(swapped.elapsed() < LIMIT, "{:?}", swapped.elapsed());
    assert_own(&world, &[&a1.token, &new]);
    wait_until("its line", LIMIT, || lines(&world, "token_replaced").len() == 1);
    let line = lines(&world, "token_replaced").remove(0);
    for want in ["account=\"a1\"", "service=\"feed\"", "leg=\"primary\"", "close_code=1012", "messages_from_broker="] {
        assert!(line.contains(want), "{want} is not in {line}");
    }
}

#[test]
fn a_line_that_dies_silently_in_the_middle_of_a_feed_ends_within_40_seconds() {
    let world = World::up(1, "");
    let id = world.traders[0].client_id.clone();
    let callers = world.net.runtime(Ns::Gateway);
    let mut open = callers.run(feed());
    assert_eq!(world.broker.befall(&id, Some(StreamHost::Feed), StreamFault::Silence), 1);
    let died = Instant::now();
    let told = callers.run(async move {
        let told = open.close().await;
        feed().await;
        told
    });
    assert_eq!(told, (1012, "reconnect: nothing was heard from the broker for 40 s".to_owned()));
    assert!(died.elapsed() < LIMIT, "{:?}", died.elapsed());
    assert_own(&world, &[&world.traders[0].token.clone()]);
    wait_until("its line", LIMIT, || lines(&world, "broker_silent").len() == 1);
}

/// An end that the broker makes is told with a Close, whatever the broker says of it; a login that it refuses is named.
#[test]
fn what_the_broker_ends_is_told_with_words() {
    let world = World::up(1, "");
    let id = world.traders[0].client_id.clone();
    let broker = &world.broker;
    let befalls = |fault| assert_eq!(broker.befall(&id, Some(StreamHost::Feed), fault), 1);
    world.net.in_ns(Ns::Gateway, || async {
        for (fault, code, words) in [
            (StreamFault::Disconnect { reason: 805 }, 1008, "there are more sockets than the broker allows (805)"),
            (StreamFault::Reset, 1011, "reconnect: the broker ended the connection without a Close"),
            (StreamFault::Close { code: 1001 }, 1001, ""),
        ] {
            let mut open = feed().await;
            befalls(StreamFault::Text);
            while open.message().await.unwrap() != (1, b"heartbeat".to_vec()) {}
            befalls(fault);
            let told = open.close().await;
            assert!(told.0 == code && told.1.ends_with(words), "{fault:?}: {told:?}");
            let gone = || (broker.sockets(&id, None) == 0).then_some(());
            crate::support::wait::wait_for_async("its end at the broker", LIMIT, async || gone()).await;
        }
        broker.set_habits(Habits { login_refusal_packet: true, ..Habits::default() });
        broker.kill_token(&id);
        let mut updates = ask(UPDATES).await.socket();
        updates.say(1, LOGIN.as_bytes()).await;
        let (opcode, packet) = updates.message().await.unwrap();
        assert_eq!((opcode, packet[0], &packet[8..]), (2, 50, &809_u16.to_le_bytes()[..]));
        assert_eq!(updates.close().await.0, 1000, "the broker's own");
    });
    for (why, count) in [("broker_disconnected", 1), ("broker_left", 1), ("broker_closed", 1), ("login_refused", 1)] {
        wait_until(why, LIMIT, || lines(&world, why).len() == count);
    }
    assert!(lines(&world, "login_refused")[0].contains("809"), "{:?}", lines(&world, "login_refused"));
}

#[test]
fn a_key_that_is_taken_away_ends_open_sockets_with_words_and_a_halt_does_not() {
    let world = World::up(1, "");
    let key = world.post("/v1/accounts/a1/keys", &json!({}), 201);
    let callers = world.net.runtime(Ns::Gateway);
    let mut open = callers.run(feed());
    let (status, answer) =
        world.gateway.admin().put("/v1/accounts/a1/halt", &json!({"halted": true, "reason": "lunch"}));
    assert!(status < 300, "{answer}");
    let mut open = callers.run(async move {
        assert_eq!(open.message().await.unwrap().0, 2, "prices go on");
        open
    });
    let path = format!("/v1/accounts/a1/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(world.gateway.admin().delete(&path).0, 204);
    let told = callers.run(async move { open.close().await });
    assert_eq!(told.0, 1008);
    assert!(told.1.contains("client key"), "{told:?}");
}
