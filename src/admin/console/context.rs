//! What pages and forms work on.

use std::sync::Arc;

use axum::Router;
use serde_json::Value;

use super::super::state::Admin;

/// What pages and forms work on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Console {
    pub(super) admin: Admin,
    /// The `/v1` routes, for what forms change.
    pub(super) api: Router,
    /// The OpenAPI document.
    pub(super) document: Arc<Value>,
}
