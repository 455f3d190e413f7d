//! Logs, metrics, and the one line per request.

pub mod accepting;
pub mod access;
pub mod account_streams;
pub mod events;
pub mod history;
mod logs;
mod metrics;
mod seldom;
pub mod stream_reporter;
pub mod streams;
pub mod totals;

pub use logs::{flush as flush_logs, print, say, set_level as set_log_level, start as start_logs};
pub use metrics::Metrics;
pub use seldom::Seldom;
