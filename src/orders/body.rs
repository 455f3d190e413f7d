//! An order write's body, read once and by value: what it says, whatever its spelling.
//!
//! A program that repeats an order serialises it anew: members in another order, `3310.50` for `3310.5`, `"5"` for 5.
//! That is the same order. So bodies are compared by [`JsonBody::value_sha256`], into which blanks, the order of members
//! and the spelling of numbers (also in quotes) do not go, nor the two ids that the gateway fills in.
//!
//! Invariants:
//! - Two bodies that differ in any other value have two digests: of a member that stands twice both count, in their
//!   order, because servers differ in which of them they take.
//! - What is read here is what any JSON reader reads: the short way is only taken for what is flat and plain, and the
//!   long way only after serde has taken it.
//!
//! Not here: filling in and refusing (`proxy::sign`), what an order's terms are held against (`evidence`).

mod cursor;
mod value;

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::terms::{Number, Terms};

pub use cursor::Member;

/// A body within a body within a body: an alert's conditions have four. Recursion ends here.
const DEPTH: usize = 32;

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableBody {
    /// It is text in another encoding.
    #[error("it is {0}; send it as UTF-8")]
    Encoding(&'static str),
    /// It is no JSON.
    #[error("line {line}, column {column}")]
    NotJson {
        /// Where, without quoting any of it.
        line: usize,
        /// The column within the line.
        column: usize,
    },
    /// It is JSON, and no object.
    #[error("it is JSON, and no object")]
    NotObject,
    /// Nobody nests an order like this.
    #[error("it is nested more than {DEPTH} deep")]
    TooDeep,
    /// Servers differ in which of two they take, and some take a name in any case.
    #[error("{0} stands in the body twice, or in another spelling")]
    Twice(&'static str),
}

/// A body that is a JSON object, and its raw values as they stand there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JsonBody<'a> {
    members: Vec<Member<'a>>,
    /// The members of each order in `orders[]`.
    orders: Vec<Vec<Member<'a>>>,
    client_id: Option<&'a str>,
    correlation_id: Option<&'a str>,
}

/// A raw value read as text.
#[derive(Debug, PartialEq, Eq)]
pub enum TextValue<'a> {
    /// A text, or a number as it is spelt: some SDKs send ids as numbers.
    Is(Cow<'a, str>),
    /// `null`.
    Null,
    /// A value of any other kind.
    Other,
}

impl<'a> TextValue<'a> {
    /// Of a raw value.
    pub fn of(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => cursor::text(raw).map_or(Self::Other, Self::Is),
            Some(b'-' | b'0'..=b'9') => Self::Is(Cow::Borrowed(raw)),
            Some(b'n') => Self::Null,
            Some(_) | None => Self::Other,
        }
    }

    /// What is more than blanks.
    fn said(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Is(text) if !text.trim().is_empty() => Some(text),
            Self::Is(_) | Self::Null | Self::Other => None,
        }
    }
}

impl<'a> JsonBody<'a> {
    /// Read a body whose byte order mark, if it had one, is gone.
    ///
    /// # Errors
    /// [`UnreadableBody`].
    pub fn read(body: &'a [u8]) -> Result<Self, UnreadableBody> {
        let text = std::str::from_utf8(body).map_err(|_| UnreadableBody::Encoding(encoding(body)))?;
        if let Some(members) = cursor::object(text, false) {
            return Self::of(members, Vec::new());
        }
        if let Err(err) = serde_json::from_str::<IgnoredAny>(text) {
            // UTF-16 of plain text is UTF-8 too, with a NUL at every other place.
            return Err(match text.contains('\0') {
                true => UnreadableBody::Encoding(encoding(body)),
                false => UnreadableBody::NotJson { line: err.line(), column: err.column() },
            });
        }
        if cursor::depth(text) > DEPTH {
            return Err(UnreadableBody::TooDeep);
        }
        let members = cursor::object(text, true).ok_or(UnreadableBody::NotObject)?;
        let list = members.iter().rev().find(|member| member.name == "orders");
        let orders = list.and_then(|list| cursor::array(list.raw)).unwrap_or_default();
        let orders = orders.into_iter().filter_map(|order| cursor::object(order, true)).collect();
        Self::of(members, orders)
    }

    /// The body of a write that has none.
    pub fn none() -> Self {
        Self::default()
    }

    fn of(members: Vec<Member<'a>>, orders: Vec<Vec<Member<'a>>>) -> Result<Self, UnreadableBody> {
        let client_id = once(&members, "dhanClientId")?;
        let correlation_id = once(&members, "correlationId")?;
        for order in &orders {
            once(order, "correlationId")?;
        }
        Ok(Self { members, orders, client_id, correlation_id })
    }

    /// The raw value of `dhanClientId`.
    pub const fn client_id(&self) -> Option<&'a str> {
        self.client_id
    }

    /// The raw value of `correlationId`.
    pub const fn correlation_id(&self) -> Option<&'a str> {
        self.correlation_id
    }

    /// Has it no members?
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The ids of each order in `orders[]` that has one. Blanks alone are none.
    pub fn ids_of_orders(&self) -> impl Iterator<Item = Arc<str>> {
        let ids = self.orders.iter().filter_map(|order| find(order, "correlationId"));
        ids.filter_map(|raw| TextValue::of(raw).said()).map(Arc::from)
    }

    /// Is one of its correlation ids a number that can be written in more ways than one, as 1.50 and 1.5? Ids are told
    /// from one another by their text.
    pub fn has_id_of_many_spellings(&self) -> bool {
        let of_orders = self.orders.iter().filter_map(|order| find(order, "correlationId"));
        let is_number = |raw: &&str| raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let mut numbers = self.correlation_id.into_iter().chain(of_orders).filter(is_number);
        numbers.any(|raw| raw.contains(['.', 'e', 'E']))
    }

    /// What it says, without the two ids: see the module.
    pub fn value_sha256(&self) -> [u8; 32] {
        let counts = |member: &&Member<'a>| !matches!(&*member.name, "dhanClientId" | "correlationId");
        let mut members: Vec<&Member<'a>> = self.members.iter().filter(counts).collect();
        let mut form = Vec::with_capacity(512);
        value::object(&mut members, &mut form);
        Sha256::digest(&form).into()
    }

    /// What is asked for: by this, or by each order in `orders[]`.
    pub fn terms(&self) -> Vec<Terms> {
        if self.orders.is_empty() {
            return vec![Terms { correlation_id: None, sequence: None, ..terms(&self.members) }];
        }
        self.orders.iter().map(|order| terms(order)).collect()
    }
}

/// The one member of this name, if there is one.
fn once<'a>(members: &[Member<'a>], name: &'static str) -> Result<Option<&'a str>, UnreadableBody> {
    let mut found = None;
    for member in members.iter().filter(|member| member.name.eq_ignore_ascii_case(name)) {
        if member.name != name || found.replace(member.raw).is_some() {
            return Err(UnreadableBody::Twice(name));
        }
    }
    Ok(found)
}

fn find<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().find(|member| member.name == name).map(|member| member.raw)
}

fn terms(members: &[Member<'_>]) -> Terms {
    let word = |raw| TextValue::of(raw).said().map(|text| Box::from(text.trim()));
    let number = |raw| TextValue::of(raw).said().and_then(|text| Number::parse(text.trim()));
    let mut terms = Terms::default();
    // Of two the last: most servers take that one.
    for Member { name, raw } in members {
        match &**name {
            "transactionType" => terms.side = word(raw),
            "exchangeSegment" => terms.segment = word(raw),
            "securityId" => terms.security = word(raw),
            "productType" => terms.product = word(raw),
            "orderType" => terms.order_type = word(raw),
            "quantity" => terms.quantity = number(raw),
            "price" => terms.price = number(raw),
            "triggerPrice" => terms.trigger = number(raw),
            "validity" => terms.validity = word(raw),
            "disclosedQuantity" => terms.disclosed = number(raw),
            "targetPrice" => terms.target = number(raw),
            "stopLossPrice" => terms.stop_loss = number(raw),
            "trailingJump" => terms.trailing = number(raw),
            "legName" => terms.leg = word(raw),
            "orderFlag" => terms.flag = word(raw),
            "afterMarketOrder" => terms.after_market = raw.trim_matches('"').eq_ignore_ascii_case("true"),
            "correlationId" => terms.correlation_id = TextValue::of(raw).said().map(Box::from),
            "sequence" => terms.sequence = word(raw),
            _ => {}
        }
    }
    terms
}

/// Which encoding a text that is not UTF-8 is likely in (RFC 4627 section 3: JSON begins with two ASCII characters).
fn encoding(body: &[u8]) -> &'static str {
    match *body.first_chunk().unwrap_or(&[1; 4]) {
        [0, 0, 0xfe, 0xff] | [0xff, 0xfe, 0, 0] | [0, 0, 0, _] | [_, 0, 0, 0] => "UTF-32",
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, _, 0, _] | [_, 0, _, 0] => "UTF-16",
        _ => "not UTF-8",
    }
}

#[cfg(test)]
mod tests;
