//! The job that looks at every account: how far it is and what it found. In memory, and pure but for its lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::accounts::validate::{Check, CheckVerdict, all_ok};
use crate::domain::{AccountName, lock};

/// Of a detail that is kept: of ten thousand accounts they all are.
const LONGEST: usize = 200;
/// Names of a cause that are told with it.
const NAMED: usize = 20;

/// The checks, a cause before what comes of it.
pub(super) const ORDER: [&str; 11] = [
    "pair",
    "hosts",
    "line_primary",
    "line_secondary",
    "totp_clock",
    "token",
    "leg_primary",
    "leg_secondary",
    "registration",
    "orders_allowed",
    "token_expiry",
];

/// The job, if there was one since the start.
#[derive(Debug, Default)]
pub(super) struct ValidateAll(Mutex<Option<Job>>);

/// An account that is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotReady {
    /// Its name.
    pub account: AccountName,
    /// The check that stands for all that are not as they should be.
    pub check: &'static str,
    /// Did it fail, or did nobody tell?
    pub verdict: CheckVerdict,
    /// What was found.
    pub detail: String,
}

/// Accounts with one cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// How many.
    pub accounts: u64,
    /// The first of them.
    pub first: Vec<AccountName>,
}

#[derive(Debug)]
struct Job {
    by: Arc<str>,
    started: Timestamp,
    began: Instant,
    total: usize,
    done: usize,
    under_way: usize,
    ended: Option<Timestamp>,
    stopped: bool,
    not_ready: Vec<NotReady>,
    causes: BTreeMap<(&'static str, &'static str), Cause>,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Who asked for it.
    pub by: Arc<str>,
    /// When it began.
    pub started: Timestamp,
    /// Accounts in all.
    pub total: usize,
    /// Accounts that were looked at.
    pub done: usize,
    /// Of these those that are not ready.
    pub not_ready: usize,
    /// About how long it will take still; nothing before the first account, and at the end.
    pub left: Option<Duration>,
    /// When it ended; nothing while it runs.
    pub ended: Option<Timestamp>,
    /// Did somebody stop it?
    pub stopped: bool,
    /// What is wrong, by check and result (`failed`, `unknown`), and of how many.
    pub causes: BTreeMap<(&'static str, &'static str), Cause>,
}

impl ValidateAll {
    /// How far it is; nothing before the first.
    pub(super) fn progress(&self) -> Option<Progress> {
        lock(&self.0).as_ref().map(Job::progress)
    }

    /// The last accounts that were found not ready, the newest first.
    pub(super) fn not_ready(&self, most: usize) -> Vec<NotReady> {
        lock(&self.0).as_ref().map(|job| job.not_ready.iter().rev().take(most).cloned().collect()).unwrap_or_default()
    }

    /// One begins; `false` while another runs.
    pub(super) fn begin(&self, by: Arc<str>, total: usize) -> bool {
        let mut job = lock(&self.0);
        if job.as_ref().is_some_and(|job| job.ended.is_none()) {
            return false;
        }
        let (started, began) = (Timestamp::now(), Instant::now());
        let (not_ready, causes) = (Vec::new(), BTreeMap::new());
        let ended = (total == 0).then_some(started);
        *job = Some(Job { by, started, began, total, done: 0, under_way: 0, ended, stopped: false, not_ready, causes });
        true
    }

    /// May another account be looked at?
    pub(super) fn next(&self) -> bool {
        let mut job = lock(&self.0);
        let Some(job) = job.as_mut().filter(|job| !job.stopped) else { return false };
        job.under_way += 1;
        true
    }

    /// What a look at an account found.
    pub(super) fn note(&self, account: &AccountName, checks: &[Check]) {
        if let Some(job) = lock(&self.0).as_mut() {
            job.note(account, checks);
        }
    }

    /// Begin no more of them. `false` if there was no job.
    pub(super) fn stop(&self) -> bool {
        let mut job = lock(&self.0);
        let Some(job) = job.as_mut() else { return false };
        if job.ended.is_none() {
            job.stopped = true;
            job.end_if_done();
        }
        true
    }
}

impl Job {
    fn note(&mut self, account: &AccountName, checks: &[Check]) {
        (self.done, self.under_way) = (self.done + 1, self.under_way.saturating_sub(1));
        if !all_ok(checks)
            && let Some(cause) = cause(checks)
        {
            let group = self.causes.entry((cause.name, cause.verdict.as_str())).or_default();
            group.accounts += 1;
            if group.first.len() < NAMED {
                group.first.push(account.clone());
            }
            let detail = brief(&cause.detail);
            self.not_ready.push(NotReady {
                account: account.clone(),
                check: cause.name,
                verdict: cause.verdict,
                detail,
            });
        }
        self.end_if_done();
    }

    fn end_if_done(&mut self) {
        if self.done == self.total || self.stopped && self.under_way == 0 {
            self.ended = Some(Timestamp::now());
        }
    }

    fn progress(&self) -> Progress {
        let (total, done) =
            (u32::try_from(self.total).unwrap_or(u32::MAX), u32::try_from(self.done).unwrap_or(u32::MAX));
        let each = self.began.elapsed().checked_div(done);
        let left = each.filter(|_| self.ended.is_none()).map(|each| each * total.saturating_sub(done));
        Progress {
            by: Arc::clone(&self.by),
            started: self.started,
            total: self.total,
            done: self.done,
            not_ready: self.not_ready.len(),
            left,
            ended: self.ended,
            stopped: self.stopped,
            causes: self.causes.clone(),
        }
    }
}

/// What was found, and not why it matters: the page and the API say that once, and ten thousand times would be megabytes.
fn brief(detail: &str) -> String {
    let found = detail.split_once(". Why it matters: ").map_or(detail, |(found, _)| found);
    match found.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", found.get(..end).unwrap_or(found)),
        None => found.to_owned(),
    }
}

/// The check that stands for the others: what failed before what is not known, and a cause before what comes of it.
fn cause(checks: &[Check]) -> Option<&Check> {
    let first = |verdict: CheckVerdict| {
        ORDER.iter().find_map(|name| checks.iter().find(|check| check.name == *name && check.verdict == verdict))
    };
    // Where the broker has no address of the account, it says nothing of either: that is what to begin with.
    let is = |name: &str, verdict| checks.iter().find(|check| check.name == name && check.verdict == verdict);
    let unregistered = || is("token", CheckVerdict::Good).and_then(|_| is("registration", CheckVerdict::Unknown));
    first(CheckVerdict::Failed).or_else(unregistered).or_else(|| first(CheckVerdict::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, verdict: CheckVerdict) -> Check {
        Check { name, verdict, detail: "found".to_owned() }
    }

    fn name(text: &str) -> AccountName {
        AccountName::parse(text).unwrap()
    }

    /// A dead token makes six checks fail or unknown: one cause, one advice.
    #[test]
    fn accounts_are_grouped_by_the_first_cause() {
        let checks = [
            check("pair", CheckVerdict::Good),
            check("token", CheckVerdict::Failed),
            check("registration", CheckVerdict::Unknown),
            check("orders_allowed", CheckVerdict::Failed),
        ];
        assert_eq!(cause(&checks).unwrap().name, "token");
        assert_eq!(cause(&checks[..1]), None);
        let all = ValidateAll::default();
        assert!(all.progress().is_none() && !all.stop());
        assert!(all.begin("desk".into(), 3) && !all.begin("desk".into(), 1), "one at a time");
        for account in ["a", "b"] {
            assert!(all.next());
            all.note(&name(account), &checks);
        }
        let progress = all.progress().unwrap();
        assert_eq!((progress.done, progress.not_ready, progress.ended), (2, 2, None));
        assert_eq!(progress.causes[&("token", "failed")].accounts, 2);
        assert!(all.next());
        all.note(&name("c"), &checks[..1]);
        let progress = all.progress().unwrap();
        assert_eq!((progress.done, progress.not_ready), (3, 2));
        assert!(progress.ended.is_some() && all.begin("desk".into(), 0));
        assert!(all.progress().unwrap().ended.is_some(), "of nobody");
    }

    #[test]
    fn what_is_kept_of_a_detail_ends_where_it_may() {
        assert_eq!(brief("no address of this host. Why it matters: answers"), "no address of this host");
        assert_eq!(brief(&"ä".repeat(LONGEST)), "ä".repeat(LONGEST));
        assert_eq!(brief(&"ä".repeat(LONGEST + 1)), format!("{}…", "ä".repeat(LONGEST)));
    }

    /// What is under way when somebody stops it is noted, and then it has ended.
    #[test]
    fn a_stop_waits_for_what_is_under_way() {
        let all = ValidateAll::default();
        all.begin("desk".into(), 9);
        assert!(all.next() && all.stop() && !all.next());
        assert!(all.progress().unwrap().ended.is_none());
        all.note(&name("a"), &[check("pair", CheckVerdict::Good)]);
        let progress = all.progress().unwrap();
        assert!(progress.ended.is_some() && progress.stopped && all.stop());
    }
}
