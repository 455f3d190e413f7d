//! The broker's limits with our margin.
//!
//! Requests that left a second apart may arrive closer together: with a margin `m` a
//! window must hold although each request was delayed by up to `m` of a second more
//! than another. For a small window, taking one from the count is too much (a tenth of
//! 10 a second, all of 1 a second) and not enough (two full bursts a second apart
//! still meet), so the window is made longer by `m`: then nothing that arrives within
//! the broker's window left more than ours apart. A big window keeps `m` of its count
//! unused; as no more than ten orders leave in a second, that covers the same delay.
//!
//! What takes risk away may use what the margin leaves: all of a small window's, half
//! of a big one's. A window of a minute or longer does not hold it back at all: an
//! engine that ran wild has used that up and must cancel, and whether it is too much,
//! the broker says. The margin that placements leave there makes its yes likely.

use std::path::Path;
use std::time::Duration;

use super::classes::Classes;
use super::counter::Cap;
use crate::broker::dhan::endpoints::RateClass;
use crate::broker::dhan::limits::{BrokerLimits, LimitsError, Window, limits};

/// From this count on a margin is taken from the count.
const BIG: u32 = 100;
/// A window of this length and more is an allowance; a shorter one is a pace.
const ALLOWANCE: Duration = Duration::from_secs(60);

/// What is kept, for all accounts.
#[derive(Debug)]
pub struct Rules {
    windows: Classes<Vec<WindowRule>>,
    pub(super) option_chain_every: Duration,
    pub(super) modifications_per_order: u32,
}

/// One of the broker's windows with our margin.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowRule {
    pub(super) window: Window,
    pub(super) cap: Cap,
    /// What takes risk away; none: it is not held back.
    pub(super) cancels: Option<Cap>,
}

impl Rules {
    /// The built-in limits, or those of a file (`limits.file`). Reads it: not on a worker of
    /// the runtime.
    ///
    /// # Errors
    /// [`LimitsError`].
    pub fn load(file: Option<&Path>, margin: f64) -> Result<Self, LimitsError> {
        match file {
            Some(file) => Ok(Self::new(&BrokerLimits::read(file)?, margin)),
            None => Ok(Self::new(limits(), margin)),
        }
    }

    /// The broker's limits with a margin of 0 to 0.5 (`limits.margin`).
    pub fn new(broker: &BrokerLimits, margin: f64) -> Self {
        let margin = if margin.is_finite() { margin.clamp(0.0, 0.5) } else { 0.5 };
        let rules = |class| broker.windows(class).iter().map(|window| WindowRule::new(*window, margin)).collect();
        Self {
            windows: Classes {
                order: rules(RateClass::Order),
                data: rules(RateClass::Data),
                quote: rules(RateClass::Quote),
                other: rules(RateClass::Other),
            },
            option_chain_every: broker.option_chain_every.mul_f64(1.0 + margin),
            modifications_per_order: broker.modifications_per_order,
        }
    }

    pub(super) fn of(&self, class: RateClass) -> &[WindowRule] {
        self.windows.of(class)
    }
}

impl WindowRule {
    fn new(window: Window, margin: f64) -> Self {
        let Window { count, per } = window;
        let whole = Cap { count, per };
        let (cap, cancels) = if count < BIG {
            (Cap { count, per: per.mul_f64(1.0 + margin) }, whole)
        } else if margin > 0.0 {
            // At least one, however small the margin.
            let unused = ((f64::from(count) * margin).ceil() as u32).clamp(1, count - 1);
            (Cap { count: count - unused, per }, Cap { count: count - unused.div_ceil(2), per })
        } else {
            (whole, whole)
        };
        Self { window, cap, cancels: (per < ALLOWANCE).then_some(cancels) }
    }

    /// Anything older counts for nobody.
    pub(super) fn longest(&self) -> Duration {
        self.cancels.map_or(self.cap.per, |cancels| self.cap.per.max(cancels.per))
    }
}
