//! What stands between the load and the upstream: nothing, HAProxy, nginx, Squid, or the gateway.
//!
//! Each does the same for the caller: keeps its connection, puts the account's credentials in, and sends the order
//! over a kept TLS connection, with the certificate checked, from the account's primary address. Where a peer does
//! less than the gateway (it asks its caller for no key, reads no body, writes no log, removes nothing) that is to
//! its advantage.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cpu::first_line;
use crate::packages::{self, BEFORE, program};
use crate::support::caller::basic;
use crate::support::{Gateway, Place, Process, Ready, wait_until};
use crate::upstream::{CLIENT_ID, HOST, Seen, Upstream};

/// The account's pair.
pub(crate) const PRIMARY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa1, 0, 0, 0, 0, 1);
pub(crate) const SECONDARY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa2, 0, 0, 0, 0, 1);
/// What is added to the port of those in front of each further upstream.
const PORTS_EACH: u16 = 10;
const HAPROXY_PORT: u16 = 8080;
const NGINX_PORT: u16 = 8081;
/// The gateway's, and the next for its admin API.
const SIXGATE_PORT: u16 = 8082;
const SPINNING_PORT: u16 = 8084;
const SQUID_PORT: u16 = 8086;
const BEFORE_PORT: u16 = 8088;
/// This build's program.
pub(crate) const SIXGATE: &str = env!("CARGO_BIN_EXE_sixgate");
/// Two threads that stay awake would not fit on the peers' one core.
const SPINNING: &str = "[latency]\nspin = true\nspin_hours = \"always\"\nthreads = 1\n";

/// An order as an engine sends it: 307 bytes, with neither client id nor correlation id, which the gateway fills in.
const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","tradingSymbol":"","securityId":"11536","quantity":5,"disclosedQuantity":0,"price":3310.5,"triggerPrice":0.0,"afterMarketOrder":false,"amoTime":"OPEN","boProfitValue":0.0,"boStopLossValue":0.0}"#;

/// A way from the load to the upstream.
pub(crate) struct Peer {
    pub name: &'static str,
    /// Where the load connects.
    pub at: SocketAddr,
    /// Does the load speak TLS there?
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What it sends.
    pub request: Bytes,
    /// Where all its upstream connections must come from; anywhere, if there is none.
    pub leaves_from: Vec<IpAddr>,
    running: Running,
    version: String,
}

enum Running {
    Nothing,
    Program(Process),
    Sixgate(Gateway),
}

impl Peer {
    /// Start one by its name, on the cores that this thread may use.
    pub(crate) fn start(name: &str, upstream: &Upstream, dir: &Path, idle_per_leg: usize) -> Self {
        match name {
            "direct" => direct(upstream),
            "haproxy" => haproxy(upstream, dir),
            "nginx" => nginx(upstream, dir),
            "squid" => squid(upstream, dir),
            "sixgate" => sixgate("sixgate", SIXGATE, (SIXGATE_PORT, ""), upstream, dir, idle_per_leg),
            "sixgate-spin" => sixgate("sixgate-spin", SIXGATE, (SPINNING_PORT, SPINNING), upstream, dir, idle_per_leg),
            BEFORE => {
                let program = packages::program(BEFORE).expect("a program");
                sixgate(BEFORE, program, (BEFORE_PORT, ""), upstream, dir, idle_per_leg)
            }
            other => panic!("there is no peer {other}"),
        }
    }

    /// Its process, if it has one.
    pub(crate) fn process_id(&self) -> Option<u32> {
        match &self.running {
            Running::Nothing => None,
            Running::Program(process) => Some(process.id()),
            Running::Sixgate(gateway) => Some(gateway.id()),
        }
    }

    /// Stop it where it is, until [`Peer::wake`]: one that spins would take the core from the others.
    pub(crate) fn rest(&mut self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn wake(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    /// Does it never sleep?
    pub(crate) fn spins(&self) -> bool {
        self.name == "sixgate-spin"
    }

    fn signal(&mut self, signal: Signal) {
        match &mut self.running {
            Running::Nothing => {}
            Running::Program(process) => process.signal(signal),
            Running::Sixgate(gateway) => gateway.signal(signal),
        }
    }

    /// Was it really done, once each, with the token and from the right address?
    pub(crate) fn check(&self, replies: u64, before: &Seen, after: &Seen) {
        let name = self.name;
        assert_eq!(after.refused, before.refused, "{name}: requests came without the account's credentials");
        assert_eq!(after.requests - before.requests, replies, "{name}: requests at the upstream against replies");
        for (address, count) in &after.connections {
            let new = count - before.connections.get(address).copied().unwrap_or_default();
            assert!(
                new == 0 || self.leaves_from.is_empty() || self.leaves_from.contains(address),
                "{name}: {new} connections came from {address}"
            );
        }
    }

    /// Name and version.
    pub(crate) fn describe(&self) -> (&'static str, String) {
        (self.name, self.version.clone())
    }
}

fn request(target: &str, fields: &str) -> Bytes {
    format!(
        "POST {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\nContent-Type: application/json\r\n\
         {fields}Content-Length: {}\r\n\r\n{ORDER}",
        ORDER.len()
    )
    .into()
}

/// What a caller sends to a proxy.
fn absolute(fields: &str) -> Bytes {
    request(&format!("http://{HOST}/v2/orders"), fields)
}

/// Where a peer in front of this upstream listens.
fn at(port: u16, upstream: &Upstream) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port + PORTS_EACH * (upstream.number() - 1)).into()
}

fn direct(upstream: &Upstream) -> Peer {
    let credentials = format!("access-token: {}\r\nclient-id: {CLIENT_ID}\r\n", upstream.token);
    Peer {
        name: "direct",
        at: upstream.at().into(),
        tls: Some(Arc::clone(&upstream.client)),
        request: request("/v2/orders", &credentials),
        leaves_from: Vec::new(),
        running: Running::Nothing,
        version: "nothing in between; the load speaks TLS".to_owned(),
    }
}

fn haproxy(upstream: &Upstream, dir: &Path) -> Peer {
    let program = program("haproxy").expect("HAProxy is here");
    let config = dir.join("haproxy.cfg");
    std::fs::write(&config, haproxy_config(upstream)).expect("write HAProxy's configuration");
    let mut command = Place::here().command(program);
    command.arg("-db").arg("-f").arg(&config);
    let at = at(HAPROXY_PORT, upstream);
    Peer {
        name: "haproxy",
        at,
        tls: None,
        request: absolute(""),
        // The gateway, which runs beside it, keeps its own warm.
        leaves_from: vec![PRIMARY.into(), SECONDARY.into()],
        running: Running::Program(listening(command, dir, "haproxy", at)),
        version: first_line(program, &["-v"]),
    }
}

/// Start a program and wait until it listens.
fn listening(command: Command, dir: &Path, name: &str, at: SocketAddr) -> Process {
    let mut process = Process::start(command, dir, name);
    wait_until(&format!("{name} listens"), Duration::from_secs(10), || {
        assert!(process.ended().is_none(), "{name} ended; it said:\n{}", process.log());
        Place::here().run(|| async { tokio::net::TcpSocket::new_v6()?.connect(at).await }).is_ok()
    });
    process
}

/// One thread, as it has one core. Connections are kept for longer than a run's pauses.
fn haproxy_config(upstream: &Upstream) -> String {
    format!(
        "global\n    nbthread 1\n    maxconn 4096\n    tune.pool-low-fd-ratio 90\n    tune.pool-high-fd-ratio 95\n\
         defaults\n    mode http\n    timeout connect 3s\n    timeout client 75s\n    timeout server 30s\n\
         \x20   timeout http-keep-alive 75s\n    http-reuse always\n\
         frontend callers\n    bind {here}\n    default_backend broker\n\
         backend broker\n    source [{PRIMARY}]:0\n\
         \x20   http-request set-header access-token {token}\n\
         \x20   http-request set-header client-id {CLIENT_ID}\n\
         \x20   server dhan {at} ssl verify required ca-file {ca} verifyhost {HOST} sni str({HOST}) \
         ssl-min-ver TLSv1.3 pool-purge-delay 60s\n",
        here = at(HAPROXY_PORT, upstream),
        token = upstream.token,
        at = upstream.at(),
        ca = upstream.ca_file.display(),
    )
}

fn nginx(upstream: &Upstream, dir: &Path) -> Peer {
    let program = program("nginx").expect("nginx is here");
    let dir = dir.join("nginx");
    std::fs::create_dir(&dir).expect("a folder for nginx");
    let config = dir.join("nginx.conf");
    std::fs::write(&config, nginx_config(upstream, &dir)).expect("write nginx's configuration");
    let mut command = Place::here().command(program);
    command.arg("-e").arg("stderr").arg("-p").arg(&dir).arg("-c").arg(&config);
    let at = at(NGINX_PORT, upstream);
    Peer {
        name: "nginx",
        at,
        tls: None,
        // It is a server to its callers, no proxy: it does not take the absolute form for another host's.
        request: request("/v2/orders", ""),
        leaves_from: vec![PRIMARY.into(), SECONDARY.into()],
        running: Running::Program(listening(command, &dir, "nginx", at)),
        version: first_line("sh", &["-c", &format!("{program} -v 2>&1")]),
    }
}

/// One process that is master and worker at once, so that its id is that of what works. Its limits are past what a run
/// sends: the defaults close a connection after 1,000 requests. Its user is named because pretend root has no other to
/// give its folders to.
fn nginx_config(upstream: &Upstream, dir: &Path) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("    {name}_temp_path {}/{name};\n", dir.display()))
        .collect();
    format!(
        "user root root;\ndaemon off;\nmaster_process off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n{temporary}\
         \x20   access_log off;\n    keepalive_timeout 75s;\n    keepalive_requests 1000000000;\n\
         \x20   upstream broker {{\n        server {at};\n        keepalive 1024;\n\
         \x20       keepalive_requests 1000000000;\n        keepalive_timeout 75s;\n    }}\n\
         \x20   server {{\n        listen {here};\n\
         \x20       location / {{\n            proxy_pass https://broker;\n            proxy_http_version 1.1;\n\
         \x20           proxy_bind {PRIMARY};\n            proxy_set_header Connection \"\";\n\
         \x20           proxy_set_header Host {HOST};\n            proxy_set_header access-token {token};\n\
         \x20           proxy_set_header client-id {CLIENT_ID};\n            proxy_ssl_verify on;\n\
         \x20           proxy_ssl_trusted_certificate {ca};\n            proxy_ssl_name {HOST};\n\
         \x20           proxy_ssl_server_name on;\n            proxy_ssl_protocols TLSv1.3;\n\
         \x20       }}\n    }}\n}}\n",
        dir = dir.display(),
        here = at(NGINX_PORT, upstream),
        at = upstream.at(),
        token = upstream.token,
        ca = upstream.ca_file.display(),
    )
}

fn squid(upstream: &Upstream, dir: &Path) -> Peer {
    let program = program("squid").expect("Squid is here");
    let dir = dir.join("squid");
    std::fs::create_dir(&dir).expect("a folder for Squid");
    let config = dir.join("squid.conf");
    std::fs::write(&config, squid_config(upstream, &dir)).expect("write Squid's configuration");
    // It refuses to be root, and as anybody else could not read the folder: so it is root outside and nobody inside.
    let mut command = Place::here().command("unshare");
    command.args(["--user", "--map-user=65534", "--map-group=65534", "--", program]);
    // One process, which stays in the foreground and answers no one but callers.
    command.args(["-N", "-u", "0", "-d", "1", "-f"]).arg(&config);
    let at = at(SQUID_PORT, upstream);
    Peer {
        name: "squid",
        at,
        tls: None,
        request: absolute(""),
        leaves_from: vec![PRIMARY.into(), SECONDARY.into()],
        running: Running::Program(listening(command, &dir, "squid", at)),
        version: first_line(program, &["-v"]),
    }
}

/// As a server in front of the broker: as a proxy it would not speak TLS for a caller that does not. It takes a new
/// connection for each order, because it does not send what is not idempotent over one that may just be closing.
fn squid_config(upstream: &Upstream, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "http_port {here} accel defaultsite={HOST} no-vhost\n\
         cache_peer {to} parent {port} 0 no-query no-digest originserver tls tls-cafile={ca} ssldomain={HOST} \
         tls-min-version=1.3 name=broker\n\
         http_access allow all\nnever_direct allow all\ncache_peer_access broker allow all\ncache deny all\n\
         request_header_add access-token {token} all\nrequest_header_add client-id {CLIENT_ID} all\n\
         tcp_outgoing_address {PRIMARY}\nserver_persistent_connections on\nshutdown_lifetime 0 seconds\n\
         access_log none\ncache_log {dir}/cache.log\npid_filename {dir}/squid.pid\ncoredump_dir {dir}\n\
         netdb_filename none\npinger_enable off\nicp_port 0\nsnmp_port 0\n\
         max_filedescriptors 8192\n",
        here = at(SQUID_PORT, upstream),
        to = upstream.at().ip(),
        port = upstream.at().port(),
        ca = upstream.ca_file.display(),
        token = upstream.token,
    )
}

/// `program`, with more of a configuration.
fn sixgate(
    name: &'static str,
    program: &str,
    (port, more): (u16, &str),
    upstream: &Upstream,
    dir: &Path,
    idle_per_leg: usize,
) -> Peer {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).expect("a folder for the gateway");
    let (at, admin) = (at(port, upstream), at(port + 1, upstream));
    // One account sends what the broker would take from thousands. The limits are kept all the
    // same, only with room for it.
    let limits = dir.join("limits.toml");
    let window = "[{ count = 1000000, per = \"1s\" }]";
    let table = format!(
        "checked = \"2026-11-25\"\nmodifications_per_order = 25\noption_chain_every = \"3s\"\n\
         [windows]\norder = {window}\ndata = {window}\nquote = {window}\nother = {window}\n"
    );
    std::fs::write(&limits, table).expect("a table of limits");
    let mut config = String::new();
    let _ = write!(
        config,
        "[[listener]]\naddress = \"{at}\"\nclient_key = \"required\"\n\
         [admin]\naddress = \"{admin}\"\n\
         [limits]\nfile = \"{limits}\"\n\
         [egress]\nextra_roots = [\"{ca}\"]\nidle_per_leg = {idle_per_leg}\n\
         [egress.resolve]\n\"{HOST}\" = [\"{to}\"]\n\
         [log]\nlevel = \"warn\"\n{more}",
        limits = limits.display(),
        ca = upstream.ca_file.display(),
        to = upstream.at(),
    );
    let gateway = gateway(program, &config, upstream, &dir);
    let (status, answer) = gateway.admin().post("/v1/accounts/alpha/keys", &json!({}));
    assert_eq!(status, 201, "make a client key: {answer}");
    let key = answer["key"].as_str().expect("a client key");
    Peer {
        name,
        at,
        tls: None,
        request: absolute(&format!("Proxy-Authorization: {}\r\n", basic("alpha", key))),
        // The secondary has its warm connection.
        leaves_from: vec![PRIMARY.into(), SECONDARY.into()],
        running: Running::Sixgate(gateway),
        version: format!("{}, idle_per_leg = {idle_per_leg}", version(program)),
    }
}

/// A running gateway with the account `alpha`, its token and its pair.
pub(crate) fn gateway(program: &str, config: &str, upstream: &Upstream, dir: &Path) -> Gateway {
    let gateway = Gateway::start_program(Path::new(program), &Place::here(), config, dir, Ready::Readyz, |_| {});
    let admin = gateway.admin();
    let account = json!({
        "name": "alpha", "platform": "DHAN_V2_IPV6", "client_id": CLIENT_ID, "access_token": upstream.token,
    });
    let (status, answer) = admin.post("/v1/accounts", &account);
    assert_eq!(status, 201, "make the account: {answer}");
    let pair = json!({ "primary": PRIMARY.to_string(), "secondary": SECONDARY.to_string() });
    let (status, answer) = admin.post("/v1/accounts/alpha/pair", &pair);
    assert!(status == 200 || status == 201, "assign the pair: {status} {answer}");
    gateway
}

pub(crate) fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output().expect("run sixgate");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
