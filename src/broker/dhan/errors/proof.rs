//! Refusals that a second send rests on: the whole reply is the refusal, and nothing else.
//!
//! The broker quotes what it was sent, so "Invalid IP" may be somebody's `correlationId`;
//! and a reply that names an order is about that order, whatever else it says.

use serde_json::Value;

use super::reply::{Reply, member};

/// A refusal has three members. What is longer has something to say.
const LONGEST: usize = 2 * 1024;
/// Members in which words come.
const WORDS: [&str; 5] = ["errormessage", "message", "errordescription", "omserrordescription", "error"];
/// Members that name an order: of a placement, of several, of an alert.
const ORDERS: [&str; 5] = ["orderid", "orderids", "orderno", "alertid", "exchangeorderid"];
/// How deep a refusal is nested at most.
const DEEPEST: usize = 4;

/// Is this reply one refusal that is `known` by its words, and nothing else?
pub(super) fn shows(reply: &Reply<'_>, known: impl Fn(&String) -> bool) -> bool {
    if !(400..500).contains(&reply.status) || reply.body.len() > LONGEST {
        return false;
    }
    let Ok(value) = serde_json::from_slice::<Value>(reply.body) else { return false };
    let mut words = Vec::new();
    if !read(&value, 0, &mut words) {
        return false;
    }
    let Some(first) = words.first() else { return false };
    known(first) && words.iter().all(|other| other == first)
}

/// Collects the words; false when it names an order or is nothing that could be read.
fn read(value: &Value, depth: usize, words: &mut Vec<String>) -> bool {
    if depth > DEEPEST {
        return false;
    }
    match value {
        Value::Object(members) => {
            let names = |name: &str| member(members, name).is_some_and(is_given);
            if ORDERS.into_iter().any(names) {
                return false;
            }
            for (name, value) in members {
                let is_code = name.len() == 3 && name.bytes().all(|b| b.is_ascii_digit());
                let is_data = depth == 0 && name.eq_ignore_ascii_case("data");
                let plain = name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect::<String>();
                match value {
                    Value::String(text) if is_code || is_data || WORDS.contains(&plain.as_str()) => {
                        if !text.trim().is_empty() {
                            words.push(whole(text));
                        }
                    }
                    Value::Object(_) | Value::Array(_) if !read(value, depth + 1, words) => return false,
                    Value::Object(_)
                    | Value::Array(_)
                    | Value::String(_)
                    | Value::Null
                    | Value::Bool(_)
                    | Value::Number(_) => {}
                }
            }
            true
        }
        Value::Array(items) => items.iter().all(|item| read(item, depth + 1, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => depth > 0,
    }
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !matches!(text.trim(), "" | "0" | "NA"),
        Value::Array(items) => items.iter().any(is_given),
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Bool(_) | Value::Object(_) => true,
    }
}

/// Words in one case, blanks evened out, without the full stop and a code in front: all
/// that may differ. Quotes and colons stay, since behind them stands what is quoted.
pub(super) fn whole(text: &str) -> String {
    let lower = text.to_lowercase();
    let even = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let rest = even.strip_prefix("dh-").and_then(|rest| rest.split_once(": "));
    let rest = rest.filter(|(code, _)| code.bytes().all(|b| b.is_ascii_digit())).map(|(_, rest)| rest);
    rest.unwrap_or(&even).trim_end_matches('.').to_owned()
}
