//! The JSON of the admin API. No other module has any; what the broker was asked for
//! is in `broker`.
//!
//! Answers are types; requests are read field by field, so that what is wrong can
//! be told by the field's name and a secret is never quoted back.

mod broker;
mod host;

use std::net::{IpAddr, Ipv6Addr};

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use ipnet::Ipv6Net;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::error::Failure;
use crate::accounts::Account;
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, Pair, Role, Secret, SourceAddr, steady};
use crate::legs::{Leg, Reason};

pub use broker::{AccountChecksBody, AllChecksBody, ChecksBody, RegisteredBody, RegistrationBody, ReplaceFields};
pub use host::HostBody;

/// Items of a page when the call does not say.
const PAGE: usize = 100;
/// Items of a page at most.
const PAGE_LIMIT: usize = 1000;
/// Characters of a text: five secrets of that length fit in one record of the store.
const TEXT_LIMIT: usize = 256;
/// Characters of a token, as many as fit in its record. The broker's have about 300.
const TOKEN_LIMIT: usize = 3500;

/// An error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// A word for programs.
    pub code: String,
    /// The field that is wrong, with 422.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
}

/// A pair of addresses.
#[derive(Debug, Serialize, ToSchema)]
pub struct PairBody {
    #[schema(value_type = String, example = "2001:db8:a1::1")]
    pub primary: Ipv6Addr,
    #[schema(value_type = String, example = "2001:db8:a2::1")]
    pub secondary: Ipv6Addr,
}

impl From<Pair> for PairBody {
    fn from(pair: Pair) -> Self {
        Self { primary: pair.primary.ip(), secondary: pair.secondary.ip() }
    }
}

/// One of an account's two ways out.
#[derive(Debug, Serialize, ToSchema)]
pub struct LegBody {
    /// `primary` or `secondary`.
    pub role: &'static str,
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// `admits`, `tripped` or `probing`.
    pub state: &'static str,
    /// Why it does not admit. Its line: `bind_failed`, `connect_failed`, `connect_timed_out`, `wrong_source`,
    /// `tls_failed`, `tls_timed_out`, `http_failed`; `address_gone`: its address is not on this host; `no_reply`: a read
    /// got no reply by it and one by the other leg, so reads go by that one and orders stay; `source_refused`,
    /// `orders_not_allowed`: the broker takes no orders from its address; `seen_as_another`: the broker sees another
    /// address, so nothing signed goes by it.
    pub reason: Option<&'static str>,
    pub since: String,
    /// Upstream connections open, idle ones included.
    pub connections: usize,
    /// Of these, those that lie ready.
    pub idle_connections: usize,
}

impl From<&Leg> for LegBody {
    fn from(leg: &Leg) -> Self {
        let (state, since) = leg.state();
        let since = jiff::Timestamp::try_from(since).unwrap_or_default();
        Self {
            role: leg.role().as_str(),
            address: leg.source().ip(),
            state: state.as_str(),
            reason: state.reason().map(Reason::as_str),
            since: since.to_string(),
            connections: leg.open(),
            idle_connections: leg.idle(),
        }
    }
}

/// What last went wrong with an account's token, until something goes right.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenProblem {
    /// A word for programs.
    pub code: String,
    /// What happened.
    pub summary: String,
    /// What to do.
    pub action: String,
}

/// Where an account's token stands. Never the token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenBody {
    /// `absent`, `minting`, `live`, `refreshing`, `waiting` or `needs_person`.
    pub state: &'static str,
    pub expires_at: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// What last went wrong, until something goes right.
    pub last_error: Option<TokenProblem>,
    /// The broker's clock minus this host's in seconds, where it is off by more than 2.
    pub clock_skew: Option<f64>,
}

impl TokenBody {
    pub fn of(account: &Account) -> Self {
        let last = account.token.last();
        let standing = account.token.standing();
        let last_error = standing.trouble.as_ref().map(|trouble| TokenProblem {
            code: trouble.code.to_string(),
            summary: trouble.summary.to_string(),
            action: trouble.action.replace("{name}", account.name.as_str()),
        });
        Self {
            state: standing.word(),
            expires_at: last.as_ref().map(|token| token.expires_at().to_string()),
            source: last.as_ref().map(|token| token.source().to_owned()),
            last_error,
            clock_skew: steady::brokers_ahead_of_host().map(|skew| skew.as_secs_f64()).filter(|skew| skew.abs() > 2.0),
        }
    }
}

const HALT_UNSAVED: &str = "the account is halted now, but that could not be saved (most often the disk is full): a restart \
    would end the halt. It is saved by itself as soon as the state can be written";

/// An account. Its secrets are write-only.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountBody {
    pub name: String,
    pub nickname: Option<String>,
    /// `DHAN_V2_AT_IPV6` or `DHAN_V2_IPV6`.
    pub platform: &'static str,
    pub client_id: String,
    pub pair: Option<PairBody>,
    pub legs: Vec<LegBody>,
    pub token: TokenBody,
    pub halted: bool,
    /// Why, and since when.
    pub halt_reason: Option<String>,
    pub halted_since: Option<String>,
    /// Set while the halt is in force and could not be saved: a restart would end it.
    pub halt_warning: Option<&'static str>,
    /// The leg it is pinned to; null when its legs' health decides.
    pub pin: Option<&'static str>,
    /// `any_id`: a `correlationId` names one order. `idempotency_key`: correlation ids are labels.
    pub repeats_by: &'static str,
    /// How many order writes of today were answered with what became of an earlier one.
    pub repeats_today: u64,
    pub created_at: String,
}

impl From<&Account> for AccountBody {
    fn from(account: &Account) -> Self {
        let legs = account.legs.as_ref();
        Self {
            name: account.name.to_string(),
            nickname: account.record.nickname.clone(),
            platform: account.record.platform.as_str(),
            client_id: account.record.client_id.to_string(),
            pair: legs.map(|legs| legs.pair().into()),
            legs: legs.map(|legs| legs.both().into_iter().map(LegBody::from).collect()).unwrap_or_default(),
            token: TokenBody::of(account),
            halted: account.record.halted.is_some(),
            halt_reason: account.record.halted.as_ref().map(|halt| halt.reason.clone()),
            halted_since: account.record.halted.as_ref().map(|halt| halt.since.to_string()),
            halt_warning: account.halt_unsaved.then_some(HALT_UNSAVED),
            pin: account.record.pin.map(Role::as_str),
            repeats_by: account.record.repeats_by.as_str(),
            repeats_today: account.repeats.today(jiff::Timestamp::now()),
            created_at: account.record.created_at.to_string(),
        }
    }
}

/// The fields of `POST /v1/accounts`; `PATCH` takes any of them but `name`.
/// Only for the document: requests are read by [`Fields`].
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct AccountFields {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    pub nickname: Option<String>,
    /// `DHAN_V2_AT_IPV6` (PIN and TOTP) or `DHAN_V2_IPV6` (a token pasted by hand).
    pub platform: String,
    /// The broker's `dhanClientId`: digits.
    pub client_id: String,
    /// 4 to 6 digits. Write-only.
    pub pin: Option<String>,
    /// Base32, as the broker shows it. Write-only.
    pub totp_secret: Option<String>,
    /// Write-only.
    pub phone: Option<String>,
    /// Write-only.
    pub api_key: Option<String>,
    /// Write-only.
    pub api_secret: Option<String>,
    /// A live token. Write-only.
    pub access_token: Option<String>,
    /// What makes an order write a repeat: `any_id`, or `idempotency_key` where correlation ids are labels that
    /// many orders share.
    pub repeats_by: Option<String>,
}

/// `{}`, `{"pool"}` or `{"primary", "secondary"}`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct PairFields {
    pub pool: Option<String>,
    #[schema(value_type = Option<String>)]
    pub primary: Option<Ipv6Addr>,
    #[schema(value_type = Option<String>)]
    pub secondary: Option<Ipv6Addr>,
}

/// A token given by hand.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct TokenFields {
    /// Write-only.
    pub access_token: String,
}

/// Halt, and why.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct HaltFields {
    pub halted: bool,
    /// For whoever finds the account halted.
    pub reason: Option<String>,
}

/// Which leg an account is to use.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct LegFields {
    /// `primary`, `secondary` or `auto`.
    pub pin: String,
}

/// How to refresh a token: `{}` or no body at all will do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct RefreshFields {
    /// The cause of refused logins is mended outside (the PIN changed back at the broker, the
    /// account unlocked): one more try, although two were refused.
    pub vouched: Option<bool>,
}

/// What a person brought back from the broker's page; `{}` or no body asks for a link there.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct ConsentFields {
    /// `tokenId` of the address that the broker's page led to, for a browser that cannot
    /// reach `/auth/dhan`. Write-only.
    pub token_id: Option<String>,
}

/// A login by the broker's page: a link to it, or what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsentBody {
    /// Open it in a browser: it leads to the broker's page and from there back here.
    pub login_url: Option<String>,
    /// The broker's page itself, for a browser that cannot reach this listener.
    pub broker_url: Option<String>,
    /// Links that may be made today; the broker allows 25.
    pub consents_left: Option<u32>,
    pub token: TokenBody,
}

/// Nothing: `{}` or no body at all.
#[derive(ToSchema)]
pub struct NoFields {}

/// A client key: `key` is shown once, when it is made. No `Debug`: it is a secret.
#[derive(Serialize, ToSchema)]
pub struct NewKeyBody {
    pub id: String,
    pub key: String,
}

impl NewKeyBody {
    pub fn show(id: &str, key: &Secret) -> Self {
        Self { id: id.to_owned(), key: key.expose_secret().to_owned() }
    }
}

/// A client key in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyBody {
    pub id: String,
    pub created_at: String,
}

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolBody {
    pub name: String,
    #[schema(value_type = String, example = "2001:db8:a1::/64")]
    pub primary: Ipv6Net,
    #[schema(value_type = String, example = "2001:db8:a2::/64")]
    pub secondary: Ipv6Net,
    /// Pairs it can give in all, as a decimal text: it can be more than a number holds.
    pub capacity: String,
    /// Pairs that accounts have whose primary is in it.
    pub assigned: u64,
}

/// A pool to make.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct PoolFields {
    pub name: String,
    #[schema(value_type = String, example = "2001:db8:a1::/64")]
    pub primary: Ipv6Net,
    #[schema(value_type = String, example = "2001:db8:a2::/64")]
    pub secondary: Ipv6Net,
}

/// Parts of a path. What is not even UTF-8 is nobody's name: 404.
#[derive(Debug)]
pub struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let none = |_| Failure::new(StatusCode::NOT_FOUND, "not_found", "a name in the path is not UTF-8");
        Path::from_request_parts(parts, state).await.map(|Path(parts)| Self(parts)).map_err(none)
    }
}

/// Where a page begins and how long it is.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: usize,
    /// `next` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<AccountName>,
}

impl Paging {
    /// # Errors
    /// 422 with the name of the parameter. Names and numbers need no escapes, so
    /// there is nothing to decode.
    pub fn read(query: Option<&str>) -> Result<Self, Failure> {
        let mut paging = Self { limit: PAGE, cursor: None };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_LIMIT).contains(limit));
                    paging.limit = limit.ok_or_else(|| Failure::field(name, format!("is 1 to {PAGE_LIMIT}")))?;
                }
                "cursor" => {
                    let cursor = AccountName::parse(value);
                    paging.cursor = Some(cursor.map_err(|_| Failure::field(name, "is none of this list's"))?);
                }
                other => return Err(Failure::field(other, "there is no such parameter")),
            }
        }
        Ok(paging)
    }
}

/// Lines of the order journal.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrdersBody {
    /// As they stand in the journal.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Box<serde_json::value::RawValue>>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
    /// Lines that cannot be read; `sixgate journal verify` says what is wrong with them.
    pub unreadable: u64,
}

/// Which lines of the journal. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub struct OrderFilter {
    pub account: Option<String>,
    /// From this instant on (RFC 3339).
    pub since: Option<String>,
    /// Before this instant.
    pub until: Option<String>,
    /// `not_sent`, `rejected`, `executed` or `unknown`.
    pub outcome: Option<String>,
    /// `intent`, `outcome` or `note`.
    pub kind: Option<String>,
    pub order_id: Option<String>,
    pub correlation_id: Option<String>,
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// A request's JSON object, read field by field. No `Debug`: it holds secrets.
pub struct Fields(Map<String, Value>);

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
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(bad("the body must be a JSON object".to_owned())),
            // The parser's text may quote the body; its place is enough.
            Err(err) => Err(bad(format!("the body is not JSON (line {}, column {})", err.line(), err.column()))),
        }
    }

    /// A text, if it is there and not null.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        self.up_to(TEXT_LIMIT, name)
    }

    fn up_to(&mut self, limit: usize, name: &str) -> Result<Option<String>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().nth(limit).is_some() => {
                Err(Failure::field(name, format!("is longer than {limit} characters")))
            }
            Some(Value::String(text)) if text.trim().chars().any(char::is_control) => {
                Err(Failure::field(name, "has control characters in it"))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Failure::field(name, "must be a text"))
            }
        }
    }

    /// A text that must be there.
    pub fn needed(&mut self, name: &str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| Failure::field(name, "is missing"))
    }

    /// A secret text, blanks around it removed, if it is there and not empty.
    pub fn secret(&mut self, name: &str) -> Result<Option<Secret>, Failure> {
        Ok(self.text(name)?.and_then(trimmed))
    }

    /// A yes or no, if it is there and not null.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Failure::field(name, "must be true or false"))
            }
        }
    }

    /// A token: a secret that is longer.
    pub fn token(&mut self, name: &str) -> Result<Option<Secret>, Failure> {
        Ok(self.up_to(TOKEN_LIMIT, name)?.and_then(trimmed))
    }

    /// A text through a parser.
    pub fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Result<Option<T>, Failure> {
        self.text(name)?.map(|text| parse(&text).map_err(|why| Failure::field(name, why.to_string()))).transpose()
    }

    /// An address, if it is there.
    pub fn address(&mut self, name: &str) -> Result<Option<SourceAddr>, Failure> {
        self.parsed(name, SourceAddr::parse)
    }

    /// Addresses of either kind, if they are there: a list of texts.
    pub fn ips(&mut self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let items = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= 2 => items,
            Some(_) => return Err(Failure::field(name, "must be a list of one or two addresses")),
        };
        let address = |item: &Value| item.as_str()?.trim().parse().ok();
        let addresses: Option<Vec<IpAddr>> = items.iter().map(address).collect();
        addresses.ok_or_else(|| Failure::field(name, "has an item that is no IP address"))
    }

    /// A prefix that must be there.
    pub fn prefix(&mut self, name: &str) -> Result<Ipv6Net, Failure> {
        let text = self.needed(name)?;
        text.parse().map_err(|_| Failure::field(name, "is no IPv6 prefix, such as 2001:db8:a1::/64"))
    }

    /// # Errors
    /// 422 with the name of a field that this call does not have.
    pub fn done(self) -> Result<(), Failure> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Failure::field(name, "there is no such field")),
        }
    }
}

fn trimmed(text: String) -> Option<Secret> {
    let text = zeroize::Zeroizing::new(text);
    let inner = text.trim();
    (!inner.is_empty()).then(|| Secret::from(inner))
}

/// Read an account's name from a path.
///
/// # Errors
/// 404: what cannot be a name is nobody's.
pub fn name(text: &str) -> Result<AccountName, Failure> {
    let none = || Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such account");
    AccountName::parse(text).map_err(|_| none())
}
