//! Which destinations may be connected to. Names come from callers and answers
//! from DNS; neither may point the gateway at its own network.

use std::fmt;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

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
const FORBIDDEN: &[([u16; 8], u8, RuleId)] = &[
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

/// The rule that forbids `to`, if one does. Pinned addresses are not asked about:
/// an operator wrote them down.
pub fn forbidden(to: Ipv6Addr) -> Option<RuleId> {
    let hit = |(segments, length, rule): &([u16; 8], u8, RuleId)| {
        let net = Ipv6Net::new(Ipv6Addr::from(*segments), *length).ok()?;
        net.contains(&to).then_some(*rule)
    };
    FORBIDDEN.iter().find_map(hit)
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
        ] {
            let found = forbidden(addr.parse().unwrap()).map(|r| r.to_string());
            assert_eq!(found.as_deref(), Some(rule), "{addr}");
        }
        for addr in ["2600:9000::1", "2400:cb00:2048:1::6810:1", "2606:4700::1111"] {
            assert_eq!(forbidden(addr.parse().unwrap()), None, "{addr}");
        }
    }
}
