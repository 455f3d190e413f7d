//! The health of one leg, and which of two legs goes first: pure, `now` passed in.
//!
//! A leg can be in four kinds of trouble at once, and each heals by its own evidence:
//!
//! - with its *line*: it cannot be dialled, or its address left this host. Heals by
//!   connections that are made through it;
//! - with its *replies*: a read that was sent by it got none in time, and the other leg's same read did. It can be
//!   dialled, but something on the way loses what is large or late. Reads go by the other leg until a whole reply has come
//!   by this one; order writes stay: the broker may have been slow for one read, and its second leg may not be allowed for
//!   orders. If no connection can be made by it either, its line is in trouble as well;
//! - with its *standing* at the broker: the broker refuses orders from its address.
//!   Heals by proof, a `getIP` through the leg or an order that the broker took. Reading
//!   needs no registered address, so a leg that is only refused for orders admits reads;
//! - with its *address on the way*: the broker sees another one than ours, which may be
//!   another account's. Heals by a `getIP` that saw the right one, and by nothing else.
//!   Until then it is *barred*: nothing signed goes by it, see [`Rank::is_barred`].
//!
//! Evidence that all is well makes trouble *healthy*; trouble that stays healthy for
//! the dwell time is over. Anything bad meanwhile starts the dwell anew. So a leg
//! comes back, and trips again, at most once per dwell, however fast its line comes
//! and goes or the broker changes its mind.
//!
//! A leg that does not admit always has a next probe, at most [`LONGEST_WAIT`] away.
//!
//! Which leg goes first: the one that admits, the primary before the secondary. When
//! neither admits, none is refused a try unless it is barred: the one in the least trouble
//! goes first (a healthy line before a dead one, a dead one before one whose address is
//! gone, any of them before one that is barred), and the primary where they are equal. An account that is pinned uses its pinned leg and
//! no other, in whatever state: an operator who pins has a reason (an address that the
//! broker is not to see now), and failing over against it would be the greater harm.

use std::time::{Duration, Instant};

use crate::domain::Role;
use crate::domain::random::{STEP, mix};

/// The first probe comes this long after a trip, at most; each that fails doubles it...
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ...to here.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Probes of a healthy leg come at a quarter of the dwell, between these two: often
/// enough to see a line that comes and goes, seldom enough for ten thousand accounts.
const PROBE_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// Why a leg does not admit. A closed list: these are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its address could not be bound.
    BindFailed,
    /// The connection could not be made.
    ConnectFailed,
    /// Connecting took too long.
    ConnectTimedOut,
    /// The kernel took another source address.
    WrongSource,
    /// The TLS handshake failed.
    TlsFailed,
    /// The TLS handshake took too long.
    TlsTimedOut,
    /// HTTP could not begin.
    HttpFailed,
    /// Its address left this host, or was never here.
    AddressGone,
    /// A read got no reply by it, and one by the other leg.
    NoReply,
    /// The broker refused an order from its address ("Invalid IP").
    SourceRefused,
    /// `getIP` says that orders are not allowed from it.
    OrdersNotAllowed,
    /// `getIP` says, on two connections, that the broker saw another address.
    SeenAsAnother,
}

impl Reason {
    /// Every reason, for metrics and tests.
    pub const ALL: [Self; 12] = [
        Self::BindFailed,
        Self::ConnectFailed,
        Self::ConnectTimedOut,
        Self::WrongSource,
        Self::TlsFailed,
        Self::TlsTimedOut,
        Self::HttpFailed,
        Self::AddressGone,
        Self::NoReply,
        Self::SourceRefused,
        Self::OrdersNotAllowed,
        Self::SeenAsAnother,
    ];

    /// The word in the API, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BindFailed => "bind_failed",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimedOut => "connect_timed_out",
            Self::WrongSource => "wrong_source",
            Self::TlsFailed => "tls_failed",
            Self::TlsTimedOut => "tls_timed_out",
            Self::HttpFailed => "http_failed",
            Self::AddressGone => "address_gone",
            Self::NoReply => "no_reply",
            Self::SourceRefused => "source_refused",
            Self::OrdersNotAllowed => "orders_not_allowed",
            Self::SeenAsAnother => "seen_as_another",
        }
    }
}

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading: the broker does not ask where it comes from.
    Read,
    /// Creating, changing or cancelling an order, or bytes that may be that.
    OrderWrite,
    /// An order write that only takes risk away. It goes like any other, and when no leg
    /// is left but one that the broker sees as another address, by that one too, unless
    /// the address is known to be another account's.
    TakesRiskAway,
}

impl Purpose {
    /// The purpose of a request that is an order write, or is none.
    pub const fn of(write: bool) -> Self {
        if write { Self::OrderWrite } else { Self::Read }
    }
}

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    /// Requests may go by it.
    Admits,
    /// It failed and has not worked since.
    Tripped {
        /// Why it tripped.
        reason: Reason,
        /// When it tripped.
        since: Instant,
    },
    /// It failed, works again, and has not done so for long enough.
    Probing {
        /// Why it had tripped.
        reason: Reason,
        /// When it tripped.
        since: Instant,
        /// Since when it works again.
        healthy_since: Instant,
    },
}

impl LegState {
    /// The word in the API, logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Admits => "admits",
            Self::Tripped { .. } => "tripped",
            Self::Probing { .. } => "probing",
        }
    }

    /// Why it is not `admits`.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Admits => None,
            Self::Tripped { reason, .. } | Self::Probing { reason, .. } => Some(*reason),
        }
    }

    /// Do both say the same word for the same reason? Times do not count.
    pub fn looks_like(&self, other: &Self) -> bool {
        (self.as_str(), self.reason()) == (other.as_str(), other.reason())
    }
}

/// Something that was learnt of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new connection was made through it.
    Dialled,
    /// No connection could be made through it.
    DialFailed(Reason),
    /// A read that was sent by it got no reply in time; sent again by the other leg, it did.
    NoReply,
    /// Its address left this host.
    AddressGone,
    /// Its address is on this host again.
    AddressBack,
    /// The broker refused an order because of where it came from.
    SourceRefused,
    /// The broker took an order that came from it.
    SourceAccepted,
    /// A `getIP` through it was answered: a whole reply came.
    Seen(AddressSeen),
    /// A probe ended, with what `getIP` said if it was asked and answered.
    Probed(PathState, Option<AddressSeen>),
}

/// What a probe says of a leg's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// A TLS connection was made.
    Works,
    /// None could be made.
    Failed(Reason),
    /// Nothing: the broker's name could not be resolved, or the like.
    NotTried,
}

/// What `getIP` said, as far as a leg minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSeen {
    /// Did the broker see the leg's own address? `None` where it did not say what it saw.
    /// `Some(false)` only when it saw another one twice in a row, on two connections.
    pub own_address: Option<bool>,
    /// Are orders allowed from it? `None` where the broker did not say.
    pub orders_allowed: Option<bool>,
}

/// How much trouble a leg is in: none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8);

impl Rank {
    /// The rank of a leg that nothing is wrong with.
    pub const ADMITS: Self = Self(0);
    const BARRED: u8 = 8;

    /// May nothing that is signed go by it?
    pub const fn is_barred(self) -> bool {
        self.0 & Self::BARRED != 0
    }

    /// The rank as a number below 16; [`from_bits`](Self::from_bits) reads it back.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From [`Rank::bits`].
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

#[derive(Debug)]
struct Trouble {
    reason: Reason,
    since: Instant,
    healthy_since: Option<Instant>,
}

impl Trouble {
    const fn state(&self) -> LegState {
        let &Self { reason, since, healthy_since } = self;
        match healthy_since {
            Some(healthy_since) => LegState::Probing { reason, since, healthy_since },
            None => LegState::Tripped { reason, since },
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Health {
    dwell: Duration,
    /// Is its address on this host, as far as is known?
    here: bool,
    /// Boxed like the next one: twenty thousand legs are in no trouble.
    line: Option<Box<Trouble>>,
    replies: Option<Box<Trouble>>,
    standing: Option<Box<Trouble>>,
    seen_as_another: Option<Box<Trouble>>,
    /// Probes in a row that did not help.
    in_vain: u32,
    next_probe: Option<Instant>,
    /// For the jitter: any number will do, another one for each leg is better.
    random: u64,
}

impl Health {
    /// A leg nothing bad is known of.
    pub const fn new(dwell: Duration, seed: u64) -> Self {
        Self {
            dwell,
            here: true,
            line: None,
            replies: None,
            standing: None,
            seen_as_another: None,
            in_vain: 0,
            next_probe: None,
            random: seed,
        }
    }

    /// From now on it must be healthy for so long.
    pub const fn set_dwell(&mut self, dwell: Duration) {
        self.dwell = dwell;
    }

    /// Where it stands. The line comes first: without one nothing else matters.
    pub fn state(&self) -> LegState {
        self.troubles().next().map_or(LegState::Admits, Trouble::state)
    }

    fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        [&self.line, &self.seen_as_another, &self.replies, &self.standing]
            .into_iter()
            .filter_map(|trouble| trouble.as_deref())
    }

    /// May requests of this kind go by it?
    pub fn admits(&self, purpose: Purpose) -> bool {
        self.rank(purpose) == Rank::ADMITS
    }

    /// How much trouble it is in for requests of this kind.
    pub fn rank(&self, purpose: Purpose) -> Rank {
        let line = match &self.line {
            None => 0,
            Some(_) if !self.here => 3,
            Some(trouble) if trouble.healthy_since.is_some() => 1,
            Some(_) => 2,
        };
        let own = match purpose {
            Purpose::OrderWrite | Purpose::TakesRiskAway => self.standing.is_some(),
            Purpose::Read => self.replies.is_some(),
        };
        let barred = if self.seen_as_another.is_some() { Rank::BARRED } else { 0 };
        Rank(line * 2 + u8::from(own) + barred)
    }

    /// When to probe it next; `None` exactly while nothing is wrong with it.
    pub const fn next_probe(&self) -> Option<Instant> {
        self.next_probe
    }

    /// Does only proof from the broker help? Then a probe without `getIP` is in vain.
    pub const fn wants_proof(&self) -> bool {
        self.standing.is_some() || self.seen_as_another.is_some() || self.replies.is_some()
    }

    /// Take in what was learnt.
    pub fn on(&mut self, event: Event, now: Instant) {
        match event {
            Event::Dialled => self.line_works(now),
            Event::DialFailed(reason) => self.line_failed(reason, now),
            Event::NoReply => bad(&mut self.replies, Reason::NoReply, now),
            Event::AddressGone => {
                self.line_failed(Reason::AddressGone, now);
                self.here = false;
            }
            Event::AddressBack => self.here = true,
            Event::SourceRefused => self.orders_refused(Reason::SourceRefused, now),
            Event::SourceAccepted => {
                self.replied(now);
                self.proved(now);
            }
            Event::Seen(sight) => self.seen(sight, now),
            Event::Probed(line, sight) => {
                match line {
                    PathState::Works => self.line_works(now),
                    PathState::Failed(reason) => self.line_failed(reason, now),
                    PathState::NotTried => {}
                }
                if let Some(sight) = sight {
                    self.seen(sight, now);
                }
            }
        }
        self.plan(event, now);
    }

    fn line_works(&mut self, now: Instant) {
        // A connection that was made just before the address went says nothing of now.
        if self.here {
            good(&mut self.line, self.dwell, now);
        }
    }

    fn line_failed(&mut self, reason: Reason, now: Instant) {
        // That the address is gone is why all else fails.
        let reason = if self.here { reason } else { Reason::AddressGone };
        bad(&mut self.line, reason, now);
    }

    /// A whole reply came by it.
    fn replied(&mut self, now: Instant) {
        good(&mut self.replies, self.dwell, now);
    }

    fn seen(&mut self, sight: AddressSeen, now: Instant) {
        self.replied(now);
        match sight.own_address {
            Some(false) => {
                bad(&mut self.seen_as_another, Reason::SeenAsAnother, now);
                // Whether orders are allowed was said of another address.
                return;
            }
            Some(true) => good(&mut self.seen_as_another, self.dwell, now),
            None => {}
        }
        match sight.orders_allowed {
            Some(false) => self.orders_refused(Reason::OrdersNotAllowed, now),
            Some(true) => self.proved(now),
            // Where orders were refused only the word that they are allowed heals.
            None => {}
        }
    }

    fn orders_refused(&mut self, reason: Reason, now: Instant) {
        bad(&mut self.standing, reason, now);
    }

    fn proved(&mut self, now: Instant) {
        good(&mut self.standing, self.dwell, now);
    }

    /// Set the next probe.
    fn plan(&mut self, event: Event, now: Instant) {
        let troubles = || self.troubles();
        if troubles().next().is_none() {
            self.next_probe = None;
            self.in_vain = 0;
            return;
        }
        let healthy = troubles().all(|trouble| trouble.healthy_since.is_some());
        // The probe that ends the dwell, if it is not over already.
        let ends = troubles().filter_map(|t| t.healthy_since).map(|since| since + self.dwell).filter(|at| *at > now);
        let ends = ends.min();
        let next = match (event, self.next_probe) {
            (Event::AddressBack, _) => now,
            (Event::Probed(..), _) | (_, None) => {
                self.in_vain = if healthy || self.next_probe.is_none() { 0 } else { self.in_vain.saturating_add(1) };
                let wait = if healthy { self.dwell / 4 } else { FIRST_WAIT * (1 << self.in_vain.min(10)) };
                let (least, most) = if healthy { PROBE_EVERY } else { (FIRST_WAIT, LONGEST_WAIT) };
                now + self.jittered(wait.clamp(least, most))
            }
            (_, Some(planned)) => planned,
        };
        self.next_probe = Some(ends.map_or(next, |end| next.min(end)));
    }

    /// Between half of `wait` and all of it: a line that fails for a thousand accounts
    /// is not to be probed by all of them in one moment.
    fn jittered(&mut self, wait: Duration) -> Duration {
        let part = u32::try_from(mix(self.random) & 0xffff).unwrap_or(0);
        self.random = self.random.wrapping_add(STEP);
        wait / 2 + wait / 2 * part / 0xffff
    }
}

fn bad(trouble: &mut Option<Box<Trouble>>, reason: Reason, now: Instant) {
    match trouble {
        Some(trouble) => {
            if trouble.healthy_since.is_some() || trouble.reason != reason {
                trouble.since = now;
            }
            trouble.reason = reason;
            trouble.healthy_since = None;
        }
        None => *trouble = Some(Box::new(Trouble { reason, since: now, healthy_since: None })),
    }
}

fn good(trouble: &mut Option<Box<Trouble>>, dwell: Duration, now: Instant) {
    let Some(ill) = trouble else { return };
    let since = *ill.healthy_since.get_or_insert(now);
    if now.saturating_duration_since(since) >= dwell {
        *trouble = None;
    }
}

/// Which legs to try, in order; see the module.
pub fn choose(primary: Rank, secondary: Rank, pin: Option<Role>) -> (Role, Option<Role>) {
    match pin {
        Some(pinned) => (pinned, None),
        None if secondary < primary => (Role::Secondary, Some(Role::Primary)),
        None => (Role::Primary, Some(Role::Secondary)),
    }
}

#[cfg(test)]
mod tests;
