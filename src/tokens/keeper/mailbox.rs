//! What a keeper is told. One place and one signal for all of it: there is one an account, and a channel with
//! a signal for each kind took ten times the room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Keeper, KeeperRequest};

/// Letters for a keeper.
#[derive(Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Default)]
struct Waiting {
    /// As many as people wait for an answer.
    asks: VecDeque<KeeperRequest>,
    changed: bool,
    ended: bool,
}

/// One of them.
pub(super) enum Message {
    /// Somebody wants something, and waits.
    Ask(KeeperRequest),
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
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Put one in; it is dropped if nobody reads any more, and who waits for its answer hears that.
    pub(super) fn ask(&self, ask: KeeperRequest) {
        let mut waiting = self.lock();
        if !waiting.ended {
            waiting.asks.push_back(ask);
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

/// A keeper's right to read its mail. When it goes nobody reads, and who still asks is told so.
pub(super) struct Receiver(pub(super) Arc<Keeper>);

impl Receiver {
    /// Whose mail it is.
    pub(super) const fn keeper(&self) -> &Arc<Keeper> {
        &self.0
    }

    /// The next letter, or `None` when the keeper is to end. Cancel-safe.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.0.mail.lock();
                if waiting.ended {
                    return None;
                }
                if let Some(ask) = waiting.asks.pop_front() {
                    return Some(Message::Ask(ask));
                }
                if std::mem::take(&mut waiting.changed) {
                    return Some(Message::Changed);
                }
            }
            self.0.mail.came.notified().await;
        }
    }

    /// Is the keeper to end?
    pub(super) fn is_ended(&self) -> bool {
        self.0.mail.lock().ended
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.mail.end();
        // Not under the lock: whoever waits for one of them may ask again at once.
        let unread = std::mem::take(&mut self.0.mail.lock().asks);
        drop(unread);
    }
}
