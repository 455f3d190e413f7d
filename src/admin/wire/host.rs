//! Bodies about the machine.

use serde::Serialize;
use utoipa::ToSchema;

use crate::host::{Finding, Report};

/// What the host lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostBody {
    /// When the last check was made; null before the first is done.
    pub checked_at: Option<String>,
    pub findings: Vec<FindingBody>,
}

/// One thing that the host lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FindingBody {
    /// A word that does not change, such as `no_route`.
    pub id: &'static str,
    /// `error`: something cannot trade until it is mended. `warning`: it is worth mending.
    pub severity: &'static str,
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub fix: String,
}

impl From<&Finding> for FindingBody {
    fn from(finding: &Finding) -> Self {
        let Finding { id, severity, what, why, fix, about: _ } = finding.clone();
        Self { id, severity: severity.as_str(), what, why, fix }
    }
}

impl From<Option<&Report>> for HostBody {
    fn from(report: Option<&Report>) -> Self {
        Self {
            checked_at: report.map(|report| report.checked_at.to_string()),
            findings: report.iter().flat_map(|report| &report.findings).map(FindingBody::from).collect(),
        }
    }
}
