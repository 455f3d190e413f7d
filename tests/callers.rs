//! The page for callers, `docs/callers.md`: its blocks are run as they stand, with real clients, against `serve --sandbox`.
//!
//! A block is a file of `tests/clients/`. `NAME.sh` is run by bash with nothing in its environment but PATH and HOME,
//! so what it sets is all that the client needs. Only the proxy's address, and the account and client key where it
//! names them, are exchanged for this test's. What the page shows is compared with those files.
//!
//! Not here: what the gateway does with a request once it has it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::net::Place;
use crate::support::process::Process;
use crate::support::python::{client, python};
use crate::support::{node, wait};

/// The demo account's id at the built-in broker.
const CLIENT_ID: &str = "1000000001";
/// How the page writes the listener, and with a client key.
const LISTENER: &str = "http://127.0.0.1:8080";
const WITH_KEY: &str = "http://alpha:client-key@127.0.0.1:8080";

/// A folder as a reader of the page has it: `ca.pem`, `tests/clients/`, and the gateway running.
pub(crate) struct Page {
    gateway: Process,
    pub(crate) folder: TempDir,
    listener: String,
    key: String,
    key_required: bool,
}

impl Page {
    /// With a listener that asks for no client key.
    pub(crate) fn open() -> Self {
        Self::start(false)
    }

    /// With a listener that asks for one.
    pub(crate) fn with_key() -> Self {
        Self::start(true)
    }

    fn start(key_required: bool) -> Self {
        // Installed where there is a way to where it comes from.
        python();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Place::alone().command(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["serve", "--sandbox", "--state", "state"]);
        command.env("SIXGATE_LISTENER_0_ADDRESS", "127.0.0.1:0").env("SIXGATE_ADMIN_ADDRESS", "127.0.0.1:0");
        if key_required {
            command.env("SIXGATE_LISTENER_0_CLIENT_KEY", "required");
        }
        let gateway = Process::start(command, folder.path(), "gateway");
        let mut page = Self { gateway, folder, listener: String::new(), key: String::new(), key_required };
        // The last line that it prints.
        let started = wait::poll(Duration::from_secs(30), || {
            if let Some(status) = page.gateway.ended() {
                panic!("the gateway ended with {status}; it said:\n{}", page.gateway.log());
            }
            page.gateway.output().contains("Ctrl-C").then_some(())
        });
        assert!(started.is_some(), "the gateway did not start; it said:\n{}", page.gateway.log());
        page.listener = page.printed("callers").strip_prefix("http://").unwrap().to_owned();
        page.key = page.printed("key").split(' ').next().unwrap().to_owned();
        let path = page.folder.path();
        fs::copy(page.printed("CA"), path.join("ca.pem")).expect("copy ca.pem");
        let clients = path.join("tests/clients");
        fs::create_dir_all(&clients).unwrap();
        for file in fs::read_dir(client("")).unwrap().map(Result::unwrap).filter(|f| f.file_type().unwrap().is_file()) {
            fs::copy(file.path(), clients.join(file.file_name())).unwrap();
        }
        page
    }

    /// What stands behind a word in the lines that `serve --sandbox` prints.
    pub(crate) fn printed(&self, word: &str) -> String {
        let output = self.gateway.output();
        let found = output.lines().find_map(|line| line.trim_start().strip_prefix(word)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no line {word:?} in:\n{output}")).trim().to_owned()
    }

    /// Give scripts in Node their packages.
    fn with_node_modules(self) -> Self {
        let link = self.folder.path().join("tests/clients/node_modules");
        symlink(node::modules(), link).unwrap();
        self
    }

    fn key_url(&self) -> String {
        format!("http://demo:{}@{}", self.key, self.listener)
    }

    /// A text of the page, with this test's listener and client key.
    fn ours(&self, text: &str) -> String {
        let (host, port) = self.listener.rsplit_once(':').unwrap();
        let plain = if self.key_required { self.key_url() } else { format!("http://{}", self.listener) };
        let ours = text
            .replace(WITH_KEY, &self.key_url())
            .replace(LISTENER, &plain)
            .replace("proxyHost=127.0.0.1", &format!("proxyHost={host}"))
            .replace("proxyPort=8080", &format!("proxyPort={port}"))
            .replace("PROXY_ACCOUNT=alpha", "PROXY_ACCOUNT=demo")
            .replace("PROXY_KEY=client-key", &format!("PROXY_KEY={}", self.key));
        assert_ne!(ours, text, "names no listener");
        for left in [":8080", "=8080", "alpha", "client-key"] {
            assert!(!ours.contains(left), "{left} was not exchanged in:\n{ours}");
        }
        ours
    }

    /// Run a block of the page and require that it succeeds; answers the JSON values that it printed.
    #[track_caller]
    fn run(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(client(file)).unwrap_or_else(|err| panic!("tests/clients/{file}: {err}"));
        let output = self.bash(&self.ours(&text));
        let said = words(&output);
        assert!(output.status.success(), "{file} ended with {}:\n{said}\n{}", output.status, self.gateway.log());
        values(&output)
    }

    /// Run a text, as it is.
    pub(crate) fn bash(&self, text: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        let python = python();
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", text])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", python.parent().unwrap().display()))
            .env("HOME", std::env::var_os("HOME").unwrap_or_else(|| self.folder.path().into()))
            .output()
            .expect("run bash")
    }
}

impl Drop for Page {
    /// By SIGTERM: it takes the demo's addresses off the loopback interface.
    fn drop(&mut self) {
        if self.gateway.ended().is_none() {
            self.gateway.signal(Signal::SIGTERM);
            wait::poll(Duration::from_secs(20), || self.gateway.ended());
        }
    }
}

pub(crate) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The JSON values on standard output, one a line or right behind one another; other lines before them are left out.
pub(crate) fn values(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stdout);
    let start = said.find(['{', '[']).unwrap_or(said.len());
    let found: Result<_, _> = serde_json::Deserializer::from_str(&said[start..]).into_iter().collect();
    found.unwrap_or_else(|err| panic!("{err} in:\n{said}"))
}

/// A program that is not there is a test that proves nothing.
pub(crate) fn need(program: &str, package: &str) {
    let there = std::env::var("PATH").unwrap().split(':').any(|folder| Path::new(folder).join(program).is_file());
    assert!(there, "{program} is missing: apt-get install {package}, as .ci/test does");
}

/// `lives` orders were placed, read by their correlation ids and cancelled, as the demo account.
#[track_caller]
fn assert_orders(lines: &[Value], lives: usize) {
    assert_eq!(lines.len(), lives * 3, "{lines:#?}");
    for life in lines.chunks(3) {
        let steps: Vec<_> = life.iter().map(|line| (line["step"].as_str(), line["status"].as_u64())).collect();
        assert_eq!(steps, [(Some("place"), Some(200)), (Some("read"), Some(200)), (Some("cancel"), Some(200))]);
        assert_life(&life[0]["body"], &life[1]["body"], &life[2]["body"]);
    }
}

/// The broker's three answers are about one order of the demo account, which no caller ever named.
#[track_caller]
fn assert_life(placed: &Value, read: &Value, cancelled: &Value) {
    assert!(placed["orderId"].is_string(), "{placed}");
    assert_eq!((&read["orderId"], &read["dhanClientId"]), (&placed["orderId"], &CLIENT_ID.into()), "{read}");
    assert!(read["correlationId"].is_string(), "{read}");
    assert_eq!((&cancelled["orderId"], &cancelled["orderStatus"]), (&placed["orderId"], &"CANCELLED".into()));
}

/// A block that runs as it stands against both kinds of listener, because its proxy is a URL.
#[track_caller]
fn assert_places_orders_with_and_without_key(file: &str, lives: usize) {
    for page in [Page::open(), Page::with_key()] {
        assert_orders(&page.run(file), lives);
    }
}

#[track_caller]
fn assert_steps(lines: &[Value], expected: &[&str]) {
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_str().unwrap_or_default()).collect();
    assert_eq!(steps, expected, "{lines:#?}");
}

#[test]
fn curl_trades_with_what_the_page_says() {
    need("curl", "curl");
    for page in [Page::open(), Page::with_key()] {
        let answers = page.run("curl.sh");
        assert_eq!(answers.len(), 3, "{answers:#?}");
        assert_life(&answers[0], &answers[1], &answers[2]);
    }
}

/// The page warns of it: many a reader sets HTTP_PROXY and wonders.
#[test]
fn curl_reads_http_proxy_in_lower_case_only() {
    need("curl", "curl");
    let page = Page::open();
    let ask = |variable: &str| {
        page.bash(&page.ours(&format!("{variable}={LISTENER} curl -sS --max-time 20 http://sixgate.invalid/")))
    };

    let (lower, upper) = (ask("http_proxy"), ask("HTTP_PROXY"));

    assert!(words(&lower).contains("destination_denied"), "{}", words(&lower));
    assert_eq!(upper.status.code(), Some(6), "it did not look the name up itself: {}", words(&upper));
}

/// For programs whose only setting is the API's base URL.
#[test]
fn the_listener_can_stand_in_for_the_api() {
    need("curl", "curl");
    for page in [Page::open(), Page::with_key()] {
        let answers = page.run("base_url.sh");
        assert!(answers[0].is_array(), "{answers:#?}");
        assert_orders(&answers[1..], 1);
    }
}

#[test]
fn a_client_key_stands_in_the_proxys_url() {
    assert_orders(&Page::with_key().run("client_key.sh"), 1);
}

/// Without this a caller of an open listener would be let in by any key, and the tests above would prove nothing.
#[test]
fn a_wrong_client_key_is_refused() {
    let page = Page::with_key();
    let wrong = page.ours(&fs::read_to_string(client("client_key.sh")).unwrap()).replace(&page.key, "sgk_wrong");

    let output = page.bash(&wrong);

    assert!(!output.status.success() && words(&output).contains("407"), "{}", words(&output));
}

#[test]
fn the_ca_may_stand_in_a_bundle_with_the_public_roots() {
    assert!(Path::new("/etc/ssl/certs/ca-certificates.crt").exists(), "missing: apt-get install ca-certificates");
    assert_orders(&Page::open().run("bundle.sh"), 1);
}

#[test]
fn requests_trades_with_what_the_page_says() {
    assert_places_orders_with_and_without_key("requests.sh", 2);
}

#[test]
fn httpx_trades_with_what_the_page_says() {
    assert_places_orders_with_and_without_key("httpx.sh", 2);
}

#[test]
fn aiohttp_trades_with_what_the_page_says() {
    assert_places_orders_with_and_without_key("aiohttp.sh", 2);
}

/// The page says so of both; nobody should look for the fault at the gateway.
#[test]
fn aiohttp_and_httpx_read_no_variables_without_trust_env() {
    let page = Page::open();
    let base = "http://sixgate.invalid/v2";
    for (file, with, without) in [
        ("aiohttp_orders.py", "ClientSession(trust_env=True)", "ClientSession()"),
        ("httpx_orders.py", "httpx.Client()", "httpx.Client(trust_env=False)"),
    ] {
        let text = fs::read_to_string(client(file)).unwrap();
        let changed = text.replace(with, without);
        assert_ne!(changed, text, "{file} has no {with}");
        fs::write(page.folder.path().join("changed.py"), changed).unwrap();
        let run = |script: &str| page.bash(&page.ours(&format!("HTTP_PROXY={LISTENER} python {script} {base}")));

        let (kept, changed) = (run(&format!("tests/clients/{file}")), run("changed.py"));

        assert!(words(&kept).contains("destination_denied"), "{file}: {}", words(&kept));
        assert!(!changed.status.success(), "{file}: {}", words(&changed));
        assert!(!words(&changed).contains("destination_denied"), "{file}: {}", words(&changed));
    }
}

#[test]
fn websockets_gets_prices_and_order_updates_with_what_the_page_says() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("websockets.sh");

        assert_steps(&lines, &["ticker", "place", "alert", "cancel", "alert"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        let order = &lines[1]["body"]["orderId"];
        assert!(order.is_string(), "{}", lines[1]);
        assert_eq!((&lines[2]["orderId"], &lines[4]["orderId"]), (order, order));
    }
}

#[test]
fn websocket_client_gets_prices_and_order_updates_with_what_the_page_says() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("websocket_client.sh");

        assert_steps(&lines, &["ticker", "pong", "place", "alert"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        assert_eq!((&lines[1]["opcode"], &lines[1]["payload"]), (&10.into(), &"read?".into()));
        assert_eq!(lines[3]["orderId"], lines[2]["body"]["orderId"]);
    }
}

#[test]
fn nodes_ws_gets_prices_with_what_the_page_says() {
    need("node", "nodejs");
    node::modules();
    for page in [Page::open(), Page::with_key()] {
        let lines = page.with_node_modules().run("node_ws.sh");

        assert_steps(&lines, &["ticker", "closed"]);
        assert_eq!((&lines[0]["code"], &lines[0]["securityId"]), (&2.into(), &11536.into()), "{}", lines[0]);
        assert_eq!(lines[1]["code"], 1000, "the built-in broker's answer to a Close");
    }
}

#[test]
fn the_brokers_sdk_works_unmodified_with_what_the_page_says() {
    for page in [Page::open(), Page::with_key()] {
        let lines = page.run("sdk.sh");

        let orders = ["place", "read", "read by correlation id", "modify", "read again", "cancel", "list"];
        let streams = ["feed", "depth", "alert"];
        assert_steps(&lines, &[orders.as_slice(), &streams].concat());
        for line in &lines[..orders.len()] {
            assert_eq!(line["status"], "success", "{line}");
        }
        assert_eq!(lines[2]["data"]["correlationId"], "sdk-1", "{}", lines[2]);
        let [feed, depth, alert] = [7, 8, 9].map(|at| &lines[at]["data"]);
        assert_eq!((&feed["type"], &feed["security_id"]), (&"Ticker Data".into(), &11536.into()), "{feed}");
        assert_eq!(depth["levels"], 20, "{depth}");
        assert_eq!(alert["orderNo"], alert["placed"], "{alert}");
    }
}

/// Two accounts on one machine: the SDK's client id has to be the one of the listener that it goes through.
#[test]
fn the_sdk_is_told_when_its_client_id_is_another_accounts() {
    let page = Page::open();
    let text = fs::read_to_string(client("sdk.sh")).unwrap().replace(CLIENT_ID, "1000000009");

    let output = page.bash(&page.ours(&text));

    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(values(&output)[0].to_string().contains("client_id_mismatch"), "{}", words(&output));
}

#[test]
fn node_trades_with_what_the_page_says() {
    need("node", "nodejs");
    node::modules();
    for page in [Page::open(), Page::with_key()] {
        assert_orders(&page.with_node_modules().run("node.sh"), 1);
    }
}

/// It marks its requests with `Sec-Fetch-Mode` alone, and a browser's `fetch` never does.
#[test]
fn nodes_own_fetch_is_no_browser() {
    need("node", "nodejs");
    node::modules();
    let lines = Page::with_key().with_node_modules().run("node_fetch.sh");
    assert_eq!((lines.len(), &lines[0]["status"]), (1, &200.into()), "{lines:#?}");

    let page = Page::open().with_node_modules();
    let without = fs::read_to_string(client("node_fetch.sh")).unwrap().replace(WITH_KEY, LISTENER);
    let output = page.bash(&page.ours(&without));

    assert_eq!(values(&output)[0]["status"], 200, "{}", words(&output));
}

#[test]
fn go_trades_with_what_the_page_says() {
    need("go", "golang-go");
    assert_places_orders_with_and_without_key("go.sh", 2);
}

#[test]
fn java_trades_with_what_the_page_says() {
    need("java", "default-jdk-headless");
    need("keytool", "default-jdk-headless");
    assert_orders(&Page::open().run("java.sh"), 2);
}

/// The JDK withholds Basic from tunnels: without the property there is a 407 and no word why.
#[test]
fn java_shows_a_client_key_once_it_may() {
    need("java", "default-jdk-headless");
    let page = Page::with_key();
    assert_orders(&page.run("java_key.sh"), 1);

    let text = page.ours(&fs::read_to_string(client("java_key.sh")).unwrap());
    let withheld = text.replace(" -Djdk.http.auth.tunneling.disabledSchemes=", "").replace("sixgate.p12", "again.p12");
    assert_ne!(withheld, text);
    let output = page.bash(&withheld);

    assert!(!output.status.success(), "{}", words(&output));
    assert_eq!(values(&output)[0]["status"], 407);
}

/// What the page shows and what is tried here must not drift apart: a block behind `<!-- tests/clients/FILE -->` is
/// that file (`.sh`) or some lines of it in a row (a program), and no block of the page goes without.
#[test]
fn the_page_shows_what_these_tests_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/callers.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|err| panic!("{}: {err}", page.display()));
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines.iter().any(|line| line.starts_with("<!-- tests/clients/")),
        "docs/callers.md has no marker <!-- tests/clients/FILE -->: nothing can be compared"
    );

    let mut shown = BTreeSet::new();
    let mut at = 0;
    while let Some(begin) = lines[at..].iter().position(|line| line.starts_with("```")).map(|found| at + found) {
        let marker = begin.checked_sub(1).and_then(|before| lines.get(before)).copied().unwrap_or_default();
        let file = marker.strip_prefix("<!-- tests/clients/").and_then(|rest| rest.strip_suffix(" -->"));
        let file =
            file.unwrap_or_else(|| panic!("the block after {marker:?} has no marker <!-- tests/clients/FILE -->"));
        let length = lines[begin + 1..].iter().position(|line| *line == "```").expect("the block's end");
        let block = &lines[begin + 1..begin + 1 + length];
        let source = fs::read_to_string(client(file)).unwrap_or_else(|err| panic!("tests/clients/{file}: {err}"));
        let source: Vec<_> = source.lines().collect();
        if file.ends_with(".sh") {
            assert_eq!(block, source, "docs/callers.md does not show what tests/clients/{file} is");
        } else {
            let there = !block.is_empty() && source.windows(block.len()).any(|window| window == block);
            assert!(there, "docs/callers.md shows what is not in tests/clients/{file}:\n{}", block.join("\n"));
        }
        shown.insert(file.to_owned());
        at = begin + 2 + length;
    }

    for file in fs::read_dir(client("")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".sh") || shown.contains(&name), "docs/callers.md does not show tests/clients/{name}");
    }
}
