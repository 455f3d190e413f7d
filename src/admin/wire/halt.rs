//! Halts, of one account and of all.

use serde::Serialize;
use utoipa::ToSchema;

/// Halt, and why.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct HaltFields {
    pub halted: bool,
    /// For whoever finds the account halted.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub reason: Option<String>,
}

/// The halt of all accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AllHaltedBody {
    /// Are all accounts halted, those to come included?
    pub halted: bool,
    pub reason: Option<String>,
    pub since: Option<String>,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many of them are halted, for whatever reason.
    pub accounts_halted: u64,
    /// How many this call has changed.
    pub changed: u64,
    /// How many of those could not be changed; try again. Their halts are in force.
    pub failed: u64,
}
