//! What all legs share: settings, egress, metrics and whoever hears of changes.
//!
//! Nothing of it knows a leg. What a leg needs done that takes the others, it asks of its [`Care`].
//!
//! Nothing of it is on the order path but [`LegContext::uptime_secs`], which is read once a request.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;

use super::health::LegState;
use crate::config::{Config, Hours};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Authority, Role, SourceAddr};
use crate::egress::Egress;
use crate::telemetry::Metrics;

/// Events that a slow listener may be behind by. One further behind misses the oldest
/// and is told how many; states are always to be had from the legs themselves.
const EVENTS_KEPT: usize = 1024;
/// Looks under way over all accounts.
const LOOKS_AT_ONCE: usize = 64;
/// A leg that was not given this long has not shown that it is dead: several times what
/// the way to the broker and a handshake take, and less than half of any sensible limit.
const FAIR_SHARE: Duration = Duration::from_millis(750);
/// How long a name, then a connection, and then a `getIP`, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How legs are looked after.
#[derive(Clone, Debug)]
pub struct LegSettings {
    /// How long a leg that tripped must be healthy before it is used again.
    pub dwell: Duration,
    /// Idle connections kept to the API host on each leg that admits; 0 for none.
    pub warm: usize,
    /// Keep them at any hour, and not only while something is traded.
    pub warm_always: bool,
    /// The broker's API host: what is probed and kept warm.
    pub api: Authority,
}

impl From<&Config> for LegSettings {
    fn from(config: &Config) -> Self {
        Self {
            dwell: config.legs.dwell,
            warm: config.legs.warm,
            warm_always: config.legs.warm_hours == Hours::Always,
            api: config.dhan.api.clone(),
        }
    }
}

/// A leg changed state.
#[derive(Clone, Debug)]
pub struct LegEvent {
    /// The account that the leg is of.
    pub account: AccountName,
    /// Which of the account's two legs.
    pub role: Role,
    /// The address it leaves from.
    pub source: SourceAddr,
    /// The state before.
    pub from: LegState,
    /// The state after.
    pub to: LegState,
    /// When it changed.
    pub at: SystemTime,
}

/// What `getIP` answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAddress {
    /// The address the broker saw (`detectedIP`); `None` where it did not say, or said
    /// what cannot be.
    pub detected: Option<IpAddr>,
    /// Does the broker take orders from it? From `ordersAllowed`; where that is missing,
    /// from an `ipMatchStatus` that says so; `None` where neither is there.
    pub orders_allowed: Option<bool>,
}

/// What a leg has done for it by those who know all legs.
pub(super) trait Care: Send + Sync {
    /// Probe the leg `role` at this time.
    fn probe_at(&self, role: Role, at: Instant);

    /// Wait for the first look at the leg `role`. False when `by` came first, so that nothing may be signed.
    fn first_look(&self, role: Role, by: Instant) -> BoxFuture<'_, bool>;

    /// Is this address another account's? Nobody to say so is no proof that it is not.
    fn is_anothers(&self, address: IpAddr) -> bool;
}

/// The things that all legs share.
pub(super) struct LegContext {
    settings: ArcSwap<LegSettings>,
    /// `settings.api`, which stays.
    api: Authority,
    egress: Arc<Egress>,
    metrics: Arc<Metrics>,
    events: broadcast::Sender<LegEvent>,
    looks_at_once: Semaphore,
    /// Given at the start.
    tasks: OnceLock<Tasks>,
    began: Instant,
}

impl std::fmt::Debug for LegContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("settings", &self.settings.load()).finish_non_exhaustive()
    }
}

impl LegContext {
    pub(super) fn new(settings: LegSettings, egress: Arc<Egress>, metrics: Arc<Metrics>) -> Self {
        Self {
            api: settings.api.clone(),
            settings: ArcSwap::from_pointee(settings),
            egress,
            metrics,
            events: broadcast::Sender::new(EVENTS_KEPT),
            looks_at_once: Semaphore::new(LOOKS_AT_ONCE),
            tasks: OnceLock::new(),
            began: Instant::now(),
        }
    }

    /// Only the first that are given count.
    pub(super) fn start(&self, tasks: &Tasks) {
        let _ = self.tasks.set(tasks.clone());
    }

    pub(super) fn events(&self) -> broadcast::Receiver<LegEvent> {
        self.events.subscribe()
    }

    /// The API host stays.
    pub(super) fn reload(&self, settings: LegSettings) {
        self.settings.store(Arc::new(LegSettings { api: self.api.clone(), ..settings }));
    }

    pub(super) fn settings(&self) -> Guard<Arc<LegSettings>> {
        self.settings.load()
    }

    pub(super) const fn api(&self) -> &Authority {
        &self.api
    }

    pub(super) const fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    pub(super) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(super) fn tasks(&self) -> Option<&Tasks> {
        self.tasks.get()
    }

    pub(super) const fn looks_at_once(&self) -> &Semaphore {
        &self.looks_at_once
    }

    pub(super) fn is_api(&self, to: &Authority) -> bool {
        self.api == *to
    }

    /// How long a leg must have had before running out of time tells against it.
    pub(super) fn fair_share(&self) -> Duration {
        FAIR_SHARE.min(self.egress.connect_timeout())
    }

    /// Seconds since it was made, from 1 on.
    pub(super) fn uptime_secs(&self) -> u64 {
        self.began.elapsed().as_secs() + 1
    }

    /// Nobody listening is no reason to stop.
    pub(super) fn emit(&self, event: LegEvent) {
        let _ = self.events.send(event);
    }
}
