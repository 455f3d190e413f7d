//! A retry that a library writes anew is the same order.

use serde_json::json;

use super::{Ask, ReplyOutcome, TERMS, arrived, is_executed, made, send, world};
use crate::support::engine::OrderRequest;

fn place(body: String) -> Ask {
    Ask::new("POST", "/v2/orders").json(body)
}

/// The same order, as six libraries write it.
fn spellings() -> Vec<String> {
    let order = format!(r#"{{"correlationId":"mine",{TERMS},"quantity":5,"price":3310.50}}"#);
    vec![
        order.clone(),
        order.replace("3310.50", "3310.5"),
        order.replace(r#""quantity":5"#, r#""quantity":"5""#).replace("3310.50", r#""3310.50""#),
        order.replace(':', " : ").replace(',', " ,\n\t"),
        format!(r#"{{"price":33105e-1,"quantity":5.0,{TERMS},"correlationId":"mine"}}"#),
        order.replace("correlationId", r"correlation\u0049d"),
    ]
}

#[test]
fn a_retry_that_is_written_anew_is_a_repeat_and_another_order_is_told_what_became_of_the_first() {
    let mut world = world();
    let first = send(&world, place(spellings().remove(0)));
    is_executed(&first);
    let (request, order) = (first.header("sixgate-request-id").to_owned(), first.order_id());
    for round in ["at once", "after kill -9"] {
        if round == "after kill -9" {
            world.gateway.kill9();
            world.start_again();
        }
        for body in spellings() {
            let told = send(&world, place(body.clone()));
            assert_eq!((told.status, told.outcome()), (200, "executed"), "{round}, {body}: {told:?}");
            assert_eq!((told.order_id(), told.repeat_of()), (order.clone(), request.as_str()), "{round}, {body}");
        }
        for (from, to) in [("3310.50", "3310.55"), (r#""quantity":5"#, r#""quantity":6"#), ("BUY", "SELL")] {
            let told = send(&world, place(spellings()[0].replace(from, to)));
            assert_eq!((told.status, told.code().as_str()), (422, "idempotency_conflict"), "{round}, {to}: {told:?}");
            // Our own table calls "not_sent" safe to send again, and the order of this id is in the book.
            assert_eq!((told.outcome(), told.json()["outcome"].clone()), ("executed", json!("executed")), "{told:?}");
            assert_eq!(told.repeat_of(), request, "{round}: {told:?}");
            let detail = told.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(&order) && detail.contains(&request), "{round}: {detail}");
        }
        assert_eq!((arrived(&world), made(&world)), (1, 1), "{round}");
    }
}

/// While the first is under way nobody knows, and "not sent" would be a lie.
#[test]
fn a_conflict_with_a_write_under_way_says_unknown() {
    use sixgate::sandbox::{Action, Fault};
    let world = world();
    world.broker.fault(Fault::new(Action::Slow { ms: 800 }).on("POST", "/v2/orders"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| send(&world, OrderRequest::place(Some("slow"), 100.0)));
        crate::support::wait::wait_until("it to arrive", super::LIMIT, || arrived(&world) == 1);
        let told = send(&world, OrderRequest::place(Some("slow"), 101.0));
        assert_eq!((told.status, told.outcome()), (422, "unknown"), "{told:?}");
        let first = first.join().unwrap();
        is_executed(&first);
        assert_eq!(told.repeat_of(), first.header("sixgate-request-id"));
    });
    assert_eq!((arrived(&world), made(&world)), (1, 1));
}
