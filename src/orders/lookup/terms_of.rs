//! The terms that a body asks for, and the orders that a reply names.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::row::OrderRow;
use crate::orders::terms::{Number, Terms};

/// The terms of the order or orders in a body; none when it is no object.
pub fn terms_of(body: &[u8]) -> Vec<Terms> {
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return Vec::new() };
    match body.get("orders").and_then(Value::as_array) {
        Some(orders) => orders.iter().filter_map(Value::as_object).map(one).collect(),
        None => vec![one(&body)],
    }
}

fn one(order: &Map<String, Value>) -> Terms {
    let word = |name: &str| match order.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let number = |name: &str| Number::of(order.get(name)?);
    Terms {
        side: word("transactionType"),
        segment: word("exchangeSegment"),
        security: word("securityId"),
        product: word("productType"),
        order_type: word("orderType"),
        quantity: number("quantity"),
        price: number("price"),
        trigger: number("triggerPrice"),
        validity: word("validity"),
        disclosed: number("disclosedQuantity"),
        target: number("targetPrice"),
        stop_loss: number("stopLossPrice"),
        trailing: number("trailingJump"),
        leg: word("legName"),
        flag: word("orderFlag"),
        after_market: order.get("afterMarketOrder").and_then(Value::as_bool).unwrap_or_default(),
        correlation_id: word("correlationId"),
        sequence: word("sequence"),
    }
}

/// The order that a good reply names, for the journal. The first, where there are several.
pub fn order_of(body: &[u8]) -> Option<Box<str>> {
    plain(body).unwrap_or_else(|| several(body).into_iter().next())
}

/// Every order that a good reply names: of a slicing and of a multi-order there are several.
pub fn orders_of(body: &[u8]) -> Vec<Box<str>> {
    plain(body).map_or_else(|| several(body), |id| id.into_iter().collect())
}

/// Of nearly every reply: it names one order, and nothing of it is copied. `None` when it is of another shape.
fn plain(body: &[u8]) -> Option<Option<Box<str>>> {
    #[derive(Deserialize)]
    struct Plain<'a> {
        #[serde(rename = "orderId")]
        id: &'a str,
        orders: Option<IgnoredAny>,
    }
    // To serde the values alone, in an array, are a struct too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    match serde_json::from_slice(body) {
        Ok(Plain { id, orders: None }) => Some((!id.is_empty()).then(|| id.into())),
        Ok(Plain { .. }) | Err(_) => None,
    }
}

fn several(body: &[u8]) -> Vec<Box<str>> {
    let Some((rows, _)) = OrderRow::all(body) else { return Vec::new() };
    let ids = |rows: &[OrderRow]| {
        rows.iter().filter_map(|row| Some(Box::<str>::from(&*row.word("orderId")?))).collect::<Vec<_>>()
    };
    match rows.as_slice() {
        [one] if one.word("orderId").is_none() => {
            let within = ids(&one.inner("orders"));
            // An alert's reply names no order: what came of it is the alert.
            if within.is_empty() { one.id().map(|id| Box::from(&*id)).into_iter().collect() } else { within }
        }
        rows => ids(rows),
    }
}
