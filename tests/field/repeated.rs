//! A repeat says that it is one, is counted once, and is one only where its caller meant it.

use serde_json::json;
use sixgate::sandbox::{Action, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Ask, LIMIT, ReplyOutcome, account, arrived, is_executed, made, metric, send, world};
use crate::support::caller::{basic, connect};
use crate::support::engine::{HOST, OrderRequest};
use crate::support::net::Ns;
use crate::support::wait::wait_until;
use crate::support::world::{LISTENER, TestAccount, World};

const EXECUTED: &str = "sixgate_order_outcomes_total{outcome=\"executed\"}";
const REPEATS: &str = "sixgate_order_repeats_total";

#[test]
fn a_repeat_says_so_and_is_counted_once() {
    let world = world();
    let wish = OrderRequest::place(Some("label"), 100.0);
    let first = send(&world, &wish);
    is_executed(&first);
    assert_eq!(first.repeat_of(), "");
    assert_eq!(account(&world)["repeats_today"], 0);
    let request = first.header("sixgate-request-id");
    for _ in 0..3 {
        let again = send(&world, &wish);
        is_executed(&again);
        assert_eq!((again.repeat_of(), again.order_id()), (request, first.order_id()));
        assert_ne!(again.header("sixgate-request-id"), request);
    }
    let other = send(&world, OrderRequest::place(Some("label"), 101.0));
    assert_eq!((other.status, other.repeat_of()), (422, request));
    assert_eq!((metric(&world, EXECUTED), metric(&world, REPEATS)), (1, 4));
    assert_eq!(account(&world)["repeats_today"], 4);
    assert_eq!((arrived(&world), made(&world)), (1, 1));
    // The journal tells of it, and not of each: a loop of repeats must not fill the disk.
    let journal = world.gateway.admin().get("/v1/orders").1;
    let notes = journal["items"].as_array().unwrap().iter().filter(|line| line["kind"] == "note").count();
    assert!((1..=4).contains(&notes), "{journal:#}");

    // An account whose ids are labels places as many as it sends.
    let labels = json!({ "repeats_by": "idempotency_key" });
    assert_eq!(world.gateway.admin().patch("/v1/accounts/a1", &labels).0, 200);
    assert_eq!(account(&world)["repeats_by"], "idempotency_key");
    for _ in 0..2 {
        let told = send(&world, &wish);
        is_executed(&told);
        assert_eq!(told.repeat_of(), "", "{told:?}");
    }
    assert_eq!((arrived(&world), made(&world)), (3, 3));
    let keyed = wish.clone().under("key");
    let first = send(&world, &keyed);
    assert_eq!(send(&world, &keyed).repeat_of(), first.header("sixgate-request-id"));
    assert_eq!((arrived(&world), made(&world)), (4, 4));
    // A lost answer is searched for by the label, and the newest that fits and was not known is its.
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
    let lost = send(&world, &wish);
    is_executed(&lost);
    let newest = world.broker.orders(&world.traders[0].client_id).pop().unwrap();
    assert_eq!(json!(lost.order_id()), newest["orderId"]);
    world.broker.fault(Fault::new(Action::Close { executed: false }).on("POST", "/v2/orders").times(1));
    let lost = send(&world, &wish);
    assert_eq!((lost.status, lost.outcome()), (504, "unknown"), "{lost:?}");
}

/// An order that is REJECTED in a good reply is none, and its id is free; of several only if all are.
#[test]
fn a_good_reply_whose_order_is_rejected_is_a_refusal() {
    let world = world();
    let reject = |first| Fault::new(Action::RejectOrders { first, silent: false }).on("POST", "/v2/").times(1);
    world.broker.fault(reject(None));
    let wish = OrderRequest::place(Some("poor"), 100.0);
    let told = send(&world, &wish);
    assert_eq!((told.status, told.outcome()), (200, "rejected"), "{told:?}");
    let again = send(&world, &wish);
    is_executed(&again);
    assert_eq!(again.repeat_of(), "");
    assert_ne!(again.order_id(), told.order_id());
    let counted = metric(&world, "sixgate_order_outcomes_total{outcome=\"rejected\"}");
    assert_eq!((arrived(&world), counted), (2, 1));
    for (n, rejected, outcome) in [(1, Some(1), "executed"), (2, None, "rejected")] {
        world.broker.fault(reject(rejected));
        let told = send(&world, OrderRequest::multi(&format!("poor{n}"), 100.0));
        assert_eq!((told.status, told.outcome()), (200, outcome), "{told:?}");
    }
}

#[test]
fn an_id_of_blanks_is_no_id() {
    let world = world();
    for id in ["", " ", "   "] {
        let wish = OrderRequest::place(Some(id), 100.0);
        let told = [send(&world, &wish), send(&world, &wish)];
        for told in &told {
            is_executed(told);
            assert_eq!(told.repeat_of(), "", "{id:?}: {told:?}");
            assert!(told.header("sixgate-correlation-id").starts_with("SG"), "{id:?}: {told:?}");
        }
        assert_ne!(told[0].order_id(), told[1].order_id(), "{id:?}");
    }
    assert_eq!((arrived(&world), made(&world)), (6, 6));
}

async fn begin(trader: &TestAccount, wish: &OrderRequest) -> TcpStream {
    let (body, auth) = (wish.body.clone().unwrap_or_default(), basic(&trader.name, &trader.key));
    let text = format!(
        "POST http://{HOST}{} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: {auth}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        wish.path,
        body.len()
    );
    let mut stream = connect(LISTENER).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn end(mut stream: TcpStream) -> String {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// Has the gateway read the end of a caller's connection that it has not closed yet? An end that is not read counts as a
/// byte in the queue.
fn has_read_an_end(world: &World) -> bool {
    let mut list = world.net.command(Ns::Gateway, "ss");
    list.args(["-Htn", "state", "close-wait", "sport", "=", &format!(":{}", LISTENER.port())]);
    let output = list.output().expect("ss of iproute2").stdout;
    String::from_utf8_lossy(&output).lines().any(|line| line.split_whitespace().next() == Some("0"))
}

/// Some HTTP libraries send a POST again by themselves when its connection ends without an answer.
#[test]
fn an_order_without_an_id_joins_its_twin_whose_caller_is_gone() {
    let world = world();
    let trader = world.traders[0].clone();
    world.broker.fault(Fault::new(Action::Slow { ms: 1_200 }).on("POST", "/v2/orders"));
    let wish = OrderRequest::place(None, 100.0);
    let runtime = world.net.runtime(Ns::Caller);
    let blind = |times: usize| {
        let before = arrived(&world);
        let (first_trader, first_wish) = (trader.clone(), wish.clone());
        let first = runtime.run(async move { begin(&first_trader, &first_wish).await });
        wait_until("the first to arrive", LIMIT, || arrived(&world) > before);
        drop(first);
        wait_until("the gateway to see that its caller is gone", LIMIT, || has_read_an_end(&world));
        (0..times)
            .map(|_| {
                let (trader, wish) = (trader.clone(), wish.clone());
                runtime.spawn(async move { end(begin(&trader, &wish).await).await })
            })
            .collect::<Vec<_>>()
    };
    let again = blind(1).remove(0);
    let again = runtime.run(async move { again.await.unwrap() });
    assert!(again.starts_with("HTTP/1.1 200 ") && again.contains("sixgate-outcome: executed"), "{again}");
    assert!(again.contains("sixgate-repeat: "), "{again}");
    assert_eq!((arrived(&world), made(&world)), (1, 1));

    // Two who wait for their answers want two orders, and so does who asks once more after the answer.
    let twice = Ask::from(&wish);
    let told = super::send_all(&world, &[twice.clone(), twice]);
    assert!(told.iter().all(|told| told.outcome() == "executed" && told.repeat_of().is_empty()), "{told:?}");
    assert_eq!((arrived(&world), made(&world)), (3, 3));
    // Another order is no twin.
    let before = arrived(&world);
    let (first_trader, first_wish) = (trader.clone(), wish.clone());
    let first = runtime.run(async move { begin(&first_trader, &first_wish).await });
    wait_until("the first to arrive", LIMIT, || arrived(&world) > before);
    drop(first);
    let other = send(&world, OrderRequest::place(None, 101.0));
    is_executed(&other);
    assert_eq!((other.repeat_of(), arrived(&world)), ("", before + 2));
}

/// A trailing stop echoes its order's id in every change, back and forth.
#[test]
fn an_id_that_is_echoed_in_changes_stops_no_trailing_stop() {
    let world = world();
    let order = send(&world, OrderRequest::place(Some("stop"), 100.0)).order_id();
    let change = |price: f64| {
        let mut wish = OrderRequest::modify(&order, price);
        wish.body = wish.body.map(|body| body.replacen('{', r#"{"correlationId":"stop","#, 1));
        wish
    };
    for n in 0..15 {
        // Back to a price of before, and on.
        let told = send(&world, change(100.0 + f64::from(n % 4)));
        is_executed(&told);
        assert_eq!(told.repeat_of(), "", "{n}: {told:?}");
        assert_eq!(arrived(&world), n as usize + 2, "{n}");
    }
    // The same once more is the blind retry of a library.
    let again = send(&world, change(102.0));
    is_executed(&again);
    assert_ne!(again.repeat_of(), "");
    assert_eq!(arrived(&world), 16);
    let row = &world.broker.orders(&world.traders[0].client_id)[0];
    assert_eq!((row["price"].as_f64(), made(&world)), (Some(102.0), 1), "{row}");
}
