//! A front that compresses replies, asked or not: what takes risk away, several orders at once, a refused address and
//! a refused token are judged by what the broker said.

use serde_json::json;
use sixgate::sandbox::{Action, Compression, Encoding, Fault};

use super::{Ask, ReplyOutcome, arrived, habits, is_executed, made, send, text, world, writes};
use crate::support::engine::{HOST, OrderRequest};
use crate::support::world::{World, automatic};

const KILL: &str = "/v2/killswitch?killSwitchStatus=ACTIVATE";
const ALIVE: &str = "/v2/killswitch?killSwitchStatus=DEACTIVATE";

fn asking(ask: impl Into<Ask>) -> Ask {
    ask.into().with("accept-encoding", "gzip, deflate, br, zstd")
}

fn invalid_ip() -> Action {
    let body = json!({ "errorType": "Input_Exception", "errorCode": "DH-905", "errorMessage": "Invalid IP" });
    Action::Refuse { status: 400, body }
}

#[test]
fn what_a_compressed_reply_says_is_told() {
    let world = world();
    let always = [Encoding::Gzip, Encoding::Br, Encoding::Deflate].map(Compression::Always);
    for (n, compression) in [Compression::Asked].into_iter().chain(always).enumerate() {
        habits(&world, |habits| habits.compression = compression);
        let before = arrived(&world);
        for ask in [
            asking(OrderRequest::multi(&format!("m{n}"), 100.0)),
            asking(OrderRequest::place(Some(&format!("p{n}")), 100.0)),
            asking(OrderRequest::new("DELETE", "/v2/positions", None)),
            asking(Ask::new("POST", KILL)),
            asking(Ask::new("POST", ALIVE)),
        ] {
            let told = send(&world, ask.clone());
            is_executed(&told);
            // Nobody asked the broker for the encoding, so the caller need not know it.
            assert_eq!(told.header("content-encoding"), "", "{compression:?} {ask:?}: {told:?}");
            assert_ne!(told.json(), json!(null), "{compression:?} {ask:?}");
        }
        assert_eq!(arrived(&world) - before, 5, "{compression:?}");
        // A lost answer is asked about in the same encoding.
        world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
        let told = send(&world, asking(OrderRequest::place(Some(&format!("lost{n}")), 100.0)));
        is_executed(&told);
        assert_eq!(told.header("sixgate-recovered"), "true");
        // A reader gets what it asked for.
        let read = send(&world, OrderRequest::read());
        assert_eq!(read.status, 200);
    }
    assert_eq!(made(&world), 4 * (2 + 1 + 1));
}

/// The address is refused in gzip: the other leg takes the order, once.
#[test]
fn a_refusal_of_the_address_that_is_compressed_moves_to_the_other_leg() {
    let world = world();
    habits(&world, |habits| habits.compression = Compression::Always(Encoding::Gzip));
    world.broker.fault(Fault::new(invalid_ip()).on("POST", "/v2/orders").times(1));
    let told = send(&world, asking(OrderRequest::place(Some("moves"), 100.0)));
    is_executed(&told);
    assert_eq!(told.header("sixgate-leg"), "secondary", "{told:?}");
    let peers: Vec<_> = writes(&world).iter().map(|seen| *seen.peer.ip()).collect();
    let pair = world.traders[0].pair;
    assert_eq!(peers, [pair.primary.ip(), pair.secondary.ip()]);
    assert_eq!(made(&world), 1);
}

#[test]
fn a_refusal_of_the_token_that_is_compressed_renews_it() {
    let mut world = World::up_with(0, &text("leave_within = \"20s\""));
    let token = world.at_the_broker(1);
    let mut fields = automatic();
    fields["access_token"] = token.clone().into();
    let trader = world.add(1, &fields);
    habits(&world, |habits| habits.compression = Compression::Always(Encoding::Br));
    is_executed(&send(&world, OrderRequest::place(Some("lives"), 100.0)));
    // An order waits for a login; for the next code it would wait longer than it may take to leave.
    World::wait_for_a_code_that_lasts(std::time::Duration::from_secs(10));
    world.broker.kill_token(&trader.client_id);
    let told = send(&world, asking(OrderRequest::place(Some("dead"), 100.0)));
    is_executed(&told);
    let tokens: Vec<_> = writes(&world).into_iter().map(|seen| seen.token.unwrap()).collect();
    assert_eq!((tokens.len(), made(&world)), (3, 2));
    assert!(tokens[1] == token && tokens[2] != token, "the refused token was used again");
}

/// What cannot be read proves nothing, and is never a reason to send again.
#[test]
fn an_encoding_that_cannot_be_read_proves_nothing() {
    let world = world();
    let broken = [Compression::Broken(Encoding::Gzip), Compression::Mislabelled(Encoding::Br)];
    for (n, compression) in broken.into_iter().enumerate() {
        habits(&world, |habits| habits.compression = compression);
        let wish = OrderRequest::place(Some(&format!("torn{n}")), 100.0);
        let told = send(&world, &wish);
        assert_eq!((told.status, told.outcome()), (504, "unknown"), "{told:?}");
        habits(&world, |habits| habits.compression = Compression::Never);
        let again = send(&world, &wish);
        is_executed(&again);
        assert_eq!(again.repeat_of(), told.header("sixgate-request-id"), "{again:?}");
        assert_eq!((arrived(&world), made(&world)), (n + 1, n + 1));
    }
}

/// A reply in part, or one that is not sent because it has not changed, says nothing of an order.
#[test]
fn what_a_caller_says_of_the_answer_to_a_write_stays_here() {
    let world = world();
    let odd = [
        ("range", "bytes=0-3"),
        ("if-none-match", "*"),
        ("if-match", "\"x\""),
        ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("if-range", "\"x\""),
        ("accept", "text/html"),
        ("accept-encoding", "gzip, br"),
    ];
    let with_odd = |ask: Ask| odd.iter().fold(ask, |ask, (name, value)| ask.with(name, value));
    let order = send(&world, with_odd(OrderRequest::place(Some("odd"), 100.0).into())).order_id();
    is_executed(&send(&world, with_odd(OrderRequest::modify(&order, 101.0).into())));
    is_executed(&send(&world, with_odd(OrderRequest::cancel(&order).into())));
    let seen = writes(&world);
    assert_eq!(seen.len(), 3);
    for seen in seen {
        let of =
            |name: &str| seen.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        for name in ["range", "if-none-match", "if-match", "if-modified-since", "if-unmodified-since", "if-range"] {
            assert!(of(name).is_empty(), "{name}: {seen:?}");
        }
        assert_eq!(of("accept"), ["application/json"]);
        assert_eq!(of("accept-encoding"), ["identity"]);
    }
    // Our own questions ask for nothing else either.
    world.broker.fault(Fault::new(Action::Close { executed: true }).on("POST", "/v2/orders").times(1));
    is_executed(&send(&world, asking(OrderRequest::place(Some("asked"), 100.0))));
    let asked =
        world.broker.seen().into_iter().filter(|seen| seen.method == "GET" && seen.host.as_deref() == Some(HOST));
    for seen in asked.filter(|seen| seen.path_and_query.starts_with("/v2/orders")) {
        assert!(seen.headers.contains(&("accept-encoding".to_owned(), "identity".to_owned())), "{seen:?}");
    }
}
