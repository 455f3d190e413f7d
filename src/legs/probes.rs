//! Probes: trying the legs that do not admit, until they do.
//!
//! One task has a queue of legs by the time of their next probe, which their health
//! says; each probe is a task of its own, and only so many run at once, however many
//! accounts lost a line. A probe is a TLS connection to the API host by that leg, which
//! then lies idle for the first request, and `getIP` where somebody can ask it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::context::PATIENCE;
use super::health::{Event, PathState, Reason};
use super::inbox::Key;
use super::register::Register;
use super::{Leg, Legs, failed_dial, looks};
use crate::domain::Role;
use crate::domain::tasks::Tasks;
/// Probes at once, over all accounts: a dead line holds each for a connect timeout.
const AT_ONCE: usize = 64;

/// Legs by the time of their next probe, each at most once.
#[derive(Default)]
struct ProbeQueue {
    by_time: BTreeMap<(Instant, usize, bool), Weak<Legs>>,
    times: HashMap<Key, Instant>,
}

impl ProbeQueue {
    const fn place(at: Instant, (legs, role): Key) -> (Instant, usize, bool) {
        (at, legs, matches!(role, Role::Secondary))
    }

    fn put(&mut self, key: Key, legs: Weak<Legs>, at: Instant) {
        if let Some(old) = self.times.insert(key, at) {
            self.by_time.remove(&Self::place(old, key));
        }
        self.by_time.insert(Self::place(at, key), legs);
    }

    fn next(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, ..), _)| *at)
    }

    /// One that is due.
    fn pop(&mut self, now: Instant) -> Option<(Weak<Legs>, Role)> {
        let entry = self.by_time.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, legs, secondary), weak) = entry.remove_entry();
        let role = if secondary { Role::Secondary } else { Role::Primary };
        self.times.remove(&(legs, role));
        Some((weak, role))
    }
}

/// Probe until the process is to stop.
pub(super) async fn run(register: Arc<Register>, tasks: Tasks) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut queue = ProbeQueue::default();
    loop {
        for (key, (legs, at)) in register.inbox.take() {
            queue.put(key, legs, at);
        }
        while let Some((legs, role)) = queue.pop(Instant::now()) {
            let Some(legs) = legs.upgrade() else { continue };
            if legs.ended().is_cancelled() || legs.leg(role).in_probe.swap(true, Ordering::Relaxed) {
                continue;
            }
            let permit = tokio::select! {
                permit = Arc::clone(&at_once).acquire_owned() => permit,
                () = tasks.stopping() => return,
            };
            let (register, stop) = (Arc::clone(&register), tasks.clone());
            tasks.spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = probe(&register, &legs, role) => {}
                    () = stop.stopping() => {}
                }
            });
        }
        let due = queue.next();
        tokio::select! {
            () = register.inbox.filled.notified() => {}
            () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            () = tasks.stopping() => return,
        }
    }
}

async fn probe(register: &Register, legs: &Arc<Legs>, role: Role) {
    let leg = legs.leg(role);
    let line = if leg.is_here() { try_line(register, leg).await } else { PathState::Failed(Reason::AddressGone) };
    let getter = register.getter().filter(|_| line == PathState::Works);
    let seen = match getter {
        Some(getter) => looks::look(getter.as_ref(), legs, role).await.seen(),
        None => None,
    };
    if getter.is_some() && seen.is_none() && leg.wants_proof() {
        tracing::info!(account = %legs.account(), leg = role.as_str(),
            "the broker could not be asked whether it takes orders from this leg again");
    }
    // Before the next one is planned, so that it is not taken for one under way.
    leg.in_probe.store(false, Ordering::Relaxed);
    leg.learn(Event::Probed(line, seen.map(|seen| leg.sight(seen))));
}

async fn try_line(register: &Register, leg: &Leg) -> PathState {
    let at = match register.context.egress().resolve(register.context.api(), Instant::now() + PATIENCE).await {
        Ok(at) => at,
        Err(err) => return failed_dial::line_of(&err),
    };
    match tokio::time::timeout(PATIENCE, leg.exit().prove(&at)).await {
        Ok(Ok(())) => PathState::Works,
        Ok(Err(err)) => failed_dial::line_of(&err),
        Err(_) => PathState::Failed(Reason::ConnectTimedOut),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A leg whose probe is planned anew must not be probed twice, nor at the old time.
    #[test]
    fn the_last_plan_for_a_leg_is_the_one_that_counts() {
        let now = Instant::now();
        let after = |s| now + Duration::from_secs(s);
        let mut queue = ProbeQueue::default();
        queue.put((8, Role::Primary), Weak::new(), after(1));
        queue.put((8, Role::Secondary), Weak::new(), after(2));
        queue.put((8, Role::Primary), Weak::new(), after(3));
        assert_eq!(queue.next(), Some(after(2)));
        assert!(queue.pop(after(1)).is_none());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(after(9)).map(|(_, role)| role)).collect();
        assert_eq!(order, [Role::Secondary, Role::Primary]);
        assert!(queue.next().is_none() && queue.times.is_empty());
    }
}
