//! What the last self-check found, for whoever wants to see it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::check::Examination;
use super::finding::some_of;
use super::{Finding, Severity};
use crate::domain::host_limits::Lack;

/// One self-check.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was made.
    pub checked_at: Timestamp,
    /// What this host lacks; nothing, as far as could be found out, where it is empty.
    pub findings: Vec<Finding>,
}

/// Makes all checks of a host.
pub trait Examiner: Send + Sync + fmt::Debug {
    /// Make them once. Connects to the broker and asks name servers.
    ///
    /// # Errors
    /// This process ran out of something while it looked.
    fn examine(&self) -> Pin<Box<dyn Future<Output = Result<Examination, Lack>> + Send + '_>>;
}

/// Why a host was not examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotExamined {
    /// Somebody else's examination is under way.
    Busy,
    /// This process ran out of something.
    Lack(Lack),
}

/// Holds the last report, the wish for another, and the last examination.
#[derive(Debug, Default)]
pub struct Board {
    last: ArcSwapOption<Report>,
    wanted: Notify,
    examined: ArcSwapOption<Examination>,
    examining: tokio::sync::Mutex<()>,
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

    /// The last examination that was asked for.
    pub fn examined(&self) -> Option<Arc<Examination>> {
        self.examined.load_full()
    }

    /// Examine the host now, unless somebody does.
    ///
    /// # Errors
    /// [`NotExamined`].
    pub async fn examine(&self, by: &dyn Examiner) -> Result<Arc<Examination>, NotExamined> {
        let Ok(_one) = self.examining.try_lock() else { return Err(NotExamined::Busy) };
        let examination = Arc::new(by.examine().await.map_err(NotExamined::Lack)?);
        self.examined.store(Some(Arc::clone(&examination)));
        Ok(examination)
    }

    /// Show this one from now on, and say in the log what is new in it and what is gone.
    pub fn show(&self, report: Report) {
        let last = self.last();
        let before: &[Finding] = last.as_ref().map_or(&[], |last| &last.findings);
        for finding in report.findings.iter().filter(|finding| is_new(finding, before)) {
            match finding.severity {
                Severity::Error => tracing::error!(finding = finding.id, "this host: {finding}"),
                Severity::Warning => tracing::warn!(finding = finding.id, "this host: {finding}"),
            }
        }
        for (finding, mended) in before.iter().filter_map(|finding| Some((finding, mended(finding, &report.findings)?)))
        {
            tracing::info!(finding = finding.id, "this host: no longer so: {mended}");
        }
        self.last.store(Some(Arc::new(report)));
    }
}

/// Was it not found before, or is there an address now that it was not found of?
fn is_new(finding: &Finding, before: &[Finding]) -> bool {
    let known = before.iter().find(|known| known.id == finding.id);
    known.is_none_or(|known| finding.about.iter().any(|about| !known.about.contains(about)))
}

/// What of a finding is so no more.
fn mended(finding: &Finding, now: &[Finding]) -> Option<String> {
    let Some(still) = now.iter().find(|still| still.id == finding.id) else {
        // Nobody looked at addresses where there is no IPv6.
        let hidden = !finding.about.is_empty() && now.iter().any(Finding::hides_addresses);
        return (!hidden).then(|| finding.what.clone());
    };
    let gone: Vec<_> = finding.about.iter().filter(|about| !still.about.contains(about)).collect();
    (!gone.is_empty()).then(|| format!("{}, of {}", finding.id, some_of(&gone)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SourceAddr;
    use crate::host::Sender;

    fn found(id: &'static str, about: &[&str]) -> Finding {
        let sender = |text: &&str| Sender { source: SourceAddr::parse(text).unwrap(), owner: Some("alpha".into()) };
        Finding {
            id,
            severity: Severity::Error,
            about: about.iter().map(sender).collect(),
            what: format!("{id} is so"),
            why: String::new(),
            fix: String::new(),
            commands: Vec::new(),
        }
    }

    /// A second account with the same fault has the same right to a line.
    #[test]
    fn another_address_with_the_same_fault_is_news_and_one_that_was_mended_too() {
        let (one, two) = (found("no_route", &["2001:db8::1"]), found("no_route", &["2001:db8::1", "2001:db8::2"]));
        assert!(is_new(&one, &[]) && is_new(&two, std::slice::from_ref(&one)));
        assert!(!is_new(&two, std::slice::from_ref(&two)) && !is_new(&one, std::slice::from_ref(&two)));
        assert_eq!(mended(&two, std::slice::from_ref(&one)).unwrap(), "no_route, of alpha 2001:db8::2");
        assert_eq!(mended(&one, std::slice::from_ref(&two)), None);
        assert_eq!(mended(&one, &[]).unwrap(), "no_route is so");
    }

    /// Turning IPv6 off mends no address.
    #[test]
    fn what_nobody_looked_at_is_not_told_as_mended() {
        let off = [found("ipv6_off", &[])];
        assert_eq!(mended(&found("address_missing", &["2001:db8::1"]), &off), None);
        assert!(mended(&found("clock_off", &[]), &off).is_some());
    }
}
