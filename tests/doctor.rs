//! `sixgate doctor` on the real binary, without a capability, in namespaces: what can be made wrong there is made wrong,
//! the advice is followed as it stands, and then nothing is found any more.

mod addresses;
mod gateway;
mod limits;
mod lines;
mod names;
mod routers;

use std::collections::BTreeMap;
use std::net::SocketAddrV6;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sixgate::domain::tasks::Tasks;
use sixgate::host::checks;
use sixgate::sandbox::{Options, Sandbox};

use crate::support::Net;
use crate::support::etc::Etc;
use crate::support::net::{Ns, NsRuntime, PRIMARY, SECONDARY};
use crate::support::wait_until;
use crate::support::world::pins;

/// A machine that runs other tests is slow.
const SOON: Duration = Duration::from_secs(60);

/// How `unshare` starts it: among processes of its own, since it looks for programs that other tests run too.
const ALONE: [&str; 8] =
    ["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];

/// A host before there is a gateway on it, and a broker behind two lines.
struct Host {
    broker: Sandbox,
    dir: tempfile::TempDir,
    net: Net,
    etc: Etc,
    /// What starts the doctor, before the rest of its command line.
    before: Vec<String>,
    runtime: NsRuntime,
}

/// The configuration of pools of both prefixes, and no gateway that was ever started.
fn config(more: &str) -> String {
    format!(
        "[state]\npath = \"{{dir}}/state\"\n[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"a1\"\n\
         [[pool]]\nname = \"main\"\nprimary = \"{PRIMARY}\"\nsecondary = \"{SECONDARY}\"\n\
         [egress]\nextra_roots = [\"{{dir}}/broker-ca.pem\"]\nconnect_timeout = \"1s\"\n{more}\n"
    )
}

/// What would change more than this namespace, in whose place a script stands that writes down how it was called.
const STAND_INS: [&str; 5] = ["apt-get", "firewall-cmd", "netplan", "systemctl", "timedatectl"];

fn stand_ins(dir: &Path) {
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in STAND_INS {
        let script = format!("#!/bin/sh\necho {name} \"$@\" >> {}/called\n", dir.display());
        std::fs::write(bin.join(name), script).unwrap();
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// What the doctor said.
#[derive(Debug)]
struct Said {
    code: i32,
    checks: BTreeMap<String, Value>,
    whole: Value,
    err: String,
}

impl Host {
    fn up() -> Self {
        Self::up_with(&config(&pins()))
    }

    fn up_with(config: &str) -> Self {
        let net = Net::up();
        let runtime = net.runtime(Ns::Broker);
        let listen = SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, 443, 0, 0);
        let options = Options { listen, ..Options::default() };
        let broker = runtime.run(async move { Sandbox::start(options, &Tasks::default()).await.unwrap() });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("broker-ca.pem"), broker.ca_pem()).unwrap();
        let etc = Etc::new(dir.path());
        stand_ins(dir.path());
        let host = Self { broker, dir, net, etc, before: Vec::new(), runtime };
        host.configure(config);
        host
    }

    fn configure(&self, config: &str) {
        let dir = self.dir.path().to_str().unwrap();
        std::fs::write(self.dir.path().join("sixgate.toml"), config.replace("{dir}", dir)).unwrap();
    }

    fn ip(&self, arguments: &str) {
        self.net.ip(Ns::Gateway, arguments);
    }

    /// A line of root's shell on the gateway's host, which has the doctor's `/etc`.
    fn try_shell(&self, ns: Ns, line: &str) -> std::process::Output {
        let mut command = self.net.command(ns, "sh");
        let bin = self.dir.path().join("bin");
        let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", bin.display());
        command.args(["-c", line]).env("PATH", path);
        self.etc.give(&mut command);
        command.stdin(Stdio::null()).output().expect("run sh")
    }

    #[track_caller]
    fn shell(&self, line: &str) {
        let output = self.try_shell(Ns::Gateway, line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, more: &[&str]) -> Command {
        // Root of the namespace owns its files; without a capability it can do no more than anybody.
        let without = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"];
        let mut command = self.net.command(Ns::Gateway, "unshare");
        command.args(ALONE).arg("setpriv").args(without).args(&self.before);
        command.arg(env!("CARGO_BIN_EXE_sixgate")).arg("doctor").args(more);
        self.etc.give(&mut command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIXGATE_")) {
            command.env_remove(name);
        }
        // Sandboxes of this user are none of this host's.
        command.env("XDG_RUNTIME_DIR", self.dir.path()).env("TMPDIR", self.dir.path());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, command: &mut Command) -> Said {
        let output = command.output().expect("run sixgate");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let whole: Value = serde_json::from_str(&out).unwrap_or(Value::String(out));
        let checks = whole["checks"].as_array().cloned().unwrap_or_default();
        let checks = checks.into_iter().map(|check| (check["id"].as_str().unwrap().to_owned(), check)).collect();
        let said = Said { code: output.status.code().unwrap_or(-1), checks, whole, err };
        assert!(!said.err.contains("panicked"), "{said:?}");
        said
    }

    fn examine_with(&self, more: &[&str]) -> Said {
        let arguments = [&["--json", "--config", "sixgate.toml"], more].concat();
        let said = self.run(&mut self.command(&arguments));
        assert_eq!(said.checks.len(), checks().len(), "{said:?}");
        said
    }

    fn examine(&self) -> Said {
        self.examine_with(&[])
    }

    /// What is wrong by this id; it has to be.
    #[track_caller]
    fn finds(&self, id: &str) -> Value {
        let said = self.examine();
        said.finding(id).unwrap_or_else(|| panic!("no {id} in {}", said.short()))
    }

    /// It is found, and no more once its commands were run as they stand.
    #[track_caller]
    fn is_mended_by_its_commands(&self, id: &str) -> Value {
        let finding = self.finds(id);
        self.follow(&finding);
        self.is_gone(id);
        finding
    }

    #[track_caller]
    fn follow(&self, finding: &Value) {
        let commands = finding["commands"].as_array().unwrap();
        assert!(!commands.is_empty(), "{finding}");
        for command in commands {
            self.shell(command.as_str().unwrap());
        }
    }

    #[track_caller]
    fn is_gone(&self, id: &str) {
        let mut last = String::new();
        wait_until(&format!("{id} to be gone"), SOON, || {
            let said = self.examine();
            last = said.short();
            said.finding(id).is_none()
        });
    }
}

impl Said {
    fn finding(&self, id: &str) -> Option<Value> {
        let all = self.checks.values().flat_map(|check| check["findings"].as_array().unwrap());
        let found = all.into_iter().find(|finding| finding["id"] == id).cloned()?;
        for part in ["what", "why", "fix"] {
            assert!(found[part].as_str().is_some_and(|text| text.len() > 20), "{part}: {found}");
        }
        Some(found)
    }

    /// The result of a check.
    #[track_caller]
    fn result(&self, id: &str) -> &str {
        self.checks.get(id).unwrap_or_else(|| panic!("no check {id}"))["result"].as_str().unwrap()
    }

    /// All that are not well, a line each.
    fn short(&self) -> String {
        let wrong = self.checks.values().filter(|check| check["result"] != "ok");
        let line = |check: &Value| format!("{} {}: {}\n", check["id"], check["result"], check["found"]);
        format!("{}{}", wrong.map(line).collect::<String>(), self.err)
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.checks.iter().filter(|(_, check)| check["result"] == "failed");
        failed.map(|(id, _)| id.as_str()).collect()
    }
}

#[track_caller]
fn has(finding: &Value, part: &str, words: &str) {
    let text = finding[part].to_string();
    assert!(text.contains(words), "no {words:?} in {finding}");
}

/// The gateway is started by systemd on this host.
fn gateway_has_a_unit(host: &Host) {
    std::fs::create_dir_all(host.dir.path().join("etc/systemd/system")).unwrap();
    host.etc.write("systemd/system/sixgate.service", "[Service]\n");
}

/// Somebody who runs it on a host that can trade is sent to mend nothing.
#[test]
fn a_host_that_can_trade_has_no_failed_check() {
    let host = Host::up();
    let said = host.examine();
    assert_eq!(said.failed(), Vec::<&str>::new(), "{}", said.short());
    assert_eq!(said.code, 0, "{}", said.short());
    assert_eq!(said.whole["ok"], true);
    for id in ["ipv6_off", "no_route", "address_missing", "wrong_way_out", "one_way_out", "broker_unreachable"] {
        assert_eq!(said.result(id), "ok", "{}", said.short());
    }
    // From one address of each prefix to each host, and to nobody else.
    let seen = host.broker.seen();
    assert_eq!(seen.len(), 2 * 7, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.method == "HEAD" && seen.path_and_query == "/"), "{seen:?}");
    assert!(said.err.contains("connecting to the broker"), "{said:?}");
}

/// Numbers and words are what people's scripts and notes go by.
#[test]
fn the_documentation_has_a_row_for_each_check() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .filter(|row: &Vec<_>| row.first().is_some_and(|first| first.parse::<u8>().is_ok()))
        .collect();
    assert_eq!(rows.len(), checks().len());
    for (row, check) in rows.iter().zip(checks()) {
        let [number, ids, question, advice] = row.as_slice() else { panic!("{row:?}") };
        let ids: Vec<_> = ids.split(", ").map(|id| id.trim_matches('`')).collect();
        let known: Vec<_> = [check.id].iter().chain(check.also).copied().collect();
        assert_eq!((*number, ids), (check.number.to_string().as_str(), known), "{row:?}");
        assert_eq!(*question, check.title);
        assert!(advice.len() > 10, "{row:?}");
    }
}

/// Before there is anything: no configuration, no account, no gateway.
#[test]
fn it_works_before_there_is_anything_and_takes_addresses_by_hand() {
    let host = Host::up();
    let said = host.run(&mut host.command(&["--json"]));
    assert_eq!(said.checks.len(), checks().len(), "{said:?}");
    assert_eq!(said.result("ipv6_off"), "ok");
    assert_eq!(said.result("state_folder"), "unknown");
    assert!(said.checks["address_missing"]["found"].as_str().unwrap().contains("--address"), "{said:?}");
    let said = host.run(&mut host.command(&["--json", "--address", "2001:db8:dead::1"]));
    let finding = said.finding("address_missing").unwrap();
    has(&finding, "what", "2001:db8:dead::1 is not an address of this host");
    has(&finding, "commands", "ip -6 route replace local 2001:db8:dead::/64 dev lo");
    assert_eq!(said.code, 1);
}

/// A script that is read first and run then does what was read.
#[test]
fn the_plan_is_a_script_that_mends_the_host() {
    let host = Host::up();
    host.ip("-6 route del local 2001:db8:a1::/64 dev lo");
    host.ip("-6 rule del from 2001:db8:a2::/64 lookup 102");
    let said = host.examine();
    assert_eq!(said.code, 1, "{}", said.short());
    let plan = host.command(&["--fix-plan", "--config", "sixgate.toml"]).output().unwrap();
    assert_eq!(plan.status.code(), Some(1));
    let script = String::from_utf8(plan.stdout).unwrap();
    assert!(script.starts_with("#!/bin/sh\n"), "{script}");
    assert_eq!(script.matches("\nip -6 route replace local 2001:db8:a1::/64 dev lo\n").count(), 1, "{script}");
    std::fs::write(host.dir.path().join("plan.sh"), &script).unwrap();
    host.try_shell(Ns::Gateway, &format!("sh {}/plan.sh", host.dir.path().display()));
    let said = host.examine();
    assert_eq!(said.failed(), Vec::<&str>::new(), "{}\n{script}", said.short());
    assert!(said.finding("source_rule_missing").is_none(), "{}\n{script}", said.short());
}

/// For people: a table, and each fault with its command.
#[test]
fn people_read_what_failed_why_and_what_to_type() {
    let host = Host::up();
    host.ip("-6 route del local 2001:db8:a1::/64 dev lo");
    let output = host.command(&["--config", "sixgate.toml"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "FAILED 3 address_missing: pool main 2001:db8:a1::1 is not an address of this host",
        "Why it matters: ",
        "What to do: ",
        "\n    ip -6 route replace local 2001:db8:a1::/64 dev lo\n",
        " failed, ",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

/// A configuration that cannot be used is no fault of the host.
#[test]
fn wrong_usage_and_a_host_that_cannot_be_looked_at_end_in_their_own_ways() {
    let host = Host::up();
    for arguments in [&["--json", "--fix-plan"][..], &["--address", "nonsense"], &["--config", "nowhere.toml"]] {
        let said = host.run(&mut host.command(arguments));
        assert_eq!(said.code, 2, "{arguments:?} {said:?}");
    }
    let mut host = host;
    // Whoever runs the tests may have left files open that every program inherits.
    let close = r#"for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"; done; exec "$@""#;
    host.before = ["bash", "-c", close, "bash", "prlimit", "--nofile=12:12", "--"].map(str::to_owned).to_vec();
    let said = host.run(&mut host.command(&["--json", "--config", "sixgate.toml"]));
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("LimitNOFILE"), "{said:?}");
}
