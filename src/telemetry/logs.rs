//! Log output: text for people, JSON lines for programs, on standard error.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;

/// Begin to log. A second call changes nothing.
pub fn start(log: &Log) {
    // Libraries speak only when something is wrong: at debug level hyper and
    // hickory would print what they send, and that holds tokens.
    let levels = Targets::new().with_default(LevelFilter::WARN).with_target("sixgate", log.level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(levels);
    let _ = if log.json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
}
