//! The commands of the README and of `docs/`, run as they stand there.

use std::net::SocketAddrV6;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::net::Ns;
use crate::support::world::pins;
use crate::support::{Gateway, Net, Place, Process, wait_for};
use sixgate::domain::tasks::Tasks;
use sixgate::domain::{ClientId, Pair, SourceAddr};
use sixgate::sandbox::{Account, Options, Sandbox};

const README: &str = "README.md";

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The code block after a marker of a page.
fn block(name: &str, marker: &str) -> String {
    let page = page(name);
    let marker = format!("<!-- {marker} -->\n```");
    let after = page.split(&marker).nth(1).unwrap_or_else(|| panic!("{name} has no block after {marker}"));
    let (_, code) = after.split_once('\n').unwrap();
    code.split("```").next().unwrap().to_owned()
}

/// All pages, from the top folder.
fn pages() -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["", "docs", "examples", "netns-scripts"] {
        for entry in std::fs::read_dir(top.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// What a heading is called in a link: letters, digits and hyphens, in lower case.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

/// A page that was moved takes its readers along.
#[test]
fn links_of_the_pages_lead_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = 0;
    for name in pages() {
        let text = page(&name);
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&name).parent().unwrap();
            let file = if file.is_empty() { name.clone().into() } else { folder.join(file) };
            assert!(top.join(&file).exists(), "{name} links to {target}, which is not there");
            if !section.is_empty() {
                let there = std::fs::read_to_string(top.join(&file)).unwrap();
                let found = there.lines().any(|line| line.starts_with('#') && anchor(line) == section);
                assert!(found, "{name} links to {target}: no such section");
            }
        }
    }
    assert!(links > 20, "{links} links");
}

/// The first command, and the line that it prints.
#[test]
fn the_first_command_shows_a_line_that_places_an_order() {
    assert!(page(README).contains("cargo run -- serve --sandbox\n"), "the first command is another one");
    let dir = tempfile::tempdir().unwrap();
    let mut command = Place::alone().command(env!("CARGO_BIN_EXE_sixgate"));
    command.args(["serve", "--sandbox"]);
    // As a new user runs it, but for the ports, which other tests want too.
    command.env("SIXGATE_LISTENER_0_ADDRESS", "127.0.0.1:18080").env("SIXGATE_ADMIN_ADDRESS", "127.0.0.1:18081");
    let mut gateway = Process::start(command, dir.path(), "sandbox");
    let line = wait_for("the line is printed", Duration::from_secs(30), || {
        let output = gateway.output();
        output.contains("Ctrl-C").then(|| output.lines().find(|line| line.starts_with("curl ")).unwrap().to_owned())
    });
    // It prints when it is bound; it serves a moment later, and the connection waits for it.
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let reply = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(reply.contains("200 OK") && reply.contains("sixgate-outcome: executed"), "{reply}{output:?}");
    assert!(reply.contains("\"orderId\""), "{reply}");
    let state =
        gateway.output().lines().find_map(|line| line.trim().strip_prefix("CA        ").map(str::to_owned)).unwrap();
    assert!(Path::new(&state).exists());
    assert_eq!(gateway.terminate().code(), Some(0));
    assert!(!Path::new(&state).exists(), "{state} was left behind");
}

/// The same as an ordinary user sees it who has two addresses by a user namespace.
#[test]
fn the_sandbox_script_gives_two_addresses() {
    let line = "curl -sS -D - -x http://127.0.0.1:8080 http://api.dhan.co/v2/ip/getIP";
    let script = crate::support::net::script_path("sandbox.sh");
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {} -- {line}", script.display()));
    let dir = tempfile::tempdir().unwrap();
    command.env("SIXGATE", env!("CARGO_BIN_EXE_sixgate")).env("XDG_RUNTIME_DIR", dir.path());
    let output = command.output().unwrap();
    let reply = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && reply.contains("\"ipMatchStatus\":\"PRIMARY_MATCH\""), "{output:?}");
    assert!(reply.contains("sixgate-source: fd"), "{reply}");
}

/// The first real account, against the built-in broker in place of Dhan.
#[test]
fn the_first_real_account_works_as_written() {
    let net = Net::up();
    let broker = net.runtime(Ns::Broker);
    let client_id = ClientId::parse("1000000001").unwrap();
    let listen = SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, 443, 0, 0);
    let options = Options {
        listen,
        accounts: vec![Account::new(client_id.clone(), "TRADER", "123456", "JBSWY3DPEHPK3PXP")],
        ..Options::default()
    };
    let sandbox = broker.run(async move { Sandbox::start(options, &Tasks::default()).await.unwrap() });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broker-ca.pem"), sandbox.ca_pem()).unwrap();

    // Only the broker's place is the test's own.
    let config = block(README, "first-account: sixgate.toml");
    let text = format!("{config}\n[egress]\nextra_roots = [\"broker-ca.pem\"]\n{}", pins());
    let gateway = Gateway::start(&net.place(Ns::Gateway), &text, dir.path());
    std::fs::write(dir.path().join("sixgate.toml"), &text).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_sixgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let run = |script: &str| {
        let mut shell = net.command(Ns::Gateway, "bash");
        let output = shell.args(["-euo", "pipefail", "-c", script]).current_dir(dir.path()).env("PATH", &path).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    assert!(run(&block(README, "first-account: check")).contains("can be used"));
    let made = run(&block(README, "first-account: create"));
    let source = |role: &str| {
        let line = made.lines().find(|line| line.starts_with(role)).unwrap_or_else(|| panic!("no {role}: {made}"));
        SourceAddr::parse(line.split_whitespace().nth(1).unwrap()).unwrap()
    };
    let pair = Pair { primary: source("primary"), secondary: source("secondary") };
    std::fs::write(dir.path().join("pin.txt"), "123456").unwrap();
    std::fs::write(dir.path().join("totp.txt"), "JBSWY3DPEHPK3PXP").unwrap();
    let login = run(&block(README, "first-account: login"));
    assert!(login.contains("DHAN_V2_AT_IPV6"), "{login}");
    // At once, as whoever copies the next line: the login is under way, and waited for.
    let validated = run("sixgate validate alpha || [ $? = 1 ]");
    let checks: Vec<Vec<&str>> = validated.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(checks.iter().any(|check| check.starts_with(&["token", "ok"])), "{validated}");
    assert_eq!(gateway.admin().get("/v1/accounts/alpha/token").1["source"], "pin_totp");
    std::fs::write(dir.path().join("token.txt"), sandbox.mint_token(&client_id)).unwrap();

    let token = run(&block(README, "first-account: token"));
    assert!(token.contains("live (manual)"), "{token}");
    assert!(!dir.path().join("token.txt").exists());
    sandbox.register(&client_id, None);
    sandbox.unlock_registration(&client_id);
    let registered = run(&block(README, "first-account: register"));
    assert!(registered.contains(&pair.primary.to_string()) && !registered.contains("FAILED"), "{registered}");
    let traded = run(&block(README, "first-account: trade"));
    assert!(traded.contains("sixgate-source: "), "the headers that the text tells of are not shown: {traded}");
    assert!(traded.contains(&format!("\"detectedIP\":\"{}\"", pair.primary)), "{traded}");
    assert!(traded.contains("\"ordersAllowed\":true") && traded.contains("\"orderStatus\":\"PENDING\""), "{traded}");
    let key = run(&block(README, "first-account: key"));
    assert!(key.contains("key  sgk_"), "{key}");
    std::fs::write(dir.path().join("pin.txt"), "123456").unwrap();
    std::fs::write(dir.path().join("totp.txt"), "JBSWY3DPEHPK3PXP").unwrap();
    let commands = run(&block("docs/operating.md", "commands"));
    assert!(commands.starts_with("NAME ") && commands.contains("DHAN_V2_AT_IPV6"), "{commands}");
    assert_eq!(sandbox.orders(&client_id).len(), 1);
    std::fs::write(dir.path().join("verify_journal.py"), block("docs/orders.md", "verify_journal.py")).unwrap();
    let verified = run("python3 verify_journal.py state/journal");
    assert!(verified.starts_with("good "), "{verified}");
    metrics_are_there(&gateway);
    drop(gateway);
}

/// What a gateway counts stands on the page for operators.
#[track_caller]
fn metrics_are_there(gateway: &Gateway) {
    let (status, metrics) = gateway.admin_without_token().get("/metrics");
    assert_eq!(status, 200, "{metrics}");
    let (metrics, listed) = (metrics.as_str().unwrap().to_owned(), page("docs/operating.md"));
    let families: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.len() > 10, "{metrics}");
    for family in families {
        let (name, kind) = family.split_once(' ').unwrap();
        let name = if kind == "counter" { format!("`{name}_total`") } else { format!("`{name}`") };
        assert!(listed.contains(&name), "docs/operating.md does not list {name}");
    }
}
