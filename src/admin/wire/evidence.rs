//! Parameters of `/v1/evidence`.

use utoipa::IntoParams;

/// Which lines. Only for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct EvidenceFilter {
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub account: String,
    /// From this instant on (RFC 3339); from the oldest line that is kept when not given.
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<String>,
    /// Before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<String>,
}
