//! Hosts that have no IPv6 address: reached from the IPv4 source that the configuration names, by each account with
//! connections and tokens of its own, and never with an order on board.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use sixgate::sandbox::Seen;

use super::LIMIT;
use super::socket::{FEED, ask, feed};
use crate::support::caller::{Caller, Reply, basic, connect, request, tunnel};
use crate::support::name_server::{NameServer, Says};
use crate::support::net::{self, Ns};
use crate::support::wait_until;
use crate::support::world::{LISTENER, LOOPBACK, World, automatic, config, pins};
use crate::support::{Gateway, Net};

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const BROKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
/// An address that the guard lets pass, for what name servers say; nobody's in this network.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(18, 0, 0, 20);
const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":1,"price":3310.5}"#;

/// The usual configuration, but that these hosts are reached over IPv4 and have no other pins.
fn over_ipv4(hosts: &[&str], more: &str) -> String {
    let is_listed = |line: &&str| !hosts.iter().any(|host| line.starts_with(&format!("\"{host}\"")));
    let pinned: String = pins().lines().filter(is_listed).map(|line| format!("{line}\n")).collect();
    let listed: String = hosts.iter().map(|host| format!("\"{host}\" = \"{SOURCE}\"\n")).collect();
    let ipv4_pins: String = hosts.iter().map(|host| format!("\"{host}\" = [\"{BROKER}:443\"]\n")).collect();
    config(&format!("[egress.ipv4_hosts]\n{listed}{pinned}{ipv4_pins}{more}"))
}

/// IPv4 between the gateway and the broker, beside the two IPv6 lines.
fn give_ipv4(net: &Net) {
    net.ip(Ns::Gateway, &format!("address add {SOURCE}/24 dev uplink1"));
    net.ip(Ns::Broker, &format!("address add {BROKER}/24 dev downlink1"));
}

fn at_host(world: &World, host: &str) -> Vec<Seen> {
    world.broker.seen().into_iter().filter(|seen| seen.sni.as_deref() == Some(host)).collect()
}

fn is_from_the_source(seen: &Seen) -> bool {
    seen.peer.ip().to_ipv4_mapped() == Some(SOURCE)
}

async fn send(to: SocketAddr, method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Reply {
    let host = url.split('/').nth(2).unwrap();
    Caller::http1(connect(to).await).await.send(request(method, url, host, headers, body)).await.unwrap()
}

fn loopback() -> SocketAddr {
    LOOPBACK.parse().unwrap()
}

#[test]
fn a_feed_without_an_ipv6_address_leaves_from_the_named_source_and_orders_from_the_accounts_own() {
    let world = World::up_with(1, &over_ipv4(&["api-feed.dhan.co"], ""));
    give_ipv4(&world.net);
    let a1 = world.traders[0].clone();
    let order = world.net.in_ns(Ns::Gateway, || async {
        let opened = ask(FEED).await;
        assert!(opened.head.contains(&format!("sixgate-source: {SOURCE}\r\n")), "{}", opened.head);
        assert!(!opened.head.contains("sixgate-leg"), "{}", opened.head);
        drop(opened.socket());
        drop(feed().await);
        send(loopback(), "POST", "http://api.dhan.co/v2/orders", &[], Some(ORDER)).await
    });
    assert_eq!((order.status, order.header("sixgate-source")), (200, a1.pair.primary.to_string().as_str()));
    let feeds = at_host(&world, "api-feed.dhan.co");
    assert!(!feeds.is_empty() && feeds.iter().all(is_from_the_source), "{feeds:?}");
    assert!(feeds.iter().all(|seen| seen.token.as_deref() == Some(&a1.token)), "its own token");
    let rest = world.broker.seen().into_iter().filter(|seen| seen.sni.as_deref() != Some("api-feed.dhan.co"));
    assert!(rest.into_iter().all(|seen| *seen.peer.ip() == a1.pair.primary.ip()));
    wait_until("the line of a socket", LIMIT, || world.gateway.log().contains("websocket ended"));
    let log = world.gateway.log();
    let line = log.lines().find(|line| line.contains("websocket ended")).unwrap().to_owned();
    assert!(line.contains(&format!("source=\"{SOURCE}\"")) && !line.contains("leg="), "{line}");
    assert!(log.contains("what is sent to this host leaves over IPv4"), "a start says it");

    // Neither leg has anything to do with it: their addresses go, and the feed comes all the same.
    for line in ["2001:db8:a1::/64", "2001:db8:a2::/64"] {
        world.net.ip(Ns::Gateway, &format!("-6 route del local {line} dev lo"));
    }
    wait_until("the legs to trip", LIMIT, || world.gateway.log().matches("reason=\"address_gone\"").count() >= 2);
    world.net.in_ns(Ns::Gateway, || async { drop(ask(FEED).await.socket()) });

    // And the other way round: what becomes of it says nothing of a leg.
    for line in ["2001:db8:a1::/64", "2001:db8:a2::/64"] {
        world.net.ip(Ns::Gateway, &format!("-6 route add local {line} dev lo"));
    }
    world.net.ip(Ns::Gateway, &format!("address del {SOURCE}/24 dev uplink1"));
    let tripped = world.gateway.log().matches("a leg changed state").count();
    let refused = world.net.in_ns(Ns::Gateway, || async {
        let opened = ask(FEED).await;
        let body = opened.body.clone();
        opened.refused(503, "egress.ipv4_hosts");
        body
    });
    assert!(refused.contains("egress_unavailable") && refused.contains(&SOURCE.to_string()), "{refused}");
    let log = world.gateway.log();
    let after: Vec<_> = log.lines().filter(|line| line.contains("a leg changed state")).skip(tripped).collect();
    assert!(
        after.iter().all(|line| line.contains("from=\"tripped\"") || line.contains("from=\"probing\"")),
        "{after:?}"
    );
}

/// Without the option nothing leaves over IPv4, whatever a name server says; with it, by a reload, the A record counts.
#[test]
fn a_host_with_only_an_a_record_is_an_error_that_names_the_option_until_it_is_listed() {
    let server_at = SocketAddr::new(net::broker(3).into(), 53);
    let pinned: String =
        pins().lines().filter(|line| !line.starts_with("\"api-feed.")).map(|line| format!("{line}\n")).collect();
    let servers = format!("name_servers = [\"{server_at}\"]\n");
    let mut world = World::up_with(1, &config(&format!("{servers}{pinned}")));
    give_ipv4(&world.net);
    world.net.ip(Ns::Broker, &format!("address add {PUBLIC}/32 dev lo"));
    world.net.ip(Ns::Gateway, &format!("route add {PUBLIC}/32 via {BROKER} dev uplink1"));
    let servers_runtime = world.net.runtime(Ns::Broker);
    let server = servers_runtime.run(NameServer::start(server_at, Says::Ipv4(PUBLIC)));
    world.net.in_ns(Ns::Gateway, || async {
        let opened = ask(FEED).await;
        assert!(opened.body.contains("api-feed.dhan.co has no IPv6 address"), "{}", opened.body);
        opened.refused(503, "egress.ipv4_hosts");
    });
    assert!(server.asked_of("api-feed.dhan.co") > 0 && at_host(&world, "api-feed.dhan.co").is_empty());
    let (_, found) = world.gateway.admin().post("/v1/accounts/a1/validate", &json!({}));
    let hosts = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "hosts").unwrap().clone();
    assert!(hosts["detail"].as_str().unwrap().contains("api-feed.dhan.co has no IPv6 address: name it in"), "{hosts}");

    let listed = format!("{servers}[egress.ipv4_hosts]\n\"api-feed.dhan.co\" = \"{SOURCE}\"\n{pinned}");
    Gateway::write_config(world.dir.path(), &config(&listed));
    world.gateway.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until("the reload", LIMIT, || world.gateway.log().contains("the configuration was reloaded"));
    world.net.in_ns(Ns::Gateway, || async { drop(feed().await) });
    assert!(at_host(&world, "api-feed.dhan.co").iter().all(is_from_the_source));
}

#[test]
fn no_order_write_leaves_over_ipv4() {
    let hosts = ["images.dhan.co", "api-feed.dhan.co", "api-order-update.dhan.co"];
    let world = World::up_with(1, &over_ipv4(&hosts, "[proxy]\nintercept = false\n"));
    give_ipv4(&world.net);
    world.net.in_ns(Ns::Gateway, || async {
        for host in hosts {
            for (method, path) in [
                ("POST", "/v2/orders"),
                ("POST", "/orders"),
                ("PUT", "/v2/orders/112111182045"),
                ("DELETE", "/v2/orders/112111182045"),
                ("DELETE", "/v2/positions"),
                ("POST", "/anything"),
            ] {
                let url = format!("http://{host}{path}");
                let reply = send(loopback(), method, &url, &[], Some(ORDER)).await;
                let body = String::from_utf8_lossy(&reply.body).into_owned();
                assert_eq!(reply.status, 403, "{method} {url}: {body}");
                for want in ["destination_denied", "\"not_sent\"", "egress.ipv4_hosts", "Nothing was sent"] {
                    assert!(body.contains(want), "{want} is not in {body}");
                }
            }
            // Nobody looks into a blind tunnel.
            let (status, _) = tunnel(connect(loopback()).await, &format!("{host}:443"), &[]).await;
            assert_eq!(status, 403);
        }
        // What only reads passes.
        let reply = send(loopback(), "GET", "http://images.dhan.co/api-data/api-scrip-master.csv", &[], None).await;
        assert_eq!((reply.status, reply.header("sixgate-source")), (404, SOURCE.to_string().as_str()));
    });
    let seen: Vec<_> = world.broker.seen().into_iter().filter(is_from_the_source).collect();
    assert!(seen.len() == 1 && seen[0].method == "GET", "{seen:?}");
    let metrics = world.gateway.admin().get("/metrics").1.as_str().unwrap().to_owned();
    assert!(metrics.lines().any(|line| line.contains("leg=\"ipv4\"")), "{metrics}");
}

/// The source is shared, and nothing else.
#[test]
fn accounts_that_share_the_source_share_no_connection_and_no_token() {
    let world = World::up_with(2, &over_ipv4(&["images.dhan.co", "api-feed.dhan.co"], ""));
    give_ipv4(&world.net);
    let url = "http://images.dhan.co/x";
    let credentials: Vec<_> = world.traders.iter().map(|trader| basic(&trader.name, &trader.key)).collect();
    world.net.in_ns(Ns::Caller, || async {
        for _ in 0..3 {
            for auth in &credentials {
                let reply = send(LISTENER, "GET", url, &[("proxy-authorization", auth)], None).await;
                assert_eq!((reply.status, reply.header("sixgate-source")), (404, SOURCE.to_string().as_str()));
            }
        }
    });
    let connections: Vec<_> = at_host(&world, "images.dhan.co").iter().map(|seen| seen.connection).collect();
    let [first, second, ..] = connections[..] else { panic!("{connections:?}") };
    assert_ne!(first, second, "each account has its own");
    assert_eq!(connections, [first, second].repeat(3), "and uses it again");
    world.net.in_ns(Ns::Caller, || async {
        for auth in &credentials {
            let head = [
                ("proxy-authorization", auth.as_str()),
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            let mut stream = connect(LISTENER).await;
            let fields: String = head.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let asked = format!("GET http://{FEED} HTTP/1.1\r\nHost: api-feed.dhan.co\r\n{fields}\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes()).await.unwrap();
            let mut status = [0_u8; 12];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut status).await.unwrap();
            assert_eq!(&status[9..], b"101");
        }
    });
    let feeds = at_host(&world, "api-feed.dhan.co");
    let tokens: Vec<_> = feeds.iter().map(|seen| (seen.account.clone(), seen.token.clone())).collect();
    let own: Vec<_> = world.traders.iter().map(|t| (Some(t.client_id.clone()), Some(t.token.clone()))).collect();
    assert_eq!(tokens, own);
    assert_ne!(feeds[0].connection, feeds[1].connection);
    assert!(feeds.iter().all(is_from_the_source));
}

#[test]
fn a_login_goes_over_ipv4_where_its_host_has_no_ipv6_address() {
    // A TLS handshake may take long on a busy machine.
    let config = over_ipv4(&["auth.dhan.co"], "").replace("connect_timeout = \"1s\"", "connect_timeout = \"30s\"");
    let mut world = World::up_with(0, &config);
    give_ipv4(&world.net);
    world.broker.add_account(World::broker_account(1));
    World::wait_for_a_code_that_lasts(Duration::from_secs(10));
    let a1 = world.add(1, &automatic());
    wait_until("a live token", Duration::from_secs(60), || {
        world.gateway.admin().get("/v1/accounts/a1/token").1["state"] == "live"
    });
    let logins = at_host(&world, "auth.dhan.co");
    assert!(!logins.is_empty() && logins.iter().all(is_from_the_source), "{logins:?}");
    let own: [Ipv6Addr; 2] = [a1.pair.primary.ip(), a1.pair.secondary.ip()];
    let rest: Vec<_> = world.broker.seen().into_iter().filter(|s| s.sni.as_deref() != Some("auth.dhan.co")).collect();
    assert!(rest.iter().all(|seen| own.contains(seen.peer.ip())), "{rest:?}");
}
