//! Validation and registration by the admin API of the real binary, in namespaces:
//! each leg has its own address and its own line.

use std::net::IpAddr;

use jiff::civil::time;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sixgate::domain::{Pair, SourceAddr, india};
use sixgate::sandbox::{Account, Action, AddressForm, Fault};

use crate::admin::api::Reply;
use crate::admin::schema;
use crate::support::net::{self, Ns, Uplink};
use crate::support::wait::wait_until;
use crate::support::world::World;

const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// How long a token must live to end outside market hours: at three in the morning.
fn until_night() -> std::time::Duration {
    let now = Timestamp::now();
    let next = (0..3)
        .map(|days| india::local(now).date().saturating_add(jiff::Span::new().days(days)))
        .map(|day| india::instant(day.to_datetime(time(3, 0, 0, 0))))
        .find(|night| night.duration_since(now) > SignedDuration::from_hours(1));
    next.unwrap().duration_since(now).unsigned_abs()
}

/// The world with every account's token ending at night.
fn up(traders: u16, more: &str) -> World {
    let mut world = World::up(traders, more);
    world.broker.set_token_life(until_night());
    for n in 0..world.traders.len() {
        let trader = &world.traders[n];
        let token = world.broker.mint_token(&trader.client_id);
        let path = format!("/v1/accounts/{}/token", trader.name);
        let (status, body) = world.gateway.admin().put(&path, &json!({ "access_token": token }));
        assert_eq!(status, 200, "{body}");
        world.traders[n].token = token;
    }
    world.broker.clear_seen();
    world
}

/// An admin call, whose answer must be one that the document has.
fn call(world: &World, method: &str, path: &str, template: &str, body: Option<&Value>) -> (u16, Value) {
    let admin = world.gateway.admin();
    let (status, body) = admin.call(method, path, body);
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let raw = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n\r\n");
    let (_, document) = admin.get("/openapi.json");
    let reply = Reply { status, raw, body };
    schema::check(&document, method, template, &reply)
        .unwrap_or_else(|why| panic!("{method} {path}: {why}: {reply:?}"));
    (status, reply.body)
}

fn validate(world: &World) -> Value {
    let (status, body) =
        call(world, "POST", "/v1/accounts/a1/validate", "/v1/accounts/{name}/validate", Some(&json!({})));
    assert_eq!(status, 200, "{body}");
    body
}

/// One of the checks: whether it is well, and what was found.
fn check<'a>(body: &'a Value, name: &str) -> (bool, &'a str) {
    let found = body["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {body}"));
    (found["ok"].as_bool().unwrap(), found["detail"].as_str().unwrap())
}

/// What is not known, or failed, by name.
fn results(body: &Value) -> Vec<(&str, &str)> {
    let checks = body["checks"].as_array().unwrap().iter().filter(|check| check["result"] != "ok");
    checks.map(|check| (check["name"].as_str().unwrap(), check["result"].as_str().unwrap())).collect()
}

const UNSAID: [(&str, &str); 3] =
    [("leg_primary", "unknown"), ("leg_secondary", "unknown"), ("orders_allowed", "unknown")];

#[track_caller]
fn fails(body: &Value, names: &[&str]) {
    let checks = body["checks"].as_array().unwrap();
    let failed: Vec<_> =
        checks.iter().filter(|check| check["ok"] == false).map(|check| check["name"].clone()).collect();
    assert_eq!(failed, names, "{body}");
    assert_eq!(body["ok"], json!(names.is_empty()));
}

const REGISTRATION: &str = "/v1/accounts/{name}/registration";

fn read(world: &World) -> Value {
    let (status, body) = call(world, "GET", "/v1/accounts/a1/registration", REGISTRATION, None);
    assert_eq!(status, 200, "{body}");
    body
}

/// Put the pair there; the answer, and each slot's action.
fn put(world: &World, replace: &[String]) -> (Value, [String; 2]) {
    let body = if replace.is_empty() { json!({}) } else { json!({ "replace": replace }) };
    let (status, body) = call(world, "PUT", "/v1/accounts/a1/registration", REGISTRATION, Some(&body));
    assert_eq!(status, 200, "{body}");
    let changes = body["changes"].as_array().unwrap();
    assert_eq!((&changes[0]["role"], &changes[1]["role"]), (&json!("primary"), &json!("secondary")));
    let actions = [0, 1].map(|n| changes[n]["action"].as_str().unwrap().to_owned());
    (body, actions)
}

fn pair(primary: &str, secondary: &str) -> Pair {
    let source = |text| SourceAddr::parse(text).unwrap();
    Pair { primary: source(primary), secondary: source(secondary) }
}

/// A leg that is asked about by the other one says nothing of itself.
#[test]
fn an_account_is_validated_by_each_of_its_own_legs() {
    let world = up(1, "");
    let body = validate(&world);
    fails(&body, &[]);
    let names: Vec<_> =
        body["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    let all = [
        "pair",
        "line_primary",
        "line_secondary",
        "hosts",
        "token",
        "token_expiry",
        "leg_primary",
        "leg_secondary",
        "registration",
        "orders_allowed",
        "totp_clock",
    ];
    assert_eq!(names, all);
    let own = world.traders[0].pair;
    // A leg that was just put to use may have asked the same of its own accord.
    let seen = world.broker.seen();
    assert!(seen.iter().all(|seen| seen.account.as_ref() == Some(&world.traders[0].client_id)));
    let mut asked: Vec<_> =
        seen.iter().filter(|seen| seen.path_and_query.ends_with("/getIP")).map(|s| *s.peer.ip()).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, [own.primary.ip(), own.secondary.ip()]);

    // A line that swallows packets: its leg fails, and the other one's check is its own.
    world.net.uplink(1, Uplink::Silent);
    let body = validate(&world);
    fails(&body, &["line_primary", "leg_primary", "orders_allowed"]);
    assert_eq!(results(&body), [("line_primary", "failed"), ("leg_primary", "unknown"), ("orders_allowed", "unknown")]);
    let (_, why) = check(&body, "leg_primary");
    assert!(why.contains("could not be asked") && why.contains(&own.primary.to_string()), "{why}");
    assert_eq!(check(&body, "leg_secondary"), (true, format!("the broker sees it as {}", own.secondary).as_str()));
    // The order book is read beside a validation, by whichever leg; also beside the one before.
    let late = world.broker.seen().split_off(seen.len()).into_iter().filter(|seen| seen.path_and_query != "/v2/orders");
    let late: Vec<_> = late.collect();
    assert!(late.iter().all(|seen| *seen.peer.ip() == own.secondary.ip()), "{late:?}");
}

/// Each of these is a day on which orders would have failed.
#[test]
fn what_stands_in_the_way_of_orders_is_found() {
    let world = up(1, "");
    let id = world.traders[0].client_id.clone();
    let own = world.traders[0].pair;

    world.broker.register(&id, Some(pair(&own.primary.to_string(), "2001:db8:dead::2")));
    let body = validate(&world);
    fails(&body, &["registration", "orders_allowed"]);
    let (_, found) = check(&body, "registration");
    assert!(
        found.contains(&format!(
            "secondary: the broker has 2001:db8:dead::2 registered, the account uses {}",
            own.secondary
        )),
        "{found}"
    );
    assert!(
        check(&body, "orders_allowed").1.contains("secondary: the broker does not let orders in from this address"),
        "{body}"
    );

    world.broker.register(&id, Some(own));
    world.broker.set_address_form(AddressForm::Documented);
    // What the broker does not say is neither well nor a failure.
    let body = validate(&world);
    assert!(check(&body, "leg_primary").1.contains("did not say which address it saw"), "{body}");
    assert_eq!(results(&body), UNSAID, "{body}");
    world.broker.set_address_form(AddressForm::Single);
    assert!(results(&validate(&world)).iter().all(|(_, result)| *result == "unknown"));
    world.broker.set_address_form(AddressForm::Full);

    world.broker.set_clock_skew(SignedDuration::from_secs(-7));
    let body = validate(&world);
    fails(&body, &["totp_clock"]);
    assert!(check(&body, "totp_clock").1.contains(" s behind this host's"), "{body}");
    world.broker.set_clock_skew(SignedDuration::ZERO);

    // A dead token is found by one call, and nothing else is asked with it, but once more by whoever keeps the token.
    world.broker.kill_token(&id);
    world.broker.clear_seen();
    let body = validate(&world);
    fails(&body, &["token", "leg_primary", "leg_secondary", "registration", "orders_allowed"]);
    assert!(check(&body, "token").1.contains("Invalid Token"), "{body}");
    // The look before read the order book behind its reply.
    let asked =
        world.broker.seen().into_iter().filter(|seen| seen.token.is_some() && seen.path_and_query != "/v2/orders");
    let asked: Vec<_> = asked.map(|seen| seen.path_and_query).collect();
    assert!(asked.len() <= 2 && asked.iter().all(|path| path == "/v2/profile"), "{asked:?}");

    // What is told of it is told of all.
    let token = || world.gateway.admin().get("/v1/accounts/a1/token").1;
    wait_until("the token to be known dead", LIMIT, || token()["state"] == "needs_person");
    let body = validate(&world);
    fails(&body, &["token", "token_expiry", "leg_primary", "leg_secondary", "registration", "orders_allowed"]);
    world.post("/v1/accounts", &json!({"name": "b", "platform": "DHAN_V2_IPV6", "client_id": "1000000077"}), 201);
    let (status, all) = call(&world, "POST", "/v1/validate", "/v1/validate", None);
    assert_eq!(status, 200, "{all}");
    let items = all["items"].as_array().unwrap();
    assert_eq!((&items[0]["account"], &items[1]["account"]), (&json!("a1"), &json!("b")));
    // All but the last are told alike; that one is the clock, which is measured anew.
    let first = |checks: &Value| checks.as_array().unwrap()[..9].to_vec();
    assert_eq!((first(&items[0]["checks"]), &items[1]["ok"]), (first(&body["checks"]), &json!(false)));
    assert!(!check(&items[1], "pair").0);
}

/// Empty slots are filled, whatever form the answer has, and what is there stays.
#[test]
fn empty_slots_are_filled_and_filled_ones_left() {
    for form in [
        AddressForm::Full,
        AddressForm::SaysNotConfigured,
        AddressForm::Documented,
        AddressForm::Single,
        AddressForm::ErrorWhenEmpty,
    ] {
        let world = up(1, "");
        let own = world.traders[0].pair;
        world.broker.register(&world.traders[0].client_id, None);
        world.broker.set_address_form(form);
        // As measured, the broker does not say that there is nothing.
        let tells = form != AddressForm::Full;
        if tells {
            let before = read(&world);
            let first = &before["primary"];
            assert_eq!((&first["registered"], &first["matches"]), (&json!(null), &json!(false)), "{form:?}");
        } else {
            let (status, body) = call(&world, "GET", "/v1/accounts/a1/registration", REGISTRATION, None);
            assert_eq!((status, &body["code"]), (502, &json!("broker_failed")), "{body}");
            assert!(body["detail"].as_str().unwrap().contains("where no address is registered"), "{body}");
        }

        let (body, actions) = put(&world, &[]);
        assert_eq!(actions, ["set", "set"], "{form:?}: {body}");
        for change in body["changes"].as_array().unwrap() {
            let says = change["detail"].as_str().unwrap().contains("did not say what this slot held before");
            assert_eq!(says, !tells, "{form:?}: {body}");
        }
        // The single form tells of one slot, so of the other it cannot be said.
        if form != AddressForm::Single {
            for (role, address) in [("primary", own.primary), ("secondary", own.secondary)] {
                assert_eq!(body[role]["registered"], address.to_string(), "{body}");
                assert_eq!(
                    (&body[role]["assigned"], &body[role]["matches"]),
                    (&json!(address.to_string()), &json!(true))
                );
                assert!(body[role]["change_allowed_from"].is_string(), "{body}");
            }
        }
        world.broker.set_address_form(AddressForm::Full);
        let (body, actions) = put(&world, &[]);
        assert_eq!(actions, ["unchanged", "unchanged"], "{body}");
        assert_eq!((&body["match_status"], &body["orders_allowed"]), (&json!("PRIMARY_MATCH"), &json!(true)));
        let writes = world.broker.seen().iter().filter(|seen| seen.method != "GET").count();
        assert_eq!(writes, 2, "{form:?}");
    }
}

/// A registered address is changed only by name, and not before its week has passed.
#[test]
fn an_occupied_slot_is_changed_only_by_name_and_after_its_week() {
    let world = up(1, "");
    let id = world.traders[0].client_id.clone();
    let own = world.traders[0].pair;
    let (old, other) = ("2001:db8:dead::1", "2001:db8:dead::2");
    world.broker.register(&id, Some(pair(old, other)));
    let writes = || world.broker.seen().iter().filter(|seen| seen.method != "GET").count();

    let (body, actions) = put(&world, &[]);
    assert_eq!(actions, ["refused", "refused"]);
    assert!(body["changes"][0]["detail"].as_str().unwrap().contains(old), "{body}");
    let (body, actions) = put(&world, &["2001:0db8:dead:0::1".to_owned()]);
    assert_eq!(actions, ["refused", "refused"]);
    let from = body["primary"]["change_allowed_from"].as_str().unwrap();
    assert!(body["changes"][0]["detail"].as_str().unwrap().contains(from), "{body}");
    assert_eq!(writes(), 0, "nothing was even asked");

    world.broker.unlock_registration(&id);
    let (body, actions) = put(&world, &["2001:0db8:dead:0::1".to_owned()]);
    assert_eq!(actions, ["modified", "refused"], "{body}");
    assert_eq!(body["primary"]["registered"], own.primary.to_string());
    assert_eq!(body["secondary"]["registered"], other, "it was not named");
    assert_eq!(writes(), 1);

    // The same was named again, and it is nowhere any more.
    let (_, actions) = put(&world, &[old.to_owned()]);
    assert_eq!(actions, ["unchanged", "refused"]);
    for wrong in [json!({"replace": "x"}), json!({"replace": ["x"]}), json!({"replace": [1]}), json!({"other": 1})] {
        let (status, body) = call(&world, "PUT", "/v1/accounts/a1/registration", REGISTRATION, Some(&wrong));
        assert_eq!(status, 422, "{body}");
    }
}

/// The bare error may also be a broker's bad day: what is there must stay, and its owner must hear of it.
#[test]
fn a_broker_that_does_not_say_what_it_holds_is_never_asked_to_change_it() {
    let world = up(1, "");
    let id = world.traders[0].client_id.clone();
    world.broker.register(&id, Some(pair("2001:db8:dead::1", "2001:db8:dead::2")));
    world.broker.unlock_registration(&id);
    world.broker.set_address_form(AddressForm::ErrorArray);
    let (body, actions) = put(&world, &["2001:db8:dead::1".to_owned()]);
    assert_eq!(actions, ["failed", "failed"], "{body}");
    for change in body["changes"].as_array().unwrap() {
        let detail = change["detail"].as_str().unwrap();
        assert!(detail.contains("7 days") && detail.contains("did not say"), "{body}");
    }
    let writes: Vec<_> = world.broker.seen().into_iter().filter(|seen| seen.method != "GET").collect();
    assert!(writes.len() == 2 && writes.iter().all(|seen| seen.path_and_query == "/v2/ip/setIP"), "{writes:?}");
    world.broker.set_address_form(AddressForm::Full);
    assert_eq!(read(&world)["primary"]["registered"], "2001:db8:dead::1");
}

/// One slot's failure hides nothing of the other's fate, and a lost answer is looked up.
#[test]
fn what_happened_to_each_slot_is_told() {
    let world = up(1, "");
    let id = world.traders[0].client_id.clone();
    let own = world.traders[0].pair;
    // Somebody else has registered our secondary: the broker takes an address once.
    let thief = sixgate::domain::ClientId::parse("1000000099").unwrap();
    let theirs = Pair { primary: own.secondary, secondary: SourceAddr::parse("2001:db8:dead::9").unwrap() };
    world.broker.add_account(Account::new(thief.clone(), "THIEF", "", "").registered(theirs));
    world.broker.register(&id, None);
    let (body, actions) = put(&world, &[]);
    assert_eq!(actions, ["set", "failed"], "{body}");
    assert!(body["changes"][1]["detail"].as_str().unwrap().contains("already registered"), "{body}");
    assert_eq!((&body["primary"]["matches"], &body["secondary"]["matches"]), (&json!(true), &json!(false)));

    world.broker.register(&thief, None);
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/ip/setIP").times(1));
    let (body, actions) = put(&world, &[]);
    assert_eq!(actions, ["unchanged", "set"], "{body}");
    assert!(body["changes"][1]["detail"].as_str().unwrap().contains("all the same"), "{body}");

    // Saved, says the broker, and forgets it.
    world.broker.register(&id, None);
    let said = Action::Refuse { status: 200, body: json!({"message": "IP saved successfully", "status": "SUCCESS"}) };
    world.broker.fault(Fault::new(said).on("POST", "/v2/ip/setIP").times(1));
    let (body, actions) = put(&world, &[]);
    assert_eq!(actions, ["set", "set"], "{body}");
    assert!(body["changes"][0]["detail"].as_str().unwrap().contains("drift"), "{body}");
    assert_eq!(body["primary"]["matches"], false);

    world.broker.kill_token(&id);
    let (status, refused) = call(&world, "GET", "/v1/accounts/a1/registration", REGISTRATION, None);
    assert_eq!((status, &refused["code"]), (502, &json!("broker_failed")));
    assert!(refused["detail"].as_str().unwrap().contains("Invalid Token"), "{refused}");
    let detected: Option<IpAddr> = body["detected"].as_str().and_then(|text| text.parse().ok());
    assert_eq!(detected, Some(net::primary(1).into()));
}

/// The pair is retired between the two slots: an address that is nobody's any more must
/// not be registered, as it would stand at the broker for a week.
#[test]
fn a_pair_that_is_retired_meanwhile_is_registered_no_further() {
    let world = up(1, "");
    world.broker.register(&world.traders[0].client_id, None);
    // Answers only after the pair is gone, on a busy machine too.
    world.broker.fault(Fault::new(Action::Slow { ms: 3000 }).on("POST", "/v2/ip/setIP").times(1));
    let sets = || world.broker.seen().iter().filter(|seen| seen.path_and_query == "/v2/ip/setIP").count();
    let (body, actions) = std::thread::scope(|scope| {
        let putting = scope.spawn(|| put(&world, &[]));
        wait_until("the primary to be registered", LIMIT, || sets() == 1);
        assert_eq!(world.gateway.admin().delete("/v1/accounts/a1/pair").0, 204);
        assert!(!putting.is_finished(), "it was over before");
        putting.join().unwrap()
    });
    assert_eq!(actions[1], "refused", "{body}");
    assert!(body["changes"][1]["detail"].as_str().unwrap().contains("changed meanwhile"), "{body}");
    assert_eq!(sets(), 1, "{body}");
}

/// Before there is a token nothing can be asked with one; but an address that cannot leave is found before it is
/// registered for a week, and a clock that is off before the first code is spent.
#[test]
fn what_cannot_leave_is_found_before_there_is_a_token() {
    let mut world = up(0, "");
    let id = World::client_id(1);
    world.broker.add_account(World::broker_account(1));
    world.add(1, &json!({ "platform": "DHAN_V2_IPV6" }));
    world.broker.set_clock_skew(SignedDuration::from_secs(7));
    let body = validate(&world);
    assert_eq!(
        results(&body),
        [
            ("token", "failed"),
            ("token_expiry", "unknown"),
            ("leg_primary", "unknown"),
            ("leg_secondary", "unknown"),
            ("registration", "unknown"),
            ("orders_allowed", "unknown"),
            ("totp_clock", "failed"),
        ],
        "{body}"
    );
    assert!(check(&body, "totp_clock").1.contains("is 7") || check(&body, "totp_clock").1.contains("is 6"), "{body}");
    let seen = world.broker.seen();
    assert!(seen.iter().all(|seen| seen.token.is_none() && seen.account.as_ref() != Some(&id)), "{seen:?}");
    let from: std::collections::BTreeSet<_> = seen.iter().map(|seen| *seen.peer.ip()).collect();
    let own = world.traders[0].pair;
    assert_eq!(from, [own.primary.ip(), own.secondary.ip()].into());

    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a2::/64 dev lo");
    let body = validate(&world);
    let (ok, why) = check(&body, "line_secondary");
    assert!(!ok && why.contains("ip -6 route add local 2001:db8:a2::/64 dev lo"), "{body}");
    assert!(check(&body, "line_primary").0, "{body}");
}
