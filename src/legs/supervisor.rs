//! The supervisor: the one of a gateway that looks after every account's legs.
//!
//! It makes legs, starts what probes, looks at and warms them, and is what the rest of the gateway sees of all that.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::context::{Care, LegContext, LegEvent, LegSettings};
use super::register::{GetIp, Register};
use super::{Legs, looks, probes, warm, watch};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Pair, Role};
use crate::egress::Egress;
use crate::telemetry::Metrics;

/// Looks after every account's legs: makes them, and runs what probes, looks at and warms them.
pub struct Supervisor {
    pub(super) register: Arc<Register>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").field("context", &self.register.context).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// One that does nothing by itself until it is started.
    pub fn new(settings: LegSettings, egress: Arc<Egress>, metrics: Arc<Metrics>) -> Arc<Self> {
        let context = Arc::new(LegContext::new(settings, egress, metrics));
        Arc::new(Self { register: Arc::new(Register::new(context)) })
    }

    /// Watch addresses, probe, look, and keep warm, until `tasks` stop.
    pub fn start(&self, tasks: &Tasks) {
        let register = || Arc::clone(&self.register);
        self.register.context.start(tasks);
        tasks.spawn(looks::run(register(), tasks.clone()));
        tasks.spawn(watch::run(register(), tasks.clone()));
        tasks.spawn(probes::run(register(), tasks.clone()));
        tasks.spawn(warm::run(register(), tasks.clone()));
    }

    /// Who asks `getIP`. Only the first one given counts; without one, legs are used
    /// without having been looked at, and one whose address the broker refused stays
    /// refused for orders until one is taken from it.
    pub fn set_get_ip(&self, get_ip: Arc<dyn GetIp>) {
        self.register.set_get_ip(get_ip);
    }

    /// Every change of a leg's state from now on.
    pub fn events(&self) -> broadcast::Receiver<LegEvent> {
        self.register.context.events()
    }

    /// Other settings, for the legs there are and those to come. The API host stays.
    pub fn reload(&self, settings: LegSettings) {
        let dwell = settings.dwell;
        self.register.context.reload(settings);
        for legs in self.register.all() {
            legs.both().into_iter().for_each(|leg| leg.set_dwell(dwell));
        }
    }

    /// Nobody knows for how long this machine stood still: whoever is at the other end of an idle connection may have
    /// forgotten it, and an order that is written to one is lost.
    pub fn lines_may_be_dead(&self) {
        for legs in self.register.all() {
            legs.both().into_iter().for_each(|leg| leg.exit().forget_idle());
        }
    }
}

impl Legs {
    /// Legs of `account` for `pair`, with connections of their own, looked after by `supervisor`.
    pub fn new(account: &AccountName, pair: &Pair, supervisor: &Supervisor) -> Arc<Self> {
        let register = &supervisor.register;
        let legs = Arc::new_cyclic(|legs| {
            let care = Arc::new(ByRegister { register: Arc::clone(register), legs: Weak::clone(legs) });
            Self::cared_for(account, pair, &register.context, care)
        });
        register.add(&legs);
        legs
    }
}

/// The care for one account's legs. When they are gone, nothing is done.
struct ByRegister {
    register: Arc<Register>,
    legs: Weak<Legs>,
}

impl Care for ByRegister {
    fn probe_at(&self, role: Role, at: Instant) {
        if let Some(legs) = self.legs.upgrade() {
            self.register.inbox.put(&legs, role, at);
        }
    }

    fn first_look(&self, role: Role, by: Instant) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match self.legs.upgrade() {
                Some(legs) => looks::first(&self.register, &legs, role, by).await,
                None => true,
            }
        })
    }

    fn is_anothers(&self, address: IpAddr) -> bool {
        self.legs.upgrade().is_none_or(|legs| self.register.is_anothers(&legs, address))
    }
}
