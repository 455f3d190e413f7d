//! How an account comes to a token and keeps it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sixgate::sandbox::{Action, Fault, MintedBy};

use super::{Moved, after_logins};
use super::{
    an_hour_later, becomes, call, codes, killed_and_started, logins, place, refresh, token, unavailable, world,
};
use crate::support::world::{World, automatic};

/// The whole promise: PIN and TOTP once, and nobody has to think of tokens again.
#[test]
fn an_automatic_account_logs_in_by_itself_and_not_without_need() {
    let mut world = world();
    for n in [1, 2] {
        world.broker.add_account(World::broker_account(n));
    }
    let a1 = world.add(1, &automatic());
    let live = becomes(&world, "a1", "live");
    assert_eq!((&live["source"], &live["last_error"]), (&json!("pin_totp"), &Value::Null));
    let mints = world.broker.mints(&a1.client_id);
    assert_eq!(mints.iter().map(|mint| mint.by).collect::<Vec<_>>(), [MintedBy::PinAndTotp]);
    assert_eq!(logins(&world, &a1.client_id)[0].peer.ip(), &a1.pair.primary.ip(), "by its own leg");

    let mut given = automatic();
    given["access_token"] = json!(world.broker.mint_token(&World::client_id(2)));
    let a2 = world.add(2, &given);
    assert_eq!(becomes(&world, "a2", "live")["source"], "access_token");

    for (n, end) in ["", "terminate", "kill9"].into_iter().enumerate() {
        match end {
            "terminate" => assert!(world.gateway.terminate().success()),
            "kill9" => world.gateway.kill9(),
            _ => {}
        }
        if n > 0 {
            world.start_again();
        }
        for trader in [&a1, &a2] {
            let reply = place(&world, trader, &format!("life-{n}"));
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(token(&world, &trader.name)["state"], "live");
        }
    }
    assert_eq!((world.broker.orders(&a1.client_id).len(), world.broker.orders(&a2.client_id).len()), (3, 3));
    assert_eq!((world.broker.mints(&a1.client_id).len(), world.broker.mints(&a2.client_id).len()), (1, 0));
    assert_eq!(logins(&world, &a2.client_id).len(), 0);
}

/// Without a pair there is no address to log in from, and another's must not serve.
#[test]
fn an_account_without_a_pair_waits_for_one() {
    let world = world();
    world.broker.add_account(World::broker_account(1));
    let mut fields = automatic();
    fields["name"] = json!("a1");
    fields["client_id"] = json!(World::client_id(1).as_str());
    world.post("/v1/accounts", &fields, 201);
    assert_eq!(token(&world, "a1")["state"], "absent");
    assert_eq!(refresh(&world, "a1", &json!({}))["state"], "absent");
    assert!(world.broker.seen().is_empty());
    let pair = json!({ "primary": "2001:db8:a1::1", "secondary": "2001:db8:a2::1" });
    world.post("/v1/accounts/a1/pair", &pair, 201);
    becomes(&world, "a1", "live");
    assert_eq!(logins(&world, &World::client_id(1)).len(), 1);
}

/// A token as the broker makes it, from so long ago, with so long to live.
fn made(consumer: &str, age: i64, left: i64) -> String {
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": "dhan", "iat": now - age, "exp": now + left, "dhanClientId": World::client_id(1).as_str(),
        "tokenConsumerType": consumer,
    });
    let encode = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}.{}", encode(&json!({ "typ": "JWT", "alg": "HS512" })), encode(&claims), "s".repeat(86))
}

fn renewals(world: &World) -> usize {
    world.broker.seen().iter().filter(|seen| seen.path_and_query.starts_with("/v2/RenewToken")).count()
}

/// A manual account with a token of this kind, near its end.
fn manual(consumer: &str) -> World {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let token = made(consumer, 86_000, 60);
    world.broker.adopt_token(&World::client_id(1), &token);
    world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": token }));
    world
}

/// A person who made a token on the web has no daily work as long as the broker renews it.
#[test]
fn a_token_made_on_the_web_is_renewed_before_it_ends() {
    let world = manual("SELF");
    let seen = || token(&world, "a1")["source"] == "renewal";
    crate::support::wait_until("the renewal", super::LIMIT, seen);
    let mints = world.broker.mints(&World::client_id(1));
    assert_eq!(mints.iter().map(|mint| mint.by).collect::<Vec<_>>(), [MintedBy::Renewal]);
    assert_eq!(place(&world, &world.traders[0], "renewed").status, 200);
    let ends: Timestamp = token(&world, "a1")["expires_at"].as_str().unwrap().parse().unwrap();
    assert!(ends.duration_since(Timestamp::now()) > SignedDuration::from_hours(23), "{ends}");
    assert_eq!(renewals(&world), 1);
}

/// The broker answers a renewal of another kind of token with 500: asking for it would only
/// hide that a person is needed.
#[test]
fn a_token_of_another_kind_is_not_renewed() {
    let world = manual("APP");
    let body = refresh(&world, "a1", &json!({}));
    assert_eq!((&body["state"], &body["last_error"]["code"]), (&json!("live"), &json!("token_not_renewable")));
    assert!(body["last_error"]["action"].as_str().unwrap().contains("/v1/accounts/a1/token"), "{body}");
    assert_eq!(place(&world, &world.traders[0], "not-renewed").status, 200);
    assert_eq!(renewals(&world), 0);
}

/// The old token may be dead and the new one is nobody's: `/profile` tells, and nothing else
/// is risked.
#[test]
fn a_renewal_whose_reply_was_lost_is_asked_about() {
    for executed in [false, true] {
        let mut world = world();
        world.broker.add_account(World::broker_account(1));
        // So near its end that no hour of the day is a better one for the renewal.
        let old = made("SELF", 86_000, 90);
        world.broker.adopt_token(&World::client_id(1), &old);
        world.broker.fault(Fault::new(Action::Close { executed }).on("GET", "/v2/RenewToken").times(1));
        let trader = world.add(1, &json!({ "platform": "DHAN_V2_IPV6", "access_token": old }));
        let asked = || world.broker.seen().iter().any(|seen| seen.path_and_query == "/v2/profile");
        crate::support::wait_until("a question about the old token", super::LIMIT, asked);
        if executed {
            let body = becomes(&world, "a1", "needs_person");
            assert_eq!(body["last_error"]["code"], "token_superseded", "{body}");
            let (why, _) = unavailable(&place(&world, &trader, "lost"));
            assert!(why.contains("PUT /v1/accounts/a1/token"), "{why}");
            assert_eq!(world.broker.orders(&trader.client_id).len(), 0);
        } else {
            assert_eq!(place(&world, &trader, "not-lost").status, 200);
            // The question that was waited for may have been one about the token as it was given.
            let told = || token(&world, "a1")["last_error"]["code"] == "login_lost";
            crate::support::wait_until("the lost renewal is told", super::LIMIT, told);
            // In time it is tried again, once.
            an_hour_later(&mut world, "a1", Moved::All);
            becomes(&world, "a1", "live");
            assert_eq!(token(&world, "a1")["source"], "renewal");
        }
        assert_eq!(world.broker.mints(&trader.client_id).len(), 1, "executed: {executed}");
        assert_eq!(renewals(&world), if executed { 1 } else { 2 });
    }
}

/// What other tools make their users do by moving the account to another platform.
#[test]
fn a_failing_automatic_account_takes_a_token_by_hand_at_any_time() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let mut wrong = automatic();
    wrong["pin"] = json!("654321");
    let trader = world.add(1, &wrong);
    let body = becomes(&world, "a1", "needs_person");
    assert_eq!(body["last_error"]["code"], "pin_refused", "{body}");
    let (why, _) = unavailable(&place(&world, &trader, "before"));
    assert!(why.contains("Invalid Pin"), "{why}");

    let by_hand = world.broker.mint_token(&trader.client_id);
    let (status, body) = world.gateway.admin().put("/v1/accounts/a1/token", &json!({ "access_token": by_hand }));
    assert_eq!((status, &body["state"], &body["source"]), (200, &json!("live"), &json!("manual")), "{body}");
    assert_eq!(body["last_error"]["code"], "pin_refused", "what is wrong still is: {body}");
    assert_eq!(place(&world, &trader, "after").status, 200);
    let (_, account) = world.gateway.admin().get("/v1/accounts/a1");
    assert_eq!(account["platform"], "DHAN_V2_AT_IPV6");

    killed_and_started(&mut world);
    assert_eq!(place(&world, &trader, "restarted").status, 200);
    assert_eq!(token(&world, "a1")["state"], "live");
    assert_eq!(world.broker.orders(&trader.client_id).len(), 2);
    assert_eq!(logins(&world, &trader.client_id).len(), 1, "the wrong PIN was not tried again");
}

/// The broker's clock decides about codes, and many hosts' clocks are wrong.
#[test]
fn a_host_whose_clock_is_off_logs_in_after_one_refusal_at_most() {
    for ahead in [90, -40] {
        let mut world = world();
        world.broker.set_clock_skew(SignedDuration::from_secs(ahead));
        world.broker.add_account(World::broker_account(1));
        let trader = world.add(1, &automatic());
        after_logins(&world, &trader.client_id, 1);
        let body = crate::support::wait_for("the measured clock", super::LIMIT, || {
            Some(token(&world, "a1")).filter(|body| body["clock_skew"].is_number())
        });
        let off = body["clock_skew"].as_f64().unwrap() - ahead as f64;
        assert!(off.abs() <= 2.0, "{body}");
        crate::support::wait_until("it is warned of", super::LIMIT, || world.gateway.log().contains("clock"));
        if becomes_settled(&world)["state"] != "live" {
            // The code was refused; the next is of the broker's time, also after a restart.
            an_hour_later(&mut world, "a1", Moved::All);
            becomes(&world, "a1", "live");
            assert_eq!(logins(&world, &trader.client_id).len(), 2);
        }
        assert_eq!(place(&world, &trader, "skewed").status, 200);
        assert!(!world.broker.login_locked(&trader.client_id));
        assert_eq!(world.broker.mints(&trader.client_id).len(), 1);

        // One host has one clock: the next account needs no refusal to learn it.
        world.broker.add_account(World::broker_account(2));
        let second = world.add(2, &automatic());
        becomes(&world, "a2", "live");
        assert_eq!(logins(&world, &second.client_id).len(), 1, "at {ahead}");
        let reply = call(&world, &second, "GET", "/v2/fundlimit", None);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// Once nothing is under way.
fn becomes_settled(world: &World) -> Value {
    crate::support::wait_for("an end of the login", super::LIMIT, || {
        Some(token(world, "a1")).filter(|body| body["state"] == "live" || body["state"] == "waiting")
    })
}

/// A code that was used is refused, and two refusals stop everything.
#[test]
fn a_code_is_never_used_twice() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let trader = world.add(1, &automatic());
    becomes(&world, "a1", "live");
    world.broker.kill_token(&trader.client_id);
    unavailable(&place(&world, &trader, "dead"));
    // The time between two logins is over in the window of the first code.
    an_hour_later(&mut world, "a1", Moved::AllButTheCode);
    becomes(&world, "a1", "live");
    let codes = codes(&world, &trader.client_id);
    assert_eq!(codes.len(), 2);
    assert_ne!(codes[0], codes[1]);
    assert_eq!(place(&world, &trader, "lives").status, 200);
}
