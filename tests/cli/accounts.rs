//! Among many accounts: those in trouble, their limits, pairs that are set aside, and a secret that is compared.

use std::time::Duration;

use super::{Running, Shell, TOTP, create, manual, start};
use crate::cli::canned::{Canned, Reply};
use crate::support::wait_until;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

/// Of 10,000 accounts nobody reads a list; and a filter that holds for the first page only would hide the rest.
#[test]
fn a_list_is_filtered_and_sorted_by_the_gateway_on_every_page() {
    let dir = tempfile::tempdir().unwrap();
    let server = Canned::start(|line| {
        let next = (!line.contains("cursor=")).then_some("beta");
        let name = if next.is_some() { "alpha" } else { "beta" };
        let item = json!({ "name": name, "problems": ["needs_person", "halted"] });
        Some(Reply::json(&json!({ "items": [item], "next": next })))
    });
    let shell = Shell::at(&server, dir.path());
    let filter =
        ["--state", "needs_person", "--problem", "leg_tripped", "--query", "2001:db8:a1::1 x&y", "--sort", "trouble"];
    let said = shell.run(&[&["account", "list"], filter.as_slice()].concat()).ends(0);
    let wanted = "&state=needs_person&problem=leg_tripped&q=2001%3Adb8%3Aa1%3A%3A1+x%26y&sort=trouble";
    let lines: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    let first = format!("GET /v1/accounts?limit=1000{wanted}");
    assert_eq!(lines, [first.clone(), format!("{first}&cursor=beta")]);
    assert_eq!(said.line("beta").last(), Some(&"needs_person,halted"));
    let listed = shell.run(&["account", "list", "--sort", "name", "--json"]).ends(0).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(server.asked()[0].line, "GET /v1/accounts?limit=1000&sort=name");
}

/// Words of a filter are the API's own: one that the command knows and the gateway does not would find nothing.
#[test]
fn every_word_of_a_filter_is_one_that_the_gateway_takes() {
    let Running { shell, .. } = &start();
    shell.run(&manual(&[])).ends(0);
    let names = |arguments: &[&str]| {
        let listed = shell.run(&[&["account", "list", "--json"], arguments].concat()).ends(0).json();
        listed["items"].as_array().unwrap().len()
    };
    wait_until("its keeper has looked", LIMIT, || names(&["--state", "needs_person"]) == 1);
    for state in ["absent", "minting", "live", "refreshing", "waiting"] {
        assert_eq!(names(&["--state", state]), 0, "{state}");
    }
    for problem in ["halted", "leg_tripped", "validation_failed"] {
        assert_eq!(names(&["--problem", problem]), 0, "{problem}");
    }
    for filter in [
        ["--problem", "needs_person"],
        ["--problem", "no_token"],
        ["--problem", "not_validated"],
        ["--query", "1000000001"],
    ] {
        assert_eq!(names(&filter), 1, "{filter:?}");
    }
    assert_eq!(names(&["--query", "elsewhere"]), 0);
    assert_eq!((names(&["--sort", "name"]), names(&["--sort", "trouble"])), (1, 1));
}

/// Whoever registers addresses before there is the account must get these and no others.
#[test]
fn a_pair_that_is_set_aside_is_assigned_by_its_id_or_given_back() {
    let Running { api, shell, .. } = &start();
    shell.run(&["pair", "reserve"]).fails(1, &["sixgate pool create"]);
    shell.run(&["pool", "create", "main", "--primary", "2001:db8:a1::/64", "--secondary", "2001:db8:a2::/64"]).ends(0);
    let first = shell.run(&["pair", "reserve"]).ends(0);
    assert_eq!((first.line("pool"), first.line("primary")), (vec!["pool", "main"], vec!["primary", "2001:db8:a1::1"]));
    let id = first.line("id")[1].to_owned();
    assert!(first.err.contains(&format!("sixgate pair assign NAME --reservation {id}")), "{first:?}");
    assert!(first.line("until").contains(&"IST"), "{first:?}");

    // While it is set aside, an account that takes the next one gets another.
    shell.run(&manual(&["--assign-pair"])).ends(0);
    assert_eq!(api.get("/v1/accounts/alpha").is(200).text("/pair/primary"), "2001:db8:a1::2");
    shell.run(&["account", "create", "beta", "--platform", "DHAN_V2_IPV6", "--client-id", "1000000002"]).ends(0);
    shell.run(&["pair", "assign", "beta", "--reservation", &id, "--pool", "main"]).ends(2);
    let assigned = shell.run(&["pair", "assign", "beta", "--reservation", &id]).ends(0);
    assert_eq!(assigned.line("primary"), ["primary", "2001:db8:a1::1"]);

    let second = shell.run(&["pair", "reserve", "--pool", "main", "--json"]).ends(0).json();
    let id = second["id"].as_str().unwrap();
    shell.run(&["pool", "create", "spare", "--primary", "2001:db8:b1::/64", "--secondary", "2001:db8:b2::/64"]).ends(0);
    shell.run(&["pair", "release", id]).fails(2, &["--pool NAME", "main, spare"]);
    let set_aside = || api.get("/v1/pools/main").is(200).body["reserved"].clone();
    assert_eq!(set_aside(), 1);
    shell.run(&["pair", "release", id, "--pool", "main"]).ends(0);
    assert_eq!(set_aside(), 0);
    shell.run(&["pair", "release", id, "--pool", "main"]).fails(1, &["404"]);
}

/// A mistyped secret costs one of the few tries that the broker allows; compared with an authenticator it costs none.
#[test]
fn a_totp_secret_is_compared_before_the_broker_judges_it() {
    let Running { shell, .. } = &start();
    let code = |code: &str| code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit());
    let said = shell.run(&["totp", "preview", "--file", "totp.txt"]).ends(0);
    assert!(code(said.line("code")[1]) && said.line("for").join(" ").starts_with("for another "), "{said:?}");
    let said = shell.with_input(&["totp", "preview", "--file", "-", "--json"], TOTP).ends(0).json();
    assert!(code(said["code"].as_str().unwrap()), "{said}");
    shell.file("wrong.txt", "not-a-secret-1890");
    shell.run(&["totp", "preview", "--file", "wrong.txt"]).fails(1, &["totp_secret", "422"]);
    shell.run(&["totp", "preview"]).fails(2, &["where the TOTP secret is", "--file -", "--ask"]);
    // Who puts it on the command line has it in the shell's history, and must not have it in a log too.
    shell.run(&["totp", "preview", TOTP]).fails(2, &["argument too many"]);
    shell.run(&["totp", "preview", "--totp-secret", TOTP]).fails(2, &["--file FILE"]);
}

/// How near an account is to the broker's limits, without spending any of them.
#[test]
fn limits_are_shown_window_by_window() {
    let Running { shell, .. } = &start();
    shell.run(&create(&["--pin-file", "pin.txt", "--totp-secret-file", "totp.txt"])).ends(0);
    let said = shell.run(&["account", "limits", "alpha"]).ends(0);
    assert!(said.out.starts_with("COUNTS") && said.out.contains("requests that wait for room: 0"), "{said:?}");
    let order = said.line("order");
    assert_eq!((order.len(), order[2], order[3]), (6, "0", "0"), "{said:?}");
    let items = shell.run(&["account", "limits", "alpha", "--json"]).ends(0).json()["items"].as_array().unwrap().len();
    assert_eq!(said.out.lines().count(), 1 + items + 2, "{said:?}");
    shell.run(&["account", "limits", "nobody"]).fails(1, &["404"]);
}
