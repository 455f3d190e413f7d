//! A network namespace of the benchmark's own.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Set in a run that was started again as pretend root.
const PRETEND_ROOT: &str = "SIXGATE_BENCH_PRETEND_ROOT";
/// What its loopback interface has: the upstreams, the account's pair.
const ADDRESSES: [&str; 5] =
    ["2001:db8:b::1/128", "2001:db8:b::2/128", "2001:db8:b::3/128", "2001:db8:a1::1/128", "2001:db8:a2::1/128"];

/// Enter it; whoever is not root becomes pretend root for it. Each thread has its own: call it before there is another.
pub(crate) fn enter() {
    if nix::unistd::geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
    } else {
        assert!(std::env::var_os(PRETEND_ROOT).is_none(), "unshare -Urn did not make this process pretend root");
        let own = std::env::current_exe().expect("the path of this program");
        let mut again = Command::new("unshare");
        again.args(["-Urn", "--"]).arg(own).args(std::env::args_os().skip(1)).env(PRETEND_ROOT, "1");
        panic!("cannot start again by {again:?} (it needs user namespaces, or be root): {}", again.exec());
    }
    ip("link set lo up");
    for address in ADDRESSES {
        ip(&format!("-6 address add {address} dev lo nodad"));
    }
}

/// Let thousands of connections a second be made and closed for minutes: a port is free again after a second in place
/// of sixty. The peers' ports stay out of the range.
pub(crate) fn allow_many_connections() {
    set("ip_local_port_range", "10000 65000");
    set("tcp_tw_reuse", "1");
}

/// Hold every address of these prefixes, with none of them configured.
pub(crate) fn hold(prefixes: &[&str]) {
    for prefix in prefixes {
        ip(&format!("-6 route add local {prefix} dev lo"));
    }
}

/// A TCP setting of this namespace, for IPv6 as well as IPv4.
pub(crate) fn set(name: &str, value: &str) {
    let file = format!("/proc/sys/net/ipv4/{name}");
    std::fs::write(&file, value).unwrap_or_else(|err| panic!("cannot write {file}: {err}"));
}

/// Is this the run as pretend root? It cannot install anything, though it looks like root.
pub(crate) fn is_pretend_root() -> bool {
    std::env::var_os(PRETEND_ROOT).is_some()
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.as_ref().is_ok_and(std::process::ExitStatus::success), "ip {arguments}: {done:?}");
}
