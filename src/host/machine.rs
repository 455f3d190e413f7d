//! What a doctor reads of this host beside addresses and routes: settings, limits, files, sockets. Reads; sends nothing.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;

use super::addresses::{self, Held};
use super::folder::Folder;
use super::links::{self, Link};
use super::netlink::{MAIN, Netlink};
use super::own::Own;
use super::sockets::{self, Listening};
use super::system::{Boot, System};
use super::way::Leaves;

/// What the gateway needs to know of its host.
#[derive(Clone, Debug)]
pub struct MachineQuery {
    /// An address outside.
    pub to: Ipv6Addr,
    /// The broker's hosts, which `/etc/hosts` may have.
    pub hosts: Vec<String>,
    /// `state.path`.
    pub state: Option<PathBuf>,
    /// What listeners and the admin API are, or will be, bound to.
    pub binds: Vec<SocketAddr>,
}

/// What was read. `None` where nothing could be.
#[derive(Debug)]
pub struct Machine {
    pub(super) system: System,
    pub(super) boot: Boot,
    pub(super) held: Vec<Held>,
    pub(super) links: Option<Vec<Link>>,
    pub(super) own: Own,
    /// Routers next to this host, by their own word or as the next hop of a default route.
    pub(super) routers: Vec<Leaves>,
    /// Interfaces with a default route that a router advertised.
    pub(super) advertised: Vec<String>,
    /// Is there a default route for what no rule leads elsewhere?
    pub(super) has_default: Option<bool>,
    pub(super) settings: Vec<Settings>,
    pub(super) proxied: Vec<Ipv6Addr>,
    pub(super) programs: HashSet<String>,
    pub(super) clock_synchronised: bool,
    /// `IPv6_rpfilter` of firewalld, where that is installed.
    pub(super) firewalld: Option<String>,
    pub(super) kernel: String,
    pub(super) ports: Option<(u32, u32)>,
    pub(super) neighbours: Option<u64>,
    pub(super) route_cache: Option<u64>,
    pub(super) tracked: Option<(u64, u64)>,
    pub(super) time_wait: HashMap<Ipv6Addr, usize>,
    pub(super) listening: Option<Vec<Listening>>,
    pub(super) binds: Vec<SocketAddr>,
    /// Names of the broker that `/etc/hosts` has.
    pub(super) overrides: Vec<(String, IpAddr)>,
    pub(super) container: Option<String>,
    /// What the kernel refused, of what sockets need.
    pub(super) lacks_features: Vec<String>,
    pub(super) state: Option<Folder>,
}

/// What the kernel was told of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) interface: String,
    pub(super) forwarding: bool,
    pub(super) proxy_ndp: bool,
    /// 0 none, 1 unless it forwards, 2 always.
    pub(super) accept_ra: u8,
}

impl Machine {
    /// Look. It reads files and asks the kernel: not on a thread that orders wait for.
    pub fn read(query: &MachineQuery) -> Self {
        let root = Path::new("/");
        let mut machine = Self {
            system: System::find(root),
            boot: Boot::read(root),
            held: addresses::held().unwrap_or_default(),
            links: None,
            own: Own::read(query.to, query.binds.iter().filter_map(ipv6)),
            routers: Vec::new(),
            advertised: Vec::new(),
            has_default: None,
            settings: settings(),
            proxied: Vec::new(),
            programs: programs(),
            clock_synchronised: Path::new("/run/systemd/timesync/synchronized").exists(),
            firewalld: firewalld(),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            ports: text("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| pair(&text)),
            neighbours: number("/proc/sys/net/ipv6/neigh/default/gc_thresh3"),
            route_cache: number("/proc/sys/net/ipv6/route/max_size"),
            tracked: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
            time_wait: sockets::time_wait(),
            listening: sockets::listening(),
            binds: query.binds.clone(),
            overrides: overrides(&query.hosts),
            container: container(),
            lacks_features: lacks_features(),
            state: query.state.as_deref().map(Folder::read),
        };
        if let Ok(mut netlink) = Netlink::open() {
            machine.read_netlink(&mut netlink);
        }
        machine
    }

    fn read_netlink(&mut self, netlink: &mut Netlink) {
        self.links = links::links(netlink).ok();
        self.proxied = netlink.proxied().unwrap_or_default();
        let defaults = netlink.default_routes().ok();
        self.has_default = defaults.as_ref().map(|routes| routes.iter().any(|route| route.table == MAIN));
        let defaults = defaults.unwrap_or_default();
        self.advertised = defaults.iter().filter(|route| route.advertised).map(|route| name(route.interface)).collect();
        let next_hops = defaults.iter().filter_map(|route| Some((route.interface, route.gateway?)));
        let mut routers: Vec<_> = next_hops.chain(netlink.routers().unwrap_or_default()).collect();
        // A router says of itself that it is one; an address of its own that is not link-local serves as well.
        routers.sort_by_key(|(interface, address)| (*interface, !address.is_unicast_link_local(), *address));
        routers.dedup();
        let leaves = |(interface, gateway)| Leaves { interface: name(interface), gateway: Some(gateway) };
        self.routers = routers.into_iter().map(leaves).collect();
    }

    /// The router of an interface, or the only one there is.
    pub(super) fn router(&self, interface: Option<&str>) -> Option<&Leaves> {
        let on = |leaves: &&Leaves| interface.is_none_or(|interface| leaves.interface == interface);
        let mut found = self.routers.iter().filter(on);
        let first = found.next()?;
        found.all(|other| other.interface == first.interface).then_some(first)
    }

    /// Does a program of one of these names run?
    pub(super) fn runs(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.programs.contains(*name))
    }

    /// Interfaces that lead out of this host, as far as a default route says.
    pub(super) fn settings_of(&self, interface: &str) -> Option<&Settings> {
        self.settings.iter().find(|settings| settings.interface == interface)
    }
}

fn ipv6(at: &SocketAddr) -> Option<Ipv6Addr> {
    match at {
        SocketAddr::V6(at) => Some(*at.ip()),
        SocketAddr::V4(_) => None,
    }
}

pub(super) fn name(interface: u32) -> String {
    let name = nix::net::if_::if_indextoname(interface).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| format!("interface {interface}"))
}

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let mut words = text.split_ascii_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn settings() -> Vec<Settings> {
    let folders = std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    let all_proxy = number("/proc/sys/net/ipv6/conf/all/proxy_ndp") == Some(1);
    let of = |interface: String| {
        let value = |key: &str| number(&format!("/proc/sys/net/ipv6/conf/{interface}/{key}")).unwrap_or_default();
        Settings {
            forwarding: value("forwarding") != 0,
            proxy_ndp: all_proxy || value("proxy_ndp") != 0,
            accept_ra: u8::try_from(value("accept_ra")).unwrap_or_default(),
            interface,
        }
    };
    let real = |interface: &String| !matches!(interface.as_str(), "all" | "default" | "lo");
    names.filter(real).map(of).collect()
}

/// The names of all programs that this user may see.
fn programs() -> HashSet<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit());
    let named = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).ok();
    processes.filter(is_process).filter_map(named).map(|comm| comm.trim().to_owned()).collect()
}

fn firewalld() -> Option<String> {
    let text = text("/etc/firewalld/firewalld.conf")?;
    let value = |line: &str| line.trim().strip_prefix("IPv6_rpfilter=").map(|value| value.trim().to_ascii_lowercase());
    Some(text.lines().find_map(value).unwrap_or_else(|| "yes".to_owned()))
}

fn overrides(hosts: &[String]) -> Vec<(String, IpAddr)> {
    let mut found = Vec::new();
    for line in text("/etc/hosts").unwrap_or_default().lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        for word in words {
            let word = word.trim_end_matches('.').to_ascii_lowercase();
            if hosts.contains(&word) {
                found.push((word, address));
            }
        }
    }
    found
}

fn container() -> Option<String> {
    if let Some(text) = text("/run/systemd/container").filter(|text| !text.is_empty()) {
        return Some(text);
    }
    let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    marks.iter().find(|(mark, _)| Path::new(mark).exists()).map(|(_, what)| (*what).to_owned())
}

/// The options of sockets that the gateway sets on each. Nothing is bound.
fn lacks_features() -> Vec<String> {
    let Ok(socket) = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None) else {
        // That is a check of its own.
        return Vec::new();
    };
    let free = socket.set_freebind_v6(true).map_err(|err| format!("IPV6_FREEBIND ({err})"));
    let port = setsockopt(&socket, IpBindAddressNoPort, &true);
    let port = port.map_err(|err| format!("IP_BIND_ADDRESS_NO_PORT ({})", err.desc()));
    [free, port].into_iter().filter_map(Result::err).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As whoever runs the tests: nothing here takes a privilege.
    #[test]
    fn this_host_lets_itself_be_read() {
        let state = tempfile::tempdir().unwrap();
        let query = MachineQuery {
            to: "2000::".parse().unwrap(),
            hosts: vec!["api.dhan.co".to_owned()],
            state: Some(state.path().to_owned()),
            binds: Vec::new(),
        };
        let machine = Machine::read(&query);
        assert!(machine.links.as_ref().is_some_and(|links| links.iter().any(|link| link.name == "lo")));
        assert!(machine.ports.is_some_and(|(low, high)| low < high), "{machine:?}");
        assert!(machine.listening.is_some() && machine.state.is_some() && !machine.kernel.is_empty());
        assert!(!machine.programs.is_empty());
        assert_eq!(machine.lacks_features, Vec::<String>::new());
    }

    #[test]
    fn a_routers_name_is_needed_only_where_there_are_several() {
        let leaves =
            |interface: &str, gateway: &str| Leaves { interface: interface.to_owned(), gateway: gateway.parse().ok() };
        let state = MachineQuery { to: Ipv6Addr::LOCALHOST, hosts: Vec::new(), state: None, binds: Vec::new() };
        let mut machine = Machine::read(&state);
        machine.routers = vec![leaves("eth0", "fe80::1"), leaves("eth0", "2001:db8::1")];
        assert_eq!(machine.router(None), Some(&leaves("eth0", "fe80::1")));
        machine.routers.push(leaves("eth1", "fe80::2"));
        assert_eq!(machine.router(None), None);
        assert_eq!(machine.router(Some("eth1")), Some(&leaves("eth1", "fe80::2")));
    }
}
