//! Waiting for a limit: what takes risk away first, else in order of arrival, never too long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::classes::Classes;
use super::clock::{MonotonicClock, MonotonicTime};
use super::rules::Rules;
use super::{Decision, HeldRoom, Limit, Limits, Priority, RateRequest, Taken};
use crate::broker::dhan::endpoints::RateClass;
use crate::domain::OrderChanges;
use crate::domain::lock;

/// One account's limits, and those who wait for them. As many can wait as there are
/// requests in flight; who cannot be let through in time is refused at once.
#[derive(Debug)]
pub struct RateLimiter {
    clock: MonotonicClock,
    state: Mutex<GateState>,
}

/// Room that nobody else gets, for a request that is on its way: [`Reserved::count`] it when it is
/// sent. Dropped, it gives the room back and wakes those who wait for it.
#[derive(Debug)]
#[must_use]
pub struct Reserved {
    gate: Arc<RateLimiter>,
    held: HeldRoom,
    counted: bool,
}

/// A request was let through and counted. Dropping it changes nothing: what may have
/// left counts. See [`RateLimiter::refund`].
#[derive(Debug)]
pub struct Permit(pub(super) Taken);

/// A request was not let through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker takes {limit}, and this one would be more{}", way_out(limit))]
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

const fn way_out(limit: &Limit) -> &'static str {
    match limit {
        Limit::Modifications { .. } => "; cancel it and place it anew",
        Limit::Window { .. } | Limit::OptionChain { .. } => "",
    }
}

impl Permit {
    /// How often the order that is changed was changed, this time included; `None` for what changes no order.
    pub const fn changes(&self) -> Option<OrderChanges> {
        self.0.changes
    }
}

impl Reserved {
    /// How often the order that is changed was changed, this time included; `None` for what changes no order.
    pub const fn changes(&self) -> Option<OrderChanges> {
        self.held.changes
    }

    /// Count it: it leaves now. At once, but for one case: what takes risk away does not wait
    /// for a placement's connection or disk and may have taken its room; then the placement waits
    /// for its moment, at most until `by`. Cancel-safe: who stops waiting is not counted.
    ///
    /// # Errors
    /// When it cannot leave until `by`: it must not be sent, and its room is given back. Never
    /// for what takes risk away.
    pub async fn count(mut self, by: Instant) -> Result<Permit, Limited> {
        let (held, gate) = (&self.held, &self.gate);
        let deadline = gate.clock.moment(by);
        let line = WaitingQueue { class: held.request.class, rank: WaitingRank::Count };
        let counted = gate.wait(line, |limits, ahead, now| limits.try_count(ahead, held, deadline, now)).await?;
        self.counted = true;
        Ok(Permit(counted))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.counted {
            let mut state = self.gate.lock();
            state.limits.release(&self.held);
            state.wake(self.held.request.class);
        }
    }
}

/// Who goes before whom in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WaitingRank {
    Exit,
    Cancel,
    /// Reserved, and ready to be counted.
    Count,
    Other,
}

impl From<Priority> for WaitingRank {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Exit => Self::Exit,
            Priority::Cancel => Self::Cancel,
            Priority::Other => Self::Other,
        }
    }
}

/// Where one waits.
#[derive(Clone, Copy, Debug)]
struct WaitingQueue {
    class: RateClass,
    rank: WaitingRank,
}

#[derive(Debug)]
struct GateState {
    limits: Limits,
    max_wait: Duration,
    lanes: Classes<WaitingLane>,
    next: u64,
}

/// Those who wait for the windows of one class, by rank and then by arrival.
#[derive(Debug, Default)]
struct WaitingLane(VecDeque<Waiter>);

#[derive(Debug)]
struct Waiter {
    rank: WaitingRank,
    number: u64,
    wake: Arc<Notify>,
}

impl WaitingLane {
    /// How many leave before this one and are not reserved.
    fn ahead(&self, rank: WaitingRank, number: u64) -> u32 {
        let before = |waiter: &&Waiter| {
            let reserved = waiter.rank == WaitingRank::Count && rank != WaitingRank::Count;
            (waiter.rank, waiter.number) < (rank, number) && !reserved
        };
        u32::try_from(self.0.iter().filter(before).count()).unwrap_or(u32::MAX)
    }

    fn insert(&mut self, waiter: Waiter) {
        let place = self.0.partition_point(|other| (other.rank, other.number) < (waiter.rank, waiter.number));
        self.0.insert(place, waiter);
    }
}

impl RateLimiter {
    /// For an account that has sent nothing. `max_wait` is `limits.max_wait`.
    pub fn new(rules: Arc<Rules>, max_wait: Duration, clock: MonotonicClock) -> Self {
        let state = GateState { limits: Limits::new(rules), max_wait, lanes: Classes::default(), next: 0 };
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
    pub fn rebuild(&self, past: impl IntoIterator<Item = (Timestamp, RateRequest)>, wall: Timestamp) {
        let mut state = self.lock();
        let now = self.clock.now();
        state.limits.rebuild(past, wall, now);
    }

    /// Wait until there is room for an order write, and keep it. To be called before a connection
    /// is taken, so that no more are on their way than may leave. A placement or change waits at
    /// most until `by` and no longer than `max_wait`; what takes risk away until `by`. Cancel-safe:
    /// who stops waiting gives its place back.
    ///
    /// # Errors
    /// When there is no room in time; as soon as that is known.
    pub async fn reserve(self: &Arc<Self>, request: RateRequest, by: Instant) -> Result<Reserved, Limited> {
        let by = self.clock.moment(by);
        let deadline = if request.priority.takes_risk_away() { by } else { by.min(self.longest_wait()) };
        let line = WaitingQueue { class: request.class, rank: request.priority.into() };
        let held = self.wait(line, |limits, ahead, now| limits.try_reserve(ahead, &request, deadline, now)).await?;
        Ok(Reserved { gate: Arc::clone(self), held, counted: false })
    }

    /// Wait until the request may leave, and count it. To be called last, when all
    /// else is ready: what is counted is when it leaves. Cancel-safe: who stops
    /// waiting gives its place back and is not counted.
    ///
    /// # Errors
    /// When it may not leave within `max_wait`; as soon as that is known.
    pub async fn enter(&self, request: RateRequest) -> Result<Permit, Limited> {
        let deadline = self.longest_wait();
        let line = WaitingQueue { class: request.class, rank: request.priority.into() };
        self.wait(line, |limits, ahead, now| limits.try_take(ahead, &request, deadline, now)).await.map(Permit)
    }

    /// Ask until it goes or is refused: at once, then whenever it may have become possible.
    async fn wait<T>(
        &self,
        line: WaitingQueue,
        mut decide: impl FnMut(&mut Limits, u32, MonotonicTime) -> Decision<T>,
    ) -> Result<T, Limited> {
        let (mut place, mut until) = {
            let mut state = self.lock();
            match state.step(line, u64::MAX, self.clock.now(), &mut decide) {
                NextStep::Through(done) => return done,
                NextStep::Sleep(until) => (self.wait_in_line(&mut state, line), until),
            }
        };
        loop {
            tokio::select! {
                () = place.wake.notified() => {}
                () = sleep_until(self.clock.instant(until)) => {}
            }
            let step = {
                let mut state = self.lock();
                state.step(line, place.number, self.clock.now(), &mut decide)
            };
            match step {
                NextStep::Through(done) => {
                    // Those behind it have planned with its going.
                    place.went = done.is_ok();
                    return done;
                }
                NextStep::Sleep(later) => until = later,
            }
        }
    }

    /// Nothing of it left: no byte was written. It does not count.
    pub fn refund(&self, pass: Permit) {
        let mut state = self.lock();
        let class = pass.0.request.class;
        state.limits.refund(pass.0);
        state.wake(class);
    }

    /// Look at what left and what is reserved.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Limits, MonotonicTime) -> T) -> T {
        let state = self.lock();
        look(&state.limits, self.clock.now())
    }

    /// Count what leaves now whether there is room or not: what has to be asked all the same uses up what others may.
    pub fn count_now(&self, request: &RateRequest) {
        let mut state = self.lock();
        let now = self.clock.now();
        state.limits.left(request, now);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        let lanes = [&state.lanes.order, &state.lanes.data, &state.lanes.quote, &state.lanes.other];
        lanes.iter().map(|lane| lane.0.len()).sum()
    }

    /// Until when one that comes now may wait.
    fn longest_wait(&self) -> MonotonicTime {
        self.clock.now().after(self.lock().max_wait)
    }

    fn wait_in_line(&self, state: &mut GateState, line: WaitingQueue) -> WaitingPlace<'_> {
        let number = state.next;
        state.next += 1;
        let wake = Arc::new(Notify::new());
        // The same option chain waits for its own time and must not hold up others.
        if line.class != RateClass::OptionChain {
            state.lanes.of_mut(line.class).insert(Waiter { rank: line.rank, number, wake: Arc::clone(&wake) });
        }
        WaitingPlace { gate: self, class: line.class, number, wake, went: false }
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        lock(&self.state)
    }
}

/// What one who waits does next.
enum NextStep<T> {
    Through(Result<T, Limited>),
    Sleep(MonotonicTime),
}

impl GateState {
    /// Let it through if there is room for it and for all who are before it.
    fn step<T>(
        &mut self,
        line: WaitingQueue,
        number: u64,
        now: MonotonicTime,
        decide: impl FnOnce(&mut Limits, u32, MonotonicTime) -> Decision<T>,
    ) -> NextStep<T> {
        let ahead = match line.class {
            RateClass::OptionChain => 0,
            RateClass::Order | RateClass::Data | RateClass::Quote | RateClass::Other => {
                self.lanes.of(line.class).ahead(line.rank, number)
            }
        };
        match decide(&mut self.limits, ahead, now) {
            Decision::Go(done) => NextStep::Through(Ok(done)),
            Decision::Wait { until, .. } => NextStep::Sleep(until),
            Decision::Refuse { retry_after, limit } => NextStep::Through(Err(Limited { limit, retry_after })),
        }
    }

    /// There is room that nobody planned with.
    fn wake(&self, class: RateClass) {
        for waiter in &self.lanes.of(class).0 {
            waiter.wake.notify_one();
        }
    }
}

/// A place in a line. Dropped, it is free, and those behind it are told.
struct WaitingPlace<'a> {
    gate: &'a RateLimiter,
    class: RateClass,
    number: u64,
    wake: Arc<Notify>,
    went: bool,
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.lanes.of_mut(self.class).0.retain(|waiter| waiter.number != self.number);
        if !self.went {
            state.wake(self.class);
        }
    }
}
