//! Secrets in memory: redacted in `Debug`, wiped on drop, not `Serialize`.

pub use secrecy::ExposeSecret;

/// A secret text. To see it takes [`ExposeSecret`], which is used only where a
/// login or a signature is made and where a record is sealed.
pub type Secret = secrecy::SecretString;

/// The secrets of a login, by the names that the API has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginSecret {
    /// The broker's PIN.
    Pin,
    /// The seed of the one-time codes.
    TotpSecret,
    /// The phone number.
    Phone,
    /// The key for consents.
    ApiKey,
    /// The secret that goes with it.
    ApiSecret,
}

impl LoginSecret {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pin, Self::TotpSecret, Self::Phone, Self::ApiKey, Self::ApiSecret];

    /// The word in the API and in the store. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::TotpSecret => "totp_secret",
            Self::Phone => "phone",
            Self::ApiKey => "api_key",
            Self::ApiSecret => "api_secret",
        }
    }

    /// The secret of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|secret| secret.as_str() == text)
    }
}
