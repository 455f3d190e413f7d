//! Sockets of this host, from `/proc/net/tcp` and `tcp6`, which need no privilege.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const LISTEN: &str = "0A";
const TIME_WAIT: &str = "06";

/// A listener, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) at: SocketAddr,
    pub(super) user: u32,
}

impl Listening {
    /// Can nobody else listen at this address while this one does?
    pub(super) fn takes(&self, wanted: SocketAddr) -> bool {
        let same = self.at.ip() == wanted.ip();
        // One for all addresses of IPv6 takes those of IPv4 as well, unless it was told not to, which is not seen here.
        let one_is_all = self.at.ip().is_unspecified() || wanted.ip().is_unspecified();
        let alike = self.at.is_ipv6() == wanted.is_ipv6() || self.at.is_ipv6() && self.at.ip().is_unspecified();
        self.at.port() == wanted.port() && wanted.port() != 0 && (same || one_is_all && alike)
    }
}

/// All listeners; `None` where the kernel shows none of its lists.
pub(super) fn listening() -> Option<Vec<Listening>> {
    let lists = ["tcp", "tcp6"].map(list);
    if lists.iter().all(Option::is_none) {
        return None;
    }
    let of = |text: String| lines(&text, LISTEN).map(|(at, user)| Listening { at, user }).collect::<Vec<_>>();
    Some(lists.into_iter().flatten().flat_map(of).collect())
}

/// How many ports of each local address are held back after a connection ended.
pub(super) fn time_wait() -> HashMap<Ipv6Addr, usize> {
    let mut count = HashMap::new();
    for (at, _) in lines(&list("tcp6").unwrap_or_default(), TIME_WAIT) {
        if let IpAddr::V6(ip) = at.ip() {
            *count.entry(ip).or_default() += 1;
        }
    }
    count
}

/// Who has the local sockets of an address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOwner {
    /// This process has one of them at least.
    ThisProcess,
    /// Other programs of this host have all of them.
    AnotherProgram,
    /// There is none in this network, or the kernel does not say whose it is.
    NotKnown,
}

/// Who has the sockets of this host whose own end is `at`. Two may have the same, to different other ends.
pub fn owner_of_socket(at: SocketAddr) -> SocketOwner {
    let lists = if at.is_ipv6() { ["tcp6", "tcp6"] } else { ["tcp", "tcp6"] };
    // An IPv4 address of a socket of both families stands in the list of IPv6.
    let mapped = |ip: IpAddr| ip.to_canonical() == at.ip().to_canonical();
    let mut inodes = Vec::new();
    for text in lists.into_iter().filter_map(list) {
        inodes.extend(text.lines().skip(1).filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let found = local(words.nth(1)?)?;
            // Sockets that nobody has any more have none.
            let inode = words.nth(7)?.parse::<u64>().ok().filter(|inode| *inode != 0)?;
            (found.port() == at.port() && mapped(found.ip())).then_some(inode)
        }));
    }
    let own = |descriptor: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(descriptor.ok()?.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    match std::fs::read_dir("/proc/self/fd") {
        Ok(mut descriptors) if !inodes.is_empty() => {
            let ours = descriptors.any(|descriptor| own(descriptor).is_some_and(|inode| inodes.contains(&inode)));
            if ours { SocketOwner::ThisProcess } else { SocketOwner::AnotherProgram }
        }
        Ok(_) | Err(_) => SocketOwner::NotKnown,
    }
}

/// Of this thread's network, as its sockets are.
fn list(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).ok()
}

fn lines(text: &str, state: &str) -> impl Iterator<Item = (SocketAddr, u32)> {
    text.lines().skip(1).filter_map(move |line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let user = words.get(7)?.parse().ok()?;
        (*words.get(3)? == state).then(|| Some((local(words.get(1)?)?, user)))?
    })
}

/// `ADDRESS:PORT` in hex, the address in words of 32 bits as this machine has them.
fn local(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..address.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 16]>::try_from(bytes.as_slice()) {
        Ok(octets) => IpAddr::from(Ipv6Addr::from(octets)),
        Err(_) => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_ours_is_seen_and_takes_its_port() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(at).unwrap();
            let at = listener.local_addr().unwrap();
            let seen = listening().unwrap();
            let ours = seen.iter().find(|seen| seen.at == at).unwrap();
            assert_eq!(ours.user, nix::unistd::geteuid().as_raw());
            assert!(ours.takes(at));
            assert!(!ours.takes(SocketAddr::new(at.ip(), at.port() ^ 1)));
        }
    }

    /// A connection of the gateway's own that was taken for another program's would be answered by the gateway itself.
    #[test]
    fn the_owner_of_a_socket_is_told() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(at).unwrap();
            let to = listener.local_addr().unwrap();
            assert_eq!(owner_of_socket(to), SocketOwner::ThisProcess);
            drop(listener);
            assert_eq!(owner_of_socket(to), SocketOwner::NotKnown, "nobody has it");

            let listener = std::net::TcpListener::bind(at).unwrap();
            let (host, port) = (to.ip().to_string(), listener.local_addr().unwrap().port().to_string());
            let script = "import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2]))); s.recv(1)";
            let mut program = std::process::Command::new("python3").args(["-c", script, &host, &port]).spawn().unwrap();
            let (stream, peer) = listener.accept().unwrap();
            assert_eq!(owner_of_socket(peer), SocketOwner::AnotherProgram);
            drop(stream);
            program.wait().unwrap();
        }
    }

    #[test]
    fn one_that_listens_to_all_takes_the_port_of_each() {
        let listening = |at: &str| Listening { at: at.parse().unwrap(), user: 0 };
        for (held, wanted, taken) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::1]:80", "[::2]:80", false),
        ] {
            assert_eq!(listening(held).takes(wanted.parse().unwrap()), taken, "{held} {wanted}");
        }
        assert!(local("nonsense").is_none() && local("0:0").is_none());
    }
}
