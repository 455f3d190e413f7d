//! The fields of a call to the admin API.

use serde_json::{Map, Value};

use crate::domain::Secret;
use crate::domain::secret::ExposeSecret;

/// The fields of a call. No `Debug`: some are secrets.
#[derive(Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Set it if there is one.
    pub(super) fn may(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    pub(super) fn secret(&mut self, name: &str, secret: &Secret) {
        self.set(name, secret.expose_secret());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Self {
        Self::Object(fields.0)
    }
}
