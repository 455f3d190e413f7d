//! The words of each finding: what is so, why it matters, what to do.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use jiff::SignedDuration;
use nix::errno::Errno;

use super::addresses::Held;
use super::facts::Sender;
use super::failure::Failure;
use super::finding::{Finding, Severity};
use super::way::Leaves;
use crate::domain::host_limits::Lack;

/// A clock further off than this is told: the code of a login is good for 30 s, and a clock that drifts does not stop.
pub(super) const CLOCK: SignedDuration = SignedDuration::from_secs(2);

/// An address outside that nobody has, to ask for a way by. Nothing is sent to it.
pub const OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

/// How a change of addresses, routes or rules is kept.
const AT_BOOT: &str = "This lasts until the host restarts; to keep it, put it into the host's network configuration too \
                       (netplan, /etc/network/interfaces or systemd-networkd)";
const NO_IPV6: &str = "all accounts trade over IPv6, so no order and no login can be sent";
const NOT_FROM_IT: &str = "no order of this account can be sent from this address";
const BY_THE_OTHER: &str =
    "no order of this account can be sent from this address now; the account's other address is used if it works";
const OF_THE_UNIT: &str = "run systemctl edit sixgate, write RestrictAddressFamilies=AF_INET6 AF_INET AF_NETLINK AF_UNIX \
                           below [Service], and run systemctl restart sixgate";

pub(super) fn error(id: &'static str, what: String, why: &str, fix: String) -> Finding {
    Finding { id, severity: Severity::Error, about: Vec::new(), what, why: why.to_owned(), fix, commands: Vec::new() }
}

pub(super) fn warning(id: &'static str, what: String, why: &str, fix: String) -> Finding {
    Finding { severity: Severity::Warning, ..error(id, what, why, fix) }
}

pub(super) fn ipv6_not_in_kernel() -> Finding {
    error(
        "ipv6_off",
        "this host has no IPv6: its kernel was started without it (/proc/net/if_inet6 is missing)".to_owned(),
        NO_IPV6,
        "remove ipv6.disable=1 from the line GRUB_CMDLINE_LINUX in /etc/default/grub, run update-grub and restart the \
         host. In a container: give it a network that has IPv6 (docker run --network=host)"
            .to_owned(),
    )
}

pub(super) fn ipv6_off(keys: &[String]) -> Finding {
    let on: Vec<_> = keys.iter().map(|key| format!("{key}=0")).collect();
    error(
        "ipv6_off",
        format!("IPv6 is turned off on this host ({} is 1)", keys.join(", ")),
        NO_IPV6,
        format!(
            "run sysctl -w {} and write the same settings into a file in /etc/sysctl.d/, so that they hold after a restart. \
             Turning IPv6 off also removed the addresses and routes of the accounts: add them again as when the host was \
             set up (ip -6 route add local PREFIX dev lo, or ip -6 addr add ADDRESS/128 dev INTERFACE, and the default \
             route)",
            on.join(" ")
        ),
    )
}

pub(super) fn inet6_forbidden(why: &str) -> Finding {
    error(
        "ipv6_sockets_forbidden",
        format!("the gateway may not open IPv6 connections ({why}); most often its systemd unit forbids them"),
        NO_IPV6,
        format!("{OF_THE_UNIT}. If AF_INET6 is there already, the host's kernel has no IPv6"),
    )
}

pub(super) fn netlink_forbidden(why: &str) -> Finding {
    warning(
        "netlink_forbidden",
        format!("the gateway may not ask the kernel about addresses and routes ({why})"),
        "orders go on, but the gateway cannot warn: addresses and routes are not checked, an address that leaves this \
         host is noticed only by an order that waits for it, and why a connection fails cannot be said",
        OF_THE_UNIT.to_owned(),
    )
}

pub(super) fn lacks(lack: Lack) -> Finding {
    error(
        match lack {
            Lack::Descriptors | Lack::HostDescriptors => "descriptors",
            Lack::Memory => "memory",
        },
        lack.to_string(),
        "a new connection to the broker may fail, and the order that needs it is then refused and not sent. The host's \
         other checks could not be made, so their last results are shown",
        "as said above; the gateway checks again by itself".to_owned(),
    )
}

pub(super) fn unix_forbidden(why: &str, needs: &[String]) -> Finding {
    warning(
        "unix_sockets_forbidden",
        format!("the gateway may not open unix sockets ({why})"),
        &format!("it prevents {}", needs.join(" and ")),
        OF_THE_UNIT.to_owned(),
    )
}

pub(super) fn address_missing(from: &Sender, link: Option<&str>, leaves: Option<&Leaves>) -> Finding {
    let at = from.source;
    // Where the broker is on this host, the way to it is by lo, and nobody outside finds an address there.
    let out = leaves.map(|leaves| leaves.interface.as_str()).filter(|interface| *interface != "lo");
    let interface = link.or(out).unwrap_or("INTERFACE");
    let prefix = Ipv6Net::new(at.ip(), 64).map(|net| net.trunc().to_string()).unwrap_or_default();
    error(
        "address_missing",
        format!("{from} is not an address of this host"),
        &format!("the broker's answers to it do not arrive here, so {NOT_FROM_IT}"),
        format!(
            "as root, if the provider gave you single addresses: ip -6 addr add {at}/128 dev {interface} nodad. If the \
             provider routes the whole prefix to this host: ip -6 route add local {prefix} dev lo. {AT_BOOT}"
        ),
    )
}

pub(super) fn duplicate(from: &Sender, held: &Held) -> Finding {
    let at = from.source;
    error(
        "duplicate_address",
        format!("{from} is also used by another machine on the network of {}", held.interface),
        &format!("the kernel does not use an address that another machine answers for, so {NOT_FROM_IT}"),
        format!(
            "find the other machine (ask the provider, or look at ip -6 neigh) and take the address off it, or give the \
             account another pair. Once the other machine is gone, as root: \
             ip -6 addr del {at}/{0} dev {1} && ip -6 addr add {at}/{0} dev {1}",
            held.length, held.interface
        ),
    )
}

pub(super) fn freebind_needed(from: &Sender) -> Finding {
    error(
        "freebind_off",
        format!("{from} belongs to this host by a local route only, no interface has it, and egress.freebind is false"),
        &format!("without freebind the kernel refuses to use such an address, so {NOT_FROM_IT}"),
        "write freebind = true under [egress] in the configuration and reload (systemctl reload sixgate). Or as root: \
         sysctl -w net.ipv6.ip_nonlocal_bind=1"
            .to_owned(),
    )
}

pub(super) fn no_route(from: Option<&Sender>, to: Ipv6Addr, why: &str, table: Option<u32>) -> Finding {
    let gateway = "find the IPv6 gateway in the provider's panel or ask the provider (it is often fe80::1), and the name of \
                   the interface in ip -br link (such as eth0)";
    let Some(from) = from else {
        return error(
            "no_route",
            format!(
                "this host has no IPv6 connection to the internet (no route{}; the kernel says: {why})",
                to_where(to)
            ),
            "no order and no login can be sent",
            format!("{gateway}; then as root: ip -6 route add default via GATEWAY dev INTERFACE. {AT_BOOT}"),
        );
    };
    let (rule, in_table) = match table {
        Some(table) => (
            format!("; a rule of this host sends traffic from {} to table {table}", from.source),
            format!(" table {table}"),
        ),
        None => (String::new(), String::new()),
    };
    error(
        "no_route",
        format!("this host has no route from {from}{} (the kernel says: {why}{rule})", to_where(to)),
        NOT_FROM_IT,
        format!("{gateway}; then as root: ip -6 route add default via GATEWAY dev INTERFACE{in_table}. {AT_BOOT}"),
    )
}

/// An address that stands for the whole internet where the broker's is not known says nothing to anybody.
fn to_where(to: Ipv6Addr) -> String {
    if to == OUTSIDE { " to the internet".to_owned() } else { format!(" to {to}") }
}

pub(super) fn wrong_way_out(from: &Sender, leaves: &Leaves, own: &str) -> Finding {
    error(
        "wrong_way_out",
        format!("traffic from {from} would leave by {}, and the address belongs to {own}", by(leaves)),
        &format!("a provider drops traffic from addresses that it did not give out, so {NOT_FROM_IT}"),
        source_rule(from, own),
    )
}

pub(super) fn one_way_for_both(from: &Sender, leaves: &Leaves, unused: &Leaves) -> Finding {
    let (used, other) = (&leaves.interface, &unused.interface);
    warning(
        "source_rule_missing",
        format!(
            "traffic from {from} leaves by {}, like that of all other accounts' addresses, and the second line, {}, is not \
             used",
            by(leaves),
            by(unused)
        ),
        &format!(
            "orders from an address that the provider of {other} gave you get no answer this way; and if {used} fails, \
             both addresses of every account fail"
        ),
        format!(
            "if the provider of {used} gave you all addresses, do nothing. Otherwise: {}",
            source_rule(from, other)
        ),
    )
}

fn source_rule(from: &Sender, interface: &str) -> String {
    format!(
        "as root, with the IPv6 gateway of {interface} for GATEWAY: ip -6 route add default via GATEWAY dev {interface} \
         table 102, then ip -6 rule add from {} lookup 102 (a whole prefix may stand in place of the address). {AT_BOOT}",
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
        "if other addresses work, the provider's router does not know that this one is here, and drops the answers to it; \
         if no address works, the broker or the line is down",
        format!(
            "if no address works, change nothing. If others work, do one of three things. As root, for each address: ip -6 \
             addr add {at}/128 dev {link} nodad. Or install ndppd, which answers for a whole prefix (its configuration: \
             proxy {link} {{ rule PREFIX {{ static }} }}). Or ask the provider to route the prefix to this host. {AT_BOOT}"
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
                    "no answer came to {from}. It is an address of this host and leaves by {}, so the packets or their \
                     answers are lost outside of this host, or a firewall drops them",
                    by(leaves)
                ),
                BY_THE_OTHER,
                format!(
                    "run ping -6 -I {at} {to}, then the same with another account's address. If only this one gets no \
                     answer, ask the provider whether it routes {at} to this host, and look for a firewall rule that drops \
                     it (nft list ruleset). If none gets one, the broker or the line is down: change nothing"
                ),
            )
        }),
        Failure::SilentTls => Some(packets_too_big(from, leaves.map(|(leaves, _)| leaves))),
        Failure::Bind(_) => None,
    }
}

/// What an error of `connect` means: that of this host, or of a router further out, which the kernel hands on as if it
/// were its own.
fn refused(errno: Errno, from: &Sender, to: Ipv6Addr, leaves: Option<(&Leaves, bool)>) -> Option<Finding> {
    if errno == Errno::EPERM {
        return Some(error(
            "firewall",
            format!("a firewall on this host stops connections from {from} to {to}"),
            BY_THE_OTHER,
            format!(
                "allow TCP port 443 from {}. The rule that stops it is in nft list ruleset, in ip6tables -L OUTPUT -n, or in \
                 IPAddressDeny= of the systemd unit",
                from.source
            ),
        ));
    }
    if errno == Errno::EACCES {
        return Some(error(
            "refused_on_the_way",
            format!("a firewall, here or at the provider, refuses connections from {from} to {to}"),
            BY_THE_OTHER,
            "look in nft list ruleset for a rule that rejects or drops them, and remove it; if there is none, send this \
             message to the provider"
                .to_owned(),
        ));
    }
    let (leaves, hop_failed) = leaves?;
    (errno == Errno::EHOSTUNREACH).then(|| unreachable(from, to, leaves, hop_failed)).or_else(|| {
        (errno == Errno::ENETUNREACH).then(|| {
            warning(
                "no_way_further",
                format!("a router at the provider does not know the way from {from} to {to}"),
                BY_THE_OTHER,
                "send this message to the provider; nothing on this host needs to be changed".to_owned(),
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
            format!("traffic from {from} leaves by {}, and the router there does not answer", by(leaves)),
            BY_THE_OTHER,
            format!(
                "see whether the line is up (ip -br link show {0} says UP), and whether {hop} is the IPv6 gateway that the \
                 provider's panel names for {0}; if both are right, the provider's router is down: tell the provider",
                leaves.interface
            ),
        );
    }
    warning(
        "unreachable",
        format!("a router says that {to} cannot be reached from {from}"),
        BY_THE_OTHER,
        format!(
            "if the account's other address works, this line is down: if ip -6 neigh show {hop} says FAILED, your own \
             gateway does not answer, otherwise tell the provider. If both addresses fail, wait: the broker may be down"
        ),
    )
}

fn packets_too_big(from: &Sender, leaves: Option<&Leaves>) -> Finding {
    let interface = leaves.map_or("INTERFACE", |leaves| leaves.interface.as_str());
    warning(
        "packets_too_big",
        format!("a connection from {from} opened, but no answer came through it"),
        "if the account's other address works at this moment, large packets get lost on this line (a tunnel is on the \
         way, or a firewall that drops ICMPv6), and no order can be sent by it; if neither works, the broker is slow",
        format!(
            "if neither address works, change nothing. If the other one works, run ip link set dev {interface} mtu 1280 as \
             root and try again. If that helps, keep it, or have ICMPv6 type 2 (packet too big) allowed in every firewall \
             on the way"
        ),
    )
}

pub(super) fn clock_off(ahead: SignedDuration) -> Finding {
    let tenths = ahead.as_millis() / 100;
    let side = if tenths < 0 { "ahead of" } else { "behind" };
    warning(
        "clock_off",
        format!("this host's clock is {}.{} s {side} the broker's", tenths.abs() / 10, tenths.abs() % 10),
        "orders go on, but the times in logs are wrong, and after a restart a login may fail until the broker's time is \
         known",
        "run timedatectl set-ntp true as root (if it is not supported: apt install systemd-timesyncd first)".to_owned(),
    )
}

fn by(leaves: &Leaves) -> String {
    match leaves.gateway {
        Some(gateway) => format!("{} through {gateway}", leaves.interface),
        None => leaves.interface.clone(),
    }
}
