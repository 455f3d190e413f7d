//! An order as the broker shows it.
//!
//! Where nothing applies the broker shows sentinels (`docs/broker.md`, "Orders"): they are read as
//! what is not there.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::orders::terms::Number;

/// One row of a list, or the answer of a question after one order.
#[derive(Clone, Debug)]
pub(in crate::orders) struct OrderRow(Map<String, Value>);

impl OrderRow {
    /// All that an answer shows: a list, an object, or either in `data`. `None` when it is neither.
    pub(in crate::orders) fn all(body: &[u8]) -> Option<(Vec<Self>, bool)> {
        match serde_json::from_slice(body) {
            Ok(Value::Array(items)) => Some((Self::each(items), true)),
            // The whole is sometimes wrapped.
            Ok(Value::Object(mut one)) => match one.remove("data") {
                Some(Value::Array(items)) => Some((Self::each(items), true)),
                Some(Value::Object(inner)) => Some((vec![Self(inner)], false)),
                Some(_) | None => Some((vec![Self(one)], false)),
            },
            Ok(_) | Err(_) => None,
        }
    }

    fn each(items: Vec<Value>) -> Vec<Self> {
        items.into_iter().filter_map(Self::of).collect()
    }

    fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(object) => Some(Self(object)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// The rows in a member.
    pub(super) fn inner(&self, name: &str) -> Vec<Self> {
        let items = self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().cloned().filter_map(Self::of).collect()
    }

    /// What a member says, as text; numbers too, since some calls give ids as such.
    pub(in crate::orders) fn word(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.0.get(name)? {
            Value::String(text) if !matches!(text.trim(), "" | "NA" | "null") => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A member's number.
    pub(super) fn number(&self, name: &str) -> Option<Number> {
        Number::of(self.0.get(name)?)
    }

    /// The order's id, or the alert's.
    pub(super) fn id(&self) -> Option<Cow<'_, str>> {
        self.word("orderId").or_else(|| self.word("alertId")).filter(|id| id != "0")
    }

    /// Where it stands.
    pub(super) fn status(&self) -> Option<Cow<'_, str>> {
        self.word("orderStatus").or_else(|| self.word("alertStatus")).or_else(|| self.word("triggerStatus"))
    }

    /// Refused, by the broker or the exchange.
    pub(super) fn is_rejected(&self) -> bool {
        self.status().as_deref() == Some("REJECTED")
    }

    /// When it was made, unless it was changed since.
    pub(super) fn created(&self) -> Option<Cow<'_, str>> {
        self.word("createTime").or_else(|| self.word("createdTime"))
    }

    /// As the broker answers a write.
    pub(super) fn reply(&self) -> Value {
        let status = self.status().unwrap_or(Cow::Borrowed("TRANSIT"));
        match self.word("orderId") {
            Some(id) => json!({ "orderId": id, "orderStatus": status }),
            None => json!({ "alertId": self.id(), "alertStatus": status }),
        }
    }
}
