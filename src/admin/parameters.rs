//! The parameters of a query, read by their names.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use jiff::Timestamp;

use super::error::Failure;
use super::fields::{PAGE, PAGE_LIMIT};
use crate::domain::AccountName;

/// What a query has. Each name is there once.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let bad = |_| Failure::new(StatusCode::BAD_REQUEST, "bad_request", "the query cannot be read");
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await.map_err(bad)?;
        let mut given = BTreeMap::new();
        for (name, value) in pairs {
            if given.contains_key(&name) {
                return Err(Failure::field(&name, "is given twice"));
            }
            given.insert(name, value);
        }
        Ok(Self(given))
    }
}

impl From<BTreeMap<String, String>> for Parameters {
    fn from(given: BTreeMap<String, String>) -> Self {
        Self(given)
    }
}

impl Parameters {
    /// A parameter, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A parameter that `read` makes something of, if it is there. `what` says what else it must be.
    ///
    /// # Errors
    /// 422 with its name.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        self.take(name).map(|text| read(&text).ok_or_else(|| Failure::field(name, what))).transpose()
    }

    /// An account's name.
    pub(super) fn account(&mut self, name: &str) -> Result<Option<AccountName>, Failure> {
        self.read(name, "is no account's name", |text| AccountName::parse(text).ok())
    }

    /// A moment.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Failure> {
        self.read(name, "is no time such as 2026-11-25T03:45:00Z", |text| text.parse().ok())
    }

    /// Items of a page at most.
    pub(super) fn limit(&mut self) -> Result<usize, Failure> {
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=PAGE_LIMIT).contains(limit));
        Ok(self.read("limit", &format!("is 1 to {PAGE_LIMIT}"), limit)?.unwrap_or(PAGE))
    }

    /// # Errors
    /// 422 with the name of one that this call does not have.
    pub(super) fn done(self) -> Result<(), Failure> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Failure::field(name, "there is no such parameter")),
        }
    }
}
