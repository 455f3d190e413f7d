//! The static addresses that the broker holds for an account, in each shape in which
//! `getIP` was seen:
//!
//! - `primaryIP`, `secondaryIP`, `modifyDatePrimary`, `modifyDateSecondary` (documented),
//!   mostly with `detectedIP`, `ipMatchStatus`, `ordersAllowed`;
//! - `ip` and `ipFlag`, which tell of one slot only;
//! - an error, when nothing was ever registered.
//!
//! Nothing here fails for a member that is missing or strange: what is not told is
//! not known.

use std::net::{IpAddr, Ipv6Addr};

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::answered::{Answered, Called};
use super::call::{CallOutcome, HttpReply};
use super::refusal;
use crate::broker::dhan::errors::{self, Context, RecognisedRefusal, Reply, Rule};
use crate::domain::NoAnswer;
use crate::domain::{ClientId, Role, SourceAddr};
use crate::tokens::lifecycle::{Refusal, RetryAdvice, Trouble};

/// Of a text in an address's place, what is kept to be shown.
const KEPT: usize = 64;

/// As it was seen where no address was registered; it says nothing else.
const ERROR: Trouble = Trouble::new(
    "registration_unclear",
    "The broker answers getIP with an error and does not say which; it has done so where no address was registered",
    "See at the broker's own site whether addresses are registered",
);

/// The same in the very form that was measured where no address was registered.
const UNREPORTED: Trouble = Trouble::new(
    "registration_not_told",
    "The broker answers getIP with its bare \"Something went wrong\", as it does where no address is registered, and does \
     not say what it holds",
    "If the account never registered an address, register its pair; else look on web.dhan.co",
);

/// Is it the refusal that an account without registered addresses gets, and perhaps others?
pub fn is_unreported(refusal: &Refusal) -> bool {
    refusal.trouble.code == UNREPORTED.code
}

/// What the broker holds for an account, and how it saw the call that asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Registered as `PRIMARY`.
    pub primary: Slot,
    /// Registered as `SECONDARY`.
    pub secondary: Slot,
    /// The address that the call came from, as the broker saw it.
    pub detected: Option<IpAddr>,
    /// The broker's word for how that compares: `PRIMARY_MATCH` and so on.
    pub match_status: Option<String>,
    /// Does it take orders from that address?
    pub orders_allowed: Option<bool>,
}

impl Registered {
    /// The address that the broker saw the call come from that left by the leg `role`,
    /// whose address is `own`; `None` where it does not say, or says what cannot be: an
    /// address that nothing on the internet has, or another one while its own comparison
    /// finds this very leg's. A member that changes its meaning must not stop everybody.
    pub fn seen_from(&self, role: Role, own: Ipv6Addr) -> Option<IpAddr> {
        let seen = self.detected?.to_canonical();
        if seen == own {
            return Some(seen);
        }
        let word = match role {
            Role::Primary => "PRIMARY_MATCH",
            Role::Secondary => "SECONDARY_MATCH",
        };
        let contradicts = self.match_status.as_deref() == Some(word) && self.slot(role).holds.is(own.into());
        (!contradicts && may_come_from(seen)).then_some(seen)
    }

    /// The slot of a role.
    pub const fn slot(&self, role: Role) -> &Slot {
        match role {
            Role::Primary => &self.primary,
            Role::Secondary => &self.secondary,
        }
    }
}

/// Can a server on the internet see a call come from there?
fn may_come_from(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is between a provider and its customers (RFC 6598).
            let shared = matches!(v4.octets(), [100, 64..=127, ..]);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local()),
    }
}

/// One of an account's two places for an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What is in it.
    pub holds: Holds,
    /// The first day (in India) on which it may be changed.
    pub change_allowed_from: Option<Date>,
}

/// What a slot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    /// The broker does not say.
    #[default]
    Unreported,
    /// The slot is empty.
    Empty,
    /// The slot holds this address.
    Address(IpAddr),
    /// Something that is no address.
    Strange(String),
}

impl Holds {
    /// For people; none where there is nothing to show.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Unreported | Self::Empty => None,
            Self::Address(address) => Some(address.to_string()),
            Self::Strange(text) => Some(text.clone()),
        }
    }

    /// Is it this address? Compared as addresses: the broker's spelling is its own.
    pub fn is(&self, address: IpAddr) -> bool {
        matches!(self, Self::Address(held) if held.to_canonical() == address.to_canonical())
    }
}

/// The body of `setIP` and `modifyIP`. Addresses are written as RFC 5952 has them.
pub(super) fn body(client_id: &ClientId, role: Role, address: SourceAddr) -> String {
    let flag = match role {
        Role::Primary => "PRIMARY",
        Role::Secondary => "SECONDARY",
    };
    json!({ "dhanClientId": client_id, "ip": address.to_string(), "ipFlag": flag }).to_string()
}

/// The reply to `setIP` or `modifyIP` that is no refusal: does it say that it is done?
pub(super) fn saved(answer: &HttpReply) -> Result<(), Refusal> {
    let said = first(&answer.body).into_iter().find_map(|members| text(&members, "status"));
    let good = (200..300).contains(&answer.status) && said.is_some_and(|said| said.eq_ignore_ascii_case("success"));
    let trouble = Trouble::new(
        "registration_unclear",
        "The broker did not say whether the address is saved",
        "Read what is registered, which shows whether it is",
    );
    good.then_some(()).ok_or(Refusal { verdict: RetryAdvice::Unknown, login_refusal: false, trouble })
}

/// The answer to `getIP`.
pub(super) fn read(exchange: CallOutcome, token: &str) -> Called<Answered<Registered>> {
    let CallOutcome { answer, skew, leg, .. } = exchange;
    let answered = match answer {
        Err(NoAnswer::NotSent(why)) => Answered::NotSent(why),
        Err(NoAnswer::Unknown(why)) => Answered::Unknown(why),
        Ok(answer) => judged(&answer, token),
    };
    Called { answered, skew, leg }
}

fn judged(answer: &HttpReply, token: &str) -> Answered<Registered> {
    let reply = Reply { status: answer.status, content_type: answer.content_type.as_deref(), body: &answer.body };
    if errors::classify(&reply, Context::Trading).is_some_and(|found| says_nothing_is_registered(&found, &reply)) {
        let empty = || Slot { holds: Holds::Empty, change_allowed_from: None };
        return Answered::Good(Registered { primary: empty(), secondary: empty(), ..Registered::default() });
    }
    if let Some(refusal) = refusal::of(answer, Context::Trading, &[token]) {
        return Answered::Refused(refusal);
    }
    if answer.status == 200 && is_bare_error(&answer.body) {
        return Answered::Refused(Refusal { verdict: RetryAdvice::Unknown, login_refusal: false, trouble: UNREPORTED });
    }
    // An error in an array is one too, whatever else stands in it.
    let is_error = |members: &Map<String, Value>| {
        text(members, "status").is_some_and(|status| status.trim().eq_ignore_ascii_case("error"))
    };
    if first(&answer.body).iter().any(is_error) {
        return Answered::Refused(Refusal { verdict: RetryAdvice::Unknown, login_refusal: false, trouble: ERROR });
    }
    registered(&answer.body).map_or_else(|| Answered::Refused(refusal::unreadable()), Answered::Good)
}

/// `[{"message":"Something went wrong","status":"ERROR"}]` by value, and nothing else.
fn is_bare_error(body: &[u8]) -> bool {
    let bare = json!([{ "message": "Something went wrong", "status": "ERROR" }]);
    serde_json::from_slice::<Value>(body).is_ok_and(|said| said == bare)
}

/// Somebody saw an error where nothing was registered, and nobody wrote down which.
/// So: one that is about no token, no address and no limit, and either has the code
/// for "no data" or speaks of an IP and of something that is not there.
fn says_nothing_is_registered(found: &RecognisedRefusal, reply: &Reply<'_>) -> bool {
    if reply.status >= 500 || reply.status == 429 || found.row.rule != Rule::PassOn {
        return false;
    }
    if found.broker_code.as_deref() == Some("DH-907") {
        return true;
    }
    let words = found.broker_words.as_deref().unwrap_or_default().to_ascii_lowercase();
    let has = |any: &[&str]| words.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| any.contains(&word));
    has(&["ip", "ips"]) && has(&["no", "not"]) && !has(&["invalid", "allowed", "valid"])
}

/// Every object of a reply that may tell of a slot: itself, its `data`, its items.
fn first(body: &[u8]) -> Vec<Map<String, Value>> {
    fn collect(value: Value, depth: usize, found: &mut Vec<Map<String, Value>>) {
        match value {
            Value::Object(mut members) => {
                let inner = members.remove("data");
                found.push(members);
                if let Some(inner) = inner.filter(|_| depth > 0) {
                    collect(inner, depth - 1, found);
                }
            }
            Value::Array(items) if depth > 0 => {
                items.into_iter().take(4).for_each(|item| collect(item, depth - 1, found));
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    if let Some(Ok(value)) = json.next() {
        collect(value, 2, &mut found);
    }
    found
}

/// What a reply tells, or nothing if it tells of no slot and no address.
fn registered(body: &[u8]) -> Option<Registered> {
    let objects = first(body);
    let mut registered = Registered::default();
    let mut any = false;
    for members in &objects {
        any |= has(members, &["primaryip", "secondaryip", "ip", "detectedip", "ipmatchstatus", "modifydateprimary"]);
        if registered.detected.is_none() {
            registered.detected = text(members, "detectedip").and_then(|text| text.trim().parse().ok());
        }
        if registered.match_status.is_none() {
            registered.match_status =
                text(members, "ipmatchstatus").map(|text| shown(&text)).filter(|text| !text.is_empty());
        }
        if registered.orders_allowed.is_none() {
            registered.orders_allowed = member(members, "ordersallowed").and_then(truth);
        }
    }
    registered.primary = slot(&objects, "primaryip", "modifydateprimary", "PRIMARY");
    registered.secondary = slot(&objects, "secondaryip", "modifydatesecondary", "SECONDARY");
    any.then_some(registered)
}

fn slot(objects: &[Map<String, Value>], address: &str, date: &str, flag: &str) -> Slot {
    let dates = objects.iter().filter_map(|members| member(members, date));
    let dated = dates.clone().next().is_some();
    let change_allowed_from = dates.filter_map(day).next();
    let is_flag = |members: &&Map<String, Value>| {
        text(members, "ipflag").is_some_and(|said| said.trim().eq_ignore_ascii_case(flag))
    };
    let by_name = objects.iter().find_map(|members| member(members, address));
    let by_flag = || objects.iter().find(is_flag).and_then(|members| member(members, "ip"));
    // One slot alone is told of: of the other its date says whether it is taken.
    let one_alone = objects.iter().any(|members| has(members, &["ipflag"]));
    let holds = match by_name.or_else(by_flag) {
        Some(value) => holds(value),
        None if change_allowed_from.is_some() => Holds::Unreported,
        None if one_alone && !dated => Holds::Unreported,
        None => Holds::Empty,
    };
    Slot { holds, change_allowed_from }
}

fn holds(value: &Value) -> Holds {
    let Value::String(text) = value else {
        return if value.is_null() { Holds::Empty } else { Holds::Strange(shown(&value.to_string())) };
    };
    let text = text.trim();
    match text.parse() {
        Ok(address) => Holds::Address(address),
        Err(_) if is_nothing(text) => Holds::Empty,
        Err(_) => Holds::Strange(shown(text)),
    }
}

fn is_nothing(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "" | "na" | "n/a" | "null" | "none" | "-")
}

/// A day, with or without a time behind it.
fn day(value: &Value) -> Option<Date> {
    value.as_str()?.trim().get(..10)?.parse().ok()
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::String(_) | Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text of the broker's as it may be shown.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(KEPT).collect()
}

fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    member(members, name).and_then(Value::as_str).map(str::to_owned)
}

fn has(members: &Map<String, Value>, names: &[&str]) -> bool {
    names.iter().any(|name| member(members, name).is_some())
}

/// A member by its name without case.
fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
