//! What a WebSocket costs: how much later a message arrives for having gone through the gateway, how many go through, and
//! what an idle one takes of memory.
//!
//! ```text
//! core 1: callers, broker (one event loop)       core 0: HAProxy or the gateway
//! broker --TLS 1.3--> peer (one read of it, by its account's address) --plain--> callers
//! broker --TLS 1.3, end to end, through a CONNECT of the gateway-----------------> callers   (sixgate-tunnel)
//! broker --TLS 1.3---------------------------------------------------------------> callers   (direct)
//! ```
//!
//! Every round measures every peer at everything, one after the other and in turning order: only ratios inside one round
//! mean anything. Memory is measured on a process that was started for it.
//!
//! - [`load`]: callers, and what they are sent. [`broker`]: who sends it. [`peers`]: what is between. [`report`]: tables.
//! - From `end_to_end`: [`cpu`], [`figures`], [`network`], [`packages`], [`statistics`], tokens of [`upstream`].
//!
//! Where callers of the tunnel or of no peer at all get TLS, the load does that work too, some microseconds a message, so
//! that what these add shows as that much more and what the others add as that much less.
//!
//! A message that does not come or is another, and a WebSocket without its account's token or from another address than
//! an account's primary, end the run.
//!
//! `cargo bench --bench streams -- --help`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

mod broker;
#[path = "../end_to_end/cpu.rs"]
#[allow(dead_code, reason = "other benchmarks use more of it")]
mod cpu;
#[path = "../end_to_end/figures.rs"]
mod figures;
mod load;
#[path = "../end_to_end/network.rs"]
mod network;
#[path = "../end_to_end/packages.rs"]
#[allow(dead_code, reason = "other benchmarks use more of it")]
mod packages;
mod peers;
mod report;
#[path = "../end_to_end/statistics.rs"]
mod statistics;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../end_to_end/upstream.rs"]
mod upstream;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use broker::Broker;
use cpu::{CoreTime, CpuTime, Machine};
use load::Plan;
use peers::Peer;
use report::{CPU, IDLE, LATE, MEMORY, P50, P99, RATE, Report};
use support::wait_until;

/// The core of the gateway and HAProxy.
const PEER_CORE: usize = 0;
/// The core of the callers and the broker.
const LOAD_CORE: usize = 1;
/// An account's sockets of a kind, at most: what an engine has.
const SOCKETS: usize = 5;
/// Sockets that are sent all that goes.
const FLOODED: [usize; 2] = [1, 16];
/// Sockets that come and go before memory is first looked at: what is made once is made then.
const FIRST: usize = 16;

/// Latency of messages at fixed rates, messages a second, and memory of WebSockets: of the gateway, of a blind tunnel
/// through it, of HAProxy, and without any.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured. Ratios are the median of the rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=500))]
    rounds: u32,
    /// Messages a second, over five sockets.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 200, 2000])]
    rates: Vec<u32>,
    /// Seconds measured for each figure; a fifth of it more for a start.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Messages that are measured at a rate at the least, however long that takes.
    #[arg(long, default_value_t = 200)]
    messages: u64,
    /// WebSockets that are held for the figures of memory.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    idle: u16,
    /// Only peers whose name contains one of these: direct, haproxy, sixgate-tunnel, sixgate. What peers add needs direct.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Write streams.json and streams.md there too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Install HAProxy if it is missing, by apt-get; takes root. Without it it is left out.
    #[arg(long)]
    install: bool,
    /// Does it run at all? One short round; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self::parse();
        if arguments.quick {
            (arguments.rounds, arguments.seconds, arguments.messages, arguments.idle) = (1, 0.3, 10, 50);
        }
        assert!(arguments.rates.iter().all(|rate| (1..=1_000_000).contains(rate)), "--rates takes 1 to 1,000,000");
        arguments
    }

    fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn plan(&self, rate: u32) -> Plan {
        let counted = ((f64::from(rate) * self.seconds) as u64).max(self.messages);
        Plan { sockets: SOCKETS, rate, before: counted / 5, counted }
    }
}

fn main() {
    let arguments = Arguments::read();
    let wanted = |name: &&str| arguments.peers.is_empty() || arguments.peers.iter().any(|part| name.contains(part));
    let names = packages::available(peers::NAMES.into_iter().filter(wanted).collect(), arguments.install);
    // Before there is another thread: each has its own namespace.
    network::enter();
    network::hold(&["2001:db8:a1::/64", "2001:db8:a2::/64"]);
    network::allow_many_connections();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("as many open files as are allowed");
    let machine = Machine::look();
    assert!(machine.cores > LOAD_CORE, "two cores are needed, one for the peer and one for the load");

    let dir = tempfile::tempdir().expect("a temporary folder");
    let broker = Arc::new(Broker::start(LOAD_CORE, dir.path()));
    let bench = Bench { arguments, broker, dir: dir.path().to_owned() };
    let most = FLOODED.into_iter().max().unwrap_or(SOCKETS).max(SOCKETS);
    let peers: Vec<Peer> = names.iter().map(|name| bench.start(name, most)).collect();
    let Arguments { rounds, seconds, idle, .. } = bench.arguments;
    let mut report = Report {
        machine,
        peers: peers.iter().map(|peer| (peer.name, peer.version.clone())).collect(),
        rounds,
        about: format!(
            "Messages of {} bytes; latency over {SOCKETS} sockets; {seconds:.1} s for each figure; {idle} sockets held \
             for those of memory.",
            broker::PAYLOAD
        ),
        figures: Vec::new(),
    };
    for round in 0..rounds {
        let turned = || (0..peers.len()).map(|turn| &peers[(turn + round as usize) % peers.len()]);
        for rate in bench.arguments.rates.clone() {
            turned().for_each(|peer| bench.latency(&mut report, round, rate, peer));
        }
        for sockets in FLOODED {
            turned().for_each(|peer| bench.flood(&mut report, round, sockets, peer));
        }
        for peer in turned().filter(|peer| peer.process_id().is_some()) {
            bench.memory(&mut report, round, peer.name);
        }
    }
    report.add_differences();
    print!("{report}");
    if let Some(out) = &bench.arguments.out {
        report.results().write(out, "streams", &report.to_string());
    }
}

/// What all measuring needs.
struct Bench {
    arguments: Arguments,
    broker: Arc<Broker>,
    dir: PathBuf,
}

impl Bench {
    /// A peer on its core, in a folder of its own.
    fn start(&self, name: &str, sockets: usize) -> Peer {
        let dir = tempfile::tempdir_in(&self.dir).expect("a folder").keep();
        // Children run where the thread that starts them may run.
        cpu::pin_this_thread(PEER_CORE);
        let peer = Peer::start(name, &self.broker, sockets, &dir);
        cpu::pin_this_thread(LOAD_CORE);
        peer
    }

    fn latency(&self, report: &mut Report, round: u32, rate: u32, peer: &Peer) {
        let plan = self.arguments.plan(rate);
        let outcome = self.checked(peer, plan.sockets, || load::at_fixed_times(&self.broker, &peer.way, plan));
        let us = |value: u64| value as f64 / 1e3;
        for (measure, value) in [
            (P50, us(outcome.latency.value_at_quantile(0.5))),
            (P99, us(outcome.latency.value_at_quantile(0.99))),
            (LATE, us(outcome.lag.value_at_quantile(0.99))),
        ] {
            report.add(measure, peer.name, rate.into(), round, value);
        }
    }

    fn flood(&self, report: &mut Report, round: u32, sockets: usize, peer: &Peer) {
        let id = peer.process_id();
        let probe = move || Probe { peer: id.map(CpuTime::of_process), core: cpu::cores()[PEER_CORE] };
        let times = (self.arguments.window() / 5, self.arguments.window());
        let flood = || load::as_fast_as_it_goes(&self.broker, &peer.way, sockets, times, probe);
        let window = self.checked(peer, sockets, flood);
        assert!(window.messages > 0, "{}: no message in the window", peer.name);
        let at = sockets as f64;
        report.add(RATE, peer.name, at, round, window.messages as f64 / window.elapsed.as_secs_f64());
        if let (Some(now), Some(then)) = (window.closed.peer, window.opened.peer) {
            let spent = now.since(then).total().as_secs_f64();
            report.add(CPU, peer.name, at, round, spent * 1e6 / window.messages as f64);
            report.add(IDLE, peer.name, at, round, window.closed.core.since(window.opened.core).idle_share() * 100.0);
        }
    }

    /// What each of those that are held adds, with its share of what an account needs once. Below zero if the process gave memory back meanwhile.
    fn memory(&self, report: &mut Report, round: u32, name: &str) {
        let idle = usize::from(self.arguments.idle);
        let peer = self.start(name, idle.max(FIRST));
        let id = peer.process_id().expect("a process");
        let way = &peer.way;
        self.checked(&peer, FIRST, || load::held(&self.broker, way, FIRST, || ()));
        let before = resident(id);
        let after = self.checked(&peer, idle, || load::held(&self.broker, way, idle, move || resident(id)));
        report.add(MEMORY, name, idle as f64, round, (after as f64 - before as f64) / idle as f64);
    }

    /// Do it; each WebSocket must have been one at the broker, signed, and from an address that it may come from, and be
    /// closed before the next thing is measured.
    fn checked<T>(&self, peer: &Peer, sockets: usize, measure: impl FnOnce() -> T) -> T {
        let before = self.broker.addresses();
        let refused = self.broker.refused();
        let measured = measure();
        wait_until("all WebSockets are closed at the broker", Duration::from_secs(30), || {
            self.broker.sockets().is_empty()
        });
        assert_eq!(self.broker.refused(), refused, "{}: WebSockets without their account's token", peer.name);
        let mut new = 0;
        for (address, count) in self.broker.addresses() {
            let from_here = count - before.get(&address).copied().unwrap_or_default();
            let right = from_here == 0 || peer.may_leave_from(address);
            assert!(right, "{}: {from_here} WebSockets came from {address}", peer.name);
            new += from_here;
        }
        assert_eq!(new, sockets as u64, "{}: WebSockets at the broker against callers'", peer.name);
        measured
    }
}

/// What is looked at when a window of measuring opens and closes.
struct Probe {
    peer: Option<CpuTime>,
    core: CoreTime,
}

/// Resident memory of a process, in bytes, without the pages of its program.
fn resident(process_id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process_id}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes * 1024
}
