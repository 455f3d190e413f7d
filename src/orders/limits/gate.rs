//! Waiting for a limit: cancels first, else in order of arrival, never too long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use super::moment::{Moment, Monotonic};
use super::rules::Rules;
use super::{Ask, Classes, Decision, Limit, Limits, Priority, Taken};
use crate::broker::dhan::endpoints::RateClass;

/// One account's limits, and those who wait for them. As many can wait as there are
/// requests in flight; who cannot be let through in time is refused at once.
#[derive(Debug)]
pub struct Gate {
    clock: Monotonic,
    state: Mutex<State>,
}

/// A request was let through and counted. Dropping it changes nothing: what may have
/// left counts. See [`Gate::give_back`].
#[derive(Debug)]
pub struct Pass(Taken);

/// A request was not let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker takes {limit}, and this one would be more")]
pub struct Limited {
    /// What is in the way.
    pub limit: Limit,
    /// When it is worth another try; never, if there is none.
    pub retry_after: Option<Duration>,
}

impl Limited {
    /// The word in metrics, logs and replies. Never changes.
    pub const fn code(&self) -> &'static str {
        "rate_limited"
    }
}

#[derive(Debug)]
struct State {
    limits: Limits,
    max_wait: Duration,
    lanes: Classes<Lane>,
    next: u64,
}

/// Those who wait for the windows of one class.
#[derive(Debug, Default)]
struct Lane {
    cancels: VecDeque<Waiter>,
    others: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wake: Arc<Notify>,
}

impl Lane {
    fn of(&mut self, priority: Priority) -> &mut VecDeque<Waiter> {
        match priority {
            Priority::Cancel => &mut self.cancels,
            Priority::Other => &mut self.others,
        }
    }

    /// How many leave before one that comes now.
    fn ahead(&self, priority: Priority) -> usize {
        self.cancels.len() + if priority == Priority::Other { self.others.len() } else { 0 }
    }

    /// How many leave before this one.
    fn before(&self, priority: Priority, number: u64) -> usize {
        let place = |queue: &VecDeque<Waiter>| queue.iter().position(|waiter| waiter.number == number).unwrap_or(0);
        match priority {
            Priority::Cancel => place(&self.cancels),
            Priority::Other => self.cancels.len() + place(&self.others),
        }
    }
}

/// What one who waits does next.
enum Step {
    Through(Result<Pass, Limited>),
    Sleep(Moment),
}

impl Gate {
    /// For an account that has sent nothing. `max_wait` is `limits.max_wait`.
    pub fn new(rules: Arc<Rules>, max_wait: Duration, clock: Monotonic) -> Self {
        let state = State { limits: Limits::new(rules), max_wait, lanes: Classes::default(), next: 0 };
        Self { clock, state: Mutex::new(state) }
    }

    /// Other rules of the same broker, and another `max_wait`. What left counts on; who
    /// waits goes by the new rules when its turn comes.
    pub fn reload(&self, rules: Arc<Rules>, max_wait: Duration) {
        let mut state = self.lock();
        state.limits.reload(rules);
        state.max_wait = max_wait;
    }

    /// Count what left before a restart: see [`Limits::rebuild`]. `wall` is now.
    pub fn rebuild(&self, past: impl IntoIterator<Item = (Timestamp, Ask)>, wall: Timestamp) {
        let mut state = self.lock();
        let now = self.clock.now();
        state.limits.rebuild(past, wall, now);
    }

    /// Wait until the request may leave, and count it. To be called last, when all
    /// else is ready: what is counted is when it leaves. Cancel-safe: who stops
    /// waiting gives its place back and is not counted.
    ///
    /// # Errors
    /// When it may not leave within `max_wait`; as soon as that is known.
    pub async fn enter(&self, ask: Ask) -> Result<Pass, Limited> {
        let (mut place, mut until, deadline) = {
            let mut state = self.lock();
            let now = self.clock.now();
            let deadline = now.after(state.max_wait);
            match state.ask(&ask, None, deadline, now) {
                Step::Through(done) => return done,
                Step::Sleep(until) => (self.wait_in_line(&mut state, &ask), until, deadline),
            }
        };
        loop {
            tokio::select! {
                () = place.wake.notified() => {}
                () = sleep_until(self.clock.instant(until)) => {}
            }
            let step = self.lock().ask(&ask, Some(place.number), deadline, self.clock.now());
            match step {
                Step::Through(done) => {
                    // Those behind it have planned with its going.
                    place.went = done.is_ok();
                    return done;
                }
                Step::Sleep(later) => until = later,
            }
        }
    }

    /// Nothing of it left: no byte was written. It does not count.
    pub fn give_back(&self, pass: Pass) {
        let mut state = self.lock();
        let class = pass.0.ask.class;
        state.limits.give_back(pass.0);
        state.wake(class);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        let lanes = [&state.lanes.order, &state.lanes.data, &state.lanes.quote, &state.lanes.other];
        lanes.iter().map(|lane| lane.cancels.len() + lane.others.len()).sum()
    }

    fn wait_in_line(&self, state: &mut State, ask: &Ask) -> Place<'_> {
        let number = state.next;
        state.next += 1;
        let wake = Arc::new(Notify::new());
        // The same option chain waits for its own time and must not hold up others.
        if ask.class != RateClass::OptionChain {
            let waiter = Waiter { number, wake: Arc::clone(&wake) };
            state.lanes.of_mut(ask.class).of(ask.priority).push_back(waiter);
        }
        Place { gate: self, class: ask.class, priority: ask.priority, number, wake, went: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Let it through if there is room for it and for all who are before it.
    fn ask(&mut self, ask: &Ask, waiting: Option<u64>, deadline: Moment, now: Moment) -> Step {
        let lane = self.lanes.of(ask.class);
        let ahead = match (ask.class, waiting) {
            (RateClass::OptionChain, _) => 0,
            (_, Some(number)) => lane.before(ask.priority, number),
            (_, None) => lane.ahead(ask.priority),
        };
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        match self.limits.try_take_behind(ahead, ask, deadline, now) {
            Decision::Go(taken) => Step::Through(Ok(Pass(taken))),
            Decision::Wait { until, .. } => Step::Sleep(until),
            Decision::Refuse { retry_after, limit } => Step::Through(Err(Limited { limit, retry_after })),
        }
    }

    /// There is room that nobody planned with.
    fn wake(&self, class: RateClass) {
        let lane = self.lanes.of(class);
        for waiter in lane.cancels.iter().chain(&lane.others) {
            waiter.wake.notify_one();
        }
    }
}

/// A place in a line. Dropped, it is free, and those behind it are told.
struct Place<'a> {
    gate: &'a Gate,
    class: RateClass,
    priority: Priority,
    number: u64,
    wake: Arc<Notify>,
    went: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.lanes.of_mut(self.class).of(self.priority).retain(|waiter| waiter.number != self.number);
        if !self.went {
            state.wake(self.class);
        }
    }
}
