//! How the process's file descriptors are shared out, and what is said of them at the start.
//!
//! What callers and operators may hold is bounded so that an order always finds a descriptor to leave by: each caller's
//! place stands for another one towards the broker.

use crate::config::Config;
use crate::domain::host_limits;

/// Of our own: standard streams, state, journal, netlink, name servers, and what is opened for a moment.
const OWN: usize = 64;
/// For each thread that has a reactor: its two, and a pipe that tunnels go through.
const A_THREAD: usize = 6;
/// Operators, their programs and their consoles, whose streams of events may be half of them.
const OPERATORS: usize = 128;
/// What there is of anything at the least: a limit under this cannot be met in any way.
const LEAST: usize = 8;
/// Fewer connections of callers than this are few, whatever the configuration allows...
const FEW: usize = 512;
/// ...and fewer than these for each account.
const AN_ACCOUNT: usize = 16;
/// Where the kernel does not say how many there may be: what it says nearly everywhere.
const USUAL: usize = 1024;

/// Who may have how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// All of them.
    pub(super) limit: usize,
    own: usize,
    /// Connections to the admin API.
    pub(super) operators: usize,
    /// Connections of callers, over all listeners.
    pub(super) callers: usize,
}

impl Shares {
    /// Connections to the broker, over all accounts.
    pub(super) const fn egress(&self) -> usize {
        // Who has least gets what is left, and never less than callers have.
        let left = self.limit.saturating_sub(self.own + self.operators + self.callers);
        if left > self.callers { left } else { self.callers }
    }

    fn of(limit: usize, threads: usize) -> Self {
        let own = OWN + A_THREAD * threads;
        let operators = (limit / 8).clamp(LEAST, OPERATORS);
        let callers = (limit.saturating_sub(own + operators) / 2).max(LEAST);
        Self { limit, own, operators, callers }
    }

    /// Raise the limit as far as it may be raised, share it out, and log it.
    pub(super) fn take(config: &Config) -> Self {
        let raised = host_limits::raise_descriptors();
        let limit = host_limits::descriptors().unwrap_or(USUAL);
        let shares = Self::of(limit, threads(config));
        let Self { callers, operators, .. } = shares;
        if let Err(err) = &raised {
            tracing::warn!(
                error = %err,
                "the limit of open files (ulimit -n) could not be raised, so only {callers} connections of order engines can \
                 be open at once; set LimitNOFILE= in the systemd unit"
            );
        }
        let before = raised.map_or(limit, |(before, _)| before);
        tracing::info!(limit, before, callers, operators, "file descriptors, and how many connections they are for");
        shares
    }

    /// How many a process like this one could have, were it started now, and, where they are few, why that is too few,
    /// with how many it takes.
    pub(super) fn foreseen(config: &Config, accounts: usize) -> (usize, Option<(String, usize)>) {
        let limit = host_limits::most_descriptors().unwrap_or(USUAL);
        let lacks = Self::of(limit, threads(config)).lacks(config, accounts).filter(|lacks| lacks.are_few);
        (limit, lacks.map(|Lacks { why, wanted, .. }| (why, wanted)))
    }

    /// What is too little for what the configuration allows, if anything is.
    fn lacks(&self, config: &Config, accounts: usize) -> Option<Lacks> {
        let callers = config.listeners.len().saturating_mul(config.proxy.max_connections);
        let a_leg = config.legs.warm + 1;
        let ready = accounts * 2 * a_leg;
        let wanted = self.own + OPERATORS + callers + ready.max(callers);
        let fits = self.callers >= callers && self.egress() >= ready;
        let needed = callers.min(FEW.max(accounts.saturating_mul(AN_ACCOUNT)));
        let are_few = self.callers < needed || self.egress() < ready;
        (!fits).then(|| {
            let why = format!(
                "only {} connections of order engines can be open at once, and the configuration allows {callers} \
                 (proxy.max_connections for each listener). Further ones wait, with their orders; with a few engines that \
                 never happens. To have room for all: set LimitNOFILE={} in the systemd unit (ulimit -Hn if the gateway is \
                 started by hand) and restart it, or lower proxy.max_connections. The gateway may have {} file \
                 descriptors open, each connection takes one, and {accounts} accounts keep up to {ready} connections to \
                 the broker ready",
                self.callers,
                wanted.next_power_of_two(),
                self.limit,
            );
            Lacks { why, wanted, are_few }
        })
    }

    /// Say when there are fewer than the configuration allows, and warn when there are too few for the accounts: what
    /// looks like trouble at each start is read at none.
    pub(super) fn tell(&self, config: &Config, accounts: usize) {
        match self.lacks(config, accounts) {
            Some(Lacks { why, are_few: true, .. }) => tracing::warn!("{why}"),
            Some(Lacks { why, .. }) => tracing::info!("{why}"),
            None => {}
        }
    }
}

/// What is too little for what the configuration allows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lacks {
    /// In words for people.
    why: String,
    /// How many descriptors it takes.
    wanted: usize,
    /// Are there so few that an office can run out of them?
    are_few: bool,
}

/// Those that have a reactor.
fn threads(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores + cores.max(config.latency.threads)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config() -> Config {
        let text = "[[listener]]\naddress = \"127.0.0.1:8080\"\naccount = \"alpha\"\n";
        crate::config::from_text("test", Path::new("/x"), text, &Default::default()).unwrap()
    }

    /// Whatever connects to us must leave a descriptor for an order to leave by.
    #[test]
    fn callers_and_operators_leave_as_many_for_the_broker_as_callers_have() {
        for (limit, threads) in [(256, 4), (1024, 4), (1024, 64), (4096, 4), (524_288, 128), (usize::MAX, 4)] {
            let Shares { own, operators, callers, .. } = Shares::of(limit, threads);
            assert!(own + operators + 2 * callers <= limit, "{limit}: {own} {operators} {callers}");
            assert!(callers >= LEAST && operators >= LEAST);
        }
    }

    #[test]
    fn the_warning_comes_where_it_is_due_and_says_what_to_do() {
        let config = config();
        assert_eq!(Shares::of(524_288, 4).lacks(&config, 1_000), None);
        assert_eq!(Shares::of(65_536, 4).lacks(&config, 2), None);
        let Lacks { why: lacks, wanted, are_few } = Shares::of(1024, 4).lacks(&config, 2).unwrap();
        assert!(are_few && Shares::of(wanted, 4).lacks(&config, 2).is_none());
        for what in ["1024 file descriptors", "ulimit", "LimitNOFILE=32768", "10000", "proxy.max_connections"] {
            assert!(lacks.contains(what), "{what}: {lacks}");
        }
        let of = |limit, accounts| Shares::of(limit, 4).lacks(&config, accounts).is_some_and(|lacks| lacks.are_few);
        assert!(of(65_536, 100_000), "no room for what lies ready");
        // 9,892 of 10,000 are nothing to look at.
        assert!(!of(20_000, 2) && Shares::of(20_000, 4).lacks(&config, 2).is_some());
        assert!(of(20_000, 700), "an account has fewer than it may need");
    }
}
