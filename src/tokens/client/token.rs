//! Replies that bring a token, or the link to one.

use http::StatusCode;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::call::HttpReply;
use super::refusal::{for_a_person, unreadable};
use crate::broker::dhan::errors::{self, Context, Reply};
use crate::broker::dhan::token::Claims;
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{Authority, ClientId, Secret, india};
use crate::tokens::lifecycle::{Consumer, Refusal, TokenFacts, TokenSource, Trouble};

/// Where a person logs in, at the login host.
const CONSENT_PAGE: &str = "/login/consentApp-login";
/// A reply's `expiryTime` further from the token's own `exp` than this is told.
const AGREES: SignedDuration = SignedDuration::from_mins(5);
/// Times before this are no milliseconds since 1970 but seconds (it is 1973 in one
/// and 5138 in the other).
const LEAST_MILLISECONDS: i64 = 100_000_000_000;

/// A token that the broker has just made for this account.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token itself.
    pub token: Secret,
    /// When it was made, on the broker's clock: its `iat`, else now.
    pub issued_at: Timestamp,
    /// When it ends, on the broker's clock: its `exp`.
    pub expires_at: Timestamp,
    /// Who made it, as it says.
    pub consumer: Consumer,
}

impl Minted {
    /// As the life cycle takes it, numbered by the keeper.
    pub const fn facts(&self, generation: u64, source: TokenSource) -> TokenFacts {
        let Self { issued_at, expires_at, consumer, .. } = self;
        TokenFacts { generation, issued_at: *issued_at, expires_at: *expires_at, consumer: *consumer, source }
    }
}

/// A login link, for the person who owns the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentLink {
    /// The broker's id of the consent.
    pub consent_app_id: String,
    /// Where the person logs in.
    pub url: String,
}

/// The fields of a login's reply that matter here. The token goes from the parser into
/// a [`Secret`]; nothing else of the reply is kept.
#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "accessToken")]
    access_token: Option<Secret>,
    #[serde(rename = "expiryTime")]
    expiry_time: Option<Value>,
}

/// The token of a reply that is no refusal. `now` is the broker's.
pub(super) fn minted(answer: &HttpReply, client_id: &ClientId, now: Timestamp) -> Result<Minted, Refusal> {
    let mut json = serde_json::Deserializer::from_slice(&answer.body);
    let wire = Wire::deserialize(&mut json).map_err(|_| unreadable())?;
    let token = wire.access_token.filter(|token| !token.expose_secret().is_empty()).ok_or_else(unreadable)?;
    let claims = Claims::read(token.expose_secret()).map_err(|why| {
        tracing::error!(account = %client_id, %why, "the broker made a token that cannot be read");
        for_a_person(Trouble {
            code: "token_unreadable".into(),
            summary: format!("The broker made a token that cannot be read: {why}").into(),
            action: "Give the account a token by hand, and report this".into(),
        })
    })?;
    if claims.client_id != *client_id {
        tracing::error!(account = %client_id, token_of = %claims.client_id,
            "the broker answered a login with another account's token; it was thrown away");
        return Err(for_a_person(Trouble {
            code: "token_of_another_account".into(),
            summary: format!("The login of client id {client_id} brought a token of {}", claims.client_id).into(),
            action: "Check whose PIN, TOTP secret and API key the account has; its token was thrown away".into(),
        }));
    }
    let ended = || {
        tracing::error!(account = %client_id, exp = claims.expires_at, "the broker made a token that has ended already");
        for_a_person(Trouble::new(
            "token_ended_already",
            "The broker made a token that has ended already",
            "Check the host's clock (validate shows the difference), and log in again",
        ))
    };
    let expires_at = Timestamp::from_second(claims.expires_at).map_err(|_| ended())?;
    if expires_at <= now {
        return Err(ended());
    }
    let said = wire.expiry_time.as_ref().and_then(expiry);
    if let Some(said) = said.filter(|said| said.duration_since(expires_at).abs() > AGREES) {
        tracing::warn!(account = %client_id, %expires_at, %said,
            "a login's reply and its token do not agree on the token's end; the token's own is taken");
    }
    let issued_at = claims.issued_at.and_then(|iat| Timestamp::from_second(iat).ok()).unwrap_or(now);
    Ok(Minted { token, issued_at, expires_at, consumer: Consumer::from_claim(claims.consumer.as_deref()) })
}

/// When a reply says that its token ends: India's wall clock with or without a
/// fraction, milliseconds or seconds since 1970, or a time with its offset.
fn expiry(value: &Value) -> Option<Timestamp> {
    let number = |number: i64| {
        if number < LEAST_MILLISECONDS {
            Timestamp::from_second(number).ok()
        } else {
            Timestamp::from_millisecond(number).ok()
        }
    };
    match value {
        Value::Number(n) => number(n.as_i64()?),
        Value::String(text) => {
            let text = text.trim();
            let digits = text.parse().ok().and_then(number);
            let local = || text.parse::<DateTime>().ok().map(india::instant);
            digits.or_else(|| text.parse().ok()).or_else(local)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The link of a reply that is no refusal.
pub(super) fn consent_link(answer: &HttpReply, auth: &Authority) -> Result<ConsentLink, Refusal> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(rename = "consentAppId")]
        id: Option<String>,
    }
    let mut json = serde_json::Deserializer::from_slice(&answer.body);
    let id = Wire::deserialize(&mut json).ok().and_then(|wire| wire.id);
    // It goes into a link that a person will open.
    let id = id.filter(|id| check_token_id(id).is_ok()).ok_or_else(unreadable)?;
    let host = if auth.port == 443 { auth.host.to_string() } else { auth.to_string() };
    Ok(ConsentLink { url: format!("https://{host}{CONSENT_PAGE}?consentAppId={id}"), consent_app_id: id })
}

/// Does this reply refuse the verb it was asked by? Then nothing was done.
pub(super) fn refuses_verb(answer: &HttpReply) -> bool {
    match StatusCode::from_u16(answer.status) {
        Ok(StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED) => true,
        // As the API answers a wrong verb (measured for RenewToken).
        Ok(StatusCode::BAD_REQUEST) => {
            let reply = Reply { status: 400, content_type: answer.content_type.as_deref(), body: &answer.body };
            let found = errors::classify(&reply, Context::Consent);
            found.is_some_and(|found| found.broker_code.as_deref() == Some("DH-905"))
        }
        Ok(_) | Err(_) => false,
    }
}

/// Is this what a `tokenId` can look like? It comes from a browser's address line, and
/// goes into ours.
///
/// # Errors
/// [`Invalid`]; never quotes it.
pub fn check_token_id(text: &str) -> Result<(), Invalid> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = (8..=128).contains(&text.len()) && text.bytes().all(fits);
    good.then_some(()).ok_or(Invalid::new("a tokenId is 8 to 128 letters, digits and . _ -"))
}
