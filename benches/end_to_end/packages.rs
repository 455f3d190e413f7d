//! The programs that the gateway is compared with, and the packages that bring them.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// What Debian's package scripts ask before they start a service; 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// An earlier build of the gateway, or another one, to compare this one with.
pub(crate) const BEFORE: &str = "sixgate-before";

/// Where the program of a peer is, if it is here. Most that come with no package have none; that of [`BEFORE`] is named
/// by `SIXGATE_BEFORE`.
pub(crate) fn program(peer: &str) -> Option<&'static str> {
    static BEFORE_IS: OnceLock<Option<String>> = OnceLock::new();
    if peer == BEFORE {
        return BEFORE_IS.get_or_init(|| std::env::var("SIXGATE_BEFORE").ok()).as_deref();
    }
    let places: &[&str] = match peer {
        "haproxy" => &["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"],
        "nginx" => &["/usr/sbin/nginx", "/usr/local/sbin/nginx"],
        "squid" => &["/usr/sbin/squid", "/usr/local/sbin/squid"],
        _ => &[],
    };
    places.iter().copied().find(|place| Path::new(place).exists())
}

/// Those of `peers` that can be measured here. With `install`, what is missing is installed before; it takes root, and
/// the machine's own network.
pub(crate) fn available(peers: Vec<&'static str>, install: bool) -> Vec<&'static str> {
    let missing = || peers.iter().copied().filter(|peer| package(peer).is_some() && program(peer).is_none());
    if install && missing().next().is_some() {
        install_packages(&missing().filter_map(package).collect::<Vec<_>>());
    }
    for peer in missing() {
        eprintln!(
            "!!! {peer} IS NOT MEASURED: it is not installed (apt-get install {}, or --install as root).{}",
            package(peer).unwrap_or_default(),
            if peer == "haproxy" { " Without it there are no ratios." } else { "" }
        );
    }
    let needs_program = |peer: &str| peer == BEFORE || package(peer).is_some();
    peers.iter().copied().filter(|peer| !needs_program(peer) || program(peer).is_some()).collect()
}

/// The package that brings a peer.
fn package(peer: &str) -> Option<&'static str> {
    match peer {
        "haproxy" => Some("haproxy"),
        "nginx" => Some("nginx"),
        // The one that speaks TLS by OpenSSL, as the other peers do.
        "squid" => Some("squid-openssl"),
        _ => None,
    }
}

fn install_packages(packages: &[&str]) {
    if crate::network::is_pretend_root() || !nix::unistd::geteuid().is_root() {
        eprintln!("!!! --install takes root; nothing is installed");
        return;
    }
    // A service that starts with its package would take ports and time of this machine.
    let _no_service = NoService::begin();
    for arguments in [vec!["update", "-qq"], [&["install", "-y", "-qq", "--no-install-recommends"], packages].concat()]
    {
        let done = Command::new("apt-get").args(&arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
        if !done.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("!!! apt-get {}: {done:?}", arguments.join(" "));
        }
    }
}

/// While it lives no package starts a service.
struct NoService {
    ours: bool,
}

impl NoService {
    fn begin() -> Self {
        // One that is there is the administrator's, and is left as it is.
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        let ours = file.and_then(|mut file| std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n"));
        Self { ours: ours.is_ok() }
    }
}

impl Drop for NoService {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
