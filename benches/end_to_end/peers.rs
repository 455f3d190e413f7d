//! What stands between the load and the upstream: nothing, HAProxy, or the gateway.
//!
//! Each does the same for the caller: keeps its connection, puts the account's credentials in, and sends the order
//! over a kept TLS connection, with the certificate checked, from the account's primary address. Where a peer does
//! less than the gateway (it reads no body, writes no log, removes nothing) that is to its advantage.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::cpu::first_line;
use crate::support::{Gateway, Place, Process, wait_until};
use crate::upstream::{CLIENT_ID, HOST, Upstream};

/// The account's pair.
pub const PRIMARY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa1, 0, 0, 0, 0, 1);
pub const SECONDARY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa2, 0, 0, 0, 0, 1);
const HAPROXY_PORT: u16 = 8080;
const SIXGATE_PORT: u16 = 8081;
const ADMIN_PORT: u16 = 8082;

/// An order as an engine sends it: 307 bytes, with neither client id nor correlation id, which the gateway fills in.
const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT","validity":"DAY","tradingSymbol":"","securityId":"11536","quantity":5,"disclosedQuantity":0,"price":3310.5,"triggerPrice":0.0,"afterMarketOrder":false,"amoTime":"OPEN","boProfitValue":0.0,"boStopLossValue":0.0}"#;

/// A way from the load to the upstream.
pub struct Peer {
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
    HaProxy(Process),
    Sixgate(Gateway),
}

impl Peer {
    /// Start one by its name, on the cores that this thread may use.
    pub fn start(name: &str, upstream: &Upstream, dir: &Path, idle_per_leg: usize) -> Self {
        match name {
            "direct" => direct(upstream),
            "haproxy" => haproxy(upstream, dir),
            "sixgate" => sixgate(upstream, dir, idle_per_leg),
            other => panic!("there is no peer {other}"),
        }
    }

    /// Its process, if it has one.
    pub fn process_id(&self) -> Option<u32> {
        match &self.running {
            Running::Nothing => None,
            Running::HaProxy(process) => Some(process.id()),
            Running::Sixgate(gateway) => Some(gateway.id()),
        }
    }

    /// Name and version.
    pub fn describe(&self) -> (&'static str, String) {
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
fn absolute() -> Bytes {
    request(&format!("http://{HOST}/v2/orders"), "")
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
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].into_iter().find(|path| Path::new(path).exists());
    let program = program.expect("HAProxy is compared with: apt-get install haproxy, or --only direct,sixgate");
    let config = dir.join("haproxy.cfg");
    std::fs::write(&config, haproxy_config(upstream)).expect("write HAProxy's configuration");
    let mut command = Place::here().command(program);
    command.arg("-db").arg("-f").arg(&config);
    let mut process = Process::start(command, dir, "haproxy");
    let at = SocketAddr::from((Ipv6Addr::LOCALHOST, HAPROXY_PORT));
    wait_until("HAProxy listens", Duration::from_secs(10), || {
        assert!(process.ended().is_none(), "HAProxy ended; it said:\n{}", process.log());
        Place::here().run(|| async { tokio::net::TcpSocket::new_v6()?.connect(at).await }).is_ok()
    });
    Peer {
        name: "haproxy",
        at,
        tls: None,
        request: absolute(),
        // The gateway, which runs beside it, keeps its own warm.
        leaves_from: vec![PRIMARY.into(), SECONDARY.into()],
        running: Running::HaProxy(process),
        version: first_line(program, &["-v"]),
    }
}

/// One thread, as it has one core. Connections are kept for longer than a run's pauses.
fn haproxy_config(upstream: &Upstream) -> String {
    format!(
        "global\n    nbthread 1\n    maxconn 4096\n    tune.pool-low-fd-ratio 90\n    tune.pool-high-fd-ratio 95\n\
         defaults\n    mode http\n    timeout connect 3s\n    timeout client 75s\n    timeout server 30s\n\
         \x20   timeout http-keep-alive 75s\n    http-reuse always\n\
         frontend callers\n    bind [::1]:{HAPROXY_PORT}\n    default_backend broker\n\
         backend broker\n    source [{PRIMARY}]:0\n\
         \x20   http-request set-header access-token {token}\n\
         \x20   http-request set-header client-id {CLIENT_ID}\n\
         \x20   server dhan {at} ssl verify required ca-file {ca} verifyhost {HOST} sni str({HOST}) \
         ssl-min-ver TLSv1.3 pool-purge-delay 60s\n",
        token = upstream.token,
        at = upstream.at(),
        ca = upstream.ca_file.display(),
    )
}

fn sixgate(upstream: &Upstream, dir: &Path, idle_per_leg: usize) -> Peer {
    let dir = dir.join("sixgate");
    std::fs::create_dir(&dir).expect("a folder for the gateway");
    let at = SocketAddr::from((Ipv6Addr::LOCALHOST, SIXGATE_PORT));
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
        "[[listener]]\naddress = \"{at}\"\naccount = \"alpha\"\n\
         [admin]\naddress = \"[::1]:{ADMIN_PORT}\"\n\
         [limits]\nfile = \"{limits}\"\n\
         [egress]\nextra_roots = [\"{ca}\"]\nidle_per_leg = {idle_per_leg}\n\
         [egress.resolve]\n\"{HOST}\" = [\"{to}\"]\n\
         [log]\nlevel = \"warn\"\n",
        limits = limits.display(),
        ca = upstream.ca_file.display(),
        to = upstream.at(),
    );
    let gateway = gateway(&config, upstream, &dir);
    Peer {
        name: "sixgate",
        at,
        tls: None,
        request: absolute(),
        // The secondary has its warm connection.
        leaves_from: vec![PRIMARY.into(), SECONDARY.into()],
        running: Running::Sixgate(gateway),
        version: format!("{}, idle_per_leg = {idle_per_leg}", version()),
    }
}

/// A running gateway with the account `alpha`, its token and its pair.
pub fn gateway(config: &str, upstream: &Upstream, dir: &Path) -> Gateway {
    let gateway = Gateway::start(&Place::here(), config, dir);
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

pub fn version() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate")).arg("--version").output().expect("run sixgate");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
