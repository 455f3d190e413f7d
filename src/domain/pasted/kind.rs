//! The kinds of secrets that people have.

use crate::domain::secret::LoginSecret;

/// What a text is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A secret of a login.
    Login(LoginSecret),
    /// An access token of the broker's, which is a JWT (RFC 7519).
    AccessToken,
    /// A key or token that the gateway or an operator made. It is any text without control characters: only what stands
    /// around it goes.
    Key,
}

impl Kind {
    /// The kind of the field of that name in the admin API, if it is a secret's.
    pub fn of_field(name: &str) -> Option<Self> {
        match name {
            "access_token" => Some(Self::AccessToken),
            name => LoginSecret::parse(name).map(Self::Login),
        }
    }
}
