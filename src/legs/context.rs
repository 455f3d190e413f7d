//! The attendant: the one of a gateway that looks after every account's legs.
//!
//! It holds what all legs share, knows the legs there are, tells them which addresses
//! are on this host, and runs the probes and the warm connections. Legs hold it; it
//! holds them weakly, so legs that nobody uses any more are gone.
//!
//! Nothing of it is on the order path but the second of its life, which is read once
//! a request: what it finds out is pushed into the legs' own state. A change of
//! addresses looks at every leg, a few milliseconds for 20,000 of them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;

use super::health::LegState;
use super::leg::Seen;
use super::probes::Inbox;
use super::{FAIR_SHARE, Leg, Legs, looks, probes, warm, watch};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Authority, Role, SourceAddr};
use crate::egress::Egress;
use crate::net::netlink::LocalRoutes;
use crate::telemetry::Metrics;

/// Events that a slow listener may be behind by. One further behind misses the oldest
/// and is told how many; states are always to be had from the legs themselves.
const EVENTS_KEPT: usize = 1024;

/// How legs are looked after.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a leg that tripped must be healthy before it is used again.
    pub dwell: Duration,
    /// Idle connections kept to the API host on each leg that admits; 0 for none.
    pub warm: usize,
    /// Keep them at any hour, and not only while something is traded.
    pub warm_always: bool,
    /// The broker's API host: what is probed and kept warm.
    pub api: Authority,
}

/// A leg changed state.
#[derive(Clone, Debug)]
pub struct LegEvent {
    /// Whose.
    pub account: AccountName,
    /// Which.
    pub role: Role,
    /// The address it leaves from.
    pub source: SourceAddr,
    /// What it was.
    pub from: LegState,
    /// What it is.
    pub to: LegState,
    /// When.
    pub at: SystemTime,
}

/// Asks the broker by one leg of an account what it sees of it (`getIP`). Made where
/// tokens are known; legs cannot sign.
pub trait GetIp: Send + Sync {
    /// Can it be asked now: is there a live token?
    fn can_ask(&self, legs: &Legs) -> bool;

    /// Ask, on a new connection. No future when it cannot be asked, and nothing from it
    /// when there was no whole answer; one that does not say is a [`Seen`] without anything in it.
    ///
    /// Must leave by that leg and no other ([`Leg::lease_for_errand`]). It is given ten seconds
    /// and dropped then.
    fn get_ip(&self, legs: &Arc<Legs>, role: Role) -> Option<BoxFuture<'static, Option<Seen>>>;

    /// Is this address another account's, or was it, as far as is known?
    fn is_anothers(&self, legs: &Legs, address: IpAddr) -> bool;
}

/// See the module.
pub struct Attendant {
    settings: ArcSwap<Settings>,
    /// `settings.api`, which stays.
    api: Authority,
    egress: Arc<Egress>,
    metrics: Arc<Metrics>,
    register: Mutex<Register>,
    /// What the kernel delivers to this host; `None` while that is not known.
    local: Mutex<Option<LocalRoutes>>,
    events: broadcast::Sender<LegEvent>,
    inbox: Inbox,
    get_ip: OnceLock<Arc<dyn GetIp>>,
    looks_at_once: Semaphore,
    /// Given at the start.
    tasks: OnceLock<Tasks>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Register {
    legs: Vec<Weak<Legs>>,
    /// Look for dead ones when there are this many.
    tidy_at: usize,
}

impl std::fmt::Debug for Attendant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attendant").field("settings", &self.settings.load()).finish_non_exhaustive()
    }
}

impl Attendant {
    /// One that does nothing by itself until it is started.
    pub fn new(settings: Settings, egress: Arc<Egress>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            api: settings.api.clone(),
            settings: ArcSwap::from_pointee(settings),
            egress,
            metrics,
            register: Mutex::default(),
            local: Mutex::new(None),
            events: broadcast::Sender::new(EVENTS_KEPT),
            inbox: Inbox::default(),
            get_ip: OnceLock::new(),
            looks_at_once: Semaphore::new(looks::AT_ONCE),
            tasks: OnceLock::new(),
            began: Instant::now(),
        })
    }

    /// Watch addresses, probe, look, and keep warm, until `tasks` stop.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        let _ = self.tasks.set(tasks.clone());
        tasks.spawn(looks::run(Arc::clone(self), tasks.clone()));
        tasks.spawn(watch::run(Arc::clone(self), tasks.clone()));
        tasks.spawn(probes::run(Arc::clone(self), tasks.clone()));
        tasks.spawn(warm::run(Arc::clone(self), tasks.clone()));
    }

    /// Who asks `getIP`. Only the first one given counts; without one, legs are used
    /// without having been looked at, and one whose address the broker refused stays
    /// refused for orders until one is taken from it.
    pub fn set_get_ip(&self, get_ip: Arc<dyn GetIp>) {
        let _ = self.get_ip.set(get_ip);
    }

    /// Every change of a leg's state from now on.
    pub fn events(&self) -> broadcast::Receiver<LegEvent> {
        self.events.subscribe()
    }

    /// Other settings, for the legs there are and those to come. The API host stays.
    pub fn reload(&self, settings: Settings) {
        let dwell = settings.dwell;
        self.settings.store(Arc::new(Settings { api: self.api.clone(), ..settings }));
        for legs in self.all() {
            legs.both().into_iter().for_each(|leg| leg.set_dwell(dwell));
        }
    }

    pub(super) fn settings(&self) -> Guard<Arc<Settings>> {
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

    pub(super) fn getter(&self) -> Option<&Arc<dyn GetIp>> {
        self.get_ip.get()
    }

    pub(super) fn tasks(&self) -> Option<&Tasks> {
        self.tasks.get()
    }

    pub(super) const fn looks_at_once(&self) -> &Semaphore {
        &self.looks_at_once
    }

    /// Nobody to say so is no proof that it is not.
    pub(super) fn is_anothers(&self, legs: &Legs, address: IpAddr) -> bool {
        self.getter().is_none_or(|getter| getter.is_anothers(legs, address))
    }

    pub(super) const fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(super) fn is_api(&self, to: &Authority) -> bool {
        self.api == *to
    }

    /// How long a leg must have had before running out of time tells against it.
    pub(super) fn fair_share(&self) -> Duration {
        FAIR_SHARE.min(self.egress.connect_timeout())
    }

    /// Seconds since it was made, from 1 on.
    pub(super) fn second(&self) -> u64 {
        self.began.elapsed().as_secs() + 1
    }

    /// Nobody listening is no reason to stop.
    pub(super) fn tell(&self, event: LegEvent) {
        let _ = self.events.send(event);
    }

    pub(super) fn probe_at(&self, legs: &Arc<Legs>, role: Role, at: Instant) {
        self.inbox.put(legs, role, at);
    }

    /// Look after these legs from now on.
    pub(super) fn take_in(&self, legs: &Arc<Legs>) {
        {
            let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
            if register.legs.len() >= register.tidy_at {
                register.legs.retain(|legs| legs.strong_count() > 0);
                register.tidy_at = 64 + register.legs.len() * 2;
            }
            register.legs.push(Arc::downgrade(legs));
        }
        // After they are registered: a change from here on reaches them by itself.
        let local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = &*local {
            tell_addresses(legs, local);
        }
    }

    /// All legs there are.
    pub(super) fn all(&self) -> Vec<Arc<Legs>> {
        let register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        register.legs.iter().filter_map(Weak::upgrade).collect()
    }

    /// Nobody knows for how long this machine stood still: whoever is at the other end of an idle connection may have
    /// forgotten it, and an order that is written to one is lost.
    pub fn lines_may_be_dead(&self) {
        for legs in self.all() {
            legs.both().into_iter().for_each(|leg| leg.exit().forget_idle());
        }
    }

    /// Routes, rules or links of this host changed: what lies idle and has no route any more would be found dead by an
    /// order, whose outcome then nobody knows.
    pub(super) fn ways_changed(&self) {
        let now = Instant::now();
        for legs in self.all() {
            for leg in legs.both() {
                if leg.exit().forget_unroutable() {
                    self.probe_at(&legs, leg.role(), now);
                }
            }
        }
    }

    /// Nobody says any more which addresses are on this host.
    pub(super) fn addresses_are_unknown(&self) {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        *local = None;
        for legs in self.all() {
            legs.both().into_iter().for_each(|leg| Leg::address_is(leg, true));
        }
    }

    /// The kernel delivers other addresses than before.
    pub(super) fn addresses_are(&self, routes: LocalRoutes) {
        // Held to the end, so that what a leg is told last is the newest.
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = local.insert(routes);
        for legs in self.all() {
            tell_addresses(&legs, routes);
        }
        looks::hurry(self);
    }
}

fn tell_addresses(legs: &Legs, local: &LocalRoutes) {
    for leg in legs.both() {
        Leg::address_is(leg, local.covers(leg.source().ip()));
    }
}
