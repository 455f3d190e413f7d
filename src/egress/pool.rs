//! Idle connections of one exit.
//!
//! A connection may be reused only for the account, source address, host, port
//! and TLS profile it was opened for. Account and address are not part of a key
//! here because they cannot differ: every exit has a pool of its own, and an
//! account whose pair changes gets new exits. Last in, first out, because the
//! connection used last is the one least likely to have been closed meanwhile. How long one has lain is counted by a clock
//! that goes on while the machine sleeps: after a night of that the other side has forgotten it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::Id;

use super::tls::AlpnProfile;
use crate::domain::{Authority, BootInstant, lock};

/// Something that can lie idle.
pub trait Reusable {
    /// Has the other side closed it, or may it not be used again for another reason? If not, `waker` is
    /// woken when that may have changed.
    fn is_closed(&mut self, waker: &Waker) -> bool;

    /// Whose reactor wakes it, if that matters. One of another runtime has to be moved first.
    fn runtime(&self) -> Option<Id>;
}

/// Idle connections, newest last.
pub struct Pool<C> {
    idle: Mutex<Vec<Idle<C>>>,
    bounds: Arc<IdleBounds>,
    stir: Waker,
    /// Will somebody look at it when what lies in it has become too old?
    watched: AtomicBool,
}

impl<C> std::fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// How many may lie idle in each pool, and for how long. All pools share them, and
/// they may change at any time.
#[derive(Debug, Default)]
pub struct IdleBounds {
    cap: AtomicUsize,
    max_idle_micros: AtomicU64,
}

impl IdleBounds {
    /// At most `cap` connections in a pool, none idle for longer than `max_idle`.
    pub fn new(cap: usize, max_idle: Duration) -> Self {
        let bounds = Self::default();
        bounds.set(cap, max_idle);
        bounds
    }

    /// From now on others. A pool that holds more keeps what it has until the next is put in.
    pub fn set(&self, cap: usize, max_idle: Duration) {
        self.cap.store(cap, Ordering::Relaxed);
        self.max_idle_micros.store(u64::try_from(max_idle.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn max_idle(&self) -> Duration {
        Duration::from_micros(self.max_idle_micros.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Idle<C> {
    to: Authority,
    profile: AlpnProfile,
    since: BootInstant,
    connection: C,
}

impl<C: Reusable> Pool<C> {
    /// Empty, within `bounds`. `stir` is woken when something came on an idle connection: most often its end,
    /// and then [`Pool::expire`] lets go of it. Also when connections lie in it and nobody watches it.
    pub const fn new(bounds: Arc<IdleBounds>, stir: Waker) -> Self {
        Self { idle: Mutex::new(Vec::new()), bounds, stir, watched: AtomicBool::new(false) }
    }

    /// When to look at it next for what has become too old. `None` if nothing lies in it: whoever puts something in
    /// calls again.
    pub fn look_again(&self, now: BootInstant) -> Option<BootInstant> {
        // Before it is looked whether it is empty: what is put in from here on sees it.
        self.watched.store(false, Ordering::SeqCst);
        if self.is_empty() {
            return None;
        }
        self.watched.store(true, Ordering::SeqCst);
        Some(now + self.bounds.max_idle())
    }

    /// The freshest idle connection to `to`, if there is one that still lives; of those that
    /// `here` wakes, if there are any.
    pub fn take(&self, to: &Authority, profile: AlpnProfile, now: BootInstant, here: Option<Id>) -> Option<C> {
        let mut idle = self.lock();
        let max_idle = self.bounds.max_idle();
        loop {
            let fits = |i: &Idle<C>| i.profile == profile && i.to == *to;
            let own = |i: &Idle<C>| i.connection.runtime().is_none_or(|runtime| here == Some(runtime));
            let found = idle.iter().rposition(|i| fits(i) && own(i)).or_else(|| idle.iter().rposition(fits))?;
            let mut found = idle.remove(found);
            // Only what is taken is looked at: the others' turn comes when they are, or in a sweep.
            if now.since(found.since) < max_idle && !found.connection.is_closed(Waker::noop()) {
                return Some(found.connection);
            }
        }
    }

    /// Keep a connection. The oldest one goes when there are too many.
    pub fn put(&self, to: Authority, profile: AlpnProfile, mut connection: C, now: BootInstant) {
        if connection.is_closed(&self.stir) {
            return;
        }
        let mut idle = self.lock();
        idle.push(Idle { to, profile, since: now, connection });
        let surplus = idle.len().saturating_sub(self.bounds.cap.load(Ordering::Relaxed));
        idle.drain(..surplus);
        drop(idle);
        if !self.watched.load(Ordering::SeqCst) {
            self.stir.wake_by_ref();
        }
    }

    /// How many to `to` still live and have lain for less than `younger`.
    pub fn fresh(&self, to: &Authority, profile: AlpnProfile, younger: Duration, now: BootInstant) -> usize {
        let mut idle = self.lock();
        self.sweep(&mut idle, now);
        let counts = |i: &&Idle<C>| i.profile == profile && i.to == *to && now.since(i.since) < younger;
        idle.iter().filter(counts).count()
    }

    /// Drop all of them.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Drop those that are not `kept`. Were there any?
    pub fn keep_only(&self, mut kept: impl FnMut(&C) -> bool) -> bool {
        let mut idle = self.lock();
        let before = idle.len();
        idle.retain(|idle| kept(&idle.connection));
        idle.len() < before
    }

    /// Since when the oldest has lain here.
    pub fn oldest(&self) -> Option<BootInstant> {
        self.lock().first().map(|i| i.since)
    }

    /// Drop the oldest. Was there one?
    pub fn drop_oldest(&self) -> bool {
        let mut idle = self.lock();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        oldest.is_some()
    }

    /// Drop what is closed or too old.
    pub fn expire(&self, now: BootInstant) {
        self.sweep(&mut self.lock(), now);
    }

    /// How many lie idle.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sweep(&self, idle: &mut Vec<Idle<C>>, now: BootInstant) {
        let max_idle = self.bounds.max_idle();
        idle.retain_mut(|i| !i.connection.is_closed(&self.stir) && now.since(i.since) < max_idle);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle<C>>> {
        lock(&self.idle)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// A connection that remembers what it was opened for.
    #[derive(Debug, Clone)]
    struct Opened {
        exit: usize,
        to: Authority,
        profile: AlpnProfile,
        closed: Arc<AtomicBool>,
    }

    impl Reusable for Opened {
        fn is_closed(&mut self, _: &Waker) -> bool {
            self.closed.load(Ordering::Relaxed)
        }

        fn runtime(&self) -> Option<Id> {
            None
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// A request of an exit to a host: reuse or open, then put back or drop.
        Request { exit: usize, host: usize, http2: bool, keep: bool },
        /// The broker closes one.
        Close { nth: usize },
        /// The account gets another pair: its exit is made anew.
        Replace { exit: usize },
        /// Time passes.
        Wait { seconds: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..6usize, 0..4usize, any::<bool>(), any::<bool>())
                .prop_map(|(exit, host, http2, keep)| Step::Request { exit, host, http2, keep }),
            2 => (0..64usize).prop_map(|nth| Step::Close { nth }),
            1 => (0..6usize).prop_map(|exit| Step::Replace { exit }),
            1 => (0..40u64).prop_map(|seconds| Step::Wait { seconds }),
        ]
    }

    proptest! {
        /// The promise of the whole product: whatever happens in whatever order,
        /// a request never gets a connection that was opened for something else,
        /// is closed, or has lain too long.
        #[test]
        fn a_connection_is_reused_only_for_what_it_was_opened_for(steps in prop::collection::vec(step(), 1..200)) {
            let limit = Duration::from_secs(30);
            let fresh = || Pool::<(Opened, BootInstant)>::new(Arc::new(IdleBounds::new(3, limit)), Waker::noop().clone());
            let hosts: Vec<_> = ["api.dhan.co:443", "api.dhan.co:8443", "auth.dhan.co:443", "api-feed.dhan.co:443"]
                .iter().map(|h| Authority::parse(h, None).unwrap()).collect();
            // Generation tells a replaced exit from the one before it.
            let mut pools: Vec<_> = (0..6).map(|n| (n, fresh())).collect();
            let mut next_exit = 6;
            let mut all: Vec<Opened> = Vec::new();
            let mut now = BootInstant::now();
            for step in steps {
                match step {
                    Step::Request { exit, host, http2, keep } => {
                        let profile = if http2 { AlpnProfile::Http2 } else { AlpnProfile::Http1 };
                        let (id, pool) = &pools[exit];
                        let connection = match pool.take(&hosts[host], profile, now, None) {
                            Some((mut found, since)) => {
                                prop_assert_eq!(found.exit, *id);
                                prop_assert_eq!(&found.to, &hosts[host]);
                                prop_assert_eq!(found.profile, profile);
                                prop_assert!(!found.is_closed(Waker::noop()));
                                prop_assert!(now.since(since) < limit);
                                found
                            }
                            None => {
                                let new = Opened { exit: *id, to: hosts[host].clone(), profile, closed: Arc::default() };
                                all.push(new.clone());
                                new
                            }
                        };
                        if keep {
                            pool.put(hosts[host].clone(), profile, (connection, now), now);
                        }
                        prop_assert!(pool.len() <= 3);
                    }
                    Step::Close { nth } => {
                        if let Some(connection) = all.get(nth) {
                            connection.closed.store(true, Ordering::Relaxed);
                        }
                    }
                    Step::Replace { exit } => {
                        pools[exit] = (next_exit, fresh());
                        next_exit += 1;
                    }
                    Step::Wait { seconds } => now = now + Duration::from_secs(seconds),
                }
            }
        }
    }

    impl Reusable for (Opened, BootInstant) {
        fn is_closed(&mut self, waker: &Waker) -> bool {
            self.0.is_closed(waker)
        }

        fn runtime(&self) -> Option<Id> {
            None
        }
    }
}
