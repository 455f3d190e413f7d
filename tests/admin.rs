//! The admin API of the real binary: what it answers, whom it lets in, what it never shows.
//!
//! Every reply here is also held against `/openapi.json` (`admin/api.rs`).

mod accounts;
pub(crate) mod api;
mod events;
mod history;
mod misdirected;
pub(crate) mod schema;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::{Gateway, Place, wait_for, wait_until};
use api::{Api, At, Reply, own_address, token};
use data_encoding::BASE64;
use serde_json::{Value, json};

const PIN: &str = "493817";
const TOTP: &str = "KRUGS4ZANFZSAYJAORXXI4BA";
const DAY: i64 = 86_400;
const LIMIT: Duration = Duration::from_secs(30);

/// A gateway with its admin API on a loopback address of its own.
struct Running {
    gateway: Gateway,
    api: Api,
    dir: tempfile::TempDir,
}

fn config(address: &str, more: &str) -> String {
    format!(
        "[state]\npath = \"{{dir}}/state\"\n\
         [[listener]]\naddress = \"unix:{{dir}}/proxy.sock\"\nclient_key = \"required\"\n\
         [admin]\naddress = \"{address}\"\noperator_token_file = \"state/operator.token\"\n\
         viewer_token_file = \"state/viewer.token\"\n\
         [log]\nlevel = \"trace\"\n{more}"
    )
}

fn start() -> Running {
    start_with("")
}

fn start_with(more: &str) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("{}:8081", own_address());
    let gateway = Gateway::start(&Place::alone(), &config(&address, more), dir.path());
    let api = Api::new(At::Tcp(address.parse().unwrap()), &dir.path().join("state/admin.token"));
    Running { gateway, api, dir }
}

/// The fields of an account that logs in by itself.
fn automatic(name: &str, client_id: &str) -> Value {
    json!({ "name": name, "platform": "DHAN_V2_AT_IPV6", "client_id": client_id, "pin": PIN, "totp_secret": TOTP })
}

/// The fields of an account whose token a person gives.
fn manual(name: &str, client_id: &str) -> Value {
    json!({ "name": name, "platform": "DHAN_V2_IPV6", "client_id": client_id })
}

fn pool(name: &str, primary: &str, secondary: &str) -> Value {
    json!({ "name": name, "primary": primary, "secondary": secondary })
}

fn main_pool() -> Value {
    pool("main", "2001:db8:a1::/64", "2001:db8:a2::/64")
}

fn pair(primary: &str, secondary: &str) -> Value {
    json!({ "primary": primary, "secondary": secondary })
}

/// Scripts and the console are written from the document: a route that is not in it, or answers otherwise, breaks them.
#[test]
#[expect(clippy::too_many_lines, reason = "every route, once")]
fn every_documented_route_answers_as_documented() {
    let mut running = start();
    let api = &running.api;

    for path in ["/healthz", "/readyz", "/metrics", "/ca.pem"] {
        api.get(path).is(200);
    }
    let made = api.post("/v1/pools", main_pool()).is(201);
    assert_eq!(made.body["assigned"], 0);
    assert_eq!(made.text("/capacity"), "18446744073709530476", "2^64 without what no host may have");
    assert_eq!(made.body["next"], pair("2001:db8:a1::1", "2001:db8:a2::1"));
    assert_eq!(api.get("/v1/pools/main").is(200).body, made.body);
    assert_eq!(api.get("/v1/pools").is(200).body, json!({ "items": [made.body], "next": null }));
    api.post("/v1/pools", pool("spare", "2001:db8:b1::/120", "2001:db8:b2::/120")).is(201);
    api.delete("/v1/pools/spare").is(204);
    api.get("/v1/pools/spare").is(404);
    api.delete("/v1/pools/spare").is(404);

    let account = api.post("/v1/accounts", automatic("alpha", "1000000001")).is(201);
    let expected = json!({ "name": "alpha", "nickname": null, "platform": "DHAN_V2_AT_IPV6", "client_id": "1000000001",
        "pair": null, "legs": [], "halted": false });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(account.body[name], *value, "{name}");
    }
    assert_eq!(account.text("/token/state"), "absent");
    assert_eq!(api.get("/v1/accounts/alpha").is(200).body, account.body);
    let other = api.post("/v1/accounts", manual("beta", "1000000002")).is(201);
    assert_eq!(other.text("/token/state"), "needs_person");
    assert!(other.text("/token/last_error/action").contains("/v1/accounts/beta/token"), "{}", other.raw);

    let taken = api.post("/v1/accounts", automatic("alpha", "1000000003")).is(409);
    assert_eq!(taken.text("/code"), "taken");
    let taken = api.post("/v1/accounts", automatic("gamma", "1000000001")).is(409);
    assert!(taken.text("/detail").contains("alpha"), "{}", taken.raw);
    api.get("/v1/accounts/gamma").is(404);

    let changed = api.patch("/v1/accounts/alpha", json!({ "nickname": "Alpha", "pin": "1234" })).is(200);
    assert_eq!((changed.text("/nickname"), changed.text("/client_id")), ("Alpha", "1000000001"));
    api.patch("/v1/accounts/alpha", json!({ "client_id": "1000000002" })).is(409);
    api.patch("/v1/accounts/gamma", json!({ "nickname": "x" })).is(404);
    api.patch("/v1/accounts/alpha", json!({ "name": "alpha" })).names("name");

    let first = api.post("/v1/accounts/alpha/pair", json!({})).is(201);
    assert_eq!(first.body, pair("2001:db8:a1::1", "2001:db8:a2::1"));
    assert_eq!(api.post("/v1/accounts/alpha/pair", json!({})).is(200).body, first.body);
    let account = api.get("/v1/accounts/alpha").is(200);
    assert_eq!(account.body["pair"], first.body);
    assert_eq!(account.text("/legs/0/role"), "primary");
    assert_eq!(account.text("/legs/0/address"), "2001:db8:a1::1");
    assert_eq!(account.text("/legs/1/role"), "secondary");
    // No such address is on this host, and the kernel has said so.
    assert_eq!((account.text("/legs/1/state"), account.text("/legs/1/reason")), ("tripped", "address_gone"));
    // It has not logged in with them yet, so they are nobody's at the broker.
    for id in ["1000000009", "1000000001"] {
        assert_eq!(api.patch("/v1/accounts/alpha", json!({ "client_id": id })).is(200).body["pair"], first.body);
    }
    assert_eq!(api.get("/v1/pools/main").is(200).body["assigned"], 1);
    assert_eq!(api.delete("/v1/pools/main").is(409).text("/code"), "not_empty");
    api.delete("/v1/accounts/alpha/pair").is(204);
    api.delete("/v1/accounts/alpha/pair").is(404);
    api.delete("/v1/accounts/gamma/pair").is(404);
    api.post("/v1/accounts/gamma/pair", json!({})).is(404);
    api.post("/v1/accounts/alpha/pair", json!({ "primary": "2001:db8::1" })).names("secondary");

    let halted = api.put("/v1/accounts/alpha/halt", json!({ "halted": true, "reason": "fat finger" })).is(200);
    assert_eq!((&halted.body["halted"], halted.text("/halt_reason")), (&json!(true), "fat finger"));
    let again = api.put("/v1/accounts/alpha/halt", json!({ "halted": true, "reason": "later" })).is(200);
    assert_eq!(again.body["halted_since"], halted.body["halted_since"]);
    let free = api.put("/v1/accounts/alpha/halt", json!({ "halted": false })).is(200);
    assert_eq!((&free.body["halted"], &free.body["halt_reason"]), (&json!(false), &Value::Null));
    assert_eq!(api.put("/v1/accounts/alpha/leg", json!({ "pin": "secondary" })).is(200).text("/pin"), "secondary");
    assert_eq!(api.put("/v1/accounts/alpha/leg", json!({ "pin": "auto" })).is(200).body["pin"], Value::Null);
    api.put("/v1/accounts/alpha/leg", json!({ "pin": "tertiary" })).names("pin");

    let usage = api.get("/v1/accounts/alpha/limits").is(200);
    let minute = json!({ "class": "order", "seconds": 60, "used": 0, "reserved": 0, "allowed": 237, "limit": 250 });
    assert!(usage.body["items"].as_array().unwrap().contains(&minute), "{}", usage.raw);
    api.get("/v1/accounts/gamma/limits").is(404);
    assert_eq!(api.get("/v1/accounts/alpha/orders/1124").is(409).text("/code"), "no_pair");
    api.get("/v1/accounts/alpha/orders/%2e%2e").is(404);
    assert_eq!(api.get("/v1/orders/unsettled").is(200).body, json!({ "items": [] }));
    api.post("/v1/orders/nobody/settled", json!({ "note": "looked" })).is(404);
    api.post("/v1/orders/nobody/settled", json!({ "note": "looked", "outcome": "unknown" })).names("outcome");
    api.post("/v1/orders/nobody/settled", json!({ "note": " " })).names("note");
    api.get("/v1/halt").is(200);
    api.put("/v1/halt", json!({ "halted": false })).is(200);
    api.post("/v1/totp/preview", json!({ "totp_secret": TOTP })).is(200);
    let set_aside = api.post("/v1/pools/main/reservations", json!({})).is(201);
    api.delete(&format!("/v1/pools/main/reservations/{}", set_aside.text("/id"))).is(204);
    api.get("/v1/pools/main/pairs").is(200);
    api.get("/v1/addresses").is(200);
    api.get("/v1/addresses/2001:db8:a2::1").is(200);
    api.delete("/v1/addresses/2001:db8:a2::1").is(204);

    let key = api.post("/v1/accounts/alpha/keys", json!({})).is(201);
    let listed = api.get("/v1/accounts/alpha/keys").is(200);
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed.text("/items/0/id"), key.text("/id"));
    api.get("/v1/accounts/gamma/keys").is(404);
    api.post("/v1/accounts/gamma/keys", json!({})).is(404);
    api.delete(&format!("/v1/accounts/alpha/keys/{}", key.text("/id"))).is(204);
    api.delete(&format!("/v1/accounts/alpha/keys/{}", key.text("/id"))).is(404);

    let given = json!({ "access_token": token("1000000001", DAY) });
    let state = api.put("/v1/accounts/alpha/token", given.clone()).is(200);
    // A login that was under way is seen to its end.
    assert!(matches!(state.text("/state"), "live" | "refreshing"), "{:?}", state.body);
    assert_eq!(state.text("/source"), "manual");
    wait_until("the login to end", Duration::from_secs(30), || {
        api.get("/v1/accounts/alpha/token").is(200).text("/state") == "live"
    });
    api.put("/v1/accounts/gamma/token", given).is(404);
    api.get("/v1/accounts/gamma/token").is(404);

    assert_eq!(api.post("/v1/accounts/alpha/token/refresh", json!({})).is(200).text("/state"), "live");
    api.post("/v1/accounts/gamma/token/refresh", json!({})).is(404);
    api.post("/v1/accounts/alpha/token/refresh", json!({ "vouched": "yes" })).names("vouched");

    // It has no pair, so the broker is not asked; `broker_calls` has the rest.
    assert_eq!(api.get("/v1/orders").is(200).body, json!({ "items": [], "next": null, "unreadable": 0 }));
    let filtered = "/v1/orders?account=alpha&outcome=executed&since=2026-11-25T00:00:00%2B05:30&limit=5";
    api.get(filtered).is(200);
    for (query, name) in [
        ("outcome=done", "outcome"),
        ("since=today", "since"),
        ("limit=0", "limit"),
        ("x=1", "x"),
        ("cursor=x", "cursor"),
    ] {
        api.get(&format!("/v1/orders?{query}")).names(name);
    }

    wait_until("the first check of the host", Duration::from_secs(20), || {
        !api.get("/v1/host").is(200).body["checked_at"].is_null()
    });
    let host = api.get("/v1/host").is(200);
    for finding in host.body["findings"].as_array().unwrap() {
        assert!(["error", "warning"].contains(&finding["severity"].as_str().unwrap()), "{finding}");
    }

    api.post("/v1/console/links", json!({})).is(201);
    assert_eq!(api.post("/v1/reload", json!({})).is(200).body["problems"], json!([]));
    api.post("/v1/reload", json!({ "file": "x" })).is(422);
    let audit = api.get("/v1/audit?limit=1").is(200);
    let older = api.get(&format!("/v1/audit?cursor={}", audit.text("/next"))).is(200);
    assert_eq!(older.body["items"][0]["hash"], audit.body["items"][0]["prev"]);
    for (query, field) in [("limit=0", "limit"), ("cursor=x", "cursor"), ("colour=red", "colour")] {
        api.get(&format!("/v1/audit?{query}")).names(field);
    }
    let recent = api.get("/v1/events/recent?limit=5").is(200);
    assert_eq!(recent.body["items"].as_array().unwrap().len(), 5);
    api.get("/v1/history").is(200);
    let archive = api.get("/v1/evidence?account=alpha").is(200);
    assert_eq!(archive.header("content-type"), Some("application/x-tar"));
    assert_eq!(api.get("/v1/status").is(200).body["accounts"]["total"], 2);

    let checks = api.post("/v1/accounts/alpha/validate", json!({})).is(200);
    assert_eq!((&checks.body["ok"], checks.text("/checks/0/name")), (&json!(false), "pair"));
    assert_eq!(checks.body["checks"].as_array().unwrap().len(), 11);
    api.post("/v1/accounts/alpha/validate", json!({ "x": 1 })).names("x");
    api.post("/v1/accounts/gamma/validate", json!({})).is(404);
    let all = api.post("/v1/validate", json!({})).is(200);
    assert_eq!((all.text("/items/0/account"), all.text("/items/1/account")), ("alpha", "beta"));
    assert_eq!(all.body["items"][0]["checks"], checks.body["checks"]);
    let lines = api.raw("POST", "/v1/validate", &[("accept", "application/x-ndjson")], b"").unwrap().is(200);
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let line = |text: &str| serde_json::from_str::<Value>(text).ok().filter(|line| line["account"].is_string());
    let told: BTreeMap<String, Value> =
        lines.raw.lines().filter_map(line).map(|line| (line["account"].as_str().unwrap().to_owned(), line)).collect();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["alpha", "beta"]);
    assert_eq!(told["alpha"], all.body["items"][0]);
    api.get("/v1/validate/job").is(404);
    api.delete("/v1/validate/job").is(404);
    api.post("/v1/validate/job", json!({ "x": 1 })).names("x");
    assert_eq!(api.post("/v1/validate/job", json!({})).is(202).body["total"], 2);
    wait_until("every account to be looked at", LIMIT, || api.get("/v1/validate/job").body["ended_at"].is_string());
    let job = api.get("/v1/validate/job").is(200).body;
    assert_eq!((&job["done"], &job["not_ready"], &job["stopped"]), (&json!(2), &json!(2), &json!(false)), "{job}");
    api.delete("/v1/validate/job").is(204);
    assert_eq!(api.get("/v1/accounts/alpha/registration").is(409).text("/code"), "no_pair");
    assert_eq!(api.put("/v1/accounts/alpha/registration", json!({})).is(409).text("/code"), "no_pair");
    api.get("/v1/accounts/gamma/registration").is(404);
    api.put("/v1/accounts/gamma/registration", json!({})).is(404);

    api.delete("/v1/accounts/beta").is(204);
    api.delete("/v1/accounts/beta").is(404);
    assert_eq!(api.get("/v1/accounts").is(200).body["items"].as_array().unwrap().len(), 1);

    let covered = api.covered.lock().unwrap().clone();
    for (method, path, operation) in schema::operations(api.document()) {
        // These need a broker, or a host of their own: `broker_calls`, `tokens`, `events` and `doctor` try them.
        let elsewhere = path.starts_with("/auth/dhan")
            || matches!(path.as_str(), "/v1/events" | "/v1/host/check")
            || ["/token/consent", "/registration", "/settled", "/orders/{order_id}"]
                .iter()
                .any(|end| path.ends_with(end));
        let good =
            elsewhere || covered.iter().any(|(m, p, status)| *m == method && *p == path && (200..300).contains(status));
        assert!(good, "{method} {path} is documented and was not tried");
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let named: Vec<&str> = parameters.filter(|p| p["in"] == "path").filter_map(|p| p["name"].as_str()).collect();
        let braces: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(named, braces, "{method} {path}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{method} {path} {status}");
        }
    }
    running.gateway.terminate();
}

/// Generators make a function per operation, and name it by this.
#[test]
fn operation_ids_are_unique() {
    let running = start();
    let mut seen = BTreeSet::new();
    for (method, path, operation) in schema::operations(running.api.document()) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        assert!(!id.is_empty() && seen.insert(id.clone()), "{method} {path} is another {id:?}");
    }
}

/// A person who typed one field wrong among ten has to be told which.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of wrong fields")]
fn a_wrong_field_is_named_and_nothing_is_made() {
    let running = start();
    let api = &running.api;
    let long = "x".repeat(5000);
    let wrong: [(&str, Value); 40] = [
        ("name", json!(null)),
        ("name", json!(7)),
        ("name", json!("a b")),
        ("name", json!("a:b")),
        ("name", json!("")),
        ("name", json!("n".repeat(65))),
        ("name", json!(long)),
        ("platform", json!(null)),
        ("platform", json!("DHAN")),
        ("platform", json!(1)),
        ("client_id", json!(null)),
        ("client_id", json!(1_000_000_001)),
        ("client_id", json!("0a1b2c3d")),
        ("client_id", json!("1".repeat(21))),
        ("nickname", json!(true)),
        ("nickname", json!(long)),
        ("nickname", json!("n".repeat(4090))),
        ("nickname", json!("\u{1}".repeat(1000))),
        ("pin", json!(123_456)),
        ("pin", json!("123")),
        ("pin", json!("1234567")),
        ("pin", json!("12a4")),
        ("pin", json!(null)),
        ("pin", json!("")),
        ("totp_secret", json!("123456")),
        ("totp_secret", json!("JBSWY3DPEHPK3PX!")),
        ("totp_secret", json!("JBSWY3DP")),
        ("totp_secret", json!(["JBSWY3DPEHPK3PXP"])),
        ("totp_secret", json!(null)),
        ("totp_secret", json!("A".repeat(4000))),
        ("phone", json!(919_999_999_999_u64)),
        ("phone", json!("9".repeat(4000))),
        ("api_key", json!({})),
        ("api_key", json!("k".repeat(4000))),
        ("api_secret", json!(1.5)),
        ("api_secret", json!(long)),
        ("access_token", json!("hunter2")),
        ("access_token", json!(token("1000000002", DAY))),
        ("access_token", json!(token("1000000001", -1))),
        ("Name", json!("alpha")),
    ];
    for (field, value) in wrong {
        let mut body = automatic("alpha", "1000000001");
        if value.is_null() {
            body.as_object_mut().unwrap().remove(field);
        } else {
            body[field] = value.clone();
        }
        let reply = api.post("/v1/accounts", body);
        assert_eq!((reply.status, reply.text("/field")), (422, field), "{value}: {}", reply.raw);
    }
    // All that is wrong; what is given and wrong is not missing too.
    let wrong = json!({ "platform": "DHAN_V2_AT_IPV6", "client_id": "x", "pin": "1", "api_key": {}, "Name": 1 });
    let reply = api.post("/v1/accounts", wrong).is(422);
    let told = reply.body["errors"].as_array().unwrap();
    let fields: Vec<_> = told.iter().map(|wrong| wrong["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["name", "client_id", "pin", "api_key", "Name", "totp_secret"], "{}", reply.raw);
    assert_eq!((reply.text("/field"), reply.text("/code")), ("name", "invalid"), "{}", reply.raw);
    for wrong in told {
        let (field, why) = (wrong["field"].as_str().unwrap(), wrong["detail"].as_str().unwrap());
        assert!(reply.text("/detail").contains(&format!("{field}: {why}")), "{}", reply.raw);
    }
    let one = api.post("/v1/accounts", json!({ "name": "a", "platform": "DHAN_V2_IPV6" })).is(422);
    assert!(one.body.get("errors").is_none(), "{}", one.raw);
    assert_eq!(api.get("/v1/accounts").is(200).body["items"], json!([]));

    // As long as each may be, all at once: a record has room for them.
    let mut longest = automatic("longest", &"9".repeat(20));
    // A backslash takes two bytes in the record.
    for (field, of) in [("nickname", "\\"), ("phone", "9"), ("api_key", "\\"), ("api_secret", "\\")] {
        longest[field] = json!(of.repeat(256));
        api.post("/v1/accounts", {
            let mut longer = longest.clone();
            longer[field] = json!(of.repeat(257));
            longer
        })
        .names(field);
    }
    // Signed in some way of which nobody knows how long its signatures are.
    let of_today = token(&"9".repeat(20), DAY);
    let (_, signed) = of_today.split_once('.').unwrap();
    longest["access_token"] = json!(format!("eyJ0eXAiOiJKV1QifQ.{signed}{}", "s".repeat(3200)));
    api.post("/v1/accounts", longest).is(201);

    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    // What only the records tell is told with the rest; alone it is what it was.
    let mut other = automatic("Beta 1", "1000000001");
    other["access_token"] = json!(token("1000000002", DAY));
    let reply = api.post("/v1/accounts", other.clone()).is(422);
    let told: Vec<_> = reply.body["errors"].as_array().unwrap().iter().map(|wrong| wrong["field"].clone()).collect();
    assert_eq!(told, ["name", "access_token", "client_id"], "{}", reply.raw);
    other.as_object_mut().unwrap().remove("access_token");
    other["name"] = json!("alpha");
    let reply = api.post("/v1/accounts", other).is(409);
    assert_eq!(
        (reply.text("/code"), reply.body["errors"].as_array().map(Vec::len)),
        ("taken", Some(2)),
        "{}",
        reply.raw
    );

    for (field, value) in
        [("name", json!("beta")), ("pin", json!("x")), ("nick", json!("x")), ("access_token", json!("x"))]
    {
        let mut body = json!({});
        body[field] = value;
        api.patch("/v1/accounts/alpha", body).names(field);
    }
    let reply = api.patch("/v1/accounts/alpha", json!({ "name": "beta", "client_id": "x", "remove": 1 })).is(422);
    assert_eq!(reply.body["errors"].as_array().map(Vec::len), Some(3), "{}", reply.raw);
    // "longest" has this id, and the token is the account's own; with that id it would be another customer's.
    let other = json!({ "pin": "x", "client_id": "9".repeat(20), "access_token": token("1000000001", DAY) });
    let reply = api.patch("/v1/accounts/alpha", other).is(422);
    let told: Vec<_> = reply.body["errors"].as_array().unwrap().iter().map(|wrong| wrong["field"].clone()).collect();
    assert_eq!(told, ["pin", "access_token", "client_id"], "{}", reply.raw);
    api.put("/v1/accounts/alpha/token", json!({})).names("access_token");
    api.put("/v1/accounts/alpha/token", json!({ "access_token": 7 })).names("access_token");
    api.put("/v1/accounts/alpha/token", json!({ "access_token": token("1000000002", DAY) })).names("access_token");
    api.put("/v1/accounts/alpha/token", json!({ "access_token": token("1000000001", 0) })).names("access_token");
    api.put("/v1/accounts/alpha/token", json!({ "access_token": "a.b.c" })).names("access_token");
    let long_token = format!("{}{}", token("1000000001", DAY), "s".repeat(3500));
    api.put("/v1/accounts/alpha/token", json!({ "access_token": long_token })).names("access_token");
    api.put("/v1/accounts/alpha/token", json!({ "access_token": token("1000000001", DAY), "x": 1 })).names("x");
    assert_eq!(api.get("/v1/accounts/alpha/token").is(200).text("/state"), "needs_person");
    api.post("/v1/accounts/alpha/keys", json!({ "id": "mine" })).names("id");
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("cursor=a%20b", "cursor"),
        ("page=2", "page"),
    ] {
        let reply = api.get(&format!("/v1/accounts?{query}"));
        assert_eq!((reply.status, reply.text("/field")), (422, field), "{query}: {}", reply.raw);
    }
}

/// Changing to the platform that logs in by itself, with nothing to log in by, only shows the next morning.
#[test]
fn an_account_does_not_become_automatic_without_its_login() {
    let running = start();
    let api = &running.api;
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    api.patch("/v1/accounts/alpha", json!({ "platform": "DHAN_V2_AT_IPV6" })).names("pin");
    api.patch("/v1/accounts/alpha", json!({ "platform": "DHAN_V2_AT_IPV6", "pin": PIN })).names("totp_secret");
    assert_eq!(api.get("/v1/accounts/alpha").is(200).text("/platform"), "DHAN_V2_IPV6");
    api.patch("/v1/accounts/alpha", json!({ "pin": PIN, "totp_secret": TOTP })).is(200);
    api.patch("/v1/accounts/alpha", json!({ "platform": "DHAN_V2_AT_IPV6" })).is(200);
    // Backwards nothing is needed, and what is stored stays.
    api.patch("/v1/accounts/alpha", json!({ "platform": "DHAN_V2_IPV6" })).is(200);
    api.patch("/v1/accounts/alpha", json!({ "platform": "DHAN_V2_AT_IPV6" })).is(200);
}

/// The broker's secrets are why this gateway exists: whoever gets at its replies, its log or its disk must not find one.
#[test]
fn secrets_are_in_no_reply_no_log_and_nowhere_on_disk() {
    let mut running = start();
    let api = running.api.clone();
    let (phone, api_key, api_secret) = ("919812345670", "f00dcafe-apikey", "5ec12e7-api-5ec12e7");
    let tokens = [token("1000000001", DAY), token("1000000001", DAY + 1), token("1000000002", DAY)];
    let mut body = automatic("alpha", "1000000001");
    for (field, value) in
        [("phone", phone), ("api_key", api_key), ("api_secret", api_secret), ("access_token", &tokens[0])]
    {
        body[field] = json!(value);
    }
    let known = [PIN, TOTP, phone, api_key, api_secret];
    // In the wrong places and shapes first: refusals are where secrets are quoted.
    for secret in known.iter().copied().chain(tokens.iter().map(String::as_str)) {
        for field in ["name", "platform", "client_id", "pin", "totp_secret", "access_token"] {
            let mut wrong = body.clone();
            wrong[field] = json!(format!("~{secret}~"));
            api.post("/v1/accounts", wrong).is(422);
            let mut wrong = body.clone();
            wrong[field] = json!([secret]);
            api.post("/v1/accounts", wrong).is(422);
        }
        for raw in [format!("{{\"pin\":\"{secret}\""), format!("\"{secret}\""), secret.to_owned()] {
            api.raw("POST", "/v1/accounts", &[], raw.as_bytes()).unwrap().is(400);
        }
        api.post("/v1/pools", pool("main", secret, secret)).names("primary");
    }
    api.put("/v1/accounts/alpha/token", json!({ "access_token": tokens[2] })).is(404);
    api.post("/v1/accounts", body.clone()).is(201);
    api.post("/v1/accounts", body.clone()).is(409);
    api.put("/v1/accounts/alpha/token", json!({ "access_token": tokens[2] })).names("access_token");
    api.put("/v1/accounts/alpha/token", json!({ "access_token": tokens[1] })).is(200);
    api.patch("/v1/accounts/alpha", json!({ "pin": PIN, "phone": phone, "nickname": "x" })).is(200);
    api.get("/v1/accounts/alpha").is(200);
    api.get("/v1/accounts").is(200);
    api.get("/v1/accounts/alpha/token").is(200);
    api.get("/metrics").is(200);
    let key = api.post("/v1/accounts/alpha/keys", json!({})).is(201).text("/key").to_owned();
    api.get("/v1/accounts/alpha/keys").is(200);
    assert_eq!(through_the_proxy(running.dir.path(), "alpha", &key), 403, "a good key is let in");
    assert_eq!(through_the_proxy(running.dir.path(), "alpha", "sgk_wrong"), 407);
    let text = |file: &str| std::fs::read_to_string(running.dir.path().join("state").join(file)).unwrap();
    let own = [text("admin.token"), text("operator.token"), text("viewer.token"), text("master.key")];
    api.showing(Some(own[2].trim())).post("/v1/accounts", body).is(403);

    let mut needles: Vec<&str> = known.to_vec();
    needles.extend(own.iter().map(|text| text.trim()));
    needles.push(&key);
    // A third of a token is enough to know it again by; the header is everybody's.
    needles.extend(tokens.iter().flat_map(|token| token.split('.').skip(1).take(1)));

    let replies = api.seen.lock().unwrap().clone();
    for reply in &replies {
        for needle in needles.iter().filter(|needle| reply.raw.contains(**needle)) {
            let shown_once = *needle == key && reply.status == 201 && reply.body["key"] == key.as_str();
            assert!(shown_once, "{needle} is in a reply:\n{}", reply.raw);
        }
    }
    assert_eq!(replies.iter().filter(|reply| reply.raw.contains(&key)).count(), 1);
    find_on_disk(running.dir.path(), &needles);
    running.gateway.terminate();
    find_on_disk(running.dir.path(), &needles);
    assert!(running.gateway.has_logged("/v1/accounts/alpha/token"), "the log has what was done");
}

/// Panics if a file below `dir` holds one of the texts, except the one file that is made to hold it.
fn find_on_disk(dir: &Path, needles: &[&str]) {
    let mut folders = vec![dir.to_path_buf()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let own = ["admin.token", "operator.token", "viewer.token", "master.key"];
            if !kind.is_file() || own.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            // An export may be replaced while this looks.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            files += 1;
            for needle in needles {
                let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
                assert!(!found, "{needle} is in {}", path.display());
            }
        }
    }
    assert!(files > 5, "there was something to search");
}

/// What the listener for callers answers to an account and key: 403 is past the key, for nobody's host.
fn through_the_proxy(dir: &Path, account: &str, key: &str) -> u16 {
    let mut stream = api::connect(&At::Unix(dir.join("proxy.sock"))).unwrap();
    let basic = BASE64.encode(format!("{account}:{key}").as_bytes());
    write!(
        stream,
        "GET http://example.com/ HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\
         proxy-authorization: Basic {basic}\r\n\r\n"
    )
    .unwrap();
    api::read_reply(stream).unwrap().status
}

/// Two pools that share an address would give it twice.
#[test]
fn a_pool_is_refused_when_it_cannot_give_addresses_of_its_own() {
    let running = start();
    let api = &running.api;
    api.post("/v1/pools", main_pool()).is(201);
    api.post("/v1/pools", main_pool()).is(409);
    let other = |primary: &str, secondary: &str| api.post("/v1/pools", pool("other", primary, secondary));
    let (b1, b2) = ("fd00:b1::/64", "fd00:b2::/64");
    for inside in ["2001:db8:a1::/64", "2001:db8:a2::/96", "2001:db8::/32", "2001:db8:a1::7/128"] {
        assert_eq!(other(inside, b2).is(409).text("/code"), "taken", "{inside}");
        assert_eq!(other(b1, inside).is(409).text("/code"), "taken", "{inside}");
    }
    for bad in [
        "2001:db8:b1::1/64",
        "::/0",
        "ff00::/16",
        "fe80::/64",
        "::1/128",
        "::ffff:0:0/96",
        "10.0.0.0/8",
        "x",
        "2001:db8:b1::",
        "2001:db8:b1::/129",
        "",
    ] {
        other(bad, b2).names("primary");
        other(b1, bad).names("secondary");
    }
    other(b1, b1).names("secondary");
    other("fd00:b1::/48", b1).names("secondary");
    api.post("/v1/pools", pool("", b1, b2)).names("name");
    api.post("/v1/pools", pool("a/b", b1, b2)).names("name");
    api.post("/v1/pools", json!({ "name": "other", "primary": b1 })).names("secondary");
    api.post("/v1/pools", json!({ "name": "other", "primary": b1, "secondary": b2, "size": 1 })).names("size");
    api.post("/v1/pools", json!({ "name": 1, "primary": b1, "secondary": b2 })).names("name");
    assert_eq!(api.get("/v1/pools").is(200).body["items"].as_array().unwrap().len(), 1);

    let reply = api.post("/v1/pools", json!({ "name": 1, "primary": "x", "secondary": "2001:db8::1" })).is(422);
    assert_eq!(reply.body["errors"].as_array().map(Vec::len), Some(3), "{}", reply.raw);
    // One address each: what a host with two of them has.
    let one = api.post("/v1/pools", pool("one", "2001:db8:c1::7/128", "2001:db8:c2::9/128")).is(201);
    assert_eq!(one.text("/capacity"), "1");
    for (n, name) in ["alpha", "beta"].iter().enumerate() {
        api.post("/v1/accounts", manual(name, &format!("100000000{n}"))).is(201);
    }
    let given = api.post("/v1/accounts/alpha/pair", json!({ "pool": "one" })).is(201);
    assert_eq!(given.body, pair("2001:db8:c1::7", "2001:db8:c2::9"));
    assert_eq!(api.post("/v1/accounts/beta/pair", json!({ "pool": "one" })).is(409).text("/code"), "pool_exhausted");
    let nowhere = api.post("/v1/accounts/beta/pair", json!({ "pool": "nowhere" })).is(404);
    assert!(nowhere.text("/detail").contains("pool nowhere"), "{}", nowhere.raw);
    api.post("/v1/accounts/beta/pair", json!({ "pool": 7 })).names("pool");
    // A pool that only remembers is empty; what it remembers outlives it.
    api.delete("/v1/pools/one").is(409);
    api.delete("/v1/accounts/alpha/pair").is(204);
    api.delete("/v1/pools/one").is(204);
    let again = api.post("/v1/pools", pool("again", "2001:db8:c1::7/128", "2001:db8:c2::9/128")).is(409);
    assert_eq!(again.text("/code"), "pool_exhausted");
    assert!(again.text("/detail").contains("the broker has seen them"), "{}", again.raw);
    api.delete("/v1/pools/nowhere").is(404);
}

/// Identifiers that belong to routers (RFC 4291, 2526) or to IANA (RFC 5453) do not answer for a host.
#[test]
fn the_next_pair_is_never_a_reserved_identifier() {
    let running = start();
    let api = &running.api;
    assert_eq!(
        api.post("/v1/pools", pool("tiny", "2001:db8:a1::/125", "2001:db8:a2::/125")).is(201).text("/capacity"),
        "7"
    );
    for n in 1..=7 {
        api.post("/v1/accounts", manual(&format!("a{n}"), &format!("{n}"))).is(201);
        let given = api.post(&format!("/v1/accounts/a{n}/pair"), json!({})).is(201);
        assert_eq!(given.body, pair(&format!("2001:db8:a1::{n}"), &format!("2001:db8:a2::{n}")));
    }
    api.post("/v1/accounts", manual("a8", "8")).is(201);
    assert_eq!(api.post("/v1/accounts/a8/pair", json!({})).is(409).text("/code"), "pool_exhausted");
}

/// An address that the broker has seen from one customer is refused for the next for a week; a second assignment by a
/// script that was run twice must not burn one.
#[test]
fn a_pair_stays_with_its_account_and_its_tombstone_keeps_others_off() {
    let running = start();
    let api = &running.api;
    for (name, id) in [("alpha", "1000000001"), ("beta", "1000000002")] {
        api.post("/v1/accounts", manual(name, id)).is(201);
    }
    assert_eq!(api.post("/v1/accounts/alpha/pair", json!({})).is(409).text("/code"), "no_pool");
    api.post("/v1/pools", main_pool()).is(201);
    api.post("/v1/pools", pool("more", "2001:db8:b1::/64", "2001:db8:b2::/64")).is(201);
    let alpha = |body: Value| api.post("/v1/accounts/alpha/pair", body);
    let beta = |body: Value| api.post("/v1/accounts/beta/pair", body);
    let own = pair("2001:db8:a1::50", "2001:db8:a2::50");

    for (field, wrong) in [
        ("primary", pair("::1", "2001:db8:a2::50")),
        ("primary", pair("fe80::1", "2001:db8:a2::50")),
        ("primary", pair("192.0.2.1", "2001:db8:a2::50")),
        ("secondary", pair("2001:db8:a1::50", "ff02::1")),
        ("secondary", pair("2001:db8:a1::50", "2001:db8:a1::50")),
        ("secondary", json!({ "primary": "2001:db8:a1::50" })),
        ("primary", json!({ "secondary": "2001:db8:a1::50" })),
        ("primary", json!({ "primary": 7, "secondary": "2001:db8:a1::50" })),
        ("pool", json!({ "pool": "main", "primary": "2001:db8:a1::50", "secondary": "2001:db8:a2::50" })),
        ("count", json!({ "count": 2 })),
    ] {
        alpha(wrong).names(field);
    }
    assert_eq!(alpha(own.clone()).is(201).body, own);
    assert_eq!(alpha(own.clone()).is(200).body, own);
    // It came from the pool that has it, however it was asked for.
    alpha(json!({ "pool": "main" })).is(200);
    alpha(json!({ "pool": "more" })).is(409);
    alpha(pair("2001:db8:a1::51", "2001:db8:a2::51")).is(409);
    for crossing in [
        own.clone(),
        pair("2001:db8:a1::50", "2001:db8:a2::51"),
        pair("2001:db8:a1::51", "2001:db8:a2::50"),
        pair("2001:db8:a2::50", "2001:db8:a1::50"),
    ] {
        let taken = beta(crossing).is(409);
        assert!(taken.text("/detail").contains("held by account alpha"), "{}", taken.raw);
    }

    api.delete("/v1/accounts/alpha/pair").is(204);
    let gone = api.get("/v1/accounts/alpha").is(200);
    assert_eq!((&gone.body["pair"], &gone.body["legs"]), (&Value::Null, &json!([])));
    let tombstone = beta(own.clone()).is(409);
    assert!(tombstone.text("/detail").contains("retired from account alpha"), "{}", tombstone.raw);
    assert_eq!(alpha(own.clone()).is(201).body, own, "back to the same customer");

    // The account goes and one of its name comes: the same customer may, another may not.
    api.delete("/v1/accounts/alpha").is(204);
    api.post("/v1/accounts", manual("alpha", "1000000003")).is(201);
    alpha(own.clone()).is(409);
    api.delete("/v1/accounts/alpha").is(204);
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    alpha(own.clone()).is(201);
    api.delete("/v1/accounts/alpha/pair").is(204);
    // As another customer, what it had is a stranger's.
    api.patch("/v1/accounts/alpha", json!({ "client_id": "1000000004" })).is(200);
    alpha(own).is(409);
    assert_eq!(alpha(json!({})).is(201).body, pair("2001:db8:a1::1", "2001:db8:a2::1"));
}

/// Who has mistyped a client id does not burn the addresses for it; who has logged in once keeps them with that customer.
#[test]
fn a_client_id_can_be_mended_until_the_pair_was_logged_in_with() {
    let running = start();
    let api = &running.api;
    api.post("/v1/pools", main_pool()).is(201);
    api.post("/v1/accounts", manual("alpha", "1000000009")).is(201);
    let given = api.post("/v1/accounts/alpha/pair", json!({})).is(201).body;
    let mend = |name: &str, id: &str| api.patch(&format!("/v1/accounts/{name}"), json!({ "client_id": id }));

    let mended = mend("alpha", "1000000001").is(200);
    assert_eq!((mended.text("/client_id"), &mended.body["pair"]), ("1000000001", &given));
    // The wrong one is free for whoever it belongs to.
    api.post("/v1/accounts", manual("beta", "1000000009")).is(201);
    assert_eq!(mend("alpha", "1000000009").is(409).text("/code"), "taken");

    // Its addresses are written to the new customer: another one of its name does not get them, and that one does.
    api.delete("/v1/accounts/alpha").is(204);
    let again = |id: &str, status: u16| {
        api.post("/v1/accounts", manual("alpha", id)).is(201);
        let answer = api.post("/v1/accounts/alpha/pair", given.clone()).is(status);
        assert!(status == 201 || answer.text("/detail").contains("retired from account alpha"), "{}", answer.raw);
    };
    again("1000000003", 409);
    api.delete("/v1/accounts/alpha").is(204);
    again("1000000001", 201);
    // What it was given again may have been registered the first time.
    assert!(mend("alpha", "1000000003").is(409).text("/detail").contains("or had before"));

    // A token ends it, also one that has died since.
    api.post("/v1/accounts/beta/pair", json!({})).is(201);
    api.put("/v1/accounts/beta/token", json!({ "access_token": token("1000000009", DAY) })).is(200);
    let refused = mend("beta", "1000000004").is(409);
    assert!(refused.text("/detail").contains("logged in"), "{}", refused.raw);
    api.delete("/v1/accounts/beta/pair").is(204);
    mend("beta", "1000000004").is(200);
}

/// A key that still opens after it was taken away is an order engine that nobody can stop.
#[test]
fn a_client_key_works_until_it_is_deleted_or_its_account_is() {
    let running = start();
    let (api, dir) = (&running.api, running.dir.path());
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    api.post("/v1/accounts", manual("beta", "1000000002")).is(201);
    let make = || {
        let made = api.post("/v1/accounts/alpha/keys", json!({})).is(201);
        (made.text("/id").to_owned(), made.text("/key").to_owned())
    };
    let ((one, one_key), (two, two_key)) = (make(), make());
    for (account, key, status) in [("alpha", &one_key, 403), ("alpha", &two_key, 403), ("beta", &one_key, 407)] {
        assert_eq!(through_the_proxy(dir, account, key), status, "{account}");
    }
    let listed = api.get("/v1/accounts/alpha/keys").is(200);
    let ids: BTreeSet<_> =
        listed.body["items"].as_array().unwrap().iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(ids, [one.as_str(), two.as_str()].into());

    api.delete(&format!("/v1/accounts/beta/keys/{one}")).is(404);
    api.delete(&format!("/v1/accounts/alpha/keys/{one}")).is(204);
    assert_eq!((through_the_proxy(dir, "alpha", &one_key), through_the_proxy(dir, "alpha", &two_key)), (407, 403));
    for nobody in ["x".repeat(300), "%00".to_owned(), "..".to_owned(), format!("{one}%00")] {
        api.delete(&format!("/v1/accounts/alpha/keys/{nobody}")).is(404);
    }
    api.delete("/v1/accounts/alpha").is(204);
    assert_eq!(through_the_proxy(dir, "alpha", &two_key), 407);
    // The next account of that name is somebody else's.
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    assert_eq!(through_the_proxy(dir, "alpha", &two_key), 407);
    assert_eq!(api.get("/v1/accounts/alpha/keys").is(200).body["items"], json!([]));
}

/// An engine keeps its connection and shows the same key with each order; that it was good once says nothing.
#[test]
fn a_kept_connection_is_refused_once_its_key_is_deleted() {
    let running = start();
    let api = &running.api;
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    let make = || {
        let made = api.post("/v1/accounts/alpha/keys", json!({})).is(201);
        (made.text("/id").to_owned(), BASE64.encode(format!("alpha:{}", made.text("/key")).as_bytes()))
    };
    let ((one, shown), (_, other)) = (make(), make());
    let at = At::Unix(running.dir.path().join("proxy.sock"));
    let mut stream = BufReader::new(api::connect(&at).unwrap());
    let mut ask = |basic: &str| {
        write!(
            stream.get_mut(),
            "POST http://example.com/ HTTP/1.1\r\nhost: example.com\r\ncontent-length: 2\r\n\
             proxy-authorization: Basic {basic}\r\n\r\n{{}}"
        )
        .unwrap();
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.to_ascii_lowercase()
        };
        let status = line().split(' ').nth(1).unwrap().parse::<u16>().unwrap();
        let fields: Vec<String> = std::iter::from_fn(|| Some(line()).filter(|line| line != "\r\n")).collect();
        let length = fields.iter().find_map(|field| field.strip_prefix("content-length: ")).unwrap();
        stream.read_exact(&mut vec![0; length.trim().parse().unwrap()]).unwrap();
        status
    };
    // The host is not one that is passed on to; before that is looked at, the caller is.
    assert_eq!((ask(&shown), ask(&shown)), (403, 403));
    api.patch("/v1/accounts/alpha", json!({ "nickname": "changed" })).is(200);
    assert_eq!((ask(&shown), ask(&other), ask(&shown)), (403, 403, 403));
    api.delete(&format!("/v1/accounts/alpha/keys/{one}")).is(204);
    assert_eq!(ask(&shown), 407);
}

/// People paste tokens from a page, with whatever stands around them.
#[test]
fn a_token_is_taken_as_pasted_and_its_end_is_told() {
    let running = start();
    let api = &running.api;
    let mut body = manual("alpha", "1000000001");
    let given = token("1000000001", 3600);
    body["access_token"] = json!(format!("  {given}\n"));
    let made = api.post("/v1/accounts", body).is(201);
    assert_eq!((made.text("/token/state"), made.text("/token/source")), ("live", "access_token"));
    let ends: jiff::Timestamp = made.text("/token/expires_at").parse().unwrap();
    let left = ends.as_second() - jiff::Timestamp::now().as_second();
    assert!((3500..=3600).contains(&left), "{left}");
    assert!(made.text("/token/expires_at").ends_with('Z'), "RFC 3339 in UTC");
    let later = api.put("/v1/accounts/alpha/token", json!({ "access_token": token("1000000001", DAY) })).is(200);
    assert!(later.text("/expires_at").parse::<jiff::Timestamp>().unwrap() > ends);
    api.put("/v1/accounts/alpha/token", json!({ "access_token": given })).is(200);
    // Another customer has no use for it.
    let changed = api.patch("/v1/accounts/alpha", json!({ "client_id": "1000000002" })).is(200);
    assert_eq!((changed.text("/token/state"), &changed.body["token"]["expires_at"]), ("needs_person", &Value::Null));
    let both = json!({ "client_id": "1000000003", "access_token": token("1000000003", DAY) });
    assert_eq!(api.patch("/v1/accounts/alpha", both).is(200).text("/token/state"), "live");
    let not_its_own = json!({ "client_id": "1000000004", "access_token": token("1000000003", DAY) });
    api.patch("/v1/accounts/alpha", not_its_own).names("access_token");
    assert_eq!(api.get("/v1/accounts/alpha").is(200).text("/client_id"), "1000000003");
}

/// Monitoring runs without a token; whoever changes things shows the right one.
#[test]
fn each_role_may_do_what_it_is_for_and_no_more() {
    use std::os::unix::fs::PermissionsExt;
    let running = start();
    let api = &running.api;
    let file = |name: &str| running.dir.path().join("state").join(name);
    let role = |name: &str| {
        assert_eq!(std::fs::metadata(file(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        api.showing(Some(std::fs::read_to_string(file(name)).unwrap().trim()))
    };
    let (admin, operator, viewer) = (role("admin.token"), role("operator.token"), role("viewer.token"));
    admin.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    admin.post("/v1/pools", main_pool()).is(201);

    let nobody = api.showing(None);
    for path in ["/healthz", "/readyz", "/metrics", "/ca.pem", "/openapi.json"] {
        assert_eq!(nobody.raw("GET", path, &[], b"").unwrap().status, 200, "{path}");
    }
    let text = nobody.get("/metrics").is(200);
    assert!(text.body.as_str().unwrap().ends_with("# EOF\n"));
    let mut samples = 0;
    for line in text.body.as_str().unwrap().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("sixgate_") && value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(samples > 10);

    // One that has ended, so that the next may begin.
    operator.post("/v1/validate/job", json!({})).is(202);
    wait_until("the job to end", LIMIT, || operator.get("/v1/validate/job").body["ended_at"].is_string());
    let given = json!({ "access_token": token("1000000001", DAY) });
    let calls: Vec<(String, String)> =
        schema::operations(api.document()).into_iter().map(|(method, path, _)| (method, path)).collect();
    for (method, path) in calls.iter().filter(|(_, path)| path.starts_with("/v1/")) {
        let path = path.replace("{name}", "alpha").replace("{id}", "x").replace("{address}", "2001:db8::9");
        let path = path.replace("{order_id}", "1124").replace("{request_id}", "x");
        for wrong in [nobody.clone(), api.showing(Some("")), api.showing(Some("sga_wrong")), api.showing(Some("x y"))] {
            let reply = wrong.call(method, &path, Some(json!({}))).is(401);
            assert_eq!(
                (reply.header("www-authenticate"), reply.text("/code")),
                (Some("Bearer realm=\"sixgate\""), "unauthorized")
            );
        }
        if path.contains("/alpha/orders/") {
            // It costs what the broker allows the account.
            viewer.call(method, &path, None).is(403);
            operator.call(method, &path, None).is(409);
        }
        if path == "/v1/console/links" {
            // A session of the console can do what the token can, and no more.
            viewer.call(method, &path, Some(json!({}))).is(201);
        } else if method != "GET" {
            assert_eq!(viewer.call(method, &path, Some(json!({}))).is(403).text("/code"), "forbidden");
            let may = match (method.as_str(), path.rsplit_once('/').unwrap().1) {
                ("PUT", "token" | "halt" | "leg") | ("POST", "settled") => 422,
                ("POST", "refresh" | "validate" | "check") => 200,
                ("POST", "job") => 202,
                ("DELETE", "job") => 204,
                ("POST", "consent") => 409,
                _ => 403,
            };
            let reply = operator.call(method, &path, Some(json!({})));
            assert_eq!(reply.status, may, "{method} {path}");
        }
    }
    for role in [&viewer, &operator] {
        role.get("/v1/accounts/alpha").is(200);
        role.get("/v1/pools").is(200);
        role.get("/v1/accounts/alpha/keys").is(200);
    }
    operator.get("/v1/evidence?account=alpha").is(200);
    assert_eq!(viewer.get("/v1/evidence?account=alpha").is(403).text("/code"), "forbidden");
    operator.put("/v1/accounts/alpha/token", given).is(200);
    assert_eq!(admin.get("/v1/accounts").is(200).body["items"].as_array().unwrap().len(), 1, "nothing was deleted");

    let good = std::fs::read_to_string(file("admin.token")).unwrap();
    for (shown, status) in [
        (format!("bearer {}", good.trim()), 200),
        (format!("Basic {}", good.trim()), 401),
        (good.trim().to_owned(), 401),
        (format!("Bearer {}x", good.trim()), 401),
        (format!("Bearer {}", &good.trim()[..20]), 401),
    ] {
        let reply = api.raw("GET", "/v1/pools", &[("authorization", &shown)], b"").unwrap();
        assert_eq!(reply.status, status, "{shown}");
    }
}

/// A page open in a browser on this host can send requests here: by a name that it rebinds to 127.0.0.1, or across
/// origins.
#[test]
fn a_page_of_another_site_is_refused() {
    let running = start();
    let api = &running.api;
    let own = match api_host(&running) {
        At::Tcp(address) => address,
        At::Unix(_) => unreachable!("this one is on TCP"),
    };
    for host in ["evil.example:8081", "evil.example", "[2001:db8::1]:8081", "localhost.evil.example:8081", "::1"] {
        for path in ["/healthz", "/openapi.json", "/v1/pools"] {
            let reply = api.raw("GET", path, &[("host", host)], b"").unwrap();
            assert_eq!(reply.status, 403, "{host} {path}: {}", reply.raw);
            assert_eq!(reply.header("content-type"), Some("application/problem+json"));
            assert_eq!(reply.text("/code"), "browser_refused");
            assert!(reply.text("/detail").contains("admin.hosts"), "{}", reply.raw);
        }
    }
    // Through an SSH tunnel or a mapped port it is another port; no page can make an address lead elsewhere.
    for host in ["localhost:8081", "LOCALHOST:9000", "127.0.0.1", "[::1]:9000", "sixgate.localhost:8081"] {
        api.raw("GET", "/v1/pools", &[("host", host)], b"").unwrap().is(200);
    }
    let same = format!("http://{own}");
    for (origin, status) in [
        (same.as_str(), 201),
        ("https://evil.example", 403),
        ("http://localhost:8081", 403),
        ("http://127.0.0.1:3000", 403),
        ("null", 403),
        ("", 403),
    ] {
        let body = pool("main", "2001:db8:a1::/64", "2001:db8:a2::/64").to_string();
        let reply = api.raw("POST", "/v1/pools", &[("origin", origin)], body.as_bytes()).unwrap();
        assert_eq!(reply.status, status, "{origin}: {}", reply.raw);
    }
}

fn api_host(running: &Running) -> At {
    let bound = running.gateway.output();
    let address =
        bound.lines().find_map(|line| line.strip_prefix("admin API http://")).expect("what is bound is printed");
    At::Tcp(address.parse().unwrap())
}

/// A program that got something wrong reads JSON, whichever part of the server refuses it.
#[test]
fn every_refusal_is_problem_json() {
    let running = start();
    let api = &running.api;
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    let huge = vec![b' '; 70_000];
    let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
    let cases: Vec<(&str, &str, &[u8], u16, &str)> = vec![
        ("GET", "/v1", b"", 404, "not_found"),
        ("GET", "/v1/accounts/", b"", 404, "not_found"),
        ("GET", "/v2/accounts", b"", 404, "not_found"),
        ("GET", "/v1/accounts/a%20b", b"", 404, "not_found"),
        ("GET", "/v1/accounts/%ff", b"", 404, "not_found"),
        ("DELETE", "/v1/accounts/%ff", b"", 404, "not_found"),
        ("GET", "/v1/pools/%ff", b"", 404, "not_found"),
        ("GET", "/v1/pools/a%2fb", b"", 404, "not_found"),
        ("DELETE", "/v1/accounts/alpha/keys/%ff", b"", 404, "not_found"),
        ("DELETE", "/v1/accounts", b"", 405, "method_not_allowed"),
        ("PUT", "/v1/pools/main", b"{}", 405, "method_not_allowed"),
        ("PATCH", "/v1/accounts/alpha/token", b"{}", 405, "method_not_allowed"),
        ("POST", "/healthz", b"", 405, "method_not_allowed"),
        ("BREW", "/v1/pools", b"", 405, "method_not_allowed"),
        ("POST", "/v1/accounts", b"{", 400, "bad_request"),
        ("POST", "/v1/accounts", b"pin=1", 400, "bad_request"),
        ("POST", "/v1/accounts", b"[]", 400, "bad_request"),
        ("POST", "/v1/accounts", b"null", 400, "bad_request"),
        ("POST", "/v1/accounts", b"\"a\"", 400, "bad_request"),
        ("POST", "/v1/accounts", b"{} {}", 400, "bad_request"),
        ("POST", "/v1/accounts", br#"{"name":"beta","name":"gamma"}"#, 422, "invalid"),
        ("PUT", "/v1/accounts/alpha/halt", br#"{"halted":true,"halted":false}"#, 422, "invalid"),
        ("GET", "/v1/orders?limit=1&limit=2", b"", 422, "invalid"),
        ("POST", "/v1/accounts", b"\xff\xfe", 400, "bad_request"),
        ("POST", "/v1/accounts", &deep, 400, "bad_request"),
        ("PUT", "/v1/accounts/alpha/token", b"x", 400, "bad_request"),
        ("POST", "/v1/accounts", &huge, 413, "body_too_large"),
        ("PATCH", "/v1/accounts/alpha", &huge, 413, "body_too_large"),
        ("POST", "/v1/pools", &huge, 413, "body_too_large"),
        ("GET", "/v1/accounts?limit=%ff", b"", 422, "invalid"),
    ];
    for (method, path, body, status, code) in cases {
        let reply = api.raw(method, path, &[], body).unwrap();
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.raw);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{method} {path}: {}", reply.raw);
        assert_eq!((reply.text("/code"), &reply.body["status"]), (code, &json!(status)), "{method} {path}");
        for member in ["type", "title", "detail"] {
            assert!(!reply.text(&format!("/{member}")).is_empty(), "{method} {path} has no {member}");
        }
        assert_eq!(status == 405, reply.header("allow").is_some(), "{method} {path}: RFC 9110 section 15.5.6");
    }
    // No body at all is nothing to complain of where nothing is needed.
    api.raw("POST", "/v1/accounts/alpha/keys", &[], b"").unwrap().is(201);
    api.raw("POST", "/v1/accounts", &[], b"").unwrap().names("name");
}

/// A machine where the loopback interface is shared has a socket file instead, and no `Host` to check.
#[test]
fn the_api_on_a_unix_socket_answers_as_on_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&Place::alone(), &config("unix:{dir}/admin.sock", ""), dir.path());
    let api = Api::new(At::Unix(dir.path().join("admin.sock")), &dir.path().join("state/admin.token"));
    api.showing(None).get("/healthz").is(200);
    api.showing(None).get("/v1/pools").is(401);
    api.post("/v1/pools", main_pool()).is(201);
    api.post("/v1/accounts", manual("alpha", "1000000001")).is(201);
    api.post("/v1/accounts/alpha/pair", json!({})).is(201);
    api.raw("GET", "/v1/pools", &[("origin", "https://evil.example")], b"").unwrap().is(403);
    assert!(gateway.output().contains("admin API unix:"), "{}", gateway.output());
}

fn names(page: &Reply) -> Vec<String> {
    page.body["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// Every account of the list, by pages.
fn walk(api: &Api, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/accounts?limit={limit}{cursor}")).is(200);
        all.extend(names(&page));
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// A walk that ends early looks like the end: whatever works through all accounts then forgets some.
#[test]
fn a_walk_by_pages_meets_every_account_that_stays() {
    let running = start();
    let api = &running.api;
    assert_eq!(walk(api, 1), Vec::<String>::new());
    let all: Vec<String> = (0..60).map(|n| format!("a{n:03}")).collect();
    for (n, name) in all.iter().enumerate() {
        api.post("/v1/accounts", manual(name, &format!("{}", 1_000_000 + n))).is(201);
    }
    for limit in [1, 7, 59, 60, 61, 1000] {
        assert_eq!(walk(api, limit), all, "by {limit}");
    }
    assert_eq!(names(&api.get("/v1/accounts?cursor=a0305").is(200)), all[31..], "the cursor need not exist");

    // Meanwhile others come and go.
    let stop = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (stop, api) = (&stop, api.clone());
            scope.spawn(move || {
                let mut n = 0;
                while stop.load(Ordering::Relaxed) == 0 {
                    let name = format!("a{:03}x{worker}", n % 60);
                    api.post("/v1/accounts", manual(&name, &format!("{}", 2_000_000 + worker))).is(201);
                    api.delete(&format!("/v1/accounts/{name}")).is(204);
                    n += 1;
                }
            });
        }
        let walked: Vec<Vec<String>> = (0..40).map(|n| walk(api, 1 + n % 3)).collect();
        stop.store(1, Ordering::Relaxed);
        for seen in walked {
            let seen: HashSet<_> = seen.into_iter().collect();
            let missing: Vec<_> = all.iter().filter(|name| !seen.contains(*name)).collect();
            assert!(missing.is_empty(), "a walk did not meet {missing:?}");
        }
    });
}

/// A caller whose connection breaks while its change waits for the disk: the change is made or it is not, and this
/// process must not go on as if it were the other.
#[test]
fn a_change_whose_caller_hangs_up_is_made_whole() {
    let mut running =
        start_with("[[pool]]\nname = \"main\"\nprimary = \"2001:db8:a1::/64\"\nsecondary = \"2001:db8:a2::/64\"\n");
    let api = running.api.clone();
    let count = 60;
    for n in 0..count {
        api.post("/v1/accounts", manual(&format!("a{n}"), &format!("{}", 1000 + n))).is(201);
    }
    api.post("/v1/accounts", manual("last", "1")).is(201);
    thread::scope(|scope| {
        for worker in 0..4 {
            let api = api.clone();
            scope.spawn(move || {
                for n in (0..count).filter(|n| n % 4 == worker) {
                    let (method, path, body) = match n % 3 {
                        0 => ("POST", format!("/v1/accounts/a{n}/pair"), "{}"),
                        1 => ("DELETE", format!("/v1/accounts/a{n}"), ""),
                        _ => ("PATCH", format!("/v1/accounts/a{n}"), r#"{"nickname":"changed"}"#),
                    };
                    drop(api.send(method, &path, &[], body.as_bytes()).unwrap());
                }
            });
        }
    });
    let view = |api: &Api| -> BTreeMap<String, (u16, Value, Value)> {
        let one = |n: usize| {
            let reply = api.get(&format!("/v1/accounts/a{n}"));
            (format!("a{n}"), (reply.status, reply.body["pair"].clone(), reply.body["nickname"].clone()))
        };
        (0..count).map(one).collect()
    };
    // Nobody is left to hear when they are done. They are when nothing moves while others are served.
    let mut last = (BTreeMap::new(), 0);
    let before = wait_for("the changes are done", LIMIT, || {
        api.patch("/v1/accounts/last", json!({ "nickname": "still here" })).is(200);
        let now = view(&api);
        last = (now.clone(), if last.0 == now { last.1 + 1 } else { 0 });
        (last.1 == 5).then_some(now)
    });
    let pool_before = api.get("/v1/pools/main").is(200).body;
    running.gateway.terminate();

    let config = std::fs::read_to_string(running.dir.path().join("sixgate.toml")).unwrap();
    let _again = Gateway::start(&Place::alone(), &config, running.dir.path());
    assert_eq!(view(&api), before, "what was shown is what was kept");
    assert_eq!(api.get("/v1/pools/main").is(200).body, pool_before);
}

/// The heart of it: whatever happens at the same moment, no address has two holders, ever.
#[test]
fn no_address_is_ever_given_twice_by_64_callers_at_once() {
    const ACCOUNTS: usize = 2000;
    let mut running =
        start_with("[[pool]]\nname = \"main\"\nprimary = \"2001:db8:a1::/64\"\nsecondary = \"2001:db8:a2::/64\"\n");
    let api = running.api.clone();
    // Who had an address: an address may come back to the same customer only.
    let holders: Mutex<HashMap<String, usize>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let barrier = Barrier::new(64);
    thread::scope(|scope| {
        for worker in 0..64 {
            let (api, holders, next, barrier) = (api.clone(), &holders, &next, &barrier);
            scope.spawn(move || {
                barrier.wait();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= ACCOUNTS {
                        return;
                    }
                    let path = format!("/v1/accounts/a{n}");
                    api.post("/v1/accounts", manual(&format!("a{n}"), &format!("{}", 1000 + n))).is(201);
                    let mut turns = if n % 5 == 0 { 2 } else { 1 };
                    while turns > 0 {
                        turns -= 1;
                        let given = api.post(&format!("{path}/pair"), json!({})).is(201).body;
                        for role in ["primary", "secondary"] {
                            let address = given[role].as_str().unwrap().to_owned();
                            let had = holders.lock().unwrap().insert(address.clone(), n);
                            assert!(had.is_none(), "{address} of a{had:?} was given to a{n} by {worker}");
                        }
                        if turns > 0 {
                            api.delete(&format!("{path}/pair")).is(204);
                        }
                    }
                    match n % 10 {
                        1 => drop(api.delete(&format!("{path}/pair")).is(204)),
                        2 => drop(api.delete(&path).is(204)),
                        3 => {
                            // Again, by two at once: the same one, and 200.
                            let again = |_| api.post(&format!("{path}/pair"), json!({})).is(200).body;
                            let (one, two) = thread::scope(|s| (s.spawn(|| again(1)).join(), again(2)));
                            assert_eq!(one.unwrap(), two);
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    let list = |api: &Api| -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let page = api.get(&format!("/v1/accounts?limit=1000{cursor}")).is(200);
            for item in page.body["items"].as_array().unwrap() {
                all.insert(item["name"].as_str().unwrap().to_owned(), item["pair"].clone());
            }
            match page.body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    };
    let before = list(&api);
    assert_eq!(before.len(), ACCOUNTS - ACCOUNTS / 10);
    let held: Vec<&str> =
        before.values().flat_map(|pair| [pair["primary"].as_str(), pair["secondary"].as_str()]).flatten().collect();
    assert_eq!(held.len(), held.iter().collect::<HashSet<_>>().len());
    assert_eq!(held.len(), 2 * (ACCOUNTS - 2 * ACCOUNTS / 10));
    let known = holders.lock().unwrap();
    assert!(held.iter().all(|address| known.contains_key(*address)));
    assert_eq!(api.get("/v1/pools/main").is(200).body["assigned"], held.len() / 2);

    running.gateway.kill9();
    let config = std::fs::read_to_string(running.dir.path().join("sixgate.toml")).unwrap();
    let _again = Gateway::start(&Place::alone(), &config, running.dir.path());
    assert_eq!(list(&api), before);
    // What was given before the stop is given to nobody after it.
    api.post("/v1/accounts", manual("late", "1")).is(201);
    let late = api.post("/v1/accounts/late/pair", json!({})).is(201);
    assert!(!known.contains_key(late.text("/primary")) && !known.contains_key(late.text("/secondary")), "{}", late.raw);
}

/// The same account, the same moment, two callers: a script that was started twice gets one pair and no error.
#[test]
fn assigning_at_the_same_moment_gives_both_the_same_pair() {
    let running =
        start_with("[[pool]]\nname = \"main\"\nprimary = \"2001:db8:a1::/64\"\nsecondary = \"2001:db8:a2::/64\"\n");
    let api = Arc::new(running.api.clone());
    for n in 0..30 {
        let path = format!("/v1/accounts/a{n}/pair");
        api.post("/v1/accounts", manual(&format!("a{n}"), &format!("{}", 1000 + n))).is(201);
        let replies: Vec<Reply> = thread::scope(|scope| {
            let calls: Vec<_> = (0..6).map(|_| scope.spawn(|| api.post(&path, json!({})))).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
        assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    }
    assert_eq!(api.get("/v1/pools/main").is(200).body["assigned"], 30);
}
