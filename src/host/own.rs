//! The addresses of this host and its neighbours that no account should have.

use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::addresses::{self, Held};
use super::netlink::Netlink;
use crate::domain::SourceAddr;

/// What of this host's network is somebody's already. Empty where the kernel says nothing.
#[derive(Clone, Debug, Default)]
pub struct Own {
    held: HashMap<Ipv6Addr, Held>,
    /// Prefixes on this host's links.
    links: Vec<Ipv6Net>,
    /// Addresses of routers, by their own word or as a default route's next hop.
    routers: HashSet<Ipv6Addr>,
    /// What this host takes by itself for its own traffic.
    default_source: Option<Ipv6Addr>,
    /// What listeners are bound to.
    bound: HashSet<Ipv6Addr>,
}

impl Own {
    /// Ask the kernel. `to` is any address outside, `bound` what listeners of this process are bound to.
    pub fn read(to: Ipv6Addr, bound: impl IntoIterator<Item = Ipv6Addr>) -> Self {
        let mut own = Self::of(addresses::held().unwrap_or_default());
        own.bound = bound.into_iter().filter(|address| !address.is_unspecified()).collect();
        if let Ok(mut netlink) = Netlink::open() {
            own.routers.extend(netlink.routers().unwrap_or_default().into_iter().map(|(_, address)| address));
            let defaults = netlink.default_routes().unwrap_or_default();
            own.routers.extend(defaults.into_iter().filter_map(|route| route.gateway));
            own.default_source = netlink.way(None, to).ok().and_then(|way| way.preferred);
        }
        own
    }

    fn of(held: Vec<Held>) -> Self {
        let mut links: Vec<_> = held.iter().filter_map(Held::on_link).collect();
        links.sort();
        links.dedup();
        Self { held: held.into_iter().map(|held| (held.address, held)).collect(), links, ..Self::default() }
    }

    /// One that is made up: what interfaces have (`eth0`), and what routers have.
    #[cfg(test)]
    pub(crate) fn made(held: &[&str], routers: &[&str]) -> Self {
        let held = held.iter().map(|prefix| addresses::on("eth0", prefix)).collect();
        Self { routers: routers.iter().map(|ip| ip.parse().unwrap()).collect(), ..Self::of(held) }
    }

    /// Why no account may have this address, whoever asks for it: it is a router's. An address that an interface of
    /// this host has is the host's to give, whatever neighbours say.
    pub fn forbids(&self, address: SourceAddr) -> Option<String> {
        let address = address.ip();
        if self.on(address).is_some() {
            return None;
        }
        if self.routers.contains(&address) {
            return Some(format!(
                "{address} is the address of a router next to this host: answers to it would go there, and not to the \
                 account; choose another of the prefix"
            ));
        }
        self.any_router_of(address).map(|net| {
            format!(
                "{address} stands for any router of {net} (the subnet-router anycast address): answers to it would go to \
                 a router, and not to the account; choose another of the prefix"
            )
        })
    }

    /// Why an address is not given by itself, though a person may bring it along: this host uses it.
    pub fn keeps(&self, address: SourceAddr) -> Option<String> {
        let ip = address.ip();
        if self.bound.contains(&ip) {
            return Some(format!("a listener of this gateway is bound to {ip}"));
        }
        if self.default_source == Some(ip) {
            return Some(format!("this host uses {ip} for its own traffic"));
        }
        if self.on(ip).is_some_and(Held::is_leased) {
            return Some(format!("{ip} was given to this host for a time only, and will be another one"));
        }
        self.forbids(address)
    }

    /// Why this is no good address for an account, though one may have it: a router's, one of a group's, or this host's
    /// own.
    pub(super) fn reserved(&self, address: SourceAddr) -> Option<String> {
        let ip = address.ip();
        if self.bound.contains(&ip) {
            return Some(format!("a listener of the gateway is bound to {ip}"));
        }
        if self.default_source == Some(ip) {
            return Some(format!("this host uses {ip} for its own traffic"));
        }
        self.forbids(address).or_else(|| self.any_of_a_group(ip))
    }

    /// The highest 128 of a subnet stand for groups of hosts (RFC 2526); in a /64 with the bits of EUI-64 as they are there.
    fn any_of_a_group(&self, address: Ipv6Addr) -> Option<String> {
        let net = self.links.iter().find(|net| net.contains(&address) && net.prefix_len() < 120)?;
        let host = u128::from(address) & (u128::MAX >> net.prefix_len());
        let highest = match net.prefix_len() {
            64 => 0xfdff_ffff_ffff_ffff,
            length => u128::MAX >> length,
        };
        (host <= highest && highest - host < 128).then(|| {
            format!("{address} stands for any of a group of hosts of {net} (RFC 2526); choose another of the prefix")
        })
    }

    fn on(&self, address: Ipv6Addr) -> Option<&Held> {
        self.held.get(&address)
    }

    /// A /127 is a line between two hosts, and has no such address (RFC 6164).
    fn any_router_of(&self, address: Ipv6Addr) -> Option<Ipv6Net> {
        self.links.iter().find(|net| net.prefix_len() < 127 && net.network() == address).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each rule must keep somebody from harm and nobody from trading.
    #[test]
    fn a_routers_address_is_nobodys_and_the_hosts_own_is_given_only_by_hand() {
        let source = |text: &str| SourceAddr::parse(text).unwrap();
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let held = ["2001:db8:a1::5/64", "2001:db8:a1::6/64", "2001:db8:a2::/127"];
        let own = Own {
            default_source: Some(ip("2001:db8:a1::5")),
            bound: [ip("2001:db8:c::1")].into(),
            ..Own::made(&held, &["2001:db8:a1::1", "2001:db8:a1::6"])
        };
        for (address, forbidden, kept) in [
            ("2001:db8:a1::1", true, true),
            ("2001:db8:a1::", true, true),
            // Configured here, whatever a neighbour says.
            ("2001:db8:a1::6", false, false),
            ("2001:db8:a1::5", false, true),
            ("2001:db8:c::1", false, true),
            ("2001:db8:a2::", false, false),
            ("2001:db8:a1::7", false, false),
        ] {
            assert_eq!(own.forbids(source(address)).is_some(), forbidden, "{address}");
            assert_eq!(own.keeps(source(address)).is_some(), kept, "{address}");
        }
        for (address, reserved) in [
            ("2001:db8:a1:0:fdff:ffff:ffff:ff80", true),
            ("2001:db8:a1:0:fdff:ffff:ffff:ff7f", false),
            ("2001:db8:a1:0:ffff:ffff:ffff:ffff", false),
            ("2001:db8:a1::5", true),
            ("2001:db8:a1::7", false),
        ] {
            assert_eq!(own.reserved(source(address)).is_some(), reserved, "{address}");
        }
        let nothing = Own::default();
        assert!(nothing.keeps(source("2001:db8:a1::1")).is_none());
    }
}
