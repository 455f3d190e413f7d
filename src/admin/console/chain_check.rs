//! Whether the journal's chain is whole: read by whoever asks, one at a time, and remembered with its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use super::super::state::Admin;
use crate::orders::journal::{Verification, verify};

/// The last check and the one under way. A big journal takes minutes: the page does not wait.
#[derive(Debug, Default)]
pub(super) struct ChainCheck {
    last: ArcSwapOption<Checked>,
    under_way: AtomicBool,
}

/// What a check came to.
#[derive(Debug)]
pub(super) struct Checked {
    /// When it ended.
    pub at: Timestamp,
    /// What it found, or why the files could not be read.
    pub found: Result<Verification, String>,
}

impl ChainCheck {
    /// The last one that ended.
    pub(super) fn last(&self) -> Option<Arc<Checked>> {
        self.last.load_full()
    }

    /// Is one under way?
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    /// Begin one, unless one is under way.
    pub(super) fn begin(self: &Arc<Self>, admin: &Admin) {
        if self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, folder) = (Arc::clone(self), admin.orders.journal.folder().to_path_buf());
        admin.tasks.spawn(async move {
            let read = tokio::task::spawn_blocking(move || verify(&folder)).await;
            let found = match read {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(err)) => Err(err.to_string()),
                Err(_) => Err("the check broke down; see the gateway's log".to_owned()),
            };
            this.last.store(Some(Arc::new(Checked { at: Timestamp::now(), found })));
            this.under_way.store(false, Ordering::Release);
        });
    }
}
