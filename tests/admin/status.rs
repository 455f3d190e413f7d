//! `/v1/status`: what a front page says of a gateway has to be what is so.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{LIMIT, automatic, config, main_pool, manual, start};
use crate::support::{Gateway, wait_until};

/// The lines for callers, the fingerprint to compare and the counts are read off here, and a reload moves them.
#[test]
fn the_status_tells_what_runs_where_it_listens_and_how_accounts_stand() {
    let mut running = start();
    let api = running.api.clone();
    let status = api.get("/v1/status").is(200).body;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["sandbox"], false);
    let file = running.dir.path().join("sixgate.toml");
    assert_eq!(status["config_file"], file.to_str().unwrap());
    let socket = format!("unix:{}", running.dir.path().join("proxy.sock").display());
    let listener = json!({ "at": socket, "account": null, "client_key": true, "tls": false, "by_uid": false, "transparent": false });
    assert_eq!(status["listeners"], json!([listener]));
    let admin = running.gateway.output();
    let admin = admin.lines().find_map(|line| line.strip_prefix("admin API ")).unwrap().to_owned();
    assert_eq!(status["admin_url"], admin);
    assert_eq!(status["broker"]["api"], "api.dhan.co:443");
    assert_eq!((&status["accounts"]["total"], &status["unknown_outcomes"]), (&json!(0), &json!(0)));
    let journal = json!({ "seq": 0, "hash": null, "writable": true, "whole": true });
    assert_eq!(status["journal"], journal);
    let started: jiff::Timestamp = status["started_at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(started) < jiff::SignedDuration::from_mins(2), "{status}");

    let certificate = running.dir.path().join("ca.pem");
    std::fs::write(&certificate, api.get("/ca.pem").is(200).body.as_str().unwrap()).unwrap();
    let arguments = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
    let shown = Command::new("openssl").args(arguments).arg(&certificate).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.trim().rsplit_once('=').unwrap().1, status["ca_sha256"]);

    api.post("/v1/pools", main_pool()).is(201);
    api.post("/v1/accounts", automatic("alpha", "1000000001")).is(201);
    api.post("/v1/accounts", manual("beta", "1000000002")).is(201);
    api.post("/v1/accounts/beta/pair", json!({})).is(201);
    api.put("/v1/accounts/beta/halt", json!({ "halted": true })).is(200);
    let counts = |accounts: &Value| {
        let count = |at: &str| accounts.pointer(at).and_then(Value::as_u64).unwrap();
        [count("/total"), count("/halted"), count("/without_pair"), count("/tokens/absent"), count("/legs/tripped")]
    };
    wait_until("no leg admits, as its addresses are not on this host", LIMIT, || {
        counts(&api.get("/v1/status").is(200).body["accounts"]) == [2, 1, 1, 1, 2]
    });
    assert_eq!(api.get("/v1/status").is(200).body["accounts"]["tokens"]["needs_person"], 1);

    let address = admin.strip_prefix("http://").unwrap();
    let more = format!("[[listener]]\naddress = \"{}\"\naccount = \"beta\"", address.replace(":8081", ":8080"));
    Gateway::write_config(running.dir.path(), &config(address, &more));
    running.gateway.signal(Signal::SIGHUP);
    let added = json!({ "at": admin.replace(":8081", ":8080"), "account": "beta", "client_key": false, "tls": false, "by_uid": false, "transparent": false });
    wait_until("the new listener is shown", LIMIT, || {
        api.get("/v1/status").is(200).body["listeners"] == json!([listener, added])
    });
}
