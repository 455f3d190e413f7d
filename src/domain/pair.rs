//! Source addresses and the pair of them that an account owns.

use std::fmt;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::problem::Invalid;

/// An IPv6 address an account may send from. Parsing is the only way in, so
/// holding one is proof of the checks. No `Default`: nothing to fall back to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Ipv6Addr", into = "Ipv6Addr")]
pub struct SourceAddr(Ipv6Addr);

impl SourceAddr {
    /// A unicast address with no scope: global, unique local, or `::1`, which
    /// only the sandbox may assign (`addressing` refuses it elsewhere).
    ///
    /// # Errors
    /// [`Invalid`] for unspecified, multicast, link-local (it needs a scope),
    /// IPv4-mapped and IPv4-compatible addresses.
    pub fn new(addr: Ipv6Addr) -> Result<Self, Invalid> {
        if addr.is_unspecified() {
            return Err(Invalid::new("the unspecified address :: leaves the choice to the kernel"));
        }
        if addr.is_multicast() {
            return Err(Invalid::new("a multicast address cannot be a source"));
        }
        if addr.is_unicast_link_local() {
            return Err(Invalid::new("a link-local address does not leave its link"));
        }
        if addr.to_ipv4().is_some() && !addr.is_loopback() {
            return Err(Invalid::new("an IPv4 address in IPv6 dress; give a native IPv6 address"));
        }
        Ok(Self(addr))
    }

    /// # Errors
    /// [`Invalid`] when the text is no IPv6 address, or as [`SourceAddr::new`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let addr = text.parse().map_err(|_| Invalid::new("not an IPv6 address"))?;
        Self::new(addr)
    }

    /// The address itself.
    pub const fn ip(self) -> Ipv6Addr {
        self.0
    }

    /// Append its text (RFC 5952), as `Display` writes it: three times an order.
    pub fn write(self, out: &mut Vec<u8>) {
        let segments = self.0.segments();
        // The longest run of zeros, the first of two as long, and never a single one.
        let (mut longest, mut at) = (0..0, 0);
        while at < segments.len() {
            let zeros = segments.iter().skip(at).take_while(|segment| **segment == 0).count();
            if zeros > longest.len().max(1) {
                longest = at..at + zeros;
            }
            at += zeros.max(1);
        }
        for (at, segment) in segments.iter().enumerate() {
            if longest.contains(&at) {
                if at == longest.start {
                    out.extend_from_slice(b"::");
                }
                continue;
            }
            if at > 0 && at != longest.end {
                out.push(b':');
            }
            let mut leading = true;
            for shift in [12, 8, 4, 0] {
                let digit = (segment >> shift & 0xf) as u8;
                leading &= digit == 0 && shift > 0;
                if !leading {
                    out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
                }
            }
        }
    }
}

impl TryFrom<Ipv6Addr> for SourceAddr {
    type Error = Invalid;
    fn try_from(addr: Ipv6Addr) -> Result<Self, Invalid> {
        Self::new(addr)
    }
}

impl From<SourceAddr> for Ipv6Addr {
    fn from(source: SourceAddr) -> Self {
        source.0
    }
}

impl fmt::Display for SourceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SourceAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of an account's two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Used while it admits.
    Primary,
    /// Used when the primary does not.
    Secondary,
}

impl Role {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }

    /// The word in headers, logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// An account's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// Registered with the broker as `PRIMARY`.
    pub primary: SourceAddr,
    /// Registered with the broker as `SECONDARY`.
    pub secondary: SourceAddr,
}

impl Pair {
    /// The address of one role.
    pub const fn of(&self, role: Role) -> SourceAddr {
        match role {
            Role::Primary => self.primary,
            Role::Secondary => self.secondary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these would let the kernel, a neighbour or IPv4 decide what the
    /// broker sees.
    #[test]
    fn addresses_that_cannot_be_an_accounts_own_are_refused() {
        for bad in ["::", "ff02::1", "fe80::1", "::ffff:192.0.2.1", "::192.0.2.1", "192.0.2.1", "x"] {
            assert!(SourceAddr::parse(bad).is_err(), "{bad}");
        }
        for good in ["2001:db8::1", "fd00::1"] {
            assert_eq!(SourceAddr::parse(good).unwrap().to_string(), good);
        }
    }

    /// The store reads records through serde: the check must be there too.
    #[test]
    fn deserializing_checks_as_parsing_does() {
        assert!(serde_json::from_str::<SourceAddr>("\"ff02::1\"").is_err());
        assert!(serde_json::from_str::<SourceAddr>("\"2001:db8::1\"").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn the_text_is_the_one_that_everybody_writes(segments in proptest::array::uniform8(proptest::prop_oneof![
            proptest::strategy::Just(0_u16), proptest::strategy::Just(1_u16), proptest::arbitrary::any::<u16>(),
        ])) {
            let address = Ipv6Addr::from(segments);
            if let Ok(source) = SourceAddr::new(address) {
                let mut text = Vec::new();
                source.write(&mut text);
                proptest::prop_assert_eq!(String::from_utf8(text).unwrap(), address.to_string());
            }
        }
    }
}
