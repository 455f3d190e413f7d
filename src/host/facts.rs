//! Finding out what this host is like. Reads; sends nothing.

use std::collections::HashMap;
use std::io;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use ipnet::Ipv6Net;
use jiff::SignedDuration;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::addresses::{self, Held};
use super::explain::Failure;
use super::netlink::{self, Netlink, SourceRule};
use crate::domain::SourceAddr;

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

/// An address, and how the last dial from it failed if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The address.
    pub source: SourceAddr,
    /// How dialling from it fails.
    pub failed: Option<Failure>,
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

/// By which interface something leaves, and through which router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaves {
    pub interface: String,
    pub gateway: Option<Ipv6Addr>,
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
    /// May any address be bound (`net.ipv6.ip_nonlocal_bind`)?
    pub nonlocal_bind: bool,
}

impl Facts {
    /// Look at everything. It reads files and asks the kernel: not on a thread that orders wait for.
    pub fn gather(wants: Wants) -> Self {
        NDPPD.store(if runs("ndppd") { RUNS } else { RUNS_NOT }, Ordering::Relaxed);
        let mut kernel = Kernel::open();
        let looks = kernel.looks(&wants);
        let way = kernel.leaves(None, wants.to);
        Self {
            ipv6: kernel.ipv6.clone(),
            inet6_refused: refused(AddressFamily::Inet6),
            netlink_refused: kernel.netlink.as_ref().err().map(ToString::to_string),
            unix_refused: refused(AddressFamily::Unix),
            needs_unix: wants.needs_unix,
            looks,
            way,
            uplinks: kernel.uplinks(),
            to: wants.to,
            freebind: wants.freebind,
            clock_ahead: wants.clock_ahead,
        }
    }
}

/// Why this process may have no socket of this family.
fn refused(family: AddressFamily) -> Option<String> {
    match socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None) {
        Ok(_) => None,
        // No descriptor, no memory: that says nothing about the family.
        Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => None,
        Err(errno) => Some(errno.desc().to_owned()),
    }
}

/// The kernel, with what it said already.
#[derive(Debug)]
pub(super) struct Kernel {
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
        let held = addresses::held();
        let ipv6 = ipv6(&held);
        let held = held.unwrap_or_default();
        let mut links: Vec<_> =
            held.iter().filter_map(|held| Some((held.on_link()?, held.interface.clone()))).collect();
        links.sort();
        links.dedup();
        Self {
            ipv6,
            netlink: Netlink::open(),
            held: held.into_iter().map(|held| (held.address, held)).collect(),
            links,
            nonlocal_bind: is_on("/proc/sys/net/ipv6/ip_nonlocal_bind"),
            rules: None,
            proxied: None,
        }
    }

    fn looks(&mut self, wants: &Wants) -> Vec<(Wish, Look)> {
        let mut seen = std::collections::HashSet::new();
        let few = wants.wishes.len() <= EACH;
        let chosen = wants.wishes.iter().filter(|wish| {
            let net = u128::from(wish.source.ip()) >> 64;
            few || seen.insert(net) || wish.failed.is_some()
        });
        let chosen: Vec<_> = chosen.take(2 * EACH).copied().collect();
        chosen.into_iter().map(|wish| (wish, self.look(wish.source, wants.to))).collect()
    }

    /// Look at one source and the way from it.
    pub(super) fn look(&mut self, source: SourceAddr, to: Ipv6Addr) -> Look {
        let address = source.ip();
        let on = self.held.get(&address).cloned();
        let link = self.links.iter().find(|(net, _)| net.contains(&address)).map(|(_, interface)| interface.clone());
        let local = self.netlink.as_mut().ok().and_then(|netlink| netlink.is_local(address).ok());
        let leaves = self.leaves(Some(address), to);
        let table = self.table(address);
        let answered_for = link.is_some() && on.is_none() && self.is_answered_for(address, link.as_deref());
        Look {
            ipv6: self.ipv6.clone(),
            local,
            on,
            link,
            leaves,
            table,
            answered_for,
            nonlocal_bind: self.nonlocal_bind,
        }
    }

    fn leaves(&mut self, from: Option<Ipv6Addr>, to: Ipv6Addr) -> Option<Result<Leaves, String>> {
        match self.netlink.as_mut().ok()?.way(from, to) {
            Ok(way) => Some(Ok(Leaves { interface: name(way.interface), gateway: way.gateway })),
            Err(err) if netlink::is_no_way(&err) => {
                let errno = Errno::from_raw(err.raw_os_error().unwrap_or_default());
                Some(Err(errno.desc().to_owned()))
            }
            Err(_) => None,
        }
    }

    fn table(&mut self, address: Ipv6Addr) -> Option<u32> {
        let netlink = self.netlink.as_mut().ok()?;
        let rules = self.rules.get_or_insert_with(|| netlink.source_rules().unwrap_or_default());
        rules.iter().find(|rule| rule.from.contains(&address)).map(|rule| rule.table)
    }

    /// The kernel answers for proxied addresses only where it forwards, which hosts mostly do not.
    fn is_answered_for(&mut self, address: Ipv6Addr, link: Option<&str>) -> bool {
        if NDPPD.load(Ordering::Relaxed) != RUNS_NOT {
            return true;
        }
        let Ok(netlink) = self.netlink.as_mut() else { return true };
        let proxied = self.proxied.get_or_insert_with(|| netlink.proxied().unwrap_or_default());
        let is_set = |key: &str| {
            ["all", link.unwrap_or("all")].iter().any(|of| is_on(&format!("/proc/sys/net/ipv6/conf/{of}/{key}")))
        };
        proxied.contains(&address) && is_set("proxy_ndp") && is_set("forwarding")
    }

    fn uplinks(&mut self) -> Vec<Leaves> {
        let Ok(netlink) = self.netlink.as_mut() else { return Vec::new() };
        let mut uplinks = Vec::<Leaves>::new();
        for route in netlink.default_routes().unwrap_or_default() {
            let leaves = Leaves { interface: name(route.interface), gateway: route.gateway };
            if leaves.interface != "lo" && !uplinks.iter().any(|known| known.interface == leaves.interface) {
                uplinks.push(leaves);
            }
        }
        uplinks
    }
}

/// Is IPv6 there and on? An interface without it is nothing unusual; a host without one that has it is.
fn ipv6(held: &io::Result<Vec<Held>>) -> Ipv6 {
    let held = match held {
        Ok(held) => held,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ipv6::NotInKernel,
        // No word about it.
        Err(_) => return Ipv6::On,
    };
    let off = |of: &str| is_on(&format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6"));
    let key = |of: &str| format!("net.ipv6.conf.{of}.disable_ipv6");
    let whole: Vec<_> = ["all", "lo"].into_iter().filter(|of| off(of)).map(key).collect();
    if !whole.is_empty() {
        return Ipv6::Off(whole);
    }
    if held.iter().any(|held| held.interface != "lo") {
        return Ipv6::On;
    }
    let folders = std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    let mut keys: Vec<_> = names.filter(|of| off(of)).map(|of| key(&of)).collect();
    keys.sort();
    if keys.is_empty() { Ipv6::On } else { Ipv6::Off(keys) }
}

fn is_on(file: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| !matches!(text.trim(), "" | "0"))
}

/// Does a program of this name run, as far as this user may see?
fn runs(program: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm"));
    processes.filter_map(|entry| named(entry).ok()).any(|comm| comm.trim() == program)
}

fn name(interface: u32) -> String {
    let name = nix::net::if_::if_indextoname(interface).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("interface {interface}"))
}
