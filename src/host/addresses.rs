//! The addresses on this host's interfaces, from `/proc/net/if_inet6`, which needs no netlink.

use std::io;
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

/// The kernel's flags (`IFA_F_...`) that matter here.
const TEMPORARY: u8 = 0x01;
const DUPLICATE: u8 = 0x08;
const TENTATIVE: u8 = 0x40;
const PERMANENT: u8 = 0x80;
/// Scopes as this file has them.
const GLOBAL: u8 = 0x00;

/// An address that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) address: Ipv6Addr,
    pub(super) length: u8,
    pub(super) interface: String,
    scope: u8,
    flags: u8,
}

impl Held {
    /// Can it be seen from elsewhere?
    pub(super) const fn is_global(&self) -> bool {
        self.scope == GLOBAL
    }

    /// Somebody else on the link has it too, so the kernel does not use it.
    pub(super) const fn is_duplicate(&self) -> bool {
        self.flags & DUPLICATE != 0
    }

    /// The kernel still asks whether somebody else has it, for a second or two after it was set.
    pub(super) const fn is_tentative(&self) -> bool {
        self.flags & TENTATIVE != 0 && !self.is_duplicate()
    }

    /// It was given for a time, and will be another one some day.
    pub(super) const fn is_leased(&self) -> bool {
        self.flags & PERMANENT == 0 || self.flags & TEMPORARY != 0
    }

    /// The prefix whose addresses this host takes to be on the same link.
    pub(super) fn on_link(&self) -> Option<Ipv6Net> {
        let net = Ipv6Net::new(self.address, self.length).ok()?.trunc();
        (self.length < 128 && self.is_global()).then_some(net)
    }
}

/// What the interfaces have. An error where there is no such file: a kernel without IPv6.
pub(super) fn held() -> io::Result<Vec<Held>> {
    // Of this thread's network, as its sockets are.
    let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6")?;
    Ok(text.lines().filter_map(read).collect())
}

/// `address interface-number prefix-length scope flags name`, all but the name in hex.
fn read(line: &str) -> Option<Held> {
    let mut words = line.split_ascii_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?.into();
    let byte = |word: Option<&str>| u8::from_str_radix(word?, 16).ok();
    words.next()?;
    let (length, scope) = (byte(words.next())?, byte(words.next())?);
    // Wider than a byte where the kernel knows newer flags; the low ones are those that matter.
    let flags = u32::from_str_radix(words.next()?, 16).ok()?.to_le_bytes()[0];
    Some(Held { address, length, scope, flags, interface: words.next()?.to_owned() })
}

#[cfg(test)]
pub(super) fn on(interface: &str, prefix: &str) -> Held {
    let net: Ipv6Net = prefix.parse().unwrap();
    let interface = interface.to_owned();
    Held { address: net.addr(), length: net.prefix_len(), interface, scope: GLOBAL, flags: PERMANENT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let held = read("20010db8000000000000000000000005 03 40 00 82    veth1").unwrap();
        assert_eq!(held, Held { flags: 0x82, ..on("veth1", "2001:db8::5/64") });
        assert_eq!(held.on_link().unwrap().to_string(), "2001:db8::/64");
        assert!(!held.is_leased() && !held.is_duplicate() && held.is_global());
        let leased = read("20010db8000000000000000000000006 02 80 00 01    eth0").unwrap();
        assert!(leased.is_leased() && leased.on_link().is_none());
        let loopback = read("00000000000000000000000000000001 01 80 10 80       lo").unwrap();
        assert!(!loopback.is_global());
        assert!(read("2001 02").is_none() && read("").is_none());
    }
}
