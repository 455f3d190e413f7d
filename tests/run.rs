//! `sixgate run`: real programs, led by their environment or in a namespace of their own, against `serve --sandbox`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::net::Place;
use crate::support::process::Process;
use crate::support::python::{client, python};
use crate::support::{node, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// The demo account's id at the built-in broker.
const CLIENT_ID: &str = "1000000001";

mod programs;

/// A gateway with its broker, and a person's shell beside it.
struct Demo {
    gateway: Process,
    folder: TempDir,
}

impl Demo {
    /// Does the listener ask for a client key?
    fn start(key_required: bool) -> Self {
        // Installed where there is a way to where it comes from.
        python();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Place::alone().command(env!("CARGO_BIN_EXE_sixgate"));
        // Not `state`: commands in this folder would take it for that of a gateway of their own.
        command.args(["serve", "--sandbox", "--state", "demo-state"]);
        command.env("SIXGATE_LISTENER_0_ADDRESS", "127.0.0.1:0").env("SIXGATE_ADMIN_ADDRESS", "127.0.0.1:0");
        command.env("XDG_RUNTIME_DIR", folder.path()).env("TMPDIR", folder.path());
        if key_required {
            command.env("SIXGATE_LISTENER_0_CLIENT_KEY", "required");
        }
        let gateway = Process::start(command, folder.path(), "gateway");
        let mut demo = Self { gateway, folder };
        let started = wait::poll(LIMIT, || {
            if let Some(status) = demo.gateway.ended() {
                panic!("the gateway ended with {status}; it said:\n{}", demo.gateway.log());
            }
            demo.gateway.output().contains("Ctrl-C").then_some(())
        });
        assert!(started.is_some(), "the gateway did not start; it said:\n{}", demo.gateway.log());
        let clients = demo.folder.path().join("tests/clients");
        fs::create_dir_all(&clients).unwrap();
        for file in fs::read_dir(client("")).unwrap().map(Result::unwrap).filter(|f| f.file_type().unwrap().is_file()) {
            fs::copy(file.path(), clients.join(file.file_name())).unwrap();
        }
        demo
    }

    /// A program of the person's shell.
    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env_clear();
        command.env("PATH", format!("{}:{path}", python().parent().unwrap().display()));
        command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| self.folder.path().into()));
        command.env("XDG_RUNTIME_DIR", self.folder.path()).env("TMPDIR", self.folder.path()).stdin(Stdio::null());
        // Of an earlier setting, which must not lead past the gateway.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("ALL_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "*");
        command
    }

    /// `sixgate run demo ... -- ...`
    fn run(&self, options: &[&str], command: &[&str]) -> Command {
        let mut run = self.command(env!("CARGO_BIN_EXE_sixgate"));
        run.args(["run", "demo"]).args(options).arg("--").args(command);
        run
    }

    /// Run it, and require that it succeeds; the JSON values that it printed.
    #[track_caller]
    fn values(&self, options: &[&str], command: &[&str]) -> Vec<Value> {
        let output = self.run(options, command).output().unwrap();
        let ended = output.status.success();
        assert!(ended, "{options:?} {command:?}: {}\n{}\n{}", output.status, words(&output), self.gateway.log());
        self.assert_nothing_is_left();
        let said = String::from_utf8_lossy(&output.stdout);
        let start = said.find(['{', '[']).unwrap_or(said.len());
        let found: Result<_, _> = serde_json::Deserializer::from_str(&said[start..]).into_iter().collect();
        found.unwrap_or_else(|err| panic!("{err} in:\n{said}"))
    }

    /// Another command of sixgate's; its output.
    fn sixgate(&self, arguments: &[&str]) -> String {
        let output = self.command(env!("CARGO_BIN_EXE_sixgate")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The admin API, where commands find it.
    fn admin(&self) -> String {
        let files = fs::read_dir(self.folder.path().join("sixgate")).unwrap().map(|entry| entry.unwrap().path());
        let file = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
        let found: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        found["gateway"]["admin"].as_str().unwrap().to_owned()
    }

    /// Keys that were made for runs.
    fn keys_of_runs(&self) -> usize {
        self.sixgate(&["key", "list", "demo"]).matches("sixgate run, process").count()
    }

    fn folders_of_runs(&self) -> usize {
        let folder = fs::read_dir(self.folder.path().join("sixgate")).unwrap();
        folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run-")).count()
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        assert_eq!((self.keys_of_runs(), self.folders_of_runs()), (0, 0));
    }
}

impl Drop for Demo {
    /// By SIGTERM: it takes the demo's addresses off the loopback interface.
    fn drop(&mut self) {
        if self.gateway.ended().is_none() {
            self.gateway.signal(Signal::SIGTERM);
            wait::poll(Duration::from_secs(20), || self.gateway.ended());
        }
    }
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An order was placed, read by its correlation id and cancelled, as the demo account.
#[track_caller]
fn assert_life(steps: &[Value]) {
    let told: Vec<_> = steps.iter().map(|step| (step["step"].as_str(), step["status"].as_u64())).collect();
    assert_eq!(
        told,
        [(Some("place"), Some(200)), (Some("read"), Some(200)), (Some("cancel"), Some(200))],
        "{steps:#?}"
    );
    let [placed, read, cancelled] = [0, 1, 2].map(|at| &steps[at]["body"]);
    assert_eq!((&read["orderId"], &read["dhanClientId"]), (&placed["orderId"], &CLIENT_ID.into()), "{read}");
    assert_eq!((&cancelled["orderId"], &cancelled["orderStatus"]), (&placed["orderId"], &"CANCELLED".into()));
}

const BY_ENVIRONMENT: &[&str] = &[];
const ISOLATED: &[&str] = &["--isolate"];

/// Programs of `tests/clients` that place one order, none of which is changed for it.
const PROGRAMS: [&[&str]; 4] = [
    &["python", "tests/clients/requests_orders.py", "https://api.dhan.co/v2"],
    &["python", "tests/clients/httpx_orders.py", "https://api.dhan.co/v2"],
    &["python", "tests/clients/aiohttp_orders.py", "https://api.dhan.co/v2"],
    &["go", "run", "tests/clients/go_orders.go", "https://api.dhan.co/v2"],
];

/// Engines as they are must trade, and the key that lets them in must be gone with them.
#[test]
fn python_and_go_trade_by_their_environment_and_isolated() {
    for key_required in [true, false] {
        let demo = Demo::start(key_required);
        for program in PROGRAMS {
            assert_life(&demo.values(BY_ENVIRONMENT, program));
            assert_life(&demo.values(ISOLATED, program));
        }
    }
}

/// What knows no proxy goes past one without a word; in a namespace it cannot.
#[test]
fn programs_that_know_no_proxy_trade_isolated() {
    let demo = Demo::start(true);
    assert_life(&demo.values(ISOLATED, &["python", "tests/clients/http_client_orders.py"]));
    // Node's own fetch, with no package.
    let script = "const reply = await fetch('https://api.dhan.co/v2/orders'); \
                  console.log(JSON.stringify({ status: reply.status, body: await reply.json() }));";
    let list = demo.values(ISOLATED, &["node", "--input-type=module", "-e", script]);
    assert_eq!(list[0]["status"], 200, "{list:?}");
    assert_eq!(list[0]["body"].as_array().map(Vec::len), Some(1), "{list:?}");
    // Without TLS, too.
    let list = demo.values(ISOLATED, &["curl", "-sS", "--fail-with-body", "http://api.dhan.co/v2/orders"]);
    assert_eq!(list[0].as_array().map(Vec::len), Some(1), "{list:?}");
}

#[test]
fn node_trades_by_its_environment_and_isolated() {
    node::modules();
    let demo = Demo::start(true);
    symlink(node::modules(), demo.folder.path().join("tests/clients/node_modules")).unwrap();
    for options in [BY_ENVIRONMENT, ISOLATED] {
        assert_life(&demo.values(options, &["node", "tests/clients/node_orders.mjs"]));
        let list = demo.values(options, &["node", "tests/clients/node_fetch.mjs"]);
        assert_eq!(list[0]["status"], 200, "{list:?}");
    }
}

/// Its trust store is made on the way. It cannot be given a key by its environment, so that is for listeners without one.
#[test]
fn java_trades_by_its_environment_and_isolated() {
    let program = ["java", "tests/clients/JavaOrders.java"];
    let demo = Demo::start(false);
    assert_life(&demo.values(BY_ENVIRONMENT, &program));
    assert_life(&Demo::start(true).values(ISOLATED, &program));
}

/// The public roots are in it too: an engine also talks to others.
#[test]
fn java_s_trust_store_holds_the_public_roots_and_ours() {
    let demo = Demo::start(false);
    let script = "store=$(echo \"$JAVA_TOOL_OPTIONS\" | sed \"s/.*trustStore='\\([^']*\\)'.*/\\1/\")\n\
                  unset JAVA_TOOL_OPTIONS\n\
                  keytool -list -storetype PKCS12 -keystore \"$store\" -storepass changeit | grep -c trustedCertEntry\n\
                  grep -c BEGIN \"$SSL_CERT_FILE\"";
    let output = demo.run(BY_ENVIRONMENT, &["bash", "-euo", "pipefail", "-c", script]).output().unwrap();
    let counts: Vec<u32> =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()).collect();
    assert!(matches!(counts[..], [java, bundle] if java == bundle && java > 100), "{counts:?} {}", words(&output));
}

#[test]
fn streams_and_the_sdk_work_by_the_environment_and_isolated() {
    let demo = Demo::start(true);
    for (number, options) in [BY_ENVIRONMENT, ISOLATED].into_iter().enumerate() {
        let steps = demo.values(options, &["python", "tests/clients/websockets_updates.py"]);
        let told: Vec<_> = steps.iter().map(|line| line["step"].as_str().unwrap_or_default()).collect();
        assert_eq!(told, ["ticker", "place", "alert", "cancel", "alert"], "{steps:#?}");
        let id = format!("sdk-run-{number}");
        let steps = demo.values(options, &["python", "tests/clients/sdk_orders.py", CLIENT_ID, &id]);
        assert!(steps.iter().all(|step| step["status"] == "success"), "{steps:#?}");
        let steps = demo.values(options, &["python", "tests/clients/sdk_updates.py", CLIENT_ID]);
        assert_eq!(steps.len(), 3, "{steps:#?}");
    }
}

const ORDER: &str = r#"{"transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY","orderType":"LIMIT",
    "validity":"DAY","securityId":"11536","quantity":5,"price":3310.5}"#;

/// curl by its environment, with and without TLS; and nothing secret where every user of the host can read it.
#[test]
fn curl_trades_and_no_argument_holds_the_key() {
    let demo = Demo::start(true);
    let script = format!(
        "for scheme in http https; do curl -sS --fail-with-body -H 'Content-Type: application/json' \
         $scheme://api.dhan.co/v2/orders -d '{ORDER}'; done\n\
         echo \"$https_proxy\" >&2; tr '\\0' ' ' < /proc/$PPID/cmdline >&2"
    );
    let output = demo.run(BY_ENVIRONMENT, &["bash", "-euc", &script]).output().unwrap();
    let said = words(&output);
    assert!(output.status.success() && said.matches("orderId").count() == 2, "{said}");
    let key = said.split_once("http://demo:").unwrap().1.split_once('@').unwrap().0;
    assert!(key.starts_with("sgk_"), "{said}");
    assert_eq!(said.matches(key).count(), 1, "in the environment alone: {said}");
    assert!(!demo.gateway.log().contains(key) && !demo.gateway.output().contains(key));
    demo.assert_nothing_is_left();

    let list =
        format!("curl -sS -o /dev/null -w '%{{http_code}}' -x http://demo:{key}@LISTENER http://api.dhan.co/v2/orders");
    let listener = demo.gateway.output();
    let listener = listener.split_once("http://").unwrap().1.split_whitespace().next().unwrap();
    let output =
        demo.command("bash").args(["-c", &list.replace("LISTENER", listener)]).env("NO_PROXY", "").output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "407",
        "the key opens nothing after the run: {}",
        words(&output)
    );
}

/// Who looks whether an engine is connected sees when it last was, by what, and as which program.
#[test]
fn the_last_request_is_told_by_the_api_the_command_and_the_metrics() {
    let demo = Demo::start(false);
    let account = || serde_json::from_str::<Value>(&demo.sixgate(&["account", "show", "demo", "--json"])).unwrap();
    assert_eq!(account()["last_request"], Value::Null);
    assert!(demo.sixgate(&["account", "show", "demo"]).contains("none since the gateway was started"));
    let order =
        format!("curl -sS -A engine/7 -H 'Content-Type: application/json' http://api.dhan.co/v2/orders -d '{ORDER}'");
    demo.values(BY_ENVIRONMENT, &["bash", "-euc", &order]);
    let last = account()["last_request"].clone();
    assert_eq!((&last["class"], &last["program"]), (&"order".into(), &"engine/7".into()), "{last}");
    assert!(last["listener"].as_str().unwrap().starts_with("127.0.0.1:"), "{last}");
    let at: jiff::Timestamp = last["at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(at) < jiff::SignedDuration::from_secs(60), "{last}");
    assert!(demo.sixgate(&["account", "show", "demo"]).contains("order by 127.0.0.1:"), "the command");
    let metrics = demo.command("curl").args(["-sS", "--noproxy", "*", &format!("{}/metrics", demo.admin())]).output();
    let metrics = metrics.unwrap();
    let metrics = words(&metrics);
    assert!(metrics.contains(&format!("sixgate_last_request_timestamp_seconds {}", at.as_second())), "{metrics}");
    assert!(metrics.contains("sixgate_accounts_without_request 0"), "{metrics}");
}

/// One line for each way that was tried, with what came of it.
const WAYS_OUT: &str = r#"
import os, socket, subprocess, sys
def tried(name, way):
    try:
        way()
        print(name, "OUT", flush=True)
    except Exception as err:
        print(name, "shut", type(err).__name__, err, flush=True)
def to(host, port):
    def way():
        with socket.create_connection((host, port), timeout=5) as s:
            assert s.recv(5) == b"hello", "nobody there"
    return way
port, allowed, named = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
tried("gateway", to("127.0.0.1", port))
tried("gateway-v6", to("::1", port))
tried("outside", to("192.0.2.1", 443))
tried("name", to("example.com", 443))
def datagram():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("192.0.2.1", 53)); s.send(b"x")
tried("datagram", datagram)
def abstract():
    socket.socket(socket.AF_UNIX).connect("\0sixgate-test-" + str(port))
tried("abstract", abstract)
def join():
    for space in ("net", "user"):
        subprocess.run(["nsenter", "-t", str(os.getppid()), "--" + space, "true"], check=True, capture_output=True)
tried("join", join)
def other_hosts():
    subprocess.run(["umount", "/etc/hosts"], check=True, capture_output=True); socket.getaddrinfo("api.dhan.co", 443); raise OSError("no route")
tried("hosts", other_hosts)
tried("allowed", to("127.0.0.1", allowed))
tried("allowed-name", to(named, allowed))
"#;

/// An engine that goes past the gateway trades from an address that the broker does not know.
#[test]
fn nothing_leads_out_of_a_namespace_but_what_is_allowed() {
    let demo = Demo::start(true);
    let greet = |at: &str| {
        let listener = TcpListener::bind(at).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.and_then(|mut stream| stream.write_all(b"hello"));
            }
        });
        port
    };
    let (port, allowed) = (greet("127.0.0.1:0"), greet("127.0.0.1:0"));
    let name = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(format!("sixgate-test-{port}")).unwrap()
    };
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&name).unwrap();
    fs::write(demo.folder.path().join("ways.py"), WAYS_OUT).unwrap();
    let (port, at) = (port.to_string(), allowed.to_string());
    let command = ["python", "ways.py", &port, &at, "localhost"];

    // Without a namespace the way is open, or the test below proves nothing.
    let open = words(&demo.run(BY_ENVIRONMENT, &command).output().unwrap());
    assert!(open.contains("gateway OUT") && open.contains("abstract OUT"), "{open}");

    let allow = format!("127.0.0.1:{allowed}");
    let output = demo.run(&["--isolate", "--allow", &allow], &command).output().unwrap();
    let said = words(&output);
    let of = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {said}")).to_owned()
    };
    for shut in ["gateway", "gateway-v6", "outside", "name", "datagram", "abstract", "join", "hosts"] {
        assert!(of(shut).contains(" shut "), "{said}");
    }
    for out in ["allowed", "allowed-name"] {
        assert!(of(out).ends_with(" OUT"), "{said}");
    }
    let refused = demo.run(&["--isolate", "--allow", "api.dhan.co:443"], &["true"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
    assert!(words(&refused).contains("through the gateway only"), "{}", words(&refused));
    demo.assert_nothing_is_left();
}

/// The way of who is not root: in a user namespace in which it is itself.
#[test]
fn who_is_not_root_has_a_namespace_too() {
    let demo = Demo::start(true);
    let sixgate = env!("CARGO_BIN_EXE_sixgate");
    let mut run = demo.command("unshare");
    run.args(["--user", "--map-user=1000", "--map-group=1000", "--", sixgate, "run", "demo", "--isolate", "--"]);
    let script = "id -u; exec python tests/clients/http_client_orders.py";
    let output = run.args(["sh", "-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let (uid, steps) = said.split_once('\n').unwrap_or_else(|| panic!("{}", words(&output)));
    assert_eq!(uid, "1000", "{}", words(&output));
    let steps: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(steps).into_iter().collect();
    assert_life(&steps.unwrap());
}

#[test]
fn a_host_that_forbids_namespaces_is_told_what_to_change() {
    let demo = Demo::start(true);
    let sixgate = env!("CARGO_BIN_EXE_sixgate");
    // As root of a user namespace one may forbid what is below it.
    let script =
        format!("echo 0 > /proc/sys/user/max_net_namespaces; exec {sixgate} run demo --isolate -- echo started");
    let output = demo.command("unshare").args(["-Ur", "sh", "-c", &script]).output().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("sysctl -w user.max_net_namespaces=") && !said.contains("started"), "{said}");
    demo.assert_nothing_is_left();
}

/// A shell's script, cron or systemd must see how the engine ended, and not how its wrapper did.
#[test]
fn it_ends_as_its_command_does() {
    let demo = Demo::start(true);
    for options in [BY_ENVIRONMENT, ISOLATED] {
        for (command, code) in [
            (&["sh", "-c", "exit 0"][..], 0),
            (&["sh", "-c", "exit 7"], 7),
            (&["sh", "-c", "kill -TERM $$"], 143),
            (&["sh", "-c", "kill -KILL $$"], 137),
            (&["./nowhere"], 127),
            (&["/etc/passwd"], 126),
        ] {
            let output = demo.run(options, command).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{options:?} {command:?}: {}", words(&output));
            demo.assert_nothing_is_left();
        }
    }
    let none = demo.command(env!("CARGO_BIN_EXE_sixgate")).args(["run", "nobody", "--", "true"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1), "{}", words(&none));
}

/// A command that waits for its standard input to end.
const WAITS: &str = "echo ready; while read line; do echo \"read $line\"; done; exit 3";
/// One that reads a line and then waits for a signal: a shell hears none before its `read` or its child ends.
const HEARS: &str =
    "trap 'echo got TERM; kill $!; exit 5' TERM; echo ready; read line; sleep 1000 & echo \"read $line\"; wait $!";

fn started(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut out), "ready");
    (child, out)
}

fn line(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn signals_go_on_to_the_command_and_its_input_is_its_own() {
    let demo = Demo::start(true);
    for options in [BY_ENVIRONMENT, ISOLATED] {
        let (mut child, mut out) = started(demo.run(options, &["bash", "-c", HEARS]));
        assert_eq!(demo.keys_of_runs(), 1);
        child.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
        assert_eq!(line(&mut out), "read a line");
        signal(&child, Signal::SIGTERM);
        assert_eq!(line(&mut out), "got TERM");
        assert_eq!(child.wait().unwrap().code(), Some(5));
        demo.assert_nothing_is_left();
    }
}

/// Killed, it cannot clean up. Its key stays while the command may use it, and the next run deletes it.
#[test]
fn what_a_killed_run_left_the_next_one_takes_away() {
    let demo = Demo::start(true);
    let (mut child, mut out) = started(demo.run(BY_ENVIRONMENT, &["bash", "-c", WAITS]));
    let mut stdin = child.stdin.take().unwrap();
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    assert!(demo.run(BY_ENVIRONMENT, &["true"]).status().unwrap().success());
    assert_eq!((demo.keys_of_runs(), demo.folders_of_runs()), (1, 1), "its command goes on");
    stdin.write_all(b"still there\n").unwrap();
    assert_eq!(line(&mut out), "read still there");
    drop(stdin);
    // The end of its output is the end of the command.
    out.read_to_string(&mut String::new()).unwrap();
    wait::wait_until("the next run takes it away", LIMIT, || {
        assert!(demo.run(BY_ENVIRONMENT, &["true"]).status().unwrap().success());
        (demo.keys_of_runs(), demo.folders_of_runs()) == (0, 0)
    });
}

/// In a namespace the command has no way out any more, and could not know: it is told to stop.
#[test]
fn a_namespace_ends_with_what_carries_its_connections() {
    let demo = Demo::start(true);
    let (mut child, mut out) = started(demo.run(ISOLATED, &["bash", "-c", HEARS]));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a line\n").unwrap();
    assert_eq!(line(&mut out), "read a line");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    assert_eq!(line(&mut out), "got TERM");
}

/// Nobody notices an engine that goes past the gateway, before the broker refuses its orders.
#[test]
fn a_command_that_sends_nothing_is_told_so() {
    for key_required in [true, false] {
        let demo = Demo::start(key_required);
        for options in [BY_ENVIRONMENT, ISOLATED] {
            let options = [options, &["--notice-after", "200ms"]].concat();
            let (mut child, _out) = started(demo.run(&options, &["bash", "-c", WAITS]));
            let mut told = BufReader::new(child.stderr.take().unwrap());
            let notice = line(&mut told);
            assert!(notice.contains("bash has sent no request of demo"), "{notice}");
            drop(child.stdin.take());
            assert_eq!(child.wait().unwrap().code(), Some(3));
        }
    }
}

/// The page's blocks, as they stand.
#[test]
fn the_blocks_of_the_page_run_as_they_stand() {
    let demo = Demo::start(true);
    let sixgate = Path::new(env!("CARGO_BIN_EXE_sixgate")).parent().unwrap().display().to_string();
    for block in ["run.sh", "run_isolate.sh"] {
        let text = fs::read_to_string(client(block)).unwrap().replace("sixgate run alpha", "sixgate run demo");
        let script = format!("PATH={sixgate}:$PATH\n{text}");
        let output = demo.command("bash").args(["-euo", "pipefail", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{block}: {}", words(&output));
        let steps: Vec<Value> =
            serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
        assert_life(&steps);
    }
}
