//! Client keys.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::Secret;
use crate::domain::secret::ExposeSecret;

/// A client key to make: `{}` or no body at all will do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct KeyFields {
    /// Whose it is, for people: 1 to 64 characters.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$"
    )]
    pub label: Option<String>,
}

/// A client key: `key` is shown once, when it is made. No `Debug`: it is a secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewKeyBody {
    pub id: String,
    pub key: String,
    pub label: Option<String>,
}

impl NewKeyBody {
    pub(crate) fn show(id: &str, key: &Secret, label: Option<String>) -> Self {
        Self { id: id.to_owned(), key: key.expose_secret().to_owned(), label }
    }
}

/// A client key in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyBody {
    pub id: String,
    pub created_at: String,
    /// Whose it is, for people.
    pub label: Option<String>,
    /// When it last opened something, to the minute; after the gateway was killed, to the hour.
    pub last_used_at: Option<String>,
}
