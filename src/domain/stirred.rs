//! Waking whoever waits for a moment, when a clock turns out to show another time.

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

static STIRRED: Notify = Notify::const_new();

/// Wakes whoever waits for a moment: its clock may show another time than it planned with.
pub(super) fn stir() {
    STIRRED.notify_waiters();
}

/// Ends when the clocks part, or the one that all go by is corrected; of what happens after it was made, not a thing is
/// missed. Cancel-safe.
pub fn stirred() -> Notified<'static> {
    STIRRED.notified()
}
