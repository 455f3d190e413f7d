//! Errors of the admin API, and the one place where they become a status.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::{AccountError, LOGS_IN_BY};
use crate::addressing::AddressingError;
use crate::domain::chain;
use crate::domain::secret::LoginSecret;
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
    /// The field that is wrong, with 422. Of several the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Each field that is wrong, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// One of several fields that are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldProblem {
    /// Its name.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A call that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    errors: Vec<FieldProblem>,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, errors: Vec::new(), retry_after: None }
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
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{field}: {}", why.into())).about(field)
    }
}

impl Failure {
    /// 422 with the field's name, where its form is right and it cannot be used here all the same: the schema cannot
    /// tell.
    pub(super) fn unusable(field: &str, why: impl Into<String>) -> Self {
        Self { code: "unusable", ..Self::field(field, why) }
    }
}

/// What is wrong with the fields of one call, all of it: whoever fills in a form mends it once.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Failure>);

impl Mistakes {
    /// What was read, unless it is wrong.
    pub(super) fn note<T>(&mut self, read: Result<T, Failure>) -> Option<T> {
        read.map_err(|failure| self.0.push(failure)).ok()
    }

    /// What was found in another way.
    pub(super) fn add(&mut self, found: impl IntoIterator<Item = Failure>) {
        self.0.extend(found);
    }

    /// Is something wrong with this field?
    pub(super) fn has(&self, field: &str) -> bool {
        self.0.iter().any(|failure| failure.field.as_deref() == Some(field))
    }

    /// # Errors
    /// All of them as one, which is of the wrong form if any of them is.
    pub(super) fn none(self) -> Result<(), Failure> {
        let mut all = self.0;
        if all.len() < 2 {
            return all.pop().map_or(Ok(()), Err);
        }
        let is_form = all.iter().any(|failure| failure.code == "invalid");
        let detail = all.iter().map(|failure| failure.detail.as_str()).collect::<Vec<_>>().join(". ");
        let errors = all.iter().filter_map(Failure::as_field_problem).collect();
        let first = all.swap_remove(0);
        Err(Failure { code: if is_form { "invalid" } else { first.code }, detail, errors, ..first })
    }
}

impl Failure {
    fn as_field_problem(&self) -> Option<FieldProblem> {
        let field = self.field.clone()?;
        let detail = self.detail.strip_prefix(&format!("{field}: ")).unwrap_or(&self.detail).to_owned();
        Some(FieldProblem { field, detail })
    }

    /// Its body.
    pub(super) fn into_text(self) -> String {
        let problem = Problem {
            r#type: format!("urn:sixgate:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            field: self.field,
            errors: self.errors,
        };
        serde_json::to_string(&problem).unwrap_or_default()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut reply = (status, [(CONTENT_TYPE, "application/problem+json")], self.into_text()).into_response();
        if let Some(wait) = retry_after {
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
            AccountError::IsCustomers(_) => Self::new(StatusCode::CONFLICT, "taken", text).about("client_id"),
            AccountError::TooManyReservations(_) => Self::new(StatusCode::CONFLICT, "too_many", text),
            AccountError::Changed { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "changed_since", text),
            AccountError::Busy(_) | AccountError::LoggingIn(_) => Self::new(StatusCode::CONFLICT, "busy", text),
            AccountError::Invalid { field, why } => Self::unusable(field, why.to_string()),
            AccountError::Lacks(secrets) => {
                let mut mistakes = Mistakes::default();
                mistakes.add(secrets.into_iter().map(lacking));
                mistakes.none().err().unwrap_or_else(cut_short)
            }
            AccountError::Addressing(err) => err.into(),
            AccountError::Store(err) => err.into(),
        }
    }
}

/// A secret has to be given, or the account cannot log in.
pub(super) fn lacking(secret: LoginSecret) -> Failure {
    Failure::unusable(secret.as_str(), LOGS_IN_BY)
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
