//! What is known of an account and its token, and what went wrong.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::Platform;

/// What an account has to log in with. It can change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginMethods {
    /// How the account logs in.
    pub platform: Platform,
    /// It has a PIN and a TOTP secret.
    pub pin_totp: bool,
    /// It has an API key and secret, so a person can log in by the broker's page.
    pub consent: bool,
    /// It has a pair. Without one there is nothing to send a login from.
    pub pair: bool,
}

/// Who made a token, as its `tokenConsumerType` says. It decides whether the broker renews it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consumer {
    /// `SELF`: by a person on the broker's page. Only these are renewed.
    SelfMade,
    /// `APP`: by PIN and TOTP or by consent.
    App,
    /// The token does not say. Not renewed: nobody measured what happens to it.
    Unknown,
}

impl Consumer {
    /// From the claim `tokenConsumerType`.
    pub fn from_claim(claim: Option<&str>) -> Self {
        match claim {
            Some("SELF") => Self::SelfMade,
            Some("APP") => Self::App,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// How we came by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// A person gave it.
    Manual,
    /// PIN and TOTP.
    PinTotp,
    /// A person logged in by the broker's page.
    Consent,
    /// `RenewToken`.
    Renewal,
}

impl TokenSource {
    /// The word in the API, as in `token.source`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::PinTotp => "pin_totp",
            Self::Consent => "consent",
            Self::Renewal => "renewal",
        }
    }

    /// From the word. Whatever else it says, a person gave it.
    pub fn from_word(word: &str) -> Self {
        [Self::PinTotp, Self::Consent, Self::Renewal]
            .into_iter()
            .find(|source| source.as_str() == word)
            .unwrap_or(Self::Manual)
    }
}

/// What must be known of a token to keep it alive. Never the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// Which token of this account it is. The keeper counts; it only ever grows.
    pub generation: u64,
    /// When it was made, on the broker's clock: the JWT's `iat`, else when we got it.
    pub issued_at: Timestamp,
    /// When it ends, on the broker's clock: the JWT's `exp`.
    pub expires_at: Timestamp,
    /// Who made it.
    pub consumer: Consumer,
    /// How we came by it.
    pub source: TokenSource,
}

/// The code of what is told of another program that makes tokens for the account.
pub const ANOTHER_LOGS_IN: &str = "another_program_logs_in";

/// What went wrong, as `last_error` of the API shows it. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A word for programs.
    pub code: Cow<'static, str>,
    /// One sentence: what happened.
    pub summary: Cow<'static, str>,
    /// One sentence: what to do.
    pub action: Cow<'static, str>,
}

impl Trouble {
    /// A trouble that is known at compile time.
    pub const fn new(code: &'static str, summary: &'static str, action: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), summary: Cow::Borrowed(summary), action: Cow::Borrowed(action) }
    }
}
