//! Time that can be calculated with: a wall clock that is set does not move it, and it goes on while the machine sleeps.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::BootInstant;
use crate::domain::time::micros;

/// A point in time since the machine was started, to the microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(u64);

/// How far before the process began a moment can lie: what was sent yesterday counts today.
const BEFORE: Duration = Duration::from_hours(72);

impl MonotonicTime {
    /// The beginning of the process, or of a test.
    pub const START: Self = Self(BEFORE.as_micros() as u64);

    /// Later by so much.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    /// Earlier by so much, and never before the beginning of moments.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros(by)))
    }

    /// How long after `earlier`; nothing when it is before it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Which span of this width it lies in.
    pub(super) fn span(self, width: Duration) -> u64 {
        self.0 / micros(width).max(1)
    }

    /// Where a span ends.
    pub(super) fn end_of_span(span: u64, width: Duration) -> Self {
        Self((span + 1).saturating_mul(micros(width).max(1)))
    }
}

/// The clock that moments come from.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: BootInstant,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: BootInstant::now() }
    }

    /// The time at this moment.
    pub fn now(&self) -> MonotonicTime {
        MonotonicTime::START.after(self.start.elapsed())
    }

    /// The moment of one of the runtime's instants; one before the clock started is its start.
    pub(super) fn moment(&self, instant: Instant) -> MonotonicTime {
        let (here, now) = (self.now(), Instant::now());
        let moment = here.after(instant.saturating_duration_since(now)).before(now.saturating_duration_since(instant));
        moment.max(MonotonicTime::START)
    }

    /// The runtime's instant of a moment, rounded up to where its timer stops.
    pub(super) fn instant(&self, moment: MonotonicTime) -> Instant {
        let (here, now) = (self.now(), Instant::now());
        now + moment.since(here)
    }
}
