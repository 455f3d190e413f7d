//! One host: what is known of it, and what its last lookup came to.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::family::Family;
use super::kept::{self, KnownHost};
use super::question::ServerAnswer;
use super::servers::ServerFailures;
use crate::domain::Host;
use crate::domain::lock;

/// Answers are kept at least this long, however short their TTL.
pub(super) const TTL_FLOOR: Duration = Duration::from_secs(5);
/// Answers are kept no longer than this, however long their TTL.
pub(super) const TTL_CEILING: Duration = Duration::from_secs(300);
/// How old a last good answer may be when there is no other.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// A host that nobody has dialled for so long is not asked about any more.
const IN_USE: Duration = Duration::from_secs(3600);
/// Between two attempts where nothing is known and somebody waits.
const WANTED_AGAIN: Duration = Duration::from_millis(250);

/// The first wait after a failure; it doubles...
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ...up to this while there is a good answer...
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// ...and up to this while there is none, and whoever dials is refused.
const LONGEST_WAIT_UNKNOWN: Duration = Duration::from_secs(4);
/// One warning a host in this time, however often it fails.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// So long an address that could not be dialled is tried after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(in crate::egress) struct Name {
    host: Host,
    family: Family,
    state: Mutex<NameState>,
    /// Notified whenever an attempt to look it up has ended.
    pub(super) queried: Notify,
    /// An address of it could not be dialled.
    doubt: Notify,
}

#[derive(Debug)]
struct NameState {
    good: Option<Good>,
    /// The last attempt, if it failed, and how many before it in a row.
    failure: Option<(Arc<ServerFailures>, u32)>,
    keeper: KeeperState,
    /// When it was last dialled.
    used: Instant,
    /// When an attempt last ended.
    queried_at: Option<Instant>,
    /// When it was last logged that the name servers fail, and whether an address was known then.
    warned: Option<(Instant, bool)>,
    /// Is the last that was logged of it that it fails?
    reported_failing: bool,
    /// The address that a connection was last made to, and when.
    alive: Option<(IpAddr, Instant)>,
    /// Addresses that could not be dialled, and when.
    dead: Vec<(IpAddr, Instant)>,
}

#[derive(Debug)]
struct Good {
    addresses: Vec<IpAddr>,
    /// When a name server gave it.
    at: Instant,
    /// When it is to be asked for anew.
    over: Instant,
}

/// What the task that keeps a name is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeeperState {
    /// There is none.
    Absent,
    /// It asks for the first time.
    Begins,
    /// It asks again.
    Queries,
    /// It waits for the time to ask again.
    Waits,
}

/// What whoever dials gets at once.
#[derive(Debug)]
pub(super) enum Glance {
    Known(Vec<IpAddr>),
    /// Just now, and it is not asked again yet.
    Failed,
    /// It is being asked. If not for the first time, there is something to fall back on: an old answer, or why there
    /// was none.
    Querying {
        for_the_first_time: bool,
    },
}

/// What a keeper does when its wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Query,
    /// Nobody has dialled it for long.
    Sleep,
}

impl Name {
    pub(super) fn new(host: Host, family: Family) -> Self {
        let state = NameState {
            good: None,
            failure: None,
            keeper: KeeperState::Absent,
            used: Instant::now(),
            queried_at: None,
            warned: None,
            reported_failing: false,
            alive: None,
            dead: Vec::new(),
        };
        Self { host, family, state: Mutex::new(state), queried: Notify::new(), doubt: Notify::new() }
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    pub(super) const fn family(&self) -> Family {
        self.family
    }

    /// What was known of it at the end of the last run. It is old at once, so it is asked about before it is used.
    pub(super) fn restore(&self, entry: KnownHost) {
        let now = Instant::now();
        // A clock that is behind says nothing of the age, and a host whose name service is dead has perhaps no other.
        let age = Duration::from_secs(kept::now().saturating_sub(entry.at));
        let Some(at) = now.checked_sub(age) else { return };
        let good = Good { addresses: entry.addresses, at, over: at };
        self.state().good.get_or_insert(good);
    }

    /// What is to be known of it after a restart.
    pub(super) fn entry(&self) -> Option<KnownHost> {
        let now = Instant::now();
        let state = self.state();
        let addresses = state.addresses(now)?;
        let age = now.duration_since(state.proved()?);
        Some(KnownHost { addresses, at: kept::now().saturating_sub(age.as_secs()) })
    }

    /// Somebody dials it now; `keep` starts the keeper that it lacks.
    pub(super) fn glance(&self, now: Instant, keep: impl FnOnce()) -> Glance {
        let mut state = self.state();
        state.used = now;
        if state.keeper == KeeperState::Absent {
            state.keeper = KeeperState::Begins;
            keep();
        }
        let fresh = state.good.as_ref().is_some_and(|good| now < good.over);
        match (state.addresses(now), &state.failure) {
            // Of one that is being kept the answer is moments old, or there is no newer one.
            (Some(addresses), _) if fresh || state.keeper != KeeperState::Begins => Glance::Known(addresses),
            (None, Some(_)) if state.keeper == KeeperState::Waits => Glance::Failed,
            (None, None) => Glance::Querying { for_the_first_time: true },
            (Some(_), _) | (None, Some(_)) => Glance::Querying { for_the_first_time: false },
        }
    }

    /// What there is after a wait.
    pub(super) fn conclude(&self, now: Instant) -> Result<Vec<IpAddr>, Option<Arc<ServerFailures>>> {
        let state = self.state();
        state.addresses(now).ok_or_else(|| state.failure.as_ref().map(|(failure, _)| Arc::clone(failure)))
    }

    /// An attempt ended; when to make the next one.
    pub(super) fn answered(&self, answer: Result<ServerAnswer, ServerFailures>, now: Instant) -> Instant {
        let due = {
            let mut state = self.state();
            state.keeper = KeeperState::Waits;
            state.queried_at = Some(now);
            match answer {
                Ok(found) => state.took(&self.host, found, now),
                Err(failure) => state.failed((&self.host, self.family), failure, now),
            }
        };
        self.queried.notify_waiters();
        due
    }

    /// The wait for the next attempt is over.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut state = self.state();
        if now.duration_since(state.used) < IN_USE {
            state.keeper = KeeperState::Queries;
            return Next::Query;
        }
        // Before anybody may look again, so that whoever dials next starts another one.
        state.keeper = KeeperState::Absent;
        Next::Sleep
    }

    /// Its keeper is gone.
    pub(super) fn left_alone(&self) {
        self.state().keeper = KeeperState::Absent;
        self.queried.notify_waiters();
    }

    /// Resolves when an address could not be dialled, or when there is none and somebody wants one, but not at once after
    /// the last attempt.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
        let (queried_at, pause) = {
            let state = self.state();
            let is_known = state.addresses(Instant::now()).is_some();
            (state.queried_at, if is_known { TTL_FLOOR } else { WANTED_AGAIN })
        };
        if let Some(queried_at) = queried_at {
            sleep_until(queried_at + pause).await;
        }
    }

    /// Somebody wants an address, and none is known: it is asked about before its time.
    pub(super) fn is_wanted(&self) {
        self.doubt.notify_one();
    }

    /// In which order to dial: the one that worked last first, those that did not last. The one that worked is tried
    /// after the others even if the name has it no longer, for a name server may have been made to lie.
    pub(in crate::egress) fn in_order(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let now = Instant::now();
        let state = self.state();
        let alive = state.alive.filter(|(_, at)| now.duration_since(*at) < GOOD_FOR).map(|(alive, _)| alive);
        let is_dead = |address: &IpAddr| {
            state.dead.iter().any(|(dead, at)| dead == address && now.duration_since(*at) < SHUNNED_FOR)
        };
        let mut ordered = addresses.to_vec();
        ordered.extend(alive.filter(|alive| !addresses.contains(alive)));
        ordered.sort_by_key(|address| (is_dead(address), !addresses.contains(address), alive != Some(*address)));
        ordered
    }

    /// A connection was made to this address, and TLS proved who is there.
    pub(in crate::egress) fn worked(&self, address: IpAddr) {
        let mut state = self.state();
        state.dead.retain(|(dead, _)| *dead != address);
        state.alive = Some((address, Instant::now()));
    }

    /// This address could not be dialled: others go first, and perhaps the host has moved.
    pub(in crate::egress) fn did_not_work(&self, address: IpAddr) {
        let now = Instant::now();
        {
            let mut state = self.state();
            state.dead.retain(|(dead, at)| *dead != address && now.duration_since(*at) < SHUNNED_FOR);
            state.dead.push((address, now));
        }
        self.doubt.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, NameState> {
        lock(&self.state)
    }
}

impl NameState {
    /// The last good answer, if it is not too old.
    fn addresses(&self, now: Instant) -> Option<Vec<IpAddr>> {
        let proved = self.proved()?;
        self.good.as_ref().filter(|_| now.duration_since(proved) < GOOD_FOR).map(|good| good.addresses.clone())
    }

    /// When a name server last gave it, or a connection to it last showed that it holds.
    fn proved(&self) -> Option<Instant> {
        let good = self.good.as_ref()?;
        let alive = self.alive.filter(|(alive, _)| good.addresses.contains(alive));
        Some(alive.map_or(good.at, |(_, at)| at.max(good.at)))
    }

    fn took(&mut self, host: &Host, found: ServerAnswer, now: Instant) -> Instant {
        let over = now + found.ttl.clamp(TTL_FLOOR, TTL_CEILING);
        self.failure = None;
        if std::mem::take(&mut self.reported_failing) {
            tracing::info!(%host, "the name servers tell its address again");
        }
        self.good = Some(Good { addresses: found.addresses, at: now, over });
        over
    }

    fn failed(&mut self, (host, family): (&Host, Family), failure: ServerFailures, now: Instant) -> Instant {
        let record = family.record();
        let before = self.failure.as_ref().map_or(0, |(_, times)| *times);
        let is_known = self.addresses(now).is_some();
        if self.warned.is_none_or(|(at, known)| known != is_known || now.duration_since(at) >= WARN_EVERY) {
            self.warned = Some((now, is_known));
            self.reported_failing = true;
            let (origin, said) = (&failure.servers.origin, failure.said());
            match self.good.as_ref().filter(|_| is_known) {
                Some(good) => {
                    let age_s = now.duration_since(good.at).as_secs();
                    tracing::warn!(%host, %origin, said, age_s,
                        "the name servers do not say where {host} is. What is sent goes on to the last known address, which works until \
                         the broker moves. What to do: run dig {record} {host}, and see to it that the name servers answer");
                }
                None => tracing::warn!(%host, %origin, said,
                    "the name servers do not say where {host} is, and no earlier address is known, so nothing can be sent to \
                     it. What to do: run dig {record} {host}, and see to it that the name servers answer, or pin its address in \
                     egress.resolve"),
            }
        }
        self.failure = Some((Arc::new(failure), before.saturating_add(1)));
        let longest = if is_known { LONGEST_WAIT } else { LONGEST_WAIT_UNKNOWN };
        now + (FIRST_WAIT * (1 << before.min(10))).min(longest)
    }
}

#[cfg(test)]
impl Name {
    /// As if its TTL had passed.
    pub(super) fn let_it_be_over(&self) {
        if let Some(good) = &mut self.state().good {
            good.over = good.at;
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.state().keeper == KeeperState::Absent
    }
}
