//! What all that is sent is sent with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::reply::Problem;
use super::shared::Questions;
use crate::config::Config;
use crate::orders::Orders;
use crate::telemetry::Metrics;
use crate::telemetry::events::Events;

/// Sends requests to the broker for callers: the journal and limits of orders, what is being asked about lost ones, and
/// the counts. It knows no listeners and no callers.
#[derive(Debug)]
pub struct Dispatcher {
    pub(super) orders: Arc<Orders>,
    pub(super) questions: Questions,
    pub(super) metrics: Arc<Metrics>,
}

impl Dispatcher {
    /// A dispatcher whose order writes go through `orders`.
    pub fn new(orders: Arc<Orders>, metrics: Arc<Metrics>) -> Self {
        Self { orders, questions: Questions::default(), metrics }
    }

    /// Where what is sent is counted.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where what happens is told.
    pub fn events(&self) -> &Events {
        &self.orders.events
    }
}

/// How long each part of a request may take. A request keeps what it began with, whatever is reloaded meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The head of a reply to a read (`egress.response_timeout`).
    pub read_timeout: Duration,
    /// The reply to an order write (`orders.response_timeout`).
    pub write_timeout: Duration,
    /// Asking the broker what became of a lost write (`orders.reconcile_for`).
    pub reconcile_for: Duration,
    /// From an order write's arrival to its leaving (`orders.leave_within`).
    pub leave_within: Duration,
}

impl From<&Config> for Timing {
    fn from(config: &Config) -> Self {
        Self {
            read_timeout: config.egress.response_timeout,
            write_timeout: config.orders.response_timeout,
            reconcile_for: config.orders.reconcile_for,
            leave_within: config.orders.leave_within,
        }
    }
}

/// When a request came, and whether who sent it is still there.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When the first of its bytes were there to be read; its wait for being accepted counts.
    pub at: tokio::time::Instant,
    /// Cancelled when the caller closed its side, reset the connection or its stream.
    pub gone: CancellationToken,
}

/// On what ground an order write is served, asked again when it is about to leave: between its arrival and that moment
/// its key may be deleted, its account halted, its pair retired or its listener's settings tightened.
pub trait Permission: Sync {
    /// Asks whether the permission holds now. Cheap where nothing was changed.
    ///
    /// # Errors
    /// Why it does not; nothing was sent.
    fn check(&self, exempt: Exempt) -> Result<(), Problem>;

    /// Waits until the permission does not hold any more; for ever, if that does not happen. Cancel-safe.
    fn lost(&self, exempt: Exempt) -> BoxFuture<'_, Problem>;

    /// Tells writes without an id apart: a hash of who sent it and of what it says (`values`, SHA-256).
    fn twin(&self, values: &[u8; 32]) -> [u8; 32];
}

/// What an order write is not held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exempt {
    /// It takes risk away: a halt does not stop it.
    pub halt: bool,
}
