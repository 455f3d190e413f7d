//! Host and port that a caller asked for. The only place that parses them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::problem::Invalid;

/// A host name, lower case, without a final dot; or an address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    /// A DNS name (RFC 1123: letters, digits, hyphens, 63 a label, 253 in all)
    /// or an IPv4 or IPv6 address without brackets.
    ///
    /// # Errors
    /// [`Invalid`] for anything else. A final dot is refused and not cut off:
    /// the name on the certificate has none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Ok(addr) = text.parse::<Ipv6Addr>() {
            return Ok(Self(addr.to_string().into()));
        }
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.is_empty() || text.len() > 253 || !text.split('.').all(label) {
            return Err(Invalid::new("not a host name"));
        }
        // "1.2.3" or "0x7f.1": resolvers read these as addresses, we do not guess.
        let last = text.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.to_ascii_lowercase().starts_with("0x");
        if numeric && text.parse::<std::net::Ipv4Addr>().is_err() {
            return Err(Invalid::new("neither a host name nor a whole IPv4 address"));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The host as text, an IPv6 address without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    /// The host's name or address.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl Authority {
    /// `host:port`, `[v6]:port`, or the host alone where there is a default.
    /// User information (`user@host`) is refused (RFC 9110 section 4.2.4).
    ///
    /// # Errors
    /// [`Invalid`] that says which part is wrong.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, Invalid> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (addr, tail) = rest.split_once(']').ok_or(Invalid::new("a bracket is not closed"))?;
            let addr: Ipv6Addr = addr.parse().map_err(|_| Invalid::new("not an IPv6 address in brackets"))?;
            let port = match tail {
                "" => None,
                tail => Some(tail.strip_prefix(':').ok_or(Invalid::new("text after the bracket"))?),
            };
            (Host(addr.to_string().into()), port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (Host::parse(host)?, Some(port)),
                None => (Host::parse(text)?, None),
            }
        };
        let port = match port {
            Some(port) => {
                let plain = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                let port = port.parse().ok().filter(|p| plain && *p != 0);
                port.ok_or(Invalid::new("a port is a number from 1 to 65535"))?
            }
            None => default_port.ok_or(Invalid::new("the port is missing"))?,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.as_str().contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A name that a listener has besides its address: `listener.own_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHost {
    host: Host,
    /// Any port where there is none.
    port: Option<u16>,
}

impl OwnHost {
    /// `host:port`, or a host with any port.
    ///
    /// # Errors
    /// [`Invalid`] that says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Ok(host) = Host::parse(text) {
            return Ok(Self { host, port: None });
        }
        let Authority { host, port } = Authority::parse(text, None)?;
        Ok(Self { host, port: Some(port) })
    }
}

/// Does `host`, as it stands in a `Host` field, name the listener at `local`, and could no DNS server have said so?
///
/// Loopback names and the listener's address are its own with any port: behind an SSH tunnel or a mapped port the caller
/// knows another one, and no page can make a literal address stand for something else.
pub fn own_host(host: &str, local: Option<SocketAddr>, own_hosts: &[OwnHost]) -> bool {
    // By hand: it is asked of each request in origin form, and an `Authority` holds its host on the heap.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(port) = port.parse::<u16>().ok().filter(|port| digits && *port != 0) else { return false };
    let literal: Option<IpAddr> = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').and_then(|v6| v6.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    match literal {
        Some(ip) => ip.is_loopback() || local.is_some_and(|local| local.ip() == ip),
        None => {
            let names =
                |own: &OwnHost| own.host.as_str().eq_ignore_ascii_case(name) && own.port.is_none_or(|own| own == port);
            name.eq_ignore_ascii_case("localhost") || own_hosts.iter().any(names)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DNS rebinding: a page's own name, made to resolve to 127.0.0.1.
    #[test]
    fn only_literal_names_of_this_host_are_its_own() {
        let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let named = ["gw.lan:9000", "gate.lan"].map(|text| OwnHost::parse(text).unwrap());
        let is_own = |host| own_host(host, Some(local), &named);
        for own in ["127.0.0.1:8080", "localhost:9000", "LOCALHOST", "[::1]:8080", "127.0.0.1", "[::1]"] {
            assert!(is_own(own), "{own}");
        }
        for own in ["gw.lan:9000", "GW.lan:9000", "gate.lan", "gate.lan:1"] {
            assert!(is_own(own), "{own}");
        }
        for other in
            ["evil.example:8080", "192.0.2.1:8080", "", "localhost.evil:8080", "gw.lan", "gw.lan:9001", "x@localhost"]
        {
            assert!(!is_own(other), "{other}");
        }
        assert!(own_host("192.0.2.1:7", Some("192.0.2.1:8080".parse().unwrap()), &[]));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for bad in [
            "",
            ":443",
            "api.dhan.co:",
            "api.dhan.co:0",
            "api.dhan.co:65536",
            "api.dhan.co:+443",
            "user@api.dhan.co:443",
            "api.dhan.co.:443",
            "api..dhan.co:443",
            "[::1",
            "[::1]443",
            "::1:443",
            "[api.dhan.co]:443",
            "127.1:443",
            "0x7f000001:443",
            "2130706433:443",
            "api.dhan.co:443:443",
            "a b:443",
            "api.dhan.co\\@x:443",
            "[fe80::1%eth0]:443",
        ] {
            assert!(Authority::parse(bad, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_and_addresses_keep_one_spelling() {
        let parse = |text| Authority::parse(text, Some(443)).unwrap().to_string();
        assert_eq!(parse("API.Dhan.co"), "api.dhan.co:443");
        assert_eq!(parse("[2001:DB8:0::1]:8443"), "[2001:db8::1]:8443");
        assert_eq!(parse("127.0.0.1:80"), "127.0.0.1:80");
    }
}
