//! Secrets in memory: redacted in `Debug`, wiped on drop, not `Serialize`.

pub use secrecy::ExposeSecret;

/// A secret text. To see it takes [`ExposeSecret`], which is used only where a
/// login or a signature is made and where a record is sealed.
pub type Secret = secrecy::SecretString;
