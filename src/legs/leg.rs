//! One leg: an exit and what is known of its health.
//!
//! Not here: connections by it (`lease`).

mod lease;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::{Care, LegContext, LegEvent, SeenAddress};
use super::health::{AddressSeen, Event, Health, LegState, Purpose, Rank, Reason};
use super::look_times::Looks;
use super::pace::WarmPace;
use crate::domain::{AccountName, Authority, Pair, Role, SourceAddr, lock};
use crate::egress::Exit;

/// What of our own goes by one leg and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Nothing that is signed, and no secret: whether the line works, and what time it is there. It goes by any leg.
    Plain,
    /// `getIP`: the question as what the broker sees a leg. It goes by any leg, because
    /// there is no other way to find out.
    GetIp,
    /// A login at the broker's login host. It may go by a leg of which nothing is known
    /// yet: before it there is no token to ask with.
    Login,
    /// Anything signed with the account's token.
    Signed,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// An idle one, else a new one.
    Idle,
    /// A new one.
    Never,
    /// A new HTTP/1.1 one that will not come back.
    ForUpgrade,
}

/// One way out for one account.
pub struct Leg {
    account: AccountName,
    role: Role,
    source: SourceAddr,
    exit: Arc<Exit>,
    known: Mutex<LegStatus>,
    /// Both ranks of `known.health`, read without its lock: reads in the low four bits,
    /// order writes in the next four; and [`UNSEEN`].
    marks: AtomicU16,
    pub(super) looks: Mutex<Looks>,
    /// Told whenever a look ended.
    pub(super) looked: Notify,
    /// Is its address on this host, as was last said?
    here: AtomicBool,
    /// Is a probe under way?
    pub(super) in_probe: AtomicBool,
    pub(super) warming: Mutex<WarmPace>,
    context: Arc<LegContext>,
    care: Arc<dyn Care>,
}

/// In a leg's marks: it was not asked yet as what the broker sees it.
const UNSEEN: u16 = 0x100;
/// In a leg's marks: its ranks.
const RANKS: u16 = 0xff;

#[derive(Debug)]
struct LegStatus {
    health: Health,
    since: SystemTime,
    /// The address that the broker last saw in the place of its own.
    seen_as: Option<IpAddr>,
    /// Cancelled while it is seen as another.
    barred: CancellationToken,
    /// Cancelled when its address goes. Made when somebody asks: most legs carry nothing that goes on.
    gone: Option<CancellationToken>,
}

impl Leg {
    pub(super) fn new(
        role: Role,
        account: &AccountName,
        pair: &Pair,
        context: &Arc<LegContext>,
        care: Arc<dyn Care>,
    ) -> Self {
        let source = pair.of(role);
        let seed = u128::from(source.ip());
        let health = Health::new(context.settings().dwell, (seed ^ (seed >> 64)) as u64);
        context.metrics().leg_added(LegState::Admits.as_str());
        Self {
            account: account.clone(),
            role,
            source,
            exit: context.egress().exit(source),
            known: Mutex::new(LegStatus {
                health,
                since: SystemTime::now(),
                seen_as: None,
                barred: CancellationToken::new(),
                gone: None,
            }),
            marks: AtomicU16::new(UNSEEN),
            looks: Mutex::default(),
            looked: Notify::new(),
            here: AtomicBool::new(true),
            in_probe: AtomicBool::new(false),
            warming: Mutex::default(),
            context: Arc::clone(context),
            care,
        }
    }

    /// Primary or secondary.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The address it leaves from.
    pub const fn source(&self) -> SourceAddr {
        self.source
    }

    /// Its state and since when.
    pub fn state(&self) -> (LegState, SystemTime) {
        let known = self.known();
        (known.health.state(), known.since)
    }

    /// May requests of this kind go by it? No lock.
    pub fn admits(&self, purpose: Purpose) -> bool {
        self.rank(purpose) == Rank::ADMITS
    }

    /// Idle upstream connections.
    pub fn idle(&self) -> usize {
        self.exit.idle()
    }

    /// Upstream connections that carry HTTP, idle ones included.
    pub fn open(&self) -> usize {
        self.exit.open()
    }

    /// Cancelled once the broker turns out to see it as another address. To be asked for when something was opened by
    /// it that would go on, a tunnel or a WebSocket: that must end then, for the address may be another account's.
    pub fn barred(&self) -> CancellationToken {
        self.known().barred.clone()
    }

    /// Cancelled once its address is no longer on this host: nothing that was opened by it is heard any more.
    pub fn address_gone(&self) -> CancellationToken {
        let mut known = self.known();
        if known.gone.as_ref().is_none_or(CancellationToken::is_cancelled) {
            known.gone = Some(CancellationToken::new());
        }
        let gone = known.gone.clone().unwrap_or_default();
        drop(known);
        // After it was put where whoever takes the address away finds it.
        if !self.is_here() {
            gone.cancel();
        }
        gone
    }

    pub(super) fn is_unseen(&self) -> bool {
        self.marks.load(Ordering::Acquire) & UNSEEN != 0
    }

    /// Was it asked as what the broker sees it, or must it be, before it signs anything?
    pub(super) fn set_unseen(&self, unseen: bool) {
        if unseen {
            self.marks.fetch_or(UNSEEN, Ordering::AcqRel);
        } else {
            self.marks.fetch_and(!UNSEEN, Ordering::AcqRel);
        }
    }

    /// The broker refused an order because of the address it came from ("Invalid IP").
    pub fn refused_source(&self) {
        self.learn(Event::SourceRefused);
    }

    /// The broker took an order that came from it.
    pub fn accepted_source(&self) {
        self.learn(Event::SourceAccepted);
    }

    /// A request that had been sent by it got no answer, or its connection broke. That
    /// is no proof of anything; but the other idle connections may be as dead, so the
    /// next request makes a new one, and a probe finds out what is the matter.
    pub fn suspect(&self) {
        self.exit.forget_idle();
        self.care.probe_at(self.role, Instant::now());
    }

    /// A read that was sent to this host by it got no reply in time, and one when it was sent again by the other leg.
    /// Only what the API host does says something of a leg.
    pub fn gave_no_reply(&self, to: &Authority) {
        if self.context.is_api(to) {
            self.learn(Event::NoReply);
        }
    }

    /// Does it admit reads, or is it only not trusted for long enough yet?
    pub fn works(&self) -> bool {
        self.admits(Purpose::Read) || matches!(self.state().0, LegState::Probing { .. })
    }

    pub(super) const fn exit(&self) -> &Arc<Exit> {
        &self.exit
    }

    /// What an answer says of this leg, with the address that was seen in place of its own
    /// kept for whoever asks why.
    pub(super) fn sight(&self, seen: SeenAddress) -> AddressSeen {
        let own_address = seen.detected.map(|detected| self.is_own(detected));
        if own_address == Some(false) {
            self.known().seen_as = seen.detected;
        }
        AddressSeen { own_address, orders_allowed: seen.orders_allowed }
    }

    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        address.to_canonical() == IpAddr::V6(self.source().ip())
    }

    pub(super) fn rank(&self, purpose: Purpose) -> Rank {
        let [ranks, _] = self.marks.load(Ordering::Acquire).to_le_bytes();
        Rank::from_bits(match purpose {
            Purpose::Read => ranks & 0xf,
            Purpose::OrderWrite | Purpose::TakesRiskAway => ranks >> 4,
        })
    }

    /// Its line is good, and its address is here.
    pub(super) fn is_here(&self) -> bool {
        self.here.load(Ordering::Relaxed)
    }

    /// Does nothing but proof from the broker help it?
    pub(super) fn wants_proof(&self) -> bool {
        self.known().health.wants_proof()
    }

    pub(super) fn set_dwell(&self, dwell: Duration) {
        self.known().health.set_dwell(dwell);
    }

    /// The host holds its address, or does not. Only a change is news.
    pub(super) fn address_is(&self, here: bool) {
        if self.here.swap(here, Ordering::Relaxed) != here {
            if here {
                // By which way it leaves now, nobody knows.
                self.set_unseen(true);
            } else if let Some(gone) = self.known().gone.take() {
                gone.cancel();
            }
            self.learn(if here { Event::AddressBack } else { Event::AddressGone });
        }
    }

    /// Take in what was learnt, tell of a change, and plan the next probe.
    pub(super) fn learn(&self, event: Event) {
        let good = match event {
            Event::Dialled | Event::SourceAccepted => true,
            Event::Seen(sight) => sight.own_address != Some(false) && sight.orders_allowed != Some(false),
            Event::DialFailed(_)
            | Event::NoReply
            | Event::AddressGone
            | Event::AddressBack
            | Event::SourceRefused
            | Event::Probed(..) => false,
        };
        // The common case: good news of a leg that nothing is wrong with.
        if good && self.marks.load(Ordering::Acquire) & RANKS == 0 {
            return;
        }
        let now = Instant::now();
        let mut known = self.known();
        let before = known.health.state();
        known.health.on(event, now.into_std());
        let after = known.health.state();
        let ranks = known.health.rank(Purpose::Read).bits() | (known.health.rank(Purpose::OrderWrite).bits() << 4);
        // Never fails; and under the lock, so that the ranks are those of the last event.
        let _ = self
            .marks
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |marks| Some((marks & !RANKS) | u16::from(ranks)));
        if !after.looks_like(&before) {
            known.since = SystemTime::now();
            // Told under the lock, so that changes are told in their order.
            self.publish(before, after, known.since);
        }
        let is_barred = known.health.rank(Purpose::Read).is_barred();
        let barred = is_barred && !known.barred.is_cancelled();
        if barred {
            known.barred.cancel();
        } else if !is_barred && known.barred.is_cancelled() {
            known.barred = CancellationToken::new();
        }
        let next = known.health.next_probe();
        drop(known);
        if barred || matches!(event, Event::DialFailed(_) | Event::AddressGone) {
            // What lies idle was made while the line worked and would be found dead by
            // an order, whose outcome then nobody knows; or nobody knows from where.
            self.exit.forget_idle();
        }
        if let Some(at) = next {
            self.care.probe_at(self.role, at.into());
        }
    }

    fn publish(&self, from: LegState, to: LegState, at: SystemTime) {
        let (role, source) = (self.role, self.source());
        let reason = to.reason().or(from.reason());
        let word = reason.map(Reason::as_str);
        tracing::warn!(account = %self.account, leg = role.as_str(), %source, from = from.as_str(), to = to.as_str(),
            reason = word, "a leg changed state");
        self.context.metrics().leg_changed(from.as_str(), to.as_str(), word.unwrap_or("none"));
        self.context.emit(LegEvent { account: self.account.clone(), role, source, from, to, at });
    }

    fn known(&self) -> std::sync::MutexGuard<'_, LegStatus> {
        lock(&self.known)
    }
}

impl std::fmt::Debug for Leg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (account, role, source) = (&self.account, self.role, self.source());
        let health = &self.known().health;
        f.debug_struct("Leg")
            .field("account", account)
            .field("role", &role)
            .field("source", &source)
            .field("health", health)
            .finish_non_exhaustive()
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        let state = self.known().health.state();
        self.context.metrics().leg_removed(state.as_str());
    }
}
