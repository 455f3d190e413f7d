//! Time since the machine was started, which nobody can set, and which goes on while it sleeps (`CLOCK_BOOTTIME`).

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::limits::Moment;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootClock {
    start: Duration,
    /// In place of it, on a kernel that lacks it (before 2.6.39).
    instead: Instant,
}

impl BootClock {
    /// [`Moment::START`] is now.
    pub(super) fn start() -> Self {
        Self { start: since_boot().unwrap_or_default(), instead: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        let passed = since_boot().map_or_else(|| self.instead.elapsed(), |now| now.saturating_sub(self.start));
        Moment::START.after(passed)
    }
}

fn since_boot() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_the_start_and_goes_on() {
        let clock = BootClock::start();
        let first = clock.now();
        assert!(first.since(Moment::START) < Duration::from_secs(60));
        while clock.now() == first {}
        assert!(clock.now() > first);
    }
}
