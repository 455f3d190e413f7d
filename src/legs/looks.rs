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
//!   and sooner where the last one told nothing; only for accounts in use. Legs that are
//!   kept warm are looked at before anybody asks.
//!
//! Bounds: one look at once for each leg, [`AT_ONCE`] over all; of those that nobody waits
//! for at most [`A_TICK`] begin every [`TICK`].

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::context::{Attendant, GetIp};
use super::health::{Event, Purpose};
use super::leg::Seen;
use super::probes::PATIENCE;
use super::{Leg, Legs, warm};
use crate::broker::dhan::calendar;
use crate::domain::tasks::Tasks;
use crate::domain::{Role, steady};

/// So long nothing is signed by a leg that is being asked about for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Looks under way over all accounts.
pub(super) const AT_ONCE: usize = 64;
const TICK: Duration = Duration::from_secs(5);
const A_TICK: usize = 100;
/// From a look that told to the next one...
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// ...from one that told nothing...
const UNTOLD: Duration = Duration::from_secs(20 * 60);
/// ...from one that was doubtful...
const DOUBTFUL: Duration = Duration::from_secs(30);
/// ...and from a change of this host's addresses or routes: at most. Half of each is jitter.
const CHANGED: Duration = Duration::from_secs(10);
/// However often routes change, a leg is not looked at more often for that.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// When a leg is looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When the one that is under way began.
    began: Option<Instant>,
    /// When the last one ended.
    last: Option<Instant>,
    /// When the next one is due; none before the first.
    next: Option<Instant>,
}

impl Looks {
    fn end(&mut self, found: Option<Found>, now: Instant, random: u32) {
        self.began = None;
        if let Some(found) = found {
            self.last = Some(now);
            self.next = Some(now + jittered(found.wait(), random));
        }
    }

    /// Addresses or routes of this host changed.
    fn hurry(&mut self, now: Instant, random: u32) {
        if let Some((last, next)) = self.last.zip(self.next) {
            let soon = (now + jittered(CHANGED, random)).max(last + AT_MOST_EVERY);
            self.next = Some(next.min(soon));
        }
    }
}

/// Between half of `wait` and all of it.
fn jittered(wait: Duration, random: u32) -> Duration {
    wait / 2 + wait / 2 * (random % 256) / 255
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The broker's answer; another address in it was seen twice in a row.
    Told(Seen),
    /// Another address was seen once, and then nothing was said.
    Doubtful,
    /// There was no answer, or it does not say.
    NotTold,
}

impl Found {
    const fn wait(self) -> Duration {
        match self {
            Self::Told(Seen { detected: Some(_), .. }) => EVERY,
            Self::Told(Seen { detected: None, .. }) | Self::NotTold => UNTOLD,
            Self::Doubtful => DOUBTFUL,
        }
    }

    /// What its leg learns of it.
    pub(super) const fn seen(self) -> Option<Seen> {
        match self {
            Self::Told(seen) => Some(seen),
            Self::Doubtful | Self::NotTold => None,
        }
    }
}

/// Ask, and again when the answer is another address.
pub(super) async fn ask(getter: &dyn GetIp, legs: &Arc<Legs>, role: Role) -> Found {
    let leg = legs.leg(role);
    let question = async || {
        let asked = getter.get_ip(legs, role)?;
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
    };
    let Some(first) = question().await else { return Found::NotTold };
    let Some(other) = first.detected.filter(|detected| !leg.is_own(*detected)) else { return Found::Told(first) };
    if leg.rank(Purpose::Read).is_barred() {
        return Found::Told(first);
    }
    tracing::warn!(account = %legs.account(), leg = role.as_str(), source = %leg.source(), seen = %other,
        "the broker saw another address than this account's own; it is asked again on a new connection");
    match question().await {
        Some(second) if second.detected.is_some() => Found::Told(second),
        Some(_) | None => Found::Doubtful,
    }
}

/// Wait for the first look at a leg, and begin it if need be. False when `by` came first,
/// so that nothing may be signed.
pub(super) async fn first(attendant: &Arc<Attendant>, legs: &Arc<Legs>, role: Role, by: Instant) -> bool {
    let leg = legs.leg(role);
    let mut ended = pin!(leg.looked.notified());
    // From here on its end is not missed.
    ended.as_mut().enable();
    let Some(began) = begin(attendant, legs, role) else { return true };
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
fn begin(attendant: &Arc<Attendant>, legs: &Arc<Legs>, role: Role) -> Option<Instant> {
    let tasks = attendant.tasks()?;
    let getter = attendant.getter().filter(|getter| getter.can_ask(legs))?;
    let leg = legs.leg(role);
    let now = Instant::now();
    {
        let mut looks = locked(leg);
        if let Some(began) = looks.began {
            return Some(began);
        }
        looks.began = Some(now);
    }
    let under_way = UnderWay { legs: Arc::clone(legs), role, random: warm::jitter(leg, attendant.second()) };
    let (attendant, getter, stop) = (Arc::clone(attendant), Arc::clone(getter), tasks.clone());
    tasks.spawn(async move {
        let look = async {
            // Never closed.
            let _permit = attendant.looks_at_once().acquire().await;
            ask(getter.as_ref(), &under_way.legs, role).await
        };
        let found = tokio::select! {
            found = look => Some(found),
            () = stop.stopping() => None,
        };
        under_way.end(found);
    });
    Some(now)
}

struct UnderWay {
    legs: Arc<Legs>,
    role: Role,
    random: u32,
}

impl UnderWay {
    fn end(&self, found: Option<Found>) {
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

impl Drop for UnderWay {
    /// However it ended, nobody waits for it any longer.
    fn drop(&mut self) {
        let leg = self.legs.leg(self.role);
        locked(leg).began = None;
        leg.looked.notify_waiters();
    }
}

/// Addresses or routes changed: which way a leg's packets go now, nobody knows.
pub(super) fn hurry(attendant: &Attendant) {
    for legs in attendant.all() {
        for leg in legs.both() {
            locked(leg).hurry(Instant::now(), warm::jitter(leg, attendant.second()));
        }
    }
}

/// Look again, and at warm legs for the first time, until the process is to stop.
pub(super) async fn run(attendant: Arc<Attendant>, tasks: Tasks) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = tasks.stopping() => return,
        }
        for (legs, role) in due(&attendant).into_iter().take(A_TICK) {
            let _ = begin(&attendant, &legs, role);
        }
    }
}

/// The legs that are to be looked at though nobody waits for it.
fn due(attendant: &Attendant) -> Vec<(Arc<Legs>, Role)> {
    let (warm, always) = {
        let settings = attendant.settings();
        (settings.warm > 0, settings.warm_always)
    };
    let warm = warm && (always || calendar::is_market_hours(steady::now()));
    let all = attendant.all();
    let everybody = all.len() <= warm::ALL_WARM;
    let now = Instant::now();
    let mut found = Vec::new();
    for legs in all.into_iter().filter(|legs| !legs.ended().is_cancelled()) {
        let in_use = warm::in_use(attendant, &legs);
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
    leg.looks.lock().unwrap_or_else(PoisonError::into_inner)
}
