//! Orders of which nobody knows what became of them: found, looked up and settled by commands.

use super::Shell;
use crate::cli::canned::{Canned, Reply};
use crate::settle::{ORDER, place};
use crate::support::net::Ns;
use crate::support::world::{World, config, pins};
use serde_json::json;
use sixgate::sandbox::{Action, Fault};

/// What money hangs on has three commands, and the last one says that somebody looked.
#[test]
fn an_order_of_unknown_outcome_is_found_looked_up_and_settled_by_commands() {
    let world =
        World::up_with(1, &config(&format!("{}\n[orders]\nresponse_timeout = \"2s\"\nreconcile_for = \"1s\"", pins())));
    // In the gateway's folder commands find it by themselves.
    let shell = Shell::new(world.gateway.dir(), None);
    let run = |arguments: &[&str]| world.net.in_ns(Ns::Gateway, || async { shell.run(arguments) });
    assert_eq!(run(&["order", "unsettled"]).ends(0).out, "no order is unsettled\n");
    assert_eq!(run(&["order", "unsettled", "--json"]).ends(0).json(), json!({ "items": [] }));

    let good = place(&world, ORDER);
    let id = good.json()["orderId"].as_str().unwrap().to_owned();
    let shown = run(&["order", "show", "a1", &id]).ends(0);
    assert_eq!((shown.line("order"), shown.line("correlation")), (vec!["order", &*id], vec!["correlation", "s-1"]));
    assert_eq!(run(&["order", "show", "a1", &id, "--json"]).ends(0).json()["order_id"], id);
    run(&["order", "show", "a1", "999999"]).fails(1, &["404 order_not_found"]);

    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("POST", "/v2/orders").times(1));
    let lost = place(&world, &ORDER.replace("s-1", "s-2"));
    let request = lost.header("sixgate-request-id").to_owned();
    let found = run(&["order", "unsettled"]).ends(1);
    assert!(
        found.out.contains(&request) && found.out.contains("POST /v2/orders") && found.out.contains("s-2"),
        "{found:?}"
    );
    assert!(found.err.contains("sixgate order settle"), "{found:?}");
    assert_eq!(run(&["order", "unsettled", "--json"]).ends(1).json()["items"][0]["request_id"], request);

    run(&["order", "settle", good.header("sixgate-request-id"), "--note", "looked"]).fails(1, &["409 not_unknown"]);
    run(&["order", "settle", "no-such-request", "--note", "looked"]).fails(1, &["404"]);
    let said = run(&["order", "settle", &request, "--note", "not in the order book", "--outcome", "not_sent"]).ends(0);
    assert!(said.out.contains(&request), "{said:?}");
    run(&["order", "unsettled"]).ends(0);
    let (status, lines) = world.gateway.admin().get(&format!("/v1/orders?request_id={request}"));
    assert_eq!(status, 200);
    let note = &lines["items"][0]["note"];
    assert_eq!((&note["text"], &note["outcome"]), (&json!("not in the order book"), &json!("not_sent")));
}

/// The outcome is sent only if it was said: one that is made up would stand in the journal for years.
#[test]
fn settling_says_what_was_said_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = Canned::start(|_| Some(Reply(204, "text/plain", String::new())));
    let shell = Shell::at(&server, dir.path());
    shell.run(&["order", "settle", "r-1", "--note", "looked"]).ends(0);
    assert_eq!(
        shell.run(&["order", "settle", "r-1", "--note", "x", "--outcome", "executed", "--json"]).ends(0).out,
        ""
    );
    let bodies: Vec<_> = server.asked().into_iter().map(|asked| (asked.line, asked.body)).collect();
    let line = "POST /v1/orders/r-1/settled".to_owned();
    assert_eq!(
        bodies,
        [(line.clone(), json!({ "note": "looked" })), (line, json!({ "note": "x", "outcome": "executed" }))]
    );
}
