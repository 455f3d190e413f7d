//! The first promise, on the real binary: whatever callers do, no request reaches
//! the broker from another account's address, with another account's token, or
//! with another account's client id.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::caller::{Caller, basic, connect, connect_unix, request, tunnel};
use crate::support::net::{self, Ns, Uplink};
use crate::support::wait_until;
use crate::support::world::{LISTENER, LOOPBACK, TestAccount, World};
use serde_json::json;
use sixgate::domain::{Pair, SourceAddr};
use sixgate::sandbox::Seen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ACCOUNTS: u16 = 50;
/// At most, should the test never be content with what it saw.
const ROUNDS: usize = 400;

/// How a caller reaches the gateway.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Absolute,
    Origin,
    Intercepted1,
    Intercepted2,
}

const MODES: [Mode; 4] = [Mode::Absolute, Mode::Origin, Mode::Intercepted1, Mode::Intercepted2];

/// An order with a correlation id that says who meant it.
fn order(trader: &TestAccount, nth: usize) -> String {
    json!({
        "correlationId": format!("{}-{nth}", trader.name), "transactionType": "BUY", "exchangeSegment": "NSE_EQ",
        "productType": "INTRADAY", "orderType": "LIMIT", "validity": "DAY", "securityId": "11536", "quantity": 1, "price": 3310.5,
    })
    .to_string()
}

/// One kept connection of one account: orders, reads and data, each with another
/// account's credentials on board to lead the gateway astray.
async fn trade(
    mode: Mode,
    trader: TestAccount,
    stranger: TestAccount,
    ca: PathBuf,
    from: usize,
    moves_to: Option<Pair>,
    enough: Arc<AtomicBool>,
) {
    let auth = basic(&trader.name, &trader.key);
    let stream = connect(LISTENER).await;
    let (mut caller, base, host) = match mode {
        Mode::Absolute => (Caller::http1(stream).await, "http://api.dhan.co", "api.dhan.co"),
        Mode::Origin => (Caller::http1(stream).await, "", "gateway.example:8080"),
        Mode::Intercepted1 | Mode::Intercepted2 => {
            let (status, stream) = tunnel(stream, "api.dhan.co:443", &[("Proxy-Authorization", &auth)]).await;
            assert_eq!(status, 200);
            let http2 = matches!(mode, Mode::Intercepted2);
            let base = if http2 { "https://api.dhan.co" } else { "" };
            (Caller::inside(stream, "api.dhan.co", &ca, http2).await, base, "api.dhan.co")
        }
    };
    let name = match mode {
        Mode::Absolute => "proxy-authorization",
        Mode::Origin => "authorization",
        Mode::Intercepted1 | Mode::Intercepted2 => "x-nothing",
    };
    let theirs = basic(&stranger.name, "sgk_wrong");
    let mut own = vec![trader.pair.primary.to_string(), trader.pair.secondary.to_string()];
    own.extend(moves_to.iter().flat_map(|to| [to.primary.to_string(), to.secondary.to_string()]));
    for nth in from..from + ROUNDS {
        if enough.load(Ordering::Relaxed) {
            return;
        }
        let headers = [
            (name, auth.as_str()),
            ("access-token", stranger.token.as_str()),
            ("client-id", stranger.client_id.as_str()),
            ("dhanClientId", stranger.client_id.as_str()),
        ];
        let body = order(&trader, nth);
        for (method, path, body) in
            [("POST", "/v2/orders", Some(body.as_str())), ("GET", "/v2/profile", None), ("GET", "/v2/holdings", None)]
        {
            let reply = caller.send(request(method, &format!("{base}{path}"), host, &headers, body)).await.unwrap();
            let source = reply.header("sixgate-source").to_owned();
            match reply.status {
                200 => assert!(own.contains(&source), "{mode:?} {} left from {source}", trader.name),
                // The broker was told of the new pair while this left from the old one.
                400 if moves_to.is_some() && own[..2].contains(&source) => {}
                // While a line is down and the other not tried yet; more than the broker takes.
                502..=504 | 429 => {}
                other => panic!("{mode:?} {path}: {other} {:?}", reply.body),
            }
        }
        // A stranger's wrong key on the same connection, and an order that names him.
        if matches!(mode, Mode::Absolute | Mode::Origin) {
            let wrong = [(name, theirs.as_str())];
            let refused = caller.send(request("GET", &format!("{base}/v2/orders"), host, &wrong, None)).await.unwrap();
            assert_eq!(refused.status, 407);
        }
        let named = format!(r#"{{"dhanClientId":"{}"}}"#, stranger.client_id);
        let refused =
            caller.send(request("POST", &format!("{base}/v2/orders"), host, &headers, Some(&named))).await.unwrap();
        assert_eq!(refused.status, 403, "{:?}", refused.body);
    }
}

/// One connection, many accounts in turn: a pool of an order engine that does not
/// keep connections per account.
async fn take_turns(traders: Vec<TestAccount>, moved: usize) {
    let mut caller = Caller::http1(connect(LISTENER).await).await;
    for (nth, trader) in traders.iter().cycle().take(traders.len() * 2).enumerate() {
        if nth % traders.len() == moved {
            continue;
        }
        let auth = basic(&trader.name, &trader.key);
        let headers = [("proxy-authorization", auth.as_str())];
        let body = order(trader, 10_000 + nth);
        let reply =
            caller.send(request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &headers, Some(&body))).await;
        let reply = reply.unwrap();
        assert!(matches!(reply.status, 200 | 429 | 502..=504), "{reply:?}");
        if reply.status == 200 {
            let source: std::net::Ipv6Addr = reply.header("sixgate-source").parse().unwrap();
            assert!([trader.pair.primary.ip(), trader.pair.secondary.ip()].contains(&source));
        }
    }
}

/// Another of the broker's hosts: a feed, signed in its query, which names a stranger.
async fn listen(trader: TestAccount, stranger: TestAccount, enough: Arc<AtomicBool>) {
    while !enough.load(Ordering::Relaxed) {
        let mut stream = connect(LISTENER).await;
        let head = format!(
            "GET http://api-feed.dhan.co/?version=2&token={}&clientId={}&authType=2 HTTP/1.1\r\nHost: api-feed.dhan.co\r\n\
             Proxy-Authorization: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            stranger.token,
            stranger.client_id,
            basic(&trader.name, &trader.key),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0_u8; 12];
        stream.read_exact(&mut status).await.unwrap();
        let status = String::from_utf8_lossy(&status[9..]).into_owned();
        assert!(matches!(status.as_str(), "101" | "429" | "502" | "503" | "504"), "{status}");
    }
}

/// What of `seen` belongs to two accounts. The token selects the account at the
/// broker, so everything else is held against its account.
fn mixed(
    seen: &[Seen],
    pairs: &BTreeMap<String, BTreeSet<std::net::Ipv6Addr>>,
    names: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for seen in seen {
        let Some(account) = &seen.account else {
            wrong.push(format!("no live token: {seen:?}"));
            continue;
        };
        let own = account.as_str();
        let named =
            seen.correlation_id.as_ref().and_then(|id| id.split('-').next()).filter(|name| names.contains_key(*name));
        // The gateway's own question names the account in another field than a caller's request does.
        let ids = (seen.client_id_header.as_deref(), seen.dhan_client_id_header.as_deref());
        // A feed's id, which stands in its query, is shown with the headers'.
        let expected = if seen.path_and_query == "/v2/ip/getIP" { (None, Some(own)) } else { (Some(own), None) };
        let fits = pairs[own].contains(seen.peer.ip())
            && ids == expected
            && seen.body_client_id.as_deref().is_none_or(|id| id == own)
            && named.is_none_or(|name| names[name] == own);
        if !fits {
            wrong.push(format!("{seen:?}"));
        }
    }
    wrong
}

/// The test that the product exists for. 50 accounts; callers in every mode, kept
/// alive, with strangers' credentials and a failed login in the middle; a line that
/// goes down and comes back; an account that gets another pair under way.
#[test]
#[expect(clippy::too_many_lines, reason = "one story, and all of it goes on at once")]
fn no_request_leaves_from_another_accounts_address_or_with_its_token() {
    let world =
        World::up(ACCOUNTS, "response_timeout = \"2s\"\nidle_timeout = \"5s\"\n[orders]\nresponse_timeout = \"2s\"");
    let callers = world.net.runtime(Ns::Caller);
    let locals = world.net.runtime(Ns::Gateway);
    let source = |ip| SourceAddr::new(ip).unwrap();
    let new = Pair { primary: source(net::primary(9001)), secondary: source(net::secondary(9001)) };
    let enough = Arc::new(AtomicBool::new(false));
    let mut under_way = Vec::new();
    for (n, trader) in world.traders.iter().enumerate() {
        let stranger = world.traders[(n + 7) % world.traders.len()].clone();
        for (m, mode) in MODES.into_iter().enumerate() {
            let task = trade(
                mode,
                trader.clone(),
                stranger.clone(),
                world.ca(),
                m * 1000,
                (n == 2).then_some(new),
                Arc::clone(&enough),
            );
            under_way.push(callers.spawn(task));
        }
    }
    for (n, trader) in world.traders.iter().enumerate().take(8) {
        let stranger = world.traders[(n + 3) % world.traders.len()].clone();
        under_way.push(callers.spawn(listen(trader.clone(), stranger, Arc::clone(&enough))));
    }
    let turns = callers.spawn(take_turns(world.traders.clone(), 2));
    let (a1, a2) = (world.traders[0].clone(), world.traders[1].clone());
    let socket = world.dir.path().join("proxy.sock");
    let local = locals.spawn(async move {
        let mut loopback = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let mut unix = Caller::http1(connect_unix(&socket).await).await;
        for nth in 0..40 {
            for (caller, trader) in [(&mut loopback, &a1), (&mut unix, &a2)] {
                let body = order(trader, 20_000 + nth);
                let ask = request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(&body));
                let reply = caller.send(ask).await.unwrap();
                assert!(matches!(reply.status, 200 | 429 | 502..=504), "{reply:?}");
            }
        }
    });

    // Meanwhile: the first line dies and comes back, and an account moves.
    let broker = world.broker.clone();
    let traders = world.traders.clone();
    let by_secondary =
        |seen: &[Seen]| seen.iter().filter(|s| traders.iter().any(|t| t.pair.secondary.ip() == *s.peer.ip())).count();
    wait_until("orders are under way", Duration::from_secs(30), || broker.seen().len() > 1000);
    world.net.uplink(1, Uplink::Down);
    wait_until("orders go by the other line", Duration::from_secs(60), || by_secondary(&broker.seen()) > 100);
    world.net.uplink(1, Uplink::Up);
    let moved = &world.traders[2];
    let (status, answer) = world.gateway.admin().delete(&format!("/v1/accounts/{}/pair", moved.name));
    assert_eq!(status, 204, "{answer}");
    world.broker.register(&moved.client_id, Some(new));
    let body = json!({ "primary": new.primary.to_string(), "secondary": new.secondary.to_string() });
    world.post(&format!("/v1/accounts/{}/pair", moved.name), &body, 201);

    let before = world.broker.seen().len();
    let all = |seen: &[Seen]| seen[before..].iter().filter_map(|s| s.account.clone()).collect::<BTreeSet<_>>().len();
    wait_until("every account trades again", Duration::from_secs(60), || {
        all(&broker.seen()) == usize::from(ACCOUNTS) && broker.seen().len() > before + 1000
    });
    enough.store(true, Ordering::Relaxed);
    callers.run(async move {
        for task in under_way {
            task.await.unwrap();
        }
        turns.await.unwrap();
    });
    locals.run(async move { local.await.unwrap() });

    let seen = world.broker.seen();
    let mut pairs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for trader in &world.traders {
        let own = pairs.entry(trader.client_id.as_str().to_owned()).or_default();
        own.extend([trader.pair.primary.ip(), trader.pair.secondary.ip()]);
        names.insert(trader.name.clone(), trader.client_id.as_str().to_owned());
    }
    pairs.get_mut(moved.client_id.as_str()).unwrap().extend([new.primary.ip(), new.secondary.ip()]);
    let wrong = mixed(&seen, &pairs, &names);
    let accounts: BTreeSet<_> = seen.iter().filter_map(|s| s.account.clone()).collect();
    println!(
        "{} requests of {} accounts at the broker, {} from secondaries, {} connections, {} mixed",
        seen.len(),
        accounts.len(),
        by_secondary(&seen),
        seen.iter().map(|s| s.connection).collect::<BTreeSet<_>>().len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), seen.len(), wrong[..wrong.len().min(5)].join("\n"));
    assert_eq!(accounts.len(), usize::from(ACCOUNTS));
    assert!(seen.iter().filter(|s| s.websocket).count() > 8, "no feed was opened");
}

/// A test of the test: the check must see what it is there to see.
#[test]
fn the_check_finds_a_request_of_two_accounts() {
    let world = World::up(2, "");
    let (a1, a2) = (world.traders[0].clone(), world.traders[1].clone());
    let locals = world.net.runtime(Ns::Gateway);
    // Not through the gateway: from the first account's address with the second's token.
    let (source, token, ca) = (a1.pair.primary.ip(), a2.token.clone(), world.dir.path().join("broker-ca.pem"));
    locals.run(async move {
        let to = std::net::SocketAddrV6::new(net::broker(1), 443, 0, 0);
        let stream = net::connect_from(source, to).await.unwrap();
        let mut caller = Caller::inside(stream, "api.dhan.co", &ca, false).await;
        let headers = [("access-token", token.as_str()), ("client-id", "1000000002")];
        caller.send(request("GET", "/v2/profile", "api.dhan.co", &headers, None)).await.unwrap();
    });
    let pairs = [&a1, &a2]
        .map(|t| (t.client_id.as_str().to_owned(), BTreeSet::from([t.pair.primary.ip(), t.pair.secondary.ip()])));
    let wrong = mixed(&world.broker.seen(), &BTreeMap::from(pairs), &BTreeMap::new());
    assert_eq!(wrong.len(), 1);
}
