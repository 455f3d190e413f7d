//! Name service.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Host, config, has};
use crate::support::name_server::{NameServer, Says};
use crate::support::net::{self, Ns};
use crate::support::world::pins;

/// Where the broker is: nobody's address, but such as the guard lets pass.
const BROKER: Ipv6Addr = Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0xb);

fn at(last: u16) -> SocketAddr {
    SocketAddr::new(net::broker(last).into(), 53)
}

/// A host with two name servers, by its own `/etc/resolv.conf`.
fn with_servers() -> (Host, NameServer, NameServer) {
    let host = Host::up_with(&config(""));
    host.net.ip(Ns::Broker, &format!("-6 address add {BROKER}/128 dev lo nodad"));
    let start = |last| host.runtime.run(NameServer::start(at(last), Says::address(BROKER)));
    let (one, two) = (start(1), start(2));
    for server in [&one, &two] {
        server.says_of("ipv4only.arpa", Says::NoData);
    }
    host.etc.write("resolv.conf", "nameserver 2001:db8:b::1\nnameserver 2001:db8:b::2\n");
    (host, one, two)
}

#[test]
fn each_server_is_asked_for_each_host_and_all_is_well() {
    let (host, one, two) = with_servers();
    let said = host.examine();
    for id in ["no_aaaa", "nat64", "name_servers", "name_overridden", "broker_unreachable"] {
        assert_eq!(said.result(id), "ok", "{}", said.short());
    }
    for server in [&one, &two] {
        // Once for itself, and one of the two once more by whoever connects.
        assert!((1..=2).contains(&server.asked_of("api-feed.dhan.co")));
    }
    // Documentation addresses are none of the internet, and this is the real broker's name.
    assert_eq!(said.result("not_global"), "failed", "{}", said.short());
}

#[test]
fn a_host_without_an_ipv6_address_is_told_by_what_it_is_for() {
    let (host, one, two) = with_servers();
    for server in [&one, &two] {
        server.says_of("api.dhan.co", Says::NoData);
        server.says_of("api-feed.dhan.co", Says::NoData);
    }
    let said = host.examine();
    let finding = said.finding("no_aaaa").unwrap();
    has(&finding, "fix", "name_servers");
    assert_eq!(said.result("no_aaaa"), "failed", "{}", said.short());
    for server in [&one, &two] {
        server.says_of("api.dhan.co", Says::address(BROKER));
    }
    let said = host.examine();
    assert_eq!(said.result("no_aaaa"), "warning", "orders need no feed: {}", said.short());
    for server in [&one, &two] {
        server.says_of("api-feed.dhan.co", Says::address(BROKER));
    }
    host.is_gone("no_aaaa");
}

/// The broker would see an address that is nobody's of ours.
#[test]
fn a_translators_address_is_told_and_its_server_taken_out_by_the_command() {
    let (host, one, _) = with_servers();
    // The prefix that everybody has, and one of its own.
    one.says(Says::address("64:ff9b::c000:201".parse().unwrap()));
    has(&host.finds("nat64"), "what", "64:ff9b::c000:201");
    one.says_of("ipv4only.arpa", Says::address("4000:64::c000:aa".parse().unwrap()));
    one.says(Says::address("4000:64::c000:201".parse().unwrap()));
    let finding = host.is_mended_by_its_commands("nat64");
    has(&finding, "what", "4000:64::c000:201");
}

#[test]
fn servers_that_disagree_or_say_nothing_are_taken_out_by_the_command() {
    for (says, words) in [
        (Says::NoData, "contradicts the others"),
        (Says::Error(2), "is of no use"),
        (Says::Error(5), "is of no use"),
        (Says::Nothing, "is of no use"),
    ] {
        let (host, _, two) = with_servers();
        two.says(says);
        let finding = host.is_mended_by_its_commands("name_servers");
        has(&finding, "what", words);
        has(&finding, "what", "[2001:db8:b::2]:53");
        assert_eq!(finding["severity"], "warning", "{finding}");
        let left = std::fs::read_to_string(host.dir.path().join("etc/resolv.conf")).unwrap();
        assert_eq!(left, "nameserver 2001:db8:b::1\n");
    }
}

#[test]
fn a_name_that_the_hosts_file_has_is_taken_out_by_the_command() {
    let (host, ..) = with_servers();
    host.etc.write("hosts", "127.0.0.1 localhost\n4000::b api.dhan.co\n");
    let finding = host.is_mended_by_its_commands("name_overridden");
    has(&finding, "what", "/etc/hosts says that api.dhan.co is 4000::b");
    let left = std::fs::read_to_string(host.dir.path().join("etc/hosts")).unwrap();
    assert_eq!(left, "127.0.0.1 localhost\n");
}

#[test]
fn pins_are_told_until_they_are_gone() {
    let (host, ..) = with_servers();
    host.configure(&config(&pins()));
    has(&host.finds("name_overridden"), "what", "egress.resolve pins");
    host.configure(&config(""));
    host.is_gone("name_overridden");
}

/// A feed without an IPv6 address is told with the line that mends it, and what is sent over IPv4 then is looked at too.
#[test]
fn a_host_with_only_an_ipv4_address_is_mended_by_the_configuration_and_its_source_is_looked_at() {
    let (host, one, two) = with_servers();
    let ipv4 = Ipv4Addr::new(18, 0, 0, 20);
    for server in [&one, &two] {
        server.says_of("api-feed.dhan.co", Says::Ipv4(ipv4));
        server.says_of("api.dhan.co", Says::Ipv4(ipv4));
    }
    let said = host.examine();
    let all = said.checks["no_aaaa"]["findings"].to_string();
    assert!(all.contains("\\\"api-feed.dhan.co\\\" = \\\"192.0.2.7\\\""), "{all}");
    assert!(!all.contains("\\\"api.dhan.co\\\" ="), "orders never leave over IPv4: {all}");
    for server in [&one, &two] {
        server.says_of("api.dhan.co", Says::address(BROKER));
    }
    host.configure(&config("[egress.ipv4_hosts]\n\"api-feed.dhan.co\" = \"192.0.2.7\""));
    let finding = host.finds("ipv4_source_missing");
    let command = finding["commands"][0].as_str().unwrap().replace("INTERFACE", "uplink1");
    host.net.ip(Ns::Broker, "address add 192.0.2.20/24 dev downlink1");
    host.net.ip(Ns::Broker, &format!("address add {ipv4}/32 dev lo"));
    host.shell(&command);
    has(&host.finds("ipv4_unreachable"), "what", "192.0.2.7");
    host.ip("route add 192.0.2.20/32 dev uplink1 src 192.0.2.7");
    host.ip(&format!("route add {ipv4}/32 via 192.0.2.20 dev uplink1"));
    host.net.ip(Ns::Broker, "route replace 192.0.2.7/32 dev downlink1");
    host.is_gone("ipv4_unreachable");
    let said = host.examine();
    assert_eq!(said.result("no_aaaa"), "ok", "{}", said.short());
    for server in [&one, &two] {
        server.says_of("api-feed.dhan.co", Says::address(BROKER));
    }
    has(&host.finds("ipv4_not_needed"), "fix", "egress.ipv4_hosts");
}
