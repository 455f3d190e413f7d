//! What a host lacks is told by name, with what to do; and once that was done it is told no more. On the real binary,
//! in namespaces and under seccomp filters.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::caller::{Caller, Reply, connect, request};
use crate::support::net::Ns;
use crate::support::world::{LOOPBACK, World, automatic, config, pins};
use crate::support::{Gateway, Ready, forbid, wait_for, wait_until};
use serde_json::{Value, json};

/// A check is made a moment after the kernel told of a change; a machine that runs other tests is slow to.
const SOON: Duration = Duration::from_secs(20);

/// An order of its own, from the gateway's host.
fn place(world: &World) -> Reply {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let body = json!({
        "correlationId": format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed)), "transactionType": "BUY",
        "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT", "validity": "DAY",
        "securityId": "11536", "quantity": 1, "price": 3310.5,
    })
    .to_string();
    world.net.in_ns(Ns::Gateway, || async move {
        let mut caller = Caller::http1(connect(LOOPBACK.parse().unwrap()).await).await;
        let order = request("POST", "http://api.dhan.co/v2/orders", "api.dhan.co", &[], Some(&body));
        caller.send(order).await.unwrap()
    })
}

/// A world whose one account goes by its primary only, so that what is wrong with that one is told.
fn pinned(more: &str) -> World {
    let world = World::up(1, more);
    pin(&world, "primary");
    let reply = place(&world);
    assert_eq!(reply.status, 200, "{reply:?}");
    world
}

/// From here on an order has to be dialled: what lies idle was made before something broke.
fn hang_up(world: &World) {
    world.broker.hang_up();
    world.wait_until_unconnected();
}

fn pin(world: &World, leg: &str) {
    let (status, answer) = world.gateway.admin().put("/v1/accounts/a1/leg", &json!({ "pin": leg }));
    assert!((200..300).contains(&status), "{answer}");
}

/// What the last self-check found.
fn findings(world: &World) -> Option<Vec<Value>> {
    let (status, answer) = world.gateway.admin().get("/v1/host");
    assert_eq!(status, 200, "{answer}");
    (!answer["checked_at"].is_null()).then(|| answer["findings"].as_array().unwrap().clone())
}

#[track_caller]
fn appears(world: &World, id: &str) -> Value {
    let finding = wait_for(id, SOON, || findings(world)?.into_iter().find(|finding| finding["id"] == id));
    for part in ["what", "why", "fix"] {
        assert!(finding[part].as_str().is_some_and(|text| text.len() > 20), "{part}: {finding}");
    }
    let ready = world.gateway.admin_without_token().get("/readyz");
    assert_eq!(ready.0, 200, "{ready:?}");
    assert!(ready.1.as_str().unwrap().contains(finding["fix"].as_str().unwrap()), "{ready:?}");
    finding
}

#[track_caller]
fn all_is_well(world: &World) {
    let mut last = None;
    wait_until("a host that lacks nothing", SOON, || {
        last = findings(world);
        last.as_ref().is_some_and(Vec::is_empty)
    });
    assert_eq!(world.gateway.admin_without_token().get("/readyz").1, "ready\n");
}

/// The order that did not leave, with what its caller is told.
#[track_caller]
fn not_sent(world: &World, says: &[&str]) -> String {
    let reply = place(world);
    let body = reply.json();
    assert_eq!((reply.status, &body["code"]), (503, &json!("egress_unavailable")), "{body}");
    assert_eq!(body["outcome"], "not_sent", "{body}");
    let detail = body["detail"].as_str().unwrap().to_owned();
    for words in says {
        assert!(detail.contains(words), "no {words:?} in: {detail}");
    }
    detail
}

#[track_caller]
fn leaves(world: &World) {
    wait_until("an order to leave", SOON, || place(world).status == 200);
}

#[track_caller]
fn has(finding: &Value, part: &str, words: &str) {
    assert!(finding[part].as_str().unwrap().contains(words), "no {words:?} in {finding}");
}

#[test]
fn a_route_that_lacks_is_told_with_the_command_that_makes_it() {
    let world = pinned("");
    all_is_well(&world);
    hang_up(&world);
    world.net.ip(Ns::Gateway, "-6 route del default via 2001:db8:f1::1 dev uplink1 table 101");
    let finding = appears(&world, "no_route");
    has(&finding, "what", "2001:db8:a1::1");
    has(&finding, "fix", "ip -6 route add default via GATEWAY dev INTERFACE table 101");
    not_sent(&world, &["no route from 2001:db8:a1::1 to 2001:db8:b::", "to table 101", "ip -6 route add default via"]);
    world.net.ip(Ns::Gateway, "-6 route add default via 2001:db8:f1::1 dev uplink1 table 101");
    all_is_well(&world);
    leaves(&world);
}

/// With freebind nothing fails before the time is over, and without it the kernel's word is no word for people.
#[test]
fn an_address_that_lacks_is_told_with_both_ways_to_have_it() {
    for freebind in [true, false] {
        let world = World::up(1, &format!("freebind = {freebind}"));
        pin(&world, "primary");
        if !freebind {
            // No interface has it, and only freebind takes such an address.
            let finding = appears(&world, "freebind_off");
            has(&finding, "fix", "freebind = true");
            not_sent(&world, &["egress.freebind is false"]);
            world.net.command(Ns::Gateway, "sysctl").args(["-qw", "net.ipv6.ip_nonlocal_bind=1"]).status().unwrap();
            // Nobody tells of a sysctl; a reload looks.
            let config = config(&format!("freebind = true\n{}", pins()));
            Gateway::write_config(world.dir.path(), &config);
            let mut world = world;
            world.gateway.signal(nix::sys::signal::Signal::SIGHUP);
            all_is_well(&world);
            leaves(&world);
            continue;
        }
        world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
        let finding = appears(&world, "address_missing");
        has(&finding, "what", "a1 primary 2001:db8:a1::1 is not an address of this host");
        not_sent(
            &world,
            &[
                "2001:db8:a1::1 is not an address of this host",
                "ip -6 addr add 2001:db8:a1::1/128 dev uplink1 nodad",
                "ip -6 route add local 2001:db8:a1::/64 dev lo",
            ],
        );
        for advice in ["-6 addr add 2001:db8:a1::1/128 dev uplink1 nodad", "-6 route add local 2001:db8:a1::/64 dev lo"]
        {
            world.net.ip(Ns::Gateway, advice);
            all_is_well(&world);
            leaves(&world);
            world.net.ip(Ns::Gateway, &advice.replace(" add ", " del ").replace(" nodad", ""));
            appears(&world, "address_missing");
        }
    }
}

/// The second line of two has its own provider, who drops what comes from the other's addresses.
#[test]
fn a_source_rule_that_lacks_is_told() {
    let world = pinned("");
    world.net.ip(Ns::Gateway, "-6 rule del from 2001:db8:a2::/64 lookup 102");
    let finding = appears(&world, "source_rule_missing");
    has(&finding, "what", "a1 secondary 2001:db8:a2::1 leaves by uplink1 through 2001:db8:f1::1");
    has(&finding, "fix", "dev uplink2 table 102");
    // An address on an interface says which line is its own.
    world.net.ip(Ns::Gateway, "-6 addr add 2001:db8:a2::1/64 dev uplink2 nodad");
    let finding = appears(&world, "wrong_way_out");
    has(&finding, "what", "would leave by uplink1 through 2001:db8:f1::1, and the address belongs to uplink2");
    has(&finding, "fix", "ip -6 rule add from 2001:db8:a2::1 lookup 102");
    // On this line it is dropped, and its caller is told why.
    let nft = "add table ip6 t; add chain ip6 t o { type filter hook output priority 0; }; \
               add rule ip6 t o oifname uplink1 ip6 saddr 2001:db8:a2::/64 drop";
    assert!(world.net.command(Ns::Gateway, "nft").arg(nft).status().unwrap().success());
    pin(&world, "secondary");
    not_sent(&world, &["2001:db8:a2::1 would leave by uplink1", "ip -6 rule add from 2001:db8:a2::1 lookup 102"]);
    world.net.ip(Ns::Gateway, "-6 rule add from 2001:db8:a2::1 lookup 102");
    all_is_well(&world);
    leaves(&world);
}

/// The prefix is on the link and not routed here: the router asks who has the address, and nobody answers.
#[test]
fn an_on_link_prefix_that_nobody_answers_for_is_told() {
    let world = pinned("");
    hang_up(&world);
    world.net.ip(Ns::Broker, "-6 route replace 2001:db8:a1::/64 dev downlink1");
    world.net.ip(Ns::Gateway, "-6 addr add 2001:db8:a1::ffff/64 dev uplink1 nodad");
    let says = ["nobody on this host answers the router when it asks on uplink1 who has 2001:db8:a1::1", "ndppd"];
    not_sent(&world, &says);
    let finding = appears(&world, "neighbours_unanswered");
    has(&finding, "fix", "ip -6 addr add 2001:db8:a1::1/128 dev uplink1 nodad");
    world.net.ip(Ns::Gateway, "-6 addr add 2001:db8:a1::1/128 dev uplink1 nodad");
    all_is_well(&world);
    leaves(&world);
}

/// A connection is made and then nothing large comes through it: without a word it looks like a broker that is slow. The
/// built-in broker's certificate is small, so this is a hole for packets that are smaller than real ones, and what mends
/// it is the other half of the advice: the firewall.
#[test]
fn a_hole_for_large_packets_is_told_as_one() {
    // No order before: a session that is resumed needs no large packet.
    let world = World::up(1, "");
    pin(&world, "primary");
    // Segments as a network card would make them, so that their lengths are those on the line.
    world.net.ip(Ns::Broker, "link set downlink1 gso_max_segs 1");
    let nft = "add table ip6 t; add chain ip6 t i { type filter hook input priority 0; }; \
               add rule ip6 t i iifname uplink1 meta length gt 500 drop";
    assert!(world.net.command(Ns::Gateway, "nft").arg(nft).status().unwrap().success());
    not_sent(&world, &["large packets get lost on this line", "ip link set dev uplink1 mtu 1280"]);
    appears(&world, "packets_too_big");
    assert!(world.net.command(Ns::Gateway, "nft").args(["delete", "table", "ip6", "t"]).status().unwrap().success());
    leaves(&world);
}

#[test]
fn a_firewall_of_the_hosts_own_is_told_as_one() {
    // The kernel tells of a reject when it has sent again, a second later.
    let world = World::up_with(1, &config(&pins()).replace("connect_timeout = \"1s\"", "connect_timeout = \"2900ms\""));
    pin(&world, "primary");
    leaves(&world);
    hang_up(&world);
    let nft = "add table ip6 t; add chain ip6 t o { type filter hook output priority 0; }; \
               add rule ip6 t o ip6 saddr 2001:db8:a1::/64 reject with icmpv6 admin-prohibited";
    assert!(world.net.command(Ns::Gateway, "nft").arg(nft).status().unwrap().success());
    not_sent(
        &world,
        &["a firewall, here or at the provider, refuses connections from 2001:db8:a1::1", "nft list ruleset"],
    );
    assert!(world.net.command(Ns::Gateway, "nft").args(["delete", "table", "ip6", "t"]).status().unwrap().success());
    leaves(&world);
}

#[test]
fn ipv6_that_is_turned_off_is_told_before_anything_that_follows_from_it() {
    let world = pinned("");
    let sysctl = |value: u8| {
        let set = format!("net.ipv6.conf.all.disable_ipv6={value}");
        assert!(world.net.command(Ns::Gateway, "sysctl").args(["-qw", &set]).status().unwrap().success());
    };
    sysctl(1);
    let finding = appears(&world, "ipv6_off");
    has(&finding, "fix", "sysctl -w net.ipv6.conf.all.disable_ipv6=0");
    assert_eq!(findings(&world).unwrap().len(), 1, "{:?}", findings(&world));
    not_sent(&world, &["IPv6 is turned off on this host", "sysctl -w net.ipv6.conf.all.disable_ipv6=0"]);
    sysctl(0);
    appears(&world, "address_missing");
    for advice in [
        "-6 addr replace 2001:db8:f1::2/64 dev uplink1 nodad",
        "-6 addr replace 2001:db8:f2::2/64 dev uplink2 nodad",
        "-6 route add local 2001:db8:a1::/64 dev lo",
        "-6 route add local 2001:db8:a2::/64 dev lo",
        "-6 route replace default via 2001:db8:f1::1 dev uplink1 table 101 metric 100",
        "-6 route replace default via 2001:db8:f2::1 dev uplink2 table 102 metric 100",
        "-6 route replace default via 2001:db8:f1::1 dev uplink1 metric 100",
    ] {
        world.net.ip(Ns::Gateway, advice);
    }
    all_is_well(&world);
    leaves(&world);
}

/// A configuration with no unix and no IPv6 listener.
fn plain() -> String {
    let text = config(&pins());
    let unix = text.find("[[listener]]\n        address = \"unix:").unwrap();
    let admin = text.find("[admin]").unwrap();
    let text = format!("{}{}", &text[..unix], &text[admin..]);
    text.replacen(
        "address = \"[2001:db8:c::1]:8080\"\n        plaintext = \"i-know\"",
        "address = \"127.0.0.1:8090\"",
        1,
    )
}

/// The same world with a gateway that may not open sockets of a family.
fn forbid(world: &mut World, family: u8) {
    world.gateway.terminate();
    let place = world.net.place(Ns::Gateway);
    let dir = world.dir.path().to_owned();
    world.gateway = Gateway::start_with(&place, &plain(), &dir, Ready::Readyz, |command| {
        forbid::family(family, &dir, command);
        command.env("NOTIFY_SOCKET", dir.join("notify"));
    });
}

/// Hardened units have `RestrictAddressFamilies=`, and what lacks in it shows up as something else, later.
#[test]
fn families_of_sockets_that_are_forbidden_are_told_and_logins_need_none_of_them() {
    let mut world = World::up_with(0, &plain());
    let token = world.at_the_broker(1);
    world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    for (family, id, word) in
        [(forbid::UNIX, "unix_sockets_forbidden", "AF_UNIX"), (forbid::NETLINK, "netlink_forbidden", "AF_NETLINK")]
    {
        forbid(&mut world, family);
        let finding = appears(&world, id);
        has(&finding, "fix", word);
        let n = u16::from(family) + 2;
        world.broker.add_account(World::broker_account(n));
        world.add(n, &automatic());
        wait_until("a login", Duration::from_secs(60), || {
            world.gateway.admin().get(&format!("/v1/accounts/a{n}/token")).1["state"] == "live"
        });
        leaves(&world);
        assert!(world.gateway.has_logged(word), "{}", world.gateway.log());
    }
    forbid(&mut world, forbid::INET6);
    let finding = appears(&world, "ipv6_sockets_forbidden");
    has(&finding, "fix", "AF_INET6");
    not_sent(&world, &["the gateway may not open IPv6 connections", "AF_INET6"]);
}

/// A code of the wrong time is refused, and after two refusals a person has to come.
#[test]
fn the_time_is_asked_before_the_first_code_is_spent() {
    for skew in [300, -300] {
        let mut world = World::up_with(0, &plain());
        world.broker.set_clock_skew(jiff::SignedDuration::from_secs(skew));
        world.broker.add_account(World::broker_account(1));
        world.add(1, &automatic());
        wait_until("a login", Duration::from_secs(60), || {
            world.gateway.admin().get("/v1/accounts/a1/token").1["state"] == "live"
        });
        let seen = world.broker.seen();
        let logins = seen.iter().filter(|seen| seen.path_and_query.contains("generateAccessToken")).count();
        assert_eq!(logins, 1, "{skew}: {seen:?}");
        let finding = appears(&world, "clock_off");
        has(&finding, "fix", "timedatectl set-ntp true");
        world.gateway.terminate();
    }
}

/// What is somebody else's on the line, or everybody's, is refused with the reason; what is this host's own may be brought.
#[test]
fn a_routers_address_is_given_to_no_account() {
    let world = World::up(1, "");
    let admin = world.gateway.admin();
    assert_eq!(admin.delete("/v1/accounts/a1/pair").0, 204);
    for (primary, says) in
        [("2001:db8:f1::1", "the address of a router"), ("2001:db8:f1::", "any router of 2001:db8:f1::/64")]
    {
        let (status, answer) =
            admin.post("/v1/accounts/a1/pair", &json!({ "primary": primary, "secondary": "2001:db8:f2::9" }));
        assert_eq!((status, &answer["field"]), (422, &json!("primary")), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
    }
    // By itself the pool gives neither the router's nor the host's own.
    let pool = json!({ "name": "line", "primary": "2001:db8:f1::/126", "secondary": "2001:db8:f2::/126" });
    assert_eq!(admin.post("/v1/pools", &pool).0, 201);
    let (status, pair) = admin.post("/v1/accounts/a1/pair", &json!({ "pool": "line" }));
    assert_eq!((status, &pair["primary"]), (201, &json!("2001:db8:f1::3")), "{pair}");
    let second = json!({ "name": "b", "platform": "DHAN_V2_IPV6", "client_id": "1000000077" });
    assert_eq!(admin.post("/v1/accounts", &second).0, 201);
    let (status, answer) = admin.post("/v1/accounts/b/pair", &json!({ "pool": "line" }));
    assert_eq!((status, &answer["code"]), (409, &json!("pool_exhausted")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("1 held by accounts"), "{answer}");
    let own = json!({ "primary": "2001:db8:f1::2", "secondary": "2001:db8:f2::2" });
    let (status, answer) = admin.post("/v1/accounts/b/pair", &own);
    assert_eq!(status, 201, "{answer}");

    let small = json!({ "name": "small", "primary": "2001:db8:e1::/126", "secondary": "2001:db8:e2::5/128" });
    let (status, answer) = admin.post("/v1/pools", &small);
    assert_eq!((status, &answer["code"]), (409, &json!("pool_exhausted")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("the same length"), "{answer}");
}
