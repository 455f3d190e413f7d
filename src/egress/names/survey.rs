//! Every name server asked for every name, for whoever wants to know how each of them does. Nothing of it is remembered,
//! and no lookup of an order comes by here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use ipnet::Ipv6Net;
use tokio::time::Instant;

use super::family::Family;
use super::question::{self, Unusable};
use super::system::{Files, Origin, Servers};
use crate::host::{BrokerHost, NameAnswer, NameSays, NamesSaid};

/// Questions at once.
const AT_ONCE: usize = 8;
/// A name that has IPv4 addresses only: whoever gives it another one translates (RFC 7050).
const IPV4_ONLY: &str = "ipv4only.arpa";
/// Its addresses.
const ITS_OWN: [[u8; 4]; 2] = [[192, 0, 0, 170], [192, 0, 0, 171]];

/// Ask all of `configured`, or of the host's own, for all of these.
pub(in crate::egress) async fn survey(configured: &[SocketAddr], hosts: Vec<BrokerHost>) -> NamesSaid {
    let servers = servers(configured.to_vec()).await;
    let Servers { list, origin } = servers;
    let names: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
    let questions = list.iter().flat_map(|server| names.iter().map(|name| (*server, name.clone())));
    // What a server that translates says of that name is no fault of it.
    let translations = list.iter().filter(|_| !hosts.is_empty()).map(|server| (*server, IPV4_ONLY.to_owned()));
    let questions: Vec<_> = questions.chain(translations).collect();
    let answers: Vec<_> = futures_util::stream::iter(questions)
        .map(|(server, host)| async move { query(server, host).await })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let ipv4 = with_ipv4_only(&list, &hosts, &answers).await;
    let (about_it, answers): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.host == IPV4_ONLY);
    let mut nat64: Vec<_> = about_it.iter().flat_map(|answer| addresses(&answer.says)).filter_map(prefix).collect();
    nat64.sort_unstable();
    nat64.dedup();
    NamesSaid { from_config: origin == Origin::Config, origin: origin.to_string(), hosts, answers, ipv4, nat64 }
}

/// Hosts that have an IPv4 address and no IPv6 address, by any of these servers. Not asked for the host of orders, which
/// is not reached so.
async fn with_ipv4_only(list: &[SocketAddr], hosts: &[BrokerHost], answers: &[NameAnswer]) -> Vec<String> {
    let known = |host: &BrokerHost| {
        answers.iter().any(|answer| answer.host == host.name && matches!(answer.says, NameSays::Addresses(_)))
    };
    let mut found = Vec::new();
    for host in hosts.iter().filter(|host| !host.takes_orders && !known(host)) {
        for server in list {
            if question::query(*server, &host.name, Family::V4).await.is_ok() {
                found.push(host.name.clone());
                break;
            }
        }
    }
    found
}

async fn servers(configured: Vec<SocketAddr>) -> Servers {
    let found = tokio::task::spawn_blocking(move || Servers::find(&configured, &Files::default())).await;
    // Only while the runtime ends.
    found.unwrap_or_else(|err| Servers { list: Vec::new(), origin: Origin::Nowhere(err.to_string()) })
}

async fn query(server: SocketAddr, host: String) -> NameAnswer {
    let began = Instant::now();
    let said = question::query(server, &host, Family::V6).await;
    let took: Duration = began.elapsed();
    let says = match said {
        Ok(found) => NameSays::Addresses(found.addresses.into_iter().filter_map(v6).collect()),
        Err(Unusable::Forbidden(IpAddr::V6(at), rule)) => NameSays::Forbidden(at, rule.to_string()),
        Err(none) if none.is_no_record() => NameSays::NoRecord(none.to_string()),
        Err(other) => NameSays::Failed(other.to_string()),
    };
    NameAnswer { server, host, took, says }
}

const fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

fn addresses(says: &NameSays) -> Vec<Ipv6Addr> {
    match says {
        NameSays::Addresses(all) => all.clone(),
        NameSays::Forbidden(at, _) => vec![*at],
        NameSays::NoRecord(_) | NameSays::Failed(_) => Vec::new(),
    }
}

/// The prefix whose addresses stand for IPv4 ones, by one that stands for [`ITS_OWN`] (RFC 6052 section 2.2).
fn prefix(address: Ipv6Addr) -> Option<Ipv6Net> {
    let octets = address.octets();
    let at = |places: [usize; 4]| places.map(|place| octets.get(place).copied().unwrap_or_default());
    let lengths = [
        (96, [12, 13, 14, 15]),
        (64, [9, 10, 11, 12]),
        (56, [7, 9, 10, 11]),
        (48, [6, 7, 9, 10]),
        (40, [5, 6, 7, 9]),
        (32, [4, 5, 6, 7]),
    ];
    let (length, _) = lengths.into_iter().find(|(_, places)| ITS_OWN.contains(&at(*places)))?;
    Some(Ipv6Net::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translators_prefix_is_found_by_each_of_its_lengths() {
        for (address, net) in [
            ("64:ff9b::192.0.0.170", Some("64:ff9b::/96")),
            ("2001:db8:1::c000:ab", Some("2001:db8:1::/96")),
            ("2001:db8:1:2:c0:0:aa00:0", Some("2001:db8:1:2::/64")),
            ("2001:db8:c000:aa::", Some("2001:db8::/32")),
            ("2001:db8::1", None),
        ] {
            assert_eq!(prefix(address.parse().unwrap()).map(|net| net.to_string()).as_deref(), net, "{address}");
        }
    }
}
