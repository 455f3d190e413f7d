//! What stands between the callers and the broker: nothing, HAProxy, a blind tunnel of the gateway, or the gateway.
//!
//! HAProxy ends TLS as the gateway does, puts the account's token into the query and passes bytes on; it reads no frame.
//! In the blind tunnel TLS is between the load and the broker, so that whoever is between passes on what it cannot read.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use crate::broker::{API, AT, Broker, FEED, client_id};
use crate::cpu::first_line;
use crate::load::Way;
use crate::packages::program;
use crate::support::caller::basic;
use crate::support::{Gateway, Place, Process, Ready, wait_until};
use crate::upstream::token;

/// All of them.
pub(crate) const NAMES: [&str; 4] = ["direct", "haproxy", TUNNEL, "sixgate"];
/// The gateway's blind tunnel.
pub(crate) const TUNNEL: &str = "sixgate-tunnel";
/// Sockets of a kind that the broker allows an account.
const EACH: usize = 5;
/// A broker host whose CONNECT is passed on blindly.
const TUNNELLED: &str = "images.dhan.co";
const PRIMARY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa1, 0, 0, 0, 0, 1);

/// A way from the callers to the broker.
pub(crate) struct Peer {
    pub name: &'static str,
    pub way: Way,
    pub version: String,
    running: Running,
}

enum Running {
    Nothing,
    Process(Process),
    Sixgate(Gateway),
}

impl Peer {
    /// Start one by its name, for so many sockets, on the cores that this thread may use, with its files in `dir`.
    pub(crate) fn start(name: &str, broker: &Broker, sockets: usize, dir: &Path) -> Self {
        match name {
            "direct" => direct(broker),
            "haproxy" => haproxy(broker, dir),
            TUNNEL => sixgate(TUNNEL, broker, sockets, dir),
            "sixgate" => sixgate("sixgate", broker, sockets, dir),
            other => panic!("there is no peer {other}"),
        }
    }

    /// Its process, if it has one.
    pub(crate) fn process_id(&self) -> Option<u32> {
        match &self.running {
            Running::Nothing => None,
            Running::Process(process) => Some(process.id()),
            Running::Sixgate(gateway) => Some(gateway.id()),
        }
    }

    /// May its WebSockets come from this address?
    pub(crate) fn may_leave_from(&self, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else { return false };
        // Without anything between, the kernel chooses. Each account has its own primary.
        self.name == "direct" || address.segments()[..7] == PRIMARY.segments()[..7]
    }
}

/// A port that no other peer of this run has.
fn next_at() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(9100);
    SocketAddr::from((Ipv6Addr::LOCALHOST, NEXT.fetch_add(1, Relaxed)))
}

/// What asks for the feed: `target` is what stands before the query.
fn asks(target: &str, token: &str, id: &str, fields: &str) -> String {
    format!(
        "GET {target}/?version=2&token={token}&clientId={id}&authType=2 HTTP/1.1\r\nHost: {FEED}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

fn direct(broker: &Broker) -> Peer {
    let id = client_id(0);
    let way = Way {
        at: AT.into(),
        connect: None,
        tls: Some(Arc::clone(&broker.client)),
        asks: vec![asks("", &token(&id), &id, "")],
    };
    let version = "nothing in between; the load speaks TLS".to_owned();
    Peer { name: "direct", way, version, running: Running::Nothing }
}

fn haproxy(broker: &Broker, dir: &Path) -> Peer {
    let program = program("haproxy").expect("HAProxy is here");
    let (at, id) = (next_at(), client_id(0));
    let config = dir.join("haproxy.cfg");
    // One thread, as it has one core.
    let text = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 3s\n    timeout client 75s\n    timeout server 75s\n\
         \x20   timeout tunnel 1h\n\
         frontend callers\n    bind {at}\n    default_backend broker\n\
         backend broker\n    source [{PRIMARY}]:0\n\
         \x20   http-request set-query version=2&token={token}&clientId={id}&authType=2\n\
         \x20   server dhan {AT} ssl verify required ca-file {ca} verifyhost {FEED} sni str({FEED}) \
         ssl-min-ver TLSv1.3\n",
        token = token(&id),
        ca = broker.ca_file.display(),
    );
    std::fs::write(&config, text).expect("write HAProxy's configuration");
    let mut command = Place::here().command(program);
    command.arg("-db").arg("-f").arg(&config);
    let process = listening(command, dir, at);
    let way = Way { at, connect: None, tls: None, asks: vec![asks("", "x", "9", "")] };
    Peer { name: "haproxy", way, version: first_line(program, &["-v"]), running: Running::Process(process) }
}

/// Start HAProxy and wait until it listens.
fn listening(command: Command, dir: &Path, at: SocketAddr) -> Process {
    let mut process = Process::start(command, dir, "haproxy");
    wait_until("haproxy listens", Duration::from_secs(10), || {
        assert!(process.ended().is_none(), "haproxy ended; it said:\n{}", process.log());
        Place::here().run(|| async { tokio::net::TcpSocket::new_v6()?.connect(at).await }).is_ok()
    });
    process
}

/// With as many accounts as so many sockets need.
fn sixgate(name: &'static str, broker: &Broker, sockets: usize, dir: &Path) -> Peer {
    let at = next_at();
    let mut config = String::new();
    let _ = write!(
        config,
        "[[listener]]\naddress = \"{at}\"\nclient_key = \"required\"\n\
         [admin]\naddress = \"{admin}\"\n\
         [legs]\nwarm = 0\n\
         [proxy]\ntunnel_hosts = [\"{TUNNELLED}\"]\n\
         [egress]\nextra_roots = [\"{ca}\"]\n\
         [egress.resolve]\n\"{API}\" = [\"{AT}\"]\n\"{FEED}\" = [\"{AT}\"]\n\"{TUNNELLED}\" = [\"{AT}\"]\n\
         [log]\nlevel = \"warn\"\n",
        admin = next_at(),
        ca = broker.ca_file.display(),
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sixgate"));
    let gateway = Gateway::start_program(program, &Place::here(), &config, dir, Ready::Readyz, |_| {});
    let shown: Vec<String> = (0..sockets.div_ceil(EACH)).map(|number| account(&gateway, number)).collect();
    let version = first_line(env!("CARGO_BIN_EXE_sixgate"), &["--version"]);
    let id = client_id(0);
    let way = if name == TUNNEL {
        Way {
            at,
            connect: Some(format!("CONNECT {TUNNELLED}:443 HTTP/1.1\r\nHost: {TUNNELLED}:443\r\n{}\r\n", shown[0])),
            tls: Some(Arc::clone(&broker.client)),
            asks: vec![asks("", &token(&id), &id, "")],
        }
    } else {
        let asks = shown.iter().map(|shown| asks(&format!("http://{FEED}"), "x", "9", shown)).collect();
        Way { at, connect: None, tls: None, asks }
    };
    Peer { name, way, version, running: Running::Sixgate(gateway) }
}

/// Make an account with its pair and token; the field that shows its client key.
fn account(gateway: &Gateway, number: usize) -> String {
    let (name, id, admin) = (format!("n{number}"), client_id(number), gateway.admin());
    let made = |path: &str, body: &serde_json::Value| {
        let (status, answer) = admin.post(path, body);
        assert!(status == 200 || status == 201, "POST {path}: {status} {answer}");
        answer
    };
    let token = token(&id);
    made("/v1/accounts", &json!({ "name": name, "platform": "DHAN_V2_IPV6", "client_id": id, "access_token": token }));
    let address = |prefix: u16| Ipv6Addr::new(0x2001, 0xdb8, prefix, 0, 0, 0, 0, 1 + number as u16).to_string();
    let pair = json!({ "primary": address(0xa1), "secondary": address(0xa2) });
    made(&format!("/v1/accounts/{name}/pair"), &pair);
    let key = made(&format!("/v1/accounts/{name}/keys"), &json!({}));
    format!("Proxy-Authorization: {}\r\n", basic(&name, key["key"].as_str().expect("a client key")))
}
