//! The register: every account's legs, and what is known for all of them.
//!
//! It tells legs which addresses are on this host. Legs hold it; it holds them weakly, so legs that nobody uses any
//! more are gone. A change of addresses looks at every leg, a few milliseconds for 20,000 of them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Legs;
use super::context::{LegContext, SeenAddress};
use super::inbox::Inbox;
use crate::domain::Role;
use crate::domain::lock;
use crate::net::netlink::LocalRoutes;

/// Asks the broker by one leg of an account what it sees of it (`getIP`). Made where
/// tokens are known; legs cannot sign.
pub trait GetIp: Send + Sync {
    /// Can it be asked now: is there a live token?
    fn can_call(&self, legs: &Legs) -> bool;

    /// Ask, on a new connection. No future when it cannot be asked, and nothing from it
    /// when there was no whole answer; one that does not say is a [`SeenAddress`] without anything in it.
    ///
    /// Must leave by that leg and no other (`Leg::lease_for_errand`). It is given ten seconds
    /// and dropped then.
    fn get_ip(&self, legs: &Arc<Legs>, role: Role) -> Option<BoxFuture<'static, Option<SeenAddress>>>;

    /// Is this address another account's, or was it, as far as is known?
    fn is_anothers(&self, legs: &Legs, address: IpAddr) -> bool;
}

/// Every account's legs, held weakly, and the addresses that the kernel delivers to this host.
pub(super) struct Register {
    pub(super) context: Arc<LegContext>,
    legs: Mutex<RegisteredLegs>,
    /// What the kernel delivers to this host; `None` while that is not known.
    local: Mutex<Option<LocalRoutes>>,
    pub(super) inbox: Inbox,
    get_ip: OnceLock<Arc<dyn GetIp>>,
}

#[derive(Debug, Default)]
struct RegisteredLegs {
    legs: Vec<Weak<Legs>>,
    /// Look for dead ones when there are this many.
    tidy_at: usize,
}

impl Register {
    pub(super) fn new(context: Arc<LegContext>) -> Self {
        Self {
            context,
            legs: Mutex::default(),
            local: Mutex::new(None),
            inbox: Inbox::default(),
            get_ip: OnceLock::new(),
        }
    }

    pub(super) fn set_get_ip(&self, get_ip: Arc<dyn GetIp>) {
        let _ = self.get_ip.set(get_ip);
    }

    pub(super) fn getter(&self) -> Option<&Arc<dyn GetIp>> {
        self.get_ip.get()
    }

    /// Nobody to say so is no proof that it is not.
    pub(super) fn is_anothers(&self, legs: &Legs, address: IpAddr) -> bool {
        self.getter().is_none_or(|getter| getter.is_anothers(legs, address))
    }

    /// Look after these legs from now on.
    pub(super) fn add(&self, legs: &Arc<Legs>) {
        {
            let mut known = lock(&self.legs);
            if known.legs.len() >= known.tidy_at {
                known.legs.retain(|legs| legs.strong_count() > 0);
                known.tidy_at = 64 + known.legs.len() * 2;
            }
            known.legs.push(Arc::downgrade(legs));
        }
        // After they are registered: a change from here on reaches them by itself.
        let local = lock(&self.local);
        if let Some(local) = &*local {
            apply_addresses(legs, local);
        }
    }

    /// All legs there are.
    pub(super) fn all(&self) -> Vec<Arc<Legs>> {
        let known = lock(&self.legs);
        known.legs.iter().filter_map(Weak::upgrade).collect()
    }

    /// Routes, rules or links of this host changed: what lies idle and has no route any more would be found dead by an
    /// order, whose outcome then nobody knows.
    pub(super) fn ways_changed(&self) {
        let now = Instant::now();
        for legs in self.all() {
            for leg in legs.both() {
                if leg.exit().forget_unroutable() {
                    self.inbox.put(&legs, leg.role(), now);
                }
            }
        }
    }

    /// Nobody says any more which addresses are on this host.
    pub(super) fn addresses_are_unknown(&self) {
        let mut local = lock(&self.local);
        *local = None;
        for legs in self.all() {
            legs.both().into_iter().for_each(|leg| leg.address_is(true));
        }
    }

    /// The kernel delivers other addresses than before.
    pub(super) fn addresses_are(&self, routes: LocalRoutes) {
        // Held to the end, so that what a leg is told last is the newest.
        let mut local = lock(&self.local);
        let routes = local.insert(routes);
        for legs in self.all() {
            apply_addresses(&legs, routes);
        }
    }
}

fn apply_addresses(legs: &Legs, local: &LocalRoutes) {
    for leg in legs.both() {
        leg.address_is(local.covers(leg.source().ip()));
    }
}
