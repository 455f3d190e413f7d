//! Looks: as what the broker sees a leg, by `getIP`, before anything else is signed on it.
//!
//! That a socket is bound to the right address proves the near side only: NAT66, a
//! masquerade or a wrong rule changes it on the way, and then it may be another account's.
//!
//! - A new leg is looked at when something is about to be signed on it; whoever comes
//!   meanwhile waits for the same look. A second after it began the leg is used all the
//!   same, and what comes of the look later still counts.
//! - Another address than the leg's own is asked about again at once, on a new connection:
//!   only twice in a row is proof ([`Reason::SeenAsAnother`](super::Reason)).
//! - What the broker does not say proves nothing, for or against.
//! - Later looks: a few times a day, soon after addresses or routes of this host changed,
//!   and sooner where the last one gave nothing; only for accounts in use. Legs that are
//!   kept warm are looked at before anybody asks.
//!
//! Bounds: one look at once for each leg, 64 over all; of those that nobody waits
//! for at most [`A_TICK`] begin every [`TICK`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::context::PATIENCE;
use super::health::{Event, Purpose};
use super::look_times::{LookResult, Looks};
use super::pace::jitter;
use super::register::{GetIp, Register};
use super::{Leg, Legs, warm};
use crate::broker::dhan::calendar;
use crate::domain::tasks::Tasks;
use crate::domain::{Role, lock, steady};

/// So long nothing is signed by a leg that is being asked about for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_secs(5);
const A_TICK: usize = 100;
/// Ask, and again when the answer is another address.
pub(super) async fn look(getter: &dyn GetIp, legs: &Arc<Legs>, role: Role) -> LookResult {
    let leg = legs.leg(role);
    let question = async || {
        let call = getter.get_ip(legs, role)?;
        tokio::time::timeout(PATIENCE, call).await.ok().flatten()
    };
    let Some(first) = question().await else { return LookResult::Unreported };
    let Some(other) = first.detected.filter(|detected| !leg.is_own(*detected)) else {
        return LookResult::Reported(first);
    };
    if leg.rank(Purpose::Read).is_barred() {
        return LookResult::Reported(first);
    }
    tracing::warn!(account = %legs.account(), leg = role.as_str(), source = %leg.source(), seen = %other,
        "the broker saw another address than this leg's own; it is asked again on a new connection");
    match question().await {
        Some(second) if second.detected.is_some() => LookResult::Reported(second),
        Some(_) | None => LookResult::Doubtful,
    }
}

/// Wait for the first look at a leg, and begin it if need be. False when `by` came first,
/// so that nothing may be signed.
pub(super) async fn first(register: &Arc<Register>, legs: &Arc<Legs>, role: Role, by: Instant) -> bool {
    let leg = legs.leg(role);
    let mut ended = pin!(leg.looked.notified());
    // From here on its end is not missed.
    ended.as_mut().enable();
    let Some(began) = begin(register, legs, role) else { return true };
    if !leg.is_unseen() {
        return true;
    }
    let enough = began + FIRST_LOOK;
    if tokio::time::timeout_at(enough.min(by), ended).await.is_ok() {
        return true;
    }
    if Instant::now() < enough {
        return false;
    }
    leg.set_unseen(false);
    true
}

/// Begin a look unless one is under way; when that one began. `None` while nobody can
/// ask: there is no live token.
fn begin(register: &Arc<Register>, legs: &Arc<Legs>, role: Role) -> Option<Instant> {
    let tasks = register.context.tasks()?;
    let getter = register.getter().filter(|getter| getter.can_call(legs))?;
    let leg = legs.leg(role);
    let now = Instant::now();
    {
        let mut looks = locked(leg);
        if let Some(began) = looks.began {
            return Some(began);
        }
        looks.began = Some(now);
    }
    let under_way =
        LookInProgress { legs: Arc::clone(legs), role, random: jitter(leg.source(), register.context.uptime_secs()) };
    let (register, getter, stop) = (Arc::clone(register), Arc::clone(getter), tasks.clone());
    tasks.spawn(async move {
        let looking = async {
            // Never closed.
            let _permit = register.context.looks_at_once().acquire().await;
            look(getter.as_ref(), &under_way.legs, role).await
        };
        let found = tokio::select! {
            found = looking => Some(found),
            () = stop.stopping() => None,
        };
        under_way.end(found);
    });
    Some(now)
}

struct LookInProgress {
    legs: Arc<Legs>,
    role: Role,
    random: u32,
}

impl LookInProgress {
    fn end(&self, found: Option<LookResult>) {
        let leg = self.legs.leg(self.role);
        if let Some(found) = found {
            if let Some(seen) = found.seen() {
                leg.learn(Event::Seen(leg.sight(seen)));
            }
            leg.set_unseen(false);
        }
        locked(leg).end(found, Instant::now(), self.random);
    }
}

impl Drop for LookInProgress {
    /// However it ended, nobody waits for it any longer.
    fn drop(&mut self) {
        let leg = self.legs.leg(self.role);
        locked(leg).began = None;
        leg.looked.notify_waiters();
    }
}

/// Addresses or routes changed: which way a leg's packets go now, nobody knows.
pub(super) fn hurry(register: &Register) {
    for legs in register.all() {
        for leg in legs.both() {
            locked(leg).hurry(Instant::now(), jitter(leg.source(), register.context.uptime_secs()));
        }
    }
}

/// Look again, and at warm legs for the first time, until the process is to stop.
pub(super) async fn run(register: Arc<Register>, tasks: Tasks) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = tasks.stopping() => return,
        }
        for (legs, role) in due(&register).into_iter().take(A_TICK) {
            let _ = begin(&register, &legs, role);
        }
    }
}

/// The legs that are to be looked at though nobody waits for it.
fn due(register: &Register) -> Vec<(Arc<Legs>, Role)> {
    let (warm, always) = {
        let settings = register.context.settings();
        (settings.warm > 0, settings.warm_always)
    };
    let warm = warm && (always || calendar::is_market_hours(steady::now()));
    let all = register.all();
    let everybody = all.len() <= warm::ALL_WARM;
    let now = Instant::now();
    let mut found = Vec::new();
    for legs in all.into_iter().filter(|legs| !legs.ended().is_cancelled()) {
        let in_use = warm::in_use(register, &legs);
        for leg in legs.both() {
            let pinned_away = legs.pin().is_some_and(|pin| pin != leg.role());
            let again = in_use && locked(leg).next.is_some_and(|next| next <= now);
            let first = warm && (everybody || in_use) && leg.is_unseen() && leg.admits(Purpose::Read);
            if !pinned_away && (again || first) {
                found.push((Arc::clone(&legs), leg.role()));
            }
        }
    }
    found
}

fn locked(leg: &Leg) -> std::sync::MutexGuard<'_, Looks> {
    lock(&leg.looks)
}
