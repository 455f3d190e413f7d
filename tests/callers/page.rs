//! A reader of the page for callers: a folder with the page's files, the gateway running, and what a block must have done.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::net::Place;
use crate::support::process::Process;
use crate::support::python::{client, python};
use crate::support::{node, wait};

/// The demo account's id at the built-in broker.
pub(super) const CLIENT_ID: &str = "1000000001";
/// How the page writes the listener, and with a client key.
pub(super) const LISTENER: &str = "http://127.0.0.1:8080";
pub(super) const WITH_KEY: &str = "http://alpha:client-key@127.0.0.1:8080";

/// A folder as a reader of the page has it: `ca.pem`, `tests/clients/`, and the gateway running.
pub(crate) struct Page {
    gateway: Process,
    pub(crate) folder: TempDir,
    listener: String,
    pub(super) key: String,
    key_required: bool,
    /// Folders of programs that go before those of PATH.
    programs: Vec<PathBuf>,
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
        let (listener, key, programs) = (String::new(), String::new(), vec![python().parent().unwrap().to_owned()]);
        let mut page = Self { gateway, folder, listener, key, key_required, programs };
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
    pub(super) fn with_node_modules(self) -> Self {
        let link = self.folder.path().join("tests/clients/node_modules");
        symlink(node::modules(), link).unwrap();
        self
    }

    /// Let blocks find the programs of this folder first.
    pub(super) fn with_programs(mut self, folder: &Path) -> Self {
        self.programs.insert(0, folder.to_owned());
        self
    }

    fn key_url(&self) -> String {
        format!("http://demo:{}@{}", self.key, self.listener)
    }

    /// A text of the page, with this test's listener and client key.
    pub(super) fn ours(&self, text: &str) -> String {
        let (host, port) = self.listener.rsplit_once(':').unwrap();
        let plain = if self.key_required { self.key_url() } else { format!("http://{}", self.listener) };
        let ours = text
            .replace(WITH_KEY, &self.key_url())
            .replace(LISTENER, &plain)
            .replace(&LISTENER.replace("http", "ws"), &plain.replace("http", "ws"))
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
    pub(super) fn run(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(client(file)).unwrap_or_else(|err| panic!("tests/clients/{file}: {err}"));
        let output = self.bash(&self.ours(&text));
        let said = words(&output);
        assert!(output.status.success(), "{file} ended with {}:\n{said}\n{}", output.status, self.gateway.log());
        values(&output)
    }

    /// Run a text, as it is.
    pub(crate) fn bash(&self, text: &str) -> Output {
        let path = PathBuf::from(std::env::var("PATH").unwrap());
        let path = std::env::join_paths(self.programs.iter().cloned().chain(std::env::split_paths(&path))).unwrap();
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", text])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
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

/// PHP with its curl.
pub(crate) fn need_php() {
    need("php", "php-cli");
    let modules = Command::new("php").arg("-m").output().expect("run php");
    let said = String::from_utf8_lossy(&modules.stdout).into_owned();
    assert!(said.lines().any(|line| line == "curl"), "PHP has no curl: apt-get install php-curl, as .ci/test does");
}

/// The program of `tests/clients/tungstenite_updates.rs`, which every build of the tests makes too.
pub(crate) fn tungstenite_updates() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_sixgate")).with_file_name("examples").join("tungstenite_updates");
    assert!(program.exists(), "{} is missing: cargo build --example tungstenite_updates", program.display());
    program
}

/// A price, a pong, and the alert of an order that was placed meanwhile, by tungstenite.
#[track_caller]
pub(crate) fn assert_tungstenite(lines: &[Value]) {
    assert_steps(lines, &["ticker", "pong", "place", "alert"]);
    assert_eq!(lines[0]["what"], json!({ "code": 2, "securityId": 11536 }));
    assert_eq!(lines[1]["what"], "read?");
    assert!(lines[2]["what"]["orderId"].is_string(), "{}", lines[2]);
    assert_eq!(lines[3]["what"], lines[2]["what"]["orderId"]);
}

/// `lives` orders were placed, read by their correlation ids and cancelled, as the demo account.
#[track_caller]
pub(crate) fn assert_orders(lines: &[Value], lives: usize) {
    assert_eq!(lines.len(), lives * 3, "{lines:#?}");
    for life in lines.chunks(3) {
        let steps: Vec<_> = life.iter().map(|line| (line["step"].as_str(), line["status"].as_u64())).collect();
        assert_eq!(steps, [(Some("place"), Some(200)), (Some("read"), Some(200)), (Some("cancel"), Some(200))]);
        assert_life(&life[0]["body"], &life[1]["body"], &life[2]["body"]);
    }
}

/// The broker's three answers are about one order of the demo account, which no caller ever named.
#[track_caller]
pub(super) fn assert_life(placed: &Value, read: &Value, cancelled: &Value) {
    assert!(placed["orderId"].is_string(), "{placed}");
    assert_eq!((&read["orderId"], &read["dhanClientId"]), (&placed["orderId"], &CLIENT_ID.into()), "{read}");
    assert!(read["correlationId"].is_string(), "{read}");
    assert_eq!((&cancelled["orderId"], &cancelled["orderStatus"]), (&placed["orderId"], &"CANCELLED".into()));
}

/// A block that runs as it stands against both kinds of listener, because its proxy is a URL.
#[track_caller]
pub(super) fn assert_places_orders_with_and_without_key(file: &str, lives: usize) {
    for page in [Page::open(), Page::with_key()] {
        assert_orders(&page.run(file), lives);
    }
}

#[track_caller]
pub(crate) fn assert_steps(lines: &[Value], expected: &[&str]) {
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_str().unwrap_or_default()).collect();
    assert_eq!(steps, expected, "{lines:#?}");
}
