//! The broker's limits on logins, over restarts and kills.

use std::time::Duration;

use serde_json::json;
use sixgate::sandbox::{Action, Fault};

use super::{Moved, after_logins, an_hour_later, becomes, killed_and_started, logins, place, refresh, token};
use super::{unavailable, world};
use crate::support::world::{PIN, World, automatic};

/// A third refusal may lock the account at the broker, and only the broker's people unlock it.
#[test]
fn after_two_refusals_there_is_no_third_before_a_person_acts() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let mut wrong = automatic();
    wrong["pin"] = json!("654321");
    let trader = world.add(1, &wrong);
    let id = trader.client_id.clone();
    let attempts = |world: &World| (world.broker.login_attempts(&id), world.broker.login_locked(&id));

    // A refused PIN is not tried again by itself at all.
    becomes(&world, "a1", "needs_person");
    an_hour_later(&mut world, "a1", Moved::All);
    assert_eq!(becomes(&world, "a1", "needs_person")["last_error"]["code"], "pin_refused");
    assert_eq!(attempts(&world), (1, false));
    // A person says try again, and it is as wrong as before.
    let body = refresh(&world, "a1", &json!({}));
    assert_eq!((&body["state"], attempts(&world)), (&json!("needs_person"), (2, false)), "{body}");
    let summary = body["last_error"]["summary"].as_str().unwrap();
    assert!(summary.contains("Invalid Pin") && summary.contains("third refusal"), "{body}");

    for end in ["time", "kill9"] {
        if end == "time" {
            an_hour_later(&mut world, "a1", Moved::All);
        } else {
            killed_and_started(&mut world);
        }
        assert_eq!(refresh(&world, "a1", &json!({}))["state"], "needs_person", "{end}");
        let (why, _) = unavailable(&place(&world, &trader, end));
        assert!(why.contains("Invalid Pin"), "{why}");
        assert_eq!(attempts(&world), (2, false), "{end}");
    }

    // The account was looked after at the broker, and a person vouches for the PIN: one more.
    world.broker.unlock_login(&id);
    assert_eq!(refresh(&world, "a1", &json!({ "vouched": true }))["state"], "needs_person");
    assert_eq!(attempts(&world), (3, false));
    an_hour_later(&mut world, "a1", Moved::All);
    assert_eq!(refresh(&world, "a1", &json!({}))["state"], "needs_person");
    assert_eq!(attempts(&world), (3, false), "and no other");

    // The right PIN is another one, and what was refused says nothing of it.
    let (status, body) = world.gateway.admin().patch("/v1/accounts/a1", &json!({ "pin": PIN }));
    assert_eq!(status, 200, "{body}");
    let body = becomes(&world, "a1", "live");
    assert_eq!((&body["last_error"], attempts(&world)), (&json!(null), (4, false)), "{body}");
    assert_eq!(place(&world, &trader, "mended").status, 200);
}

/// A wrong TOTP secret is refused as a wrong code, which may be the clock: so a second is tried.
#[test]
fn a_wrong_totp_secret_is_tried_twice_and_then_no_more() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let mut wrong = automatic();
    wrong["totp_secret"] = json!("KRUGS4ZANFZSAYJA");
    let trader = world.add(1, &wrong);
    // An account waits before its first login as well, for a code that lasts.
    after_logins(&world, &trader.client_id, 1);
    let body = becomes(&world, "a1", "waiting");
    assert_eq!(logins(&world, &trader.client_id).len(), 1, "{body}");
    an_hour_later(&mut world, "a1", Moved::All);
    becomes(&world, "a1", "needs_person");
    an_hour_later(&mut world, "a1", Moved::All);
    assert_eq!(becomes(&world, "a1", "needs_person")["state"], "needs_person");
    let (why, _) = unavailable(&place(&world, &trader, "wrong"));
    assert!(why.contains("TOTP"), "{why}");
    assert_eq!((logins(&world, &trader.client_id).len(), world.broker.login_locked(&trader.client_id)), (2, false));
}

/// The broker counts from the last attempt, whatever became of it and of us.
#[test]
fn the_time_between_two_logins_survives_restarts_and_kills() {
    let mut world = world();
    // As strict as it is said to be: an attempt inside the time would be refused, and seen.
    world.broker.set_cooldown(Duration::from_secs(120));
    world.broker.add_account(World::broker_account(1));
    let trader = world.add(1, &automatic());
    becomes(&world, "a1", "live");
    world.broker.kill_token(&trader.client_id);
    // And up to five more, when the code of that moment is about to end.
    let mut before = 136;
    for n in 0..3 {
        match n {
            1 => assert!(world.gateway.terminate().success()),
            2 => world.gateway.kill9(),
            _ => {}
        }
        if n > 0 {
            world.start_again();
        }
        let (why, wait) = unavailable(&place(&world, &trader, &format!("dead-{n}")));
        // Before and after a restart it may be another code that it waits for.
        assert!(wait > 30 && wait <= before + 5, "{wait} s after {before} s: {why}");
        assert_eq!(token(&world, "a1")["state"], "waiting");
        // Not even an operator hurries the broker.
        assert_eq!(refresh(&world, "a1", &json!({ "vouched": true }))["state"], "waiting");
        assert_eq!(logins(&world, &trader.client_id).len(), 1, "{n}");
        before = wait;
    }
    assert_eq!(world.broker.orders(&trader.client_id).len(), 0);
}

/// An attempt is written down before it is made: killed between the two, or before the
/// answer, it counts.
#[test]
fn a_login_that_was_under_way_at_a_kill_counts_as_made() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    world.broker.fault(Fault::new(Action::Hang { executed: false }).on("POST", super::MINT));
    let trader = world.add(1, &automatic());
    after_logins(&world, &trader.client_id, 1);
    world.gateway.kill9();
    world.broker.clear_faults();
    world.start_again();
    becomes(&world, "a1", "waiting");
    killed_and_started(&mut world);
    let body = becomes(&world, "a1", "waiting");
    let (_, wait) = unavailable(&place(&world, &trader, "early"));
    assert!((30..=136).contains(&wait), "{wait}: {body}");
    assert_eq!(logins(&world, &trader.client_id).len(), 1, "{body}");

    // When its time has come it is made anew.
    an_hour_later(&mut world, "a1", Moved::All);
    becomes(&world, "a1", "live");
    assert_eq!((logins(&world, &trader.client_id).len(), world.broker.mints(&trader.client_id).len()), (2, 1));
}
