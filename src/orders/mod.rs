//! What makes an order write safe: it is written down before it leaves, it is never
//! done twice, and it never makes the broker close the door on its account.
//!
//! - [`body`]: what a write's body says, by value.
//! - [`broker_clock`]: what is known of the broker's clock, and which orders are older than a send.
//! - [`correlation`]: ids that we make ourselves out of an `Idempotency-Key`.
//! - [`day`]: which trading day an order belongs to, and for how long its ids are remembered.
//! - [`elsewhere`]: orders in the broker's book that did not come through this gateway.
//! - [`exits`]: an exit-all or a kill switch goes before what has not left.
//! - [`journal`]: what was sent and what became of it, so that it can be read,
//!   proved and remembered after a crash.
//! - [`known`]: which orders are known to be other writes'.
//! - [`limits`]: how much the broker takes from an account, kept before it is sent.
//! - [`idempotency`]: what is known of the writes of the day, by the ids that their
//!   callers can repeat them with.
//! - [`restore`]: what the journal remembers of both after a restart.
//! - [`terms`]: what an order asks for, by value.
//! - [`lookup`]: what a lost write can be looked for by, and what the broker's answers
//!   say of it.
//!
//! Not here: sending (`proxy`), connections and their health (`legs`, `egress`), what
//! an endpoint is (`broker`).

pub mod body;
pub mod broker_clock;
pub mod correlation;
pub mod day;
pub mod elsewhere;
pub mod exits;
pub mod idempotency;
pub mod journal;
pub mod known;
pub mod limits;
pub mod lookup;
pub mod restore;
pub mod terms;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use crate::domain::tasks::Tasks;
use crate::domain::{BootInstant, ClientId};
use crate::telemetry::events::Events;

use broker_clock::BrokerClock;
use elsewhere::BookWatch;
use exits::Exits;
use idempotency::IdempotencyStore;
use journal::{Journal, JournalError, Options};
use known::KnownOrders;
use limits::{MonotonicClock, MonotonicTime, RateLimiter, Rules};

/// How often what is due is forgotten of customers that send nothing.
const TEND_EVERY: Duration = Duration::from_secs(300);

/// What the gateway knows of order writes, and of how much the broker still takes.
#[derive(Debug)]
pub struct Orders {
    /// Every send and what became of it.
    pub journal: Journal,
    /// Those of the last day.
    pub idempotency: IdempotencyStore,
    /// Whoever watches hears of every outcome.
    pub events: Events,
    /// The broker's orders that are known to be other writes'.
    pub known: KnownOrders,
    /// The broker's clock.
    pub broker_clock: BrokerClock,
    books: BookWatch,
    lanes: papaya::HashMap<ClientId, Lane>,
    keeping: ArcSwap<Keeping>,
    /// Limits are kept and ages counted by it: nobody can set it, and it goes on while the machine sleeps.
    clock: MonotonicClock,
    /// Until then an id may have been used before the start, by this host's clock.
    doubtful_until: MonotonicTime,
    /// The same by the broker's clock, once it was heard: a host that is hours behind would end it before the day of the
    /// orders that may lack is over.
    doubtful_until_there: OnceLock<MonotonicTime>,
    /// When the journal was read back: by this host's clock, which may be wrong, and by the one of ages.
    read_back: OnceLock<(Timestamp, MonotonicTime)>,
}

/// What holds up the order writes of one customer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The broker's limits.
    pub gate: Arc<RateLimiter>,
    /// An exit goes first.
    pub exits: Arc<Exits>,
    /// How many placements and changes are under way, those that wait among them.
    in_line: Arc<AtomicUsize>,
}

/// The most placements and changes of one customer that are under way at once. The broker takes ten a second, so within
/// the deadlines that there are some two hundred can be; who comes when so many are would only be held in vain.
pub const MOST_IN_LINE: usize = 1024;

/// A place among those that are under way, until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only while it is held"]
pub struct InLine(Arc<AtomicUsize>);

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    /// A place in the line; none, when it is as long as it may be. What takes risk away needs none.
    pub fn queue(&self) -> Option<InLine> {
        // Those that come at the same moment may all be one too many; no more get in for that.
        let place = InLine(Arc::clone(&self.in_line));
        (place.0.fetch_add(1, Ordering::Relaxed) < MOST_IN_LINE).then_some(place)
    }
}

/// How the limits are kept, now.
#[derive(Debug)]
struct Keeping {
    rules: Arc<Rules>,
    max_wait: Duration,
}

impl Orders {
    /// Open the journal in `folder`. Reads and writes files: not on a worker of the runtime.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(
        folder: &Path,
        fsync: bool,
        keep: Duration,
        rules: Rules,
        max_wait: Duration,
        events: Events,
    ) -> Result<Self, JournalError> {
        let journal = Journal::open(folder, &Options::new(fsync, keep).tended(), Timestamp::now())?;
        let keeping = ArcSwap::from_pointee(Keeping { rules: Arc::new(rules), max_wait });
        let (lanes, clock) = (papaya::HashMap::new(), MonotonicClock::start());
        let idempotency = IdempotencyStore::default();
        let (known, broker_clock) = (KnownOrders::default(), BrokerClock::default());
        // Of what was sent before, an after-market order's id is remembered longest.
        let doubtful_until = MonotonicTime::START.after(day::remembered_for(Timestamp::now(), true));
        let (read_back, doubtful_until_there, books) = (OnceLock::new(), OnceLock::new(), BookWatch::default());
        Ok(Self {
            journal,
            idempotency,
            events,
            known,
            broker_clock,
            books,
            lanes,
            keeping,
            clock,
            doubtful_until,
            doubtful_until_there,
            read_back,
        })
    }

    /// A customer's limits.
    pub fn gate(&self, customer: &ClientId) -> Arc<RateLimiter> {
        self.lane(customer).gate
    }

    /// What holds up a customer's order writes.
    pub fn lane(&self, customer: &ClientId) -> Lane {
        let lanes = self.lanes.pin();
        if let Some(lane) = lanes.get(customer) {
            return lane.clone();
        }
        let new = || {
            let keeping = self.keeping.load();
            let gate = Arc::new(RateLimiter::new(Arc::clone(&keeping.rules), keeping.max_wait, self.clock));
            Lane { gate, exits: Arc::default(), in_line: Arc::default() }
        };
        let lane = lanes.get_or_insert_with(customer.clone(), new).clone();
        // A reload may have passed by between its making and its being there to be found.
        let keeping = self.keeping.load();
        lane.gate.reload(Arc::clone(&keeping.rules), keeping.max_wait);
        lane
    }

    /// Take in what the head of a reply of the broker says of its clock. `sent` is when it was asked.
    /// The first time it decides how old is what was read back from the journal. Cheap.
    pub fn heard(&self, headers: &HeaderMap, sent: BootInstant) {
        if let Some(now) = self.broker_clock.heard(headers, sent) {
            self.journal.broker_date(now);
            if !self.idempotency.knows_ages() {
                self.date(now);
            }
        }
    }

    /// How old is what was read back? Of this host's clock and the broker's, the one by which less time has passed since
    /// it was written: a clock that is ahead must not make it look forgotten.
    fn date(&self, broker: Timestamp) {
        let Some((wall, at)) = self.read_back.get() else { return };
        let passed = SignedDuration::try_from(self.now().since(*at)).unwrap_or(SignedDuration::ZERO);
        if let Ok(broker) = broker.checked_sub(passed) {
            let _ = self.doubtful_until_there.set(at.after(day::remembered_for(broker, true)));
            self.idempotency.was_read_back(broker.min(*wall));
        }
    }

    /// Does an id that the memory does not know prove that it was not used today?
    pub fn remembers_all(&self) -> bool {
        self.journal.remembers_all() || self.is_past_doubt(self.now())
    }

    fn is_past_doubt(&self, now: MonotonicTime) -> bool {
        now >= self.doubtful_until && self.doubtful_until_there.get().is_none_or(|until| now >= *until)
    }

    /// Forget what is due to be forgotten, now and then, until the gateway stops.
    pub async fn tend(self: Arc<Self>, tasks: Tasks) {
        // Whoever asks for them meanwhile waits for it, and tries again where it fails.
        if let Err(err) = self.journal.read_unsettled().await {
            tracing::warn!(error = %err, "the order journal could not be read for orders of which nobody knows");
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(TEND_EVERY) => self.idempotency.tend(self.now()),
                () = tasks.stopping() => return,
            }
        }
    }

    /// How long this process has run.
    pub fn age(&self) -> Duration {
        self.now().since(MonotonicTime::START)
    }

    /// The time of day: the broker's, once its clock was heard, for ours may be wrong by a day.
    pub fn wall(&self) -> Timestamp {
        self.broker_clock.now().unwrap_or_else(Timestamp::now)
    }

    /// The time to write down for what happens now: [`BrokerClock::corrected`].
    pub fn stamp(&self) -> Timestamp {
        self.broker_clock.corrected(Timestamp::now())
    }

    /// Now, by the clock that ages are counted by.
    pub fn now(&self) -> MonotonicTime {
        self.clock.now()
    }

    /// Keep the limits by other rules, and another `limits.max_wait`, from now on.
    pub fn reload(&self, rules: Rules, max_wait: Duration) {
        let rules = Arc::new(rules);
        self.keeping.store(Arc::new(Keeping { rules: Arc::clone(&rules), max_wait }));
        for lane in self.lanes.pin().values() {
            lane.gate.reload(Arc::clone(&rules), max_wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that wait hold a connection and memory each: a caller that sends without end must not fill the host.
    #[test]
    fn no_more_than_the_most_are_in_a_line_and_each_that_leaves_makes_room() {
        let rules = Arc::new(Rules::new(crate::broker::dhan::limits::limits(), 0.0));
        let gate = RateLimiter::new(rules, Duration::from_secs(1), MonotonicClock::start());
        let lane = Lane { gate: Arc::new(gate), exits: Arc::default(), in_line: Arc::default() };
        let mut line: Vec<_> = std::iter::repeat_with(|| lane.queue()).take(MOST_IN_LINE).collect();
        assert!(line.iter().all(Option::is_some));
        assert!(lane.queue().is_none(), "one more than the most");
        assert!(lane.queue().is_none(), "who was refused holds no place");
        line.pop();
        let again = lane.queue();
        assert!(again.is_some() && lane.queue().is_none(), "one has left");
    }
}
