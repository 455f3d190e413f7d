//! The signals that a gateway is stopped and reloaded by.

#[derive(Debug)]
pub(super) struct Signals {
    pub(super) stop: StopSignals,
    pub(super) hang_up: tokio::signal::unix::Signal,
}

#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let stop =
            StopSignals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { stop, hang_up: signal(SignalKind::hangup())? })
    }
}

impl StopSignals {
    /// Cancel-safe.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
