//! Log output: text for people, JSON lines for programs, on standard error.
//!
//! Nobody who logs waits for whoever reads: [`queue`] has the lines until a thread of their own has written them.

mod queue;

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, OnceLock, mpsc};
use std::time::{Duration, Instant};

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

use crate::config::LogConfig;
use crate::domain::priority;
use queue::{LineQueue, LineSink};

/// How long the last lines, and what is printed, wait for a reader.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a panic that may end the process waits for its line to be written.
const LAST_LINE: Duration = Duration::from_millis(200);
/// Longer than a panic takes to unwind. One that comes before that aborts the process.
const UNWINDS: Duration = Duration::from_secs(1);

thread_local! {
    /// When this thread panicked last.
    static PANICKED: Cell<Option<Instant>> = const { Cell::new(None) };
}
/// How long one look whether a descriptor that does not wait takes more may last.
const LOOK: u16 = 1000;

/// The levels of the process's one log.
static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();
/// Log lines that wait to be written.
static LINES: LazyLock<Arc<LineQueue>> = LazyLock::new(Arc::default);

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
pub fn start(log: &LogConfig) -> io::Result<()> {
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
        LINES.write_on(Descriptor(io::stderr()), log_dropped);
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    std::panic::set_hook(Box::new(log_panic));
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
        Err(err) => tracing::warn!(error = %err, "the greeting could not be printed; nothing else is affected"),
    }
}

fn log_dropped(count: u64) {
    tracing::warn!(
        dropped = count,
        "{count} lines of the log were dropped here: whoever reads it stopped reading or was too slow, or its disk was \
         full. Orders went on; what the lines said is lost (the order journal has every order)"
    );
}

/// The usual hook writes to standard error itself, and a thread that panics may be one that carries orders.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no text");
    let at = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    let is_main = thread.name() == Some("main");
    let next = if is_main { "the gateway ends; start it again" } else { "the gateway goes on" };
    tracing::error!(
        at,
        thread = thread.name(),
        backtrace,
        "the program panicked, a mistake of ours: {what}; {next}; look in the order book for an order that got no answer, \
         and report this line"
    );
    let now = Instant::now();
    // It may be asked for when the thread has no such things any more.
    let before = PANICKED.try_with(|at| at.replace(Some(now))).unwrap_or(Some(now));
    if may_be_the_end(is_main, before, now) {
        LINES.flush(LAST_LINE);
    }
}

/// With a panic of the main thread the process ends, and with one that comes while another one unwinds. Any other thread
/// may carry orders, and does not wait for the log's reader.
fn may_be_the_end(is_main: bool, before: Option<Instant>, now: Instant) -> bool {
    is_main || before.is_some_and(|before| now.saturating_duration_since(before) < UNWINDS)
}

/// Hands each line to the queue.
struct ToQueue;

/// One line of a level. It comes in one piece: the layer puts it together before.
struct LevelWriter(Level);

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = LevelWriter;

    fn make_writer(&'a self) -> LevelWriter {
        LevelWriter(Level::INFO)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LevelWriter {
        LevelWriter(*meta.level())
    }
}

impl Write for LevelWriter {
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

impl<F: AsFd + Send + 'static> LineSink for Descriptor<F> {
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ABORTS: &str = "SIXGATE_TEST_ABORTS";

    struct PanicsAgain;

    impl Drop for PanicsAgain {
        fn drop(&mut self) {
            panic!("again, and for good");
        }
    }

    /// The process was gone before the thread that writes had taken the line.
    #[test]
    fn a_panic_that_aborts_is_in_the_log() {
        if std::env::var_os(ABORTS).is_some() {
            start(&LogConfig { level: Level::INFO, json: false }).unwrap();
            let _again = PanicsAgain;
            panic!("for the first time");
        }
        let mut this = Command::new(std::env::current_exe().unwrap());
        this.args(["--exact", "telemetry::logs::tests::a_panic_that_aborts_is_in_the_log", "--nocapture"]);
        let ended = this.env(ABORTS, "1").env("RUST_BACKTRACE", "0").output().unwrap();
        let log = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success());
        for what in ["for the first time; the gateway goes on", "again, and for good", "report this line"] {
            assert!(log.contains(what), "{what}: {log}");
        }
    }

    #[test]
    fn only_a_panic_that_may_end_the_process_waits_for_its_line() {
        let now = Instant::now();
        assert!(may_be_the_end(true, None, now));
        assert!(may_be_the_end(false, Some(now), now + Duration::from_millis(1)));
        assert!(!may_be_the_end(false, None, now));
        assert!(!may_be_the_end(false, Some(now), now + UNWINDS));
    }
}
