//! What pages and forms work on.

use std::sync::Arc;

use axum::Router;
use serde_json::Value;

use super::super::state::Admin;
use super::attention::Attention;
use super::chain_check::ChainCheck;
use super::first_steps::Skipped;
use super::once::Once;
use super::runs::Runs;

/// What pages and forms work on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Console {
    pub(super) admin: Admin,
    /// The `/v1` routes, for what forms change.
    pub(super) api: Router,
    /// The OpenAPI document.
    pub(super) document: Arc<Value>,
    /// What a person is wanted for.
    pub(super) attention: Arc<Attention>,
    /// Whether the journal's chain is whole.
    pub(super) chain: Arc<ChainCheck>,
    /// What of the first run people put off.
    pub(super) skipped: Arc<Skipped>,
    /// Validations that people wait for.
    pub(super) runs: Arc<Runs>,
    /// Forms that were sent and are good for one use.
    pub(super) once: Arc<Once>,
}
