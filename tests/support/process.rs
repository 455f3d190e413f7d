//! The `sixgate` binary as a child process: its output in files, its end by signal.
//!
//! Invariant: no process outlives its [`Process`]; only processes started here are
//! ever sent a signal.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::net::Place;
use super::wait;

/// How long a process may take to end after SIGTERM, unless a test says otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a line of its log may take.
const LOGGED: Duration = Duration::from_secs(10);

/// A running (or ended) `sixgate`.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    stdout: Output,
    stderr: Output,
}

/// A file that a process writes to, and where in it this process began.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    start: u64,
}

impl Process {
    /// Start `sixgate ARGUMENTS` in `place`, with `dir` as its folder. What it prints is appended to `NAME.stdout` and
    /// `NAME.stderr` there.
    pub(crate) fn sixgate<S: AsRef<OsStr>>(
        place: &Place,
        dir: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = place.command(env!("CARGO_BIN_EXE_sixgate"));
        command.args(arguments);
        Self::start(command, dir, name)
    }

    /// Start any command likewise.
    pub(crate) fn start(mut command: Command, dir: &Path, name: &str) -> Self {
        let (stdout, stdout_file) = Output::open(dir.join(format!("{name}.stdout")));
        let (stderr, stderr_file) = Output::open(dir.join(format!("{name}.stderr")));
        command.current_dir(dir).stdin(Stdio::null()).stdout(stdout_file).stderr(stderr_file);
        // A sandbox that all could see would be found by the commands of another test.
        command.env("XDG_RUNTIME_DIR", dir);
        let child = command.spawn().unwrap_or_else(|err| panic!("cannot start {command:?}: {err}"));
        Self { child, ended: None, stdout, stderr }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("ask for the child's status");
        }
        self.ended
    }

    /// Send it a signal; panics if it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // Between this look and the signal the id cannot pass to another process: an ended child keeps it until it is
        // waited for, and that is done here only.
        assert_eq!(self.ended(), None, "no process to send {signal} to; it said:\n{}", self.log());
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("send a signal to our child");
    }

    /// Wait for its end; panics with its log if it does not end within `limit`.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        match wait::poll(limit, || self.ended()) {
            Some(status) => status,
            None => panic!("still running after {limit:?}; it said:\n{}", self.log()),
        }
    }

    /// Ask it to stop (SIGTERM) and wait for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.terminate_within(PATIENCE)
    }

    /// [`Process::terminate`] with a deadline of one's own.
    pub(crate) fn terminate_within(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_for_end(limit)
    }

    /// End it at once, wherever it is (SIGKILL).
    pub(crate) fn kill9(&mut self) {
        if self.ended().is_none() {
            self.child.kill().expect("kill our child");
            self.ended = Some(self.child.wait().expect("wait for our child"));
        }
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.text()
    }

    /// Does it write this to standard error, where its log is written a moment after what it tells of?
    pub(crate) fn has_logged(&self, what: &str) -> bool {
        wait::poll(LOGGED, || self.log().contains(what).then_some(())).is_some()
    }

    /// What it wrote to standard output so far.
    pub(crate) fn output(&self) -> String {
        self.stdout.text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}\n---", self.stderr.path.display(), self.log());
        }
    }
}

impl Output {
    fn open(path: PathBuf) -> (Self, File) {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.unwrap_or_else(|err| panic!("cannot open {}: {err}", path.display()));
        let start = file.metadata().expect("the file's length").len();
        (Self { path, start }, file)
    }

    fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut file = File::open(&self.path).expect("open a process's output");
        file.seek(SeekFrom::Start(self.start)).expect("seek in a process's output");
        file.read_to_end(&mut bytes).expect("read a process's output");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
