//! Logs, metrics, and the one line per request.

pub mod access;
pub mod events;
mod logs;
mod metrics;

pub use logs::{set_level as set_log_level, start as start_logs};
pub use metrics::Metrics;
