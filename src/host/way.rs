//! By which interface something leaves.

use std::net::Ipv6Addr;

/// By which interface something leaves, and through which router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaves {
    pub interface: String,
    pub gateway: Option<Ipv6Addr>,
}
