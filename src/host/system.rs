//! What configures this host's network, and what its files say of addresses: read, never changed.

use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv6Net;

/// What configures the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    /// Ubuntu's, which writes files for one of the next two.
    Netplan,
    /// systemd-networkd.
    Networkd,
    /// NetworkManager.
    NetworkManager,
    /// Debian's `/etc/network/interfaces`.
    Ifupdown,
    /// None of them, and systemd.
    Systemd,
    /// None of them.
    Bare,
}

impl System {
    /// Its name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Netplan => "netplan",
            Self::Networkd => "systemd-networkd",
            Self::NetworkManager => "NetworkManager",
            Self::Ifupdown => "ifupdown",
            Self::Systemd => "systemd",
            Self::Bare => "ip",
        }
    }

    /// That of the host whose root folder this is.
    pub(super) fn find(root: &Path) -> Self {
        let is_there = |path: &str| root.join(path).exists();
        let has = |folder: &str, ending: &str| {
            let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
            entries.into_iter().any(|entry| entry.path().extension().is_some_and(|known| known == ending))
        };
        // Folders of systemd are in many containers that it does not run in (sd_booted(3)).
        let runs_systemd = is_there("run/systemd/system");
        if has("etc/netplan", "yaml") {
            Self::Netplan
        } else if is_there("run/NetworkManager") {
            Self::NetworkManager
        } else if runs_systemd && (is_there("run/systemd/netif") || has("etc/systemd/network", "network")) {
            Self::Networkd
        } else if is_there("etc/network/interfaces") {
            Self::Ifupdown
        } else if runs_systemd {
            Self::Systemd
        } else {
            Self::Bare
        }
    }
}

/// Folders and files that are read when a host starts, by whichever system.
const PLACES: [&str; 11] = [
    "etc/network/interfaces",
    "etc/network/interfaces.d",
    "etc/systemd/network",
    "run/systemd/network",
    "etc/systemd/system",
    "lib/systemd/system/sixgate-routes.service.d",
    "etc/netplan",
    "etc/NetworkManager/system-connections",
    "etc/NetworkManager/dispatcher.d",
    "etc/rc.local",
    "etc/local.d",
];
/// The unit of the package, which makes the pools' routes before the gateway starts.
const UNIT: &str = "sixgate-routes.service";
/// The unit of the gateway itself.
const GATEWAY_UNIT: &str = "sixgate.service";
/// Nobody's network configuration is larger.
const LONGEST: u64 = 256 * 1024;
/// Nor deeper.
const DEEPEST: usize = 3;

/// What is made when the host starts.
#[derive(Clone, Debug, Default)]
pub(super) struct Boot {
    /// Every address or prefix that a file names.
    named: Vec<Ipv6Net>,
    /// Files that only root can read.
    pub(super) unreadable: Vec<PathBuf>,
    /// Is the package's unit here, and does it run at the start?
    pub(super) unit: Option<bool>,
    /// Is the gateway itself started by a unit?
    pub(super) gateway_unit: bool,
}

impl Boot {
    /// Read the files below this root folder.
    pub(super) fn read(root: &Path) -> Self {
        let mut boot = Self::default();
        for place in PLACES {
            boot.look(&root.join(place), DEEPEST);
        }
        let folders = ["lib/systemd/system", "usr/lib/systemd/system", "etc/systemd/system"];
        let is_installed = |unit: &str| folders.iter().any(|folder| root.join(folder).join(unit).exists());
        boot.gateway_unit = is_installed(GATEWAY_UNIT);
        if is_installed(UNIT) {
            let wants = ["multi-user.target.wants", "network.target.wants", "sixgate.service.wants"];
            let enabled = wants.iter().any(|wants| root.join("etc/systemd/system").join(wants).join(UNIT).exists());
            boot.unit = Some(enabled);
        }
        boot
    }

    fn look(&mut self, path: &Path, deep: usize) {
        use std::io::Read as _;
        if path.is_dir() {
            match std::fs::read_dir(path) {
                Ok(entries) if deep > 0 => entries.flatten().for_each(|entry| self.look(&entry.path(), deep - 1)),
                Ok(_) => {}
                Err(err) => self.note(path, &err),
            }
            return;
        }
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
        match read {
            Ok(_) => self.named.extend(named(&String::from_utf8_lossy(&bytes))),
            Err(err) => self.note(path, &err),
        }
    }

    fn note(&mut self, path: &Path, err: &io::Error) {
        if err.kind() == io::ErrorKind::PermissionDenied {
            self.unreadable.push(path.to_owned());
        }
    }

    /// Does a file make a route of this prefix, or of a larger one?
    pub(super) fn keeps_prefix(&self, prefix: Ipv6Net) -> bool {
        self.named.iter().any(|named| named.addr() == named.network() && named.contains(&prefix))
    }

    /// Does a file give this very address to an interface?
    pub(super) fn keeps_address(&self, address: Ipv6Addr) -> bool {
        self.named.iter().any(|named| named.addr() == address)
    }
}

/// The addresses and prefixes of a file, but for its comments.
fn named(text: &str) -> Vec<Ipv6Net> {
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_hexdigit() && !matches!(c, ':' | '/' | '.')));
    let net = |word: &str| {
        // YAML ends a key with a colon.
        let word = word.strip_suffix(':').filter(|rest| !rest.ends_with(':')).unwrap_or(word);
        let address = || word.parse::<Ipv6Addr>().ok().map(Ipv6Net::from);
        word.contains(':').then(|| word.parse::<Ipv6Net>().ok().or_else(address)).flatten()
    };
    words.filter_map(net).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn each_system_is_told_from_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let is = |system| assert_eq!(System::find(root), system);
        is(System::Bare);
        std::fs::create_dir_all(root.join("run/systemd/system")).unwrap();
        is(System::Systemd);
        write(root, "etc/network/interfaces", "auto lo\n");
        is(System::Ifupdown);
        write(root, "etc/systemd/network/10-eth0.network", "[Match]\nName=eth0\n");
        is(System::Networkd);
        std::fs::create_dir_all(root.join("run/NetworkManager")).unwrap();
        is(System::NetworkManager);
        write(root, "etc/netplan/50-cloud.yaml", "network:\n");
        is(System::Netplan);
    }

    /// Told wrongly, somebody is sent to mend what is well, or learns at the next restart.
    #[test]
    fn an_address_in_a_file_is_kept_and_one_in_a_comment_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let prefix = |text: &str| text.parse::<Ipv6Net>().unwrap();
        assert!(!Boot::read(root).keeps_prefix(prefix("2001:db8:a1::/64")));
        write(root, "etc/network/interfaces", "# up ip -6 route add local 2001:db8:a3::/64 dev lo\n");
        write(root, "etc/network/interfaces.d/sixgate", "  up ip -6 route replace local 2001:db8:a1::/64 dev lo\n");
        write(root, "etc/systemd/network/lo.network", "[Route]\nDestination=2001:db8:a2::/48\nType=local\n");
        write(root, "etc/netplan/1.yaml", "addresses: [\"2001:db8:a4::7/128\", 2001:db8:a5::9/64]\n2001:db8:a6::1:\n");
        let boot = Boot::read(root);
        for (net, kept) in [("a1::/64", true), ("a2::/64", true), ("a3::/64", false), ("a5::/64", false)] {
            assert_eq!(boot.keeps_prefix(prefix(&format!("2001:db8:{net}"))), kept, "{net}");
        }
        for (address, kept) in [("a4::7", true), ("a5::9", true), ("a5::8", false), ("a6::1", true)] {
            assert_eq!(boot.keeps_address(format!("2001:db8:{address}").parse().unwrap()), kept, "{address}");
        }
        assert_eq!((boot.unreadable.len(), boot.unit, boot.gateway_unit), (0, None, false));
    }

    #[test]
    fn the_packages_unit_counts_where_it_is_enabled() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "usr/lib/systemd/system/sixgate-routes.service", "[Service]\n");
        assert_eq!(Boot::read(root).unit, Some(false));
        write(root, "etc/systemd/system/multi-user.target.wants/sixgate-routes.service", "[Service]\n");
        assert_eq!(Boot::read(root).unit, Some(true));
        write(root, "etc/systemd/system/sixgate.service", "[Service]\n");
        assert!(Boot::read(root).gateway_unit);
    }
}
