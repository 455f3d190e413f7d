//! A token that dies while requests are under way.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sixgate::sandbox::{Account, Action, Fault};

use super::{Moved, an_hour_later, becomes, call, logins, order, place, send, token, unavailable, world};
use crate::support::caller::Reply;
use crate::support::net::Ns;
use crate::support::world::{TestAccount, World, automatic};

/// What reads there are among the 200.
const READS: [&str; 4] = ["/v2/orders", "/v2/positions", "/v2/fundlimit", "/v2/holdings"];

/// An automatic account that was given a live token, so that it has not logged in yet.
fn with_token(world: &mut World, n: u16) -> TestAccount {
    let mut fields = automatic();
    fields["access_token"] = json!(world.at_the_broker(n));
    let trader = world.add(n, &fields);
    becomes(world, &trader.name, "live");
    trader
}

/// 200 requests at once, every fifth an order under an id of its own.
fn two_hundred(world: &World, trader: &TestAccount) -> Vec<(bool, Reply)> {
    world.net.in_ns(Ns::Caller, || {
        let trader = trader.clone();
        async move {
            let requests = (0..200).map(|n| {
                let trader = trader.clone();
                tokio::spawn(async move {
                    let (write, id) = (n % 5 == 0, format!("many-{n}"));
                    let body = order(&id);
                    let reply = if write {
                        send(trader, "POST", "/v2/orders", Some(&body)).await
                    } else {
                        send(trader, "GET", READS[n % READS.len()], None).await
                    };
                    (write, reply)
                })
            });
            let mut replies = Vec::new();
            for request in requests.collect::<Vec<_>>() {
                replies.push(request.await.unwrap());
            }
            replies
        }
    })
}

/// The moment that matters: everybody's token dies at once, and nobody may notice.
#[test]
fn two_hundred_requests_share_one_login_and_none_fails() {
    let mut world = world();
    let trader = with_token(&mut world, 1);
    world.broker.kill_token(&trader.client_id);
    world.broker.clear_seen();
    // Long enough that requests pile up behind it.
    world.broker.fault(Fault::new(Action::Slow { ms: 500 }).on("POST", super::MINT));
    let replies = two_hundred(&world, &trader);
    for (_, reply) in &replies {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(world.broker.mints(&trader.client_id).len(), 1);
    assert_eq!(logins(&world, &trader.client_id).len(), 1);
    let seen = world.broker.seen();
    let dead = seen.iter().filter(|seen| seen.token.as_deref() == Some(&trader.token)).count();
    assert!(dead > 1, "several were refused and shared the login");
    let placed: Vec<String> = world
        .broker
        .orders(&trader.client_id)
        .iter()
        .map(|order| order["correlationId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((placed.len(), placed.iter().collect::<BTreeSet<_>>().len()), (40, 40), "each once");
    let outcomes = replies.iter().filter(|(write, _)| *write).map(|(_, reply)| reply.header("sixgate-outcome"));
    assert!(outcomes.into_iter().all(|outcome| outcome == "executed"));
}

/// When the login fails nobody is left hanging, everybody is told why, and nothing was done.
#[test]
fn two_hundred_requests_are_told_why_the_login_failed() {
    let mut world = world();
    let trader = with_token(&mut world, 1);
    let changed = Account { pin: "999999".to_owned(), ..World::broker_account(1) };
    world.broker.add_account(changed);
    world.broker.kill_token(&trader.client_id);
    world.broker.clear_seen();
    world.broker.fault(Fault::new(Action::Slow { ms: 500 }).on("POST", super::MINT));
    let replies = two_hundred(&world, &trader);
    for (write, reply) in &replies {
        let (why, _) = unavailable(reply);
        assert!(why.contains("Invalid Pin") && why.contains("PIN"), "{why}");
        if *write {
            let outcome = reply.header("sixgate-outcome");
            assert!(matches!(outcome, "not_sent" | "rejected"), "{outcome}: {reply:?}");
        }
    }
    assert_eq!(logins(&world, &trader.client_id).len(), 1);
    assert_eq!(world.broker.orders(&trader.client_id).len(), 0);
}

fn refusal(status: u16, body: Value) -> Action {
    Action::Refuse { status, body }
}

/// One cause in all of its shapes, on reads and writes: one login and one repeat.
#[test]
fn every_shape_of_a_refused_token_leads_to_one_login_and_one_repeat() {
    let invalid = || json!({ "errorType": "Order_Error", "errorCode": "DH-906", "errorMessage": "Invalid Token" });
    let expired = || {
        let message = "Client ID or user generated access token is invalid or expired.";
        json!({ "errorType": "Invalid_Authentication", "errorCode": "DH-901", "errorMessage": message })
    };
    let data = |code: &str, text: &str| json!({ "data": { code: text }, "status": "failed" });
    let (read, write, quote) = (("GET", "/v2/positions"), ("POST", "/v2/orders"), ("POST", "/v2/marketfeed/ltp"));
    let cases = [
        (write, refusal(400, invalid())),
        (write, refusal(401, expired())),
        (read, refusal(400, invalid())),
        (read, refusal(401, expired())),
        (quote, refusal(401, data("808", "Authentication Failed - Client ID or Token invalid"))),
        (quote, refusal(401, data("807", "Access token is expired"))),
        (quote, refusal(401, data("809", "Access token is invalid"))),
    ];
    let mut world = world();
    for (n, ((method, path), action)) in (1..).zip(cases) {
        let trader = with_token(&mut world, n);
        let id = trader.client_id.clone();
        world.broker.clear_seen();
        world.broker.fault(Fault::new(action.clone()).on(method, path).of(&id).times(1));
        // What is asked, as the token is a fresh one, and it agrees.
        world.broker.fault(Fault::new(refusal(400, invalid())).on("GET", "/v2/profile").of(&id));
        let body = match path {
            "/v2/orders" => Some(order("refused-once")),
            "/v2/marketfeed/ltp" => Some(json!({ "NSE_EQ": [11536] }).to_string()),
            _ => None,
        };
        let reply = call(&world, &trader, method, path, body.as_deref());
        assert_eq!(reply.status, 200, "{action:?}: {reply:?}");
        let tokens: Vec<_> = world.broker.seen().into_iter().filter(|seen| seen.path_and_query == path).collect();
        let [first, second] = tokens.as_slice() else { panic!("{action:?}: {tokens:?}") };
        assert_eq!(first.token.as_deref(), Some(trader.token.as_str()), "{action:?}");
        assert!(second.token.is_some() && second.token != first.token, "{action:?}");
        assert_eq!(world.broker.mints(&id).len(), 1, "{action:?}");
        assert_eq!(world.broker.orders(&id).len(), usize::from(path == "/v2/orders"), "{action:?}");
        world.broker.clear_faults();
    }
}

/// A broker that refuses the new token too is not asked a third time.
#[test]
fn a_request_is_repeated_once_and_not_again() {
    let mut world = world();
    for (n, (method, path)) in (1..).zip([("GET", "/v2/positions"), ("POST", "/v2/orders")]) {
        let trader = with_token(&mut world, n);
        let body = json!({ "errorType": "Order_Error", "errorCode": "DH-906", "errorMessage": "Invalid Token" });
        world.broker.clear_seen();
        world.broker.fault(Fault::new(refusal(400, body.clone())).on(method, path).of(&trader.client_id).times(9));
        let order = order("refused-twice");
        let reply = call(&world, &trader, method, path, (method == "POST").then_some(order.as_str()));
        // The new token lives, says `/profile`: so the refusal is the caller's to see.
        assert_eq!((reply.status, reply.json()), (400, body), "{reply:?}");
        let sent = world.broker.seen().iter().filter(|seen| seen.path_and_query == path).count();
        // A read's refusal is no reason to send again while the token lives.
        assert_eq!(sent, if method == "POST" { 2 } else { 1 }, "{method}");
        // None when no code could be used at that moment, and `/profile` said that it lives.
        assert!(logins(&world, &trader.client_id).len() <= 1, "{method}");
        assert_eq!(world.broker.orders(&trader.client_id).len(), 0);
    }
}

/// A fresh token is refused for a moment, until all of the broker knows it. That it was found
/// alive then must not hide that it dies later.
#[test]
fn a_token_that_was_refused_for_a_moment_is_missed_when_it_dies() {
    let mut world = world();
    world.broker.add_account(World::broker_account(1));
    let trader = world.add(1, &automatic());
    becomes(&world, "a1", "live");
    let body = json!({ "errorType": "Order_Error", "errorCode": "DH-906", "errorMessage": "Invalid Token" });
    let momentary = Fault::new(refusal(400, body)).on("POST", "/v2/orders").of(&trader.client_id).times(1);
    world.broker.fault(momentary);
    let reply = place(&world, &trader, "momentary");
    assert_eq!((reply.status, logins(&world, &trader.client_id).len()), (200, 1), "{reply:?}");
    assert_eq!(world.broker.orders(&trader.client_id).len(), 1);

    world.broker.kill_token(&trader.client_id);
    for n in 0..2 {
        let (why, wait) = unavailable(&place(&world, &trader, &format!("dead-{n}")));
        assert!(wait > 30, "{wait}: {why}");
        assert_eq!(token(&world, "a1")["state"], "waiting");
    }
    an_hour_later(&mut world, "a1", Moved::AllButTheCode);
    becomes(&world, "a1", "live");
    assert_eq!(place(&world, &trader, "lives").status, 200);
    assert_eq!(world.broker.orders(&trader.client_id).len(), 2);
}

/// Two chart reads answered 401/808 put a live token out of use: a manual account had none until
/// a person came.
#[test]
fn a_manual_account_trades_on_when_a_data_back_end_refuses_its_live_token() {
    let mut world = world();
    let fields = json!({ "platform": "DHAN_V2_IPV6", "access_token": world.at_the_broker(1) });
    let trader = world.add(1, &fields);
    becomes(&world, &trader.name, "live");
    let (charts, quotes) = ("/v2/charts/historical", "/v2/marketfeed/ltp");
    let body = json!({ "data": { "808": "Authentication Failed - Client ID or Token invalid" }, "status": "failed" });
    world.broker.clear_seen();
    for path in [charts, quotes] {
        world.broker.fault(Fault::new(refusal(401, body.clone())).on("POST", path).of(&trader.client_id).times(9));
    }
    for n in 0..4 {
        for path in [charts, quotes] {
            let reply = call(&world, &trader, "POST", path, Some(r#"{"NSE_EQ":[11536]}"#));
            assert_eq!((reply.status, reply.json()), (401, body.clone()), "as it came: {reply:?}");
        }
        let reply = place(&world, &trader, &format!("trades-on-{n}"));
        assert_eq!((reply.status, reply.header("sixgate-outcome")), (200, "executed"), "{reply:?}");
        assert_eq!(token(&world, &trader.name)["state"], "live");
    }
    let asked = |path: &str| world.broker.seen().iter().filter(|seen| seen.path_and_query == path).count();
    assert_eq!((asked(charts), asked("/v2/profile")), (4, 1), "sent once each, and one question for all of them");
    assert_eq!(world.broker.orders(&trader.client_id).len(), 4);

    // What /profile says is final.
    world.broker.kill_token(&trader.client_id);
    assert_eq!(place(&world, &trader, "dead").status, 503);
    becomes(&world, &trader.name, "needs_person");
}
