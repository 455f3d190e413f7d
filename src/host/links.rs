//! The interfaces of this host, as the kernel tells of them (rtnetlink(7)): `/sys` shows those of another network
//! namespace, where there are several.

use std::io;

use super::netlink::Netlink;
use crate::net::netlink_message::{attributes, field};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
/// `ifinfomsg`: family, padding, type u16, index i32, flags u32, change u32.
const FIXED: usize = 16;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mtu: u32,
    /// `veth`, `sit`, `wireguard` and so on; a network card has none.
    pub(super) kind: Option<String>,
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
}

impl Link {
    /// Is it a tunnel, whose packets are smaller than those of the line beneath?
    pub(super) fn is_tunnel(&self) -> bool {
        let kinds = ["sit", "gre", "ip6gre", "ip6tnl", "ipip", "vti6", "wireguard", "tun", "ppp", "vxlan", "geneve"];
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }
}

/// All interfaces.
pub(super) fn links(netlink: &mut Netlink) -> io::Result<Vec<Link>> {
    let mut found = Vec::new();
    netlink.dump_of(RTM_GETLINK, &[0; FIXED], |kind, payload| {
        if kind == RTM_NEWLINK {
            found.extend(read(payload));
        }
    })?;
    Ok(found)
}

fn read(payload: &[u8]) -> Option<Link> {
    let text = |value: &[u8]| {
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
    };
    let flags = field(payload, 8).map(u32::from_ne_bytes)?;
    let (mut name, mut mtu, mut of_kind) = (None, 0, None);
    for (kind, value) in attributes(payload.get(FIXED..)?) {
        match kind {
            IFLA_IFNAME => name = Some(text(value)),
            IFLA_MTU => mtu = field(value, 0).map(u32::from_ne_bytes)?,
            IFLA_LINKINFO => {
                of_kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    let (is_up, is_loopback) = (flags & IFF_UP != 0, flags & IFF_LOOPBACK != 0);
    Some(Link { name: name?, mtu, kind: of_kind, is_up, is_loopback })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_the_loopback_interface() {
        let links = links(&mut Netlink::open().unwrap()).unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.is_loopback && lo.mtu >= 1280 && !lo.is_tunnel(), "{lo:?}");
        assert!(read(&[]).is_none() && read(&[0; 40]).is_none());
    }
}
