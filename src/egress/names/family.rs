//! Which kind of address is asked for: IPv6 for all hosts but those of `egress.ipv4_hosts`.

use std::net::IpAddr;

use hickory_proto::rr::{RData, RecordType};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::egress) enum Family {
    /// IPv6.
    V6,
    /// IPv4.
    V4,
}

impl Family {
    /// The record's type, as people and `dig` write it.
    pub(in crate::egress) const fn record(self) -> &'static str {
        match self {
            Self::V6 => "AAAA",
            Self::V4 => "A",
        }
    }

    pub(super) const fn record_type(self) -> RecordType {
        match self {
            Self::V6 => RecordType::AAAA,
            Self::V4 => RecordType::A,
        }
    }

    /// The address in a record of this family.
    pub(super) fn address(self, data: &RData) -> Option<IpAddr> {
        match (self, data) {
            (Self::V6, RData::AAAA(address)) => Some(address.0.into()),
            (Self::V4, RData::A(address)) => Some(address.0.into()),
            _ => None,
        }
    }

    /// Is the address of this family?
    pub(super) const fn has(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::V6, IpAddr::V6(_)) | (Self::V4, IpAddr::V4(_)))
    }
}
