//! The self-check of the host: at the start, after a reload, when the kernel tells of a change or a leg trips, and
//! now and then. It stops nothing: a gateway that does not start in the morning is the greater harm.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};

use crate::accounts::Accounts;
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, Authority, SourceAddr, steady};
use crate::egress::Egress;
use crate::host::{Board, Changes, Facts, Failure, OUTSIDE, Report, Sender, Wants, Wish, could_not_look, findings};
use crate::legs::{Leg, LegEvent, LegState, Reason, Supervisor};

/// From one check to the next when nothing tells of a change.
const EVERY: Duration = Duration::from_secs(60);
/// Changes come in bursts, and a busy router's never end: a check begins this long after the first of them...
const SETTLE: Duration = Duration::from_millis(200);
/// ...and this long after the last check at the earliest.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// How often the clock's correction is looked at; nobody tells of one.
const CLOCK_EVERY: Duration = Duration::from_secs(5);
/// How long the name servers may take to say where the broker is. Any address outside does for a route.
const NAMES: Duration = Duration::from_secs(2);
/// Rows that are read at once.
pub(super) const ROWS: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct HostCheck {
    pub(super) accounts: Arc<Accounts>,
    pub(super) egress: Arc<Egress>,
    pub(super) api: Authority,
    /// It is the built-in one, and nothing has to leave this host.
    pub(super) broker_is_here: bool,
    pub(super) board: Arc<Board>,
}

impl HostCheck {
    /// Check until the process is to stop.
    pub(super) async fn run(self, supervisor: Arc<Supervisor>, tasks: Tasks) {
        let mut legs = supervisor.events();
        let changes = Changes::open().ok();
        let mut worked = Worked::default();
        loop {
            let (began, epoch) = (Instant::now(), steady::epoch());
            tokio::select! {
                known = self.check(worked) => worked = known,
                () = tasks.stopping() => return,
            }
            tokio::select! {
                () = sleep_until(began + EVERY) => {}
                () = self.board.wanted() => {}
                () = changed(changes.as_ref()) => worked = Worked { since_change: HashSet::new(), just_changed: true },
                () = trips(&mut legs) => {}
                () = clock_is_corrected(epoch) => {}
                () = tasks.stopping() => return,
            }
            let soon = (Instant::now() + SETTLE).max(began + AT_MOST_EVERY);
            tokio::select! {
                () = sleep_until(soon) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn check(&self, mut worked: Worked) -> Worked {
        let pin = self.egress.address_of(&self.api, Instant::now() + NAMES).await;
        let to = pin.filter(|to| self.broker_is_here || !to.is_loopback()).unwrap_or(OUTSIDE);
        let (accounts, freebind) = (Arc::clone(&self.accounts), self.egress.freebind());
        let last = self.board.last();
        let look = move || {
            let clock_ahead = steady::brokers_ahead_of_host();
            let wishes = wishes(&accounts, &mut worked);
            let wants = Wants { wishes, to, freebind, needs_unix: needs_unix(), clock_ahead };
            let before = last.as_deref().map_or(&[][..], |last| &last.findings);
            let findings = match Facts::gather(wants) {
                Ok(facts) => findings(&facts, before),
                Err(lack) => could_not_look(lack, before),
            };
            (findings, worked)
        };
        // It reads files and asks the kernel.
        let Ok((findings, worked)) = tokio::task::spawn_blocking(look).await else { return Worked::default() };
        self.board.show(Report { checked_at: Timestamp::now(), findings });
        worked
    }
}

/// The addresses by which anything came back since the host's network changed for the last time.
#[derive(Debug, Default)]
struct Worked {
    since_change: HashSet<SourceAddr>,
    /// What lies ready may have been made before the change.
    just_changed: bool,
}

impl Worked {
    /// A connection that lies ready had its handshake answered; a leg that does not admit says nothing by one.
    fn of(&mut self, leg: &Leg) -> bool {
        if !self.just_changed && leg.state().0 == LegState::Admits && leg.idle() > 0 {
            self.since_change.insert(leg.source());
        }
        self.since_change.contains(&leg.source())
    }
}

/// What of this process opens unix sockets after the start; listeners say so themselves when they cannot.
fn needs_unix() -> Vec<String> {
    let notifies = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
    let needs = "telling systemd that the gateway has started, so systemd ends a Type=notify unit after 90 s (TimeoutStartSec=)";
    notifies.then(|| needs.to_owned()).into_iter().collect()
}

/// The addresses of all accounts, and one of each pool that has given none yet.
fn wishes(accounts: &Accounts, worked: &mut Worked) -> Vec<Wish> {
    let (mut wishes, mut after) = (Vec::new(), None);
    loop {
        // An account that cannot be read is told where it is needed.
        let Ok(page) = accounts.page(after.as_ref(), ROWS) else { break };
        let legs = page.rows.iter().filter_map(|row| row.legs.as_ref());
        let legs = legs.flat_map(|legs| legs.both().map(|leg| (legs.account(), leg)));
        wishes.extend(legs.map(|(account, leg)| wish(account, leg, worked.of(leg))));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    for pool in accounts.addressing().pools().into_iter().filter(|pool| pool.assigned == 0) {
        let first = pool.prefixes.pair(pool.prefixes.next_usable(0));
        let owner: Arc<str> = format!("pool {}", pool.name).into();
        let sender = |source| Sender { source, owner: Some(Arc::clone(&owner)) };
        let wish = |source| Wish { sender: sender(source), admits: false, failed: None, worked: false };
        wishes.extend(first.into_iter().flat_map(|pair| [pair.primary, pair.secondary]).map(wish));
    }
    worked.just_changed = false;
    wishes.retain(|wish| !wish.sender.source.ip().is_loopback());
    wishes
}

fn wish(account: &AccountName, leg: &Leg, worked: bool) -> Wish {
    let state = leg.state().0;
    let admits = !matches!(state, LegState::Tripped { .. });
    let failed = match state {
        LegState::Tripped { reason: Reason::ConnectTimedOut, .. } => Some(Failure::Silent),
        LegState::Tripped { reason: Reason::TlsTimedOut, .. } => Some(Failure::SilentTls),
        // One that works again, and is to do so for a while, is not silent.
        LegState::Admits | LegState::Tripped { .. } | LegState::Probing { .. } => None,
    };
    let owner = Some(format!("{account} {}", leg.role().as_str()).into());
    Wish { sender: Sender { source: leg.source(), owner }, admits, failed, worked }
}

async fn changed(changes: Option<&Changes>) {
    if let Some(changes) = changes
        && changes.next().await.is_ok()
    {
        return;
    }
    // Nobody tells: the check is made now and then all the same.
    std::future::pending().await
}

/// The broker's time was measured anew, since this many corrections.
async fn clock_is_corrected(epoch: u32) {
    while steady::epoch() == epoch {
        sleep(CLOCK_EVERY).await;
    }
}

/// A leg changed its state.
async fn trips(legs: &mut broadcast::Receiver<LegEvent>) {
    if matches!(legs.recv().await, Err(broadcast::error::RecvError::Closed)) {
        std::future::pending().await
    }
}
