//! What callers can do to a listener of the real binary, and what it does then.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::caller::{Caller, basic, connect, connect_unix, raw, request, tls, tunnel};
use crate::support::net::Ns;
use crate::support::wait_until;
use crate::support::world::{LISTENER, LOOPBACK, World, config, pins};
use nix::sys::signal::Signal;
use serde_json::json;
use sixgate::sandbox::{Action, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;

fn loopback() -> SocketAddr {
    LOOPBACK.parse().unwrap()
}

/// Any page open on the trader's desk could otherwise place orders through the
/// loopback port.
#[test]
fn a_browser_is_refused_where_no_key_is_asked_for() {
    let world = World::up(1, "");
    let replies = world.net.in_ns(Ns::Gateway, || async {
        let url = "http://api.dhan.co/v2/orders";
        let json = ("content-type", "application/json");
        type Case = (&'static str, &'static str, &'static str, Vec<(&'static str, &'static str)>, u16);
        let cases: Vec<Case> = vec![
            ("Origin", url, "api.dhan.co", vec![json, ("origin", "https://evil.example")], 403),
            ("Origin null", url, "api.dhan.co", vec![json, ("origin", "null")], 403),
            ("Referer", url, "api.dhan.co", vec![json, ("referer", "https://evil.example/")], 403),
            ("Sec-Fetch-Site", url, "api.dhan.co", vec![json, ("sec-fetch-site", "same-origin")], 403),
            ("a rebound name", "/v2/orders", "evil.example:8080", vec![json], 403),
            ("text/plain", "/v2/orders", "127.0.0.1:8080", vec![("content-type", "text/plain")], 403),
            ("a form", url, "api.dhan.co", vec![("content-type", "application/x-www-form-urlencoded")], 403),
            ("no type", "/v2/orders", "localhost:8080", vec![], 403),
            ("an engine", "/v2/orders", "127.0.0.1:8080", vec![json], 200),
            (
                "an engine by name",
                "/v2/orders",
                "localhost:8080",
                vec![("content-type", "application/json; charset=utf-8")],
                200,
            ),
        ];
        let mut replies = Vec::new();
        for (what, target, host, headers, status) in cases {
            let mut caller = Caller::http1(connect(loopback()).await).await;
            let mut ask = request("POST", target, host, &headers, None);
            *ask.body_mut() = ORDER.to_owned().into();
            replies.push((what, caller.send(ask).await.unwrap(), status));
        }
        replies
    });
    for (what, reply, status) in replies {
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        if status == 403 {
            assert_eq!(reply.json()["code"], "browser_refused", "{what}");
        }
    }
    // Besides the gateway's own question as what the broker sees the leg.
    let asked = |seen: &&sixgate::sandbox::Seen| seen.path_and_query != "/v2/ip/getIP";
    assert_eq!(world.broker.seen().iter().filter(asked).count(), 2);
}

/// Who names another account believes to trade on that one.
#[test]
fn a_listener_of_one_account_refuses_a_caller_that_names_another() {
    let world = World::up(2, "");
    let (a1, a2) = (world.traders[0].clone(), world.traders[1].clone());
    let statuses = world.net.in_ns(Ns::Gateway, || async move {
        let mut statuses = Vec::new();
        let (theirs, own) = (basic(&a2.name, &a2.key), basic(&a1.name, &a1.key));
        let proxy = ("http://api.dhan.co/v2/orders", "api.dhan.co", "proxy-authorization");
        // A base URL in place of a proxy: the listener is the server.
        let server = ("/v2/orders", LOOPBACK, "authorization");
        let ask = |(target, host, field): (&'static str, &'static str, &'static str), values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| (field, *value)).collect();
            request("POST", target, host, &headers, Some(ORDER))
        };
        for order in [
            ask(proxy, &[&theirs]),
            ask(server, &[&theirs]),
            // Two callers in one, and one that cannot be read.
            ask(proxy, &[&theirs, &theirs]),
            ask(server, &[&own, &theirs]),
            ask(proxy, &["Basic !!!"]),
            ask(server, &["Basic !!!"]),
            ask(("/v2/orders", LOOPBACK, "proxy-authorization"), &[&theirs]),
            ask(proxy, &[&own]),
            ask(server, &[&own]),
            // A program's own login at the broker names nobody here.
            ask(server, &["Bearer placeholder"]),
        ] {
            let mut caller = Caller::http1(connect(loopback()).await).await;
            statuses.push(caller.send(order).await.unwrap().status);
        }
        statuses
    });
    assert_eq!(statuses, [407, 407, 407, 407, 407, 407, 407, 200, 200, 200]);
    let mut seen = world.broker.seen();
    // The leg's own look.
    seen.retain(|s| !s.path_and_query.ends_with("/getIP"));
    assert!(seen.len() == 3 && seen.iter().all(|s| *s.peer.ip() == world.traders[0].pair.primary.ip()), "{seen:?}");
}

/// A caller that puts its key into the target, and one that asks for two hosts at once.
#[test]
fn a_connect_that_names_two_hosts_is_refused_and_a_key_in_its_target_is_not_logged() {
    let world = World::up(1, "");
    let statuses = world.net.in_ns(Ns::Gateway, || async {
        let mut statuses = Vec::new();
        for head in [
            "CONNECT alpha:sgk_hunter2@api.dhan.co:443 HTTP/1.1\r\nHost: api.dhan.co:443\r\n\r\n",
            "CONNECT api.dhan.co:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
            "CONNECT api.dhan.co:443 HTTP/1.1\r\nHost: api.dhan.co\r\n\r\n",
            "CONNECT api.dhan.co:443 HTTP/1.0\r\n\r\n",
        ] {
            let mut stream = connect(loopback()).await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = vec![0u8; 12];
            stream.read_exact(&mut answer).await.unwrap();
            statuses.push(String::from_utf8_lossy(&answer[9..]).into_owned());
        }
        statuses
    });
    assert_eq!(statuses, ["400", "400", "200", "200"]);
    let gateway = &world.gateway;
    wait_until("every line is in the log", Duration::from_secs(10), || gateway.log().matches("CONNECT").count() >= 4);
    assert!(!gateway.log().contains("hunter2"), "{}", gateway.log());
}

/// With a key the caller has shown who it is, whatever sent the request.
#[test]
fn a_browser_with_a_client_key_is_a_caller() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let reply = world.net.in_ns(Ns::Caller, || async move {
        let mut caller = Caller::http1(connect(LISTENER).await).await;
        let auth = basic(&a1.name, &a1.key);
        let headers = [("authorization", auth.as_str()), ("origin", "https://console.example")];
        caller.send(request("POST", "/v2/orders", "gateway.example", &headers, Some(ORDER))).await.unwrap()
    });
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The codec's own tests have every form; this shows that nothing of it gets
/// through the binary, and that the connection ends.
#[test]
fn ambiguous_framing_is_answered_and_never_passed_on() {
    let world = World::up(1, "");
    let answers = world.net.in_ns(Ns::Gateway, || async {
        let head =
            "POST http://api.dhan.co/v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\nContent-Type: application/json\r\n";
        let smuggled = "POST http://api.dhan.co/v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\n\r\n";
        let mut answers = Vec::new();
        for framing in [
            format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("Content-Length: 0\r\nContent-Length: 5\r\n\r\n{smuggled}"),
            format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("Content-Length: 0\n\n{smuggled}"),
        ] {
            answers.push(raw(loopback(), format!("{head}{framing}").as_bytes()).await);
        }
        answers
    });
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("ambiguous_framing") && answer.contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "a second request was answered: {answer}");
    }
    assert!(world.broker.seen().is_empty());
}

/// Python 3.11's http.client, and so the SDK.
#[test]
fn connect_in_http_1_0_without_host_opens_a_tunnel() {
    let world = World::up(1, "");
    let ca = world.ca();
    let reply = world.net.in_ns(Ns::Gateway, || async move {
        let mut stream = connect(loopback()).await;
        stream.write_all(b"CONNECT api.dhan.co:443 HTTP/1.0\r\n\r\n").await.unwrap();
        let mut head = [0u8; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.0 200");
        while !head.ends_with(b"\r\n\r\n") {
            head.rotate_left(1);
            stream.read_exact(&mut head[11..]).await.unwrap();
        }
        let mut caller = Caller::inside(stream, "api.dhan.co", &ca, false).await;
        caller.send(request("GET", "/v2/profile", "api.dhan.co", &[], None)).await.unwrap()
    });
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Inside a tunnel only the tunnel's host is spoken to.
#[test]
fn a_tunnel_is_for_one_host_and_holds_no_other_tunnel() {
    let world = World::up(1, "");
    let ca = world.ca();
    let answers = world.net.in_ns(Ns::Gateway, || async move {
        let mut answers = Vec::new();
        for (text, http2) in [
            ("GET /v2/profile HTTP/1.1\r\nHost: auth.dhan.co\r\nConnection: close\r\n\r\n", false),
            ("GET http://auth.dhan.co/v2/profile HTTP/1.1\r\nHost: auth.dhan.co\r\nConnection: close\r\n\r\n", false),
            ("CONNECT api.dhan.co:443 HTTP/1.1\r\nHost: api.dhan.co:443\r\nConnection: close\r\n\r\n", false),
            ("", true),
        ] {
            let (status, stream) = tunnel(connect(loopback()).await, "api.dhan.co:443", &[]).await;
            assert_eq!(status, 200);
            if http2 {
                let mut caller = Caller::inside(stream, "api.dhan.co", &ca, true).await;
                let ask = request("GET", "https://auth.dhan.co/v2/profile", "", &[], None);
                answers.push(format!("HTTP/1.1 {} ", caller.send(ask).await.unwrap().status));
                continue;
            }
            let mut stream = tls(stream, "api.dhan.co", &ca, &[b"http/1.1"]).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answers.push(String::from_utf8_lossy(&answer).into_owned());
        }
        answers
    });
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(world.broker.seen().is_empty());
}

/// A key is taken away because an engine is no longer trusted: its open tunnel
/// must not trade on.
#[test]
fn a_deleted_key_ends_what_it_opened() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let callers = world.net.runtime(Ns::Caller);
    let ca = world.ca();
    let mut caller = callers.run(async move {
        let auth = basic(&a1.name, &a1.key);
        let (_, stream) = tunnel(connect(LISTENER).await, "api.dhan.co:443", &[("Proxy-Authorization", &auth)]).await;
        let mut caller = Caller::inside(stream, "api.dhan.co", &ca, false).await;
        assert_eq!(caller.send(request("GET", "/v2/profile", "api.dhan.co", &[], None)).await.unwrap().status, 200);
        caller
    });
    let admin = world.gateway.admin();
    let (_, keys) = admin.get("/v1/accounts/a1/keys");
    let id = keys["items"][0]["id"].as_str().unwrap();
    assert_eq!(admin.delete(&format!("/v1/accounts/a1/keys/{id}")).0, 204);
    let reply =
        callers.run(async move { caller.send(request("GET", "/v2/profile", "api.dhan.co", &[], None)).await.unwrap() });
    assert_eq!(reply.status, 407, "{reply:?}");
}

/// A listener reachable from elsewhere carries keys: TLS keeps them from the wire.
#[test]
fn a_listener_speaks_tls_towards_callers() {
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = tempfile::tempdir().unwrap();
    let (certificate, private) = (pem.path().join("gateway.pem"), pem.path().join("gateway.key"));
    std::fs::write(&certificate, own.pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    let tls_keys = format!("tls_certificate = {certificate:?}\ntls_key = {private:?}");
    let world = World::up_with(1, &config(&pins()).replace("plaintext = \"i-know\"", &tls_keys));
    let a1 = world.traders[0].clone();
    let reply = world.net.in_ns(Ns::Caller, || async move {
        let auth = basic(&a1.name, &a1.key);
        let stream = tls(connect(LISTENER).await, "gateway.example", &certificate, &[b"http/1.1"]).await.unwrap();
        let mut caller = Caller::http1(stream).await;
        let headers = [("proxy-authorization", auth.as_str())];
        caller
            .send(request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &headers, Some(ORDER)))
            .await
            .unwrap()
    });
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"));
}

/// The uid is the kernel's word for who the peer is.
#[test]
fn a_unix_socket_knows_its_peer_by_uid_and_nobody_else() {
    let world = World::up(2, "");
    let socket = world.dir.path().join("proxy.sock");
    let reply = world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect_unix(&socket).await).await;
        caller.send(request("GET", "http://api.dhan.co/v2/profile", "api.dhan.co", &[], None)).await.unwrap()
    });
    assert_eq!(reply.json()["dhanClientId"], world.traders[1].client_id.as_str());

    let stranger =
        config(&pins()).replace(&format!("\"{}\" = \"a2\"", nix::unistd::getuid()), "\"4294967294\" = \"a2\"");
    let world = World::up_with(2, &stranger);
    let socket = world.dir.path().join("proxy.sock");
    let reply = world.net.in_ns(Ns::Gateway, || async {
        let mut caller = Caller::http1(connect_unix(&socket).await).await;
        caller.send(request("GET", "http://api.dhan.co/v2/profile", "api.dhan.co", &[], None)).await.unwrap()
    });
    assert_eq!(reply.status, 407, "{reply:?}");
    assert!(world.broker.seen().is_empty());
}

/// A stop in the middle of an order: the caller gets its answer, then the process ends.
#[test]
fn a_stop_finishes_the_order_that_is_under_way() {
    let mut world = World::up_with(1, &config(&format!("{}\n[orders]\nresponse_timeout = \"2s\"", pins())));
    world.broker.fault(Fault::new(Action::Hang { executed: true }).on("POST", "/v2/orders").times(1));
    let callers = world.net.runtime(Ns::Gateway);
    let order = callers.spawn(async {
        let mut caller = Caller::http1(connect(loopback()).await).await;
        caller.send(request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(ORDER))).await
    });
    let broker = world.broker.clone();
    wait_until("the order is at the broker", Duration::from_secs(10), || {
        broker.seen().iter().any(|s| s.method == "POST")
    });
    world.gateway.signal(Signal::SIGTERM);
    let reply = callers.run(async move { order.await.unwrap().unwrap() });
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
    assert_eq!(reply.header("sixgate-recovered"), "true");
    assert_eq!(reply.header("connection"), "close", "a caller would keep a connection that is about to end");
    assert!(reply.header("sixgate-correlation-id").starts_with("SG"), "{reply:?}");
    assert_eq!(world.gateway.wait_for_end(Duration::from_secs(10)).code(), Some(0));
}

/// An engine that goes away must not take an order half-way with it that has left.
#[test]
fn a_caller_that_disconnects_does_not_stop_its_order() {
    let world = World::up(1, "");
    world.broker.fault(Fault::new(Action::Late { ms: 3_000 }).on("POST", "/v2/orders").times(1));
    let callers = world.net.runtime(Ns::Gateway);
    let stream = callers.run(async {
        let mut stream = connect(loopback()).await;
        let head = format!(
            "POST http://api.dhan.co/v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ORDER}",
            ORDER.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    });
    let orders = || world.broker.seen().into_iter().filter(|s| s.method == "POST").collect::<Vec<_>>();
    wait_until("the order is at the broker", Duration::from_secs(10), || !orders().is_empty());
    assert!(orders().iter().all(|s| !s.executed), "too late to go away");
    drop(stream);
    wait_until("the order was executed", Duration::from_secs(10), || orders().iter().any(|s| s.executed));
    wait_until("its line is in the log", Duration::from_secs(10), || {
        world.gateway.log().contains("outcome=\"executed\"")
    });
}

/// The placeholder that a program logs in with never reaches the broker.
#[test]
fn a_web_socket_is_signed_in_its_query() {
    let world = World::up(1, "");
    let token = world.traders[0].token.clone();
    let answer = world.net.in_ns(Ns::Gateway, || async {
        let mut stream = connect(loopback()).await;
        let head = "GET http://api-feed.dhan.co/?version=2&token=placeholder&clientId=9&authType=2 HTTP/1.1\r\n\
            Host: api-feed.dhan.co\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0u8; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    });
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    // The broker writes down what it read after it has answered.
    let broker = world.broker.clone();
    let feed = || broker.seen().into_iter().find(|s| s.websocket && s.token.is_some());
    wait_until("the feed's token is read", Duration::from_secs(10), || feed().is_some());
    let feed = feed().unwrap();
    assert_eq!(feed.token.as_deref(), Some(token.as_str()));
    assert_eq!(*feed.peer.ip(), world.traders[0].pair.primary.ip());
    assert!(
        !feed.path_and_query.contains("placeholder") && feed.path_and_query.contains("clientId=1000000001"),
        "{feed:?}"
    );
    assert!(!world.gateway.log().contains(&token), "the token is in the log");
}

/// Bytes that are passed on unseen would go on for an account that is gone, from an
/// address that it has no longer, for a key that was taken away.
#[test]
fn what_is_open_ends_with_the_account_the_pair_or_the_key() {
    for end in ["/v1/accounts/a1", "/v1/accounts/a1/pair", "/v1/accounts/a1/keys/{id}"] {
        let world = World::up_with(1, &config(&format!("{}\n[proxy]\ntunnel_hosts = [\"api.dhan.co\"]", pins())));
        let a1 = world.traders[0].clone();
        let callers = world.net.runtime(Ns::Caller);
        let (mut tunnel, mut feed) = callers.run(async move {
            let auth = basic(&a1.name, &a1.key);
            let (status, blind) =
                tunnel(connect(LISTENER).await, "api.dhan.co:443", &[("Proxy-Authorization", &auth)]).await;
            assert_eq!(status, 200);
            let mut feed = connect(LISTENER).await;
            let head = format!(
                "GET http://api-feed.dhan.co/?version=2&token=placeholder&clientId=9&authType=2 HTTP/1.1\r\n\
                 Host: api-feed.dhan.co\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nProxy-Authorization: {auth}\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            feed.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0u8; 12];
            feed.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 101");
            (blind, feed)
        });
        let admin = world.gateway.admin();
        let (_, keys) = admin.get("/v1/accounts/a1/keys");
        let path = end.replace("{id}", keys["items"][0]["id"].as_str().unwrap());
        assert_eq!(admin.delete(&path).0, 204);
        let ended = callers.run(async move {
            let both = async {
                let mut rest = Vec::new();
                // A reset ends it as well as a close does.
                let _ = tunnel.read_to_end(&mut rest).await;
                let _ = feed.read_to_end(&mut rest).await;
            };
            tokio::time::timeout(Duration::from_secs(5), both).await.is_ok()
        });
        assert!(ended, "{path}: something is still open");
    }
}

/// Client keys and uids are what admits: the file's mode must let them be asked.
#[test]
fn a_unix_socket_is_open_to_those_who_are_asked_who_they_are() {
    use std::os::unix::fs::PermissionsExt;
    let own = "[[listener]]\naddress = \"unix:{dir}/own.sock\"\naccount = \"a1\"\n[admin]";
    let text = config(&pins()).replace("[admin]", own);
    let world = World::up_with(1, &text);
    let mode = |name: &str| std::fs::metadata(world.dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("proxy.sock"), mode("own.sock")), (0o666, 0o600));
}

/// A body on a HEAD reply is a protocol error of HTTP/2.
#[test]
fn head_over_http2_has_no_body() {
    let world = World::up(1, "");
    let ca = world.ca();
    let reply = world.net.in_ns(Ns::Gateway, || async move {
        let (_, stream) = tunnel(connect(loopback()).await, "api.dhan.co:443", &[]).await;
        let mut caller = Caller::inside(stream, "api.dhan.co", &ca, true).await;
        caller.send(request("HEAD", "https://api.dhan.co/v2/ip/setIP", "", &[], None)).await.unwrap()
    });
    assert_eq!((reply.status, reply.body.len()), (403, 0));
    assert_ne!(reply.header("content-length"), "0");
}

/// A peer without a key must not make us hold its body.
#[test]
fn a_body_is_not_read_before_its_caller_is_admitted() {
    let world = World::up(1, "");
    let answer = world.net.in_ns(Ns::Caller, || async {
        let head = "POST http://api.dhan.co/v2/orders HTTP/1.1\r\nHost: api.dhan.co\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
        raw(LISTENER, head.as_bytes()).await
    });
    assert!(answer.starts_with("HTTP/1.1 407 ") && answer.contains("connection: close"), "{answer}");
}

/// 401, 404 and the like of the broker are no errors of ours, and an empty 202
/// (a super order's cancel) keeps the connection in step.
#[test]
fn replies_without_a_body_keep_the_connection_in_step() {
    let world = World::up(1, "");
    let order = json!({
        "correlationId": "s1", "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY",
        "orderType": "LIMIT", "securityId": "11536", "quantity": 1, "price": 3310.5, "targetPrice": 3350.0,
        "stopLossPrice": 3290.0, "trailingJump": 5.0,
    })
    .to_string();
    let statuses = world.net.in_ns(Ns::Gateway, || async move {
        let mut caller = Caller::http1(connect(loopback()).await).await;
        let placed =
            caller.send(request("POST", "/v2/super/orders", "127.0.0.1:8080", &[], Some(&order))).await.unwrap();
        let id = placed.json()["orderId"].as_str().unwrap().to_owned();
        let path = format!("/v2/super/orders/{id}/ENTRY_LEG");
        let cancelled = caller.send(request("DELETE", &path, "127.0.0.1:8080", &[], None)).await.unwrap();
        let head = caller.send(request("HEAD", "/v2/profile", "127.0.0.1:8080", &[], None)).await.unwrap();
        let read = caller.send(request("GET", "/v2/profile", "127.0.0.1:8080", &[], None)).await.unwrap();
        (cancelled.status, cancelled.body.len(), head.body.len(), read.status)
    });
    assert_eq!(statuses, (202, 0, 0, 200));
}
