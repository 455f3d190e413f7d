//! What there is, and what may happen to it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sixgate::broker::dhan::limits::limits;
use sixgate::domain::{BootInstant, ClientId, Outcome, Role};
use sixgate::legs::health::{Event, Health, PathState, Reason};
use sixgate::orders::broker_clock::{BrokerClock, SentAt};
use sixgate::orders::day;
use sixgate::orders::exits::{Exit, Exits, WritePlace};
use sixgate::orders::idempotency::{Claim, FirstAttempt, IdempotencyStore, RememberedSpan, Write, WriteKey};
use sixgate::orders::known::KnownOrders;
use sixgate::orders::limits::{HeldRoom, Limits, MonotonicTime, RateRequest, Rules};
use sixgate::orders::lookup::Lookup;
use tokio_util::sync::CancellationToken;

use super::broker::Row;

/// Writes with a name that are about at once.
pub(super) const NAMED: usize = 6;
/// Callers that give no names, each of which repeats one write of its own.
pub(super) const NAMELESS: u64 = 3;
/// How long a write may take until it leaves.
pub(super) const LEAVE_WITHIN: Duration = Duration::from_secs(5);

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a send is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// Somewhere between the two: the broker may get it at any time, or never.
    UnderWay,
    /// The broker acted on it, and its reply is on its way.
    Executed,
    /// The broker refused the address that it came from, or its token.
    Refused,
    /// The broker took the order, and the exchange refused it.
    TurnedDown,
    /// The broker said no.
    Denied,
    /// It never arrives.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Place,
    Change,
    Cancel,
    Exit,
}

impl Kind {
    pub(super) const fn takes_risk_away(self) -> bool {
        matches!(self, Self::Cancel | Self::Exit)
    }
}

/// By what it can be known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A correlation id, or that and an `Idempotency-Key`.
    Ids,
    /// A key, and a correlation id that many orders share.
    Label,
    /// An order's own id, echoed in a change.
    Echo,
    None,
}

/// One right to be carried out, as the world outside the gateway knows it.
#[derive(Debug)]
pub(super) struct Meant {
    pub serial: u32,
    pub kind: Kind,
    pub name: Name,
    pub keys: Vec<WriteKey>,
    pub write: Write,
    pub body: String,
    pub executed: u32,
    /// Sends that may still be carried out.
    pub letters: Vec<Letter>,
    /// By which leg each went.
    pub by: Vec<Role>,
    /// Until then the gateway has promised to know of it.
    pub promised: Duration,
    pub trail: Option<Arc<Lookup>>,
    pub begun: Duration,
    /// The number of its last request.
    pub came: u64,
    /// Is whoever asked first gone?
    pub gone: CancellationToken,
}

impl Meant {
    pub(super) fn open(&self) -> u32 {
        u32::try_from(self.letters.iter().filter(|letter| **letter == Letter::UnderWay).count()).unwrap()
    }
}

/// A line of the journal: an intent, with its outcome once there is one.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub serial: u32,
    /// As it was written down: [`Model::stamp`].
    pub at: Timestamp,
    /// Really.
    pub really: Duration,
    /// Was the broker's clock known by then? Otherwise it is the host's time.
    pub heard: bool,
    pub ask: RateRequest,
    pub outcome: Option<Outcome>,
    /// Taken up when the broker was asked again; nothing left for it.
    pub is_intent: bool,
}

/// A request under way inside the gateway.
pub(super) struct Try {
    pub serial: u32,
    pub kind: Kind,
    pub claim: Option<Claim>,
    pub at: Stage,
    pub gone: CancellationToken,
    pub leave_by: Duration,
    pub place: WritePlace,
    /// Its place, as a number of ours.
    pub came: u64,
    pub exit: Option<Exit>,
    pub held: Option<HeldRoom>,
    pub by: Role,
    pub only: Option<Role>,
    pub unsent: u32,
    pub proven: Outcome,
    /// It has stood still for an exit.
    pub still: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The broker is asked first: the memory is not whole.
    AskFirst,
    /// Stands still while an exit is under way; waits for a token.
    Line,
    Reserve,
    Dial,
    Intent,
    /// Its intent is this line.
    Count(usize),
    /// This letter of this line.
    Sent(usize, usize),
    /// To ask the broker, for the outcome of a line; or again, of a write that came before.
    Ask(Option<usize>),
}

pub(super) struct Model {
    pub random: u64,
    pub steps: u64,
    /// Real time.
    pub now: Duration,
    pub base: BootInstant,
    pub clock: std::time::Instant,
    /// How wrong the wall clock is set.
    pub wrong: SignedDuration,
    pub memory: IdempotencyStore,
    pub limits: Limits,
    pub exits: Arc<Exits>,
    pub known: KnownOrders,
    pub broker_clock: BrokerClock,
    pub heard: bool,
    pub legs: [Health; 2],
    pub refuses: [bool; 2],
    pub works: [bool; 2],
    pub halted: bool,
    /// The serials of the named writes.
    pub slots: [u32; NAMED],
    pub writes: BTreeMap<u32, Meant>,
    pub tries: Vec<Try>,
    pub waiting: Vec<(u32, FirstAttempt)>,
    pub journal: Vec<Entry>,
    pub book: Vec<Row>,
    pub next: u32,
    pub came: u64,
    /// The newest exit that the broker took, by when it came.
    pub taken: u64,
    /// When each left, and whether it takes risk away.
    pub left: VecDeque<(Duration, bool)>,
    /// How often each order was changed.
    pub changes: HashMap<String, u32>,
    /// What left and was not proven undone, and when it was last used.
    pub kept: BTreeMap<u32, Duration>,
    /// The newest change of each order, and the newest write of each caller that gives no names.
    pub newest: HashMap<String, u32>,
    pub sent_at: HashMap<u32, Duration>,
    pub refused_exits: HashSet<u32>,
    /// When each exit came.
    pub exits_came: HashMap<u32, u64>,
    pub started: Duration,
    /// What was written before lacks in the journal, for all that is known.
    pub lost: Duration,
    pub counts: Counts,
}

macro_rules! counts {
    ($($name:ident),*) => {
        /// How often each thing happened.
        #[derive(Debug, Default)]
        pub(super) struct Counts { $(pub(super) $name: u32),* }
        impl Counts {
            pub(super) fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }
            /// What hardly happened.
            pub(super) fn idle(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name)),*].iter().filter(|(_, n)| *n < 3).map(|(name, _)| *name).collect()
            }
        }
    };
}
counts!(
    executed,
    unknown,
    found,
    not_found,
    moved,
    crashes,
    repeats,
    conflicts,
    orphans,
    gone,
    late,
    turned_away,
    went_on,
    limited,
    overtaken,
    changes,
    halted,
    old_rows,
    asked_after_crash,
    promises_kept
);

pub(super) fn customer() -> ClientId {
    ClientId::parse("1000000001").unwrap()
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let rules = Arc::new(Rules::new(limits(), 0.05));
        let mut model = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D,
            steps: 0,
            now: secs(60),
            base: BootInstant::now(),
            clock: std::time::Instant::now(),
            wrong: SignedDuration::ZERO,
            memory: IdempotencyStore::default(),
            limits: Limits::new(rules),
            exits: Arc::default(),
            known: KnownOrders::default(),
            broker_clock: BrokerClock::default(),
            heard: false,
            legs: [Health::new(secs(5), seed), Health::new(secs(5), !seed)],
            refuses: [false; 2],
            works: [true; 2],
            halted: false,
            slots: [0; NAMED],
            writes: BTreeMap::new(),
            tries: Vec::new(),
            waiting: Vec::new(),
            journal: Vec::new(),
            book: Vec::new(),
            next: 0,
            came: 0,
            taken: 0,
            left: VecDeque::new(),
            changes: HashMap::new(),
            kept: BTreeMap::new(),
            newest: HashMap::new(),
            sent_at: HashMap::new(),
            refused_exits: HashSet::new(),
            exits_came: HashMap::new(),
            started: Duration::ZERO,
            lost: Duration::ZERO,
            counts: Counts::default(),
        };
        model.hear_clock(model.now);
        for slot in 0..NAMED {
            model.slots[slot] = model.named();
        }
        model
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(super) fn moment(&self) -> MonotonicTime {
        MonotonicTime::START.after(self.now)
    }

    pub(super) fn instant(&self) -> BootInstant {
        self.base + self.now
    }

    /// The broker's clock, which is right: Monday, 23 November 2026, nine in the morning in India.
    pub(super) fn really(&self, at: Duration) -> Timestamp {
        let start: i64 = 1_795_404_600;
        Timestamp::from_second(start).unwrap() + at
    }

    /// This host's, which may be set.
    pub(super) fn wall(&self) -> Timestamp {
        self.really(self.now) + self.wrong
    }

    /// What is written down for this moment: the broker's time once it was heard.
    pub(super) fn stamp(&self) -> Timestamp {
        self.broker_clock.corrected_at(self.instant(), self.wall())
    }

    /// The time of day that the gateway goes by.
    pub(super) fn time_of_day(&self) -> Timestamp {
        if !self.heard {
            return self.wall();
        }
        let window = self.broker_clock.window(SentAt::Here(self.instant()), self.instant(), self.wall());
        window.unwrap().from
    }

    pub(super) fn span(&self) -> RememberedSpan {
        let now = self.moment();
        RememberedSpan { now, until: now.after(day::remembered_for(self.time_of_day(), false)) }
    }

    /// Until when a write that is used now is known at least: for the rest of its day, and an hour. The gateway knows
    /// the broker's clock to a few seconds, once it was heard.
    pub(super) fn promise(&self) -> Duration {
        if !self.heard && !self.wrong.is_zero() {
            return self.now + day::AT_LEAST - secs(1);
        }
        let day = |at: Duration| at + day::remembered_for(self.really(at), false);
        day(self.now).min(day(self.now.saturating_sub(secs(5)))).max(self.now + day::AT_LEAST) - secs(1)
    }

    pub(super) fn hear_clock(&mut self, sent: Duration) {
        let date =
            jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&self.really(self.now)).unwrap();
        let (sent, now) = (self.base + sent, self.instant());
        self.heard = true;
        self.broker_clock.observe(&date.parse().unwrap(), sent, now, self.wall());
    }

    pub(super) fn step(&mut self) {
        self.steps += 1;
        match self.below(32) {
            0..=6 => self.caller(),
            7..=18 => self.proceed(),
            19..=22 => self.deliver(),
            23 => self.hear(),
            24 => self.line_changes(),
            25 => self.somebody_goes(),
            26..=29 => self.time_passes(),
            30 => self.operator(),
            _ if self.one_in(40) => self.crash(),
            _ => {}
        }
        self.check();
    }

    fn line_changes(&mut self) {
        let leg = usize::from(self.one_in(2));
        match self.below(3) {
            0 => self.refuses[leg] = self.one_in(3),
            1 => self.works[leg] = !self.one_in(3),
            _ => {
                let line = if self.works[leg] { PathState::Works } else { PathState::Failed(Reason::ConnectFailed) };
                self.legs[leg].on(Event::Probed(line, None), self.clock);
            }
        }
    }

    fn somebody_goes(&mut self) {
        let all = self.tries.len() as u64;
        if all > 0 {
            let which = usize::try_from(self.below(all)).unwrap();
            self.tries[which].gone.cancel();
        }
    }

    fn time_passes(&mut self) {
        let by = match self.below(60) {
            0 if self.one_in(8) => secs(40_000),
            0 => secs(self.below(1800)),
            1..=4 => Duration::from_millis(self.below(4000)),
            _ => Duration::from_micros(self.below(40_000)),
        };
        self.now += by;
        self.clock += by;
        self.make_room();
    }

    fn operator(&mut self) {
        match self.below(40) {
            0 => self.halted = true,
            1..=9 => self.halted = false,
            10 => {
                // Somebody sets the clock: a day ahead, half a day back, or right again.
                self.wrong = SignedDuration::from_hours([0, 24, -24, 13, -11][usize::try_from(self.below(5)).unwrap()]);
            }
            _ => {}
        }
    }

    /// What the gateway need not know any more is asked for no more: its caller has another day's id for another day's
    /// order. What is nobody's any more is forgotten here too.
    pub(super) fn make_room(&mut self) {
        for slot in 0..NAMED {
            let serial = self.slots[slot];
            let write = &self.writes[&serial];
            let over = self.now >= write.promised || (write.executed > 0 && self.next.is_multiple_of(7));
            if over && !self.is_busy(serial) {
                self.slots[slot] = self.named();
            }
        }
        let slots = self.slots;
        let (busy, waiting): (Vec<u32>, Vec<u32>) =
            (self.tries.iter().map(|one| one.serial).collect(), self.waiting.iter().map(|(n, _)| *n).collect());
        let newest: Vec<u32> = self.newest.values().copied().collect();
        self.writes.retain(|serial, write| {
            slots.contains(serial)
                || busy.contains(serial)
                || waiting.contains(serial)
                || newest.contains(serial)
                || (write.open() > 0 && write.letters.len() < 4)
        });
        let day = secs(4 * 86_400);
        let now = self.now;
        self.left.retain(|(at, _)| *at + secs(86_400) > now);
        self.kept.retain(|_, at| *at + day > now);
        self.journal_ages();
        if self.book.len() > 40 {
            let owners: Vec<u32> = self.writes.keys().copied().collect();
            self.book
                .retain(|row| row.owner.is_some_and(|owner| owners.contains(&owner)) || slots.contains(&row.under));
        }
    }

    /// Lines stay until no try has one of them and they are too old to be read back.
    fn journal_ages(&mut self) {
        if self.tries.is_empty() && self.journal.len() > 500 {
            let back = day::look_back(self.really(self.now)).unsigned_abs() + secs(60);
            let now = self.now;
            self.journal.retain(|line| line.really + back > now);
        }
    }

    pub(super) fn is_busy(&self, serial: u32) -> bool {
        self.tries.iter().any(|one| one.serial == serial) || self.waiting.iter().any(|(n, _)| *n == serial)
    }

    fn check(&self) {
        for write in self.writes.values() {
            assert!(write.executed <= 1, "done twice: {write:?}");
            assert!(write.open() + write.executed <= 1, "it could be done twice: {write:?}");
        }
        let kept = self.memory.len(&customer());
        let most = self.kept.len() + self.tries.len();
        assert!(kept <= most, "{kept} writes are remembered, and no more than {most} left or are under way");
    }
}
