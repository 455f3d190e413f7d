//! The runtime of a command that serves.

use crate::domain::priority;

/// Makes it. Its threads give way to those that carry orders.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(priority::give_way).build()
}
