//! Hosts to addresses: pins first, then literal addresses, then names. To IPv6 addresses, but for the hosts that
//! `egress.ipv4_hosts` names: to IPv4 addresses alone, with the source to bind.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::error::ResolveError;
use super::names::{Family, Name, Names};
use crate::config::Ipv4Host;
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host};

/// Addresses to try.
#[derive(Clone, Debug)]
pub(super) enum ResolvedName {
    /// An operator wrote them down.
    Pinned(Vec<SocketAddr>),
    /// The host is an address.
    Literal(SocketAddr),
    /// What its name stands for, as of now.
    Named(Arc<Name>, Vec<IpAddr>, u16),
}

impl ResolvedName {
    /// The addresses in the order in which to try them.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Pinned(pins) => pins.clone(),
            Self::Literal(address) => vec![*address],
            Self::Named(name, addresses, port) => {
                let ordered = name.in_order(addresses).into_iter();
                ordered.map(|ip| SocketAddr::new(ip, *port)).collect()
            }
        }
    }

    /// The name, where it is one.
    pub(super) const fn name(&self) -> Option<&Arc<Name>> {
        match self {
            Self::Named(name, ..) => Some(name),
            Self::Pinned(_) | Self::Literal(_) => None,
        }
    }

    pub(super) const fn is_pinned(&self) -> bool {
        matches!(self, Self::Pinned(_))
    }
}

/// What an operator wrote down of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Where hosts are.
    pub(super) pins: BTreeMap<Host, Vec<SocketAddrV6>>,
    /// Hosts that are reached over IPv4, and no other way.
    pub(super) ipv4: BTreeMap<Host, Ipv4Host>,
}

#[derive(Debug)]
pub(super) struct Resolver {
    known: Known,
    name_servers: Vec<SocketAddr>,
    names: Arc<Names>,
}

impl Resolver {
    /// `name_servers` are asked, or the system's where there are none.
    pub(super) fn new(known: Known, name_servers: &[SocketAddr], tasks: Tasks) -> Self {
        Self { known, name_servers: name_servers.to_vec(), names: Names::new(name_servers, tasks) }
    }

    /// Remember over a restart, in this file, what names stand for.
    pub(super) fn keep_in(&self, file: PathBuf) {
        self.names.keep_in(file);
    }

    /// One that knows this and asks these name servers, and remembers what this one does; `None`
    /// when it would be no other one.
    pub(super) fn changed(&self, known: Known, name_servers: &[SocketAddr]) -> Option<Self> {
        if self.name_servers == name_servers && self.known == known {
            return None;
        }
        // Pins are given while DNS is broken: answers that still serve must not be lost by it.
        self.names.configure(name_servers);
        Some(Self { known, name_servers: name_servers.to_vec(), names: Arc::clone(&self.names) })
    }

    /// The IPv4 source from which `host` is reached, if it is one of `egress.ipv4_hosts`.
    pub(super) fn ipv4_source(&self, host: &Host) -> Option<Ipv4Addr> {
        self.known.ipv4.get(host).map(|ipv4| ipv4.source)
    }

    /// What `to` stands for, by `by`.
    pub(super) async fn resolve(&self, to: &Authority, by: Instant) -> Result<ResolvedName, ResolveError> {
        let ipv4 = self.known.ipv4.get(&to.host);
        if let Some(pins) = ipv4.map(|ipv4| &ipv4.pins).filter(|pins| !pins.is_empty()) {
            return Ok(ResolvedName::Pinned(pins.iter().copied().map(SocketAddr::V4).collect()));
        }
        if let Some(pins) = self.known.pins.get(&to.host).filter(|_| ipv4.is_none()) {
            return Ok(ResolvedName::Pinned(pins.iter().copied().map(SocketAddr::V6).collect()));
        }
        match to.host.ip() {
            Some(ip @ IpAddr::V6(_)) => Ok(ResolvedName::Literal(SocketAddr::new(ip, to.port))),
            Some(IpAddr::V4(_)) => Err(ResolveError::Ipv4Only { host: to.host.clone() }),
            None => {
                let family = if ipv4.is_some() { Family::V4 } else { Family::V6 };
                let (name, addresses) = self.names.lookup(&to.host, family, by).await?;
                Ok(ResolvedName::Named(name, addresses, to.port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test]
    async fn a_pin_wins_and_keeps_its_own_port() {
        let pin: SocketAddrV6 = "[2001:db8:b::1]:8443".parse().unwrap();
        let to = Authority::parse("api.dhan.co:443", None).unwrap();
        let known = Known { pins: [(to.host.clone(), vec![pin])].into(), ..Known::default() };
        let resolver = Resolver::new(known, &[], Tasks::default());
        let answer = resolver.resolve(&to, soon()).await.unwrap();
        assert_eq!((answer.addresses(), answer.is_pinned()), (vec![pin.into()], true));
        assert_eq!(resolver.ipv4_source(&to.host), None);
    }

    /// A host is reached one way: whoever names it for IPv4 gets IPv4 alone.
    #[tokio::test]
    async fn a_host_of_ipv4_hosts_is_reached_by_its_ipv4_pins() {
        let source: Ipv4Addr = "192.0.2.7".parse().unwrap();
        let to = Authority::parse("api-feed.dhan.co:443", None).unwrap();
        let host = Ipv4Host { source, pins: vec!["192.0.2.20:8443".parse().unwrap()] };
        let known = Known { ipv4: [(to.host.clone(), host)].into(), ..Known::default() };
        let resolver = Resolver::new(known.clone(), &[], Tasks::default());
        let answer = resolver.resolve(&to, soon()).await.unwrap();
        assert_eq!(answer.addresses(), ["192.0.2.20:8443".parse().unwrap()]);
        assert_eq!(resolver.ipv4_source(&to.host), Some(source));
        assert!(resolver.changed(known, &[]).is_none());
        assert!(resolver.changed(Known::default(), &[]).is_some(), "what lies idle was made from that source");
    }

    #[tokio::test]
    async fn an_ipv4_target_is_refused_and_not_wrapped() {
        let resolver = Resolver::new(Known::default(), &[], Tasks::default());
        let to = Authority::parse("192.0.2.1:443", None).unwrap();
        let err = resolver.resolve(&to, soon()).await.unwrap_err();
        assert!(matches!(err, ResolveError::Ipv4Only { .. }));
    }
}
