//! Bodies about the machine.

use serde::Serialize;
use utoipa::ToSchema;

use crate::host::{Examination, Examined, Finding, Outcome, Report};

/// What the host lacks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostBody {
    /// When the last check was made; null before the first is done.
    pub checked_at: Option<String>,
    pub findings: Vec<FindingBody>,
    /// The last examination that was asked for; null before the first.
    pub examination: Option<ExaminationBody>,
}

/// All checks of a host, made once.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExaminationBody {
    /// When it was done.
    checked_at: String,
    /// What configures this host's network: `netplan`, `systemd-networkd`, `NetworkManager`, `ifupdown`, `systemd` or `ip`.
    system: &'static str,
    /// Did no check fail?
    ok: bool,
    /// In the order of their numbers.
    checks: Vec<HostCheckBody>,
}

/// One check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostCheckBody {
    /// Its number in the documentation.
    number: u8,
    /// A word that does not change, such as `no_route`.
    id: &'static str,
    /// `addresses`, `lines`, `names`, `limits` or `gateway`.
    group: &'static str,
    /// The question.
    title: &'static str,
    /// `ok`, `warning`, `failed`, or `unknown` where it could not be seen.
    result: &'static str,
    /// What was found, or why nothing could be seen.
    found: String,
    /// What is wrong, with what to do. Empty where nothing is.
    findings: Vec<FindingBody>,
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
    /// What mends it, to be run as root in this order. What only a person can know stands in capitals, such as `GATEWAY`.
    /// Empty where no command can, or none was worked out.
    pub commands: Vec<String>,
}

impl From<&Finding> for FindingBody {
    fn from(finding: &Finding) -> Self {
        let Finding { id, severity, what, why, fix, about: _, commands } = finding.clone();
        Self { id, severity: severity.as_str(), what, why, fix, commands }
    }
}

impl HostBody {
    pub(crate) fn of(report: Option<&Report>, examination: Option<&Examination>) -> Self {
        Self {
            checked_at: report.map(|report| report.checked_at.to_string()),
            findings: report.iter().flat_map(|report| &report.findings).map(FindingBody::from).collect(),
            examination: examination.map(ExaminationBody::from),
        }
    }
}

impl From<&Examination> for ExaminationBody {
    fn from(examination: &Examination) -> Self {
        Self {
            checked_at: examination.checked_at.to_string(),
            system: examination.system,
            ok: examination.count(Outcome::Failed) == 0,
            checks: examination.checks.iter().map(HostCheckBody::from).collect(),
        }
    }
}

impl From<&Examined> for HostCheckBody {
    fn from(one: &Examined) -> Self {
        let check = one.check;
        Self {
            number: check.number,
            id: check.id,
            group: check.group.as_str(),
            title: check.title,
            result: one.outcome.as_str(),
            found: one.found.clone(),
            findings: one.findings.iter().map(FindingBody::from).collect(),
        }
    }
}
