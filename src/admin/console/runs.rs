//! Validations that people wait for after they saved an account: which are under way, and since when.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::domain::{AccountName, lock};

/// Runs that are remembered; the oldest makes room.
const MOST: usize = 4096;

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// When it was asked for.
    pub since: Timestamp,
    /// Why there is no result of it, if it ended without one.
    pub failed: Option<String>,
    /// Did it begin with saving the account?
    pub saved: bool,
    running: bool,
}

/// The last run of each account.
#[derive(Debug, Default)]
pub(super) struct Runs(Mutex<HashMap<AccountName, Run>>);

impl Runs {
    /// The last one of an account.
    pub(super) fn of(&self, name: &AccountName) -> Option<Run> {
        lock(&self.0).get(name).cloned()
    }

    /// One begins; `false` while another is under way, which is then of this save too.
    pub(super) fn begin(&self, name: &AccountName, saved: bool, now: Timestamp) -> bool {
        let mut runs = lock(&self.0);
        if let Some(run) = runs.get_mut(name).filter(|run| run.running) {
            run.saved |= saved;
            return false;
        }
        if runs.len() >= MOST
            && let Some(oldest) = runs
                .iter()
                .filter(|(_, run)| !run.running)
                .min_by_key(|(_, run)| run.since)
                .map(|(name, _)| name.clone())
        {
            runs.remove(&oldest);
        }
        runs.insert(name.clone(), Run { since: now, failed: None, saved, running: true });
        true
    }

    /// It ended; `failed` says why without a result.
    pub(super) fn end(&self, name: &AccountName, failed: Option<String>) {
        if let Some(run) = lock(&self.0).get_mut(name) {
            (run.running, run.failed) = (false, failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_looked_at_by_one_run_at_a_time() {
        let (runs, name, at) = (Runs::default(), AccountName::parse("alpha").unwrap(), Timestamp::now());
        assert!(runs.begin(&name, true, at) && !runs.begin(&name, true, at));
        runs.end(&name, Some("no".to_owned()));
        assert_eq!(runs.of(&name).unwrap().failed.as_deref(), Some("no"));
        assert!(runs.begin(&name, true, at) && runs.of(&name).unwrap().failed.is_none());
    }
}
