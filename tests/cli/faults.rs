//! Each fault of the built-in broker that docs/sandbox.md has, as an order engine sees it and as the broker's book shows
//! it: whoever tests an engine against a fault believes the table.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Shell;
use super::sandboxed::{order, three};

/// What a fault does to the order that it befalls.
struct Expected {
    fault: &'static str,
    /// Of the reply: its status, `sixgate-outcome`, and a text that it has (in lower case).
    status: u16,
    outcome: &'static str,
    says: &'static str,
    /// Of the broker's book: the order's status, if it is there.
    in_book: Option<&'static str>,
}

const fn expected(
    fault: &'static str,
    status: u16,
    outcome: &'static str,
    says: &'static str,
    in_book: Option<&'static str>,
) -> Expected {
    Expected { fault, status, outcome, says, in_book }
}

const PENDING: Option<&str> = Some("PENDING");
const SLOW_MS: u64 = 400;

/// The last one leaves the account without a token.
const FAULTS: [Expected; 12] = [
    expected("lost", 200, "executed", "sixgate-recovered: true", PENDING),
    expected("lost-before", 504, "unknown", "outcome_unknown", None),
    expected("hang", 200, "executed", "sixgate-recovered: true", PENDING),
    expected("slow", 200, "executed", "\"pending\"", PENDING),
    expected("late", 200, "executed", "\"pending\"", PENDING),
    expected("too-many", 429, "rejected", "dh-904", None),
    expected("refused-address", 200, "executed", "sixgate-leg: secondary", PENDING),
    expected("rejected", 200, "rejected", "\"rejected\"", Some("REJECTED")),
    expected("bad-gateway", 502, "unknown", "<html", None),
    expected("compression", 200, "executed", "\"pending\"", PENDING),
    expected("broken-compression", 504, "unknown", "outcome_unknown", PENDING),
    expected("dead-token", 503, "rejected", "token_unavailable", None),
];

/// The rows of the table in the documentation: the fault's name, and what an engine sees.
fn documented() -> Vec<(String, String)> {
    let text = include_str!("../../docs/sandbox.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| fault |")).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].trim_matches('`').to_owned(), cells[2].to_owned())
        })
        .collect()
}

/// The order of this id in a customer's book at the broker.
fn in_book(control: &str, customer: &str, id: &str) -> Option<Value> {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", &format!("{control}/accounts/{customer}/orders")])
        .output()
        .unwrap();
    let book: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    book.into_iter().find(|row| row["correlationId"] == id)
}

/// The status of a reply.
fn status(reply: &str) -> u16 {
    reply.lines().find_map(|line| line.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok()).unwrap_or_default()
}

#[test]
fn each_fault_does_what_the_documentation_says() {
    let rows = documented();
    let names: BTreeSet<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, FAULTS.iter().map(|expected| expected.fault).collect(), "documented and tried are the same");

    let dir = tempfile::tempdir().unwrap();
    let shell = Shell::new(dir.path(), None);
    let (sandbox, listener, keys) = three(dir.path());
    let output = sandbox.output();
    let control = output.split("control listener ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let (name, key) = &keys[1];
    let customer = "1000000002";
    for Expected { fault, status: want, outcome, says, in_book: booked } in FAULTS {
        let (_, told) = rows.iter().find(|(name, _)| name == fault).unwrap();
        assert!(told.contains(&format!("`{outcome}`")), "docs/sandbox.md does not say {outcome} of {fault}: {told}");
        shell.run(&["sandbox", "fault", fault, "--client-id", customer, "--ms", &SLOW_MS.to_string()]).ends(0);
        let begun = Instant::now();
        let reply = order(&listener, name, key, fault);
        let outcome = format!("sixgate-outcome: {outcome}");
        assert!(status(&reply) == want && reply.contains(&outcome) && reply.contains(says), "{fault}: {reply}");
        if matches!(fault, "slow" | "late") {
            assert!(begun.elapsed() >= Duration::from_millis(SLOW_MS), "{fault}: {:?}", begun.elapsed());
        }
        assert!(!reply.contains("content-encoding"), "{fault}: {reply}");
        let found = in_book(control, customer, fault);
        assert_eq!(found.as_ref().map(|row| row["orderStatus"].as_str().unwrap()), booked, "{fault}");
        shell.run(&["sandbox", "fault", "clear"]).ends(0);
    }

    // Dhan allows one login in two minutes: until then nothing is sent, and whoever asks is told when it will be.
    let reply = order(&listener, name, key, "after");
    let not_sent = status(&reply) == 503 && reply.contains("sixgate-outcome: not_sent");
    assert!(not_sent && reply.contains("token_unavailable") && reply.contains("retry-after: "), "{reply}");
    assert!(in_book(control, customer, "after").is_none());
    // A token that another program killed has no hours left.
    let token = shell.run(&["token", "show", name]).ends(0);
    assert!(token.out.contains("does not sign any more") && token.out.contains("token_superseded"), "{token:?}");
    let told = shell.run(&["status"]).ends(1);
    assert!(told.line(name).contains(&"waiting"), "{told:?}");
    // Nobody else is touched by a fault of one customer.
    let (other, key) = &keys[2];
    assert!(order(&listener, other, key, "other").contains("sixgate-outcome: executed"));
}
