//! The live token of an account.
//!
//! For now a token comes from a person (`PUT /v1/accounts/{name}/token`, or
//! `access_token` when the account is made). What signs a request is one atomic
//! load away: a header value that is ready and marked sensitive.

pub mod lifecycle;
pub mod login;
pub mod placeholder;
pub mod registration;
pub mod validate;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use jiff::Timestamp;

use crate::broker::dhan::token::Claims;
use crate::domain::problem::Invalid;
use crate::domain::secret::ExposeSecret;
use crate::domain::{ClientId, Platform, Secret};

/// A token that can sign.
pub struct LiveToken {
    header: HeaderValue,
    text: Secret,
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
                "this token ended at {expires_at}; make a new one on web.dhan.co under My Profile, Access DhanHQ APIs"
            )));
        }
        Ok(expires_at)
    }

    /// A token as it was stored.
    ///
    /// # Errors
    /// [`Invalid`] when its text cannot be a header.
    pub fn new(text: Secret, expires_at: Timestamp, source: String, generation: u64) -> Result<Self, Invalid> {
        let mut header = HeaderValue::from_str(text.expose_secret())
            .map_err(|_| Invalid::new("a token has only printable ASCII characters"))?;
        header.set_sensitive(true);
        Ok(Self { header, text, expires_at, source, generation })
    }

    /// The `access-token` header, sensitive.
    pub const fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The token itself, for a feed's query or a login frame.
    pub const fn secret(&self) -> &Secret {
        &self.text
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

/// Where an account's token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// None yet.
    Absent,
    /// One that signs.
    Live,
    /// Nothing goes on until a person gives one.
    NeedsPerson,
}

impl TokenState {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Live => "live",
            Self::NeedsPerson => "needs_person",
        }
    }
}

/// Why there is no token to sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// A word for programs.
    pub code: &'static str,
    /// What happened.
    pub summary: String,
    /// What to do.
    pub action: &'static str,
}

const GIVE_A_TOKEN: &str =
    "make a token on web.dhan.co (My Profile, Access DhanHQ APIs) and give it by PUT /v1/accounts/{name}/token";

/// The place of an account's token. Shared by every row of the account, so a
/// request in flight sees a new token at once.
#[derive(Debug, Default)]
pub struct TokenCell(ArcSwapOption<LiveToken>);

impl TokenCell {
    /// Swap the token. Older generations never replace newer ones.
    pub fn set(&self, token: LiveToken) {
        let token = Arc::new(token);
        self.0.rcu(|old| match old {
            Some(old) if old.generation > token.generation => Some(Arc::clone(old)),
            Some(_) | None => Some(Arc::clone(&token)),
        });
    }

    /// What there is, live or not.
    pub fn last(&self) -> Option<Arc<LiveToken>> {
        self.0.load_full()
    }

    /// The token to sign with at `now`.
    ///
    /// # Errors
    /// [`Unavailable`] with what to do.
    pub fn live(&self, now: Timestamp) -> Result<Arc<LiveToken>, Unavailable> {
        match self.0.load_full() {
            Some(token) if token.expires_at > now => Ok(token),
            Some(token) => Err(Unavailable {
                code: "token_expired",
                summary: format!("the access token ended at {}", token.expires_at),
                action: GIVE_A_TOKEN,
            }),
            None => Err(Unavailable {
                code: "token_absent",
                summary: "this account has no access token yet".to_owned(),
                action: GIVE_A_TOKEN,
            }),
        }
    }

    /// Where it stands at `now`.
    pub fn state(&self, platform: Platform, now: Timestamp) -> TokenState {
        match (self.live(now), platform) {
            (Ok(_), _) => TokenState::Live,
            (Err(_), Platform::Manual) => TokenState::NeedsPerson,
            (Err(_), Platform::Automatic) => TokenState::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn token(client_id: &str, exp: i64) -> Secret {
        let claims = format!(r#"{{"exp":{exp},"dhanClientId":"{client_id}"}}"#);
        format!("eyJhbGciOiJIUzUxMiJ9.{}.c2lnbmF0dXJl", BASE64URL_NOPAD.encode(claims.as_bytes())).into()
    }

    fn live(generation: u64) -> LiveToken {
        let text = format!("token-{generation}");
        LiveToken::new(text.into(), Timestamp::from_second(2000).unwrap(), "manual".into(), generation).unwrap()
    }

    /// A token of another account would place this caller's orders there.
    #[test]
    fn another_accounts_token_or_an_ended_one_is_refused() {
        let id = ClientId::parse("1000000001").unwrap();
        let now = Timestamp::from_second(1000).unwrap();
        assert!(LiveToken::check(&token("1000000001", 2000), &id, now).is_ok());
        let other = LiveToken::check(&token("1000000002", 2000), &id, now).unwrap_err();
        assert!(other.to_string().contains("1000000002"), "{other}");
        assert!(LiveToken::check(&token("1000000001", 1000), &id, now).is_err());
    }

    #[test]
    fn a_token_never_shows_in_debug_and_an_older_one_never_wins() {
        let cell = TokenCell::default();
        cell.set(live(2));
        cell.set(live(1));
        assert_eq!(cell.last().unwrap().generation(), 2);
        assert!(!format!("{cell:?}").contains("token-2"), "{cell:?}");
        let header = cell.last().unwrap().header().clone();
        assert!(!format!("{header:?}").contains("token-2"));
    }

    #[test]
    fn a_token_signs_until_it_ends() {
        let cell = TokenCell::default();
        let at = |s| Timestamp::from_second(s).unwrap();
        assert_eq!(cell.live(at(1)).unwrap_err().code, "token_absent");
        cell.set(live(1));
        assert!(cell.live(at(1999)).is_ok());
        assert_eq!(cell.live(at(2000)).unwrap_err().code, "token_expired");
        assert_eq!(cell.state(Platform::Manual, at(2000)), TokenState::NeedsPerson);
    }
}
