//! A token that can sign: the header ready, the text at hand for feeds.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};

use super::lifecycle::{Consumer, TokenFacts, TokenSource};
use crate::broker::dhan::token::Claims;
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{ClientId, Secret};
use crate::store::records::TokenRecord;

const UNPRINTABLE: Invalid = Invalid::new("a token has only printable ASCII characters");

/// The text of a token as bytes that are shared.
struct TokenText(Secret);

impl AsRef<[u8]> for TokenText {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

/// A token that can sign.
pub struct LiveToken {
    /// The only copy of its text, which is wiped with the last clone of this.
    header: HeaderValue,
    /// By the broker's clock, where it says so itself.
    issued_at: Option<Timestamp>,
    expires_at: Timestamp,
    source: String,
    generation: u64,
}

impl LiveToken {
    /// A token for `client_id`, checked against what it says of itself.
    ///
    /// # Errors
    /// [`Invalid`] when it is no token, another account's, or over.
    pub fn check(text: &Secret, client_id: &ClientId, now: Timestamp) -> Result<Timestamp, Invalid> {
        let claims = Claims::read(text.expose_secret())?;
        if claims.client_id != *client_id {
            return Err(Invalid::because(format!(
                "this token is for client id {}, and the account's is {client_id}",
                claims.client_id
            )));
        }
        let expires_at = Timestamp::from_second(claims.expires_at)
            .map_err(|_| Invalid::new("the token's exp is no time that can be"))?;
        if expires_at <= now {
            return Err(Invalid::because(format!(
                "this token ended at {expires_at}, and it is {now} now; make a new one on web.dhan.co under My Profile, Access DhanHQ APIs"
            )));
        }
        Ok(expires_at)
    }

    /// A token as it was stored.
    ///
    /// # Errors
    /// [`Invalid`] when its text cannot be a header.
    pub fn new(text: Secret, expires_at: Timestamp, source: String, generation: u64) -> Result<Self, Invalid> {
        let claims = Claims::read(text.expose_secret()).ok();
        let issued_at = claims.and_then(|claims| Timestamp::from_second(claims.issued_at?).ok());
        let header = HeaderValue::from_maybe_shared(Bytes::from_owner(TokenText(text)));
        let mut header = header.ok().filter(|header| header.to_str().is_ok()).ok_or(UNPRINTABLE)?;
        header.set_sensitive(true);
        Ok(Self { header, issued_at, expires_at, source, generation })
    }

    /// The `access-token` header, sensitive.
    pub const fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The token itself, for a feed's query or a login frame.
    pub fn secret(&self) -> Secret {
        // Text it is: without that there is none of these.
        self.header.to_str().unwrap_or_default().into()
    }

    /// Is it so new at `now`, with the broker's clock ahead of it by `skew`, that a refusal
    /// proves little?
    pub(super) fn is_fresh(&self, now: Timestamp, skew: SignedDuration) -> bool {
        self.issued_at.is_some_and(|at| super::lifecycle::is_fresh(at, now, skew))
    }

    /// When it ends.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Where it came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Which token of this account it is, counted from 1.
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for LiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveToken")
            .field("expires_at", &self.expires_at)
            .field("source", &self.source)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// What the life cycle must know of a stored token.
pub fn facts(record: &TokenRecord) -> TokenFacts {
    let claims = Claims::read(record.access_token.expose_secret()).ok();
    let issued_at = claims.as_ref().and_then(|claims| claims.issued_at);
    TokenFacts {
        generation: record.generation,
        issued_at: issued_at.and_then(|at| Timestamp::from_second(at).ok()).unwrap_or(record.stored_at),
        expires_at: Timestamp::from_second(record.expires_at).unwrap_or(Timestamp::MIN),
        consumer: Consumer::from_claim(claims.and_then(|claims| claims.consumer).as_deref()),
        source: TokenSource::from_word(&record.source),
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn token(client_id: &str, exp: i64, more: &str) -> Secret {
        let claims = format!(r#"{{"exp":{exp},"dhanClientId":"{client_id}"{more}}}"#);
        format!("eyJhbGciOiJIUzUxMiJ9.{}.c2lnbmF0dXJl", BASE64URL_NOPAD.encode(claims.as_bytes())).into()
    }

    #[test]
    fn a_token_that_cannot_be_a_header_is_refused_and_one_that_can_is_held_once() {
        let make = |text: &str| LiveToken::new(text.into(), Timestamp::MAX, "manual".into(), 1);
        for text in ["t\u{f6}ken", "two\nlines", "\u{7f}"] {
            assert!(make(text).is_err(), "{text:?}");
        }
        let text = Secret::from("a.b.c");
        let place = text.expose_secret().as_ptr();
        let live = LiveToken::new(text, Timestamp::MAX, "manual".into(), 1).unwrap();
        assert_eq!(live.secret().expose_secret(), "a.b.c");
        assert!(live.header().is_sensitive());
        // What wipes itself is what signs.
        assert_eq!(live.header().clone().as_bytes().as_ptr(), place);
    }

    /// A token of another account would place this caller's orders there; one that we gave
    /// to a caller ourselves opens nothing.
    #[test]
    fn another_accounts_token_an_ended_one_or_our_own_placeholder_is_refused() {
        let id = ClientId::parse("1000000001").unwrap();
        let now = Timestamp::from_second(1000).unwrap();
        assert!(LiveToken::check(&token("1000000001", 2000, ""), &id, now).is_ok());
        assert!(LiveToken::check(&token("1000000001", 2000, r#","iss":"dhan""#), &id, now).is_ok());
        let other = LiveToken::check(&token("1000000002", 2000, ""), &id, now).unwrap_err();
        assert!(other.to_string().contains("1000000002"), "{other}");
        assert!(LiveToken::check(&token("1000000001", 1000, ""), &id, now).is_err());
        let reply = crate::tokens::placeholder::reply("/v2/RenewToken", &id, now).unwrap();
        let placeholder = Secret::from(reply["accessToken"].as_str().unwrap());
        assert!(LiveToken::check(&placeholder, &id, now).unwrap_err().to_string().contains("placeholder"));
    }
}
