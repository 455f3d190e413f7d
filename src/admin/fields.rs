//! What a call brings: parts of its path, its query and the fields of its body.
//!
//! Each is read by its name, so that what is wrong can be told by that name and a secret
//! is never quoted back.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use ipnet::Ipv6Net;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error::{Failure, Mistakes};
use crate::domain::problem::Invalid;
use crate::domain::{AccountName, Secret, SourceAddr, pasted};

/// The largest body of a call, in bytes.
pub(super) const BODY_LIMIT: usize = 64 * 1024;
/// Items of a page when the call does not say.
pub(super) const PAGE: usize = 100;
/// Items of a page at most.
pub(super) const PAGE_LIMIT: usize = 1000;
/// Characters of a text.
const TEXT_LIMIT: usize = pasted::LONGEST;
/// Items of a list in a body.
const LIST_LIMIT: usize = 16;
/// Characters of a secret with all that stands around it.
const PASTED_LIMIT: usize = 4096;

/// Parts of a path. What is not even UTF-8 is nobody's name: 404.
#[derive(Debug)]
pub(super) struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let none = |_| Failure::new(StatusCode::NOT_FOUND, "not_found", "a name in the path is not UTF-8");
        Path::from_request_parts(parts, state).await.map(|Path(parts)| Self(parts)).map_err(none)
    }
}

/// A query as it was given.
pub(super) type Given = Result<Query<BTreeMap<String, String>>, QueryRejection>;

/// The parameters of a query.
///
/// # Errors
/// 400 when it cannot be read.
pub(super) fn query(given: Given) -> Result<BTreeMap<String, String>, Failure> {
    let bad = |_| Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the query cannot be read");
    given.map(|Query(given)| given).map_err(bad)
}

/// The parameter `limit`.
///
/// # Errors
/// 422 when it is no number that may be asked for.
pub(super) fn limit(text: &str) -> Result<usize, Failure> {
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_LIMIT).contains(limit));
    limit.ok_or_else(|| Failure::field("limit", format!("is 1 to {PAGE_LIMIT}")))
}

/// The parameter `cursor` is no list's that was given out.
pub(super) fn strange_cursor() -> Failure {
    Failure::unusable("cursor", "is none of this list's")
}

/// 422 with the name of a parameter that this call does not have.
pub(super) fn no_such_parameter(name: &str) -> Failure {
    Failure::field(name, "there is no such parameter")
}

/// A body's JSON. Of two members of one name nobody can say which is meant, and two readers may take another each.
enum Body {
    Once(Map<String, Value>),
    Twice(String),
    NoObject,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Members)
    }
}

/// Reads a [`Body`].
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Body, A::Error> {
        let (mut map, mut twice) = (Map::new(), None);
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if map.contains_key(&name) {
                twice.get_or_insert_with(|| name.clone());
            }
            map.insert(name, value);
        }
        Ok(twice.map_or(Body::Once(map), Body::Twice))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Body, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Body::NoObject)
    }

    fn visit_unit<E>(self) -> Result<Body, E> {
        Ok(Body::NoObject)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Body, E> {
        Ok(Body::NoObject)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Body, E> {
        Ok(Body::NoObject)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Body, E> {
        Ok(Body::NoObject)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Body, E> {
        Ok(Body::NoObject)
    }

    fn visit_str<E>(self, _: &str) -> Result<Body, E> {
        Ok(Body::NoObject)
    }
}

/// A request's JSON object, read field by field. No `Debug`: it holds secrets.
pub(super) struct Fields(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = Bytes::from_request(request, state).await.map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "a body has at most 64 KiB")
            }
            _ => Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the body could not be read to its end"),
        })?;
        Self::read(&body)
    }
}

impl Fields {
    /// # Errors
    /// 400 when the body is no JSON object. An empty body counts as `{}`.
    fn read(body: &Bytes) -> Result<Self, Failure> {
        let bad = |text: String| Failure::new(StatusCode::BAD_REQUEST, "bad_request", text);
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Body::Once(map)) => Ok(Self(map)),
            Ok(Body::Twice(name)) => Err(Failure::field(&name, "stands in the body twice")),
            Ok(Body::NoObject) => Err(bad("the body must be a JSON object".to_owned())),
            // The parser's text may quote the body; its place is enough.
            Err(err) => Err(bad(format!("the body is not JSON (line {}, column {})", err.line(), err.column()))),
        }
    }

    /// Those of a call that is made from inside.
    pub(super) const fn of(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// A text, if it is there and not null.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.up_to(TEXT_LIMIT, name)? {
            Some(text) if text.trim().chars().any(char::is_control) => {
                Err(Failure::field(name, "has control characters in it"))
            }
            text => Ok(text),
        }
    }

    fn up_to(&mut self, limit: usize, name: &str) -> Result<Option<String>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().nth(limit).is_some() => {
                Err(Failure::field(name, format!("is longer than {limit} characters")))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Failure::field(name, "must be a text"))
            }
        }
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, name: &str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| Failure::field(name, "is missing"))
    }

    /// A secret as people have it, if it is there and there is anything in it.
    pub(super) fn secret(&mut self, name: &str) -> Result<Option<Secret>, Failure> {
        let Some(text) = self.up_to(PASTED_LIMIT, name)?.map(Zeroizing::new) else { return Ok(None) };
        if pasted::is_empty(&text) {
            return Ok(None);
        }
        let kind = pasted::Kind::of_field(name).unwrap_or(pasted::Kind::Key);
        pasted::read(kind, &text).map(Some).map_err(|why| Failure::unusable(name, why.to_string()))
    }

    /// A secret that must be there.
    pub(super) fn needed_secret(&mut self, name: &str) -> Result<Secret, Failure> {
        let blank = self.0.get(name).is_some_and(Value::is_string);
        self.secret(name)?.ok_or_else(|| {
            if blank { Failure::unusable(name, "there is nothing in it") } else { Failure::field(name, "is missing") }
        })
    }

    /// A yes or no, if it is there and not null.
    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Failure::field(name, "must be true or false"))
            }
        }
    }

    /// Reads a text and parses it, if it is there.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Failure> {
        self.text(name)?.map(|text| parse(&text).map_err(|why| Failure::field(name, why.to_string()))).transpose()
    }

    /// The same, where it must be there.
    pub(super) fn needed_parsed<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Result<T, Failure> {
        self.parsed(name, parse)?.ok_or_else(|| Failure::field(name, "is missing"))
    }

    /// An address, if it is there.
    pub(super) fn address(&mut self, name: &str) -> Result<Option<SourceAddr>, Failure> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let address: Ipv6Addr = text.parse().map_err(|_| Failure::field(name, "not an IPv6 address"))?;
        SourceAddr::new(address).map(Some).map_err(|why| Failure::unusable(name, why.to_string()))
    }

    /// A list of short texts, if it is there.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let wrong = || Failure::field(name, "must be a list of texts");
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= LIST_LIMIT => {
                let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(wrong);
                items.iter().map(text).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Addresses of either kind, if they are there: a list of texts.
    pub(super) fn ips(&mut self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let items = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= 2 => items,
            Some(_) => return Err(Failure::field(name, "must be a list of one or two addresses")),
        };
        let read = |item: &Value| {
            let text = item.as_str().ok_or_else(|| Failure::field(name, "has an item that is no text"))?;
            text.trim().parse().map_err(|_| Failure::unusable(name, "has an item that is no IP address"))
        };
        items.iter().map(read).collect()
    }

    /// A prefix that must be there.
    pub(super) fn prefix(&mut self, name: &str) -> Result<Ipv6Net, Failure> {
        let text = self.needed(name)?;
        text.parse().map_err(|_| Failure::unusable(name, "is no IPv6 prefix, such as 2001:db8:a1::/64"))
    }

    /// # Errors
    /// 422 with the names of fields that this call does not have.
    pub(super) fn done(self) -> Result<(), Failure> {
        let mut mistakes = Mistakes::default();
        mistakes.add(self.strange());
        mistakes.none()
    }

    /// Fields that this call does not have.
    pub(super) fn strange(self) -> Vec<Failure> {
        self.0.keys().map(|name| Failure::field(name, "there is no such field")).collect()
    }
}

/// Read an account's name from a path.
///
/// # Errors
/// 404: what cannot be a name is nobody's.
pub(super) fn name(text: &str) -> Result<AccountName, Failure> {
    let none = || Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such account");
    AccountName::parse(text).map_err(|_| none())
}
