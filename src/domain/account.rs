//! Who an account is: our name for it, the broker's id, and how it logs in.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::problem::Invalid;

/// Our name of an account (`alpha`): 1 to 64 of `A-Z a-z 0-9 . _ -`, the first
/// one a letter or digit. No colon, so `name:key` splits in one way only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// # Errors
    /// [`Invalid`] with what a name may look like.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if first && text.len() <= 64 && text.bytes().all(inner) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new("an account name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit"))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for AccountName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The broker's id of an account (`dhanClientId`): 1 to 20 digits. An API key
/// pasted in its place is the most common mistake, so letters are refused here
/// and not by a login three steps later.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// # Errors
    /// [`Invalid`] with what a client id looks like.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new(
                "a Dhan client id is 1 to 20 digits, as shown on web.dhan.co under My Profile (not the API key)",
            ))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes an order write a repeat of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatsBy {
    /// A `correlationId` and an `Idempotency-Key`: each names one order.
    #[default]
    AnyId,
    /// An `Idempotency-Key` alone: the account's correlation ids are labels that many orders share.
    IdempotencyKey,
}

impl RepeatsBy {
    /// The word in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnyId => "any_id",
            Self::IdempotencyKey => "idempotency_key",
        }
    }

    /// # Errors
    /// [`Invalid`] naming the two words.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "any_id" => Ok(Self::AnyId),
            "idempotency_key" => Ok(Self::IdempotencyKey),
            _ => Err(Invalid::new(
                "repeats_by is any_id (each correlationId names one order) or idempotency_key (correlation ids are labels)",
            )),
        }
    }

    /// Is it what an account has that says nothing? Such a one is not written to the store.
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::AnyId)
    }
}

/// What becomes of an account's WebSockets when the broker's side ends for a reason that is not the caller's doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamsMode {
    /// They end with a Close, and the caller connects again: what the broker says is passed on as it came.
    #[default]
    PassOn,
    /// The gateway opens the broker's side again, and the caller's stays open.
    Reconnect,
    /// The same, and callers of the feed that subscribe to the same share one socket of the broker's.
    Share,
}

impl StreamsMode {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::PassOn, Self::Reconnect, Self::Share];

    /// The word in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PassOn => "pass_on",
            Self::Reconnect => "reconnect",
            Self::Share => "share",
        }
    }

    /// # Errors
    /// [`Invalid`] naming the words.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "pass_on" => Ok(Self::PassOn),
            "reconnect" => Ok(Self::Reconnect),
            "share" => Ok(Self::Share),
            _ => Err(Invalid::new(
                "streams is pass_on (a WebSocket whose broker's side ends is closed), reconnect (the gateway opens the \
                 broker's side again) or share (the same, and callers of the feed share the broker's sockets)",
            )),
        }
    }

    /// Is it what an account has that says nothing? Such a one is not written to the store.
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::PassOn)
    }

    /// Is the broker's side opened again when it ends?
    pub const fn reconnects(self) -> bool {
        matches!(self, Self::Reconnect | Self::Share)
    }
}

/// How an account logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Platform {
    /// PIN and TOTP: no daily work.
    #[serde(rename = "DHAN_V2_AT_IPV6")]
    Automatic,
    /// A token pasted by hand, renewed where the broker allows it.
    #[serde(rename = "DHAN_V2_IPV6")]
    Manual,
}

impl Platform {
    /// The platform's name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "DHAN_V2_AT_IPV6",
            Self::Manual => "DHAN_V2_IPV6",
        }
    }

    /// # Errors
    /// [`Invalid`] naming the two platforms.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "DHAN_V2_AT_IPV6" => Ok(Self::Automatic),
            "DHAN_V2_IPV6" => Ok(Self::Manual),
            _ => Err(Invalid::new(
                "a platform is DHAN_V2_AT_IPV6 (PIN and TOTP) or DHAN_V2_IPV6 (a token pasted by hand)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Basic account:key` splits at the first colon, so a colon in a name would
    /// let one account's caller spell another's.
    #[test]
    fn a_name_has_no_colon_blank_or_slash() {
        for bad in ["", "a:b", "a b", "a/b", "-a", ".", "ä", &"x".repeat(65)] {
            assert!(AccountName::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["alpha", "A1", "a.b-c_d", &"x".repeat(64)] {
            assert_eq!(AccountName::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn an_api_key_is_not_a_client_id() {
        assert!(ClientId::parse("0a1b2c3d").is_err());
        assert!(ClientId::parse("").is_err());
        assert!(ClientId::parse("1000000001").is_ok());
    }

    /// The words of the API, the command line and the store are one.
    #[test]
    fn a_mode_of_streams_is_read_as_it_is_shown() {
        for mode in StreamsMode::ALL {
            assert_eq!(StreamsMode::parse(mode.as_str()).unwrap(), mode);
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert!(StreamsMode::parse("Reconnect").unwrap_err().to_string().contains("reconnect"));
    }
}
