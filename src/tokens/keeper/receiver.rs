//! The reading end of a keeper's mailbox.

use std::sync::Arc;

use super::Keeper;
use super::mailbox::KeeperMessage;

/// A keeper's right to read its mail. When it goes nobody reads, and who still asks is told so.
pub(super) struct Receiver(pub(super) Arc<Keeper>);

impl Receiver {
    /// Whose mail it is.
    pub(super) const fn keeper(&self) -> &Arc<Keeper> {
        &self.0
    }

    /// The next letter, or `None` when the keeper is to end. Cancel-safe.
    pub(super) async fn next(&self) -> Option<KeeperMessage> {
        loop {
            {
                let mut waiting = self.0.mail.lock();
                if waiting.ended {
                    return None;
                }
                if let Some(request) = waiting.requests.pop_front() {
                    return Some(KeeperMessage::Request(request));
                }
                if std::mem::take(&mut waiting.changed) {
                    return Some(KeeperMessage::Changed);
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
        let unread = std::mem::take(&mut self.0.mail.lock().requests);
        drop(unread);
    }
}
