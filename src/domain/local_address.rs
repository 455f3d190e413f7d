//! The address that a connection leaves from.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::pair::SourceAddr;

/// The address that a connection leaves from: an account's own, or the one that the configuration names for a host that
/// has no IPv6 address. Only the first may carry an order write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LocalAddress {
    /// The address of one of an account's legs.
    Leg(SourceAddr),
    /// The IPv4 source of `egress.ipv4_hosts`, which all accounts share.
    Ipv4(Ipv4Addr),
}

impl LocalAddress {
    /// The address itself.
    pub const fn ip(self) -> IpAddr {
        match self {
            Self::Leg(source) => IpAddr::V6(source.ip()),
            Self::Ipv4(source) => IpAddr::V4(source),
        }
    }

    /// The leg's address, if it is one.
    pub const fn leg(self) -> Option<SourceAddr> {
        match self {
            Self::Leg(source) => Some(source),
            Self::Ipv4(_) => None,
        }
    }

    /// Is it the IPv4 source that accounts share?
    pub const fn is_ipv4(self) -> bool {
        matches!(self, Self::Ipv4(_))
    }

    /// Append its text, as `Display` writes it.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Leg(source) => source.write(out),
            Self::Ipv4(source) => {
                // A vector takes all that is written to it.
                let _ = write!(out, "{source}");
            }
        }
    }
}

impl From<SourceAddr> for LocalAddress {
    fn from(source: SourceAddr) -> Self {
        Self::Leg(source)
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}
