//! How traffic leaves, on the real binary in namespaces: every failure is the named
//! error, nothing is sent from any other address, and no order is sent twice.

use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::caller::{Caller, Reply, basic, connect, request, tls, tunnel};
use crate::support::name_server::{NameServer, Says};
use crate::support::net::{self, Ns, Uplink};
use crate::support::wait_until;
use crate::support::world::{LISTENER, LOOPBACK, TestAccount, World, config, pins};
use serde_json::json;
use sixgate::sandbox::{Action, Fault, Habits};

const ORDER: &str = r#"{"correlationId":"c1","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;

/// One request of account `a1` through the loopback listener.
fn ask(world: &World, method: &'static str, url: &'static str, body: Option<&'static str>) -> Reply {
    world.net.in_ns(Ns::Gateway, || async move {
        let host = url.split('/').nth(2).unwrap();
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        caller.send(request(method, url, host, &[], body)).await.unwrap()
    })
}

/// An order of its own: each has another correlation id.
fn place(world: &World) -> Reply {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let id = format!("\"c{}\"", NEXT.fetch_add(1, Ordering::Relaxed));
    let body = ORDER.replace("\"c1\"", &id);
    world.net.in_ns(Ns::Gateway, || async move {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let order = request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(&body));
        caller.send(order).await.unwrap()
    })
}

fn orders(world: &World) -> usize {
    world.broker.orders(&world.traders[0].client_id).len()
}

/// A reply of the gateway's own, held against the contract.
fn assert_problem(reply: &Reply, status: u16, code: &str, outcome: &str) {
    let body = reply.json();
    assert_eq!(reply.status, status, "{body}");
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["errorCode"], format!("SG-{code}"), "{body}");
    assert_eq!(body["outcome"], outcome, "{body}");
    assert_eq!(body["request_id"], reply.header("sixgate-request-id"));
    for name in ["type", "title", "detail", "errorType", "errorMessage"] {
        assert!(body[name].is_string(), "{name}: {body}");
    }
    if matches!(status, 503 | 429) {
        assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    }
}

#[test]
fn an_order_leaves_from_the_primary_signed_with_the_live_token() {
    let world = World::up(1, "");
    let a1 = &world.traders[0];
    let reply = place(&world);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("sixgate-source"), a1.pair.primary.to_string());
    assert_eq!((reply.header("sixgate-leg"), reply.header("sixgate-outcome")), ("primary", "executed"));
    let seen = world.broker.seen();
    let order = seen.last().unwrap();
    assert_eq!(*order.peer.ip(), a1.pair.primary.ip());
    assert_eq!(order.token.as_deref(), Some(a1.token.as_str()));
    assert_eq!(order.client_id_header.as_deref(), Some(a1.client_id.as_str()));
    assert_eq!(order.body_client_id.as_deref(), Some(a1.client_id.as_str()));
    assert_eq!((order.host.as_deref(), order.sni.as_deref()), (Some("api.dhan.co"), Some("api.dhan.co")));
    let names: BTreeSet<_> = order.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!names.contains("authorization") && !names.contains("proxy-authorization"), "{names:?}");
}

/// The pair is not this host's: there is no answer to it, and the kernel's own
/// address would be somebody's who is not registered.
#[test]
fn an_address_that_is_not_this_hosts_fails_closed() {
    for freebind in [true, false] {
        let world = World::up(1, &format!("freebind = {freebind}"));
        let admin = world.gateway.admin();
        assert_eq!(admin.delete("/v1/accounts/a1/pair").0, 204);
        let strange = json!({ "primary": "2001:db8:dead::1", "secondary": "2001:db8:dead::2" });
        world.post("/v1/accounts/a1/pair", &strange, 201);
        let reply = place(&world);
        assert_problem(&reply, 503, "egress_unavailable", "not_sent");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("primary") && detail.contains("secondary") && detail.contains("2001:db8:dead::1"),
            "{detail}"
        );
        assert!(world.broker.seen().is_empty(), "{:?}", world.broker.seen());
        let (_, account) = admin.get("/v1/accounts/a1");
        let legs = &account["legs"];
        for leg in [&legs[0], &legs[1]] {
            assert_eq!(leg["state"], "tripped", "{legs}");
            assert_eq!(leg["reason"], "address_gone", "{legs}");
        }
    }
}

#[test]
fn a_dead_broker_is_told_for_both_legs_and_nothing_was_sent() {
    let world = World::up_with(1, &config("[egress.resolve]\n\"api.dhan.co\" = [\"[2001:db8:b::1]:9\"]"));
    let reply = place(&world);
    assert_problem(&reply, 503, "egress_unavailable", "not_sent");
    assert_eq!(reply.header("sixgate-outcome"), "not_sent");
    assert!(reply.json()["detail"].as_str().unwrap().contains("refused"), "{reply:?}");
    assert_eq!(orders(&world), 0);
}

#[test]
fn a_broker_whose_certificate_is_not_trusted_gets_nothing() {
    let text = config(&pins()).replace("extra_roots = [\"{dir}/broker-ca.pem\"]", "");
    let world = World::up_with(1, &text);
    let reply = place(&world);
    assert_problem(&reply, 503, "egress_unavailable", "not_sent");
    assert!(reply.json()["detail"].as_str().unwrap().contains("TLS"), "{reply:?}");
    assert!(world.broker.seen().is_empty());
}

/// A line that swallows packets: the order goes by the other one, once.
#[test]
fn an_order_goes_by_the_secondary_when_the_primary_cannot_be_dialled() {
    for state in [Uplink::Silent, Uplink::Down] {
        let world = World::up(1, "");
        world.net.uplink(1, state);
        let reply = place(&world);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!((reply.header("sixgate-leg"), reply.header("sixgate-outcome")), ("secondary", "executed"));
        assert_eq!(reply.header("sixgate-source"), world.traders[0].pair.secondary.to_string());
        assert_eq!(orders(&world), 1);
        let peers: BTreeSet<_> = world.broker.seen().iter().map(|s| *s.peer.ip()).collect();
        assert_eq!(peers, BTreeSet::from([world.traders[0].pair.secondary.ip()]));
    }
}

/// A broker of many addresses, all of them swallowed on the first line: what is left
/// of the order's time must be enough for the second.
#[test]
fn a_dead_line_leaves_time_for_the_other_one() {
    let many: String = (1..=3).map(|n| format!("\"[{}]:443\", ", net::broker(n))).collect();
    let pins = format!("[egress.resolve]\n\"api.dhan.co\" = [{many}]\n[orders]\nresponse_timeout = \"2s\"");
    let world = World::up_with(1, &config(&pins));
    world.net.uplink(1, Uplink::Silent);
    let reply = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-leg")), (200, "secondary"), "{reply:?}");
    let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
    assert_eq!(
        (&account["legs"][0]["state"], &account["legs"][0]["reason"]),
        (&json!("tripped"), &json!("connect_timed_out"))
    );
    assert_eq!(orders(&world), 1);
}

/// The heart of order safety: what may have been sent is not sent again, whatever the
/// connection does, and the broker is asked what became of it.
fn lost(action: Action) {
    let world = World::up_with(1, &config(&format!("{}\n[orders]\nresponse_timeout = \"700ms\"", pins())));
    // On a fresh connection, then on one that was kept.
    for kept in [false, true] {
        let before = orders(&world);
        if kept {
            assert_eq!(ask(&world, "GET", "http://api.dhan.co/v2/profile", None).status, 200);
        }
        world.broker.fault(Fault::new(action.clone()).on("POST", "/v2/orders").times(1));
        let reply = place(&world);
        assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
        assert_eq!(reply.header("sixgate-recovered"), "true");
        assert!(reply.json()["orderId"].is_string(), "{reply:?}");
        assert_eq!(orders(&world), before + 1, "{action:?} kept={kept}");
        let sent = world.broker.seen().iter().filter(|s| s.method == "POST").count();
        assert_eq!(sent, before + 1, "{action:?} kept={kept}");
    }
}

#[test]
fn an_order_whose_connection_broke_after_it_was_executed_is_not_sent_again() {
    lost(Action::Close { executed: true });
}

#[test]
fn an_order_that_gets_no_answer_is_not_sent_again() {
    lost(Action::Hang { executed: true });
}

#[test]
fn a_page_instead_of_an_answer_is_looked_behind() {
    let world = World::up_with(1, &config(&format!("{}\n[orders]\nreconcile_for = \"4s\"", pins())));
    let page = |executed| {
        world.broker.fault(Fault::new(Action::BadGateway { executed }).on("POST", "/v2/orders").times(1));
        place(&world)
    };
    let reply = page(true);
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"));
    assert_eq!((reply.header("sixgate-recovered"), orders(&world)), ("true", 1));
    // It was not carried out, and nobody can know: the page is the caller's to see.
    let reply = page(false);
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (502, "unknown"));
    assert!(reply.header("content-type").starts_with("text/html"), "{reply:?}");
    assert_eq!(orders(&world), 1);
    assert_eq!(world.broker.seen().iter().filter(|s| s.method == "POST").count(), 2);
}

#[test]
fn a_read_whose_connection_broke_is_repeated_once() {
    let world = World::up(1, "");
    let close = || Fault::new(Action::Close { executed: false }).on("GET", "/v2/orders");
    world.broker.fault(close().times(1));
    assert_eq!(ask(&world, "GET", "http://api.dhan.co/v2/orders", None).status, 200);
    world.broker.fault(close().times(2));
    let reply = ask(&world, "GET", "http://api.dhan.co/v2/orders", None);
    assert_problem(&reply, 502, "upstream_failed", "unknown");
    assert_eq!(ask(&world, "GET", "http://api.dhan.co/v2/orders", None).status, 200);
}

/// `POST /edis/form` is no order, and still does something.
#[test]
fn what_may_do_more_than_read_is_not_repeated() {
    let world = World::up(1, "");
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/edis/form"));
    let reply = ask(&world, "POST", "http://api.dhan.co/v2/edis/form", Some("{}"));
    assert_problem(&reply, 502, "upstream_failed", "unknown");
    assert!(!reply.json()["detail"].as_str().unwrap().contains("safe"), "{reply:?}");
    assert_eq!(world.broker.seen().iter().filter(|s| s.method == "POST").count(), 1);
}

#[test]
fn a_connection_that_the_broker_says_it_will_close_is_not_used_again() {
    let world = World::up(1, "");
    world.broker.fault(Fault::new(Action::LastOnConnection { after: 1 }).on("POST", "/v2/orders").times(3));
    for n in 1..=3 {
        assert_eq!(place(&world).status, 200);
        assert_eq!(orders(&world), n);
    }
    let seen = world.broker.seen();
    let connections: BTreeSet<_> = seen.iter().filter(|s| s.method == "POST").map(|s| s.connection).collect();
    assert_eq!(connections.len(), 3);
}

/// One that nobody uses any more is of no use to anybody, and the broker may count it.
#[test]
fn a_connection_that_nobody_uses_is_closed_by_us() {
    let world = World::up(1, "idle_timeout = \"4s\"");
    let idle = || {
        let (status, account) = world.gateway.admin().get("/v1/accounts/a1");
        assert_eq!(status, 200, "{account}");
        let legs = account["legs"].as_array().unwrap();
        legs.iter().map(|leg| leg["idle_connections"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(place(&world).status, 200);
    assert!(idle() > 0);
    wait_until("what lies idle is closed", Duration::from_secs(20), || idle() == 0);
    assert_eq!(place(&world).status, 200);
    assert!(idle() > 0, "and kept again");
    wait_until("it is closed again", Duration::from_secs(20), || idle() == 0);
}

/// The broker's refusals are the caller's to see, in the broker's words.
#[test]
fn what_the_broker_refuses_is_passed_on_as_it_came() {
    let world = World::up(1, "");
    let a1 = &world.traders[0];
    world.broker.register(&a1.client_id, None);
    let reply = place(&world);
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (400, "rejected"));
    assert_eq!(
        reply.json(),
        json!({ "errorType": "Input_Exception", "errorCode": "DH-905", "errorMessage": "Invalid IP" })
    );
    world.broker.kill_token(&a1.client_id);
    let reply = ask(&world, "GET", "http://api.dhan.co/v2/profile", None);
    // Its account is a manual one, so nobody but a person can go on.
    assert_problem(&reply, 503, "token_unavailable", "not_sent");
    assert!(reply.json()["detail"].as_str().unwrap().contains("replaced by a newer one or revoked"), "{reply:?}");
}

/// The broker has answered order writes over HTTP/2 with a redirect to nowhere, which would make each one unknown.
#[test]
fn http2_to_the_broker_by_option_and_never_for_an_order_write() {
    let world = World::up(1, "http2 = true");
    world.broker.set_habits(Habits { redirects_http2_writes: true, ..Habits::default() });
    for _ in 0..3 {
        let reply = place(&world);
        assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
        assert_eq!(ask(&world, "GET", "http://api.dhan.co/v2/orders", None).status, 200);
    }
    assert_eq!(orders(&world), 3);
    let seen = world.broker.seen();
    assert!(seen.iter().all(|s| *s.peer.ip() == world.traders[0].pair.primary.ip()), "{seen:?}");
    let over = |path: &str, method: &str| -> (BTreeSet<String>, usize) {
        let of = |s: &&sixgate::sandbox::Seen| s.path_and_query == path && s.method == method;
        let connections: BTreeSet<_> = seen.iter().filter(of).map(|s| s.connection).collect();
        (seen.iter().filter(of).map(|s| s.version.clone()).collect(), connections.len())
    };
    assert_eq!(over("/v2/orders", "POST"), (BTreeSet::from(["HTTP/1.1".to_owned()]), 1));
    assert_eq!(over("/v2/orders", "GET"), (BTreeSet::from(["HTTP/2.0".to_owned()]), 1));
}

/// A tunnel that nobody looks into still leaves from the account's address.
#[test]
fn a_blind_tunnel_leaves_from_the_accounts_address_unsigned() {
    let world = World::up_with(1, &config(&format!("{}\n[proxy]\ntunnel_hosts = [\"api.dhan.co\"]", pins())));
    let a1 = world.traders[0].clone();
    let broker_ca = world.dir.path().join("broker-ca.pem");
    let (auth, token) = (basic(&a1.name, &a1.key), a1.token.clone());
    world.net.in_ns(Ns::Caller, || async move {
        let stream = connect(LISTENER).await;
        let (status, stream) = tunnel(stream, "api.dhan.co:443", &[("Proxy-Authorization", &auth)]).await;
        assert_eq!(status, 200);
        // The caller sees the broker's own certificate.
        let stream = tls(stream, "api.dhan.co", &broker_ca, &[b"http/1.1"]).await.unwrap();
        let mut caller = Caller::http1(stream).await;
        let own = [("access-token", token.as_str())];
        let reply = caller.send(request("GET", "/v2/profile", "api.dhan.co", &own, None)).await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(!reply.headers.contains_key("sixgate-source"));
    });
    let seen = world.broker.seen();
    assert_eq!(*seen[0].peer.ip(), a1.pair.primary.ip());
    assert_eq!(seen[0].client_id_header, None);
}

/// 200 ports, three destinations, more connections than ports: `bind` must not
/// spend a port for every destination at once.
#[test]
fn one_leg_has_a_port_range_for_each_destination() {
    let hosts: String = (1..=3).map(|n| format!("\"h{n}.example\" = [\"[{}]:7000\"]\n", net::broker(n))).collect();
    let allow = "allow = [\"h1.example:7000\", \"h2.example:7000\", \"h3.example:7000\"]";
    let world = World::up_with(1, &config(&format!("{allow}\n[egress.resolve]\n{hosts}")));
    let narrow = ["-qw", "net.ipv4.ip_local_port_range=40000 40199"];
    assert!(world.net.command(Ns::Gateway, "sysctl").args(narrow).status().unwrap().success());
    let broker = world.net.runtime(Ns::Broker);
    let (sender, accepted) = std::sync::mpsc::channel();
    broker.run(async move {
        let listener = tokio::net::TcpListener::bind("[::]:7000").await.unwrap();
        tokio::task::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                sender.send((stream, peer)).unwrap();
            }
        });
    });
    let a1 = world.traders[0].clone();
    let opened = world.net.in_ns(Ns::Caller, || async move {
        let auth = basic(&a1.name, &a1.key);
        let mut open = Vec::new();
        for n in 0..570 {
            let to = format!("h{}.example:7000", n % 3 + 1);
            let (status, stream) = tunnel(connect(LISTENER).await, &to, &[("Proxy-Authorization", &auth)]).await;
            assert_eq!(status, 200, "tunnel {n}");
            open.push(stream);
        }
        open.len()
    });
    assert_eq!(opened, 570);
    // A tunnel is there when it is connected, which is before the broker's task has accepted it.
    let accept = |_| accepted.recv_timeout(Duration::from_secs(30)).unwrap();
    let kept: Vec<_> = (0..opened).map(accept).collect();
    let peers: Vec<SocketAddr> = kept.iter().map(|(_, peer)| *peer).collect();
    let from: BTreeSet<_> = peers.iter().map(SocketAddr::ip).collect();
    println!(
        "{} connections from {} ports of {from:?}",
        peers.len(),
        peers.iter().map(SocketAddr::port).collect::<BTreeSet<_>>().len()
    );
    assert_eq!(peers.len(), 570);
    assert_eq!(from, BTreeSet::from([world.traders[0].pair.primary.ip().into()]));
}

/// A name server of the test's own, which says this of `api.dhan.co`.
fn with_name_server(says: Says) -> (World, Reply) {
    let server = SocketAddrV6::new(net::broker(3), 5353, 0, 0);
    let world = World::up_with(1, &config(&format!("name_servers = [\"{server}\"]")));
    let broker = world.net.runtime(Ns::Broker);
    broker.run(NameServer::start(server.into(), says));
    let reply = place(&world);
    (world, reply)
}

/// One observer saw `api.dhan.co` without AAAA. IPv4 would leave from an address
/// that nobody registered.
#[test]
fn a_host_without_aaaa_is_a_clear_error() {
    let (world, reply) = with_name_server(Says::NoData);
    assert_problem(&reply, 503, "egress_unavailable", "not_sent");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("no AAAA record") && detail.contains("api.dhan.co"), "{detail}");
    assert!(world.broker.seen().is_empty());
    let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
    assert_eq!(account["legs"][0]["state"], "admits", "a name says nothing about a leg: {account}");
}

/// DNS rebinding from the other side: the broker's name points into this host.
#[test]
fn a_name_that_points_to_this_host_is_forbidden() {
    for address in ["::1", "fe80::1", "fd00::1", "ff02::1", "::ffff:7f00:1", "2001:db8:b::1"] {
        let (world, reply) = with_name_server(Says::address(address.parse().unwrap()));
        assert_problem(&reply, 503, "egress_unavailable", "not_sent");
        assert!(reply.json()["detail"].as_str().unwrap().contains("forbidden by rule"), "{address}: {reply:?}");
        assert!(world.broker.seen().is_empty());
    }
}

/// What a caller may not do, with the contract's codes, and the broker saw none of it.
#[test]
fn who_may_not_gets_the_named_code_and_nothing_is_sent() {
    let world = World::up(2, "");
    let (a1, a2) = (world.traders[0].clone(), world.traders[1].clone());
    let replies = world.net.in_ns(Ns::Caller, || async move { refusals(&a1, &a2).await });
    for (what, reply, status, code) in &replies {
        println!("{what}");
        assert_problem(reply, *status, code, "not_sent");
    }
    // A wrong key, an unknown account and none at all must look the same.
    let bare = |reply: &Reply| {
        let mut body = reply.json();
        body["request_id"] = json!(null);
        body
    };
    let same: Vec<_> = replies.iter().filter(|(_, _, status, _)| *status == 407).map(|(_, r, _, _)| bare(r)).collect();
    assert!(same.len() >= 4 && same.iter().all(|body| *body == same[0]), "{same:?}");
    assert!(same[0]["account"].is_null());
    assert!(world.broker.seen().is_empty(), "{:?}", world.broker.seen());
}

async fn refusals(a1: &TestAccount, a2: &TestAccount) -> Vec<(&'static str, Reply, u16, &'static str)> {
    let good = basic(&a1.name, &a1.key);
    let crossed = basic(&a1.name, &a2.key);
    let unknown = basic("nobody", &a1.key);
    let wrong = basic(&a1.name, "sgk_wrong");
    let orders = "http://api.dhan.co/v2/orders";
    let own = "gateway.example:8080";
    let mut replies = Vec::new();
    let mut add = async |what, auth: &str, method: &str, url: &str, host: &str, body: Option<&str>, status, code| {
        let mut caller = Caller::http1(connect(LISTENER).await).await;
        let headers: &[(&str, &str)] = if auth.is_empty() { &[] } else { &[("proxy-authorization", auth)] };
        let reply = caller.send(request(method, url, host, headers, body)).await.unwrap();
        replies.push((what, reply, status, code));
    };
    let api = "api.dhan.co";
    add("no key", "", "POST", orders, api, Some(ORDER), 407, "proxy_auth_required").await;
    add("a wrong key", &wrong, "POST", orders, api, Some(ORDER), 407, "proxy_auth_required").await;
    add("another account's key", &crossed, "POST", orders, api, Some(ORDER), 407, "proxy_auth_required").await;
    add("an unknown account", &unknown, "POST", orders, api, Some(ORDER), 407, "proxy_auth_required").await;
    add("another host", &good, "GET", "http://example.com/", "example.com", None, 403, "destination_denied").await;
    add(
        "an address",
        &good,
        "GET",
        "http://127.0.0.1:8081/v1/accounts",
        "127.0.0.1:8081",
        None,
        403,
        "destination_denied",
    )
    .await;
    add(
        "the broker's host, another port",
        &good,
        "GET",
        "http://api.dhan.co:22/",
        "api.dhan.co:22",
        None,
        403,
        "destination_denied",
    )
    .await;
    add("setIP", &good, "POST", "http://api.dhan.co/v2/ip/setIP", api, Some("{}"), 403, "managed_by_gateway").await;
    add("modifyIP in origin form", &good, "PUT", "/v2/ip/modifyIP", own, Some("{}"), 403, "managed_by_gateway").await;
    add(
        "the login page",
        &good,
        "GET",
        "http://auth.dhan.co/login/consentApp-login",
        "auth.dhan.co",
        None,
        403,
        "managed_by_gateway",
    )
    .await;
    add(
        "another's id",
        &good,
        "POST",
        orders,
        api,
        Some(r#"{"dhanClientId":"1000000002"}"#),
        403,
        "client_id_mismatch",
    )
    .await;
    add("a hidden path", &good, "POST", "http://api.dhan.co/v2/ip/%73etIP", api, Some("{}"), 400, "bad_request").await;
    add("two hosts", &good, "GET", orders, "auth.dhan.co", None, 400, "bad_request").await;
    add("TRACE", &good, "TRACE", orders, api, None, 400, "bad_request").await;
    add("no JSON", &good, "POST", orders, api, Some("a=b"), 400, "bad_request").await;
    replies
}

/// A listener may name an account before it is made; a pair and a token may be
/// missing. Each says which, and what to do.
#[test]
fn what_an_account_lacks_is_named() {
    let world = World::up(0, "");
    assert_problem(&place(&world), 503, "account_missing", "not_sent");
    world.post("/v1/accounts", &json!({ "name": "a1", "platform": "DHAN_V2_IPV6", "client_id": "1000000001" }), 201);
    let lacks_a_pair = || {
        let reply = place(&world);
        assert_problem(&reply, 503, "egress_unavailable", "not_sent");
        assert!(reply.json()["detail"].as_str().unwrap().contains("/v1/accounts/a1/pair"), "{reply:?}");
    };
    lacks_a_pair();
    world.broker.add_account(World::broker_account(1));
    let pair = json!({ "primary": net::primary(1).to_string(), "secondary": net::secondary(1).to_string() });
    world.post("/v1/accounts/a1/pair", &pair, 201);
    let reply = place(&world);
    assert_problem(&reply, 503, "token_unavailable", "not_sent");
    assert!(reply.json()["detail"].as_str().unwrap().contains("/v1/accounts/a1/token"), "{reply:?}");
    let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
    assert_eq!(account["token"]["state"], "needs_person", "{account}");
    // Any token that is this account's will do: nothing gets as far as the broker.
    assert_eq!(world.gateway.admin().delete("/v1/accounts/a1/pair").0, 204);
    let claims = data_encoding::BASE64URL_NOPAD.encode(br#"{"dhanClientId":"1000000001","exp":4000000000}"#);
    let token = json!({ "access_token": format!("eyJ0eXAiOiJKV1QifQ.{claims}.c2ln") });
    assert_eq!(world.gateway.admin().put("/v1/accounts/a1/token", &token).0, 200);
    lacks_a_pair();
}

/// Programs that log in by themselves keep working, and cannot kill the live token.
#[test]
fn login_calls_get_a_placeholder_and_never_reach_the_broker() {
    let world = World::up(1, "");
    for (method, url) in [
        ("POST", "http://auth.dhan.co/app/generateAccessToken?dhanClientId=1000000001&pin=123456&totp=654321"),
        ("GET", "http://api.dhan.co/v2/RenewToken"),
        ("GET", "http://auth.dhan.co/app/consumeApp-consent?tokenId=x"),
        ("POST", "http://auth.dhan.co/app/consumeApp-consent?tokenId=x"),
    ] {
        let reply = ask(&world, method, url, None);
        let body = reply.json();
        assert_eq!((reply.status, body["dhanClientId"].as_str()), (200, Some("1000000001")), "{url}");
        assert!(body["accessToken"].as_str().unwrap().starts_with("eyJ"), "{body}");
        assert_ne!(body["accessToken"].as_str(), Some(world.traders[0].token.as_str()));
    }
    let consent = ask(&world, "POST", "http://auth.dhan.co/app/generate-consent?client_id=1000000001", None);
    assert_eq!(consent.json()["consentAppStatus"], "GENERATED");
    assert!(world.broker.seen().is_empty());
    assert!(!world.gateway.log().contains("123456"), "the PIN of a caller's login is in the log");
    assert_eq!(place(&world).status, 200);
}
