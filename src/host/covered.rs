//! Does this host answer for an address?

use std::net::Ipv6Addr;

use super::netlink::Netlink;

/// Does this host take what comes for the address as its own, by an interface or a local route? `None` where the kernel
/// does not say. Sends nothing.
pub fn answers_for(address: Ipv6Addr) -> Option<bool> {
    Netlink::open().ok()?.is_local(address).ok()
}
