//! Finding out what this host is like. Reads; sends nothing.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ipnet::Ipv6Net;
use jiff::SignedDuration;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::addresses::{self, Held};
use super::failure::Failure;
use super::machine::name;
use super::netlink::{self, Netlink, SourceRule};
use super::way::Leaves;
use crate::domain::SourceAddr;
use crate::domain::host_limits::Lack;

/// Does ndppd run? Looking through all processes takes milliseconds, which a dial that failed has not: the last self-check
/// says so.
static NDPPD: AtomicU8 = AtomicU8::new(NOT_KNOWN);
const NOT_KNOWN: u8 = 0;
const RUNS: u8 = 1;
const RUNS_NOT: u8 = 2;

/// Addresses that are looked at each; beyond, one of each /64 stands for the others.
const EACH: usize = 512;

/// What a gateway wants of its host.
#[derive(Clone, Debug)]
pub struct Wants {
    /// The addresses that accounts leave from, or will.
    pub wishes: Vec<Wish>,
    /// Where the broker is, as far as that is known; any address outside will do to ask for a route.
    pub to: Ipv6Addr,
    /// `egress.freebind`.
    pub freebind: bool,
    /// What of this process opens unix sockets, for people.
    pub needs_unix: Vec<String>,
    /// How far the broker's clock is ahead of the host's, if it was measured.
    pub clock_ahead: Option<SignedDuration>,
}

/// An address, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The address that something leaves from.
    pub source: SourceAddr,
    /// The account and the role, or the pool, for people. None where whoever is told knows it.
    pub owner: Option<Arc<str>>,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner} {}", self.source),
            None => write!(f, "{}", self.source),
        }
    }
}

/// An address that something leaves from, or will, and how that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The address that the facts are about.
    pub sender: Sender,
    /// Does an account leave from it, and is nothing known to be wrong with that?
    pub admits: bool,
    /// How dialling from it fails at the moment.
    pub failed: Option<Failure>,
    /// Did anything come back by it since the host's network changed for the last time?
    pub worked: bool,
}

/// What was found out.
#[derive(Debug)]
pub struct Facts {
    pub(super) ipv6: Ipv6,
    pub(super) inet6_refused: Option<String>,
    pub(super) netlink_refused: Option<String>,
    pub(super) unix_refused: Option<String>,
    pub(super) needs_unix: Vec<String>,
    pub(super) looks: Vec<(Wish, Look)>,
    /// The way of what is bound to no address.
    pub(super) way: Option<Result<Leaves, String>>,
    /// Every line that a default route leads to.
    pub(super) uplinks: Vec<Leaves>,
    pub(super) to: Ipv6Addr,
    pub(super) freebind: bool,
    pub(super) clock_ahead: Option<SignedDuration>,
}

/// Is there IPv6?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ipv6 {
    On,
    /// The kernel has none, or was told to have none.
    NotInKernel,
    /// These settings turn it off.
    Off(Vec<String>),
}

/// What the kernel says about one source address. `None` where it could not be asked.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub ipv6: Ipv6,
    /// Does the kernel take packets for it as its own?
    pub local: Option<bool>,
    /// The interface that has it.
    pub on: Option<Held>,
    /// The interface on whose link its prefix is.
    pub link: Option<String>,
    /// Its way out, or the kernel's word that there is none.
    pub leaves: Option<Result<Leaves, String>>,
    /// The table that a rule by source leads it to.
    pub table: Option<u32>,
    /// Does somebody on this host answer the neighbours for it?
    pub answered_for: bool,
    /// It would leave by another interface than the one that has it or its link, and that one leads out of this host too.
    pub own_leads_out: bool,
    /// May any address be bound (`net.ipv6.ip_nonlocal_bind`)?
    pub nonlocal_bind: bool,
    /// Did the next hop of its way not answer when it was asked for? Looked at only after the kernel's word that a host
    /// cannot be reached.
    pub hop_failed: bool,
}

/// Whether something ran out while the host was looked at. Then what was not seen may be there all the same.
#[derive(Debug, Default)]
struct Lacks(Cell<Option<Lack>>);

impl Lacks {
    /// What was read, if anything was; and a note of what there was not enough of.
    fn ok<T>(&self, read: io::Result<T>) -> Option<T> {
        read.inspect_err(|err| self.note(err)).ok()
    }

    fn note(&self, err: &io::Error) {
        if let Some(lack) = Lack::of(err) {
            self.0.set(Some(lack));
        }
    }

    fn is_on(&self, file: &str) -> bool {
        self.ok(std::fs::read_to_string(file)).is_some_and(|text| !matches!(text.trim(), "" | "0"))
    }

    /// Does a program of this name run, as far as this user may see?
    fn runs(&self, program: &str) -> bool {
        let processes = self.ok(std::fs::read_dir("/proc")).into_iter().flatten().flatten();
        let named = |entry: std::fs::DirEntry| self.ok(std::fs::read_to_string(entry.path().join("comm")));
        processes.filter_map(named).any(|comm| comm.trim() == program)
    }

    /// Why this process may have no socket of this family.
    fn refused(&self, family: AddressFamily) -> Option<String> {
        let errno = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).err()?;
        self.note(&errno.into());
        Some(errno.desc().to_owned())
    }
}

impl Facts {
    /// Look at everything. It reads files and asks the kernel: not on a thread that orders wait for.
    ///
    /// # Errors
    /// This process ran out of something while it looked: nothing is known, neither good nor bad.
    pub fn gather(wants: Wants) -> Result<Self, Lack> {
        let lacks = Lacks::default();
        let ndppd = lacks.runs("ndppd");
        if lacks.0.get().is_none() {
            NDPPD.store(if ndppd { RUNS } else { RUNS_NOT }, Ordering::Relaxed);
        }
        let mut kernel = Kernel::open();
        let looks = kernel.looks(&wants);
        let way = kernel.leaves(None, wants.to);
        let facts = Self {
            ipv6: kernel.ipv6.clone(),
            inet6_refused: lacks.refused(AddressFamily::Inet6),
            netlink_refused: kernel.netlink.as_ref().err().map(ToString::to_string),
            unix_refused: lacks.refused(AddressFamily::Unix),
            needs_unix: wants.needs_unix,
            looks,
            way,
            uplinks: kernel.uplinks(),
            to: wants.to,
            freebind: wants.freebind,
            clock_ahead: wants.clock_ahead,
        };
        kernel.lack().or(lacks.0.get()).map_or(Ok(facts), Err)
    }
}

#[cfg(test)]
impl Facts {
    /// Of a host with nothing wrong, and of these addresses.
    pub(super) const fn made(looks: Vec<(Wish, Look)>) -> Self {
        Self {
            ipv6: Ipv6::On,
            inet6_refused: None,
            netlink_refused: None,
            unix_refused: None,
            needs_unix: Vec::new(),
            looks,
            way: None,
            uplinks: Vec::new(),
            to: Ipv6Addr::LOCALHOST,
            freebind: true,
            clock_ahead: None,
        }
    }
}

impl Facts {
    /// Addresses that the kernel asks about at this moment, whether somebody else has them.
    pub fn tentative(&self) -> Vec<Ipv6Addr> {
        let held = self.looks.iter().filter_map(|(_, look)| look.on.as_ref());
        held.filter(|held| held.is_tentative()).map(|held| held.address).collect()
    }

    /// Addresses from which something leaves this host, as far as the kernel says.
    pub fn can_leave(&self) -> impl Iterator<Item = &Sender> {
        let leaves = |look: &Look| {
            look.ipv6 == Ipv6::On
                && look.local != Some(false)
                && !matches!(look.leaves, Some(Err(_)))
                && !look.on.as_ref().is_some_and(|held| held.is_duplicate() || held.is_tentative())
        };
        self.looks.iter().filter(move |(_, look)| leaves(look)).map(|(wish, _)| &wish.sender)
    }
}

/// The kernel, with what it said already.
#[derive(Debug)]
pub(super) struct Kernel {
    lacks: Lacks,
    ipv6: Ipv6,
    netlink: io::Result<Netlink>,
    held: HashMap<Ipv6Addr, Held>,
    links: Vec<(Ipv6Net, String)>,
    nonlocal_bind: bool,
    /// Asked when they are needed for the first time.
    rules: Option<Vec<SourceRule>>,
    proxied: Option<Vec<Ipv6Addr>>,
}

impl Kernel {
    pub(super) fn open() -> Self {
        let lacks = Lacks::default();
        let held = addresses::held();
        let ipv6 = ipv6(&held, &lacks);
        let held = lacks.ok(held).unwrap_or_default();
        let mut links: Vec<_> =
            held.iter().filter_map(|held| Some((held.on_link()?, held.interface.clone()))).collect();
        links.sort();
        links.dedup();
        Self {
            ipv6,
            netlink: Netlink::open().inspect_err(|err| lacks.note(err)),
            held: held.into_iter().map(|held| (held.address, held)).collect(),
            links,
            nonlocal_bind: lacks.is_on("/proc/sys/net/ipv6/ip_nonlocal_bind"),
            rules: None,
            proxied: None,
            lacks,
        }
    }

    /// What ran out while the kernel was asked. Then its silence is no answer, and nothing may be judged by it.
    pub(super) const fn lack(&self) -> Option<Lack> {
        self.lacks.0.get()
    }

    fn looks(&mut self, wants: &Wants) -> Vec<(Wish, Look)> {
        let mut seen = std::collections::HashSet::new();
        let few = wants.wishes.len() <= EACH;
        let chosen = wants.wishes.iter().filter(|wish| {
            let net = u128::from(wish.sender.source.ip()) >> 64;
            few || seen.insert(net) || wish.failed.is_some()
        });
        let chosen: Vec<_> = chosen.take(2 * EACH).cloned().collect();
        let look = |wish: Wish| {
            let look = self.look(wish.sender.source, wants.to, wish.failed);
            (wish, look)
        };
        chosen.into_iter().map(look).collect()
    }

    /// Look at one source and the way from it, after this failure if there was one.
    pub(super) fn look(&mut self, source: SourceAddr, to: Ipv6Addr, failed: Option<Failure>) -> Look {
        let address = source.ip();
        let on = self.held.get(&address).cloned();
        let link = self.links.iter().find(|(net, _)| net.contains(&address)).map(|(_, interface)| interface.clone());
        let local = self.netlink.as_mut().ok().and_then(|netlink| self.lacks.ok(netlink.is_local(address)));
        let leaves = self.leaves(Some(address), to);
        let table = self.table(address);
        let unreachable = failed == Some(Failure::Connect(Errno::EHOSTUNREACH as i32));
        let hop = leaves.as_ref().filter(|_| unreachable).and_then(|way| way.as_ref().ok());
        let hop = hop.map(|leaves| leaves.gateway.unwrap_or(to));
        let hop_failed = hop.is_some_and(|hop| self.is_failed(hop));
        let own = on.as_ref().map(|held| held.interface.as_str()).or(link.as_deref()).map(str::to_owned);
        let away =
            own.filter(|own| leaves.as_ref().is_some_and(|way| way.as_ref().is_ok_and(|way| way.interface != *own)));
        let own_leads_out = away.is_some_and(|own| self.uplinks().iter().any(|uplink| uplink.interface == own));
        let answered_for = link.is_some() && on.is_none() && self.is_answered_for(address, link.as_deref());
        Look {
            ipv6: self.ipv6.clone(),
            local,
            on,
            link,
            leaves,
            table,
            answered_for,
            own_leads_out,
            nonlocal_bind: self.nonlocal_bind,
            hop_failed,
        }
    }

    /// Was this neighbour asked for, and did it not answer?
    fn is_failed(&mut self, hop: Ipv6Addr) -> bool {
        let Ok(netlink) = self.netlink.as_mut() else { return false };
        self.lacks.ok(netlink.failed_neighbours()).is_some_and(|failed| failed.contains(&hop))
    }

    fn leaves(&mut self, from: Option<Ipv6Addr>, to: Ipv6Addr) -> Option<Result<Leaves, String>> {
        match self.netlink.as_mut().ok()?.way(from, to) {
            Ok(way) => Some(Ok(Leaves { interface: name(way.interface), gateway: way.gateway })),
            Err(err) if netlink::is_no_way(&err) => {
                let errno = Errno::from_raw(err.raw_os_error().unwrap_or_default());
                Some(Err(errno.desc().to_owned()))
            }
            Err(err) => {
                self.lacks.note(&err);
                None
            }
        }
    }

    fn table(&mut self, address: Ipv6Addr) -> Option<u32> {
        let netlink = self.netlink.as_mut().ok()?;
        let lacks = &self.lacks;
        let rules = self.rules.get_or_insert_with(|| lacks.ok(netlink.source_rules()).unwrap_or_default());
        rules.iter().find(|rule| rule.from.contains(&address)).map(|rule| rule.table)
    }

    /// The kernel answers for proxied addresses only where it forwards, which hosts mostly do not.
    fn is_answered_for(&mut self, address: Ipv6Addr, link: Option<&str>) -> bool {
        if NDPPD.load(Ordering::Relaxed) != RUNS_NOT {
            return true;
        }
        let Ok(netlink) = self.netlink.as_mut() else { return true };
        let lacks = &self.lacks;
        let proxied = self.proxied.get_or_insert_with(|| lacks.ok(netlink.proxied()).unwrap_or_default());
        let is_set = |key: &str| {
            ["all", link.unwrap_or("all")].iter().any(|of| lacks.is_on(&format!("/proc/sys/net/ipv6/conf/{of}/{key}")))
        };
        proxied.contains(&address) && is_set("proxy_ndp") && is_set("forwarding")
    }

    fn uplinks(&mut self) -> Vec<Leaves> {
        let Ok(netlink) = self.netlink.as_mut() else { return Vec::new() };
        let mut uplinks = Vec::<Leaves>::new();
        for route in self.lacks.ok(netlink.default_routes()).unwrap_or_default() {
            let leaves = Leaves { interface: name(route.interface), gateway: route.gateway };
            if leaves.interface != "lo" && !uplinks.iter().any(|known| known.interface == leaves.interface) {
                uplinks.push(leaves);
            }
        }
        uplinks
    }
}

/// Is IPv6 there and on? An interface without it is nothing unusual; a host without one that has it is.
fn ipv6(held: &io::Result<Vec<Held>>, lacks: &Lacks) -> Ipv6 {
    let held = match held {
        Ok(held) => held,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ipv6::NotInKernel,
        // No word about it.
        Err(_) => return Ipv6::On,
    };
    let off = |of: &str| lacks.is_on(&format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"));
    let key = |of: &str| format!("net.ipv6.conf.{of}.disable_ipv6");
    let whole: Vec<_> = ["all", "lo"].into_iter().filter(|of| off(of)).map(key).collect();
    if !whole.is_empty() {
        return Ipv6::Off(whole);
    }
    if held.iter().any(|held| held.interface != "lo") {
        return Ipv6::On;
    }
    let folders = lacks.ok(std::fs::read_dir("/proc/sys/net/ipv6/conf")).into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    let mut keys: Vec<_> = names.filter(|of| off(of)).map(|of| key(&of)).collect();
    keys.sort();
    if keys.is_empty() { Ipv6::On } else { Ipv6::Off(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No descriptor says nothing of families of sockets, settings or processes.
    #[test]
    fn what_could_not_be_read_for_want_of_descriptors_is_noted() {
        let lacks = Lacks::default();
        assert_eq!(lacks.ok::<()>(Err(io::Error::from(Errno::ENOENT))), None);
        assert_eq!(lacks.0.get(), None);
        assert_eq!(lacks.ok::<()>(Err(io::Error::from(Errno::EMFILE))), None);
        assert_eq!(lacks.ok(Ok(1)), Some(1));
        assert_eq!(lacks.0.get(), Some(Lack::Descriptors));
    }
}
