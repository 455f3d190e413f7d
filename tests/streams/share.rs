//! Where the account has its feed shared, its callers are served by as few of the broker's sockets as can bring what they
//! subscribe to: each hears what it asked for, late joiners at once, and none goes with another.

use serde_json::{Value, json};
use sixgate::sandbox::{Seen, StreamHost};

use super::LIMIT;
use super::socket::{FEED, LOGIN, Socket, UPDATES, ask, ask_as, feed};
use crate::support::wait::wait_until;
use crate::support::world::{TestAccount, World};
use crate::support::{Ns, NsRuntime};

const ID: u32 = 11_536;

fn switch_on(world: &World, account: &TestAccount) {
    let path = format!("/v1/accounts/{}", account.name);
    let (status, answer) = world.gateway.admin().patch(&path, &json!({"streams": "share"}));
    assert_eq!((status, &answer["streams"]), (200, &json!("share")), "{answer}");
}

fn up(accounts: u16) -> (World, NsRuntime) {
    let world = World::up(accounts, "");
    for account in &world.traders {
        switch_on(&world, account);
    }
    let callers = world.net.runtime(Ns::Gateway);
    (world, callers)
}

fn feeds(world: &World, account: &TestAccount) -> usize {
    world.broker.sockets(&account.client_id, Some(StreamHost::Feed))
}

fn counts(world: &World) -> Value {
    world.gateway.admin().get("/v1/accounts/a1").1["sockets"][0].clone()
}

fn handshakes(world: &World) -> Vec<Seen> {
    world.broker.seen().into_iter().filter(|seen| seen.websocket).collect()
}

/// A packet of this code comes, of the instrument and of no other.
async fn ticks(socket: &mut Socket, code: u8) {
    let (opcode, packet) = socket.message().await.expect("a price");
    assert_eq!((opcode, packet[0], &packet[4..8]), (2, code, &ID.to_le_bytes()[..]), "{packet:?}");
}

/// So many callers, each of which has heard a price.
async fn callers_of_feed(count: usize) -> Vec<Socket> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(feed().await);
    }
    all
}

/// Each of them hears of the instrument; they are given back.
async fn each_ticks(mut sockets: Vec<Socket>) -> Vec<Socket> {
    for socket in &mut sockets {
        ticks(socket, 2).await;
    }
    sockets
}

fn subscribe(code: u64) -> String {
    let list = json!([{"ExchangeSegment": "NSE_EQ", "SecurityId": ID.to_string()}]);
    json!({"RequestCode": code, "InstrumentCount": 1, "InstrumentList": list}).to_string()
}

#[test]
fn seven_callers_are_served_by_one_socket_and_the_last_one_ends_it() {
    let (world, callers) = up(1);
    let a1 = &world.traders[0];
    // More than the broker allows, three of them at the same moment.
    let sockets = callers.run(async {
        let (one, two, three) = tokio::join!(feed(), feed(), feed());
        let mut all = callers_of_feed(4).await;
        all.extend([one, two, three]);
        all
    });
    assert_eq!(feeds(&world, a1), 1);
    let seen = handshakes(&world);
    assert_eq!((seen.len(), *seen[0].peer.ip()), (1, a1.pair.primary.ip()), "{seen:?}");
    let account = counts(&world);
    assert_eq!((&account["open"], &account["sharing"], &account["refused"]), (&json!(1), &json!(7), &json!(0)));
    // The broker goes on sending: all of them hear it.
    let mut sockets = callers.run(each_ticks(sockets));
    // One unsubscribes: the others still hear.
    let (mut first, second) = (sockets.remove(0), sockets.remove(0));
    let sockets = callers.run(async move {
        first.say(1, subscribe(16).as_bytes()).await;
        first.say(9, b"has it").await;
        while first.message().await.unwrap() != (10, b"has it".to_vec()) {}
        let sockets = each_ticks(sockets).await;
        // It says Close, another one just goes.
        first.say(8, &1000_u16.to_be_bytes()).await;
        assert_eq!(first.message().await.unwrap(), (8, 1000_u16.to_be_bytes().to_vec()));
        drop(second);
        sockets
    });
    wait_until("two to be gone", LIMIT, || counts(&world)["sharing"] == 5);
    assert_eq!(feeds(&world, a1), 1);
    drop(sockets);
    wait_until("the broker's socket to be gone", LIMIT, || feeds(&world, a1) == 0);
    wait_until("its end to be counted", LIMIT, || counts(&world)["open"] == 0);
    // Whoever comes next opens another.
    drop(callers.run(feed()));
    assert_eq!(handshakes(&world).len(), 2);
    assert!(!world.gateway.log().contains(&a1.token), "a token in the log");
}

/// Whether the broker would send both modes on one socket nobody knows.
#[test]
fn another_mode_takes_another_socket_and_is_heard_by_its_callers_alone() {
    let (world, callers) = up(1);
    let a1 = &world.traders[0];
    let (mut ticker, mut quote, mut full) = callers.run(async {
        let ticker = feed().await;
        let (mut quote, mut full) = (ask(FEED).await.socket(), ask(FEED).await.socket());
        quote.say(1, subscribe(17).as_bytes()).await;
        ticks(&mut quote, 4).await;
        full.say(1, subscribe(21).as_bytes()).await;
        ticks(&mut full, 8).await;
        (ticker, quote, full)
    });
    assert_eq!(feeds(&world, a1), 3);
    let ticker = callers.run(async move {
        for _ in 0..2 {
            ticks(&mut ticker, 2).await;
            ticks(&mut quote, 4).await;
            ticks(&mut full, 8).await;
        }
        // What asks for nothing is dropped and counted.
        for _ in 0..3 {
            quote.say(1, b"are you there?").await;
        }
        // What nobody knows is refused, and not passed on to all.
        quote.say(1, br#"{"RequestCode":99}"#).await;
        let (code, words) = quote.close().await;
        assert!(code == 1008 && words.contains("streams = share"), "{code} {words}");
        drop(full);
        ticker
    });
    wait_until("the sockets of the other modes to be gone", LIMIT, || feeds(&world, a1) == 1);
    let dropped = || world.gateway.metric("sixgate_stream_messages_dropped_total{kind=\"feed\"}");
    wait_until("what was dropped to be counted", LIMIT, || dropped() == Some(3.0));
    callers.run(each_ticks(vec![ticker]));
    // Order updates are not shared.
    let updates = callers.run(async {
        let mut both = [ask(UPDATES).await.socket(), ask(UPDATES).await.socket()];
        for socket in &mut both {
            socket.say(1, LOGIN.as_bytes()).await;
        }
        both
    });
    let logged_in = || world.broker.sockets(&a1.client_id, Some(StreamHost::OrderUpdate));
    wait_until("both to be logged in", LIMIT, || logged_in() == 2);
    drop(updates);
}

/// One reconnect for all, and each account's from its own address.
#[test]
fn after_a_token_swap_all_callers_go_on_by_one_new_socket_and_no_other_account_is_touched() {
    let (world, callers) = up(2);
    let [a1, a2] = [0, 1].map(|n: usize| world.traders[n].clone());
    let of = |account: &TestAccount, count: usize| {
        let account = account.clone();
        callers.run(async move {
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(ask_as(&account, FEED).await.socket().with_a_price().await);
            }
            all
        })
    };
    let (of_a1, of_a2) = (of(&a1, 3), of(&a2, 2));
    assert_eq!((feeds(&world, &a1), feeds(&world, &a2)), (1, 1));
    let new = world.broker.mint_token(&a1.client_id);
    let (status, answer) = world.gateway.admin().put("/v1/accounts/a1/token", &json!({"access_token": new}));
    assert!(status < 300, "{answer}");
    wait_until("a reconnect", LIMIT * 2, || world.gateway.log().contains("websocket reconnected"));
    let last = || handshakes(&world).last().and_then(|seen| seen.token.clone());
    wait_until("a handshake with the new token", LIMIT, || last().as_deref() == Some(&*new));
    let (mut of_a1, of_a2) = callers.run(async move {
        let mut of_a1 = of_a1;
        for socket in &mut of_a1 {
            // What came before it may still be on its way.
            socket.say(9, b"still there").await;
            while socket.message().await.expect("no end") != (10, b"still there".to_vec()) {}
            ticks(socket, 2).await;
        }
        (of_a1, each_ticks(of_a2).await)
    });
    assert_eq!((feeds(&world, &a1), feeds(&world, &a2)), (1, 1));
    let seen: Vec<_> = handshakes(&world).iter().map(|seen| (seen.token.clone(), *seen.peer.ip())).collect();
    for (token, source) in &seen {
        let own = if token.as_deref() == Some(&*a2.token) { &a2 } else { &a1 };
        assert_eq!(*source, own.pair.primary.ip(), "{seen:?}");
    }
    let with = |token: &str| seen.iter().filter(|(seen, _)| seen.as_deref() == Some(token)).count();
    assert_eq!((with(&new), with(&a2.token)), (1, 1), "{seen:?}");
    // The broker ends the first one before the gateway is given the new token: until then it tries again by the old one.
    assert!(seen.len() <= 5, "{seen:?}");

    // The account goes: its callers are told, the other's go on.
    let (status, answer) = world.gateway.admin().delete("/v1/accounts/a1");
    assert!(status < 300, "{answer}");
    callers.run(async move {
        for socket in &mut of_a1 {
            assert_eq!(socket.close().await.0, 1008);
        }
        each_ticks(of_a2).await
    });
    wait_until("the socket of the first account to be gone", LIMIT, || feeds(&world, &a1) == 0);
}
