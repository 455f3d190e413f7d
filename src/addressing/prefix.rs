//! The two prefixes of a pool, and which of their addresses can be given.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::domain::problem::Invalid;
use crate::domain::{Pair, SourceAddr};

/// The shortest prefix a pool may have. Nobody is routed more.
const SHORTEST: u8 = 16;

/// A pool's prefixes. The pair at an index has that index in both of them, so a
/// person can see which addresses belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// The prefix that primary addresses are taken from.
    pub primary: Ipv6Net,
    /// The prefix that secondary addresses are taken from.
    pub secondary: Ipv6Net,
}

impl Prefixes {
    /// Two prefixes that hold no common address and only unicast ones.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn new(primary: Ipv6Net, secondary: Ipv6Net) -> Result<Self, (&'static str, Invalid)> {
        for (field, net) in [("primary", primary), ("secondary", secondary)] {
            check(net).map_err(|why| (field, why))?;
        }
        if overlap(primary, secondary) {
            return Err(("secondary", Invalid::because(format!("{secondary} overlaps the primary prefix {primary}"))));
        }
        Ok(Self { primary, secondary })
    }

    /// Prefixes that were checked when they were stored.
    pub const fn stored(primary: Ipv6Net, secondary: Ipv6Net) -> Self {
        Self { primary, secondary }
    }

    /// Do the two pools share an address?
    pub fn overlaps(&self, other: &Self) -> bool {
        let nets = |p: &Self| [p.primary, p.secondary];
        nets(self).into_iter().any(|a| nets(other).into_iter().any(|b| overlap(a, b)))
    }

    /// Is each address of the pair in its prefix?
    pub fn hold(&self, pair: &Pair) -> bool {
        self.primary.contains(&pair.primary.ip()) && self.secondary.contains(&pair.secondary.ip())
    }

    /// Indexes there are, usable or not.
    pub fn size(&self) -> u128 {
        size(self.primary).min(size(self.secondary))
    }

    /// Pairs there are: indexes whose two addresses can be given.
    pub fn capacity(&self) -> u128 {
        let reserved = |from: u128| {
            let count = |net| reserved_ranges(net).iter().map(|(a, b)| b.min(&(from - 1)).saturating_sub(*a) + 1).sum();
            let (one, two): (u128, u128) = (count(self.primary), count(self.secondary));
            one.max(two)
        };
        let size = self.size();
        // Both prefixes reserve at the same places unless their lengths differ;
        // then the larger count is a bound from above, and the search settles it.
        if size <= 1 << 16 {
            (0..size).filter(|i| self.pair(*i).is_some()).count() as u128
        } else {
            size.saturating_sub(reserved(size).min(size))
        }
    }

    /// The index of an address of either prefix.
    pub fn index_of(&self, address: SourceAddr) -> Option<u128> {
        let ip = address.ip();
        let net = [self.primary, self.secondary].into_iter().find(|net| net.contains(&ip))?;
        Some(u128::from(ip) - u128::from(net.network()))
    }

    /// The pair at an index, unless one of its addresses is reserved.
    pub fn pair(&self, index: u128) -> Option<Pair> {
        let address = |net: Ipv6Net| {
            let reserved = reserved_ranges(net).iter().any(|(from, to)| (*from..=*to).contains(&index));
            if reserved || index >= size(net) {
                return None;
            }
            SourceAddr::new(Ipv6Addr::from(u128::from(net.network()) | index)).ok()
        };
        Some(Pair { primary: address(self.primary)?, secondary: address(self.secondary)? })
    }

    /// The first index from `index` on that no reserved range covers.
    pub fn next_usable(&self, index: u128) -> u128 {
        let mut index = index;
        for net in [self.primary, self.secondary, self.primary] {
            for (from, to) in reserved_ranges(net) {
                if (from..=to).contains(&index) {
                    index = to.saturating_add(1);
                }
            }
        }
        index
    }
}

fn overlap(a: Ipv6Net, b: Ipv6Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn size(net: Ipv6Net) -> u128 {
    1u128.checked_shl(u32::from(128 - net.prefix_len())).unwrap_or(u128::MAX)
}

/// The prefix around an address, or the longer one that ends at the next group of what was written.
fn meant(net: Ipv6Net) -> String {
    let written = 128 - u128::from(net.addr()).trailing_zeros();
    let group = u8::try_from(written.next_multiple_of(16)).unwrap_or(128);
    match Ipv6Net::new(net.addr(), group) {
        Ok(longer) if group <= 64 => format!("{longer} or {}", net.trunc()),
        Ok(_) | Err(_) => net.trunc().to_string(),
    }
}

fn check(net: Ipv6Net) -> Result<(), Invalid> {
    if net.trunc() != net {
        return Err(Invalid::because(format!(
            "{net} is an address in a prefix, and no prefix; {} was probably meant",
            meant(net)
        )));
    }
    if net.prefix_len() < SHORTEST {
        return Err(Invalid::because(format!(
            "{net} is larger than any network is routed; give a /{SHORTEST} or longer"
        )));
    }
    let range = |text: &str| text.parse::<Ipv6Net>().is_ok_and(|range| overlap(range, net));
    for (text, what) in [
        ("ff00::/8", "multicast"),
        ("fe80::/10", "link-local"),
        ("::/96", "unspecified, loopback or IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
    ] {
        if range(text) {
            return Err(Invalid::because(format!("{net} holds {what} addresses ({text})")));
        }
    }
    Ok(())
}

/// Interface identifiers that no host may have, as ranges of indexes:
/// the network itself, which is the subnet-router anycast address (RFC 4291
/// section 2.6.1); the subnet anycast addresses (RFC 2526 section 2); and IANA's
/// reserved identifiers of a /64 (RFC 5453). A /127 is a point-to-point link,
/// where both addresses are hosts (RFC 6164), and a /128 is one host.
fn reserved_ranges(net: Ipv6Net) -> Vec<(u128, u128)> {
    let bits = 128 - net.prefix_len();
    let mut ranges = Vec::with_capacity(4);
    if bits >= 2 {
        ranges.push((0, 0));
    }
    match bits {
        64 => {
            ranges.push((0x0200_5eff_fe00_0000, 0x0200_5eff_fe00_5212));
            ranges.push((0xfdff_ffff_ffff_ff80, 0xfdff_ffff_ffff_ffff));
        }
        8.. => ranges.push((size(net) - 128, size(net) - 1)),
        _ => {}
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(primary: &str, secondary: &str) -> Prefixes {
        Prefixes::new(primary.parse().unwrap(), secondary.parse().unwrap()).unwrap()
    }

    #[test]
    fn reserved_identifiers_are_never_given() {
        let p = prefixes("2001:db8:a1::/64", "2001:db8:a2::/64");
        assert_eq!(p.pair(0), None);
        assert_eq!(p.pair(1).unwrap().primary.to_string(), "2001:db8:a1::1");
        assert_eq!(p.pair(1).unwrap().secondary.to_string(), "2001:db8:a2::1");
        assert_eq!(p.pair(0x0200_5eff_fe00_5212), None);
        assert_eq!(p.next_usable(0x0200_5eff_fe00_0000), 0x0200_5eff_fe00_5213);
        assert_eq!(p.pair(0xfdff_ffff_ffff_ff80), None);
        assert!(p.pair(0xffff_ffff_ffff_ffff).is_some());
    }

    #[test]
    fn every_size_down_to_one_address_gives_what_it_has() {
        for (len, capacity) in
            [(128, 1), (127, 2), (126, 3), (124, 15), (121, 127), (120, 127), (119, 383), (112, 65_407)]
        {
            let p = prefixes(&format!("2001:db8:a1::/{len}"), &format!("2001:db8:a2::/{len}"));
            assert_eq!(p.capacity(), capacity, "/{len}");
        }
        assert_eq!(prefixes("2001:db8:a1::/64", "2001:db8:a2::/124").capacity(), 15);
        let whole = prefixes("2001:db8:a1::/64", "2001:db8:a2::/64").capacity();
        assert_eq!(whole, (1 << 64) - 1 - 0x5213 - 0x80);
    }

    /// Whoever types an address with a length most often means the prefix around it, or a longer one.
    #[test]
    fn a_prefix_that_is_none_is_answered_with_the_one_that_was_meant() {
        let meant = |text: &str| meant(text.parse().unwrap());
        assert_eq!(meant("2001:db8:a1::1/64"), "2001:db8:a1::/64");
        assert_eq!(meant("2001:db8:a1:1::/48"), "2001:db8:a1:1::/64 or 2001:db8:a1::/48");
    }

    #[test]
    fn prefixes_that_cannot_be_pools_are_refused() {
        let new = |a: &str, b: &str| Prefixes::new(a.parse().unwrap(), b.parse().unwrap());
        for bad in ["2001:db8:a1::1/64", "ff02::/64", "fe80::/64", "::/64", "::/0", "::ffff:0:0/96", "2000::/8"] {
            assert_eq!(new(bad, "2001:db8:a2::/64").unwrap_err().0, "primary", "{bad}");
        }
        assert_eq!(new("2001:db8::/48", "2001:db8:0:1::/64").unwrap_err().0, "secondary");
        assert_eq!(new("2001:db8::/64", "2001:db8::/64").unwrap_err().0, "secondary");
    }
}
