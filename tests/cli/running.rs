//! What a gateway that runs is told by commands: to reload, and what it would refuse; and how every command ends.

use std::time::Duration;

use super::{Running, Said, Shell, Terminal, manual, start};
use crate::cli::canned::{Canned, Reply};
use crate::support::wait_until;
use serde_json::json;

/// A file that is refused must not be taken for one that is in force.
#[test]
fn reload_tells_what_is_in_force_and_what_was_refused() {
    let Running { shell, dir, .. } = &start();
    let file = dir.path().join("sixgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let said = shell.run(&["reload"]).ends(0);
    assert!(said.out.contains("sixgate.toml is in force"), "{said:?}");

    std::fs::write(&file, format!("{text}[journal]\nkeep = \"6y\"\n")).unwrap();
    let said = shell.run(&["reload"]).ends(0);
    assert!(said.out.contains("journal.keep has changed, and a restart"), "{said:?}");
    assert_eq!(shell.run(&["reload", "--json"]).ends(0).json()["restart"], json!(["journal.keep"]));

    std::fs::write(&file, format!("{text}[orders]\nleave_within = \"0s\"\n")).unwrap();
    let said = shell.run(&["reload"]).ends(1);
    assert!(
        said.out.contains("refused, and nothing has changed") && said.out.contains("orders.leave_within"),
        "{said:?}"
    );
    assert_eq!(shell.run(&["reload", "--json"]).ends(1).json()["ok"], false);
}

/// `check` is what stands before a restart: what it lets through, the restart must take.
#[test]
fn check_finds_a_pool_that_a_start_would_refuse() {
    let Running { shell, dir, .. } = &start();
    shell.run(&["pool", "create", "main", "--primary", "2001:db8:a1::/64", "--secondary", "2001:db8:a2::/64"]).ends(0);
    let text = std::fs::read_to_string(dir.path().join("sixgate.toml")).unwrap();
    let pool = |net: &str| {
        format!(
            "{text}[[pool]]\nname = \"main\"\nprimary = \"2001:db8:{net}::/64\"\nsecondary = \"2001:db8:a2::/64\"\n"
        )
    };
    shell.file("same.toml", &pool("a1"));
    shell.file("other.toml", &pool("b1"));
    // The state is written out a moment after a change.
    let check = |file: &str| -> Said { shell.run(&["check", "--config", file]) };
    wait_until("the change is seen", Duration::from_secs(30), || check("other.toml").code == 2);
    let said = check("other.toml");
    assert!(said.err.contains("pool.0") && said.err.contains("2001:db8:a1::/64 and 2001:db8:a2::/64"), "{said:?}");
    check("same.toml").ends(0);
    let key = dir.path().join("state/master.key");
    std::fs::rename(&key, dir.path().join("kept.key")).unwrap();
    let said = check("same.toml").ends(2);
    assert!(said.err.contains("master key"), "{said:?}");
}

/// A listener that answers nobody is found by its callers, one by one.
#[test]
fn check_says_what_a_transparent_listener_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    shell.file(
        "gate.toml",
        "[state]\npath = \"state\"\n[[listener]]\naddress = \"127.0.0.1:443\"\naccount = \"alpha\"\ntransparent = true\n\
         [proxy]\nintercept = false\n",
    );
    let check = shell.command(&["check", "--config", "gate.toml"]);
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = std::process::Command::new("setpriv");
        command.arg("--bounding-set=-net_admin,-net_raw").arg(check.get_program()).args(check.get_args());
        command.current_dir(dir.path());
        command
    } else {
        check
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for words in ["listener.0.transparent: nftables TPROXY", "CAP_NET_ADMIN", "proxy.intercept is false"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// The file may be meant for another host, so it can be used; feeds that reach nobody are found one by one.
#[test]
fn check_says_that_this_host_has_no_such_ipv4_address() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    let check = |source: &str| {
        let hosts = format!("[egress.ipv4_hosts]\n\"api-feed.dhan.co\" = \"{source}\"\n");
        let listener = "[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n";
        shell.file("gate.toml", &format!("[state]\npath = \"state\"\n{listener}{hosts}"));
        let answer = shell.run(&["check", "--config", "gate.toml", "--json"]).ends(0).json();
        assert_eq!(answer["ok"], true, "{answer}");
        answer["warnings"].to_string()
    };
    let said = check("192.0.2.77");
    for words in
        ["egress.ipv4_hosts", "api-feed.dhan.co", "192.0.2.77 is not an address of the host", "ip -4 addr show"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = check("127.0.0.1");
    assert!(!said.contains("ipv4_hosts"), "{said}");
}

/// An address that is registered by mistake is there for a week.
#[test]
fn register_asks_first_and_is_done_only_when_meant() {
    let dir = tempfile::tempdir().unwrap();
    let account = json!({ "name": "alpha", "pair": { "primary": "2001:db8:a1::1", "secondary": "2001:db8:a2::1" },
        "legs": [{ "role": "primary", "address": "2001:db8:a1::1", "state": "tripped", "reason": "address_gone" }] });
    let slot = json!({ "assigned": "2001:db8:a1::1", "registered": "2001:db8:a1::1", "matches": true });
    let done = json!({ "primary": slot, "secondary": slot, "changes": [] });
    let server = Canned::start(move |line| match line {
        "GET /v1/accounts/alpha" => Some(Reply::json(&account)),
        "GET /v1/accounts/alpha/registration" | "PUT /v1/accounts/alpha/registration" => Some(Reply::json(&done)),
        other => panic!("{other}"),
    });
    let shell = Shell::at(&server, dir.path());
    shell.run(&["register", "alpha"]).fails(2, &["--yes", "2001:db8:a1::1", "does not work"]);
    for (typed, code) in [("n\n", 1), ("\n", 1), ("y\n", 0)] {
        let mut terminal = Terminal::start(shell.command(&["register", "alpha"]));
        terminal.shows("[y/N]");
        assert!(terminal.shown().contains("seven days") && terminal.shown().contains("ip -6 route add local"));
        terminal.types(typed);
        assert_eq!(terminal.end().0.code(), Some(code), "{}", terminal.shown());
    }
    shell.run(&["register", "alpha", "--yes"]).ends(0);
    let puts = server.asked().iter().filter(|asked| asked.line.starts_with("PUT ")).count();
    assert_eq!(puts, 2);
}

/// Who reads advice at a shell is told commands, and registering comes last.
#[test]
fn a_new_account_is_told_its_next_steps_in_commands() {
    let Running { shell, .. } = &start();
    let made = shell.run(&manual(&[])).ends(0);
    assert!(made.err.contains("sixgate pair assign alpha") && !made.err.contains("register"), "{made:?}");
    shell.run(&["pair", "assign", "alpha"]).fails(1, &["sixgate pool create"]);
    shell.run(&["register", "alpha", "--yes"]).fails(1, &["sixgate pair assign alpha"]);
    shell.run(&["pool", "create", "main", "--primary", "2001:db8:a1::/64", "--secondary", "2001:db8:a2::/64"]).ends(0);
    let assigned = shell.run(&["pair", "assign", "alpha"]).ends(0);
    let at = |word: &str| assigned.err.find(word).unwrap_or_else(|| panic!("no {word}: {assigned:?}"));
    assert!(at("token set alpha") < at("validate alpha") && at("validate alpha") < at("register alpha"));
    let shown = shell.run(&["account", "show", "alpha"]).ends(0);
    assert!(!shown.out.contains("/v1/") && shown.out.contains("sixgate token set alpha"), "{shown:?}");
    let status = shell.run(&["status"]).ends(1);
    assert!(status.out.contains("alpha") && status.out.contains("sixgate token set alpha"), "{status:?}");
    shell.run(&["account", "leg", "alpha", "secondary"]).ends(0);
    shell.run(&["halt", "alpha", "--reason", "wild"]).ends(0);
    let shown = shell.run(&["account", "show", "alpha"]).ends(0);
    assert_eq!(shown.line("pinned"), ["pinned", "to", "secondary"]);
    assert!(shown.line("halted").join(" ").ends_with("(wild)"), "{shown:?}");
    assert!(!shown.out.contains("000Z") && shown.out.contains("IST"), "{shown:?}");
}

/// One table for all commands, in the documents and in the help; and they keep to it.
#[test]
fn every_command_keeps_to_the_table_of_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = Shell::new(dir.path(), Some("http://127.0.0.1:9".to_owned()));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let help = nobody.run(&["--help"]).ends(0).out;
    for code in ["0", "1", "2", "130"] {
        assert!(page.contains(&format!("\n| {code} | ")), "docs/operating.md does not tell {code}");
        assert!(help.contains(&format!("\n  {code:<4} ")), "--help does not tell {code}: {help}");
    }
    nobody.file("token.txt", "eyJ");
    std::fs::create_dir_all(dir.path().join("state")).unwrap();
    nobody.file("state/admin.token", "sga_canned\n");
    nobody.file("bad.toml", "[listener]\n");
    // Nobody is there.
    let calls: [&[&str]; 30] = [
        &["status"],
        &["reload"],
        &["account", "list"],
        &["account", "list", "--state", "live", "--problem", "halted", "--query", "a", "--sort", "trouble"],
        &["account", "show", "a"],
        &["account", "limits", "a"],
        &["account", "create", "a", "--platform", "DHAN_V2_IPV6", "--client-id", "1"],
        &["account", "change", "a", "--nickname", "b"],
        &["account", "delete", "a", "--yes"],
        &["account", "leg", "a", "auto"],
        &["pool", "list"],
        &["pair", "assign", "a"],
        &["pair", "reserve"],
        &["pair", "release", "5f0c2b6e9d", "--pool", "main"],
        &["pair", "retire", "a", "--yes"],
        &["key", "list", "a"],
        &["key", "create", "a"],
        &["token", "show", "a"],
        &["token", "set", "a", "--file", "token.txt"],
        &["token", "refresh", "a"],
        &["token", "consent", "a"],
        &["totp", "preview", "--file", "token.txt"],
        &["order", "unsettled"],
        &["order", "show", "a", "1"],
        &["order", "settle", "r", "--note", "looked"],
        &["validate", "a"],
        &["validate", "--all"],
        &["register", "a", "--show"],
        &["halt", "a", "--off"],
        &["ca", "export"],
    ];
    for call in calls {
        let said = nobody.run(call);
        assert_eq!(said.code, 1, "{call:?}: {said:?}");
        let said = nobody.run(&[call, &["--no-such-option"]].concat());
        assert_eq!(said.code, 2, "{call:?}: {said:?}");
    }
    // Not done, and not for a wrong usage.
    for call in [&["journal", "verify", "--state", "nowhere"][..], &["man", "bad.toml"]] {
        assert_eq!(nobody.run(call).code, 1, "{call:?}");
    }
    // Usage, and configurations that cannot be used.
    for call in [
        &["check", "--config", "bad.toml"][..],
        &["check", "--config", "nowhere.toml"],
        &["serve", "--config", "bad.toml"],
        &["account", "list", "--config", "bad.toml"],
        &["journal", "list", "--config", "bad.toml"],
        &["serve", "--accounts", "2"],
        &["serve", "--sandbox", "--accounts", "0"],
        &["sandbox", "fault", "nothing"],
        &["sandbox", "--accounts-file", "bad.toml"],
        &["no-such-command"],
        &["account", "delete", "a"],
        &["account", "list", "--state", "dead"],
        &["account", "list", "--problem", "none"],
        &["order", "settle", "r"],
        &["order", "settle", "r", "--note", "looked", "--outcome", "unknown"],
        &["totp", "preview"],
        &["validate"],
        &["completions", "csh"],
    ] {
        let said = nobody.run(call);
        assert_eq!(said.code, 2, "{call:?}: {said:?}");
    }
}
