//! Reading request bodies the way the broker does: numbers may be quoted, empty
//! text and `null` mean that a field is absent, anything else is DH-905.

use serde_json::{Map, Value};

use super::reply::{self, Reply};

/// The longest correlation id that passes.
const CORRELATION_ID: usize = 25;

/// A JSON object of a request.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// # Errors
    /// DH-905 when the body is not a JSON object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Reply> {
        serde_json::from_slice(body).map(Self).map_err(|_| reply::bad_field())
    }

    /// An object inside a request.
    pub(super) fn of(value: &Value) -> Result<Self, Reply> {
        value.as_object().cloned().map(Self).ok_or_else(reply::bad_field)
    }

    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// Is any member, at whatever depth, an empty text?
    pub(super) fn holds_empty_text(&self) -> bool {
        fn empty(value: &Value) -> bool {
            match value {
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.iter().any(empty),
                Value::Object(members) => members.values().any(empty),
                Value::Null | Value::Bool(_) | Value::Number(_) => false,
            }
        }
        self.0.values().any(empty)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Text, or a whole number where an id was meant.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, Reply> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
            Some(_) => Err(reply::bad_field()),
        }
    }

    pub(super) fn required_text(&self, key: &str) -> Result<String, Reply> {
        self.text(key)?.ok_or_else(reply::bad_field)
    }

    /// One of a fixed list.
    pub(super) fn choice(&self, key: &str, of: &[&'static str]) -> Result<Option<&'static str>, Reply> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => of.iter().copied().find(|word| *word == text).map(Some).ok_or_else(reply::bad_field),
        }
    }

    pub(super) fn required_choice(&self, key: &str, of: &[&'static str]) -> Result<&'static str, Reply> {
        self.choice(key, of)?.ok_or_else(reply::bad_field)
    }

    /// A price: a number that is not negative.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Reply> {
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        number.filter(|n| n.is_finite() && *n >= 0.0).map(Some).ok_or_else(reply::bad_field)
    }

    /// A price above zero.
    pub(super) fn required_price(&self, key: &str) -> Result<f64, Reply> {
        self.number(key)?.filter(|n| *n > 0.0).ok_or_else(reply::bad_field)
    }

    /// A quantity: a whole number.
    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>, Reply> {
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        number.filter(|n| u32::try_from(*n).is_ok()).map(Some).ok_or_else(reply::bad_field)
    }

    pub(super) fn required_whole(&self, key: &str) -> Result<u64, Reply> {
        self.whole(key)?.filter(|n| *n > 0).ok_or_else(reply::bad_field)
    }

    /// `true` or `false`, quoted or not; absent means no.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Reply> {
        match self.value(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) => text.to_ascii_lowercase().parse().map_err(|_| reply::bad_field()),
            Some(_) => Err(reply::bad_field()),
        }
    }

    /// A correlation id: at most 25 letters, digits, blanks, `_` or `-` (the documents
    /// say 30; two parties found 25). Each of the two faults has a text of its own.
    pub(super) fn correlation_id(&self) -> Result<Option<String>, Reply> {
        let Some(id) = self.text("correlationId")? else { return Ok(None) };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'_' | b'-');
        if !id.bytes().all(plain) {
            return Err(reply::bad_correlation_id());
        }
        if id.len() <= CORRELATION_ID { Ok(Some(id)) } else { Err(reply::bad_field()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    /// The broker's own examples quote numbers and send empty text for nothing.
    #[test]
    fn quoted_numbers_and_empty_texts_are_read_as_the_broker_does() {
        let body = fields(r#"{"quantity":"5","price":"","triggerPrice":null,"securityId":11536,"flag":""}"#);
        assert_eq!(body.whole("quantity").unwrap(), Some(5));
        assert_eq!(body.number("price").unwrap(), None);
        assert_eq!(body.number("triggerPrice").unwrap(), None);
        assert_eq!(body.text("securityId").unwrap().as_deref(), Some("11536"));
        assert!(!body.flag("flag").unwrap());
    }

    #[test]
    fn wrong_types_are_bad_fields() {
        let body = fields(r#"{"q":-1,"h":1.5,"o":{},"n":"five","b":7}"#);
        for key in ["q", "h", "o", "n"] {
            assert!(body.whole(key).is_err(), "{key}");
        }
        assert!(body.flag("b").is_err() && body.text("o").is_err() && body.number("q").is_err());
        assert!(Fields::parse(b"[]").is_err() && Fields::parse(b"").is_err());
    }

    /// One character more and the broker refuses the whole order.
    #[test]
    fn correlation_ids_have_25_plain_characters_at_most() {
        let id = |id: &str| fields(&format!("{{\"correlationId\":\"{id}\"}}")).correlation_id();
        assert!(id(&"a".repeat(25)).is_ok() && id("gw 0001-abc_1").is_ok());
        for bad in [&"a".repeat(26), "a.b", "a/b", "a&b", "a|b", "a:b", "ä"] {
            assert!(id(bad).is_err(), "{bad}");
        }
    }
}
