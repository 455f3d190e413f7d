//! The broker's limits, kept for each account before a request leaves.
//!
//! Pure but for [`RateLimiter`]: `now` is an argument. Monotonic, so that setting the wall
//! clock changes nothing.
//!
//! A request first reserves its moment and is counted when it is sent: between the two
//! lie a connection and the journal's disk, which may take seconds. What is reserved
//! takes up room in every window, as if it left now, until it is counted or dropped.
//! So what was reserved can be counted at any time without a window growing too full,
//! and no more are on their way to a connection than a window holds.
//!
//! Invariants:
//! - In any span as long as one of the broker's windows no more leave than it allows,
//!   but for what takes risk away: that keeps to the pace (windows shorter than a
//!   minute) and no further, or an engine that ran wild could not cancel. The broker may
//!   count in fixed windows that begin anywhere, in sliding ones, and by India's day or
//!   by 24 hours: any 24 hours here, which no calendar day is longer than.
//! - What left counts, whatever became of it. What was counted and did not leave is
//!   given back.
//! - Nobody waits past its deadline. What takes risk away never waits behind a
//!   placement, not even behind one that is reserved: then that one waits when it is to
//!   be counted.
//! - An account that sends nothing costs a few hundred bytes.
//!
//! Not here: the numbers (`broker::dhan::limits`); what a 429 of the broker means.

mod classes;
mod clock;
mod counter;
mod rate_limiter;
mod rate_request;
mod rules;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::classes::Classes;
use self::counter::{Cap, Counter};
use crate::broker::dhan::endpoints::RateClass;
use crate::broker::dhan::limits::Window;
use crate::domain::OrderChanges;

pub use clock::{MonotonicClock, MonotonicTime};
pub use rate_limiter::{Limited, Permit, RateLimiter, Reserved};
pub use rate_request::{Priority, RateRequest};
pub use rules::Rules;
pub use usage::Usage;

/// Orders whose changes are remembered before those that were left alone for a day are forgotten.
const ORDERS: usize = 4096;
const DAY: Duration = Duration::from_hours(24);

/// Which limit it is that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The number of requests of a class in a window.
    Window {
        /// The class of requests that the window counts.
        class: RateClass,
        /// The broker's window, without our margin.
        window: Window,
    },
    /// The same option chain again.
    OptionChain {
        /// Once in so long.
        every: Duration,
    },
    /// OrderChanges of one order.
    Modifications {
        /// How many there may be.
        per_order: u32,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { class, window } => {
                let what = match class {
                    RateClass::Order => "order writes",
                    RateClass::Data | RateClass::OptionChain => "data requests",
                    RateClass::Quote => "quote requests",
                    RateClass::Other => "other requests",
                };
                write!(f, "{} {what} in {}", window.count, humantime::format_duration(window.per))
            }
            Self::OptionChain { every } => {
                write!(f, "the same option chain once in {}", humantime::format_duration(*every))
            }
            Self::Modifications { per_order } => write!(f, "{per_order} changes of one order"),
        }
    }
}

/// May it leave?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// It may go now, with this to show for it.
    Go(T),
    /// Not before then, if nobody else goes first.
    Wait {
        /// When to ask again.
        until: MonotonicTime,
        /// What is in the way.
        limit: Limit,
    },
    /// Not by its deadline.
    Refuse {
        /// When it is worth another try; never, if there is none.
        retry_after: Option<Duration>,
        /// What is in the way.
        limit: Limit,
    },
}

/// Room that is kept for a request until it is counted or released.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct HeldRoom {
    request: RateRequest,
    changes: Option<OrderChanges>,
}

/// A request that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    request: RateRequest,
    at: MonotonicTime,
    changes: Option<OrderChanges>,
}

/// How many of a class are reserved and not yet counted.
#[derive(Clone, Copy, Debug, Default)]
struct Reservations {
    /// What takes risk away.
    first: u32,
    others: u32,
}

impl Reservations {
    const fn of(&mut self, priority: Priority) -> &mut u32 {
        if priority.takes_risk_away() { &mut self.first } else { &mut self.others }
    }
}

/// What one account sent, as far as the broker's limits are concerned.
#[derive(Debug)]
pub struct Limits {
    rules: Arc<Rules>,
    /// One for each rule of a class; none until the class is used.
    counters: Classes<Vec<Counter>>,
    reserved: Classes<Reservations>,
    /// Bodies of option chains of the last seconds: no more than data requests fit in there.
    /// Without a moment: reserved.
    chains: Vec<([u8; 32], Option<MonotonicTime>)>,
    /// How often an order was changed, reserved changes included, and when last.
    modified: HashMap<Arc<str>, (u32, MonotonicTime)>,
}

impl Limits {
    /// Of an account that has sent nothing.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules,
            counters: Classes::default(),
            reserved: Classes::default(),
            chains: Vec::new(),
            modified: HashMap::new(),
        }
    }

    /// Other rules of the same broker: another margin.
    pub(super) fn reload(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
    }

    /// Reserve and count a request at once, or say when or why not. `ahead` and `deadline` as in
    /// [`Limits::try_reserve`].
    pub fn try_take(
        &mut self,
        ahead: u32,
        request: &RateRequest,
        deadline: MonotonicTime,
        now: MonotonicTime,
    ) -> Decision<Taken> {
        match self.try_reserve(ahead, request, deadline, now) {
            Decision::Go(held) => Decision::Go(self.count(&held, now)),
            Decision::Wait { until, limit } => Decision::Wait { until, limit },
            Decision::Refuse { retry_after, limit } => Decision::Refuse { retry_after, limit },
        }
    }

    /// Keep room for a request if there is room for it and for so many of its class that go
    /// first; `deadline` is how long it can wait. To be counted or released, never dropped.
    pub fn try_reserve(
        &mut self,
        ahead: u32,
        request: &RateRequest,
        deadline: MonotonicTime,
        now: MonotonicTime,
    ) -> Decision<HeldRoom> {
        match self.earliest(request, ahead, now) {
            Ok(None) => Decision::Go(self.hold(request, now)),
            Ok(Some(found)) => not_now(found, deadline, now),
            Err(limit) => Decision::Refuse { retry_after: None, limit },
        }
    }

    /// Count what was reserved: it leaves now. There is room, unless what takes risk away took it
    /// meanwhile: that does not wait for a placement's connection or disk. `ahead` as in
    /// [`Limits::try_reserve`]. Unless it goes, it is still reserved.
    pub fn try_count(
        &mut self,
        ahead: u32,
        held: &HeldRoom,
        deadline: MonotonicTime,
        now: MonotonicTime,
    ) -> Decision<Taken> {
        let request = &held.request;
        let first = self.reserved.of(request.class).first;
        // What takes risk away has kept its room from everybody.
        let late = if request.priority.takes_risk_away() { None } else { self.room(request, first, ahead, now) };
        match late {
            None => Decision::Go(self.count(held, now)),
            Some(found) => not_now(found, deadline, now),
        }
    }

    /// What was reserved does not leave.
    pub fn release(&mut self, held: &HeldRoom) {
        self.unhold(held);
        self.unchange(&held.request);
    }

    /// When it may be reserved if so many of its class leave first, and what is in the way;
    /// nothing when it may be now.
    ///
    /// # Errors
    /// When it may never leave.
    fn earliest(
        &self,
        request: &RateRequest,
        ahead: u32,
        now: MonotonicTime,
    ) -> Result<Option<(MonotonicTime, Limit)>, Limit> {
        let per_order = self.rules.modifications_per_order;
        let times = request.modifies.as_ref().and_then(|order| self.modified.get(order));
        if times.is_some_and(|(times, _)| *times >= per_order) {
            return Err(Limit::Modifications { per_order });
        }
        let every = self.rules.option_chain_every;
        let chain = request.body.and_then(|body| {
            self.chains.iter().filter(|(other, _)| *other == body).map(|(_, at)| at.unwrap_or(now)).max()
        });
        let chain = chain.map(|at| (at.after(every), Limit::OptionChain { every })).filter(|(at, _)| *at > now);
        let Reservations { first, others } = *self.reserved.of(request.class);
        let reserved = if request.priority.takes_risk_away() { first } else { first.saturating_add(others) };
        Ok(self.room(request, reserved, ahead, now).into_iter().chain(chain).max_by_key(|(at, _)| *at))
    }

    /// When there is room in all windows besides so many that are reserved and so many that
    /// leave first, and which window it is; nothing when there is now.
    fn room(
        &self,
        request: &RateRequest,
        reserved: u32,
        ahead: u32,
        now: MonotonicTime,
    ) -> Option<(MonotonicTime, Limit)> {
        let rules = self.rules.of(request.class);
        let cap = |rule: &rules::WindowRule| match request.priority {
            Priority::Exit | Priority::Cancel => rule.cancels,
            Priority::Other => Some(rule.cap),
        };
        let at = |cap: Cap, counter: Option<&Counter>| match counter {
            Some(counter) => counter.earliest(cap, reserved, ahead, now),
            // Nothing of this class left yet.
            None => Counter::new(cap).earliest(cap, reserved, ahead, now),
        };
        let counters = self.counters.of(request.class);
        let windows = rules.iter().enumerate().filter_map(|(place, rule)| {
            Some((at(cap(rule)?, counters.get(place)), Limit::Window { class: request.class, window: rule.window }))
        });
        windows.max_by_key(|(at, _)| *at).filter(|(at, _)| *at > now)
    }

    fn hold(&mut self, request: &RateRequest, now: MonotonicTime) -> HeldRoom {
        *self.reserved.of_mut(request.class).of(request.priority) += 1;
        if let Some(body) = request.body {
            self.chains.push((body, None));
        }
        HeldRoom { changes: self.change(request, now), request: request.clone() }
    }

    fn unhold(&mut self, held: &HeldRoom) {
        let request = &held.request;
        let reserved = self.reserved.of_mut(request.class).of(request.priority);
        *reserved = reserved.saturating_sub(1);
        if let Some(body) = request.body {
            self.unchain((body, None));
        }
    }

    fn count(&mut self, held: &HeldRoom, now: MonotonicTime) -> Taken {
        let request = &held.request;
        self.unhold(held);
        self.add(request, now);
        let every = self.rules.option_chain_every;
        self.chains.retain(|(_, at)| at.is_none_or(|at| at.after(every) > now));
        if self.modified.len() > ORDERS {
            self.modified.retain(|_, (_, at)| now.since(*at) < DAY);
        }
        for (rule, counter) in self.rules.of(request.class).iter().zip(self.counters.of_mut(request.class)) {
            counter.forget(rule.longest(), now);
        }
        Taken { request: request.clone(), at: now, changes: held.changes }
    }

    /// It left, whether there was room or not.
    fn left(&mut self, request: &RateRequest, now: MonotonicTime) {
        let held = self.hold(request, now);
        let _ = self.count(&held, now);
    }

    /// All but the order's changes, which count from the reservation on.
    fn add(&mut self, request: &RateRequest, at: MonotonicTime) {
        let counters = self.counters.of_mut(request.class);
        if counters.is_empty() {
            counters.extend(self.rules.of(request.class).iter().map(|rule| Counter::new(rule.cap)));
        }
        for counter in counters {
            counter.add(at);
        }
        if let Some(body) = request.body {
            self.chains.push((body, Some(at)));
        }
    }

    fn change(&mut self, request: &RateRequest, at: MonotonicTime) -> Option<OrderChanges> {
        let order = request.modifies.as_ref()?;
        let (times, last) = self.modified.entry(Arc::clone(order)).or_insert((0, at));
        *times += 1;
        *last = at.max(*last);
        Some(OrderChanges { this: *times, most: self.rules.modifications_per_order })
    }

    fn unchange(&mut self, request: &RateRequest) {
        let Some(order) = &request.modifies else { return };
        let Some((times, _)) = self.modified.get_mut(order) else { return };
        *times = times.saturating_sub(1);
        if *times == 0 {
            self.modified.remove(order);
        }
    }

    fn unchain(&mut self, chain: ([u8; 32], Option<MonotonicTime>)) {
        if let Some(place) = self.chains.iter().rposition(|other| *other == chain) {
            self.chains.remove(place);
        }
    }

    /// It did not leave after all: no byte of it was written.
    pub fn refund(&mut self, taken: Taken) {
        let Taken { request, at, .. } = taken;
        for counter in self.counters.of_mut(request.class) {
            counter.remove(at);
        }
        if let Some(body) = request.body {
            self.unchain((body, Some(at)));
        }
        self.unchange(&request);
    }

    /// Count what left before a restart, in the order in which it left. A wall clock that was set back since, and was
    /// ahead for a while or all the time, leaves lines in the future and steps back between them: nothing is taken for
    /// older than the steps between the lines that came after it add up to, nor than its own time says, so it is counted
    /// for too long rather than forgotten. A wall clock that was set forward makes them look older than they are, which
    /// nothing here can tell.
    pub fn rebuild(
        &mut self,
        past: impl IntoIterator<Item = (Timestamp, RateRequest)>,
        wall: Timestamp,
        now: MonotonicTime,
    ) {
        let past: Vec<_> = past.into_iter().collect();
        let span = |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).ok();
        let (mut steps, mut later) = (Duration::ZERO, wall);
        let mut ages: Vec<Duration> = Vec::with_capacity(past.len());
        for (at, _) in past.iter().rev() {
            steps += span(*at, later).unwrap_or_default();
            later = *at;
            ages.push(span(*at, wall).map_or(steps, |own| own.min(steps)));
        }
        for ((_, request), age) in past.into_iter().zip(ages.into_iter().rev()) {
            self.add(&request, now.before(age));
            self.change(&request, now.before(age));
        }
        let every = self.rules.option_chain_every;
        self.chains.retain(|(_, at)| at.is_none_or(|at| at.after(every) > now));
        for class in [RateClass::Order, RateClass::Data, RateClass::Quote, RateClass::Other] {
            for (rule, counter) in self.rules.of(class).iter().zip(self.counters.of_mut(class)) {
                counter.forget(rule.longest(), now);
            }
        }
    }
}

/// What stands in the way of one that may not leave now.
fn not_now<T>((earliest, limit): (MonotonicTime, Limit), deadline: MonotonicTime, now: MonotonicTime) -> Decision<T> {
    if earliest > deadline {
        return Decision::Refuse { retry_after: Some(earliest.since(now)), limit };
    }
    Decision::Wait { until: earliest, limit }
}
