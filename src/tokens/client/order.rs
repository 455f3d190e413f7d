//! How an order stands, as the broker shows it to a person who asks.

use serde_json::{Map, Value};

use super::call::HttpReply;
use super::refusal;
use crate::domain::problem::Invalid;
use crate::tokens::lifecycle::Refusal;

/// An order as the broker shows it. Nothing here fails for a member that is missing or strange: what is not told is not
/// known. Sentinels that the broker shows where nothing applies (`NA`, an empty text) are read as what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderAtBroker {
    /// The broker's id.
    pub order_id: Option<String>,
    /// The id that the caller or the gateway gave.
    pub correlation_id: Option<String>,
    /// `TRANSIT`, `PENDING`, `REJECTED`, `CANCELLED`, `PART_TRADED`, `TRADED`, `EXPIRED`.
    pub status: Option<String>,
    /// `BUY` or `SELL`.
    pub side: Option<String>,
    /// `NSE_EQ` and so on.
    pub segment: Option<String>,
    /// The name that it is traded under.
    pub symbol: Option<String>,
    /// The broker's number of the security.
    pub security_id: Option<String>,
    /// `CNC`, `INTRADAY` and so on.
    pub product: Option<String>,
    /// `LIMIT`, `MARKET` and so on.
    pub order_type: Option<String>,
    /// How many were asked for.
    pub quantity: Option<String>,
    /// How many were traded.
    pub filled: Option<String>,
    /// The price that was asked for.
    pub price: Option<String>,
    /// The price that was got.
    pub average_price: Option<String>,
    /// The broker's own words, where it refused.
    pub reason: Option<String>,
    /// When it was made, by the broker's clock, in India.
    pub created_at: Option<String>,
    /// When it last changed.
    pub updated_at: Option<String>,
}

/// By what an order is asked for. It becomes part of a path, so only what can stand there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderKey {
    id: String,
    is_correlation_id: bool,
}

impl OrderKey {
    /// The broker's own id.
    ///
    /// # Errors
    /// [`Invalid`] with what an id looks like.
    pub fn order_id(id: &str) -> Result<Self, Invalid> {
        let why = "an order's id is 1 to 64 letters, digits, - and _, as the broker shows it";
        Self::new(id, false, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).ok_or(Invalid::new(why))
    }

    /// The id that the caller or the gateway gave. The broker allows letters, digits, blanks, `_` and `-` in it (its
    /// documentation of orders).
    ///
    /// # Errors
    /// [`Invalid`] with what an id looks like.
    pub fn correlation_id(id: &str) -> Result<Self, Invalid> {
        let why = "a correlation id is 1 to 64 letters, digits, blanks, - and _";
        Self::new(id, true, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b' ')).ok_or(Invalid::new(why))
    }

    fn new(id: &str, is_correlation_id: bool, may_have: impl Fn(u8) -> bool) -> Option<Self> {
        let good = (1..=64).contains(&id.len()) && id.bytes().all(may_have);
        good.then(|| Self { id: id.to_owned(), is_correlation_id })
    }

    /// Where the broker answers for it.
    pub(super) fn path(&self) -> String {
        match self.is_correlation_id {
            true => format!("/v2/orders/external/{}", self.id.replace(' ', "%20")),
            false => format!("/v2/orders/{}", self.id),
        }
    }
}

/// Read the answer to a question after one order: an object, a list of one, or either in `data`. `None` where the list is
/// empty: so the broker answers for an id that it does not know.
pub(super) fn read(answer: &HttpReply) -> Result<Option<OrderAtBroker>, Refusal> {
    let said = serde_json::from_slice(&answer.body).map_err(|_| refusal::unreadable())?;
    if is_empty_list(&said) {
        return Ok(None);
    }
    let members = first(said).filter(|members| members.contains_key("orderId")).ok_or_else(refusal::unreadable)?;
    let word = |name: &str| match members.get(name)? {
        Value::String(text) if !matches!(text.trim(), "" | "NA" | "null") => Some(text.chars().take(LONGEST).collect()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let either = |one: &str, other: &str| word(one).or_else(|| word(other));
    Ok(Some(OrderAtBroker {
        order_id: word("orderId"),
        correlation_id: word("correlationId"),
        status: word("orderStatus"),
        side: word("transactionType"),
        segment: word("exchangeSegment"),
        symbol: word("tradingSymbol"),
        security_id: word("securityId"),
        product: word("productType"),
        order_type: word("orderType"),
        quantity: word("quantity"),
        filled: either("filledQty", "filled_qty"),
        price: word("price"),
        average_price: word("averageTradedPrice"),
        reason: word("omsErrorDescription"),
        created_at: word("createTime"),
        updated_at: word("updateTime"),
    }))
}

fn is_empty_list(said: &Value) -> bool {
    let list = said.as_array().or_else(|| said.get("data")?.as_array());
    list.is_some_and(Vec::is_empty)
}

/// Of a text of the broker's, what is shown.
const LONGEST: usize = 256;

fn first(said: Value) -> Option<Map<String, Value>> {
    match said {
        Value::Array(items) => items.into_iter().next().and_then(first),
        Value::Object(mut members) => match members.remove("data") {
            Some(inner @ (Value::Array(_) | Value::Object(_))) => first(inner),
            Some(_) | None => Some(members),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn answer(body: &str) -> HttpReply {
        HttpReply { status: 200, content_type: None, body: Zeroizing::new(body.as_bytes().to_vec()) }
    }

    #[test]
    fn what_an_order_is_asked_for_by_can_stand_in_a_path() {
        assert_eq!(OrderKey::order_id("112_a-b").unwrap().path(), "/v2/orders/112_a-b");
        assert_eq!(OrderKey::correlation_id("my order-1").unwrap().path(), "/v2/orders/external/my%20order-1");
        for bad in ["", "a/b", "..", "a?b", "a%20b", "1%2f", &"x".repeat(65)] {
            assert!(OrderKey::order_id(bad).is_err() && OrderKey::correlation_id(bad).is_err(), "{bad:?}");
        }
    }

    /// The broker answers with an object, and its SDK's users saw lists; a person wants to see the order either way.
    #[test]
    fn an_order_is_read_in_each_shape_and_sentinels_are_nothing() {
        let row = r#"{"orderId":"1124","orderStatus":"PENDING","quantity":5,"price":0.05,"omsErrorDescription":"NA"}"#;
        for body in
            [row.to_owned(), format!("[{row}]"), format!(r#"{{"data":[{row}]}}"#), format!(r#"{{"data":{row}}}"#)]
        {
            let order = read(&answer(&body)).unwrap().unwrap();
            let told =
                [&order.order_id, &order.status, &order.quantity, &order.price].map(|word| word.as_deref().unwrap());
            assert_eq!(told, ["1124", "PENDING", "5", "0.05"], "{body}");
            assert_eq!((order.reason, order.symbol), (None, None), "{body}");
        }
        for none in ["[]", r#"{"data":[],"status":"success"}"#] {
            assert_eq!(read(&answer(none)).unwrap(), None, "{none}");
        }
        for unreadable in ["", "[{}]", "{}", "null", "7", "<html>", r#"{"data":null,"status":"failure"}"#] {
            assert!(read(&answer(unreadable)).is_err(), "{unreadable}");
        }
    }
}
