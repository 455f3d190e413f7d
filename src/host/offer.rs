//! What addresses this host was given, and how two prefixes for a pool can be made of them.
//!
//! A guess for who knows no networks, to be looked at before it is taken: a host cannot see what its provider routes to
//! it until something here takes it. Pure but for [`Offer::all`], which reads what interfaces have.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::addresses::{self, Held};

/// From this length on a prefix has too few addresses to be divided: they are given one by one.
const FEW: u8 = 112;
/// Prefixes that are proposed of one on the link are smaller by so many bits.
const SMALLER: u8 = 16;
/// Numbers that nobody takes by hand for a first network.
const FIRST: u128 = 0xa1;

/// A prefix that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The prefix.
    pub prefix: Ipv6Net,
    /// The address of this host in it.
    pub address: Ipv6Addr,
    /// On which interface.
    pub interface: String,
    /// What can be made of it.
    pub kind: OfferKind,
}

/// What can be made of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// These two lie in it, and this host has no address in either.
    Two(Ipv6Net, Ipv6Net),
    /// It has few addresses: no pool, each account brings its two.
    Few,
    /// It is one address alone: ask for a prefix.
    Single,
    /// Only this network knows it (RFC 4193): the broker cannot answer to it.
    Local,
}

impl Offer {
    /// What the interfaces of this host have; none where there is no IPv6. Reads a file of the kernel.
    pub fn all() -> Vec<Self> {
        of(&addresses::held().unwrap_or_default())
    }
}

fn of(held: &[Held]) -> Vec<Offer> {
    let mut found: Vec<Offer> = Vec::new();
    for one in held.iter().filter(|one| one.is_global() && one.interface != "lo") {
        let Ok(prefix) = Ipv6Net::new(one.address, one.length).map(|net| net.trunc()) else { continue };
        if found.iter().any(|known| known.prefix == prefix) {
            continue;
        }
        let kind = match one.length {
            _ if one.address.is_unique_local() => OfferKind::Local,
            128 => OfferKind::Single,
            FEW.. => OfferKind::Few,
            _ => two_of(prefix, held).map_or(OfferKind::Few, |(primary, secondary)| OfferKind::Two(primary, secondary)),
        };
        found.push(Offer { prefix, address: one.address, interface: one.interface.clone(), kind });
    }
    found
}

/// Two parts of a prefix on the link in which this host has no address.
fn two_of(prefix: Ipv6Net, held: &[Held]) -> Option<(Ipv6Net, Ipv6Net)> {
    let length = (prefix.prefix_len() + SMALLER).min(FEW);
    let room = 1u128 << (length - prefix.prefix_len()).min(64);
    let part = |number: u128| {
        let address = u128::from(prefix.network()) | number.checked_shl(u32::from(128 - length))?;
        Ipv6Net::new(address.into(), length).ok()
    };
    let free = |net: &Ipv6Net| !held.iter().any(|held| net.contains(&held.address));
    let mut parts = (FIRST.min(room / 2)..room).filter_map(part).filter(free);
    Some((parts.next()?, parts.next()?))
}

/// A prefix that is routed to this host, as two halves.
pub fn halves(prefix: Ipv6Net) -> Option<(Ipv6Net, Ipv6Net)> {
    let mut halves = prefix.trunc().subnets((prefix.prefix_len() + 1).min(128)).ok()?;
    Some((halves.next()?, halves.next()?)).filter(|_| prefix.prefix_len() < FEW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use addresses::on;

    fn kinds(held: &[Held]) -> Vec<OfferKind> {
        of(held).into_iter().map(|offer| offer.kind).collect()
    }

    #[test]
    fn a_prefix_on_the_link_gives_two_smaller_ones_that_nobody_uses() {
        let two = |one: &str, other: &str| OfferKind::Two(one.parse().unwrap(), other.parse().unwrap());
        let plain = [on("eth0", "2001:db8:1:2::5/64"), on("eth0", "2001:db8:1:2::6/64")];
        assert_eq!(kinds(&plain), [two("2001:db8:1:2:a1::/80", "2001:db8:1:2:a2::/80")]);
        let taken = [on("eth0", "2001:db8:1:2::5/64"), on("eth1", "2001:db8:1:2:a1::9/128")];
        assert_eq!(kinds(&taken)[0], two("2001:db8:1:2:a2::/80", "2001:db8:1:2:a3::/80"));
        let small = kinds(&[on("eth0", "2001:db8::5/108")]);
        assert_eq!(small, [two("2001:db8::8:0/112", "2001:db8::9:0/112")]);
    }

    /// DigitalOcean gives sixteen addresses, and Aruba drops a server that uses a seventeenth.
    #[test]
    fn sixteen_addresses_are_no_pool_and_one_is_not_either() {
        assert_eq!(kinds(&[on("eth0", "2001:db8::5/124")]), [OfferKind::Few]);
        assert_eq!(kinds(&[on("eth0", "2001:db8::5/128")]), [OfferKind::Single]);
        assert_eq!(kinds(&[on("lo", "2001:db8::5/64")]), []);
        assert_eq!(kinds(&[on("eth0", "fd00::5/64")]), [OfferKind::Local]);
    }

    #[test]
    fn a_routed_prefix_gives_its_halves() {
        let (first, second) = halves("2001:db8:1:2::/64".parse().unwrap()).unwrap();
        assert_eq!([first.to_string(), second.to_string()], ["2001:db8:1:2::/65", "2001:db8:1:2:8000::/65"]);
        assert_eq!(halves("2001:db8::/124".parse().unwrap()), None);
    }
}
