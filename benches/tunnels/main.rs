//! What a tunnel costs: bytes through it, opening it, and keeping it; and what an idle caller costs.
//!
//! ```text
//! core 1: load                core 0: relay                                         core 1: plain upstream
//! load --[CONNECT,] TCP--> floor, HAProxy or gateway --TCP, from the account's address--> upstream
//! ```
//!
//! Every round measures every relay at everything, one after the other and in turning order, as `end_to_end` does and
//! for its reason: only ratios inside one round mean anything. Memory is measured on a process that was started for
//! it, because what an allocator has once got it seldom gives back.
//!
//! - [`load`]: what goes through, and whether it is right. [`plain`]: what is at the far end.
//! - [`peers`]: the relays. [`floor`]: the least of them. [`report`]: the table.
//! - From `end_to_end`: [`orders`] and [`upstream`] for idle callers; [`cpu`], [`network`], [`spread`].
//!
//! A byte that comes back as another one, a tunnel that ends, and a connection that the upstream sees from another
//! address than the account's end the run.
//!
//! `cargo bench --bench tunnels -- --help`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

#[path = "../end_to_end/cpu.rs"]
mod cpu;
#[path = "../end_to_end/figures.rs"]
mod figures;
mod floor;
mod load;
#[path = "../end_to_end/network.rs"]
mod network;
#[path = "../end_to_end/peers.rs"]
mod orders;
#[allow(dead_code, reason = "shared with end_to_end, which measures orders")]
#[path = "../end_to_end/packages.rs"]
mod packages;
mod peers;
mod plain;
mod report;
#[path = "../end_to_end/statistics.rs"]
mod statistics;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../end_to_end/upstream.rs"]
mod upstream;

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use cpu::{CpuTime, Machine};
use load::Window;
use peers::Peer;
use plain::Plain;
use report::{Cores, Report, Sample};
use support::wait_until;
use upstream::Upstream;

/// The core of the relays.
const PEER_CORE: usize = 0;
/// The core of the load and the upstream.
const LOAD_CORE: usize = 1;
/// Ports that connections leave from. More than usual: each connect of the load uses two up.
const EPHEMERAL: (u16, u16) = (15_000, 65_000);
/// Tunnels or callers that come and go before memory is first looked at: what is made once is made then.
const FIRST: usize = 16;
/// Unused upstream connections that the gateway keeps for idle callers' orders; as many as ask at a time, and some.
const IDLE_PER_LEG: usize = 32;

/// CPU and memory of blind tunnels, beside HAProxy and a relay that does nothing else.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured. Ratios are the median of the rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=500))]
    rounds: u32,
    /// Seconds measured for each figure of CPU; a fifth of it more for a start.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Tunnels, and callers, that are held for the figures of memory.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..=4000))]
    idle: u16,
    /// Only relays whose name contains one of these (floor, haproxy, sixgate), and only measures likewise (bulk-1,
    /// bulk-16, connects, idle-tunnels, idle-callers). Without what a measure is compared with there is no ratio.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write tunnels.json and tunnels.md there too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Does it run at all? One round of 0.3 s each, 200 held; the figures mean little.
    #[arg(long)]
    quick: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program is started as by itself.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// The floor, as a process whose CPU can be counted.
    #[command(hide = true)]
    Floor { listen: SocketAddr, to: SocketAddr },
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self::parse();
        if arguments.quick {
            (arguments.rounds, arguments.seconds, arguments.idle) = (1, 0.3, 200);
        }
        let names = peers::NAMES.into_iter().map(str::to_owned).chain(Measure::ALL.map(|measure| measure.to_string()));
        let names: Vec<String> = names.collect();
        for part in &arguments.only {
            assert!(names.iter().any(|name| name.contains(part)), "--only takes parts of {names:?}");
        }
        arguments
    }

    /// Those of `all` that are wanted: all of them, if nothing of their kind was asked for.
    fn wanted<T: Copy + fmt::Display>(&self, all: &[T]) -> Vec<T> {
        let is_meant = |one: &T| self.only.iter().any(|part| one.to_string().contains(part.as_str()));
        let meant: Vec<T> = all.iter().copied().filter(is_meant).collect();
        if meant.is_empty() { all.to_vec() } else { meant }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// So many streams, as fast as they go.
    Bulk(usize),
    /// Open a tunnel, a byte there and back, close it.
    Connects,
    /// Memory for each tunnel that has echoed a byte and stays open.
    IdleTunnels,
    /// Memory for each caller that has got a reply and stays connected.
    IdleCallers,
}

impl Measure {
    const ALL: [Self; 5] = [Self::Bulk(1), Self::Bulk(16), Self::Connects, Self::IdleTunnels, Self::IdleCallers];

    const fn unit(self) -> &'static str {
        match self {
            Self::Bulk(_) => "CPU s/GB",
            Self::Connects => "CPU us each",
            Self::IdleTunnels | Self::IdleCallers => "bytes each",
        }
    }

    /// Scene, measure and size among [`figures`].
    const fn names(self) -> (&'static str, &'static str, f64) {
        match self {
            Self::Bulk(streams) => ("bulk tunnel", "CPU per GB", streams as f64),
            Self::Connects => ("CONNECT", "CPU per connect", 0.0),
            Self::IdleTunnels => ("idle tunnel", "memory", 0.0),
            Self::IdleCallers => ("idle caller", "memory", 0.0),
        }
    }

    const fn rate(self) -> &'static str {
        match self {
            Self::Bulk(_) => "GB/s",
            Self::Connects => "/s",
            Self::IdleTunnels | Self::IdleCallers => "held",
        }
    }

    /// The peer that it is compared with; memory is not.
    const fn base(self) -> Option<&'static str> {
        match self {
            Self::Bulk(_) => Some("floor"),
            Self::Connects => Some("haproxy"),
            Self::IdleTunnels | Self::IdleCallers => None,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk(streams) => f.pad(&format!("bulk-{streams}")),
            Self::Connects => f.pad("connects"),
            Self::IdleTunnels => f.pad("idle-tunnels"),
            Self::IdleCallers => f.pad("idle-callers"),
        }
    }
}

fn main() {
    let arguments = Arguments::read();
    if let Some(Part::Floor { listen, to }) = arguments.part {
        floor::serve(listen, to);
    }
    // Before there is another thread: each has its own namespace.
    network::enter();
    make_room();
    let machine = Machine::look();
    assert!(machine.cores > LOAD_CORE, "two cores are needed, one for the peer and one for the load");

    let names = arguments.wanted(&peers::NAMES);
    let measures = arguments.wanted(&Measure::ALL);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bench = Bench {
        upstream: Upstream::start(LOAD_CORE, dir.path(), upstream::Manner::Keeps),
        plain: Plain::start(LOAD_CORE),
        warm_up: Duration::from_secs_f64(arguments.seconds / 5.0),
        window: Duration::from_secs_f64(arguments.seconds),
        idle: arguments.idle.into(),
    };
    let peers: Vec<Peer> =
        names.iter().map(|name| on_peer_core(|| Peer::start(name, &bench.upstream, &folder(dir.path())))).collect();
    bench.wait_until_closed();
    let mut report = Report {
        machine,
        peers: peers.iter().map(|peer| (peer.name, peer.version.clone())).collect(),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        idle: bench.idle,
        samples: Vec::new(),
    };
    for round in 0..arguments.rounds {
        for &measure in &measures {
            for turn in 0..peers.len() {
                let peer = &peers[(turn + round as usize) % peers.len()];
                // The floor does not know HTTP, so it has no idle callers.
                if measure == Measure::IdleCallers && peer.name == "floor" {
                    continue;
                }
                let sample = bench.measure(round, measure, peer, dir.path());
                eprintln!("round {} of {}: {sample}", round + 1, arguments.rounds);
                report.samples.push(sample);
            }
        }
    }
    print!("{report}");
    if let Some(out) = &arguments.out {
        report.results().write(out, "tunnels", &report.to_string());
    }
}

/// Thousands of connections, each of which has two ends in this process, and tens of thousands one after the other.
fn make_room() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of open files");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("as many open files as are allowed");
    let set = |name: &str, value: &str| {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap_or_else(|err| panic!("cannot set {name}: {err}"));
    };
    let (first, last) = EPHEMERAL;
    set("ip_local_port_range", &format!("{first} {last}"));
    // For all addresses, as it is by default for those of loopback: without free ports it is connect() that is
    // measured.
    set("tcp_tw_reuse", "1");
}

/// A new folder in `dir`.
fn folder(dir: &Path) -> PathBuf {
    tempfile::tempdir_in(dir).expect("a folder").keep()
}

/// Children run where the thread that starts them may run.
fn on_peer_core<T>(start: impl FnOnce() -> T) -> T {
    cpu::pin_this_thread(PEER_CORE);
    let started = start();
    cpu::pin_this_thread(LOAD_CORE);
    started
}

/// Resident memory of a process, in bytes.
fn resident(process_id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process_id}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes * 1024
}

/// What is looked at when a window of measuring opens and closes.
struct Probe {
    peer: CpuTime,
    own: CpuTime,
    cores: Vec<cpu::CoreTime>,
}

impl Probe {
    fn look(peer: u32) -> Self {
        Self { peer: CpuTime::of_process(peer), own: CpuTime::of_process(std::process::id()), cores: cpu::cores() }
    }
}

/// What all measuring needs.
struct Bench {
    upstream: Upstream,
    plain: Plain,
    warm_up: Duration,
    window: Duration,
    idle: usize,
}

impl Bench {
    fn measure(&self, round: u32, measure: Measure, peer: &Peer, dir: &Path) -> Sample {
        let name = peer.name;
        let sample = |value, rate, cores| Sample { round, measure, peer: name, value, rate, cores };
        let probe = || Probe::look(peer.process_id());
        let way = peer.way();
        match measure {
            Measure::Bulk(streams) => {
                let window = self.checked(peer, || load::bulk(&way, streams, self.warm_up, self.window, probe));
                let gigabytes = window.count as f64 / 1e9;
                let (cpu, cores) = spent(&window);
                sample(cpu / gigabytes, gigabytes / window.elapsed.as_secs_f64(), Some(cores))
            }
            Measure::Connects => {
                let window = self.checked(peer, || load::connects(&way, self.warm_up, self.window, probe));
                let (cpu, cores) = spent(&window);
                let count = window.count as f64;
                sample(cpu * 1e6 / count, count / window.elapsed.as_secs_f64(), Some(cores))
            }
            Measure::IdleTunnels => {
                let peer = on_peer_core(|| Peer::start(name, &self.upstream, &folder(dir)));
                let look = || resident(peer.process_id());
                let way = peer.way();
                load::idle_tunnels(&way, FIRST, || ());
                self.wait_until_closed();
                let before = look();
                let after = load::idle_tunnels(&way, self.idle, || {
                    assert_eq!(self.plain.open(), self.idle as u64, "{name}: tunnels that are open at the upstream");
                    look()
                });
                self.wait_until_closed();
                sample(self.each(before, after), self.idle as f64, None)
            }
            Measure::IdleCallers => {
                let dir = folder(dir);
                let start = || orders::Peer::start(name, &self.upstream, &dir, IDLE_PER_LEG);
                let peer = on_peer_core(start);
                let look = || resident(peer.process_id().expect("a process"));
                load::idle_callers(peer.at, &peer.request, FIRST, || ());
                let before = look();
                let after = load::idle_callers(peer.at, &peer.request, self.idle, look);
                sample(self.each(before, after), self.idle as f64, None)
            }
        }
    }

    /// What each of those that are held added. Below zero if the process gave memory back meanwhile.
    fn each(&self, before: u64, after: u64) -> f64 {
        (after as f64 - before as f64) / self.idle as f64
    }

    /// Do it; every tunnel must have been one connection at the upstream, from where it should come, and be closed
    /// before the next thing is measured.
    fn checked<T>(&self, peer: &Peer, measure: impl FnOnce() -> Window<T>) -> Window<T> {
        let before = self.plain.connections();
        let window = measure();
        self.wait_until_closed();
        let mut new = 0;
        for (address, count) in self.plain.connections() {
            let from_here = count - before.get(&address).copied().unwrap_or_default();
            let right = from_here == 0 || peer.leaves_from.is_none_or(|right| right == address);
            assert!(right, "{}: {from_here} connections came from {address}", peer.name);
            new += from_here;
        }
        assert_eq!(new, window.tunnels, "{}: connections at the upstream against tunnels", peer.name);
        window
    }

    fn wait_until_closed(&self) {
        wait_until("all tunnels are closed at the upstream", Duration::from_secs(10), || self.plain.open() == 0);
    }
}

/// Seconds of CPU that the peer spent in the window, and what its cores did.
fn spent(window: &Window<Probe>) -> (f64, Cores) {
    let (open, close) = (&window.opened, &window.closed);
    let core = |n: usize| close.cores[n].since(open.cores[n]);
    let cpu = close.peer.since(open.peer).total();
    let (peer_core, load_core) = (core(PEER_CORE), core(LOAD_CORE));
    let own = close.own.since(open.own).total();
    let cores = Cores {
        others: peer_core.others_share(cpu).max(load_core.others_share(own)),
        load_idle: load_core.idle_share(),
        peer_idle: peer_core.idle_share(),
    };
    (cpu.as_secs_f64(), cores)
}
