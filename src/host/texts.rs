//! The words of each finding: what is so, why it matters, what to do.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use jiff::SignedDuration;
use nix::errno::Errno;

use super::addresses::Held;
use super::explain::Failure;
use super::facts::Leaves;
use super::findings::{Finding, Severity};
use crate::domain::SourceAddr;

/// A clock further off than this is told: the code of a login is good for 30 s, and a clock that drifts does not stop.
pub(super) const CLOCK: SignedDuration = SignedDuration::from_secs(2);

const AT_BOOT: &str = "write it into the host's network configuration too, or it is gone after the next boot";

fn error(id: &'static str, what: String, why: &str, fix: String) -> Finding {
    Finding { id, severity: Severity::Error, what, why: why.to_owned(), fix }
}

fn warning(id: &'static str, what: String, why: &str, fix: String) -> Finding {
    Finding { severity: Severity::Warning, ..error(id, what, why, fix) }
}

pub(super) fn ipv6_not_in_kernel() -> Finding {
    error(
        "ipv6_off",
        "this host has no IPv6 at all (/proc/net/if_inet6 is missing)".to_owned(),
        "every account leaves by IPv6, so no order and no login can leave",
        "take ipv6.disable=1 off the kernel's command line (in /etc/default/grub, then update-grub and restart the host); \
         in a container, give it a network that has IPv6 (docker run --network=host)"
            .to_owned(),
    )
}

pub(super) fn ipv6_off(keys: &[String]) -> Finding {
    let on: Vec<_> = keys.iter().map(|key| format!("{key}=0")).collect();
    error(
        "ipv6_off",
        format!("IPv6 is turned off on this host ({} is 1)", keys.join(", ")),
        "every account leaves by IPv6, so no order and no login can leave",
        format!(
            "sysctl -w {}, and the same in /etc/sysctl.d/ for the next boot; then put the addresses and routes of the \
             accounts there again (ip -6 route add local PREFIX dev lo, or ip -6 addr add ADDRESS/128 dev INTERFACE, and \
             the default route), because turning IPv6 off took them away",
            on.join(" ")
        ),
    )
}

pub(super) fn inet6_forbidden(why: &str) -> Finding {
    error(
        "ipv6_sockets_forbidden",
        format!("this process may not open IPv6 sockets ({why})"),
        "every account leaves by IPv6, so no order and no login can leave",
        "add AF_INET6 to RestrictAddressFamilies= of the systemd unit (systemctl edit sixgate), then restart it; if it is \
         there, the kernel has no IPv6"
            .to_owned(),
    )
}

pub(super) fn netlink_forbidden(why: &str) -> Finding {
    warning(
        "netlink_forbidden",
        format!("this process may not ask the kernel about addresses and routes ({why})"),
        "an address that leaves this host is noticed only when an order has waited for it, and why a connection fails \
         cannot be told; none of the checks of addresses and routes was made, so nothing is known of them",
        "add AF_NETLINK to RestrictAddressFamilies= of the systemd unit (systemctl edit sixgate), then restart it"
            .to_owned(),
    )
}

pub(super) fn unix_forbidden(why: &str, needs: &[String]) -> Finding {
    warning(
        "unix_sockets_forbidden",
        format!("this process may not open unix sockets ({why})"),
        &format!("that stops {}", needs.join(" and ")),
        "add AF_UNIX to RestrictAddressFamilies= of the systemd unit (systemctl edit sixgate), then restart it"
            .to_owned(),
    )
}

pub(super) fn address_missing(from: SourceAddr, leaves: Option<&Leaves>) -> Finding {
    let interface = leaves.map_or("INTERFACE", |leaves| leaves.interface.as_str());
    let prefix = Ipv6Net::new(from.ip(), 64).map(|net| net.trunc().to_string()).unwrap_or_default();
    error(
        "address_missing",
        format!("{from} is not an address of this host"),
        "answers to it never arrive here, so nothing can be connected from it",
        format!(
            "where the provider gave single addresses: ip -6 addr add {from}/128 dev {interface} nodad; where it routes \
             the whole prefix to this host: ip -6 route add local {prefix} dev lo; {AT_BOOT}"
        ),
    )
}

pub(super) fn duplicate(from: SourceAddr, held: &Held) -> Finding {
    error(
        "duplicate_address",
        format!("another host on the link of {} has {from} too", held.interface),
        "the kernel does not use an address that somebody else answers for, so nothing can be connected from it",
        format!(
            "find the other host (ip -6 neigh, or ask the provider), or give the account another pair; if it is gone: \
             ip -6 addr del {from}/{0} dev {1} && ip -6 addr add {from}/{0} dev {1}",
            held.length, held.interface
        ),
    )
}

pub(super) fn freebind_needed(from: SourceAddr) -> Finding {
    error(
        "freebind_off",
        format!("{from} is covered by a local route only, no interface has it, and egress.freebind is false"),
        "the kernel refuses to bind such an address, so nothing can be connected from it",
        "set freebind = true in [egress] and reload (systemctl reload sixgate), or: sysctl -w net.ipv6.ip_nonlocal_bind=1"
            .to_owned(),
    )
}

pub(super) fn no_route(from: Option<SourceAddr>, to: Ipv6Addr, why: &str, table: Option<u32>) -> Finding {
    let of = from.map(|from| format!(" from {from}")).unwrap_or_default();
    let (rule, in_table) = match (from, table) {
        (Some(from), Some(table)) => {
            (format!("; a rule sends what comes from {from} to table {table}"), format!(" table {table}"))
        }
        _ => (String::new(), String::new()),
    };
    error(
        "no_route",
        format!("this host has no route{of} to {to} (the kernel says: {why}{rule})"),
        "nothing can leave to the broker",
        format!(
            "ip -6 route add default via GATEWAY dev INTERFACE{in_table}, with the IPv6 gateway that the provider's panel \
             names (often fe80::1); {AT_BOOT}"
        ),
    )
}

pub(super) fn wrong_way_out(from: SourceAddr, leaves: &Leaves, own: &str) -> Finding {
    error(
        "wrong_way_out",
        format!("what comes from {from} would leave by {}, and the address belongs to {own}", by(leaves)),
        "a provider drops what comes from an address that is not on its line, and then nobody answers",
        source_rule(from, own),
    )
}

pub(super) fn one_way_for_both(from: SourceAddr, leaves: &Leaves, unused: &Leaves) -> Finding {
    warning(
        "source_rule_missing",
        format!(
            "what comes from {from} leaves by {}, as all accounts' addresses do, though {} leads out too",
            by(leaves),
            by(unused)
        ),
        "if the address belongs to the other line, its provider's, nobody answers it here; and both addresses of an \
         account stop when this one line does",
        format!(
            "{}; if all addresses belong to one line, there is nothing to do",
            source_rule(from, &unused.interface)
        ),
    )
}

fn source_rule(from: SourceAddr, interface: &str) -> String {
    format!(
        "ip -6 route add default via GATEWAY dev {interface} table 102, with the gateway of that line, then ip -6 rule \
         add from {from} lookup 102 (or from its whole prefix); {AT_BOOT}"
    )
}

pub(super) fn on_link_unanswered(from: SourceAddr, link: &str) -> Finding {
    error(
        "neighbours_unanswered",
        format!("nobody on this host answers the router when it asks on {link} who has {from}"),
        "the prefix is on the link and not routed to this host, so answers to it are dropped before they arrive",
        format!(
            "ip -6 addr add {from}/128 dev {link} nodad for each address; or for a whole prefix run ndppd (its \
             configuration: proxy {link} {{ rule PREFIX {{ static }} }}); or ask the provider to route the prefix to this \
             host; {AT_BOOT}"
        ),
    )
}

/// What a failure means when nothing on this host explains it.
pub(super) fn of_failure(failed: Failure, from: SourceAddr, to: Ipv6Addr, leaves: Option<&Leaves>) -> Option<Finding> {
    let is = |errno: i32, one: Errno| errno == one as i32;
    let way = leaves.map(by);
    match failed {
        Failure::Bind(errno) if is(errno, Errno::EAFNOSUPPORT) => {
            Some(inet6_forbidden(Errno::EAFNOSUPPORT.desc()))
        }
        Failure::Connect(errno) if is(errno, Errno::EACCES) || is(errno, Errno::EPERM) => Some(error(
            "firewall",
            format!("a firewall on this host stops what goes from {from} to {to}"),
            "nothing can be connected from it",
            format!("look at nft list ruleset (or ip6tables -L OUTPUT -n) and allow TCP port 443 from {from}"),
        )),
        Failure::Connect(errno) if is(errno, Errno::EHOSTUNREACH) => way.map(|way| error(
            "gateway_silent",
            format!("what comes from {from} leaves by {way}, and the router there does not answer"),
            "nothing can leave by that line",
            "see whether the line is up (ip -6 neigh, ip link), and whether the gateway is the one that the provider's \
             panel names"
                .to_owned(),
        )),
        Failure::Silent => way.map(|way| warning(
            "no_answer",
            format!("{from} is on this host and leaves by {way}, and nobody answered"),
            "the packets or their answers are lost outside of this host, or a firewall drops them",
            format!(
                "ping -6 -I {from} {to}, then the same from another address: if only this one is silent, ask the provider \
                 whether it routes {from} to this host, and look at nft list ruleset; if all are, the broker or the line is down"
            ),
        )),
        Failure::SilentTls => Some(packets_too_big(leaves)),
        Failure::Bind(_) | Failure::Connect(_) => None,
    }
}

fn packets_too_big(leaves: Option<&Leaves>) -> Finding {
    let interface = leaves.map_or("INTERFACE", |leaves| leaves.interface.as_str());
    warning(
        "packets_too_big",
        "the connection was made, and nothing larger came through it".to_owned(),
        "that is how it looks when packets of full size are lost on the way without a word (an MTU hole: a tunnel, or a \
         firewall that drops ICMPv6)",
        format!(
            "ip link set dev {interface} mtu 1280, and try again; if that helps, keep it, or allow ICMPv6 type 2 \
             (packet too big) in every firewall on the way; if it does not, the broker is slow or down"
        ),
    )
}

pub(super) fn clock_off(ahead: SignedDuration) -> Finding {
    let tenths = ahead.as_millis() / 100;
    let sign = if tenths < 0 { "behind" } else { "ahead of" };
    warning(
        "clock_off",
        format!("the broker's clock is {}.{} s {sign} this host's", tenths.abs() / 10, tenths.abs() % 10),
        "codes of logins and times of the journal are made by the broker's clock for as long as it is known; what reads \
         this host's clock, logs and other programs, is wrong",
        "timedatectl set-ntp true (apt install systemd-timesyncd, where it is missing)".to_owned(),
    )
}

fn by(leaves: &Leaves) -> String {
    match leaves.gateway {
        Some(gateway) => format!("{} through {gateway}", leaves.interface),
        None => leaves.interface.clone(),
    }
}
