//! Relays between the load and the plain upstream: the floor, HAProxy without HTTP, and the gateway.
//!
//! HAProxy and the gateway send from the account's primary address; the floor leaves that to the kernel. Only the
//! gateway is asked where to (by `CONNECT`), and only it looks up an account.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cpu::first_line;
use crate::load::Way;
use crate::orders::{PRIMARY, SIXGATE, gateway, version};
use crate::plain;
use crate::support::{Gateway, Place, Process, wait_until};
use crate::upstream::{HOST, Upstream};

/// All relays of this kind.
pub(crate) const NAMES: [&str; 3] = ["floor", "haproxy", "sixgate"];
/// A broker host whose CONNECT is passed on blindly.
const TUNNELLED: &str = "images.dhan.co";

/// A running relay.
pub(crate) struct Peer {
    pub name: &'static str,
    /// Where the load connects.
    pub at: SocketAddr,
    /// What it sends first, if anything, to be answered with 200.
    pub greeting: Option<String>,
    /// Where all its upstream connections must come from; anywhere, if there is none.
    pub leaves_from: Option<IpAddr>,
    pub version: String,
    running: Running,
}

enum Running {
    Process(Process),
    Sixgate(Gateway),
}

impl Peer {
    /// Start one by its name, on the cores that this thread may use, with its files in `dir`.
    pub(crate) fn start(name: &str, upstream: &Upstream, dir: &Path) -> Self {
        match name {
            "floor" => floor(dir),
            "haproxy" => haproxy(dir),
            "sixgate" => sixgate(upstream, dir),
            other => panic!("there is no relay {other}"),
        }
    }

    pub(crate) fn way(&self) -> Way {
        Way::new(self.at, self.greeting.as_deref())
    }

    pub(crate) fn process_id(&self) -> u32 {
        match &self.running {
            Running::Process(process) => process.id(),
            Running::Sixgate(gateway) => gateway.id(),
        }
    }
}

/// A port that no other peer of this run has, below those that connections leave from.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(9100);
    let port = NEXT.fetch_add(1, Relaxed);
    assert!(port < crate::EPHEMERAL.0, "fewer rounds: each starts peers with ports of their own");
    port
}

fn next_at() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, next_port()))
}

fn started(command: Command, dir: &Path, name: &str, at: SocketAddr) -> Process {
    let mut process = Process::start(command, dir, name);
    wait_until(&format!("{name} relays"), Duration::from_secs(10), || {
        assert!(process.ended().is_none(), "{name} ended; it said:\n{}", process.log());
        // A byte there and back: of a connection that is only made, the upstream would hear at some later time.
        let tunnel = || async {
            let mut stream = tokio::net::TcpSocket::new_v6()?.connect(at).await?;
            stream.write_all(&[0]).await?;
            stream.read_u8().await
        };
        Place::here().run(tunnel).is_ok()
    });
    process
}

fn floor(dir: &Path) -> Peer {
    let at = next_at();
    let mut command = Place::here().command(std::env::current_exe().expect("the path of this program"));
    command.args(["floor", &at.to_string(), &plain::AT.to_string()]);
    Peer {
        name: "floor",
        at,
        greeting: None,
        leaves_from: None,
        version: "splice(2), one thread".to_owned(),
        running: Running::Process(started(command, dir, "floor", at)),
    }
}

fn haproxy(dir: &Path) -> Peer {
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|path| Path::new(path).exists());
    let program = program.expect("HAProxy is compared with: apt-get install haproxy, or --only floor,sixgate");
    let at = next_at();
    let config = dir.join("haproxy.cfg");
    // One thread, as it has one core.
    let text = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode tcp\n    timeout connect 3s\n    timeout client 75s\n    timeout server 75s\n\
         listen tunnels\n    bind {at}\n    source [{PRIMARY}]:0\n    server upstream {to}\n",
        to = plain::AT,
    );
    std::fs::write(&config, text).expect("write HAProxy's configuration");
    let mut command = Place::here().command(program);
    command.arg("-db").arg("-f").arg(&config);
    Peer {
        name: "haproxy",
        at,
        greeting: None,
        leaves_from: Some(PRIMARY.into()),
        version: first_line(program, &["-v"]),
        running: Running::Process(started(command, dir, "haproxy", at)),
    }
}

fn sixgate(upstream: &Upstream, dir: &Path) -> Peer {
    let at = next_at();
    let mut config = String::new();
    let _ = write!(
        config,
        "[[listener]]\naddress = \"{at}\"\naccount = \"alpha\"\n\
         [admin]\naddress = \"{admin}\"\n\
         [proxy]\ntunnel_hosts = [\"{TUNNELLED}\"]\n\
         [egress]\nextra_roots = [\"{ca}\"]\n\
         [egress.resolve]\n\"{HOST}\" = [\"{broker}\"]\n\"{TUNNELLED}\" = [\"{to}\"]\n\
         [log]\nlevel = \"warn\"\n",
        admin = next_at(),
        ca = upstream.ca_file.display(),
        broker = upstream.at(),
        to = plain::AT,
    );
    Peer {
        name: "sixgate",
        at,
        greeting: Some(format!("CONNECT {TUNNELLED}:443 HTTP/1.1\r\nHost: {TUNNELLED}:443\r\n\r\n")),
        leaves_from: Some(PRIMARY.into()),
        version: version(SIXGATE),
        running: Running::Sixgate(gateway(SIXGATE, &config, upstream, dir)),
    }
}
