//! Logs, metrics, and the one line per request.

pub mod access;
mod logs;
mod metrics;

pub use logs::start as start_logs;
pub use metrics::Metrics;
