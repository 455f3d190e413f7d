//! Host and port that a caller asked for. The only place that parses them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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

/// Is `host` a name for `local` that no DNS server could have given?
pub fn own_host(host: &str, local: SocketAddr) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, Some(80)),
    };
    if port != Some(local.port()) {
        return false;
    }
    let literal: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match literal {
        Some(ip) => ip == local.ip() || ip.is_loopback() && local.ip().is_loopback(),
        None => name.eq_ignore_ascii_case("localhost") && local.ip().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DNS rebinding: a page's own name, made to resolve to 127.0.0.1.
    #[test]
    fn only_literal_names_of_this_host_are_its_own() {
        let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        for own in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080"] {
            assert!(own_host(own, local), "{own}");
        }
        for other in [
            "evil.example:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost",
            "192.0.2.1:8080",
            "",
            "localhost.evil:8080",
            "[::1]",
        ] {
            assert!(!own_host(other, local), "{other}");
        }
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
