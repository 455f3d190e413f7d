//! Which destinations may be connected to. Names come from callers and answers
//! from DNS; neither may point the gateway at its own network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The rule that forbade a destination; its text is shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(&'static str);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Prefix (as segments and length) and rule, from the IANA IPv6 special-purpose
/// registry (RFC 6890 and its updates): what is not globally reachable, and what
/// only wraps an IPv4 address.
const FORBIDDEN_IPV6: &[([u16; 8], u8, RuleId)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, RuleId("loopback")),
    // Includes :: itself and IPv4-compatible addresses.
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, RuleId("unspecified or ipv4-compatible")),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, RuleId("ipv4-mapped")),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, RuleId("ipv4-translated")),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, RuleId("nat64")),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, RuleId("local-use nat64")),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, RuleId("discard")),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, RuleId("ietf protocol assignments")),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, RuleId("documentation")),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, RuleId("documentation")),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, RuleId("6to4")),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, RuleId("segment routing")),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, RuleId("private")),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, RuleId("link-local")),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, RuleId("site-local")),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, RuleId("multicast")),
];

/// The same of IPv4, for the hosts of `egress.ipv4_hosts`, from the IANA IPv4 special-purpose registry.
const FORBIDDEN_IPV4: &[([u8; 4], u8, RuleId)] = &[
    ([0, 0, 0, 0], 8, RuleId("unspecified or this network")),
    ([10, 0, 0, 0], 8, RuleId("private")),
    ([100, 64, 0, 0], 10, RuleId("shared by carriers")),
    ([127, 0, 0, 0], 8, RuleId("loopback")),
    ([169, 254, 0, 0], 16, RuleId("link-local")),
    ([172, 16, 0, 0], 12, RuleId("private")),
    ([192, 0, 0, 0], 24, RuleId("ietf protocol assignments")),
    ([192, 0, 2, 0], 24, RuleId("documentation")),
    ([192, 88, 99, 0], 24, RuleId("6to4")),
    ([192, 168, 0, 0], 16, RuleId("private")),
    ([198, 18, 0, 0], 15, RuleId("benchmarking")),
    ([198, 51, 100, 0], 24, RuleId("documentation")),
    ([203, 0, 113, 0], 24, RuleId("documentation")),
    ([224, 0, 0, 0], 4, RuleId("multicast")),
    // Includes the broadcast address.
    ([240, 0, 0, 0], 4, RuleId("reserved")),
];

/// The rule that forbids `to`, if one does. Pinned addresses are not asked about:
/// an operator wrote them down.
pub fn forbidden(to: IpAddr) -> Option<RuleId> {
    match to {
        IpAddr::V6(to) => FORBIDDEN_IPV6.iter().find_map(|(segments, length, rule)| {
            let net = Ipv6Net::new(Ipv6Addr::from(*segments), *length).ok()?;
            net.contains(&to).then_some(*rule)
        }),
        IpAddr::V4(to) => FORBIDDEN_IPV4.iter().find_map(|(octets, length, rule)| {
            let net = Ipv4Net::new(Ipv4Addr::from(*octets), *length).ok()?;
            net.contains(&to).then_some(*rule)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that resolves to one of these would reach this host or its
    /// neighbours with an account's token on board.
    #[test]
    fn addresses_that_are_not_on_the_internet_are_forbidden() {
        for (addr, rule) in [
            ("::1", "loopback"),
            ("::", "unspecified or ipv4-compatible"),
            ("::127.0.0.1", "unspecified or ipv4-compatible"),
            ("::ffff:127.0.0.1", "ipv4-mapped"),
            ("64:ff9b::7f00:1", "nat64"),
            ("64:ff9b:1::1", "local-use nat64"),
            ("2001::1", "ietf protocol assignments"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4"),
            ("fc00::1", "private"),
            ("fdff::1", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("0.0.0.0", "unspecified or this network"),
            ("10.1.2.3", "private"),
            ("100.100.0.1", "shared by carriers"),
            ("127.0.0.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.31.0.1", "private"),
            ("192.0.2.1", "documentation"),
            ("192.168.1.1", "private"),
            ("198.19.0.1", "benchmarking"),
            ("203.0.113.1", "documentation"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
        ] {
            let found = forbidden(addr.parse().unwrap()).map(|r| r.to_string());
            assert_eq!(found.as_deref(), Some(rule), "{addr}");
        }
        for addr in
            ["2600:9000::1", "2400:cb00:2048:1::6810:1", "2606:4700::1111", "18.238.136.6", "172.32.0.1", "100.128.0.1"]
        {
            assert_eq!(forbidden(addr.parse().unwrap()), None, "{addr}");
        }
    }
}
