//! `egress.ipv4_hosts`: which hosts may be reached over IPv4, and their pins.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::problems::Problems;
use super::reader::Pulled;
use super::values::key_text;
use super::{Dhan, EgressConfig, Ipv4Host, ProxyConfig};
use crate::domain::Host;

/// Hosts of Dhan's on which orders are placed, whatever the configuration calls them.
const ORDERS: [&str; 2] = ["api.dhan.co", "sandbox.dhan.co"];

/// Pins of the wrong kind for their host: its name, which of its pins, and what is wrong.
pub(super) type Misplaced = Vec<(Host, usize, String)>;

/// `egress.resolve` and `egress.ipv4_hosts` as they stand in the file, put together.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) resolve: BTreeMap<Host, Vec<SocketAddrV6>>,
    pub(super) ipv4: BTreeMap<Host, Ipv4Host>,
    /// Pins of the wrong kind for their host.
    pub(super) misplaced: Misplaced,
}

impl Hosts {
    pub(super) fn new(pins: BTreeMap<Host, Vec<SocketAddr>>, sources: Pulled<BTreeMap<Host, Ipv4Addr>>) -> Self {
        // Which host is which is not known then, and the reader has a problem already.
        let unread = matches!(sources, Pulled::Bad);
        let sources = sources.good().unwrap_or_default().into_iter();
        let ipv4 = sources.map(|(host, source)| (host, Ipv4Host { source, pins: Vec::new() })).collect();
        let mut hosts = Self { ipv4, ..Self::default() };
        for (host, list) in pins {
            for (index, pin) in list.into_iter().enumerate() {
                match (pin, hosts.ipv4.get_mut(&host)) {
                    (SocketAddr::V4(pin), Some(known)) => known.pins.push(pin),
                    (SocketAddr::V6(pin), None) => hosts.resolve.entry(host.clone()).or_default().push(pin),
                    (SocketAddr::V4(_) | SocketAddr::V6(_), _) if unread => {}
                    (SocketAddr::V4(pin), None) => hosts.misplaced.push((host.clone(), index, no_ipv4(pin))),
                    (SocketAddr::V6(pin), Some(known)) => {
                        let text = format!(
                            "{pin} is an IPv6 address, and egress.ipv4_hosts has the host reached over IPv4, from {}; give an \
                             IPv4 address and port, or take the host out there",
                            known.source
                        );
                        hosts.misplaced.push((host.clone(), index, text));
                    }
                }
            }
        }
        hosts
    }
}

fn no_ipv4(pin: SocketAddrV4) -> String {
    format!(
        "{pin} is no IPv6 address and port; give one such as \"[2001:db8:b::1]:443\". Only a host that egress.ipv4_hosts \
         names is reached over IPv4"
    )
}

/// No order may ever leave from an address that accounts share.
pub(super) fn check(
    (egress, misplaced): (&EgressConfig, &Misplaced),
    proxy: &ProxyConfig,
    dhan: &Dhan,
    problems: &mut Problems,
) -> Option<String> {
    for (host, index, text) in misplaced {
        problems.add(format!("egress.resolve.{}.{index}", key_text(host.as_str())), text.clone());
    }
    let others = [&dhan.auth, &dhan.order_update, &dhan.feed, &dhan.depth20, &dhan.depth200, &dhan.images];
    for host in egress.ipv4_hosts.keys() {
        let key = format!("egress.ipv4_hosts.{}", key_text(host.as_str()));
        if *host == dhan.api.host || ORDERS.contains(&host.as_str()) {
            let text = "orders are placed on this host, and they leave from an account's own IPv6 address, which the broker \
                        has registered; take it out. If name servers give it no IPv6 address, see `sixgate doctor`";
            problems.add(key, text);
        } else if !others.iter().any(|at| at.host == *host) {
            let text = "is no host of [broker.dhan], and only those can be named here: the hosts of feeds, data and login, \
                        such as \"api-feed.dhan.co\"";
            problems.add(key, text);
        } else if proxy.tunnel_hosts.contains(host) {
            let text = "is in proxy.tunnel_hosts too. Nobody looks into a tunnel, so it might hold an order, and no order \
                        leaves over IPv4; leave it out of one of the two";
            problems.add(key, text);
        }
    }
    (!proxy.intercept && !egress.ipv4_hosts.is_empty()).then(|| {
        "proxy.intercept: is off, and callers' tunnels to the hosts of egress.ipv4_hosts are refused: nobody looks into \
         them, so they might hold an order, and no order leaves over IPv4. The gateway's own logins are not affected"
            .to_owned()
    })
}
