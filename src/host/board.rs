//! What the last self-check found, for whoever wants to see it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Finding, Severity};

/// One self-check.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was made.
    pub checked_at: Timestamp,
    /// What this host lacks; nothing, as far as could be found out, where it is empty.
    pub findings: Vec<Finding>,
}

/// Holds the last report, and the wish for another.
#[derive(Debug, Default)]
pub struct Board {
    last: ArcSwapOption<Report>,
    wanted: Notify,
}

impl Board {
    /// The last report; none before the first check was done.
    pub fn last(&self) -> Option<Arc<Report>> {
        self.last.load_full()
    }

    /// Something changed that the kernel does not tell of: look again soon.
    pub fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// Wait for that. For one who checks. Cancel-safe.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Show this one from now on, and say in the log what is new in it and what is gone.
    pub fn show(&self, report: Report) {
        let last = self.last();
        let before: &[Finding] = last.as_ref().map_or(&[], |last| &last.findings);
        let has = |findings: &[Finding], id: &str| findings.iter().any(|finding| finding.id == id);
        for finding in report.findings.iter().filter(|finding| !has(before, finding.id)) {
            match finding.severity {
                Severity::Error => tracing::error!(finding = finding.id, "this host: {finding}"),
                Severity::Warning => tracing::warn!(finding = finding.id, "this host: {finding}"),
            }
        }
        for finding in before.iter().filter(|finding| !has(&report.findings, finding.id)) {
            tracing::info!(finding = finding.id, "this host: no longer so: {}", finding.what);
        }
        self.last.store(Some(Arc::new(report)));
    }
}
