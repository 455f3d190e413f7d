//! Messages to a keeper. One place and one signal for all of them: there is one an account, and a channel with
//! a signal for each kind took ten times the room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use crate::domain::lock;

use tokio::sync::Notify;

use super::request::KeeperRequest;

/// Messages for a keeper.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    pub(super) came: Notify,
}

#[derive(Default)]
pub(super) struct Waiting {
    /// As many as people wait for an answer.
    pub(super) requests: VecDeque<KeeperRequest>,
    pub(super) changed: bool,
    pub(super) ended: bool,
}

/// A message to a keeper: from somebody who waits, or because something changed.
pub(super) enum KeeperMessage {
    /// Somebody wants something, and waits.
    Request(KeeperRequest),
    /// Something was changed from outside.
    Changed,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl Mailbox {
    /// Nothing panics while it is held.
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Put one in; it is dropped if nobody reads any more, and who waits for its answer hears that.
    pub(super) fn push(&self, request: KeeperRequest) {
        let mut waiting = self.lock();
        if !waiting.ended {
            waiting.requests.push_back(request);
            drop(waiting);
            self.came.notify_one();
        }
    }

    pub(super) fn changed(&self) {
        self.lock().changed = true;
        self.came.notify_one();
    }

    /// The keeper is to end.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.came.notify_one();
    }
}
