//! Questions to the kernel about routes and neighbours (rtnetlink(7)), each answered at once.
//!
//! Nothing here trusts a length: bytes that make no sense are passed over.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::Ipv6Net;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::net::netlink_message::{
    AF_INET6, HEADER, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTA_DST, RTA_OIF, RTA_TABLE, RTM_GETROUTE,
    RTM_NEWROUTE, RTM_NEWRULE, RTN_LOCAL, attributes, field, messages,
};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETRULE: u16 = 34;
const RTA_SRC: u16 = 2;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const NDA_DST: u16 = 1;
const NTF_PROXY: u8 = 0x08;
const NTF_ROUTER: u8 = 0x80;
const NUD_FAILED: u16 = 0x20;
const RTN_UNICAST: u8 = 1;
const RTPROT_RA: u8 = 9;
/// `rtmsg`, `fib_rule_hdr` and `ndmsg` alike.
const FIXED: usize = 12;
/// `rtnexthop`: length u16, flags u8, hops u8, interface u32.
const NEXT_HOP: usize = 8;
/// The kernel fills at most 32 KiB at once.
const BUFFER: usize = 64 * 1024;
/// The kernel answers at once or not at all; only a kernel that is not well takes longer.
const PATIENCE_MS: i64 = 500;
/// Packets of one dump that are read at most: a table of the whole internet is not walked to its end.
const MOST_PACKETS: usize = 2048;

/// What the kernel says of the way from one address to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Packets do not leave: the destination is this host itself.
    pub local: bool,
    /// By which interface.
    pub interface: u32,
    /// The next router, where there is one.
    pub gateway: Option<Ipv6Addr>,
    /// The source the kernel would take by itself.
    pub preferred: Option<Ipv6Addr>,
}

/// The table that what no rule leads elsewhere goes by.
pub(super) const MAIN: u32 = 254;

/// A default route of any table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    pub table: u32,
    pub interface: u32,
    pub gateway: Option<Ipv6Addr>,
    /// Was it made by a router's advertisement?
    pub advertised: bool,
}

/// A rule that sends what comes from a prefix to a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceRule {
    pub from: Ipv6Net,
    pub table: u32,
}

/// A socket to ask by.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(PATIENCE_MS))?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// The way to `to`, for what is bound to `from`. An error is the kernel's word that there is none.
    pub(super) fn way(&mut self, from: Option<Ipv6Addr>, to: Ipv6Addr) -> io::Result<Way> {
        let source_length = if from.is_some() { 128 } else { 0 };
        let mut fixed = [0; FIXED];
        for (byte, value) in fixed.iter_mut().zip([AF_INET6, 128, source_length]) {
            *byte = value;
        }
        let mut attributes = vec![(RTA_DST, to)];
        attributes.extend(from.map(|from| (RTA_SRC, from)));
        let mut found = None;
        self.exchange(RTM_GETROUTE, 0, &fixed, &attributes, |kind, payload| {
            if kind == RTM_NEWROUTE {
                found = way_of(payload);
            }
            found.is_none()
        })?;
        found.ok_or_else(|| io::Error::other("the kernel's answer about a route cannot be read"))
    }

    /// Does the kernel take packets for this address as its own? Its own silence is no answer.
    pub(super) fn is_local(&mut self, address: Ipv6Addr) -> io::Result<bool> {
        match self.way(None, address) {
            Ok(way) => Ok(way.local),
            Err(err) if is_no_way(&err) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Default routes, of all tables.
    pub(super) fn default_routes(&mut self) -> io::Result<Vec<DefaultRoute>> {
        let mut found = Vec::new();
        self.dump(RTM_GETROUTE, 0, |kind, payload| {
            if kind == RTM_NEWROUTE {
                default_route(payload, &mut found);
            }
        })?;
        Ok(found)
    }

    /// The rules by source.
    pub(super) fn source_rules(&mut self) -> io::Result<Vec<SourceRule>> {
        let mut found = Vec::new();
        self.dump(RTM_GETRULE, 0, |kind, payload| {
            if kind == RTM_NEWRULE {
                found.extend(source_rule(payload));
            }
        })?;
        Ok(found)
    }

    /// Neighbours that said that they are routers.
    pub(super) fn routers(&mut self) -> io::Result<Vec<(u32, Ipv6Addr)>> {
        self.neighbours(0, |_, flags| flags & NTF_ROUTER != 0)
    }

    /// Addresses that this host is told to answer for (`ip -6 neigh add proxy`).
    pub(super) fn proxied(&mut self) -> io::Result<Vec<Ipv6Addr>> {
        let found = self.neighbours(NTF_PROXY, |_, flags| flags & NTF_PROXY != 0)?;
        Ok(found.into_iter().map(|(_, address)| address).collect())
    }

    /// Neighbours that were asked for and did not answer.
    pub(super) fn failed_neighbours(&mut self) -> io::Result<Vec<Ipv6Addr>> {
        let found = self.neighbours(0, |state, _| state & NUD_FAILED != 0)?;
        Ok(found.into_iter().map(|(_, address)| address).collect())
    }

    /// By interface and address.
    fn neighbours(&mut self, neighbour_flags: u8, which: impl Fn(u16, u8) -> bool) -> io::Result<Vec<(u32, Ipv6Addr)>> {
        let mut found = Vec::new();
        self.dump(RTM_GETNEIGH, neighbour_flags, |kind, payload| {
            // Family, padding, interface, state u16, flags, type.
            let state = field(payload, 8).map(u16::from_ne_bytes).unwrap_or_default();
            let is_meant = payload.get(10).is_some_and(|flags| which(state, *flags));
            if kind == RTM_NEWNEIGH && is_meant && payload.first() == Some(&AF_INET6) {
                let address = attributes(payload.get(FIXED..).unwrap_or_default()).find(|(kind, _)| *kind == NDA_DST);
                let interface = field(payload, 4).map(u32::from_ne_bytes).unwrap_or_default();
                let address = address.and_then(|(_, value)| field::<16>(value, 0)).map(Ipv6Addr::from);
                found.extend(address.map(|address| (interface, address)));
            }
        })?;
        Ok(found)
    }

    fn dump(&mut self, kind: u16, neighbour_flags: u8, each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let mut fixed = [0; FIXED];
        for (at, value) in [(0, AF_INET6), (10, neighbour_flags)] {
            if let Some(byte) = fixed.get_mut(at) {
                *byte = value;
            }
        }
        self.dump_of(kind, &fixed, each)
    }

    /// Everything that the kernel answers to a question whose body is `fixed`.
    pub(super) fn dump_of(&mut self, kind: u16, fixed: &[u8], mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.exchange(kind, NLM_F_DUMP, fixed, &[], |kind, payload| {
            each(kind, payload);
            true
        })
    }

    /// Ask, and give what is answered to `each` until it wants no more or all is said.
    fn exchange(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        addresses: &[(u16, Ipv6Addr)],
        mut each: impl FnMut(u16, &[u8]) -> bool,
    ) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &request(kind, flags, fixed, addresses), MsgFlags::empty())?;
        for _ in 0..MOST_PACKETS {
            let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let errno = field(message.payload, 0).map(i32::from_ne_bytes).unwrap_or_default();
                        return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
                    }
                    kind if !each(kind, message.payload) => return Ok(()),
                    _ => {}
                }
            }
        }
        // What was not read would be taken for the next question's answer.
        self.socket = Self::open()?.socket;
        Ok(())
    }
}

/// Is this the kernel's word that no route leads there, and not a failure to ask?
pub(super) fn is_no_way(err: &io::Error) -> bool {
    use nix::errno::Errno;
    let no_way = [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EACCES, Errno::EINVAL, Errno::ENETDOWN];
    err.raw_os_error().is_some_and(|errno| no_way.iter().any(|no| *no as i32 == errno))
}

fn request(kind: u16, flags: u16, fixed: &[u8], addresses: &[(u16, Ipv6Addr)]) -> Vec<u8> {
    let length = HEADER + fixed.len() + addresses.len() * 20;
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend_from_slice(&1u32.to_ne_bytes()); // sequence: one question at a time
    message.extend_from_slice(&0u32.to_ne_bytes()); // port: the kernel fills it in
    message.extend_from_slice(fixed);
    for (attribute, address) in addresses {
        message.extend_from_slice(&20u16.to_ne_bytes());
        message.extend_from_slice(&attribute.to_ne_bytes());
        message.extend_from_slice(&address.octets());
    }
    message
}

fn address(value: &[u8]) -> Option<Ipv6Addr> {
    field::<16>(value, 0).map(Ipv6Addr::from)
}

fn number(value: &[u8]) -> Option<u32> {
    field(value, 0).map(u32::from_ne_bytes)
}

/// The answer to one question about a route.
fn way_of(payload: &[u8]) -> Option<Way> {
    // Family, destination length, source length, TOS, table, protocol, scope, type.
    let [family, _, _, _, _, _, _, kind] = field(payload, 0)?;
    if family != AF_INET6 {
        return None;
    }
    let mut way = Way { local: kind == RTN_LOCAL, interface: 0, gateway: None, preferred: None };
    for (kind, value) in attributes(payload.get(FIXED..)?) {
        match kind {
            RTA_OIF => way.interface = number(value)?,
            RTA_GATEWAY => way.gateway = address(value),
            RTA_PREFSRC => way.preferred = address(value),
            _ => {}
        }
    }
    Some(way)
}

fn default_route(payload: &[u8], found: &mut Vec<DefaultRoute>) {
    let Some([AF_INET6, 0, _, _, table, protocol, _, RTN_UNICAST]) = field(payload, 0) else { return };
    let mut table = u32::from(table);
    let (mut hops, mut one) = (Vec::new(), (0, None));
    for (kind, value) in attributes(payload.get(FIXED..).unwrap_or_default()) {
        match kind {
            RTA_TABLE => table = number(value).unwrap_or(table),
            RTA_OIF => one.0 = number(value).unwrap_or_default(),
            RTA_GATEWAY => one.1 = address(value),
            RTA_MULTIPATH => hops = next_hops(value),
            _ => {}
        }
    }
    if one.0 != 0 {
        hops.push(one);
    }
    let advertised = protocol == RTPROT_RA;
    found.extend(hops.into_iter().map(|(interface, gateway)| DefaultRoute { table, interface, gateway, advertised }));
}

/// The hops of a route that has several.
fn next_hops(mut bytes: &[u8]) -> Vec<(u32, Option<Ipv6Addr>)> {
    let mut hops = Vec::new();
    while let Some(length) = field(bytes, 0).map(u16::from_ne_bytes).map(usize::from) {
        let (Some(hop), Some(interface)) = (bytes.get(..length), field(bytes, 4).map(u32::from_ne_bytes)) else {
            break;
        };
        let gateway = attributes(hop.get(NEXT_HOP..).unwrap_or_default()).find(|(kind, _)| *kind == RTA_GATEWAY);
        hops.push((interface, gateway.and_then(|(_, value)| address(value))));
        if length < NEXT_HOP {
            break;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// A rule by source that leads to a table.
fn source_rule(payload: &[u8]) -> Option<SourceRule> {
    // `fib_rule_hdr`: family, destination length, source length, TOS, table.
    let [family, _, length, _, table] = field(payload, 0)?;
    if family != AF_INET6 || length == 0 {
        return None;
    }
    let (mut from, mut table) = (None, u32::from(table));
    for (kind, value) in attributes(payload.get(FIXED..)?) {
        match kind {
            // FRA_SRC and FRA_TABLE have the numbers of RTA_SRC and RTA_TABLE.
            RTA_SRC => from = address(value),
            RTA_TABLE => table = number(value)?,
            _ => {}
        }
    }
    Some(SourceRule { from: Ipv6Net::new(from?, length).ok()?.trunc(), table })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the kernel's that are cut short, or lie about their length, must end nothing.
    #[test]
    fn bytes_that_make_no_sense_are_passed_over() {
        let mut state = 1u32;
        for length in 0..2_000_usize {
            let bytes: Vec<u8> = (0..length % 96)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8 & if length % 3 == 0 { 0x1f } else { 0xff }
                })
                .collect();
            for message in messages(&bytes) {
                let _ = way_of(message.payload);
            }
            let _ = (way_of(&bytes), source_rule(&bytes), next_hops(&bytes));
            default_route(&bytes, &mut Vec::new());
        }
        assert_eq!(next_hops(&[0; 64]).len(), 1, "a hop that has no length ends the list");
    }

    #[test]
    fn the_kernel_knows_this_host_from_others() {
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.is_local(Ipv6Addr::LOCALHOST).unwrap());
        assert!(!netlink.is_local("2001:db8:dead::1".parse().unwrap()).unwrap());
        netlink.default_routes().unwrap();
        netlink.source_rules().unwrap();
        netlink.routers().unwrap();
        netlink.proxied().unwrap();
        netlink.failed_neighbours().unwrap();
        // Dumps before it leave nothing behind for the next question.
        assert!(netlink.is_local(Ipv6Addr::LOCALHOST).unwrap());
    }
}
