//! Log output: text for people, JSON lines for programs, on standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;

/// The levels of the process's one log.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Libraries speak only when something is wrong: at debug level hyper and hickory
/// would print what they send, and that holds tokens.
fn levels(level: tracing::Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("sixgate", level)
}

/// Another level from now on.
pub fn set_level(level: tracing::Level) {
    if let Some(Err(err)) = LEVELS.get().map(|handle| handle.reload(levels(level))) {
        tracing::error!(error = %err, "log.level could not be changed");
    }
}

/// Begin to log. A second call changes nothing.
pub fn start(log: &Log) {
    let (levels, handle) = reload::Layer::new(levels(log.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(levels);
    let begun = if log.json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()
    };
    if begun.is_ok() {
        let _ = LEVELS.set(handle);
    }
}
