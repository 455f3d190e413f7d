//! What this host's own files say of names: which servers to ask (`/etc/resolv.conf`) and which names need none
//! (`/etc/hosts`). They are read anew for every lookup, because whatever manages the network changes them while we
//! run: a file that is missing, empty or half-written now may be good in a second, and nobody restarts us for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

use super::family::Family;
use super::question::Unusable;
use crate::egress::guard;

/// The port of name servers that have no other.
const PORT: u16 = 53;
/// Of more servers than this the rest is not asked: one silence after the other, a lookup would take for ever.
const MOST_SERVERS: usize = 8;
/// Nobody's name servers, or names, fill more than this.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Where the two files are, and the port of the servers in the first, which has none.
#[derive(Clone, Debug)]
pub(in crate::egress) struct Files {
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    pub port: u16,
}

impl Default for Files {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into(), port: PORT }
    }
}

/// The name servers to ask, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) struct Servers {
    pub list: Vec<SocketAddr>,
    pub origin: Origin,
}

/// Where servers are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Origin {
    /// `egress.name_servers`.
    Config,
    /// The host's file.
    File(PathBuf),
    /// The file names none; why. As every program does, the one on this host itself is tried.
    Nowhere(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("egress.name_servers"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Nowhere(why) => f.write_str(why),
        }
    }
}

impl Servers {
    /// Those of the configuration, else of the host.
    pub(crate) fn find(configured: &[SocketAddr], files: &Files) -> Self {
        let path = &files.resolv_conf;
        if !configured.is_empty() {
            return Self { list: configured.to_vec(), origin: Origin::Config };
        }
        let text = match read(path) {
            Ok(text) => text,
            Err(err) => return Self::nowhere(format!("{} cannot be read ({err})", path.display())),
        };
        let mut list: Vec<SocketAddr> = Vec::new();
        for server in text.lines().filter_map(|line| server(line, files.port)) {
            if !list.contains(&server) && list.len() < MOST_SERVERS {
                list.push(server);
            }
        }
        match list.is_empty() {
            true => Self::nowhere(format!("{} names no server (no line \"nameserver ...\")", path.display())),
            false => Self { list, origin: Origin::File(path.clone()) },
        }
    }

    /// Are these others, whoever names them? Not a matter of their order: the one that answers is asked first.
    pub(crate) fn is_other_than(&self, other: &Self) -> bool {
        self.list.len() != other.list.len() || self.list.iter().any(|server| !other.list.contains(server))
    }

    fn nowhere(why: String) -> Self {
        let own = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
        Self { list: own.map(|ip| SocketAddr::new(ip, PORT)).to_vec(), origin: Origin::Nowhere(why) }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `nameserver ADDRESS`, where a link-local one has its interface after `%`. Anything else, also half of such a
/// line, names none.
fn server(line: &str, port: u16) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, interface) = address.split_once('%')?;
    let index = interface.parse().or_else(|_| nix::net::if_::if_nametoindex(interface)).ok()?;
    Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, index).into())
}

/// What the hosts file says of `host`: its addresses of this family, but for those that the guard forbids. An entry that leads
/// callers on this host to us (`127.0.0.1`, `::1`) is not meant for us.
pub(super) fn from_hosts(files: &Files, host: &str, family: Family) -> Result<Option<Vec<IpAddr>>, Unusable> {
    let Ok(text) = read(&files.hosts) else { return Ok(None) };
    let mut addresses = Vec::new();
    let mut forbidden = None;
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let Some(address) = address.filter(|address| family.has(*address)) else { continue };
        if !words.any(|name| name.trim_end_matches('.').eq_ignore_ascii_case(host)) {
            continue;
        }
        match guard::forbidden(address) {
            Some(rule) => forbidden = Some(Unusable::Forbidden(address, rule)),
            None => addresses.push(address),
        }
    }
    match forbidden {
        _ if !addresses.is_empty() => Ok(Some(addresses)),
        Some(forbidden) => Err(forbidden),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(resolv_conf: &str, hosts: &str) -> (tempfile::TempDir, Files) {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { resolv_conf: dir.path().join("resolv.conf"), hosts: dir.path().join("hosts"), port: PORT };
        std::fs::write(&files.resolv_conf, resolv_conf).unwrap();
        std::fs::write(&files.hosts, hosts).unwrap();
        (dir, files)
    }

    #[test]
    fn every_way_of_writing_a_server_is_read_and_half_a_line_is_none() {
        let text = "# ours\nsearch example.com\nnameserver 192.0.2.1\n nameserver\t2001:db8::53 # two\nnameserver fe80::1%lo\n\
                    nameserver 192.0.2.1\nnameserver fe80::2%7\nnameserver fe80::1%nowhere\noptions edns0\nnameserver 192.0.";
        let (_dir, files) = files(text, "");
        let lo = nix::net::if_::if_nametoindex("lo").unwrap();
        let expected = ["192.0.2.1:53", "[2001:db8::53]:53", &format!("[fe80::1%{lo}]:53"), "[fe80::2%7]:53"];
        let expected = expected.map(|at| at.parse::<SocketAddr>().unwrap());
        let servers = Servers::find(&[], &files);
        assert_eq!((servers.list.as_slice(), servers.origin), (&expected[..], Origin::File(files.resolv_conf)));
    }

    /// As for every other program: the server on this host itself.
    #[test]
    fn a_file_without_servers_is_said_and_this_host_is_asked() {
        let (dir, files) = files("", "");
        let said = |files: &Files| {
            let Servers { list, origin } = Servers::find(&[], files);
            assert_eq!(list, ["127.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
            origin.to_string()
        };
        assert!(said(&files).contains("names no server"));
        std::fs::remove_file(&files.resolv_conf).unwrap();
        assert!(said(&files).contains("cannot be read (No such file"));
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &files.resolv_conf).unwrap();
        assert!(said(&files).contains("cannot be read"));
        let own = ["[2001:db8::1]:5353".parse().unwrap()];
        assert_eq!(Servers::find(&own, &files), Servers { list: own.to_vec(), origin: Origin::Config });
    }

    #[test]
    fn the_hosts_file_counts_but_not_what_leads_back_to_us() {
        let text = "192.0.2.1 a.example\n4000::1 a.example A.example\n4000::2 x b.example #c.example\n4000::3 a.example\n::1 d.example\n";
        let (_dir, found) = files("", text);
        let of = |host| from_hosts(&found, host, Family::V6);
        assert_eq!(of("a.example"), Ok(Some(vec!["4000::1".parse().unwrap(), "4000::3".parse().unwrap()])));
        assert_eq!((of("c.example"), of("e.example")), (Ok(None), Ok(None)));
        assert!(of("d.example").unwrap_err().to_string().contains("forbidden by rule loopback"));
        let text = "127.0.0.1 a.example\n18.0.0.1 b.example\n4000::1 b.example\n";
        let (_dir, found) = files("", text);
        let of = |host| from_hosts(&found, host, Family::V4);
        assert_eq!(of("b.example"), Ok(Some(vec!["18.0.0.1".parse().unwrap()])));
        assert!(of("a.example").unwrap_err().to_string().contains("forbidden by rule loopback"));
    }
}
