//! The built-in broker as a tool: several accounts, faults by name, and commands that find what runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Shell;
use crate::admin::api::own_address;
use crate::support::{Place, Process, wait_for, wait_until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

/// `sixgate ARGUMENTS` with a runtime folder of its own.
fn start(dir: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Process {
    let mut command = Place::alone().command(env!("CARGO_BIN_EXE_sixgate"));
    command.args(arguments).env("XDG_RUNTIME_DIR", dir).env("TMPDIR", dir);
    command.envs(settings.iter().copied());
    Process::start(command, dir, "sandbox")
}

/// A sandbox of three accounts, and the client key of each.
pub(super) fn three(dir: &Path) -> (Process, String, Vec<(String, String)>) {
    let host = own_address();
    let listener = format!("{host}:8080");
    let admin = format!("{host}:8081");
    let settings = [
        ("SIXGATE_LISTENER_0_ADDRESS", &*listener),
        ("SIXGATE_ADMIN_ADDRESS", &*admin),
        // An answer that never comes is not waited for as long as at a desk.
        ("SIXGATE_ORDERS_RESPONSE_TIMEOUT", "2s"),
        ("SIXGATE_ORDERS_RECONCILE_FOR", "1s"),
    ];
    let sandbox = start(dir, &["serve", "--sandbox", "--accounts", "3", "--state", "demo-state"], &settings);
    let text = wait_for("it says what there is", LIMIT, || {
        let output = sandbox.output();
        output.contains("Ctrl-C").then_some(output)
    });
    let keys = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_row = words.len() == 5 && words[0].starts_with("demo");
        is_row.then(|| (words[0].to_owned(), words[4].to_owned()))
    });
    (sandbox, listener.clone(), keys.collect())
}

/// Place an order as `name`; the whole reply.
pub(super) fn order(listener: &str, name: &str, key: &str, id: &str) -> String {
    let body = json!({ "correlationId": id, "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY",
        "orderType": "LIMIT", "validity": "DAY", "securityId": "11536", "quantity": 5, "price": 3310.5 });
    let output = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "30", "-x", &format!("http://{name}:{key}@{listener}")])
        .args(["http://api.dhan.co/v2/orders", "-H", "Content-Type: application/json", "-d", &body.to_string()])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).to_lowercase()
}

/// Ten accounts are tried before they are bought; and who tries types no address and no token's file.
#[test]
fn a_sandbox_has_several_accounts_that_commands_find_and_faults_befall() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    let (mut sandbox, listener, keys) = three(dir.path());
    assert_eq!(keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["demo", "demo2", "demo3"]);

    let listed = shell.run(&["account", "list"]).ends(0);
    let address = |name: &str| listed.line(name)[3].to_owned();
    for (name, key) in &keys {
        let reply = order(&listener, name, key, &format!("first-{name}"));
        assert!(reply.contains("sixgate-outcome: executed"), "{reply}");
        assert!(reply.contains(&format!("sixgate-source: {}", address(name))), "{name} leaves from its own: {reply}");
    }
    shell.run(&["validate", "--all"]).ends(0);
    let status = shell.run(&["status"]).ends(0);
    assert_eq!(status.line("accounts"), ["accounts", "3,", "of", "which", "0", "cannot", "trade"]);
    assert_eq!(shell.run(&["status", "--json"]).ends(0).json()["cannot_trade"], json!([]));
    assert!(shell.run(&["journal", "list"]).ends(0).out.contains("first-demo3"));
    // The sandbox's own addresses, pins and folder are as they should be, and nobody is sent to keep them.
    let examined = shell.run(&["doctor", "--json"]);
    let checks = examined.json()["checks"].as_array().unwrap().clone();
    for id in
        ["few_addresses", "not_global", "no_aaaa", "name_overridden", "not_kept_at_boot", "state_folder", "port_taken"]
    {
        let check = checks.iter().find(|check| check["id"] == id).unwrap();
        assert_eq!(check["result"], "ok", "{check}");
    }
    let nicknames = shell.run(&["account", "list", "--json"]).ends(0).out;
    assert!(nicknames.contains("Sandbox demo\"") && nicknames.contains("Sandbox demo 3"), "{nicknames}");
    shell.run(&["reload"]).fails(1, &["without a configuration file", "409 no_file"]);

    let (name, key) = &keys[1];
    let fault = |what: &str, more: &[&str]| shell.run(&[&["sandbox", "fault", what], more].concat()).ends(0);
    fault("lost", &["--client-id", "1000000002"]);
    let reply = order(&listener, name, key, "lost-1");
    assert!(reply.contains("sixgate-outcome: executed") && reply.contains("sixgate-recovered: true"), "{reply}");
    fault("too-many", &[]);
    assert!(order(&listener, name, key, "many-1").contains("429"), "the broker's own refusal");
    fault("refused-address", &[]);
    let reply = order(&listener, name, key, "address-1");
    assert!(reply.contains("sixgate-outcome: executed") && reply.contains("sixgate-leg: secondary"), "{reply}");
    fault("compression", &[]);
    assert!(order(&listener, name, key, "gzip-1").contains("sixgate-outcome: executed"));
    assert!(fault("list", &[]).out.contains("gzip"));
    fault("clear", &[]);
    assert!(!fault("list", &[]).out.contains("gzip"));
    fault("rejected", &["--times", "2"]);
    assert!(order(&listener, name, key, "no-1").contains("sixgate-outcome: rejected"));
    fault("clear", &[]);

    // Whoever is turned away finds in the log that it was, by which name, and from where.
    assert!(order(&listener, "demo7", key, "x").contains("407"));
    wait_until("it is in the log", LIMIT, || {
        sandbox.log().lines().any(|line| {
            line.contains("proxy_auth_required")
                && line.contains("demo7")
                && line.contains("caller")
                && !line.contains(key)
        })
    });

    assert_eq!(sandbox.terminate().code(), Some(0));
    shell.run(&["account", "list"]).fails(1, &["no sandbox of yours runs"]);
    shell.run(&["journal", "list"]).fails(2, &["--state"]);
    shell
        .run(&["sandbox", "fault", "lost", "--control", "http://127.0.0.1:9"])
        .fails(1, &["is `sixgate serve --sandbox`"]);
}

/// Whoever tries it wants to make an account, and not only to see ours.
#[test]
fn a_sandbox_has_customers_and_addresses_for_accounts_that_people_make() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    let (mut sandbox, listener, _) = three(dir.path());
    let text = sandbox.output();
    let line =
        |words: &str| text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words}: {text}"));
    assert!(line("client ids 1000900001 to 1000900003").contains("PIN 123456"), "{text}");
    let totp = line("Auto Assign IP has addresses").split(';').next().unwrap().to_owned();
    shell.file("pin", "123456");
    shell.file("totp", &totp);
    let login = ["--platform", "DHAN_V2_AT_IPV6", "--pin-file", "pin", "--totp-secret-file", "totp"];
    let create = [&["account", "create", "mine", "--client-id", "1000900001", "--assign-pair"], &login[..]].concat();
    let half = ["account", "create", "half", "--client-id", "1000900002", "--platform", "DHAN_V2_AT_IPV6"];
    shell.run(&half).fails(1, &["pin: is missing", "totp_secret: is missing", "(422 unusable)"]);
    shell.run(&create).ends(0);
    shell.run(&["register", "mine", "--yes"]).ends(0);
    shell.run(&["validate", "mine"]).ends(0);
    let key = shell.run(&["key", "create", "mine", "--json"]).ends(0).json()["key"].as_str().unwrap().to_owned();
    let reply = order(&listener, "mine", &key, "mine-1");
    assert!(reply.contains("sixgate-outcome: executed") && reply.contains(":b1::"), "{reply}");

    // The next run's broker is a new one, and knows it again.
    assert_eq!(sandbox.terminate().code(), Some(0));
    let host = own_address();
    let (listener, admin) = (format!("{host}:8080"), format!("{host}:8081"));
    let settings = [("SIXGATE_LISTENER_0_ADDRESS", &*listener), ("SIXGATE_ADMIN_ADDRESS", &*admin)];
    let sandbox = start(dir.path(), &["serve", "--sandbox", "--state", "demo-state"], &settings);
    let keyed = wait_for("it says what there is", LIMIT, || {
        let (_, after) =
            sandbox.output().split_once("Programs reach it by http://").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        after.contains("Ctrl-C").then(|| after.split(',').next().unwrap().to_owned())
    });
    assert_eq!(shell.run(&["token", "show", "mine", "--json"]).ends(0).json()["source"], "sandbox", "nobody pasted it");
    let reply = order(&keyed, "mine", &key, "mine-2");
    assert!(reply.contains("sixgate-outcome: executed") && reply.contains(":b1::"), "{reply}");
}

/// What is pasted has to be what a gateway takes.
#[test]
fn the_broker_alone_prints_accounts_and_what_a_configuration_needs() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["sandbox", "--listen", "[::1]:0", "--control", "127.0.0.1:0", "--accounts", "2", "--print-config"];
    let sandbox = start(dir.path(), &arguments, &[]);
    wait_until("its hosts are told", LIMIT, || {
        std::fs::read_to_string(dir.path().join("sandbox.stdout")).unwrap().contains("images.dhan.co")
    });
    let config = std::fs::read_to_string(dir.path().join("sandbox.stdout")).unwrap();
    let told = std::fs::read_to_string(dir.path().join("sandbox.stderr")).unwrap();
    let rows = told.lines().filter(|line| line.starts_with("100000000")).map(|line| line.split_whitespace().count());
    assert_eq!(rows.collect::<Vec<_>>(), [5, 5], "{told}");
    let shell = Shell::new(dir.path(), None);
    shell.file("sixgate.toml", &format!("[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n{config}"));
    shell.run(&["check", "--config", "sixgate.toml"]).ends(0);
    assert!(dir.path().join("sandbox-ca.pem").exists());
    assert!(shell.run(&["sandbox", "fault", "late", "--ms", "10"]).ends(0).out.contains("armed"));
    drop(sandbox);

    // What is wrong with a file of credentials is not quoted.
    shell.file("accounts.json", "[{\"client_id\": \"1000000001\", \"pin\": 493817}]");
    shell.run(&["sandbox", "--accounts-file", "accounts.json"]).fails(2, &["not a list of accounts", "line 1"]);
    shell.run(&["sandbox", "--accounts-file", "nowhere.json"]).fails(2, &["nowhere.json"]);
}
