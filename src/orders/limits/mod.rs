//! The broker's limits, kept for each account before a request leaves.
//!
//! Pure but for [`Gate`]: `now` is an argument. Monotonic, so that setting the wall
//! clock changes nothing.
//!
//! Invariants:
//! - In any span as long as one of the broker's windows no more leave than it allows.
//!   The broker may count in fixed windows that begin anywhere, in sliding ones, and
//!   by India's day or by 24 hours: any 24 hours here, which no calendar day is longer
//!   than.
//! - What left counts, whatever became of it. What was counted and did not leave is
//!   given back.
//! - Nobody waits longer than `limits.max_wait`. A cancel never waits behind a
//!   placement.
//! - An account that sends nothing costs a few hundred bytes.
//!
//! Not here: the numbers (`broker::dhan::limits`); what a 429 of the broker means.

mod counter;
mod gate;
mod moment;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;

use self::counter::Counter;
use super::journal::{Entry, Kind};
use crate::broker::dhan::endpoints::{self, BASE, Endpoint, RateClass};
use crate::broker::dhan::limits::Window;

pub use gate::{Gate, Limited, Pass};
pub use moment::{Moment, Monotonic};
pub use rules::Rules;

/// Orders whose changes are remembered before those that were left alone for a day are forgotten.
const ORDERS: usize = 4096;
const DAY: Duration = Duration::from_hours(24);

/// Who goes first when there is not room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Takes risk away: a cancel, an exit, the kill switch.
    Cancel,
    /// Anything else.
    Other,
}

/// A request that wants to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What it counts against.
    pub class: RateClass,
    /// Whether it goes first.
    pub priority: Priority,
    /// The order that it changes.
    pub modifies: Option<Arc<str>>,
    /// For an option chain, the digest of its body.
    pub body: Option<[u8; 32]>,
}

impl Ask {
    /// What a request of this method and path (without its query) is. `body` is asked
    /// for only where it matters.
    pub fn of(method: &Method, path: &str, endpoint: &Endpoint, body: impl FnOnce() -> [u8; 32]) -> Self {
        let below = path.strip_prefix(BASE).unwrap_or(path);
        let is_order = endpoint.rate == RateClass::Order;
        let cancels = is_order && *method == Method::DELETE || *method == Method::POST && below == "/killswitch";
        Self {
            class: endpoint.rate,
            priority: if cancels { Priority::Cancel } else { Priority::Other },
            modifies: (is_order && *method == Method::PUT).then(|| order_in(below)).flatten().map(Arc::from),
            body: (endpoint.rate == RateClass::OptionChain).then(body),
        }
    }

    /// What a line of the journal says has left: for [`Limits::rebuild`].
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        let (method, path) = (entry.method.as_ref()?, entry.path.as_ref()?.as_str());
        let endpoint = endpoints::classify(method, path, None);
        (entry.kind == Kind::Intent)
            .then(|| Self::of(method, path, &endpoint, || entry.body_sha256.unwrap_or_default()))
    }
}

/// The order that a change is of. An alert is no order.
fn order_in(below: &str) -> Option<&str> {
    let rest = ["/orders/", "/super/orders/", "/forever/orders/"].iter().find_map(|kind| below.strip_prefix(kind))?;
    rest.split('/').next().filter(|id| !id.is_empty())
}

/// Which limit it is that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many of a class in a window.
    Window {
        /// The class.
        class: RateClass,
        /// The broker's window, without our margin.
        window: Window,
    },
    /// The same option chain again.
    OptionChain {
        /// Once in so long.
        every: Duration,
    },
    /// Changes of one order.
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
pub enum Decision {
    /// Yes, and it is counted.
    Go(Taken),
    /// Not before then, if nobody else goes first.
    Wait {
        /// When to ask again.
        until: Moment,
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

/// A request that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    ask: Ask,
    at: Moment,
}

/// What one account sent, as far as the broker's limits are concerned.
#[derive(Debug)]
pub struct Limits {
    rules: Arc<Rules>,
    /// One for each rule of a class; none until the class is used.
    counters: Classes<Vec<Counter>>,
    /// Bodies of option chains of the last seconds: no more than data requests fit in there.
    chains: Vec<([u8; 32], Moment)>,
    /// How often an order was changed, and when last.
    modified: HashMap<Arc<str>, (u32, Moment)>,
}

impl Limits {
    /// Of an account that has sent nothing.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, counters: Classes::default(), chains: Vec::new(), modified: HashMap::new() }
    }

    /// Other rules of the same broker: another margin.
    pub(super) fn reload(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
    }

    /// Count a request and let it go, or say when or why not. `deadline` is how long it can wait.
    pub fn try_take(&mut self, ask: &Ask, deadline: Moment, now: Moment) -> Decision {
        self.try_take_behind(0, ask, deadline, now)
    }

    /// As [`Limits::try_take`], if so many of its class go first. When it is let go,
    /// there is room for them all the same.
    fn try_take_behind(&mut self, ahead: u32, ask: &Ask, deadline: Moment, now: Moment) -> Decision {
        let (earliest, limit) = match self.earliest(ask, ahead, now) {
            Ok(None) => return Decision::Go(self.take(ask, now)),
            Ok(Some(found)) => found,
            Err(limit) => return Decision::Refuse { retry_after: None, limit },
        };
        if earliest > deadline {
            return Decision::Refuse { retry_after: Some(earliest.since(now)), limit };
        }
        Decision::Wait { until: earliest, limit }
    }

    /// When it may leave if so many of its class leave first, and what is in the way;
    /// nothing when it may leave now.
    ///
    /// # Errors
    /// When it may never leave.
    fn earliest(&self, ask: &Ask, ahead: u32, now: Moment) -> Result<Option<(Moment, Limit)>, Limit> {
        let per_order = self.rules.modifications_per_order;
        let times = ask.modifies.as_ref().and_then(|order| self.modified.get(order));
        if times.is_some_and(|(times, _)| *times >= per_order) {
            return Err(Limit::Modifications { per_order });
        }
        let every = self.rules.option_chain_every;
        let chain = ask.body.and_then(|body| self.chains.iter().rfind(|(other, _)| *other == body));
        let chain = chain.map(|(_, at)| (at.after(every), Limit::OptionChain { every }));
        let rules = self.rules.of(ask.class);
        let counters = self.counters.of(ask.class);
        let windows = rules.iter().zip(counters).map(|(rule, counter)| {
            let cap = match ask.priority {
                Priority::Cancel => rule.cancels,
                Priority::Other => rule.cap,
            };
            (counter.earliest(cap, ahead, now), Limit::Window { class: ask.class, window: rule.window })
        });
        Ok(windows.chain(chain).max_by_key(|(at, _)| *at).filter(|(at, _)| *at > now))
    }

    fn take(&mut self, ask: &Ask, now: Moment) -> Taken {
        self.add(ask, now);
        let every = self.rules.option_chain_every;
        self.chains.retain(|(_, at)| at.after(every) > now);
        if self.modified.len() > ORDERS {
            self.modified.retain(|_, (_, at)| now.since(*at) < DAY);
        }
        for (rule, counter) in self.rules.of(ask.class).iter().zip(self.counters.of_mut(ask.class)) {
            counter.forget(rule.longest(), now);
        }
        Taken { ask: ask.clone(), at: now }
    }

    fn add(&mut self, ask: &Ask, at: Moment) {
        let counters = self.counters.of_mut(ask.class);
        if counters.is_empty() {
            counters.extend(self.rules.of(ask.class).iter().map(|rule| Counter::new(rule.cap)));
        }
        for counter in counters {
            counter.add(at);
        }
        if let Some(body) = ask.body {
            self.chains.push((body, at));
        }
        if let Some(order) = &ask.modifies {
            let (times, last) = self.modified.entry(Arc::clone(order)).or_insert((0, at));
            *times += 1;
            *last = at.max(*last);
        }
    }

    /// It did not leave after all: no byte of it was written.
    pub fn give_back(&mut self, taken: Taken) {
        let Taken { ask, at } = taken;
        for counter in self.counters.of_mut(ask.class) {
            counter.remove(at);
        }
        if let Some(body) = ask.body
            && let Some(place) = self.chains.iter().rposition(|chain| *chain == (body, at))
        {
            self.chains.remove(place);
        }
        if let Some((times, _)) = ask.modifies.as_ref().and_then(|order| self.modified.get_mut(order)) {
            *times = times.saturating_sub(1);
        }
    }

    /// Count what left before a restart. When the wall clock went back since, so that
    /// the newest lies in the future, all are moved back together until it is now:
    /// counted for too long rather than forgotten. A wall clock that was set forward
    /// makes them look older than they are, which nothing here can tell.
    pub fn rebuild(&mut self, past: impl IntoIterator<Item = (Timestamp, Ask)>, wall: Timestamp, now: Moment) {
        let past: Vec<_> = past.into_iter().collect();
        let Some(newest) = past.iter().map(|(at, _)| *at).max() else { return };
        let wall = wall.max(newest);
        for (at, ask) in past {
            let age = Duration::try_from(wall.duration_since(at)).unwrap_or_default();
            self.add(&ask, now.before(age));
        }
        let every = self.rules.option_chain_every;
        self.chains.retain(|(_, at)| at.after(every) > now);
        for class in [RateClass::Order, RateClass::Data, RateClass::Quote, RateClass::Other] {
            for (rule, counter) in self.rules.of(class).iter().zip(self.counters.of_mut(class)) {
                counter.forget(rule.longest(), now);
            }
        }
    }
}

/// One of each kind that is counted apart.
#[derive(Debug, Default)]
struct Classes<T> {
    order: T,
    data: T,
    quote: T,
    other: T,
}

impl<T> Classes<T> {
    /// An option chain is counted as data.
    const fn of(&self, class: RateClass) -> &T {
        match class {
            RateClass::Order => &self.order,
            RateClass::Data | RateClass::OptionChain => &self.data,
            RateClass::Quote => &self.quote,
            RateClass::Other => &self.other,
        }
    }

    const fn of_mut(&mut self, class: RateClass) -> &mut T {
        match class {
            RateClass::Order => &mut self.order,
            RateClass::Data | RateClass::OptionChain => &mut self.data,
            RateClass::Quote => &mut self.quote,
            RateClass::Other => &mut self.other,
        }
    }
}
