//! Addresses and routes.

use super::{Host, config, has};
use crate::support::net::Ns;
use crate::support::world::pins;

#[test]
fn ipv6_that_is_off_is_turned_on_and_its_local_routes_made_again() {
    let host = Host::up();
    host.shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    let said = host.examine();
    assert_eq!(said.result("no_route"), "unknown", "{}", said.short());
    let finding = host.is_mended_by_its_commands("ipv6_off");
    has(&finding, "commands", "sysctl -w net.ipv6.conf.all.disable_ipv6=0");
    // The local routes are back; the way out is for a person to know.
    host.is_gone("address_missing");
}

#[test]
fn an_address_that_nothing_covers_is_covered_by_the_command() {
    let host = Host::up();
    host.ip("-6 route del local 2001:db8:a1::/64 dev lo");
    assert_eq!(host.examine().code, 1);
    let finding = host.is_mended_by_its_commands("address_missing");
    has(&finding, "commands", "ip -6 route replace local 2001:db8:a1::/64 dev lo");
    assert_eq!(host.examine().code, 0);
}

/// The router's address is known where a neighbour says that it is one.
#[test]
fn a_way_out_that_lacks_is_made_by_the_command() {
    let host = Host::up();
    for line in ["-6 rule del from 2001:db8:a1::/64", "-6 rule del from 2001:db8:a2::/64"] {
        host.ip(line);
    }
    host.ip("-6 link set uplink2 down");
    let forwards = host.net.command(Ns::Broker, "sysctl").args(["-qw", "net.ipv6.conf.all.forwarding=1"]).status();
    assert!(forwards.unwrap().success());
    host.ip("-6 route flush default");
    // What the kernel asked of a router it remembers for a while.
    host.ip("-6 neigh flush dev uplink1");
    let _ = host.try_shell(Ns::Gateway, "ping -6 -c1 -W1 2001:db8:f1::1 || true");
    host.ip("-6 neigh replace 2001:db8:f1::1 dev uplink1 lladdr 02:00:00:00:00:01 router nud stale");
    host.ip("-6 neigh flush dev to-caller");
    let finding = host.finds("no_route");
    has(&finding, "commands", "ip -6 route replace default via 2001:db8:f1::1 dev uplink1");
    host.follow(&finding);
    host.is_gone("no_route");
}

/// Where nothing tells which router it is, a person has to.
#[test]
fn a_router_that_nobody_knows_is_left_to_a_person() {
    let host = Host::up();
    for line in ["uplink1", "uplink2", "to-caller"] {
        host.ip(&format!("-6 neigh flush dev {line}"));
    }
    host.ip("-6 rule del from 2001:db8:a1::/64");
    host.ip("-6 rule del from 2001:db8:a2::/64");
    host.ip("-6 route flush default");
    host.ip("-6 route flush table 101");
    host.ip("-6 route flush table 102");
    let finding = host.finds("no_route");
    has(&finding, "commands", "ip -6 route replace default via GATEWAY dev INTERFACE");
    let plan = host.command(&["--fix-plan", "--config", "sixgate.toml"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("\n#! ip -6 route replace default via GATEWAY"), "{plan}");
}

/// Down and up again, and the routes are not what they were: the host's own files say what is gone.
#[test]
fn what_the_hosts_own_files_make_and_is_gone_is_told_as_lost() {
    let host = Host::up();
    host.etc.write(
        "rc.local",
        "#!/bin/sh\nip -6 route add local 2001:db8:a1::/64 dev lo\nip -6 route add local 2001:db8:a2::/64 dev lo\n",
    );
    let said = host.examine();
    assert_eq!((said.result("address_lost"), said.result("not_kept_at_boot")), ("ok", "ok"), "{}", said.short());
    host.ip("link set lo down");
    host.ip("link set lo up");
    let finding = host.is_mended_by_its_commands("address_lost");
    has(&finding, "what", "the host's own configuration makes");
    host.is_gone("address_missing");
}

/// Each system by its own files; which it is depends on where the test runs.
#[test]
fn what_no_file_makes_is_written_into_one_by_the_commands() {
    for mark in ["nothing", "network/interfaces"] {
        let host = Host::up();
        let etc = host.dir.path().join("etc");
        for folder in ["network", "systemd/system"] {
            std::fs::create_dir_all(etc.join(folder)).unwrap();
        }
        host.etc.write(mark, "# nothing yet\n");
        let finding = host.is_mended_by_its_commands("not_kept_at_boot");
        has(&finding, "what", "2001:db8:a1::/64, 2001:db8:a2::/64");
        let (made, words) = match host.examine().whole["system"].as_str().unwrap() {
            "ip" => ("rc.local", "ip -6 route replace local 2001:db8:a1::/64 dev lo"),
            "ifupdown" => ("network/interfaces.d/sixgate", "up ip -6 route replace local 2001:db8:a1::/64 dev lo"),
            "systemd" => ("systemd/system/sixgate-addresses.service", "ExecStart=ip -6 route replace local"),
            "systemd-networkd" => ("systemd/network/05-sixgate-lo.network", "Destination=2001:db8:a1::/64"),
            "NetworkManager" => {
                ("NetworkManager/dispatcher.d/50-sixgate", "ip -6 route replace local 2001:db8:a1::/64")
            }
            other => panic!("{other}"),
        };
        let text = std::fs::read_to_string(etc.join(made)).unwrap();
        assert!(text.contains(words), "{text}");
    }
}

/// On the link and not routed here: the router asks who has the address.
fn on_link(host: &Host) {
    host.net.ip(Ns::Broker, "-6 route replace 2001:db8:a1::/64 dev downlink1");
    host.ip("-6 addr add 2001:db8:a1::ffff/64 dev uplink1 nodad");
}

#[test]
fn an_on_link_address_that_nobody_answers_for_is_answered_for_by_the_command() {
    let host = Host::up();
    on_link(&host);
    let finding = host.is_mended_by_its_commands("neighbours_unanswered");
    has(&finding, "commands", "ip -6 addr replace 2001:db8:a1::1/128 dev uplink1 nodad");
    assert_eq!(host.examine().failed(), Vec::<&str>::new());
}

/// The kernel is told to answer and does not, unless it forwards.
#[test]
fn a_proxy_entry_without_forwarding_is_told_and_mended() {
    let host = Host::up();
    on_link(&host);
    host.shell("sysctl -qw net.ipv6.conf.uplink1.proxy_ndp=1");
    host.ip("-6 neigh add proxy 2001:db8:a1::1 dev uplink1");
    let finding = host.is_mended_by_its_commands("proxy_without_forwarding");
    has(&finding, "what", "2001:db8:a1::1 on uplink1");
    host.is_gone("broker_unreachable");
}

#[test]
fn an_address_that_somebody_else_has_is_told_until_it_was_taken_off_there() {
    let host = Host::up();
    host.shell("sysctl -qw net.ipv6.conf.uplink1.accept_dad=1");
    host.net.ip(Ns::Broker, "-6 addr add 2001:db8:a1::1/64 dev downlink1 nodad");
    host.ip("-6 addr add 2001:db8:a1::1/128 dev uplink1");
    crate::support::wait_until("the kernel to hear of the other one", super::SOON, || {
        host.examine().finding("duplicate_address").is_some()
    });
    host.net.ip(Ns::Broker, "-6 addr del 2001:db8:a1::1/64 dev downlink1");
    host.is_mended_by_its_commands("duplicate_address");
}

/// Some lines never get to the end of duplicate address detection.
#[test]
fn an_address_that_stays_tentative_is_told_and_made_anew() {
    let host = Host::up();
    host.shell("sysctl -qw net.ipv6.conf.uplink1.accept_dad=1 net.ipv6.conf.uplink1.dad_transmits=600");
    host.ip("-6 addr add 2001:db8:a1::1/128 dev uplink1");
    let finding = host.is_mended_by_its_commands("tentative_address");
    has(&finding, "commands", "nodad");
}

#[test]
fn an_address_for_a_time_only_is_told_and_made_one_for_good() {
    let host = Host::up();
    host.ip("-6 addr add 2001:db8:a1::1/128 dev uplink1 valid_lft 3000 preferred_lft 3000 nodad");
    let finding = host.is_mended_by_its_commands("leased_address");
    has(&finding, "commands", "valid_lft forever");
}

#[test]
fn the_hosts_own_address_and_a_routers_are_no_accounts() {
    let host = Host::up();
    for (address, words) in [
        ("2001:db8:f1::2", "for its own traffic"),
        ("2001:db8:f1::1", "the address of a router"),
        ("2001:db8:f1::", "any router"),
        ("2001:db8:f1:0:fdff:ffff:ffff:ff85", "RFC 2526"),
    ] {
        let said = host.examine_with(&["--address", address]);
        let finding = said.finding("reserved_address").unwrap_or_else(|| panic!("{address}: {}", said.short()));
        has(&finding, "what", words);
    }
    assert!(host.examine().finding("reserved_address").is_none());
}

#[test]
fn a_small_prefix_is_told() {
    let host = Host::up_with(&config(&pins()).replace("2001:db8:a1::/64", "2001:db8:a1::/124"));
    let finding = host.finds("few_addresses");
    has(&finding, "what", "16 addresses");
    host.configure(&config(&pins()));
    host.is_gone("few_addresses");
}
