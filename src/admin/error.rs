//! Errors of the admin API, and the one place where they become a status.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::AccountError;
use crate::addressing::AddressingError;
use crate::domain::chain;
use crate::store::StoreError;

/// An error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// A word for programs. With 422 `invalid`: its form is wrong, as the schema says; `unusable`: its form is right.
    pub code: String,
    /// The field that is wrong, with 422.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A call that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, retry_after: None }
    }

    /// It is worth another try after so long.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// What happened and what to do.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// It is about this field.
    pub(super) fn about(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// 422 with the field's name.
    pub(super) fn field(field: &str, why: impl Into<String>) -> Self {
        let (detail, field) = (format!("{field}: {}", why.into()), Some(field.to_owned()));
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: "invalid", detail, field, retry_after: None }
    }
}

impl Failure {
    /// 422 with the field's name, where its form is right and it cannot be used here all the same: the schema cannot
    /// tell.
    pub(super) fn unusable(field: &str, why: impl Into<String>) -> Self {
        Self { code: "unusable", ..Self::field(field, why) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = Problem {
            r#type: format!("urn:sixgate:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            field: self.field,
        };
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let mut reply = (self.status, [(CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, and never too early.
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        reply
    }
}

impl From<AccountError> for Failure {
    fn from(err: AccountError) -> Self {
        let text = err.to_string();
        match err {
            AccountError::NoSuchAccount(_) | AccountError::NoSuch(_) | AccountError::NoPair(_) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", text)
            }
            AccountError::NameTaken(_) => Self::new(StatusCode::CONFLICT, "taken", text).about("name"),
            AccountError::ClientIdTaken { .. } => Self::new(StatusCode::CONFLICT, "taken", text).about("client_id"),
            AccountError::HasPair(_) => Self::new(StatusCode::CONFLICT, "taken", text),
            AccountError::TooManyReservations(_) => Self::new(StatusCode::CONFLICT, "too_many", text),
            AccountError::Changed { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "changed_since", text),
            AccountError::Busy(_) => Self::new(StatusCode::CONFLICT, "busy", text),
            AccountError::Invalid { field, why } => Self::unusable(field, why.to_string()),
            AccountError::Addressing(err) => err.into(),
            AccountError::Store(err) => err.into(),
        }
    }
}

impl From<AddressingError> for Failure {
    fn from(err: AddressingError) -> Self {
        let text = err.to_string();
        match err {
            AddressingError::InUse { .. } => Self::new(StatusCode::CONFLICT, "in_use", text),
            AddressingError::NoSuchPool(_) | AddressingError::NeverGiven(_) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", text)
            }
            AddressingError::NoPool => Self::new(StatusCode::CONFLICT, "no_pool", text),
            AddressingError::Exhausted { .. } | AddressingError::NoRoom { .. } => {
                Self::new(StatusCode::CONFLICT, "pool_exhausted", text)
            }
            AddressingError::Taken { .. } | AddressingError::PoolExists(_) | AddressingError::Overlap { .. } => {
                Self::new(StatusCode::CONFLICT, "taken", text)
            }
            AddressingError::NotEmpty { .. } => Self::new(StatusCode::CONFLICT, "not_empty", text),
            AddressingError::Invalid { field, why } => Self::unusable(field, why.to_string()),
            AddressingError::Store(err) => err.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(err: StoreError) -> Self {
        if matches!(err, StoreError::TooLarge { .. }) {
            return Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the fields are too long together");
        }
        if matches!(err, StoreError::Conflict { .. }) {
            return Self::new(StatusCode::CONFLICT, "busy", "somebody else changed this at the same moment; try again");
        }
        let (err_is_full, err_is_disk) = (err.is_full(), matches!(err, StoreError::Io { .. } | StoreError::Closed));
        // The chain names files and the kernel's reason; values never stand in it.
        let detail = format!("the state could not be read or written: {}", chain(&err));
        tracing::error!(error = detail, "the store failed a call");
        if err_is_full {
            let detail = format!(
                "nothing was changed, because the disk of the gateway's state is full: free room there (`df -h`, `df -i`) and \
                 try again. {detail}"
            );
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail);
        }
        if err_is_disk {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", detail);
        }
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", detail)
    }
}

/// The call's own task ended before its reply.
pub(super) fn cut_short() -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "cut_short", "the call was cut short; see the log")
}

pub(super) async fn no_such_route() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such route; see /openapi.json")
}

pub(super) async fn no_such_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this route does not take that method; see /openapi.json",
    )
}
