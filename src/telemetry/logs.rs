//! Log output: text for people, JSON lines for programs, on standard error.
//!
//! Nobody who logs waits for whoever reads: [`queue`] has the lines until a thread of their own has written them.

mod queue;

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, OnceLock, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prometheus_client::metrics::counter::Counter;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Log;
use crate::domain::priority;
use queue::{Queue, Sink};

/// How long the last lines, and what is printed, wait for a reader.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one look whether a descriptor that does not wait takes more may last.
const LOOK: u16 = 1000;

/// The levels of the process's one log.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();
/// Its lines.
static LINES: LazyLock<Arc<Queue>> = LazyLock::new(Arc::default);

/// Libraries speak only when something is wrong: at debug level hyper and hickory
/// would print what they send, and that holds tokens.
fn levels(level: Level) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("sixgate", level)
}

/// Another level from now on.
pub fn set_level(level: Level) {
    if let Some(Err(err)) = LEVELS.get().map(|handle| handle.reload(levels(level))) {
        tracing::error!(error = %err, "log.level could not be changed");
    }
}

/// Begin to log. A second call changes nothing.
///
/// # Errors
/// The thread that writes could not be started.
pub fn start(log: &Log) -> io::Result<()> {
    let (levels, handle) = reload::Layer::new(levels(log.level));
    // What it cannot write it would print, to the very reader that does not read.
    let lines = tracing_subscriber::fmt::layer().with_writer(ToQueue).with_target(true).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(levels);
    let begun = if log.json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init()
    };
    if begun.is_err() {
        return Ok(());
    }
    let _ = LEVELS.set(handle);
    let write = || {
        priority::give_way();
        LINES.write_on(Descriptor(io::stderr()), tell_of_dropped);
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    std::panic::set_hook(Box::new(tell_of_panic));
    Ok(())
}

/// Write what was logged, as far as somebody reads it: to be called before the process ends. Takes a second at the longest.
pub fn flush() {
    LINES.flush(PATIENCE);
}

/// Text for people on standard error, among the lines of the log and as they are.
pub fn say(text: &str) {
    if LEVELS.get().is_none() {
        // Nothing is served yet that could be held up.
        return eprintln!("{text}");
    }
    LINES.put(Level::ERROR, format!("{text}\n").as_bytes());
    flush();
}

/// Lines of the log that nobody took in time, since the start.
pub(super) fn dropped() -> Counter {
    LINES.dropped().clone()
}

/// Text on standard output. Whoever does not read it is waited for a second and no longer, and may be gone.
pub fn print(text: impl Into<String>) {
    let text = text.into();
    let (done, printed) = mpsc::channel();
    let print = move || {
        let mut out = io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let _ = done.send(());
    };
    match std::thread::Builder::new().name("print".to_owned()).spawn(print) {
        Ok(_) => drop(printed.recv_timeout(PATIENCE)),
        Err(err) => tracing::warn!(error = %err, "what stands on standard output could not be printed"),
    }
}

fn tell_of_dropped(count: u64) {
    tracing::warn!(
        dropped = count,
        "{count} lines of the log were dropped here: whoever reads it stopped reading or was too slow, or its disk was \
         full. Orders went on; what the lines said is lost (the order journal has every order)"
    );
}

/// The usual hook writes to standard error itself, and a thread that panics may be one that carries orders.
fn tell_of_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no text");
    let at = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(at, thread = thread.name(), backtrace, "the program panicked, a mistake of ours: {what}");
}

/// Hands each line to the queue.
struct ToQueue;

/// One line of a level. It comes in one piece: the layer puts it together before.
struct Line(Level);

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Level::INFO)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line(*meta.level())
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.put(self.0, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor without a lock before it, for others print there too.
struct Descriptor<F>(F);

impl<F: AsFd + Send + 'static> Sink for Descriptor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = nix::unistd::write(&self.0, bytes);
        if written == Err(nix::errno::Errno::EAGAIN) {
            // Whoever shares it made it so that it does not wait.
            let _ = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(LOOK));
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(written?)
    }
}
