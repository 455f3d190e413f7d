//! Many accounts looked at at once, each by its own legs. What each check finds is in `broker_calls`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault};

use super::{becomes, world};
use crate::support::caller::{Caller, connect, request};
use crate::support::net::{self, Ns};
use crate::support::wait_until;
use crate::support::world::{World, automatic};

const LIMIT: Duration = Duration::from_secs(30);
const ACCOUNTS: u16 = 12;
/// As `admin::validate` has it.
const AT_ONCE: usize = 8;
const SLOW: u64 = 200;

/// The failed checks of each account, a line of JSON at a time.
fn lines(world: &World) -> BTreeMap<String, Vec<String>> {
    let token = std::fs::read_to_string(world.dir.path().join("state/admin.token")).unwrap();
    let reply = world.net.in_ns(Ns::Gateway, || async move {
        let mut client = Caller::http1(connect("127.0.0.1:8081".parse().unwrap()).await).await;
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("authorization", bearer.as_str()), ("accept", "application/x-ndjson")];
        client.send(request("POST", "/v1/validate", "127.0.0.1:8081", &headers, None)).await.unwrap()
    });
    let failed = |line: &Value| {
        let checks = line["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
        checks.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    };
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["account"].as_str().unwrap().to_owned(), failed(&line))).collect()
}

/// One bad account among many is the one that is told, and the broker is not stormed.
#[test]
fn every_account_is_validated_by_its_own_legs_a_few_at_once() {
    let mut world = world();
    for n in 1..=ACCOUNTS {
        let mut fields = automatic();
        fields["access_token"] = json!(world.at_the_broker(n));
        world.add(n, &fields);
        becomes(&world, &format!("a{n}"), "live");
    }
    world.broker.register(&World::client_id(3), None);
    world.broker.kill_token(&World::client_id(5));
    world.broker.clear_seen();
    world.broker.fault(Fault::new(Action::Slow { ms: SLOW }).on("GET", "/v2/profile"));
    let told = lines(&world);
    assert_eq!(told.len(), usize::from(ACCOUNTS));
    for (name, failed) in &told {
        let want: &[&str] = match name.as_str() {
            "a3" => &["leg_primary", "leg_secondary", "registration", "orders_allowed"],
            "a5" => &["token", "leg_primary", "leg_secondary", "registration", "orders_allowed"],
            _ => &[],
        };
        assert_eq!(failed, want, "{name}");
    }
    let seen = world.broker.seen();
    for n in (1..=ACCOUNTS).filter(|n| *n != 5) {
        let own = |path: &str| -> BTreeSet<Ipv6Addr> {
            let of = |seen: &&sixgate::sandbox::Seen| {
                seen.account.as_ref() == Some(&World::client_id(n)) && seen.path_and_query == path
            };
            seen.iter().filter(of).map(|seen| *seen.peer.ip()).collect()
        };
        assert_eq!(own("/v2/ip/getIP"), BTreeSet::from([net::primary(n), net::secondary(n)]), "a{n}");
        assert_eq!(own("/v2/profile"), BTreeSet::from([net::primary(n)]), "a{n}");
    }
    // The ninth begins when one of the first eight has been answered, not before.
    // The account whose token is dead is asked about once more, by whoever keeps its token.
    let mut accounts = BTreeSet::new();
    let profiles = seen.iter().filter(|seen| seen.path_and_query == "/v2/profile");
    let asked: Vec<_> = profiles.filter(|seen| accounts.insert(seen.account.clone())).map(|seen| seen.at).collect();
    assert_eq!(asked.len(), usize::from(ACCOUNTS));
    let slow = SignedDuration::from_millis(i64::try_from(SLOW).unwrap());
    for (first, ninth) in asked.iter().zip(asked.iter().skip(AT_ONCE)) {
        let apart = ninth.duration_since(*first);
        assert!(apart >= slow, "{apart}");
    }
    // One after the other none would be asked about before the one before it was answered.
    assert!(asked.windows(2).any(|two| two[1].duration_since(two[0]) < slow), "{asked:?}");

    let run = |line: &str| {
        let mut command = world.gateway.place().command(env!("CARGO_BIN_EXE_sixgate"));
        let output = command.args(line.split_whitespace()).current_dir(world.dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, table) = run("validate --all");
    assert_eq!(code, Some(1), "{table}");
    for n in 1..=ACCOUNTS {
        assert!(table.contains(&format!("a{n} ")), "no a{n} in {table}");
    }
    assert_eq!(run("validate a1").0, Some(0));
    assert_eq!(run("validate a3").0, Some(1));
}

/// Whoever has just given PIN and TOTP secret is not told that there is no token, while the login is under way.
#[test]
fn what_needs_a_token_waits_for_the_login_that_is_under_way() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    world.broker.fault(Fault::new(Action::Slow { ms: 3000 }).on("POST", "/app/generateAccessToken"));
    world.add(1, &automatic());
    let calls = [
        ("GET", "/v1/accounts/a1/registration", 200),
        ("GET", "/v1/accounts/a1/orders/112111182198", 404),
        ("POST", "/v1/accounts/a1/validate", 200),
    ];
    std::thread::scope(|scope| {
        for (method, path, wanted) in calls {
            let admin = world.gateway.admin();
            scope.spawn(move || {
                let (status, answer) = admin.call(method, path, None);
                assert_eq!(status, wanted, "{path}: {answer}");
                assert!(status != 404 || answer["code"] == "order_not_found", "{answer}");
            });
        }
    });
    assert_eq!(world.gateway.admin().get("/v1/accounts/a1/token").1["state"], "live");
}

/// A token that is found dead is not shown as live for the rest of its day.
#[test]
fn a_token_that_a_validation_finds_dead_needs_a_person() {
    let mut world = world();
    let token = world.at_the_broker(1);
    world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    becomes(&world, "a1", "live");
    world.broker.kill_token(&World::client_id(1));
    let (status, checks) = world.gateway.admin().post("/v1/accounts/a1/validate", &json!({}));
    assert_eq!((status, &checks["ok"]), (200, &json!(false)), "{checks}");
    becomes(&world, "a1", "needs_person");
}

/// A broker that is wrong once must not end a day's trading because somebody looked.
#[test]
fn one_wrong_verdict_at_a_validation_stops_nobody() {
    let mut world = world();
    let token = world.at_the_broker(1);
    world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    becomes(&world, "a1", "live");
    world.broker.clear_seen();
    let body = json!({ "errorType": "Order_Error", "errorCode": "DH-906", "errorMessage": "Invalid Token" });
    world.broker.fault(Fault::new(Action::Refuse { status: 400, body }).on("GET", "/v2/profile").times(1));
    let (_, checks) = world.gateway.admin().post("/v1/accounts/a1/validate", &json!({}));
    let token = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "token").unwrap();
    assert_eq!(token["result"], "failed", "{checks}");
    let asked = || world.broker.seen().iter().filter(|seen| seen.path_and_query == "/v2/profile").count();
    wait_until("its keeper to ask", LIMIT, || asked() > 1);
    becomes(&world, "a1", "live");
    let (_, checks) = world.gateway.admin().post("/v1/accounts/a1/validate", &json!({}));
    let token = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "token").unwrap();
    assert_eq!(token["result"], "ok", "{checks}");
}

/// The login of one customer must not end as another's, from addresses that are the other's by then.
#[test]
fn a_client_id_does_not_change_under_a_login() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    world.broker.fault(Fault::new(Action::Slow { ms: 2000 }).on("POST", "/app/generateAccessToken"));
    world.add(1, &automatic());
    let arrives = || world.broker.seen().iter().any(|seen| seen.path_and_query.starts_with("/app/generateAccessToken"));
    wait_until("the login to arrive", LIMIT, arrives);
    let (status, answer) = world.gateway.admin().patch("/v1/accounts/a1", &json!({ "client_id": "1000000077" }));
    assert_eq!((status, &answer["code"], &answer["field"]), (409, &json!("taken"), &json!("client_id")), "{answer}");
    becomes(&world, "a1", "live");
}

/// Whoever changes it is not kept waiting for a login that hangs, and the change is not made behind it.
#[test]
fn a_login_that_takes_longer_than_ten_seconds_is_told_to_whoever_changes_the_client_id() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    world.broker.fault(Fault::new(Action::Slow { ms: 13_000 }).on("POST", "/app/generateAccessToken"));
    world.add(1, &automatic());
    let arrives = || world.broker.seen().iter().any(|seen| seen.path_and_query.starts_with("/app/generateAccessToken"));
    wait_until("the login to arrive", LIMIT, arrives);
    let (status, answer) = world.gateway.admin().patch("/v1/accounts/a1", &json!({ "client_id": "1000000077" }));
    assert_eq!((status, &answer["code"]), (409, &json!("busy")), "{answer}");
    assert_eq!(world.gateway.admin().get("/v1/accounts/a1").1["client_id"], "1000000001");
    becomes(&world, "a1", "live");
}
