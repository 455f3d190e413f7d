//! Terms of orders in a line, and back.
//!
//! One object for one order, an array for several, `null` for none. Numbers stand as JSON numbers: their text is one.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::redact;
use crate::orders::terms::{Number, Terms};

/// More orders than any multi-order has. What has more is kept as `null`: half of it would be taken for the whole, and
/// a line must stay shorter than what is read as one.
const MOST: usize = 25;

/// Write the member.
pub(super) fn write(line: &mut Vec<u8>, terms: &[Terms]) {
    line.extend_from_slice(b",\"terms\":");
    value(line, terms);
}

/// The member's value alone.
pub(super) fn text(terms: &[Terms]) -> String {
    let mut text = Vec::new();
    value(&mut text, terms);
    String::from_utf8(text).unwrap_or_default()
}

fn value(line: &mut Vec<u8>, terms: &[Terms]) {
    match terms {
        [one] => object(line, one),
        [] => line.extend_from_slice(b"null"),
        several if several.len() > MOST => line.extend_from_slice(b"null"),
        several => {
            for (n, one) in several.iter().enumerate() {
                line.push(if n == 0 { b'[' } else { b',' });
                object(line, one);
            }
            line.push(b']');
        }
    }
}

fn object(line: &mut Vec<u8>, terms: &Terms) {
    let begin = line.len();
    word(line, b",\"side\":\"", terms.side.as_deref());
    word(line, b",\"segment\":\"", terms.segment.as_deref());
    word(line, b",\"security\":\"", terms.security.as_deref());
    word(line, b",\"product\":\"", terms.product.as_deref());
    word(line, b",\"type\":\"", terms.order_type.as_deref());
    number(line, b",\"quantity\":", terms.quantity.as_ref());
    number(line, b",\"price\":", terms.price.as_ref());
    number(line, b",\"trigger\":", terms.trigger.as_ref());
    word(line, b",\"validity\":\"", terms.validity.as_deref());
    number(line, b",\"disclosed\":", terms.disclosed.as_ref());
    number(line, b",\"target\":", terms.target.as_ref());
    number(line, b",\"stop_loss\":", terms.stop_loss.as_ref());
    number(line, b",\"trailing\":", terms.trailing.as_ref());
    word(line, b",\"leg\":\"", terms.leg.as_deref());
    word(line, b",\"flag\":\"", terms.flag.as_deref());
    if terms.after_market {
        line.extend_from_slice(b",\"after_market\":true");
    }
    word(line, b",\"correlation_id\":\"", terms.correlation_id.as_deref());
    word(line, b",\"sequence\":\"", terms.sequence.as_deref());
    // The first member's comma makes room for the brace.
    match line.get_mut(begin) {
        Some(comma) => *comma = b'{',
        None => line.push(b'{'),
    }
    line.push(b'}');
}

fn word(line: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    let Some(value) = value else { return };
    line.extend_from_slice(name);
    line.extend_from_slice(redact::plain(value).as_bytes());
    line.push(b'"');
}

fn number(line: &mut Vec<u8>, name: &[u8], value: Option<&Number>) {
    let Some(value) = value else { return };
    line.extend_from_slice(name);
    line.extend_from_slice(value.as_str().as_bytes());
}

/// As they stand in a line.
#[derive(Deserialize)]
struct RawTerms<'a> {
    #[serde(borrow)]
    side: Option<Cow<'a, str>>,
    #[serde(borrow)]
    segment: Option<Cow<'a, str>>,
    #[serde(borrow)]
    security: Option<Cow<'a, str>>,
    #[serde(borrow)]
    product: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    order_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    quantity: Option<&'a RawValue>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    trigger: Option<&'a RawValue>,
    #[serde(borrow)]
    validity: Option<Cow<'a, str>>,
    #[serde(borrow)]
    disclosed: Option<&'a RawValue>,
    #[serde(borrow)]
    target: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_loss: Option<&'a RawValue>,
    #[serde(borrow)]
    trailing: Option<&'a RawValue>,
    #[serde(borrow)]
    leg: Option<Cow<'a, str>>,
    #[serde(borrow)]
    flag: Option<Cow<'a, str>>,
    #[serde(default)]
    after_market: bool,
    #[serde(borrow)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sequence: Option<Cow<'a, str>>,
}

/// Read the member back.
pub(super) fn read(member: &str) -> Result<Option<Arc<[Terms]>>, String> {
    let wrong = |err: serde_json::Error| format!("terms: {err}");
    if member == "null" {
        return Ok(None);
    }
    let raw: Vec<RawTerms<'_>> = if member.starts_with('[') {
        serde_json::from_str(member).map_err(wrong)?
    } else {
        vec![serde_json::from_str(member).map_err(wrong)?]
    };
    raw.into_iter().map(terms).collect::<Result<_, _>>().map(Some)
}

fn terms(raw: RawTerms<'_>) -> Result<Terms, String> {
    let text = |text: Option<Cow<'_, str>>| text.map(|text| Box::from(&*text));
    let number = |value: Option<&RawValue>| {
        let parse = |value: &RawValue| Number::parse(value.get()).ok_or_else(|| "terms: not a number".to_owned());
        value.map(parse).transpose()
    };
    Ok(Terms {
        side: text(raw.side),
        segment: text(raw.segment),
        security: text(raw.security),
        product: text(raw.product),
        order_type: text(raw.order_type),
        quantity: number(raw.quantity)?,
        price: number(raw.price)?,
        trigger: number(raw.trigger)?,
        validity: text(raw.validity),
        disclosed: number(raw.disclosed)?,
        target: number(raw.target)?,
        stop_loss: number(raw.stop_loss)?,
        trailing: number(raw.trailing)?,
        leg: text(raw.leg),
        flag: text(raw.flag),
        after_market: raw.after_market,
        correlation_id: text(raw.correlation_id),
        sequence: text(raw.sequence),
    })
}
