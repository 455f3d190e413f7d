//! What a lost order write can be looked for by, and what the broker's answers say of it.
//!
//! Pure: which paths to ask, and what an answer proves. An answer proves little: "not
//! found" may mean "not yet", so only what is found settles anything, except that a
//! cancel or change of an order that is over and was not cancelled cannot have been done.
//!
//! Sources: `dhan/api.md` section 5; the shapes of replies in `dhan/fixtures/orders`.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::broker::dhan::endpoints::BASE;

/// What a write asked for, as far as it can be looked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Trail {
    /// It left none: nothing can be asked.
    #[default]
    None,
    /// An order, or several, under a correlation id.
    Placed {
        /// As sent.
        correlation_id: Arc<str>,
        /// Where such orders are.
        book: Book,
    },
    /// Orders that are to be gone.
    Cancelled {
        /// The broker's id.
        order_id: Box<str>,
        /// Where it is.
        book: Book,
        /// Only this leg of it.
        leg: Option<Box<str>>,
    },
    /// An order that is to be otherwise.
    Changed {
        /// The broker's id.
        order_id: Box<str>,
        /// Where it is.
        book: Book,
        /// Of a super order, which leg.
        leg: Option<Box<str>>,
        /// Members and what they are to be.
        wanted: Vec<(&'static str, Value)>,
    },
}

/// A list of the broker's.
#[derive(Clone, Debug, PartialEq)]
pub enum Book {
    /// Plain orders: one can be asked for.
    Orders,
    /// Plain orders that came of one by slicing: their quantities add up to this.
    Slices {
        /// What was asked for.
        quantity: Option<f64>,
    },
    /// Plain orders of one multi-order: correlation id of each, and its sequence.
    Multi(Vec<(Box<str>, Value)>),
    /// Super orders.
    Super,
    /// Forever orders.
    Forever,
    /// Orders of US stocks.
    Global,
}

/// What an answer proves.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It was carried out; this is the reply that was lost, in its usual shape.
    Executed {
        /// The reply's body.
        body: Value,
        /// The order, where it is one.
        order_id: Option<Box<str>>,
    },
    /// It cannot have been carried out.
    Rejected,
    /// Nothing, so far.
    Open,
}

/// Members of a change that the order shows afterwards.
const CHANGED: [&str; 6] = ["quantity", "price", "triggerPrice", "disclosedQuantity", "orderType", "validity"];

impl Trail {
    /// Of a write as it goes to the broker. `path` has no query; `correlation_id` is the body's, where it is known
    /// already.
    pub fn of(method: &Method, path: &str, body: &[u8], correlation_id: Option<&Arc<str>>) -> Self {
        let Some(below) = path.strip_prefix(BASE) else { return Self::None };
        if let (&Method::POST, "/orders", Some(id)) = (method, below, correlation_id) {
            // Nearly every write is one of these: nothing is read twice.
            return Self::Placed { correlation_id: Arc::clone(id), book: Book::Orders };
        }
        let parts: Vec<&str> = below.trim_start_matches('/').split('/').collect();
        let body: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let correlation_id = body.get("correlationId").and_then(Value::as_str).filter(|id| !id.is_empty());
        let placed = |book| match correlation_id {
            Some(id) => Self::Placed { correlation_id: id.into(), book },
            None => Self::None,
        };
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["orders"]) => placed(Book::Orders),
            ("POST", ["orders", "slicing"]) => placed(Book::Slices { quantity: body.get("quantity").and_then(number) }),
            ("POST", ["super", "orders"]) => placed(Book::Super),
            ("POST", ["forever", "orders"]) => placed(Book::Forever),
            ("POST", ["globalstocks", "orders"]) => placed(Book::Global),
            ("POST", ["alerts", "multi", "orders"]) => Self::multi(&body),
            ("DELETE", ["orders", id]) => Self::cancelled(id, Book::Orders, None),
            ("DELETE", ["super", "orders", id, leg]) => Self::cancelled(id, Book::Super, Some(leg)),
            ("DELETE", ["forever", "orders", id]) => Self::cancelled(id, Book::Forever, None),
            ("DELETE", ["globalstocks", "orders", id]) => Self::cancelled(id, Book::Global, None),
            ("PUT", ["orders", id]) => Self::changed(id, Book::Orders, &body),
            ("PUT", ["super", "orders", id]) => Self::changed(id, Book::Super, &body),
            ("PUT", ["forever", "orders", id]) => Self::changed(id, Book::Forever, &body),
            ("PUT", ["globalstocks", "orders", id]) => Self::changed(id, Book::Global, &body),
            _ => Self::None,
        }
    }

    fn cancelled(id: &str, book: Book, leg: Option<&str>) -> Self {
        // Cancelling the entry cancels the whole of a super order.
        let leg = leg.filter(|leg| *leg != "ENTRY_LEG").map(Into::into);
        Self::Cancelled { order_id: id.into(), book, leg }
    }

    fn changed(id: &str, book: Book, body: &Map<String, Value>) -> Self {
        let members = CHANGED.iter().chain(&["targetPrice", "stopLossPrice", "trailingJump"]);
        // What is empty is left as it is, and proves nothing; nor do zeros alone.
        let says = |value: &Value| !value.is_null() && value.as_str() != Some("");
        let wanted: Vec<_> =
            members.filter_map(|name| Some((*name, body.get(*name).filter(|value| says(value))?.clone()))).collect();
        let leg = body.get("legName").and_then(Value::as_str).filter(|leg| !leg.is_empty());
        let leg = leg.filter(|leg| *leg != "ENTRY_LEG").map(Into::into);
        if wanted.iter().all(|(_, value)| number(value) == Some(0.0)) {
            Self::None
        } else {
            Self::Changed { order_id: id.into(), book, leg, wanted }
        }
    }

    fn multi(body: &Map<String, Value>) -> Self {
        let orders = body.get("orders").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = |order: &Value| {
            let id = order.get("correlationId")?.as_str().filter(|id| !id.is_empty())?;
            Some((id.into(), order.get("sequence").cloned().unwrap_or_default()))
        };
        let ids: Vec<(Box<str>, Value)> = orders.iter().filter_map(of).collect();
        match ids.first() {
            // One without an id could not be told from any other order.
            Some((first, _)) if ids.len() == orders.len() => {
                Self::Placed { correlation_id: (&**first).into(), book: Book::Multi(ids.clone()) }
            }
            _ => Self::None,
        }
    }

    /// Can anything be asked?
    pub fn leads_somewhere(&self) -> bool {
        !self.paths().is_empty()
    }

    /// The paths to ask by GET, the surest first.
    pub fn paths(&self) -> Vec<String> {
        let list = |book: &Book| match book {
            Book::Orders | Book::Slices { .. } | Book::Multi(_) => format!("{BASE}/orders"),
            Book::Super => format!("{BASE}/super/orders"),
            Book::Forever => format!("{BASE}/forever/orders"),
            Book::Global => format!("{BASE}/globalstocks/orders"),
        };
        match self {
            Self::None => Vec::new(),
            Self::Placed { correlation_id, book: Book::Orders } if is_plain(correlation_id) => {
                vec![format!("{BASE}/orders/external/{correlation_id}"), list(&Book::Orders)]
            }
            Self::Cancelled { order_id, book: Book::Orders, .. }
            | Self::Changed { order_id, book: Book::Orders, .. } => {
                vec![format!("{BASE}/orders/{order_id}")]
            }
            Self::Placed { book, .. } | Self::Cancelled { book, .. } | Self::Changed { book, .. } => vec![list(book)],
        }
    }

    /// What an answer to one of the paths says.
    pub fn read(&self, status: u16, body: &[u8]) -> Finding {
        if !(200..300).contains(&status) {
            return Finding::Open;
        }
        let orders: Vec<Map<String, Value>> = match serde_json::from_slice(body) {
            Ok(Value::Array(items)) => items.into_iter().filter_map(into_object).collect(),
            // The whole is sometimes wrapped.
            Ok(Value::Object(mut one)) => match one.remove("data") {
                Some(Value::Array(items)) => items.into_iter().filter_map(into_object).collect(),
                Some(Value::Object(inner)) => vec![inner],
                Some(_) | None => vec![one],
            },
            Ok(_) | Err(_) => return Finding::Open,
        };
        match self {
            Self::None => Finding::Open,
            Self::Placed { correlation_id, book } => placed(&orders, correlation_id, book),
            Self::Cancelled { order_id, leg, book } => match part(&orders, order_id, leg.as_deref()) {
                // Of a super order whose entry is traded the other legs may be gone all the same.
                Some(order) => match cancelled(order, order_id) {
                    Finding::Rejected if *book == Book::Super && leg.is_none() => Finding::Open,
                    finding @ (Finding::Executed { .. } | Finding::Rejected | Finding::Open) => finding,
                },
                None => Finding::Open,
            },
            Self::Changed { order_id, leg, wanted, .. } => match part(&orders, order_id, leg.as_deref()) {
                Some(order) => changed(order, order_id, wanted),
                None => Finding::Open,
            },
        }
    }
}

/// May it stand in a path as it is? The broker takes blanks in an id too.
fn is_plain(id: &str) -> bool {
    id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn into_object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn text<'a>(order: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    order.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The order's id: a text, and some calls give a number.
fn id_of(order: &Map<String, Value>) -> Option<String> {
    match order.get("orderId")? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// As the broker answers a write.
fn reply(order: &Map<String, Value>) -> Option<Value> {
    let status = order.get("orderStatus").cloned().unwrap_or_else(|| json!("TRANSIT"));
    Some(json!({ "orderId": id_of(order)?, "orderStatus": status }))
}

fn placed(orders: &[Map<String, Value>], correlation_id: &str, book: &Book) -> Finding {
    let under =
        |id: &str| orders.iter().filter(move |order| text(order, "correlationId") == Some(id)).collect::<Vec<_>>();
    let found = under(correlation_id);
    let one = |order: &Map<String, Value>| Some((reply(order)?, id_of(order)?));
    match book {
        Book::Orders | Book::Super | Book::Forever | Book::Global => match found.first().and_then(|order| one(order)) {
            Some((body, id)) => Finding::Executed { body, order_id: Some(id.into()) },
            None => Finding::Open,
        },
        Book::Slices { quantity } => {
            let there: f64 = found.iter().filter_map(|order| order.get("quantity").and_then(Value::as_f64)).sum();
            // Without it nobody can say whether these are all.
            let all = quantity.is_some_and(|wanted| there >= wanted);
            let bodies: Vec<Value> = found.iter().filter_map(|order| reply(order)).collect();
            match found.first().and_then(|order| id_of(order)) {
                Some(first) if all => Finding::Executed { body: bodies.into(), order_id: Some(first.into()) },
                Some(_) | None => Finding::Open,
            }
        }
        Book::Multi(ids) => {
            let of = |(id, sequence): &(Box<str>, Value)| {
                let mut body = reply(under(id).first()?)?;
                body.as_object_mut()?.insert("sequence".to_owned(), sequence.clone());
                Some(body)
            };
            let bodies: Option<Vec<Value>> = ids.iter().map(of).collect();
            let first = found.first().and_then(|order| id_of(order));
            match bodies {
                Some(bodies) => {
                    Finding::Executed { body: json!({ "orders": bodies }), order_id: first.map(Into::into) }
                }
                None => Finding::Open,
            }
        }
    }
}

/// The order, or the leg of it that is meant.
fn part<'a>(orders: &'a [Map<String, Value>], id: &str, leg: Option<&str>) -> Option<&'a Map<String, Value>> {
    let order = orders.iter().find(|order| id_of(order).as_deref() == Some(id))?;
    let Some(leg) = leg else { return Some(order) };
    let legs = order.get("legDetails").and_then(Value::as_array)?;
    legs.iter().filter_map(Value::as_object).find(|part| text(part, "legName") == Some(leg))
}

fn is_over(status: &str) -> bool {
    matches!(status, "TRADED" | "REJECTED" | "EXPIRED" | "CLOSED")
}

fn cancelled(order: &Map<String, Value>, id: &str) -> Finding {
    let status = text(order, "orderStatus").or_else(|| text(order, "triggerStatus")).unwrap_or_default();
    match status {
        "CANCELLED" => {
            Finding::Executed { body: json!({ "orderId": id, "orderStatus": "CANCELLED" }), order_id: Some(id.into()) }
        }
        over if is_over(over) => Finding::Rejected,
        _ => Finding::Open,
    }
}

fn changed(order: &Map<String, Value>, id: &str, wanted: &[(&'static str, Value)]) -> Finding {
    let same = |(name, want): &(&'static str, Value)| {
        if number(want) == Some(0.0) {
            return order.get(*name).is_none_or(|has| number(has) == Some(0.0));
        }
        let names: &[&str] = match *name {
            "targetPrice" | "stopLossPrice" => &[name, "price"],
            other => &[other],
        };
        names.iter().filter_map(|name| order.get(*name)).any(|has| match (has.as_f64(), number(want)) {
            (Some(has), Some(want)) => (has - want).abs() < 1e-9,
            _ => has == want,
        })
    };
    // What the order does not show cannot be compared, and one member shown and right is not all.
    if wanted.iter().all(same) {
        let status = order.get("orderStatus").cloned().unwrap_or_else(|| json!("TRANSIT"));
        return Finding::Executed { body: json!({ "orderId": id, "orderStatus": status }), order_id: Some(id.into()) };
    }
    match text(order, "orderStatus") {
        Some(status) if is_over(status) || status == "CANCELLED" => Finding::Rejected,
        Some(_) | None => Finding::Open,
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The order that a good reply names, for the journal. The first, where there are several.
pub fn order_of(body: &[u8]) -> Option<Box<str>> {
    /// Nearly every reply: nothing of it is copied.
    #[derive(Deserialize)]
    struct Plain<'a> {
        #[serde(rename = "orderId")]
        id: &'a str,
        orders: Option<IgnoredAny>,
    }
    // To serde the values alone, in an array, are a struct too.
    let object = body.trim_ascii_start().starts_with(b"{");
    if let (true, Ok(Plain { id, orders: None })) = (object, serde_json::from_slice(body)) {
        return (!id.is_empty()).then(|| id.into());
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    let object = match &value {
        Value::Array(items) => items.first()?.as_object()?,
        Value::Object(object) => match object.get("orders").and_then(Value::as_array) {
            Some(orders) => orders.first()?.as_object()?,
            None => object,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    id_of(object).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/fixtures/dhan/orders/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    #[test]
    fn a_placement_is_found_by_its_correlation_id() {
        let body = br#"{"correlationId":"gw-0001-abc_1","quantity":5}"#;
        let trail = Trail::of(&Method::POST, "/v2/orders", body, None);
        assert_eq!(trail.paths(), ["/v2/orders/external/gw-0001-abc_1", "/v2/orders"]);
        let found = trail.read(200, &fixture("get-order-by-correlation-id.200.json"));
        let expected = json!({ "orderId": "112611230001", "orderStatus": "PENDING" });
        assert_eq!(found, Finding::Executed { body: expected, order_id: Some("112611230001".into()) });
        // Somebody else's order, an empty book and an error prove nothing.
        let other = Trail::of(&Method::POST, "/v2/orders", br#"{"correlationId":"other"}"#, None);
        assert_eq!(other.read(200, &fixture("get-order-by-correlation-id.200.json")), Finding::Open);
        assert_eq!(trail.read(200, b"[]"), Finding::Open);
        assert_eq!(trail.read(400, br#"{"errorCode":"DH-906"}"#), Finding::Open);
        assert_eq!(trail.read(200, b"<html>"), Finding::Open);
        assert_eq!(Trail::of(&Method::POST, "/v2/orders", b"{}", None), Trail::None);
    }

    /// The slices that are there so far are not yet the whole order.
    #[test]
    fn slices_are_found_when_they_add_up() {
        let trail = Trail::of(&Method::POST, "/v2/orders/slicing", br#"{"correlationId":"s","quantity":3000}"#, None);
        let slice = |id: &str, quantity: u32| json!({ "orderId": id, "orderStatus": "PENDING", "correlationId": "s", "quantity": quantity });
        let book = |orders: Vec<Value>| serde_json::to_vec(&Value::from(orders)).unwrap();
        assert_eq!(trail.read(200, &book(vec![slice("1", 1800)])), Finding::Open);
        let Finding::Executed { body, .. } = trail.read(200, &book(vec![slice("1", 1800), slice("2", 1200)])) else {
            panic!()
        };
        let wanted =
            json!([{ "orderId": "1", "orderStatus": "PENDING" }, { "orderId": "2", "orderStatus": "PENDING" }]);
        assert_eq!(body, wanted);
    }

    #[test]
    fn a_cancel_is_settled_by_the_order_s_status() {
        let trail = Trail::of(&Method::DELETE, "/v2/orders/7", b"", None);
        assert_eq!(trail.paths(), ["/v2/orders/7"]);
        let read =
            |status: &str| trail.read(200, json!({ "orderId": "7", "orderStatus": status }).to_string().as_bytes());
        assert!(matches!(read("CANCELLED"), Finding::Executed { .. }));
        assert_eq!(read("TRADED"), Finding::Rejected);
        assert_eq!(read("PENDING"), Finding::Open);
        assert_eq!(read("SOMETHING_NEW"), Finding::Open);
        let array = json!([{ "orderId": "7", "orderStatus": "CANCELLED" }]).to_string();
        assert!(matches!(trail.read(200, array.as_bytes()), Finding::Executed { .. }), "an array of one");
    }

    #[test]
    fn a_change_is_settled_when_the_order_shows_all_of_it() {
        let body = br#"{"orderId":"7","orderType":"LIMIT","legName":"","quantity":5,"price":3312.0,"triggerPrice":0,"validity":"DAY"}"#;
        let trail = Trail::of(&Method::PUT, "/v2/orders/7", body, None);
        let order = |price: f64, status: &str| json!({ "orderId": "7", "orderStatus": status, "orderType": "LIMIT", "quantity": 5, "price": price, "validity": "DAY" });
        let read = |order: Value| trail.read(200, order.to_string().as_bytes());
        assert!(matches!(read(order(3312.0, "PENDING")), Finding::Executed { .. }));
        assert_eq!(read(order(3310.5, "PENDING")), Finding::Open);
        assert_eq!(read(order(3310.5, "TRADED")), Finding::Rejected);
        assert_eq!(read(json!({ "orderId": "7", "price": 3312.0 })), Finding::Open, "only a part of it is shown");
    }

    /// A change that takes a trigger away must not be found done by what it leaves as it was.
    #[test]
    fn a_zero_that_is_asked_for_must_be_there_and_proves_nothing_alone() {
        let body = br#"{"orderId":"7","quantity":5,"price":3312.0,"triggerPrice":0}"#;
        let trail = Trail::of(&Method::PUT, "/v2/orders/7", body, None);
        let read = |trigger: f64| {
            let order = json!({ "orderId": "7", "orderStatus": "PENDING", "quantity": 5, "price": 3312.0, "triggerPrice": trigger });
            trail.read(200, order.to_string().as_bytes())
        };
        assert_eq!(read(3300.0), Finding::Open);
        assert!(matches!(read(0.0), Finding::Executed { .. }));
        assert_eq!(Trail::of(&Method::PUT, "/v2/orders/7", br#"{"triggerPrice":0}"#, None), Trail::None);
        // Without a quantity nobody can say how many slices there are to be.
        let slices = Trail::of(&Method::POST, "/v2/orders/slicing", br#"{"correlationId":"s"}"#, None);
        let one =
            json!([{ "orderId": "1", "orderStatus": "PENDING", "correlationId": "s", "quantity": 1800 }]).to_string();
        assert_eq!(slices.read(200, one.as_bytes()), Finding::Open);
    }

    #[test]
    fn a_leg_of_a_super_order_is_read_from_its_own_line() {
        let list = |status: &str| {
            json!([{ "orderId": "9", "orderStatus": "PENDING",
            "legDetails": [{ "orderId": "9", "legName": "TARGET_LEG", "price": 10.0, "orderStatus": status }] }])
            .to_string()
        };
        let cancel = Trail::of(&Method::DELETE, "/v2/super/orders/9/TARGET_LEG", b"", None);
        assert_eq!(cancel.read(200, list("PENDING").as_bytes()), Finding::Open);
        assert!(matches!(cancel.read(200, list("CANCELLED").as_bytes()), Finding::Executed { .. }));
        let change =
            Trail::of(&Method::PUT, "/v2/super/orders/9", br#"{"legName":"TARGET_LEG","targetPrice":10.0}"#, None);
        assert!(matches!(change.read(200, list("PENDING").as_bytes()), Finding::Executed { .. }));
    }

    #[test]
    fn the_order_of_a_reply_is_its_first() {
        let of = |name: &str| order_of(&fixture(name));
        assert_eq!(of("place-order.200.ok.json").as_deref(), Some("112611230001"));
        assert_eq!(of("slice-order.200.json").as_deref(), Some("112611230011"));
        assert_eq!(of("multi-order.200.json").as_deref(), Some("112611230021"));
        assert_eq!(order_of(b"<html>"), None);
    }

    proptest::proptest! {
        /// Answers are hostile input.
        #[test]
        fn no_answer_makes_it_panic(body in "\\PC{0,80}", status in 100..600u16) {
            for (method, path) in [(Method::POST, "/v2/orders"), (Method::DELETE, "/v2/super/orders/1/TARGET_LEG"), (Method::PUT, "/v2/orders/1")] {
                let trail = Trail::of(&method, path, br#"{"correlationId":"c","price":1}"#, None);
                trail.read(status, body.as_bytes());
            }
        }
    }
}
