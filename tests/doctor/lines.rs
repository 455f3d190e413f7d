//! Ways out, and what is on them.

use super::{Host, has};
use crate::support::net::Ns;

#[test]
fn two_lines_of_which_one_is_unused_get_the_rule_by_the_commands() {
    let host = Host::up();
    host.ip("-6 rule del from 2001:db8:a2::/64 lookup 102");
    let finding = host.is_mended_by_its_commands("source_rule_missing");
    has(&finding, "commands", "ip -6 route replace default via 2001:db8:f2::1 dev uplink2 table 102");
    has(&finding, "commands", "ip -6 rule add from 2001:db8:a2::/64 lookup 102");
}

#[test]
fn an_address_that_leaves_by_the_wrong_line_gets_its_own_by_the_commands() {
    let host = Host::up();
    host.ip("-6 rule del from 2001:db8:a2::/64 lookup 102");
    host.ip("-6 addr add 2001:db8:a2::1/64 dev uplink2 nodad");
    let finding = host.is_mended_by_its_commands("wrong_way_out");
    has(&finding, "what", "would leave by uplink1");
    assert_eq!(host.examine().failed(), Vec::<&str>::new());
}

#[test]
fn both_addresses_by_one_line_are_told_once() {
    let host = Host::up();
    host.ip("-6 rule del from 2001:db8:a2::/64 lookup 102");
    host.ip("-6 rule add from 2001:db8:a2::/64 lookup 101");
    host.ip("-6 link set uplink2 down");
    let finding = host.finds("one_way_out");
    has(&finding, "what", "leave by uplink1");
    host.ip("-6 rule del from 2001:db8:a2::/64 lookup 101");
    host.ip("-6 rule add from 2001:db8:a2::/64 lookup 102");
    host.net.uplink(2, crate::support::net::Uplink::Up);
    host.is_gone("one_way_out");
}

fn nft(host: &Host, rule: &str) {
    host.shell(&format!(
        "nft 'add table ip6 t; add chain ip6 t o {{ type filter hook output priority 0; }}; add rule ip6 t o {rule}'"
    ));
}

/// What is refused is told as a refusal, and what is dropped as a silence that others do not have.
#[test]
fn a_firewall_is_told_until_its_rule_is_gone() {
    let host = Host::up();
    for (rule, id, words) in [
        ("ip6 saddr 2001:db8:a1::/64 tcp dport 443 drop", "no_answer", "a firewall drops them"),
        (
            "ip6 saddr 2001:db8:a1::/64 tcp dport 443 reject with icmpv6 admin-prohibited",
            "refused_on_the_way",
            "a firewall",
        ),
    ] {
        // The kernel tells of a reject when it has sent again, a second later.
        let slow = super::config(&crate::support::world::pins()).replace("\"1s\"", "\"2900ms\"");
        host.configure(&slow);
        nft(&host, rule);
        let said = host.examine();
        assert_eq!(said.result("broker_unreachable"), "failed", "{}", said.short());
        let finding = said.finding(id).unwrap_or_else(|| panic!("no {id}: {}", said.short()));
        has(&finding, "what", words);
        has(&finding, "commands", "nft list ruleset");
        if id == "no_answer" {
            // Or the provider does not route the prefix: only he knows.
            let finding = said.finding("single_addresses_only").unwrap_or_else(|| panic!("{}", said.short()));
            has(&finding, "fix", "2001:db8:a1::/64");
        }
        host.follow(&finding);
        host.shell("nft delete table ip6 t");
        host.is_gone(id);
        assert_eq!(host.examine().failed(), Vec::<&str>::new());
    }
}

/// Two lines, and a filter that only root can see.
#[test]
fn a_reverse_path_filter_is_not_known_while_a_line_is_silent() {
    let host = Host::up();
    assert_eq!(host.examine().result("reverse_path_filter"), "ok");
    host.shell(
        "nft 'add table ip6 t; add chain ip6 t i { type filter hook prerouting priority 0; }; \
                add rule ip6 t i tcp sport 443 ip6 daddr 2001:db8:a2::/64 drop'",
    );
    let said = host.examine();
    assert_eq!(said.result("reverse_path_filter"), "unknown", "{}", said.short());
    std::fs::create_dir_all(host.dir.path().join("etc/firewalld")).unwrap();
    host.etc.write("firewalld/firewalld.conf", "# x\nIPv6_rpfilter=strict\n");
    let finding = host.is_mended_by_its_commands("reverse_path_filter");
    // It ends every connection there is, so a person says when.
    has(&finding, "commands", "# firewall-cmd --complete-reload");
    assert!(!host.dir.path().join("called").exists());
}

#[test]
fn a_broker_that_is_down_is_told_as_one() {
    let host = Host::up();
    host.shell("true");
    let rule = "nft 'add table ip6 t; add chain ip6 t i { type filter hook input priority 0; }; \
                add rule ip6 t i tcp dport 443 reject with tcp reset'";
    assert!(host.try_shell(Ns::Broker, rule).status.success());
    let finding = host.finds("broker_unreachable");
    has(&finding, "fix", "status page");
    assert!(host.try_shell(Ns::Broker, "nft delete table ip6 t").status.success());
    host.is_gone("broker_unreachable");
}

/// The built-in broker's certificate is small, so this is a hole for packets that are smaller than real ones, and what
/// mends it is the other half of the advice.
#[test]
fn a_hole_for_large_packets_is_told_as_one() {
    let host = Host::up();
    host.net.ip(Ns::Broker, "link set downlink1 gso_max_segs 1");
    host.shell(
        "nft 'add table ip6 t; add chain ip6 t i { type filter hook input priority 0; }; \
                add rule ip6 t i iifname uplink1 meta length gt 500 drop'",
    );
    let finding = host.finds("packets_too_big");
    has(&finding, "commands", "ip link set dev uplink1 mtu 1280");
    host.follow(&finding);
    host.shell("nft delete table ip6 t");
    host.is_gone("packets_too_big");
}

#[test]
fn a_line_that_is_too_narrow_is_widened_by_the_command() {
    let host = Host::up();
    host.ip("link set uplink2 mtu 1200");
    let finding = host.is_mended_by_its_commands("mtu_too_small");
    has(&finding, "what", "uplink2 carries packets of at most 1200 bytes");
}
