//! The self-check of the host: at the start, after a reload, when the kernel tells of a change or a leg trips, and
//! now and then. It stops nothing: a gateway that does not start in the morning is the greater harm.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};

use crate::accounts::Accounts;
use crate::domain::tasks::Tasks;
use crate::domain::{Authority, steady};
use crate::egress::Egress;
use crate::host::{Board, Changes, Facts, Failure, Report, Wants, Wish, findings};
use crate::legs::{Attendant, Leg, LegEvent, Reason};

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
/// An address outside that nobody has. Nothing is sent to it.
pub(super) const OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);
/// Rows that are read at once.
const ROWS: usize = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct HostCheck {
    pub(super) accounts: Arc<Accounts>,
    pub(super) egress: Arc<Egress>,
    pub(super) api: Authority,
    pub(super) board: Arc<Board>,
}

impl HostCheck {
    /// Check until the process is to stop.
    pub(super) async fn run(self, attendant: Arc<Attendant>, tasks: Tasks) {
        let mut legs = attendant.events();
        let changes = Changes::open().ok();
        loop {
            let (began, epoch) = (Instant::now(), steady::epoch());
            tokio::select! {
                () = self.check() => {}
                () = tasks.stopping() => return,
            }
            tokio::select! {
                () = sleep_until(began + EVERY) => {}
                () = self.board.wanted() => {}
                () = changed(changes.as_ref()) => {}
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

    async fn check(&self) {
        let pin = self.egress.address_of(&self.api, Instant::now() + NAMES).await;
        let to = pin.filter(|to| !to.is_loopback()).unwrap_or(OUTSIDE);
        let (accounts, freebind) = (Arc::clone(&self.accounts), self.egress.freebind());
        let look = move || {
            let clock_ahead = steady::brokers_ahead_of_host();
            let wants = Wants { wishes: wishes(&accounts), to, freebind, needs_unix: needs_unix(), clock_ahead };
            findings(&Facts::gather(wants))
        };
        // It reads files and asks the kernel.
        let Ok(findings) = tokio::task::spawn_blocking(look).await else { return };
        self.board.show(Report { checked_at: Timestamp::now(), findings });
    }
}

/// What of this process opens unix sockets after the start; listeners say so themselves when they cannot.
fn needs_unix() -> Vec<String> {
    let notifies = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
    let needs =
        "telling systemd that the gateway is ready, so that a unit of Type=notify is ended at its start time-out";
    notifies.then(|| needs.to_owned()).into_iter().collect()
}

/// The addresses of all accounts, and one of each pool that has given none yet.
fn wishes(accounts: &Accounts) -> Vec<Wish> {
    let (mut wishes, mut after) = (Vec::new(), None);
    loop {
        // An account that cannot be read is told where it is needed.
        let Ok(page) = accounts.page(after.as_ref(), ROWS) else { break };
        let legs = page.rows.iter().filter_map(|row| row.legs.as_ref());
        wishes.extend(legs.flat_map(|legs| legs.both()).map(wish));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    for pool in accounts.addressing().pools().into_iter().filter(|pool| pool.assigned == 0) {
        let first = pool.prefixes.pair(pool.prefixes.next_usable(0));
        wishes.extend(
            first
                .into_iter()
                .flat_map(|pair| [pair.primary, pair.secondary])
                .map(|source| Wish { source, failed: None }),
        );
    }
    wishes.retain(|wish| !wish.source.ip().is_loopback());
    wishes
}

fn wish(leg: &Leg) -> Wish {
    let failed = match leg.state().0.reason() {
        Some(Reason::ConnectTimedOut) => Some(Failure::Silent),
        Some(Reason::TlsTimedOut) => Some(Failure::SilentTls),
        Some(_) | None => None,
    };
    Wish { source: leg.source(), failed }
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
