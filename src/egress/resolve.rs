//! Names to IPv6 addresses: pins first, then AAAA records with their TTL.
//!
//! hickory keeps answers for their TTL, between a floor and a ceiling. When the
//! name servers do not answer, the last good answer serves on for a while: a
//! broken resolver must not stop orders to a broker that has not moved.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::domain::{Authority, Host};

/// Answers are kept at least this long, however short their TTL.
const TTL_FLOOR: Duration = Duration::from_secs(5);
/// Answers are kept no longer than this, however long their TTL.
const TTL_CEILING: Duration = Duration::from_secs(300);
/// "No such record" is asked again after this long at the latest.
const NEGATIVE_CEILING: Duration = Duration::from_secs(10);
/// How old a last good answer may be when the name servers are silent.
const STALE_FOR: Duration = Duration::from_secs(24 * 3600);

/// Why a name gave no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{host} has no IPv6 address (no AAAA record); Sixgate never falls back to IPv4")]
    NoAddress { host: Host },
    #[error("{host} is an IPv4 address; Sixgate leaves over IPv6 only")]
    Ipv4Only { host: Host },
    #[error("the name servers did not resolve {host}: {reason}")]
    Failed { host: Host, reason: String },
    #[error("no name servers are configured on this host: {reason}")]
    NoServers { reason: String },
}

/// Addresses to try in turn, and whether an operator pinned them.
#[derive(Debug)]
pub(super) struct Answer {
    pub addresses: Vec<SocketAddrV6>,
    pub pinned: bool,
}

#[derive(Debug)]
pub(super) struct Resolver {
    pins: BTreeMap<Host, Vec<SocketAddrV6>>,
    name_servers: Vec<SocketAddr>,
    dns: Result<TokioResolver, String>,
    last_good: Mutex<HashMap<Host, (Instant, Vec<Ipv6Addr>)>>,
}

impl Resolver {
    /// `name_servers` are asked, or the system's where there are none.
    pub fn new(pins: BTreeMap<Host, Vec<SocketAddrV6>>, name_servers: &[SocketAddr]) -> Self {
        let dns = name_resolver(name_servers);
        Self { pins, name_servers: name_servers.to_vec(), dns, last_good: Mutex::default() }
    }

    /// One with these pins and name servers, that remembers what this one does; `None`
    /// when it would be no other one.
    pub fn changed(&self, pins: &BTreeMap<Host, Vec<SocketAddrV6>>, name_servers: &[SocketAddr]) -> Option<Self> {
        let same_servers = self.name_servers == name_servers;
        if same_servers && self.pins == *pins {
            return None;
        }
        // Pins are given while DNS is broken: answers that still serve must not be lost by it.
        let last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let dns = if same_servers { self.dns.clone() } else { name_resolver(name_servers) };
        let name_servers = name_servers.to_vec();
        Some(Self { pins: pins.clone(), name_servers, dns, last_good: Mutex::new(last_good) })
    }

    pub async fn resolve(&self, to: &Authority) -> Result<Answer, ResolveError> {
        if let Some(pins) = self.pins.get(&to.host) {
            return Ok(Answer { addresses: pins.clone(), pinned: true });
        }
        let addresses = match to.host.ip() {
            Some(IpAddr::V6(addr)) => vec![addr],
            Some(IpAddr::V4(_)) => return Err(ResolveError::Ipv4Only { host: to.host.clone() }),
            None => self.lookup(&to.host).await?,
        };
        let addresses = addresses.into_iter().map(|a| SocketAddrV6::new(a, to.port, 0, 0)).collect();
        Ok(Answer { addresses, pinned: false })
    }

    async fn lookup(&self, host: &Host) -> Result<Vec<Ipv6Addr>, ResolveError> {
        let dns = self.dns.as_ref().map_err(|reason| ResolveError::NoServers { reason: reason.clone() })?;
        // The final dot keeps the search list of resolv.conf out of it.
        let found = dns.lookup_ip(format!("{host}.")).await;
        let now = Instant::now();
        let mut last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(answer) => {
                let v6: Vec<_> = answer
                    .iter()
                    .filter_map(|ip| match ip {
                        IpAddr::V6(addr) => Some(addr),
                        IpAddr::V4(_) => None,
                    })
                    .collect();
                if v6.is_empty() {
                    return Err(ResolveError::NoAddress { host: host.clone() });
                }
                last_good.insert(host.clone(), (now, v6.clone()));
                Ok(v6)
            }
            Err(err) if err.is_no_records_found() || err.is_nx_domain() => {
                Err(ResolveError::NoAddress { host: host.clone() })
            }
            Err(err) => match last_good.get(host) {
                Some((at, v6)) if now.duration_since(*at) < STALE_FOR => {
                    tracing::warn!(%host, error = %err, "name servers failed, using the last good answer");
                    Ok(v6.clone())
                }
                Some(_) | None => Err(ResolveError::Failed { host: host.clone(), reason: err.to_string() }),
            },
        }
    }
}

fn name_resolver(name_servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let mut builder = if name_servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|err| err.to_string())?
    } else {
        let servers = name_servers.iter().map(|at| {
            let mut server = NameServerConfig::udp_and_tcp(at.ip());
            for connection in &mut server.connections {
                connection.port = at.port();
            }
            server
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv6Only;
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    options.positive_min_ttl = Some(TTL_FLOOR);
    options.positive_max_ttl = Some(TTL_CEILING);
    options.negative_max_ttl = Some(NEGATIVE_CEILING);
    builder.build().map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pin_wins_and_keeps_its_own_port() {
        let pin: SocketAddrV6 = "[2001:db8:b::1]:8443".parse().unwrap();
        let to = Authority::parse("api.dhan.co:443", None).unwrap();
        let resolver = Resolver::new([(to.host.clone(), vec![pin])].into(), &[]);
        let answer = resolver.resolve(&to).await.unwrap();
        assert_eq!((answer.addresses, answer.pinned), (vec![pin], true));
    }

    #[tokio::test]
    async fn an_ipv4_target_is_refused_and_not_wrapped() {
        let resolver = Resolver::new(BTreeMap::new(), &[]);
        let err = resolver.resolve(&Authority::parse("192.0.2.1:443", None).unwrap()).await.unwrap_err();
        assert!(matches!(err, ResolveError::Ipv4Only { .. }));
    }
}
