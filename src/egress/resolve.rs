//! Hosts to IPv6 addresses: pins first, then literal addresses, then names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use super::error::ResolveError;
use super::names::{Name, Names};
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host};

/// Addresses to try.
#[derive(Clone, Debug)]
pub(super) enum ResolvedName {
    /// An operator wrote them down.
    Pinned(Vec<SocketAddrV6>),
    /// The host is an address.
    Literal(SocketAddrV6),
    /// What its name stands for, as of now.
    Named(Arc<Name>, Vec<Ipv6Addr>, u16),
}

impl ResolvedName {
    /// The addresses in the order in which to try them.
    pub(super) fn addresses(&self) -> Vec<SocketAddrV6> {
        match self {
            Self::Pinned(pins) => pins.clone(),
            Self::Literal(address) => vec![*address],
            Self::Named(name, addresses, port) => {
                let ordered = name.in_order(addresses).into_iter();
                ordered.map(|ip| SocketAddrV6::new(ip, *port, 0, 0)).collect()
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

#[derive(Debug)]
pub(super) struct Resolver {
    pins: BTreeMap<Host, Vec<SocketAddrV6>>,
    name_servers: Vec<SocketAddr>,
    names: Arc<Names>,
}

impl Resolver {
    /// `name_servers` are asked, or the system's where there are none.
    pub(super) fn new(pins: BTreeMap<Host, Vec<SocketAddrV6>>, name_servers: &[SocketAddr], tasks: Tasks) -> Self {
        Self { pins, name_servers: name_servers.to_vec(), names: Names::new(name_servers, tasks) }
    }

    /// Remember over a restart, in this file, what names stand for.
    pub(super) fn keep_in(&self, file: PathBuf) {
        self.names.keep_in(file);
    }

    /// One with these pins and name servers, that remembers what this one does; `None`
    /// when it would be no other one.
    pub(super) fn changed(
        &self,
        pins: &BTreeMap<Host, Vec<SocketAddrV6>>,
        name_servers: &[SocketAddr],
    ) -> Option<Self> {
        if self.name_servers == name_servers && self.pins == *pins {
            return None;
        }
        // Pins are given while DNS is broken: answers that still serve must not be lost by it.
        self.names.configure(name_servers);
        Some(Self { pins: pins.clone(), name_servers: name_servers.to_vec(), names: Arc::clone(&self.names) })
    }

    /// What `to` stands for, by `by`.
    pub(super) async fn resolve(&self, to: &Authority, by: Instant) -> Result<ResolvedName, ResolveError> {
        if let Some(pins) = self.pins.get(&to.host) {
            return Ok(ResolvedName::Pinned(pins.clone()));
        }
        match to.host.ip() {
            Some(IpAddr::V6(ip)) => Ok(ResolvedName::Literal(SocketAddrV6::new(ip, to.port, 0, 0))),
            Some(IpAddr::V4(_)) => Err(ResolveError::Ipv4Only { host: to.host.clone() }),
            None => {
                let (name, addresses) = self.names.lookup(&to.host, by).await?;
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
        let resolver = Resolver::new([(to.host.clone(), vec![pin])].into(), &[], Tasks::default());
        let answer = resolver.resolve(&to, soon()).await.unwrap();
        assert_eq!((answer.addresses(), answer.is_pinned()), (vec![pin], true));
    }

    #[tokio::test]
    async fn an_ipv4_target_is_refused_and_not_wrapped() {
        let resolver = Resolver::new(BTreeMap::new(), &[], Tasks::default());
        let to = Authority::parse("192.0.2.1:443", None).unwrap();
        let err = resolver.resolve(&to, soon()).await.unwrap_err();
        assert!(matches!(err, ResolveError::Ipv4Only { .. }));
    }
}
