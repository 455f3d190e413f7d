//! What watchers hear of an order write (`GET /v1/events`), and the orders that a reply names.

use crate::domain::{Outcome, Role};
use crate::orders::journal::{Entry, SafePath, SafeText};
use crate::orders::lookup::orders_of;

/// Every order that a reply names, as the journal writes them.
pub(in crate::dispatch) fn order_ids(body: &[u8]) -> Option<SafeText> {
    match orders_of(body).as_slice() {
        [] => None,
        [one] => Some(SafeText::new(one)),
        several => Some(SafeText::new(&several.join(","))),
    }
}

/// What a watcher hears of an outcome.
pub(in crate::dispatch) fn event(line: &Entry) -> serde_json::Value {
    let word = |word: &Option<SafeText>| word.as_ref().map(|word| word.as_str().to_owned());
    serde_json::json!({
        "request_id": word(&line.request_id),
        "outcome": line.outcome.map(Outcome::as_str),
        "method": line.method.as_ref().map(http::Method::as_str),
        "path": line.path.as_ref().map(SafePath::as_str),
        "leg": line.leg.map(Role::as_str),
        "source": line.source.map(|source| source.to_string()),
        "order_id": word(&line.order_id),
        "correlation_id": word(&line.correlation_id),
        "status": line.status,
        "recovered": line.recovered == Some(true),
    })
}
