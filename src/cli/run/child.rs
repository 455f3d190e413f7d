//! The command as a child: signals go on to it, and how it ended is how we end.
//!
//! The signals are blocked and read from a descriptor, because only that tells who sent one: what a terminal sends
//! (Ctrl-C) has reached the command already, as it is in the same process group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Those that go on to the command.
const PASSED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// `si_code` of a signal that the kernel sent by itself: SI_KERNEL of sigaction(2).
const BY_THE_KERNEL: i32 = 0x80;

/// The signals of this process.
#[derive(Debug)]
pub(super) struct Signals(AsyncFd<SignalFd>);

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A child may have ended.
    Child,
    /// To be passed on.
    Pass(Signal),
    /// The command got it as we did.
    Shared,
}

/// Keep signals from their usual deeds on this thread, and those that it starts.
///
/// # Errors
/// The kernel refused.
pub(super) fn block() -> io::Result<()> {
    Ok(blocked().thread_block()?)
}

fn blocked() -> SigSet {
    PASSED.into_iter().chain([Signal::SIGCHLD]).collect()
}

impl Signals {
    /// After [`block`], in a runtime.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn new() -> io::Result<Self> {
        let fd = SignalFd::with_flags(&blocked(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe because a type may lie about its descriptor; SignalFd owns it and nobody replaces it"
        )]
        AsyncFd::with_interest(fd, Interest::READABLE).map(Self)
    }

    /// The next one. Cancel-safe.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) async fn next(&self) -> io::Result<Came> {
        loop {
            let mut ready = self.0.readable().await?;
            let Ok(read) = ready.try_io(|fd| match fd.get_ref().read_signal()? {
                Some(signal) => Ok(signal),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }) else {
                continue;
            };
            let info = read?;
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            return Ok(match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => Came::Child,
                Ok(_) if info.ssi_code == BY_THE_KERNEL => Came::Shared,
                Ok(signal) => Came::Pass(signal),
                Err(_) => continue,
            });
        }
    }

    /// Until somebody asks us to stop, before there is a command.
    pub(super) async fn interrupted(&self) {
        loop {
            match self.next().await {
                Ok(Came::Pass(Signal::SIGUSR1 | Signal::SIGUSR2) | Came::Child) => {}
                Ok(Came::Pass(_) | Came::Shared) | Err(_) => return,
            }
        }
    }
}

/// Wait for the command's end; signals go on to it meanwhile.
///
/// # Errors
/// The kernel refused.
pub(super) async fn wait(child: &mut Child, signals: &Signals) -> io::Result<ExitStatus> {
    loop {
        // Also before the first signal: it may have ended already.
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match signals.next().await? {
            Came::Child | Came::Shared => {}
            Came::Pass(signal) => pass(child, signal),
        }
    }
}

/// Send the command a signal. It has not been waited for, so its number is its own still.
pub(super) fn pass(child: &Child, signal: Signal) {
    if let Ok(number) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(number), signal);
    }
}

/// As a shell says it.
pub(super) fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}
