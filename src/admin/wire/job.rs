//! The job that validates every account.

use serde::Serialize;
use utoipa::ToSchema;

/// How far the job is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobBody {
    /// Who asked for it.
    pub by: String,
    pub started_at: String,
    /// Null while it runs.
    pub ended_at: Option<String>,
    /// Did somebody stop it?
    pub stopped: bool,
    /// Accounts in all.
    pub total: u64,
    /// Accounts that were looked at.
    pub done: u64,
    /// Of these those that are not ready.
    pub not_ready: u64,
    /// About how long it will take still.
    pub seconds_left: Option<u64>,
    pub causes: Vec<CauseBody>,
}

/// Accounts that are not ready for one cause.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CauseBody {
    /// The check that stands for all that are not as they should be.
    pub check: &'static str,
    /// `failed` or `unknown`.
    pub result: &'static str,
    pub accounts: u64,
    /// The first of them, 20 at most.
    pub first: Vec<String>,
}
