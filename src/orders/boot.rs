//! Time since the machine was started, which nobody can set, and which goes on while it sleeps (`CLOCK_BOOTTIME`).

use std::time::Duration;

use super::limits::Moment;
use crate::domain::steady::since_boot;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootClock {
    start: Duration,
}

impl BootClock {
    /// [`Moment::START`] is now.
    pub(super) fn start() -> Self {
        Self { start: since_boot() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::START.after(since_boot().saturating_sub(self.start))
    }
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
