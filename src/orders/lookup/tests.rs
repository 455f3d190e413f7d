//! One claim for each sentence of the contract on what is evidence, and that no other order ever is.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::body::JsonBody;
use super::super::broker_clock::{SendWindow, SentAt};
use super::super::terms::Number;
use super::fit::same_price;
use super::*;
use crate::broker::dhan::errors;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/dhan/orders/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// The body of a recorded request.
fn asked(name: &str) -> Value {
    let request: Value = serde_json::from_slice(&fixture(name)).unwrap();
    request.get("body").cloned().unwrap()
}

/// The fixtures' orders were made at 09:20:03 in India.
fn sent() -> SendWindow {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    SendWindow { from: at("2026-11-23T03:50:02.5Z"), until: at("2026-11-23T03:50:07Z") }
}

/// Of answers to paths, heard in turn.
fn found_among(lookup: &Lookup, answers: &[(&str, &Value)], known: &[&str]) -> Evidence {
    let mut search = lookup.search();
    for (path, body) in answers {
        search.hear(path, 200, body.to_string().as_bytes());
    }
    search.finding(&Bounds { known: &|id| known.contains(&id), window: Some(sent()) })
}

fn found(lookup: &Lookup, body: &Value) -> Evidence {
    found_among(lookup, &[("/v2/orders", body)], &[])
}

fn post(path: &str, body: &Value) -> Lookup {
    Lookup::of(&Method::POST, path, body.to_string().as_bytes(), None)
}

fn is_executed(finding: &Evidence, ids: &[&str]) -> bool {
    matches!(finding, Evidence::Executed(found) if found.placed.iter().map(|id| &**id).eq(ids.iter().copied()))
}

fn is_refused(finding: &Evidence, ids: &[&str]) -> bool {
    matches!(finding, Evidence::Rejected(Some(found)) if found.placed.iter().map(|id| &**id).eq(ids.iter().copied()))
}

/// The order that the fixture's placement asks for, as the broker shows it.
fn row() -> Value {
    serde_json::from_slice::<Value>(&fixture("order-book.200.json")).unwrap().get(0).cloned().unwrap()
}

fn with(mut object: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        object.as_object_mut().unwrap().insert((*name).to_owned(), value.clone());
    }
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

fn placement() -> Lookup {
    post("/v2/orders", &asked("place-order.request.json"))
}

const EXTERNAL: &str = "/v2/orders/external/gw-0001-abc_1";
const OURS: &str = "112611230001";

#[test]
fn a_placement_is_found_by_its_correlation_id_and_its_terms() {
    let lookup = placement();
    assert_eq!(lookup.paths(), [EXTERNAL, "/v2/orders"]);
    let body: Value = serde_json::from_slice(&fixture("get-order-by-correlation-id.200.json")).unwrap();
    let Evidence::Executed(one) = found_among(&lookup, &[(EXTERNAL, &body)], &[]) else { panic!() };
    assert_eq!(one.body, json!({ "orderId": OURS, "orderStatus": "PENDING" }));
    assert!(is_executed(&found(&lookup, &json!([row()])), &[OURS]));
    // By the id it was asked for, an answer need not repeat it; in the book it must.
    let silent = with(row(), &[("correlationId", json!("NA"))]);
    assert!(is_executed(&found_among(&lookup, &[(EXTERNAL, &silent)], &[]), &[OURS]));
    assert_eq!(found(&lookup, &json!([silent])), Evidence::Open);
}

#[test]
fn what_is_no_order_of_ours_proves_nothing() {
    let lookup = placement();
    for (status, body) in [
        (200, fixture("order-book.200.empty.json")),
        (200, fixture("get-order.200.unknown-id.json")),
        (200, fixture("order-book.200.amo-pending.json")),
        (404, fixture("get-order-by-correlation-id.404.not-found.json")),
        (200, b"<html>".to_vec()),
        (502, fixture("order-book.200.json")),
        (302, fixture("order-book.200.json")),
        (200, b"[[1],null,{}]".to_vec()),
    ] {
        let mut search = lookup.search();
        search.hear(EXTERNAL, status, &body);
        search.hear("/v2/orders", status, &body);
        let finding = search.finding(&Bounds { known: &|_| false, window: Some(sent()) });
        assert_eq!(finding, Evidence::Open, "{status} {}", String::from_utf8_lossy(&body));
    }
    assert!(!post("/v2/orders", &json!({ "quantity": 1 })).leads_somewhere());
    assert!(!post("/v2/orders", &json!({ "correlationId": "  " })).leads_somewhere());
    assert!(!post("/v2/positions/convert", &json!({ "correlationId": "c" })).leads_somewhere());
}

/// An order on its way is "not found" with the code of a dead token.
#[test]
fn what_is_in_transit_is_no_dead_token() {
    let body = fixture("get-order-by-correlation-id.404.not-found.json");
    assert!(!errors::refuses_token(&errors::Reply { status: 404, content_type: None, body: &body }));
}

#[test]
fn an_order_that_differs_in_any_term_is_not_evidence() {
    for (name, value) in [
        ("transactionType", json!("SELL")),
        ("exchangeSegment", json!("BSE_EQ")),
        ("securityId", json!("1333")),
        ("productType", json!("CNC")),
        ("quantity", json!(6)),
        ("orderType", json!("STOP_LOSS")),
        ("orderType", json!("MARKET")),
        ("orderType", json!("SINGLE")),
        ("price", json!(3310.55)),
        ("price", json!(0.0)),
        ("triggerPrice", json!(3300.0)),
        ("correlationId", json!("gw-0001-abc_2")),
        ("legName", json!("TARGET_LEG")),
    ] {
        let other = with(row(), &[(name, value.clone())]);
        assert_eq!(found(&placement(), &json!([other])), Evidence::Open, "{name} {value}");
        assert_eq!(found_among(&placement(), &[(EXTERNAL, &other)], &[]), Evidence::Open, "{name} {value}");
    }
}

#[test]
fn what_the_broker_does_not_show_excludes_nothing() {
    for name in [
        "transactionType",
        "exchangeSegment",
        "securityId",
        "productType",
        "quantity",
        "orderType",
        "price",
        "createTime",
    ] {
        assert!(is_executed(&found(&placement(), &json!([without(row(), name)])), &[OURS]), "{name}");
        let sentinel = with(row(), &[(name, json!(null))]);
        assert!(is_executed(&found(&placement(), &json!([sentinel])), &[OURS]), "{name}");
    }
    let sentinels =
        [("legName", json!("NA")), ("productType", json!("NA")), ("createTime", json!("0001-01-01 00:00:00"))];
    assert!(is_executed(&found(&placement(), &json!([with(row(), &sentinels)])), &[OURS]));
    // Ids as numbers, and numbers as text.
    let spelt = [("securityId", json!(11536)), ("quantity", json!("5")), ("orderId", json!(112_611_230_001_u64))];
    assert!(is_executed(&found(&placement(), &json!([with(row(), &spelt)])), &[OURS]));
    assert!(is_executed(&found(&placement(), &json!({ "data": [row()] })), &[OURS]), "wrapped");
}

#[test]
fn a_market_order_may_stand_as_a_limit_order_with_the_broker_s_price() {
    let shown = |kind: &str, price: f64, trigger: f64| {
        json!([with(row(), &[("orderType", json!(kind)), ("price", json!(price)), ("triggerPrice", json!(trigger))])])
    };
    let market = with(asked("place-order.request.json"), &[("orderType", json!("MARKET")), ("price", json!(0))]);
    let market = post("/v2/orders", &market);
    assert!(is_executed(&found(&market, &shown("LIMIT", 3343.6, 0.0)), &[OURS]));
    assert!(is_executed(&found(&market, &shown("MARKET", 0.0, 0.0)), &[OURS]));
    assert_eq!(found(&market, &shown("SINGLE", 3343.6, 0.0)), Evidence::Open, "a forever order is none");
    assert_eq!(found(&market, &shown("STOP_LOSS", 3343.6, 3300.0)), Evidence::Open, "nor is one with a trigger");
    let stop = [("orderType", json!("STOP_LOSS_MARKET")), ("price", json!(0)), ("triggerPrice", json!(3300))];
    let stop = post("/v2/orders", &with(asked("place-order.request.json"), &stop));
    assert!(is_executed(&found(&stop, &shown("STOP_LOSS", 3316.5, 3300.0)), &[OURS]));
    assert!(is_executed(&found(&stop, &shown("LIMIT", 3316.5, 3300.0)), &[OURS]));
    assert_eq!(found(&stop, &shown("STOP_LOSS", 3316.5, 3310.0)), Evidence::Open);
}

#[test]
fn prices_are_the_same_to_the_tick() {
    let same = |asked: &str, shown: &str, segment: &str| {
        same_price(&Number::parse(asked).unwrap(), &Number::parse(shown).unwrap(), Some(segment))
    };
    for (asked, shown) in [
        ("247.8000030517578", "247.8"),
        ("247.8", "247.8000030517578"),
        ("3310.50", "3310.5"),
        ("0.95", "0.94999695"),
        ("66.917854", "66.92"),
        ("132000.05", "132000.046875"),
        ("0", "0.0"),
    ] {
        assert!(same(asked, shown, "NSE_EQ"), "{asked} {shown}");
    }
    for (asked, shown) in [("247.8", "247.85"), ("247.80", "247.81"), ("0.05", "0.06"), ("0", "0.001"), ("0.01", "0")] {
        assert!(!same(asked, shown, "NSE_EQ"), "{asked} {shown}");
    }
    assert!(same("84.2525", "84.25250244140625", "NSE_CURRENCY") && !same("84.2525", "84.2550", "NSE_CURRENCY"));
    assert!(!same("84.2525", "84.2550", "BSE_CURRENCY") && same("84.2525", "84.2550", "NSE_EQ"));
}

#[test]
fn an_order_that_was_known_before_is_not_evidence() {
    let book = json!([row()]);
    assert_eq!(found_among(&placement(), &[("/v2/orders", &book)], &[OURS]), Evidence::Open);
    // One that is known to be the write's own is, and it alone.
    let own = placement().whose_order_is(OURS);
    let two = json!([with(row(), &[("orderId", json!("9"))]), row()]);
    assert!(is_executed(&found_among(&own, &[("/v2/orders", &two)], &[OURS]), &[OURS]));
}

#[test]
fn an_order_that_was_made_before_we_sent_is_not_evidence() {
    let made = |time: &str| json!([with(row(), &[("createTime", json!(time))])]);
    for old in ["2026-11-23 09:19:03", "2026-11-22 09:20:03", "2026-11-23 09:20:00"] {
        assert_eq!(found(&placement(), &made(old)), Evidence::Open, "{old}");
    }
    for new in ["2026-11-23 09:20:02", "2026-11-23 09:20:09", "2026-11-23 03:50:03"] {
        assert!(is_executed(&found(&placement(), &made(new)), &[OURS]), "{new}");
    }
    // Where nobody knows when we sent, the time says nothing.
    let lookup = placement();
    let mut search = lookup.search();
    search.hear("/v2/orders", 200, made("2026-11-22 09:20:03").to_string().as_bytes());
    assert!(is_executed(&search.finding(&Bounds { known: &|_| false, window: None }), &[OURS]));
}

/// The time moves when an order changes: being new is no proof.
#[test]
fn of_several_under_one_id_the_one_that_fits_is_taken_and_of_two_that_fit_none() {
    let refused_before = with(
        row(),
        &[("orderId", json!("1")), ("orderStatus", json!("REJECTED")), ("createTime", json!("2026-11-23 09:19:03"))],
    );
    let another = with(row(), &[("orderId", json!("2")), ("quantity", json!(50))]);
    let forever = with(row(), &[("orderId", json!("3")), ("orderType", json!("OCO"))]);
    let twin = with(row(), &[("orderId", json!("4")), ("createTime", json!("2026-11-23 09:20:04"))]);
    let book = json!([refused_before, another, row(), forever]);
    assert!(is_executed(&found(&placement(), &book), &[OURS]));
    let book = json!([refused_before, another, forever]);
    assert_eq!(found(&placement(), &book), Evidence::Open, "none of these is ours");
    assert_eq!(found(&placement(), &json!([row(), twin])), Evidence::Open, "never a guess");
    // One order's question shows one of them, and the book then both.
    let answers = [(EXTERNAL, &row()), ("/v2/orders", &json!([row(), twin]))];
    assert!(is_executed(&found_among(&placement(), &answers[..1], &[]), &[OURS]));
    assert_eq!(found_among(&placement(), &answers, &[]), Evidence::Open);
    assert!(is_executed(&found_among(&placement(), &answers, &["4"]), &[OURS]), "the other is another write's");
}

#[test]
fn only_a_list_shows_that_there_is_no_other() {
    let lookup = placement();
    let mut search = lookup.search();
    search.hear(EXTERNAL, 200, row().to_string().as_bytes());
    assert!(!search.is_sure());
    search.hear("/v2/orders", 404, b"[]");
    assert!(!search.is_sure());
    search.hear("/v2/orders", 200, b"[]");
    assert!(search.is_sure());
}

#[test]
fn an_order_that_the_broker_took_and_refused_is_a_refusal() {
    let book: Value = serde_json::from_slice(&fixture("order-book.200.rejected-rms.json")).unwrap();
    let market = with(asked("place-order.request.json"), &[("orderType", json!("MARKET"))]);
    let Evidence::Rejected(Some(one)) = found(&post("/v2/orders", &market), &book) else { panic!() };
    assert_eq!(one.body, json!({ "orderId": OURS, "orderStatus": "REJECTED" }));
    // Refused and taken under one id, both as new as the write: nobody can say which is ours.
    let both = json!([with(row(), &[("orderStatus", json!("REJECTED"))]), with(row(), &[("orderId", json!("2"))])]);
    assert_eq!(found(&placement(), &both), Evidence::Open);
}

fn slicing(quantity: u32) -> Lookup {
    post("/v2/orders/slicing", &with(asked("place-order.request.json"), &[("quantity", json!(quantity))]))
}

fn slice(id: &str, quantity: u32) -> Value {
    with(row(), &[("orderId", json!(id)), ("quantity", json!(quantity))])
}

/// The slices that are there so far are not yet the whole order.
#[test]
fn slices_are_found_when_they_add_up() {
    let lookup = slicing(3000);
    assert_eq!(found(&lookup, &json!([slice("1", 1800)])), Evidence::Open);
    let Evidence::Executed(all) = found(&lookup, &json!([slice("1", 1800), slice("2", 1200)])) else { panic!() };
    assert_eq!(
        all.body,
        json!([{ "orderId": "1", "orderStatus": "PENDING" }, { "orderId": "2", "orderStatus": "PENDING" }])
    );
    assert_eq!(all.placed, [Box::from("1"), Box::from("2")]);
    // Each has to fit but for its quantity, and be new, and not another's.
    let other = with(slice("2", 1200), &[("price", json!(3300.0))]);
    assert_eq!(found(&lookup, &json!([slice("1", 1800), other])), Evidence::Open);
    let old = with(slice("2", 1200), &[("createTime", json!("2026-11-23 09:10:00"))]);
    assert_eq!(found(&lookup, &json!([slice("1", 1800), old])), Evidence::Open);
    let book = json!([slice("1", 1800), slice("2", 1200)]);
    assert_eq!(found_among(&lookup, &[("/v2/orders", &book)], &["2"]), Evidence::Open);
    // More than was asked for are not all of it.
    assert_eq!(found(&lookup, &json!([slice("1", 1800), slice("2", 1200), slice("3", 5)])), Evidence::Open);
    // Without a quantity nobody can say how many there are to be.
    let unsaid = post("/v2/orders/slicing", &without(asked("place-order.request.json"), "quantity"));
    assert_eq!(found(&unsaid, &json!([slice("1", 1800)])), Evidence::Open);
}

#[test]
fn slices_are_refused_only_if_all_are() {
    let refused = |slice: Value| with(slice, &[("orderStatus", json!("REJECTED"))]);
    let one = json!([refused(slice("1", 1800)), slice("2", 1200)]);
    assert!(is_executed(&found(&slicing(3000), &one), &["1", "2"]));
    let all = json!([refused(slice("1", 1800)), refused(slice("2", 1200))]);
    assert!(is_refused(&found(&slicing(3000), &all), &["1", "2"]));
}

/// After a restart the journal's line is all there is: it has to say how much was wanted.
#[test]
fn the_journal_s_terms_lead_as_far_as_the_body() {
    for (method, path, body) in [
        (Method::POST, "/v2/orders", asked("place-order.request.json")),
        (Method::POST, "/v2/orders/slicing", asked("place-order.request.json")),
        (Method::POST, "/v2/super/orders", asked("super-place.request.json")),
        (Method::POST, "/v2/forever/orders", asked("forever-place.request.json")),
        (Method::POST, "/v2/alerts/orders", asked("alert-place.request.json")),
        (Method::POST, "/v2/alerts/multi/orders", asked("multi-order.request.json")),
        (Method::PUT, "/v2/orders/112611230001", asked("modify-order.request.json")),
        (Method::PUT, "/v2/super/orders/7", json!({ "legName": "TARGET_LEG", "targetPrice": 10.05 })),
        (Method::DELETE, "/v2/orders/7", json!(null)),
        (Method::DELETE, "/v2/super/orders/7/TARGET_LEG", json!(null)),
    ] {
        let text = body.to_string();
        let whole = Lookup::of(&method, path, text.as_bytes(), None);
        assert!(whole.leads_somewhere(), "{path}");
        let written = serde_json::to_string(&terms_of(text.as_bytes())).unwrap();
        let read: Vec<Terms> = serde_json::from_str(&written).unwrap();
        let id: Option<Arc<str>> = body.get("correlationId").and_then(Value::as_str).map(Into::into);
        assert_eq!(Lookup::from_terms(&method, path, id.as_ref(), &read), whole, "{path}");
        // What is read of a body when it is signed leads as far, and nothing has to be read again.
        if body.is_object() {
            let signed = JsonBody::read(text.as_bytes()).unwrap().terms();
            assert_eq!(Lookup::from_terms(&method, path, id.as_ref(), &signed), whole, "{path}");
        }
    }
    let terms = terms_of(with(asked("place-order.request.json"), &[("quantity", json!(3000))]).to_string().as_bytes());
    let lookup = Lookup::from_terms(&Method::POST, "/v2/orders/slicing", Some(&"gw-0001-abc_1".into()), &terms);
    assert!(is_executed(&found(&lookup, &json!([slice("1", 1800), slice("2", 1200)])), &["1", "2"]));
}

/// Lines that were written before terms stood in them.
#[test]
fn without_terms_an_order_has_to_show_that_it_is_new() {
    let lookup = Lookup::from_terms(&Method::POST, "/v2/orders", Some(&"gw-0001-abc_1".into()), &[]);
    assert!(is_executed(&found(&lookup, &json!([row()])), &[OURS]));
    assert_eq!(found(&lookup, &json!([without(row(), "createTime")])), Evidence::Open);
    assert_eq!(found(&lookup, &json!([with(row(), &[("createTime", json!("2026-11-23 09:30:00"))])])), Evidence::Open);
    assert_eq!(found_among(&lookup, &[("/v2/orders", &json!([row()]))], &[OURS]), Evidence::Open);
}

fn multi(orders: &[Value]) -> Lookup {
    post("/v2/alerts/multi/orders", &json!({ "orders": orders }))
}

fn item(id: &str, sequence: &str, price: f64) -> Value {
    let terms = without(asked("place-order.request.json"), "dhanClientId");
    with(terms, &[("correlationId", json!(id)), ("sequence", json!(sequence)), ("price", json!(price))])
}

fn made(order: &str, id: &str, price: f64) -> Value {
    with(row(), &[("orderId", json!(order)), ("correlationId", json!(id)), ("price", json!(price))])
}

#[test]
fn a_multi_order_is_found_when_each_of_its_orders_is() {
    let lookup = multi(&[item("a", "1", 10.0), item("b", "2", 20.0)]);
    assert_eq!(lookup.lanes(), [vec!["/v2/orders/external/a", "/v2/orders/external/b"], vec!["/v2/orders"]]);
    assert_eq!(found(&lookup, &json!([made("1", "a", 10.0)])), Evidence::Open);
    assert_eq!(found(&lookup, &json!([made("1", "a", 10.0), made("2", "b", 21.0)])), Evidence::Open);
    let Evidence::Executed(all) = found(&lookup, &json!([made("2", "b", 20.0), made("1", "a", 10.0)])) else {
        panic!()
    };
    let one = |id: &str, sequence: &str| json!({ "orderId": id, "orderStatus": "PENDING", "sequence": sequence });
    assert_eq!(all.body, json!({ "orders": [one("1", "1"), one("2", "2")] }));
    // Asked for one by one, the answers add up.
    let answers = [("/v2/orders/external/a", &made("1", "a", 10.0)), ("/v2/orders/external/b", &made("2", "b", 20.0))];
    assert!(is_executed(&found_among(&lookup, &answers, &[]), &["1", "2"]));
    assert_eq!(found_among(&lookup, &answers, &["2"]), Evidence::Open);
    // An order without an id could not be told from any other.
    assert!(!multi(&[item("a", "1", 10.0), without(item("b", "2", 20.0), "correlationId")]).leads_somewhere());
    assert!(!multi(&[]).leads_somewhere());
}

/// A label on all orders of a basket.
#[test]
fn orders_of_a_multi_order_may_share_an_id() {
    let lookup = multi(&[item("a", "1", 10.0), item("a", "2", 20.0), item("a", "3", 10.0)]);
    let book = json!([made("1", "a", 10.0), made("2", "a", 20.0), made("3", "a", 10.0)]);
    assert!(is_executed(&found(&lookup, &book), &["1", "2", "3"]));
    let short = json!([made("1", "a", 10.0), made("2", "a", 20.0)]);
    assert_eq!(found(&lookup, &short), Evidence::Open);
    let more = json!([made("1", "a", 10.0), made("2", "a", 20.0), made("3", "a", 10.0), made("4", "a", 20.0)]);
    assert_eq!(found(&lookup, &more), Evidence::Open);
}

#[test]
fn a_super_order_is_found_in_its_own_list() {
    let body = asked("super-place.request.json");
    let lookup = post("/v2/super/orders", &body);
    assert_eq!(lookup.paths(), ["/v2/super/orders"]);
    let list: Value = serde_json::from_slice(&fixture("super-list.200.json")).unwrap();
    let late = json!([with(list.get(0).cloned().unwrap(), &[("createTime", json!("2026-11-23 09:20:05"))])]);
    assert!(is_executed(&found(&lookup, &late), &["112611230031"]));
    let other = post("/v2/super/orders", &with(body, &[("targetPrice", json!(3360.0))]));
    assert_eq!(found(&other, &late), Evidence::Open, "of another target");
}

fn forever_row(leg: &str, price: f64, trigger: f64) -> Value {
    json!({ "dhanClientId": "1000000001", "orderId": "31", "orderStatus": "CONFIRM", "transactionType": "BUY",
        "exchangeSegment": "NSE_EQ", "productType": "CNC", "orderType": "OCO", "tradingSymbol": "HDFCBANK",
        "securityId": "1333", "quantity": 5, "price": price, "triggerPrice": trigger, "legName": leg,
        "createTime": "2026-11-23 09:20:03", "updateTime": null, "exchangeTime": null })
}

/// It shows its flag for its type, two legs under one id, and no correlation id.
#[test]
fn a_forever_order_is_found_in_its_own_list() {
    let lookup = post("/v2/forever/orders", &asked("forever-place.request.json"));
    assert_eq!(lookup.paths(), ["/v2/forever/orders"]);
    let legs = [forever_row("TARGET_LEG", 1428.0, 1427.0), forever_row("STOP_LOSS_LEG", 1420.0, 1419.0)];
    assert!(is_executed(&found(&lookup, &json!(legs)), &["31"]));
    let each = |name: &str, value: Value| json!(legs.clone().map(|leg| with(leg, &[(name, value.clone())])));
    assert_eq!(found(&lookup, &each("orderType", json!("SINGLE"))), Evidence::Open);
    assert_eq!(found(&lookup, &each("correlationId", json!("other"))), Evidence::Open);
    assert!(is_executed(&found(&lookup, &each("correlationId", json!("gw-f-1"))), &["31"]));
    // What shows no id has to show all else, and that it is as new as the write.
    assert_eq!(found(&lookup, &json!(legs.clone().map(|leg| without(leg, "createTime")))), Evidence::Open);
    assert_eq!(found(&lookup, &json!(legs.clone().map(|leg| without(leg, "quantity")))), Evidence::Open);
    assert_eq!(found(&lookup, &each("createTime", json!("2026-11-23 09:20:01"))), Evidence::Open);
    let twin = with(forever_row("TARGET_LEG", 1428.0, 1427.0), &[("orderId", json!("32"))]);
    assert_eq!(found(&lookup, &json!([legs.clone(), [twin.clone(), twin.clone()]].concat())), Evidence::Open);
    assert!(is_executed(&found_among(&lookup, &[("/v2/forever/orders", &json!([legs[0], twin]))], &["32"]), &["31"]));
}

#[test]
fn an_alert_is_found_by_what_it_orders_and_when_it_was_made() {
    let body = asked("alert-place.request.json");
    let lookup = post("/v2/alerts/orders", &body);
    assert_eq!(lookup.paths(), ["/v2/alerts/orders"]);
    let alert = |id: &str, time: &str| json!({ "alertId": id, "alertStatus": "ACTIVE", "createdTime": time, "orders": body.get("orders") });
    let new = alert("12345", "2026-11-23T03:50:03Z");
    let Evidence::Executed(one) = found(&lookup, &json!([new])) else { panic!() };
    assert_eq!(one.body, serde_json::from_slice::<Value>(&fixture("alert-place.200.json")).unwrap());
    // After a restart the journal's word for it is all there is.
    assert_eq!(order_of(&fixture("alert-place.200.json")).as_deref(), Some("12345"));
    assert_eq!(found(&lookup, &json!([alert("1", "2026-11-23T03:40:03Z")])), Evidence::Open);
    assert_eq!(found(&lookup, &json!([new, alert("12346", "2026-11-23T03:50:03Z")])), Evidence::Open);
    assert_eq!(found(&lookup, &json!([with(new, &[("orders", json!([]))])])), Evidence::Open);
}

fn delete(path: &str) -> Lookup {
    Lookup::of(&Method::DELETE, path, b"", None)
}

#[test]
fn a_cancel_is_settled_by_the_order_s_status() {
    let lookup = delete("/v2/orders/7");
    assert_eq!(lookup.paths(), ["/v2/orders/7"]);
    let read = |status: &str| found(&lookup, &json!({ "orderId": "7", "orderStatus": status }));
    assert!(matches!(read("CANCELLED"), Evidence::Executed(found) if found.placed.is_empty()));
    for over in ["TRADED", "REJECTED", "EXPIRED"] {
        assert_eq!(read(over), Evidence::Rejected(None), "{over}");
    }
    for waiting in ["PENDING", "TRANSIT", "PART_TRADED", "SOMETHING_NEW", ""] {
        assert_eq!(read(waiting), Evidence::Open, "{waiting}");
    }
    assert!(matches!(found(&lookup, &json!([{ "orderId": "7", "orderStatus": "CANCELLED" }])), Evidence::Executed(_)));
    assert_eq!(found(&lookup, &json!([])), Evidence::Open, "an unknown id");
    assert_eq!(found(&lookup, &json!([{ "orderId": "8", "orderStatus": "CANCELLED" }])), Evidence::Open);
    let real: Value = serde_json::from_slice(&fixture("get-order.200.array.json")).unwrap();
    assert!(matches!(found(&delete("/v2/orders/112611230001"), &real), Evidence::Executed(_)));
}

#[test]
fn a_cancel_of_a_forever_order_takes_every_leg_of_it() {
    let lookup = delete("/v2/forever/orders/31");
    let leg = |name: &str, status: &str| with(forever_row(name, 1.0, 1.0), &[("orderStatus", json!(status))]);
    let list = |one: &str, two: &str| json!([leg("TARGET_LEG", one), leg("STOP_LOSS_LEG", two)]);
    assert!(matches!(found(&lookup, &list("CANCELLED", "CANCELLED")), Evidence::Executed(_)));
    assert_eq!(found(&lookup, &list("CANCELLED", "CONFIRM")), Evidence::Open);
    assert_eq!(found(&lookup, &list("TRADED", "EXPIRED")), Evidence::Rejected(None));
    assert_eq!(found(&lookup, &json!([])), Evidence::Open);
}

#[test]
fn a_cancel_of_an_alert_is_settled_by_its_own_status() {
    let lookup = delete("/v2/alerts/orders/9");
    assert_eq!(lookup.paths(), ["/v2/alerts/orders/9"]);
    let read = |status: &str| found(&lookup, &json!({ "alertId": "9", "alertStatus": status }));
    let Evidence::Executed(one) = read("CANCELLED") else { panic!() };
    assert_eq!(one.body, json!({ "alertId": "9", "alertStatus": "CANCELLED" }));
    assert_eq!((read("TRIGGERED"), read("ACTIVE")), (Evidence::Rejected(None), Evidence::Open));
}

fn put(path: &str, body: &Value) -> Lookup {
    Lookup::of(&Method::PUT, path, body.to_string().as_bytes(), None)
}

#[test]
fn a_change_is_proved_only_when_the_order_shows_all_of_it() {
    let lookup = put("/v2/orders/112611230001", &asked("modify-order.request.json"));
    assert_eq!(lookup.paths(), ["/v2/orders/112611230001"]);
    let changed = with(row(), &[("price", json!(3312.0))]);
    assert!(matches!(found(&lookup, &changed), Evidence::Executed(_)));
    assert!(matches!(found(&lookup, &json!([changed])), Evidence::Executed(_)), "an array of one");
    assert_eq!(found(&lookup, &json!([])), Evidence::Open);
    assert_eq!(found(&lookup, &row()), Evidence::Open, "of the old price");
    let other = with(changed.clone(), &[("validity", json!("IOC"))]);
    assert_eq!(found(&lookup, &other), Evidence::Open);
    for name in ["price", "quantity", "orderType"] {
        assert_eq!(found(&lookup, &without(changed.clone(), name)), Evidence::Open, "{name} is not shown");
    }
    // An order that is over does not change any more.
    assert_eq!(found(&lookup, &with(row(), &[("orderStatus", json!("TRADED"))])), Evidence::Rejected(None));
    let hidden = without(with(row(), &[("orderStatus", json!("TRADED"))]), "price");
    assert_eq!(found(&lookup, &hidden), Evidence::Open);
    assert!(matches!(found(&lookup, &with(changed, &[("orderStatus", json!("TRADED"))])), Evidence::Executed(_)));
}

#[test]
fn a_changed_price_is_compared_to_the_tick() {
    let change = json!({ "orderType": "LIMIT", "quantity": 5, "price": 247.800_003_051_757_8, "validity": "DAY" });
    let lookup = put("/v2/orders/112611230001", &change);
    let shows = |price: f64| found(&lookup, &with(row(), &[("price", json!(price))]));
    assert!(matches!(shows(247.8), Evidence::Executed(_)));
    assert_eq!(shows(247.85), Evidence::Open);
}

/// The old limit order looks just as a new market order may.
#[test]
fn a_change_to_a_market_order_is_proved_only_by_a_market_order() {
    let lookup = put("/v2/orders/112611230001", &json!({ "orderType": "MARKET", "quantity": 5, "validity": "DAY" }));
    assert_eq!(found(&lookup, &row()), Evidence::Open);
    assert_eq!(found(&lookup, &with(row(), &[("orderStatus", json!("TRADED"))])), Evidence::Open);
    let market = with(row(), &[("orderType", json!("MARKET")), ("price", json!(0.0))]);
    assert!(matches!(found(&lookup, &market), Evidence::Executed(_)));
}

/// A change that takes a trigger away must not be found done by what it leaves as it was.
#[test]
fn a_zero_that_is_asked_for_must_be_there_and_proves_nothing_alone() {
    let lookup = put("/v2/orders/7", &json!({ "quantity": 5, "price": 3312.0, "triggerPrice": 0 }));
    let read = |trigger: f64| {
        let order = json!({ "orderId": "7", "orderStatus": "PENDING", "quantity": 5, "price": 3312.0, "triggerPrice": trigger });
        found(&lookup, &order)
    };
    assert_eq!(read(3300.0), Evidence::Open);
    assert!(matches!(read(0.0), Evidence::Executed(_)));
    assert!(!put("/v2/orders/7", &json!({ "triggerPrice": 0 })).leads_somewhere());
}

#[test]
fn a_leg_of_a_super_order_is_read_from_its_own_line() {
    let list: Value = serde_json::from_slice(&fixture("super-list.200.json")).unwrap();
    let cancel = delete("/v2/super/orders/112611230031/TARGET_LEG");
    assert_eq!(found(&cancel, &list), Evidence::Open);
    let leg = |name: &str, status: &str, price: f64| json!({ "orderId": "9", "legName": name, "price": price, "orderStatus": status, "trailingJump": 5.0 });
    let order = |status: &str| {
        json!([{ "orderId": "9", "orderStatus": "PENDING", "quantity": 5, "price": 100.0, "orderType": "LIMIT",
            "legDetails": [leg("TARGET_LEG", status, 110.0), leg("STOP_LOSS_LEG", "PENDING", 90.0)] }])
    };
    let cancel = delete("/v2/super/orders/9/TARGET_LEG");
    assert!(matches!(found(&cancel, &order("CANCELLED")), Evidence::Executed(_)));
    assert_eq!(found(&cancel, &order("TRADED")), Evidence::Rejected(None));
    // The whole is cancelled by its entry; what of it is left nobody knows.
    let whole = delete("/v2/super/orders/9/ENTRY_LEG");
    let traded = json!([{ "orderId": "9", "orderStatus": "TRADED" }]);
    assert_eq!((found(&whole, &order("PENDING")), found(&whole, &traded)), (Evidence::Open, Evidence::Open));
    let change = |body: Value| found(&put("/v2/super/orders/9", &body), &order("PENDING"));
    assert!(matches!(change(json!({ "legName": "TARGET_LEG", "targetPrice": 110.0 })), Evidence::Executed(_)));
    assert_eq!(
        change(json!({ "legName": "TARGET_LEG", "targetPrice": 100.0 })),
        Evidence::Open,
        "the entry's price is not the target's"
    );
    assert!(matches!(
        change(json!({ "legName": "STOP_LOSS_LEG", "stopLossPrice": 90.0, "trailingJump": 5 })),
        Evidence::Executed(_)
    ));
    let entry = json!({ "legName": "ENTRY_LEG", "orderType": "LIMIT", "quantity": 5, "price": 100.0, "targetPrice": 110.0, "stopLossPrice": 90.0 });
    assert!(matches!(change(entry.clone()), Evidence::Executed(_)));
    assert_eq!(change(with(entry, &[("stopLossPrice", json!(91.0))])), Evidence::Open);
}

#[test]
fn a_change_of_a_forever_order_is_read_from_the_leg_that_is_meant() {
    let body = |leg: &str| json!({ "orderFlag": "OCO", "orderType": "LIMIT", "legName": leg, "quantity": 5, "price": 1420.0, "triggerPrice": 1419.0, "validity": "DAY" });
    let list = json!([forever_row("TARGET_LEG", 1428.0, 1427.0), forever_row("STOP_LOSS_LEG", 1420.0, 1419.0)]);
    assert!(matches!(found(&put("/v2/forever/orders/31", &body("STOP_LOSS_LEG")), &list), Evidence::Executed(_)));
    assert_eq!(found(&put("/v2/forever/orders/31", &body("TARGET_LEG")), &list), Evidence::Open);
    let single = json!([forever_row("STOP_LOSS_LEG", 1420.0, 1419.0)]);
    assert!(matches!(found(&put("/v2/forever/orders/31", &body("ENTRY_LEG")), &single), Evidence::Executed(_)));
}

#[test]
fn the_first_send_counts_and_a_repeat_is_looked_for_from_then() {
    let at = |text: &str| SentAt::Written(text.parse().unwrap());
    let first = Arc::new(placement());
    first.leaves(at("2026-11-23T03:50:00Z"));
    first.leaves(at("2026-11-23T03:55:00Z"));
    assert_eq!(first.sent(), Some(at("2026-11-23T03:50:00Z")));
    let repeat = Lookup::of_repeat(Some(&first), placement());
    assert_eq!(repeat, first);
    let untold = Arc::new(Lookup::from_terms(&Method::POST, "/v2/orders", Some(&"gw-0001-abc_1".into()), &[]));
    untold.leaves(at("2026-11-23T03:50:00Z"));
    let repeat = Lookup::of_repeat(Some(&untold), placement());
    assert_eq!((repeat.sent(), repeat.goal == placement().goal), (untold.sent(), true));
    let nothing = post("/v2/orders", &json!({}));
    assert_eq!(Lookup::of_repeat(Some(&first), nothing), first);
}

#[test]
fn the_order_of_a_reply_is_its_first_and_all_of_them_are_its_orders() {
    let of = |name: &str| (order_of(&fixture(name)), orders_of(&fixture(name)));
    assert_eq!(of("place-order.200.ok.json"), (Some(OURS.into()), vec![OURS.into()]));
    let slices = vec!["112611230011".into(), "112611230012".into()];
    assert_eq!(of("slice-order.200.json"), (Some("112611230011".into()), slices));
    assert_eq!(of("multi-order.200.json"), (Some("112611230021".into()), vec!["112611230021".into()]));
    assert_eq!((order_of(b"<html>"), orders_of(b"<html>")), (None, Vec::new()));
    assert_eq!(order_of(br#"{"orderId":""}"#), None);
}

/// How an order under the id may differ from what was asked for.
fn difference() -> impl Strategy<Value = (&'static str, Value)> {
    prop_oneof![
        Just(("transactionType", json!("SELL"))),
        Just(("exchangeSegment", json!("NSE_FNO"))),
        "[2-9]{3}".prop_map(|id| ("securityId", json!(id))),
        Just(("productType", json!("MARGIN"))),
        (6_u32..10_000).prop_map(|n| ("quantity", json!(n))),
        Just(("orderType", json!("STOP_LOSS"))),
        Just(("orderType", json!("SINGLE"))),
        (1_u32..3_000).prop_map(|n| ("price", json!(f64::from(n) * 0.05 + 3310.5))),
        (1_u32..3_000).prop_map(|n| ("triggerPrice", json!(f64::from(n) * 0.05))),
        (3_u32..60).prop_map(|n| ("createTime", json!(format!("2026-11-23 09:19:{:02}", 60 - n)))),
    ]
}

proptest! {
    /// Whatever else is in the book: what is told is the one order that is ours, or nothing.
    #[test]
    fn no_order_that_was_known_or_does_not_fit_is_ever_evidence(
        others in prop::collection::vec((difference(), any::<bool>(), any::<bool>()), 0..6),
        there: bool,
        statuses in prop::collection::vec(prop::sample::select(vec!["PENDING", "REJECTED", "TRADED", "CANCELLED"]), 7),
        turn in 0_usize..7,
    ) {
        let mut known = Vec::new();
        let mut book = Vec::new();
        for (n, (((name, value), is_known, fits), status)) in others.into_iter().zip(&statuses).enumerate() {
            let id = format!("{}", 900 + n);
            let other = with(row(), &[("orderId", json!(id)), ("orderStatus", json!(status))]);
            // One that fits has to be known, or nobody could tell it from ours.
            book.push(if fits && is_known { other } else { with(other, &[(name, value)]) });
            if is_known {
                known.push(id);
            }
        }
        if there {
            book.push(with(row(), &[("orderStatus", json!(statuses[6]))]));
        }
        let turn = turn % book.len().max(1);
        book.rotate_left(turn);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for path in ["/v2/orders", EXTERNAL] {
            let finding = found_among(&placement(), &[(path, &json!(book))], &known);
            if !there {
                prop_assert_eq!(finding, Evidence::Open);
            } else if statuses[6] == "REJECTED" {
                prop_assert!(is_refused(&finding, &[OURS]), "{:?}", finding);
            } else {
                prop_assert!(is_executed(&finding, &[OURS]), "{:?}", finding);
            }
        }
    }

    /// Answers are hostile input.
    #[test]
    fn no_answer_makes_it_panic(
        body in prop_oneof!["\\PC{0,80}", r#"\[?\{"(orderId|data|orders|legDetails|quantity|createTime)":("?[a-z0-9.-]{0,12}"?|\[\{\}\])(,"correlationId":"c")?\}\]?"#],
        status in 100..600_u16,
    ) {
        for (method, path) in [
            (Method::POST, "/v2/orders"),
            (Method::POST, "/v2/orders/slicing"),
            (Method::POST, "/v2/forever/orders"),
            (Method::POST, "/v2/alerts/multi/orders"),
            (Method::POST, "/v2/alerts/orders"),
            (Method::DELETE, "/v2/super/orders/1/TARGET_LEG"),
            (Method::PUT, "/v2/orders/1"),
        ] {
            for asked in [r#"{"correlationId":"c","price":1,"quantity":2}"#, r#"{"orders":[{"correlationId":"c"}]}"#, &body] {
                let lookup = Lookup::of(&method, path, asked.as_bytes(), None);
                let mut search = lookup.search();
                for path in lookup.paths() {
                    search.hear(&path, status, body.as_bytes());
                    search.hear(&path, 200, body.as_bytes());
                }
                search.finding(&Bounds { known: &|_| false, window: Some(sent()) });
            }
        }
        let _ = (order_of(body.as_bytes()), orders_of(body.as_bytes()), terms_of(body.as_bytes()));
    }
}
