//! What the kernel says about local routes, in bytes (netlink(7), rtnetlink(7)).
//!
//! A route of type `local` is what makes the kernel take packets for an address as
//! its own. Every usable address of an interface has one (the kernel adds it when
//! duplicate address detection is over and takes it away with the address), and an
//! AnyIP prefix is nothing else. So these routes, of any table, are the whole answer
//! to "is this address on this host": addresses themselves need not be kept, and a
//! message about one only makes us look again.
//!
//! Nothing here trusts a length: bytes that make no sense are passed over.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;

use super::netlink_message::{
    AF_INET6, HEADER, Message, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTA_DST, RTA_OIF, RTA_TABLE,
    RTM_GETROUTE, RTM_NEWROUTE, RTM_NEWRULE, RTN_LOCAL, attributes, field, messages,
};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const RTM_DELROUTE: u16 = 25;
const RTM_DELRULE: u16 = 33;
const NLM_F_MULTI: u16 = 0x02;
const NLM_F_DUMP_INTR: u16 = 0x10;
const RTA_PRIORITY: u16 = 6;
const IFA_ADDRESS: u16 = 1;
const IFF_UP: u32 = 1;
/// `rtmsg`.
const ROUTE: usize = 12;
/// `ifaddrmsg`.
const ADDRESS: usize = 8;
/// `ifinfomsg`.
const LINK: usize = 16;

/// Dumps in a row that are made again because the table changed meanwhile.
const MOST_INTERRUPTED: u32 = 3;

/// The multicast groups to listen to: links, IPv6 addresses, IPv6 routes, IPv6 rules (`RTNLGRP_IPV6_RULE`, the 19th).
pub(crate) const GROUPS: u32 = 0x1 | 0x100 | 0x400 | 1 << 18;

/// The request for all IPv6 routes, numbered `sequence`.
fn dump(sequence: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + ROUTE);
    message.extend_from_slice(&28u32.to_ne_bytes());
    message.extend_from_slice(&RTM_GETROUTE.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0u32.to_ne_bytes());
    message.push(AF_INET6);
    message.resize(HEADER + ROUTE, 0);
    message
}

/// What tells one route from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    prefix: Ipv6Addr,
    length: u8,
    table: u32,
    interface: u32,
    metric: u32,
}

/// The local routes of this host.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalRoutes {
    routes: BTreeSet<Route>,
    /// The routes by prefix, for asking, with how many there are of each.
    prefixes: HashMap<(u8, Ipv6Addr), u32>,
    /// How many prefixes of each length there are: mostly 128 and one or two others.
    lengths: Vec<(u8, u32)>,
}

impl LocalRoutes {
    /// Does the kernel take packets for `address` as its own?
    pub(crate) fn covers(&self, address: Ipv6Addr) -> bool {
        self.lengths.iter().any(|(length, _)| self.prefixes.contains_key(&(*length, masked(address, *length))))
    }

    /// Are there none at all? Even an idle host has `::1`.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    fn insert(&mut self, route: Route) -> bool {
        let new = self.routes.insert(route);
        if new {
            let count = self.prefixes.entry((route.length, route.prefix)).or_default();
            *count += 1;
            if *count == 1 {
                match self.lengths.iter_mut().find(|(length, _)| *length == route.length) {
                    Some((_, count)) => *count += 1,
                    None => self.lengths.push((route.length, 1)),
                }
            }
        }
        new
    }

    fn remove(&mut self, route: &Route) -> bool {
        let known = self.routes.remove(route);
        let key = (route.length, route.prefix);
        if known && let Some(count) = self.prefixes.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.prefixes.remove(&key);
                if let Some((_, count)) = self.lengths.iter_mut().find(|(length, _)| *length == route.length) {
                    *count -= 1;
                }
                self.lengths.retain(|(_, count)| *count > 0);
            }
        }
        known
    }
}

fn masked(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0);
    (u128::from(address) & mask).into()
}

/// Follows the routes: a dump first, then every change, and a dump again when changes
/// were missed. Changes that come during a dump are applied to both what was known
/// and what is being learnt, in the order in which they come.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    known: LocalRoutes,
    /// Has a dump ever been told to its end? Before, a change is a change of nothing.
    complete: bool,
    dump: Option<Dump>,
    sequence: u32,
    /// Is what is known out of date, so that another dump is needed?
    stale: bool,
    /// Dumps in a row whose table changed while it was walked.
    interrupted: u32,
    /// Addresses that went, whose routes should go by themselves.
    gone: Vec<Ipv6Addr>,
}

/// A dump under way.
#[derive(Debug)]
struct Dump {
    sequence: u32,
    routes: LocalRoutes,
    interrupted: bool,
}

/// What came of a packet of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// What is known changed, or is known for the first time.
    pub changed: bool,
    /// The ways out of this host changed: a route that is not a local one, a rule, or a link that is not up any more.
    pub ways: bool,
    /// The dump was refused with this errno.
    pub refused: Option<i32>,
}

impl Follower {
    /// The routes as of now.
    pub(crate) const fn known(&self) -> &LocalRoutes {
        &self.known
    }

    /// Changes were missed: what is known may be wrong.
    pub(crate) const fn missed(&mut self) {
        self.stale = true;
    }

    /// The request to send now, if one is due. One dump at a time: the kernel answers
    /// a second one with `EBUSY`.
    pub(crate) fn next_request(&mut self) -> Option<Vec<u8>> {
        if self.dump.is_some() {
            return None;
        }
        // The kernel tells of an address first and of its route after; both have been read now.
        let known = &self.known;
        self.stale |= self.gone.drain(..).any(|address| known.prefixes.contains_key(&(128, address)));
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.dump = Some(Dump { sequence: self.sequence, routes: LocalRoutes::default(), interrupted: false });
        Some(dump(self.sequence))
    }

    /// Take in what one read gave.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> News {
        let mut news = News::default();
        for message in messages(bytes) {
            self.take_one(&message, &mut news);
        }
        news
    }

    fn take_one(&mut self, message: &Message<'_>, news: &mut News) {
        let ours = message.flags & NLM_F_MULTI != 0 || matches!(message.kind, NLMSG_DONE | NLMSG_ERROR);
        if let Some(dump) = self.dump.as_mut().filter(|dump| ours && dump.sequence == message.sequence) {
            dump.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.kind {
                RTM_NEWROUTE => {
                    if let Some(route) = local_route(message.payload) {
                        dump.routes.insert(route);
                    }
                }
                NLMSG_DONE => self.dump_ended(news),
                NLMSG_ERROR => {
                    self.dump = None;
                    news.refused = field(message.payload, 0).map(i32::from_ne_bytes).map(i32::wrapping_neg);
                }
                _ => {}
            }
            return;
        }
        match message.kind {
            RTM_NEWROUTE | RTM_DELROUTE => {
                let Some(route) = local_route(message.payload) else {
                    news.ways = true;
                    return;
                };
                let change = |routes: &mut LocalRoutes| match message.kind {
                    RTM_NEWROUTE => routes.insert(route),
                    _ => routes.remove(&route),
                };
                if let Some(dump) = &mut self.dump {
                    change(&mut dump.routes);
                }
                news.changed |= change(&mut self.known) && self.complete;
            }
            // An address or a link can go without a word about its routes
            // (net.ipv6.route.skip_notify_on_dev_down).
            RTM_DELADDR => self.gone.extend(address(message.payload)),
            RTM_DELLINK => (self.stale, news.ways) = (true, true),
            RTM_NEWLINK if !is_up(message.payload) => (self.stale, news.ways) = (true, true),
            RTM_NEWRULE | RTM_DELRULE => news.ways = true,
            _ => {}
        }
    }

    fn dump_ended(&mut self, news: &mut News) {
        let Some(dump) = self.dump.take() else { return };
        // The table changed while it was walked, so a route may have been passed over.
        // On a host with a busy routing table that is so every time; then what was
        // told, with the changes that came meanwhile, is as good as it gets.
        if dump.interrupted && self.interrupted < MOST_INTERRUPTED {
            self.interrupted += 1;
            self.stale = true;
            return;
        }
        self.interrupted = 0;
        self.complete = true;
        self.known = dump.routes;
        news.changed = true;
    }
}

/// A route of type `local`, from an `rtmsg`.
fn local_route(payload: &[u8]) -> Option<Route> {
    // Family, destination length, source length, TOS, table, protocol, scope, type, flags.
    let [family, length, _, _, table, _, _, kind] = field(payload, 0)?;
    if family != AF_INET6 || kind != RTN_LOCAL || length > 128 {
        return None;
    }
    let mut route = Route { prefix: Ipv6Addr::UNSPECIFIED, length, table: table.into(), interface: 0, metric: 0 };
    for (kind, value) in attributes(payload.get(ROUTE..)?) {
        let number = field(value, 0).map(u32::from_ne_bytes);
        match kind {
            RTA_DST => route.prefix = Ipv6Addr::from(field::<16>(value, 0)?),
            RTA_TABLE => route.table = number?,
            RTA_OIF => route.interface = number?,
            RTA_PRIORITY => route.metric = number?,
            _ => {}
        }
    }
    route.prefix = masked(route.prefix, length);
    Some(route)
}

/// The address of an `ifaddrmsg`.
fn address(payload: &[u8]) -> Option<Ipv6Addr> {
    let found = attributes(payload.get(ADDRESS..)?).find(|(kind, _)| *kind == IFA_ADDRESS)?;
    field::<16>(found.1, 0).map(Ipv6Addr::from)
}

/// Is the link of an `ifinfomsg` up? Its flags stand after family, type and index.
fn is_up(payload: &[u8]) -> bool {
    payload.len() >= LINK && field(payload, 8).map(u32::from_ne_bytes).is_some_and(|flags| flags & IFF_UP != 0)
}

#[cfg(test)]
mod tests;
