//! The words of each finding: what is so, why it matters, what to do.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use jiff::SignedDuration;
use nix::errno::Errno;

use super::addresses::Held;
use super::facts::{Leaves, Sender};
use super::failure::Failure;
use super::finding::{Finding, Severity};
use crate::domain::host_limits::Lack;

/// A clock further off than this is told: the code of a login is good for 30 s, and a clock that drifts does not stop.
pub(super) const CLOCK: SignedDuration = SignedDuration::from_secs(2);

const AT_BOOT: &str = "write it into the host's network configuration too, or it is gone after the next boot";

fn error(id: &'static str, what: String, why: &str, fix: String) -> Finding {
    Finding { id, severity: Severity::Error, about: Vec::new(), what, why: why.to_owned(), fix }
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
        "orders go on; only warnings come late: an address that leaves this host is noticed only when an order has waited \
         for it, why a connection fails cannot be told, and none of the checks of addresses and routes was made",
        "add AF_NETLINK to RestrictAddressFamilies= of the systemd unit (systemctl edit sixgate), then restart it"
            .to_owned(),
    )
}

pub(super) fn lacks(lack: Lack) -> Finding {
    error(
        match lack {
            Lack::Descriptors | Lack::HostDescriptors => "descriptors",
            Lack::Memory => "memory",
        },
        lack.to_string(),
        "a new connection, and so an order, may be refused; the other checks could not be made, so what they found before \
         is told on",
        "what is said there; it is tried again by itself".to_owned(),
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

pub(super) fn address_missing(from: &Sender, leaves: Option<&Leaves>) -> Finding {
    let at = from.source;
    let interface = leaves.map_or("INTERFACE", |leaves| leaves.interface.as_str());
    let prefix = Ipv6Net::new(at.ip(), 64).map(|net| net.trunc().to_string()).unwrap_or_default();
    error(
        "address_missing",
        format!("{from} is not an address of this host"),
        "answers to it never arrive here, so no order of this account can leave by it",
        format!(
            "where the provider gave single addresses: ip -6 addr add {at}/128 dev {interface} nodad; where it routes \
             the whole prefix to this host: ip -6 route add local {prefix} dev lo; {AT_BOOT}"
        ),
    )
}

pub(super) fn duplicate(from: &Sender, held: &Held) -> Finding {
    let at = from.source;
    error(
        "duplicate_address",
        format!("another host on the link of {} has {from} too", held.interface),
        "the kernel does not use an address that somebody else answers for, so no order of this account can leave by it",
        format!(
            "find the other host (ip -6 neigh, or ask the provider), or give the account another pair; if it is gone: \
             ip -6 addr del {at}/{0} dev {1} && ip -6 addr add {at}/{0} dev {1}",
            held.length, held.interface
        ),
    )
}

pub(super) fn freebind_needed(from: &Sender) -> Finding {
    error(
        "freebind_off",
        format!("{from} is covered by a local route only, no interface has it, and egress.freebind is false"),
        "the kernel refuses to bind such an address, so no order of this account can leave by it",
        "set freebind = true in [egress] and reload (systemctl reload sixgate), or: sysctl -w net.ipv6.ip_nonlocal_bind=1"
            .to_owned(),
    )
}

pub(super) fn no_route(from: Option<&Sender>, to: Ipv6Addr, why: &str, table: Option<u32>) -> Finding {
    let Some(from) = from else {
        return error(
            "no_route",
            format!("this host has no IPv6 way to the internet (no route to {to}; the kernel says: {why})"),
            "no order can leave",
            format!(
                "ask the provider for the IPv6 gateway, then ip -6 route add default via GATEWAY dev INTERFACE; {AT_BOOT}"
            ),
        );
    };
    let (rule, in_table) = match table {
        Some(table) => {
            (format!("; a rule sends what comes from {} to table {table}", from.source), format!(" table {table}"))
        }
        None => (String::new(), String::new()),
    };
    error(
        "no_route",
        format!("this host has no route from {from} to {to} (the kernel says: {why}{rule})"),
        "no order of this account can leave by it",
        format!(
            "ask the provider for the IPv6 gateway (often fe80::1), then ip -6 route add default via GATEWAY dev \
             INTERFACE{in_table}; {AT_BOOT}"
        ),
    )
}

pub(super) fn wrong_way_out(from: &Sender, leaves: &Leaves, own: &str) -> Finding {
    error(
        "wrong_way_out",
        format!("what comes from {from} would leave by {}, and the address belongs to {own}", by(leaves)),
        "a provider drops what comes from an address that is not on its line, so no order of this account can leave by it",
        source_rule(from, own),
    )
}

pub(super) fn one_way_for_both(from: &Sender, leaves: &Leaves, unused: &Leaves) -> Finding {
    let (used, other) = (&leaves.interface, &unused.interface);
    warning(
        "source_rule_missing",
        format!(
            "what comes from {from} leaves by {}, as all accounts' addresses do, though {} leads out too",
            by(leaves),
            by(unused)
        ),
        &format!(
            "if an address came from the provider of {other}, orders from it get no answer; and when {used} fails, both \
             addresses of an account fail"
        ),
        format!("if all addresses came from {used}'s provider, do nothing; else: {}", source_rule(from, other)),
    )
}

fn source_rule(from: &Sender, interface: &str) -> String {
    format!(
        "ip -6 route add default via GATEWAY dev {interface} table 102, with the gateway of that line, then ip -6 rule \
         add from {} lookup 102 (or from its whole prefix); {AT_BOOT}",
        from.source
    )
}

pub(super) fn on_link_unanswered(from: &Sender, link: &str) -> Finding {
    let at = from.source;
    warning(
        "neighbours_unanswered",
        format!(
            "no answer came to {from}, and nobody on this host answers the router when it asks on {link} who has {at}"
        ),
        "if other accounts' addresses work, the provider does not route the prefix here, and answers to it are dropped \
         before they arrive; if all are silent, the broker or the line is down",
        format!(
            "only if others work: ip -6 addr add {at}/128 dev {link} nodad for each address; or for a whole prefix run \
             ndppd (its configuration: proxy {link} {{ rule PREFIX {{ static }} }}); or ask the provider to route the \
             prefix to this host; {AT_BOOT}. If all are silent, change nothing"
        ),
    )
}

/// What a failure means when nothing on this host explains it. With the way is said whether its next hop did not answer.
pub(super) fn of_failure(
    failed: Failure,
    from: &Sender,
    to: Ipv6Addr,
    leaves: Option<(&Leaves, bool)>,
) -> Option<Finding> {
    let at = from.source;
    match failed {
        Failure::Bind(errno) if Errno::from_raw(errno) == Errno::EAFNOSUPPORT => {
            Some(inet6_forbidden(Errno::EAFNOSUPPORT.desc()))
        }
        Failure::Connect(errno) => refused(Errno::from_raw(errno), from, to, leaves),
        Failure::Silent => leaves.map(|(leaves, _)| {
            warning(
                "no_answer",
                format!(
                    "no order can leave by {from} now; orders go by the other leg if that works. It is an address of this \
                     host and leaves by {}, and nobody answered",
                    by(leaves)
                ),
                "the packets or their answers are lost outside of this host, or a firewall drops them",
                format!(
                    "ping -6 -I {at} {to}, then the same from another address: if only this one is silent, ask the \
                     provider whether it routes {at} to this host, and look at nft list ruleset; if all are, the broker or \
                     the line is down: change nothing"
                ),
            )
        }),
        Failure::SilentTls => Some(packets_too_big(from, leaves.map(|(leaves, _)| leaves))),
        Failure::Bind(_) => None,
    }
}

const BY_THE_OTHER: &str = "no order of this account can leave by it now; orders go by the other leg if that works";

/// What an error of `connect` means: that of this host, or of a router further out, which the kernel hands on as if it
/// were its own.
fn refused(errno: Errno, from: &Sender, to: Ipv6Addr, leaves: Option<(&Leaves, bool)>) -> Option<Finding> {
    if errno == Errno::EPERM {
        return Some(error(
            "firewall",
            format!("a firewall on this host stops what goes from {from} to {to}"),
            BY_THE_OTHER,
            format!(
                "look at nft list ruleset (or ip6tables -L OUTPUT -n), and at IPAddressDeny= of the systemd unit, and allow \
                 TCP port 443 from {}",
                from.source
            ),
        ));
    }
    if errno == Errno::EACCES {
        return Some(error(
            "refused_on_the_way",
            format!("a firewall, here or at the provider, refuses connections from {from} to {to}"),
            BY_THE_OTHER,
            "see nft list ruleset for a reject or drop of it; if there is none, send this line to the provider"
                .to_owned(),
        ));
    }
    let (leaves, hop_failed) = leaves?;
    (errno == Errno::EHOSTUNREACH).then(|| unreachable(from, to, leaves, hop_failed)).or_else(|| {
        (errno == Errno::ENETUNREACH).then(|| {
            warning(
                "no_way_further",
                format!("a router at the provider has no way from {from} to {to}"),
                BY_THE_OTHER,
                "nothing on this host is to be mended: send this line to the provider".to_owned(),
            )
        })
    })
}

/// By the host's own next router, if it is that which does not answer, else by one further out.
fn unreachable(from: &Sender, to: Ipv6Addr, leaves: &Leaves, hop_failed: bool) -> Finding {
    let hop = leaves.gateway.unwrap_or(to);
    if hop_failed {
        return error(
            "gateway_silent",
            format!("what comes from {from} leaves by {}, and the router there does not answer", by(leaves)),
            BY_THE_OTHER,
            format!(
                "see whether the line is up (ip link show {0}; ip -6 neigh show {hop}), and whether {hop} is the gateway \
                 that the provider's panel names for {0}",
                leaves.interface
            ),
        );
    }
    warning(
        "unreachable",
        format!("a router says that {to} cannot be reached from {from}"),
        BY_THE_OTHER,
        format!(
            "if the other leg works, this line is down: ip -6 neigh show {hop} shows FAILED if it is your own gateway, \
                 else tell the provider; if both fail, wait: the broker may be down"
        ),
    )
}

fn packets_too_big(from: &Sender, leaves: Option<&Leaves>) -> Finding {
    let interface = leaves.map_or("INTERFACE", |leaves| leaves.interface.as_str());
    warning(
        "packets_too_big",
        format!("the connection from {from} opened, and then came no answer"),
        "if the other leg works at this moment, large packets get lost on this line (an MTU hole: a tunnel, or a firewall \
         that drops ICMPv6); if both are so, the broker is slow",
        format!(
            "only if the other leg works: ip link set dev {interface} mtu 1280, and try again; if that helps, keep it, or \
             allow ICMPv6 type 2 (packet too big) in every firewall on the way. If both are so, change nothing"
        ),
    )
}

pub(super) fn clock_off(ahead: SignedDuration) -> Finding {
    let tenths = ahead.as_millis() / 100;
    let sign = if tenths < 0 { "behind" } else { "ahead of" };
    warning(
        "clock_off",
        format!("the broker's clock is {}.{} s {sign} this host's", tenths.abs() / 10, tenths.abs() % 10),
        "after a restart a login may fail until the broker's time is known, and the times in logs are wrong; orders go on",
        "timedatectl set-ntp true (apt install systemd-timesyncd, where it is missing)".to_owned(),
    )
}

fn by(leaves: &Leaves) -> String {
    match leaves.gateway {
        Some(gateway) => format!("{} through {gateway}", leaves.interface),
        None => leaves.interface.clone(),
    }
}
