//! Hosts to IPv6 addresses: pins first, then literal addresses, then names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::RuleId;
use super::names::{Failure, Name, Names, Origin, Unusable};
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, Host};

/// Why a name gave no address. Each text says what the servers said and what to do, for somebody who is no network
/// engineer. Nothing was dialled, and no leg has anything to do with it.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "{host} has no IPv6 address (no AAAA record), so nothing can be sent to it: Sixgate never falls back to IPv4. {said}. \
         If it should have one, name other servers in egress.name_servers, or pin its address in egress.resolve"
    )]
    NoAddress { host: Host, said: String },
    #[error("{host} is an IPv4 address, and Sixgate sends over IPv6 only")]
    Ipv4Only { host: Host },
    #[error(
        "the address of {host} is not known, so nothing can be sent to it: the name servers (of {origin}) did not tell it. \
         {said}. See that they run and that this host reaches them (`dig AAAA {host}`); or name others in {origin}, \
         or pin its address in egress.resolve. They are asked again by themselves, no restart is needed"
    )]
    Failed { host: Host, origin: String, said: String },
    #[error(
        "the address of {host} is not known, so nothing can be sent to it: this host has no name servers, {reason}. \
         Write a line such as \"nameserver 2606:4700:4700::1111\" into it (or see why whatever manages it did not), name \
         servers in egress.name_servers, or pin the address in egress.resolve. The file is read again by itself, no \
         restart is needed. ({said})"
    )]
    NoServers { host: Host, reason: String, said: String },
    #[error(
        "{host} leads to {to}, an address that nothing is sent to (rule {rule}): {said}. If it is right, pin it in egress.resolve"
    )]
    Forbidden { host: Host, to: Ipv6Addr, rule: RuleId, said: String },
    #[error(
        "the time ran out while the address of {host} was looked up: the name servers had told nothing after {waited:?}. \
         See that those in /etc/resolv.conf or egress.name_servers answer (`dig AAAA {host}`)"
    )]
    Late { host: Host, waited: Duration },
}

impl ResolveError {
    /// Of a lookup that failed, and nothing is known from before.
    pub(super) fn of(host: &Host, failure: &Failure) -> Self {
        let (host, said, origin) = (host.clone(), failure.said(), &failure.servers.origin);
        let whys = || failure.said.iter().map(|(_, why)| why);
        // An entry of /etc/hosts that leads callers here is as it should be: who asked no name server has not found out.
        let of_servers = || failure.said.iter().filter(|(server, _)| server.is_some()).map(|(_, why)| why);
        let forbidden = of_servers().find_map(|why| match why {
            Unusable::Forbidden(to, rule) => Some((*to, *rule)),
            Unusable::Silent(_)
            | Unusable::Unreachable(_)
            | Unusable::Malformed(_)
            | Unusable::NoSuchName
            | Unusable::NoRecord
            | Unusable::Refused(_)
            | Unusable::Truncated(_) => None,
        });
        match (forbidden, origin) {
            (Some((to, rule)), _) => Self::Forbidden { host, to, rule, said },
            // Those that answered agree.
            (None, _) if whys().any(Unusable::is_no_record) => Self::NoAddress { host, said },
            (None, Origin::Nowhere(reason)) => Self::NoServers { host, reason: reason.clone(), said },
            (None, origin) => Self::Failed { host, origin: origin.to_string(), said },
        }
    }
}

/// Addresses to try.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// An operator wrote them down.
    Pinned(Vec<SocketAddrV6>),
    /// The host is an address.
    Literal(SocketAddrV6),
    /// What its name stands for, as of now.
    Named(Arc<Name>, Vec<Ipv6Addr>, u16),
}

impl Answer {
    /// The addresses in the order in which to try them.
    pub fn addresses(&self) -> Vec<SocketAddrV6> {
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
    pub const fn name(&self) -> Option<&Arc<Name>> {
        match self {
            Self::Named(name, ..) => Some(name),
            Self::Pinned(_) | Self::Literal(_) => None,
        }
    }

    pub const fn is_pinned(&self) -> bool {
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
    pub fn new(pins: BTreeMap<Host, Vec<SocketAddrV6>>, name_servers: &[SocketAddr], tasks: Tasks) -> Self {
        Self { pins, name_servers: name_servers.to_vec(), names: Names::new(name_servers, tasks) }
    }

    /// Remember over a restart, in this file, what names stand for.
    pub fn keep_in(&self, file: PathBuf) {
        self.names.keep_in(file);
    }

    /// One with these pins and name servers, that remembers what this one does; `None`
    /// when it would be no other one.
    pub fn changed(&self, pins: &BTreeMap<Host, Vec<SocketAddrV6>>, name_servers: &[SocketAddr]) -> Option<Self> {
        if self.name_servers == name_servers && self.pins == *pins {
            return None;
        }
        // Pins are given while DNS is broken: answers that still serve must not be lost by it.
        self.names.configure(name_servers);
        Some(Self { pins: pins.clone(), name_servers: name_servers.to_vec(), names: Arc::clone(&self.names) })
    }

    /// What `to` stands for, by `by`.
    pub async fn resolve(&self, to: &Authority, by: Instant) -> Result<Answer, ResolveError> {
        if let Some(pins) = self.pins.get(&to.host) {
            return Ok(Answer::Pinned(pins.clone()));
        }
        match to.host.ip() {
            Some(IpAddr::V6(ip)) => Ok(Answer::Literal(SocketAddrV6::new(ip, to.port, 0, 0))),
            Some(IpAddr::V4(_)) => Err(ResolveError::Ipv4Only { host: to.host.clone() }),
            None => {
                let (name, addresses) = self.names.lookup(&to.host, by).await?;
                Ok(Answer::Named(name, addresses, to.port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
