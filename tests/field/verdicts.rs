//! One back end's verdict is not believed for all, and what the broker only quotes is not taken for its word.

use serde_json::json;
use sixgate::sandbox::{Action, Fault, Quoted, Verdict};

use super::{Ask, ReplyOutcome, arrived, is_executed, is_well, made, send, world};
use crate::support::engine::OrderRequest;

fn chart() -> Ask {
    let body = r#"{"securityId":"11536","exchangeSegment":"NSE_EQ","instrument":"EQUITY","interval":"5","fromDate":"2026-11-25","toDate":"2026-11-26"}"#;
    Ask::new("POST", "/v2/charts/intraday").json(body)
}

fn quote() -> Ask {
    Ask::new("POST", "/v2/marketfeed/ltp").json(r#"{"NSE_EQ":[11536]}"#)
}

/// A manual account with a barred token waits for a person.
#[test]
fn refusals_of_the_data_back_ends_stop_no_trading() {
    let world = world();
    let words =
        json!({ "data": { "808": "Authentication Failed - Client ID or Access Token invalid" }, "status": "failed" });
    world.broker.fault(Fault::new(Action::Refuse { status: 401, body: words }).on("POST", "/v2/charts").times(2));
    for verdict in [Verdict::Expired, Verdict::NotAuthenticated, Verdict::InvalidToken, Verdict::Dh901, Verdict::Dh906]
    {
        world.broker.fault(Fault::new(Action::Verdict { says: verdict }).on_data().times(2));
    }
    let mut refused = 0;
    for n in 0..12 {
        let read = send(&world, if n % 3 == 2 { quote() } else { chart() });
        refused += usize::from(read.status == 401);
        let told = send(&world, OrderRequest::place(Some(&format!("after-{n}")), 100.0));
        is_executed(&told);
    }
    assert!(refused >= 9, "{refused}");
    is_well(&world);
    assert_eq!((arrived_orders(&world), made(&world)), (12, 12));
}

fn arrived_orders(world: &super::World) -> usize {
    super::writes(world).iter().filter(|seen| seen.path_and_query == "/v2/orders").count()
}

/// An id, a path or a body that a refusal quotes is the caller's word.
#[test]
fn words_that_the_broker_only_quotes_trip_no_leg_and_no_token() {
    let world = world();
    for (n, id) in ["Invalid IP", "Invalid Token", "IP not whitelisted"].into_iter().enumerate() {
        for what in [Quoted::CorrelationId, Quoted::Body] {
            world.broker.fault(Fault::new(Action::Quote { what }).on("POST", "/v2/orders").times(1));
            let before = arrived(&world);
            let told = send(&world, OrderRequest::place(Some(id), 100.0 + n as f64));
            assert_eq!((told.status, told.outcome()), (400, "rejected"), "{id}, {what:?}: {told:?}");
            assert_eq!(arrived(&world), before + 1, "{id}, {what:?}: sent again by the other leg");
            is_well(&world);
        }
    }
    assert_eq!(made(&world), 0);
}

/// The broker takes ids of 30 characters by its documents, and refuses some above 25 with words that mean six things.
#[test]
fn a_refusal_that_an_id_may_have_drawn_is_explained_beside_it() {
    let world = world();
    let generic = "Missing required fields, bad values for parameters etc.";
    for words in ["Invalid correlationId", generic] {
        let body = json!({ "errorType": "Input_Exception", "errorCode": "DH-905", "errorMessage": words });
        let refuse = || Fault::new(Action::Refuse { status: 400, body: body.clone() }).on("POST", "/v2/").times(1);
        for (id, hint) in [("a23456789012345678901234567", "25"), ("a|b", "letters"), ("a_b-c", "")] {
            for wish in [OrderRequest::place(Some(id), 100.0), OrderRequest::super_order(Some(id), 100.0)] {
                world.broker.fault(refuse());
                let told = send(&world, wish);
                assert_eq!((told.status, told.outcome(), told.json()), (400, "rejected", body.clone()), "{id}");
                let said = told.header("sixgate-hint");
                assert!(said.contains(hint) && said.is_empty() == hint.is_empty(), "{words}, {id}: {said}");
            }
        }
    }
    assert_eq!(made(&world), 0);
}

/// A refusal with the token in it would put it into an engine's log.
#[test]
fn a_refusal_that_quotes_the_token_reaches_nobody_with_it() {
    let world = world();
    let token = world.traders[0].token.clone();
    let order = send(&world, OrderRequest::place(Some("waits"), 100.0)).order_id();
    world.broker.fault(Fault::new(Action::Quote { what: Quoted::AccessToken }));
    let asks = [
        OrderRequest::read().into(),
        chart(),
        Ask::new("GET", "/v2/profile"),
        OrderRequest::place(Some("quoted"), 100.0).into(),
        OrderRequest::modify(&order, 101.0).into(),
        OrderRequest::cancel(&order).into(),
        Ask::new("DELETE", "/v2/positions"),
    ];
    for ask in asks {
        let what = format!("{} {}", ask.method, ask.path);
        let told = send(&world, ask);
        assert_eq!(told.status, 400, "{what}");
        let text = String::from_utf8_lossy(&told.body).into_owned();
        assert!(text.contains("Invalid value: "), "{what}: the rest of it is passed on");
        assert!(!text.contains(&token), "{what}: the token reaches the caller");
        let written = told.header("content-length");
        assert!(written.is_empty() || written == told.body.len().to_string(), "{what}: {written}");
    }
    assert!(!world.gateway.log().contains(&token), "the token is in the log");
    let folder = world.dir.path().join("state/journal");
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(memchr::memmem::find(&bytes, token.as_bytes()).is_none(), "the token is in the journal");
    }
}
