//! Programs that know no proxy: what `/etc/hosts` and nftables bring to a transparent listener, and sockets at the base
//! URL. Also what people mix up at the other listeners.

use std::process::Output;
use std::time::Duration;

use crate::support::caller::{Caller, connect, raw, request, tls, tunnel};
use crate::support::net::{self, Ns};
use crate::support::wait_until;
use crate::support::world::{LISTENER, LOOPBACK, World, config, pins};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Two transparent listeners: one for programs of the gateway's host, one for listed hosts of a network.
fn world() -> World {
    let more = format!(
        "[[listener]]\naddress = \"[::1]:443\"\naccount = \"a1\"\ntransparent = true\n\
         [[listener]]\naddress = \"[::1]:80\"\naccount = \"a1\"\ntransparent = true\n\
         [[listener]]\naddress = \"[::]:8443\"\ntransparent = true\nsources = {{ \"{}\" = \"a2\" }}\n",
        net::CALLER
    );
    World::up_with(2, &config(&format!("{more}\n{}", pins())))
}

fn order(id: &str) -> String {
    json!({ "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
        "validity": "DAY", "securityId": "11536", "quantity": 1, "price": 3310.5, "correlationId": id })
    .to_string()
}

/// What curl has printed: the head and the body.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An order by curl, which was told where the broker's API is and nothing of a proxy.
fn curl(world: &World, ns: Ns, at: &str, id: &str) -> String {
    let (_, port) = at.rsplit_once("]:").unwrap();
    let scheme = if port == "80" { "http" } else { "https" };
    let output = world
        .net
        .command(ns, "curl")
        .args(["-sS", "-i", "--max-time", "20", "--noproxy", "*", "--connect-to", &format!("api.dhan.co::{at}")])
        .args(["--cacert".as_ref(), world.dir.path().join("state/ca.pem").as_os_str()])
        .args(["-H", "Content-Type: application/json", "-d", &order(id)])
        .arg(format!("{scheme}://api.dhan.co/v2/orders"))
        .output()
        .unwrap();
    said(&output)
}

/// From where the broker saw the order of this id come, and how often.
fn sources(world: &World, id: &str) -> Vec<std::net::Ipv6Addr> {
    let seen = world.broker.seen();
    let of_id = seen.iter().filter(|seen| seen.correlation_id.as_deref() == Some(id));
    of_id.map(|seen| *seen.peer.ip()).collect()
}

fn nft(world: &World, rules: &str) {
    let path = world.dir.path().join("rules.nft");
    std::fs::write(&path, rules).unwrap();
    let output = world.net.command(Ns::Gateway, "nft").arg("-f").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Python's `http.client` knows no proxy. An entry in `/etc/hosts` is all that it takes.
#[test]
fn an_entry_in_etc_hosts_brings_a_program_that_knows_no_proxy() {
    let world = world();
    let hosts = world.dir.path().join("hosts");
    std::fs::write(&hosts, "::1 localhost\n::1 api.dhan.co\n").unwrap();
    let script = r#"
import http.client, json, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
for n, connection in enumerate([http.client.HTTPSConnection("api.dhan.co", context=context), http.client.HTTPConnection("api.dhan.co")]):
    body = json.loads(sys.argv[2]) | {"correlationId": f"hosts-{n}"}
    connection.request("POST", "/v2/orders", json.dumps(body), {"Content-Type": "application/json", "access-token": "placeholder"})
    reply = connection.getresponse()
    print(reply.status, reply.headers["sixgate-outcome"], reply.read().decode())
"#;
    let shell = format!("mount --bind {} /etc/hosts && exec python3 -c \"$1\" \"$2\" \"$3\"", hosts.display());
    let output = world
        .net
        .command(Ns::Gateway, "unshare")
        .args(["-m", "sh", "-c", &shell, "sh", script])
        .arg(world.dir.path().join("state/ca.pem"))
        .arg(order("x"))
        .output()
        .unwrap();
    assert_eq!(said(&output).matches("200 executed").count(), 2, "{}", said(&output));
    for id in ["hosts-0", "hosts-1"] {
        assert_eq!(sources(&world, id), [world.traders[0].pair.primary.ip()]);
    }
    assert!(world.broker.seen().iter().all(|seen| seen.token.as_deref() != Some("placeholder")));
}

/// Python 3.13 asks for all that RFC 5280 asks for, and so does who sets it up as carefully: a key usage and a critical
/// basic constraint of the authority, key identifiers, nothing of another version.
#[test]
fn the_strictest_clients_trust_the_authority_and_its_leaves() {
    let world = world();
    let script = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
# Python 3.13's default.
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
for host in ["api", "auth", "api-order-update", "api-feed", "depth-api-feed", "full-depth-api"]:
    host += ".dhan.co"
    with context.wrap_socket(socket.create_connection(("::1", 443)), server_hostname=host) as stream:
        names = [name for kind, name in stream.getpeercert()["subjectAltName"] if kind == "DNS"]
        print(host, stream.version(), names == [host])
"#;
    let ca = world.dir.path().join("state/ca.pem");
    let output = world.net.command(Ns::Gateway, "python3").args(["-c", script]).arg(&ca).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches(".dhan.co TLSv1.3 True").count(), 6, "{}", said(&output));
}

/// The gateway's own connections are to the same hosts, and are left out of the rule by their addresses.
#[test]
fn nftables_redirect_brings_what_programs_of_this_host_send() {
    let world = world();
    let broker = net::broker(1);
    nft(
        &world,
        "table ip6 sixgate { chain out { type nat hook output priority -100;\n\
         ip6 saddr != { 2001:db8:a1::/64, 2001:db8:a2::/64 } ip6 daddr 2001:db8:b::/64 tcp dport 443 redirect to :443\n}\n}\n",
    );
    let told = curl(&world, Ns::Gateway, &format!("[{broker}]:443"), "redirect-1");
    assert!(told.contains("sixgate-outcome: executed"), "{told}");
    assert_eq!(sources(&world, "redirect-1"), [world.traders[0].pair.primary.ip()]);
}

/// A rule that catches the gateway itself would have it ask itself for ever. Nothing is sent, and the log says what to do.
#[test]
fn the_gateways_own_connections_that_are_led_back_to_it_are_refused() {
    let world = world();
    nft(
        &world,
        "table ip6 sixgate { chain out { type nat hook output priority -100;\n\
         ip6 daddr 2001:db8:b::/64 tcp dport 443 redirect to :443\n}\n}\n",
    );
    let told = curl(&world, Ns::Gateway, &format!("[{}]:443", net::broker(1)), "loop-1");
    assert!(told.contains(" 503") && told.contains("\"not_sent\""), "{told}");
    let is_told = || world.gateway.log().contains("was led back to its transparent listener");
    wait_until("the log says so", Duration::from_secs(10), is_told);
    assert_eq!(sources(&world, "loop-1"), [] as [std::net::Ipv6Addr; 0]);
}

/// The kernel gives a program of this host an account's address as its own, where it is on an interface and nothing else
/// is asked for. It is a caller like another; the gateway's own connections are still told apart, by whose sockets they are.
#[test]
fn a_program_of_this_host_with_an_accounts_address_is_no_loop() {
    let world = world();
    let broker = net::broker(1);
    // The gateway does not send there.
    let other = "2001:db8:b::77";
    nft(
        &world,
        &format!(
            "table ip6 sixgate {{ chain out {{ type nat hook output priority -100;\n\
             ip6 daddr {other} tcp dport 443 redirect to :443\n}}\n}}\n"
        ),
    );
    let own = world.traders[0].pair.primary.ip().to_string();
    world.net.ip(Ns::Gateway, &format!("-6 addr add {own}/128 dev lo nodad"));
    let output = world
        .net
        .command(Ns::Gateway, "curl")
        .args(["-sS", "-i", "--max-time", "20", "--noproxy", "*", "--interface", &own])
        .args(["--connect-to", &format!("api.dhan.co::[{other}]:443")])
        .args(["--cacert".as_ref(), world.dir.path().join("state/ca.pem").as_os_str()])
        .args(["-H", "Content-Type: application/json", "-d", &order("own-address-1")])
        .arg("https://api.dhan.co/v2/orders")
        .output()
        .unwrap();
    assert!(said(&output).contains("sixgate-outcome: executed"), "{}\n{}", said(&output), world.gateway.log());
    assert_eq!(sources(&world, "own-address-1"), [world.traders[0].pair.primary.ip()]);
    assert!(!world.gateway.log().contains("was led back"));

    // The gateway's own, to the same listener, at the same time.
    nft(
        &world,
        &format!(
            "table ip6 again {{ chain out {{ type nat hook output priority -100;\n\
             ip6 daddr {broker} tcp dport 443 redirect to :443\n}}\n}}\n"
        ),
    );
    // Its kept connections are older than the rule.
    world.broker.hang_up();
    let is_told = || {
        let _ = curl(&world, Ns::Gateway, "[::1]:443", "own-address-2");
        world.gateway.log().contains("was led back to its transparent listener")
    };
    wait_until("the log says so", Duration::from_secs(30), is_told);
}

/// A gateway that is the router of a network: REDIRECT and TPROXY. Whose orders come is told by the caller's address.
#[test]
fn a_router_brings_the_orders_of_listed_hosts_and_of_no_others() {
    for (way, rules) in [
        (
            "redirect",
            "type nat hook prerouting priority dstnat;\nip6 daddr 2001:db8:b::/64 tcp dport 443 redirect to :8443",
        ),
        (
            "tproxy",
            "type filter hook prerouting priority mangle;\n\
             iifname \"lo\" accept\nip6 saddr 2001:db8:c::/64 ip6 daddr 2001:db8:b::/64 tcp dport 443 tproxy to :8443 meta mark set 1",
        ),
    ] {
        let world = world();
        let broker = net::broker(1);
        world.net.ip(Ns::Caller, &format!("-6 route add 2001:db8:b::/64 via {}", net::GATEWAY));
        world.net.ip(Ns::Gateway, "-6 rule add fwmark 1 lookup 900");
        world.net.ip(Ns::Gateway, "-6 route add local ::/0 dev lo table 900");
        nft(&world, &format!("table ip6 sixgate {{ chain in {{ {rules}\n}}\n}}\n"));
        let id = format!("{way}-1");
        let told = curl(&world, Ns::Caller, &format!("[{broker}]:443"), &id);
        assert!(told.contains("sixgate-outcome: executed"), "{way}: {told}");
        assert_eq!(sources(&world, &id), [world.traders[1].pair.primary.ip()], "{way}");

        // From an address that is not listed.
        let other = "2001:db8:c::77";
        world.net.ip(Ns::Caller, &format!("-6 addr add {other}/64 dev {} nodad", interface(&world)));
        let output = world
            .net
            .command(Ns::Caller, "curl")
            .args(["-sS", "-i", "--max-time", "20", "--interface", other])
            .args(["--connect-to", &format!("api.dhan.co::[{broker}]:443")])
            .args(["--cacert".as_ref(), world.dir.path().join("state/ca.pem").as_os_str()])
            .args(["-H", "Content-Type: application/json", "-d", &order("unlisted"), "https://api.dhan.co/v2/orders"])
            .output()
            .unwrap();
        assert!(said(&output).contains("listener.sources"), "{way}: {}", said(&output));
        assert_eq!(sources(&world, "unlisted"), [] as [std::net::Ipv6Addr; 0]);
    }
}

/// The interface of the caller's side.
fn interface(world: &World) -> String {
    let told = world.net.ip(Ns::Caller, &format!("-j -6 addr show to {}", net::CALLER));
    let told: Value = serde_json::from_str(&told).unwrap();
    told[0]["ifname"].as_str().unwrap().to_owned()
}

/// It is no way to anywhere else.
#[test]
fn a_transparent_listener_serves_the_brokers_hosts_only() {
    let world = world();
    let ca = world.dir.path().join("state/ca.pem");
    let (tls_end, host, absolute, connect_end, nobody) = world.net.in_ns(Ns::Gateway, || async move {
        let at = "[::1]:443".parse().unwrap();
        let tls_end = tls(connect(at).await, "evil.example", &ca, &[b"http/1.1"]).await.map(drop);
        let get =
            |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        (
            tls_end.unwrap_err().to_string(),
            raw(at, get("/v2/orders", "evil.example").as_bytes()).await,
            raw(at, get("http://evil.example/", "evil.example").as_bytes()).await,
            raw(at, b"CONNECT api.dhan.co:443 HTTP/1.1\r\nHost: api.dhan.co:443\r\nConnection: close\r\n\r\n").await,
            raw(at, b"GET /v2/orders HTTP/1.0\r\n\r\n").await,
        )
    });
    assert!(tls_end.contains("UnrecognisedName") || tls_end.contains("UnrecognizedName"), "{tls_end}");
    for told in [host, absolute] {
        assert!(told.starts_with("HTTP/1.1 403") && told.contains("destination_denied"), "{told}");
    }
    assert!(connect_end.starts_with("HTTP/1.1 400") && connect_end.contains("is no proxy"), "{connect_end}");
    assert!(nobody.starts_with("HTTP/1.1 400") && nobody.contains("Host header is missing"), "{nobody}");
    // A refusal's reason stands in its own line too.
    wait_until("the refusals are in the log", Duration::from_secs(10), || {
        let log = world.gateway.log();
        let reason = "reason=\"evil.example:443 is not a host";
        log.contains("a transparent listener refused a caller")
            && log.lines().any(|line| line.contains("sixgate::access") && line.contains(reason))
    });
}

async fn handshake(at: std::net::SocketAddr, target: &str) -> (String, tokio::net::TcpStream) {
    let mut stream = connect(at).await;
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {at}\r\nOrigin: http://{at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0u8; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    (String::from_utf8_lossy(&answer[..length]).into_owned(), stream)
}

/// WebSocket libraries that know no proxy have a setting for the URL at least.
#[test]
fn a_socket_at_the_base_url_is_one_to_that_host() {
    let world = World::up(1, "");
    let token = world.traders[0].token.clone();
    for (target, sni, path) in [
        ("/ws/feed?version=2&token=placeholder&clientId=9&authType=2", "api-feed.dhan.co", "/?version=2"),
        ("/ws/depth20/twentydepth?token=placeholder&clientId=9&authType=2", "depth-api-feed.dhan.co", "/twentydepth?"),
        ("/ws/depth200/twohundreddepth?token=x&clientId=9&authType=2", "full-depth-api.dhan.co", "/twohundreddepth?"),
    ] {
        let (answer, _open) = world.net.in_ns(Ns::Gateway, || handshake(LOOPBACK.parse().unwrap(), target));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{target}: {answer}");
        let seen = || {
            let seen = world.broker.seen();
            seen.into_iter().find(|seen| seen.sni.as_deref() == Some(sni) && seen.token.is_some())
        };
        wait_until("the socket's token is read", Duration::from_secs(10), || seen().is_some());
        let seen = seen().unwrap();
        assert_eq!(seen.token.as_deref(), Some(token.as_str()));
        assert!(seen.path_and_query.starts_with(path), "{seen:?}");
    }
    let (answer, _) = world.net.in_ns(Ns::Gateway, || handshake(LOOPBACK.parse().unwrap(), "/ws/order-update"));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

/// Clients that tunnel everything, plain HTTP too.
#[test]
fn plain_http_in_a_tunnel_to_port_80_is_served_as_https_is() {
    let world = World::up(1, "");
    let reply = world.net.in_ns(Ns::Gateway, || async {
        let (status, inside) = tunnel(connect(LOOPBACK.parse().unwrap()).await, "api.dhan.co:80", &[]).await;
        assert_eq!(status, 200);
        let mut caller = Caller::http1(inside).await;
        let json = [("content-type", "application/json")];
        let body = order("port-80");
        caller.send(request("POST", "/v2/orders", "api.dhan.co", &json, Some(&body))).await.unwrap()
    });
    assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
    assert_eq!(sources(&world, "port-80"), [world.traders[0].pair.primary.ip()]);
}

/// Each of these came to people as a connection that just ended.
#[test]
fn a_protocol_in_the_wrong_place_is_told_what_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["gw.lan".to_owned()]).unwrap();
    std::fs::write(dir.path().join("c.pem"), key.cert.pem()).unwrap();
    std::fs::write(dir.path().join("k.pem"), key.signing_key.serialize_pem()).unwrap();
    let more = format!(
        "[[listener]]\naddress = \"127.0.0.1:8082\"\ntls_certificate = \"{0}/c.pem\"\ntls_key = \"{0}/k.pem\"\n\
         own_hosts = [\"gw.lan\"]\n[[listener]]\naddress = \"127.0.0.1:8083\"\naccount = \"a1\"\nown_hosts = [\"gw.lan:9000\"]\n",
        dir.path().display()
    );
    let world = World::up_with(1, &config(&format!("{more}\n{}", pins())));
    let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
    let told = world.net.in_ns(Ns::Gateway, || async move {
        [
            raw(LOOPBACK.parse().unwrap(), &hello).await,
            raw(LOOPBACK.parse().unwrap(), &[5, 1, 0]).await,
            raw(at(8082), get("http://api.dhan.co/v2/orders", "api.dhan.co").as_bytes()).await,
            raw(at(8083), get("/v2/orders", "gw.lan:9000").as_bytes()).await,
            raw(at(8083), get("http://api.dhan.co/v2/orders", "gw.lan:9000").as_bytes()).await,
            raw(at(8083), get("http://api.dhan.co/v2/orders", "localhost:7777").as_bytes()).await,
            raw(at(8083), get("http://api.dhan.co/v2/orders", "other.lan").as_bytes()).await,
            raw(at(8083), get("/v2/orders", "other.lan").as_bytes()).await,
        ]
    });
    for (told, status, words) in [
        (&told[0], 400, "the caller began TLS"),
        (&told[1], 400, "the caller speaks SOCKS"),
        (&told[2], 400, "write https:// in the proxy's URL"),
        (&told[3], 200, "["),
        (&told[4], 200, "["),
        (&told[5], 200, "["),
        (&told[6], 400, "name different hosts"),
        (&told[7], 403, "listener.own_hosts"),
    ] {
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains(words), "{words}: {told}");
    }
    let is_told = || world.gateway.log().contains("reason=\"the caller began TLS");
    wait_until("the reason is in the log", Duration::from_secs(10), is_told);
    // A listener that asks for a key is asked by a caller elsewhere in the same way.
    let elsewhere = world.net.in_ns(Ns::Caller, || raw(LISTENER, &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]));
    assert!(elsewhere.contains("the caller began TLS"), "{elsewhere}");
}
