//! What is around the accounts' addresses: this host's own, its listeners', its routers'.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::domain::lock;
use crate::host::Own;

/// What the kernel said serves for so long: accounts are made many at once.
const SERVES: Duration = Duration::from_secs(1);

/// Asks the kernel when a pair is given away. Knows nothing, and forbids nothing, before it may ask.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// An address outside, for asking which address this host would take by itself.
    outside: OnceLock<Ipv6Addr>,
    bound: Mutex<HashSet<Ipv6Addr>>,
    known: Mutex<Option<(Instant, Arc<Own>)>>,
}

impl Around {
    pub(super) fn enable_host_lookup(&self, outside: Ipv6Addr) {
        let _ = self.outside.set(outside);
    }

    pub(super) fn bound_to(&self, addresses: impl IntoIterator<Item = Ipv6Addr>) {
        *lock(&self.bound) = addresses.into_iter().collect();
        *lock(&self.known) = None;
    }

    /// As of now, or of a second ago.
    pub(super) fn own(&self) -> Arc<Own> {
        let mut known = lock(&self.known);
        if let Some((_, own)) = known.as_ref().filter(|(at, _)| at.elapsed() < SERVES || self.outside.get().is_none()) {
            return Arc::clone(own);
        }
        let Some(outside) = self.outside.get() else { return Arc::default() };
        let bound = lock(&self.bound).clone();
        let own = Arc::new(Own::read(*outside, bound));
        *known = Some((Instant::now(), Arc::clone(&own)));
        own
    }

    #[cfg(test)]
    pub(super) fn is(&self, own: Own) {
        *self.known.lock().unwrap() = Some((Instant::now(), Arc::new(own)));
    }
}
