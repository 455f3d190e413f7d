//! How much later an order arrives for having gone through the gateway, and what a cold one costs.
//!
//! ```text
//! core 0:  gateway, HAProxy or nginx                core 1:  load and upstream, one event loop
//! load --HTTP/1.1, kept alive--> peer --TLS 1.3, from the account's address--> upstream
//! load ------------------------------TLS 1.3, kept alive---------------------> upstream   (direct)
//! ```
//!
//! As in the end-to-end benchmark, with which it shares its parts, every round measures every peer, in turning order,
//! and only what is inside one round is compared.
//!
//! - [`open_loop`]: requests at fixed times, and when their replies came. [`report`]: tables of it.
//! - [`handshakes`]: CPU of orders that have to make their upstream connection first.
//!
//! With a direct call the load also does the TLS of the caller's side, some microseconds, so that what a peer adds
//! shows as that much less, for all peers alike.
//!
//! `cargo bench --bench latency -- --help`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

#[path = "../end_to_end/cpu.rs"]
#[allow(dead_code, reason = "the other benchmark uses more of it")]
mod cpu;
#[path = "../end_to_end/figures.rs"]
mod figures;
mod handshakes;
#[path = "../end_to_end/load.rs"]
mod load;
#[path = "../end_to_end/network.rs"]
mod network;
mod open_loop;
#[path = "../end_to_end/packages.rs"]
mod packages;
#[path = "../end_to_end/peers.rs"]
mod peers;
mod report;
#[path = "../end_to_end/statistics.rs"]
mod statistics;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../end_to_end/upstream.rs"]
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use cpu::{CoreTime, CpuTime, Machine};
use figures::Results;
use handshakes::Scene;
use open_loop::Plan;
use peers::Peer;
use upstream::{Manner, Seen, Upstream};

/// The core of the gateway and its peers.
const PEER_CORE: usize = 0;
/// The core of the load and the upstreams.
const LOAD_CORE: usize = 1;
/// In front of an upstream that keeps its connections.
const PEERS: [&str; 6] = ["direct", "haproxy", "nginx", "sixgate", "sixgate-spin", packages::BEFORE];
/// In front of those that close them.
const COLD_PEERS: [&str; 3] = ["haproxy", "sixgate", packages::BEFORE];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Latency at fixed rates.
    Latency,
    /// CPU of orders that need a new upstream connection.
    Handshakes,
}

/// Latency at fixed rates, and CPU of cold orders: of the gateway (asleep between orders, and spinning), of HAProxy and
/// nginx, and without any.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured. Ratios are the median of the rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Orders a second.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 2000, 5000])]
    rates: Vec<u32>,
    /// Kept-alive connections that the orders are spread over.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds measured for each peer, rate and round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before that: connections are made and caches filled.
    #[arg(long, default_value_t = 0.7)]
    warm_up: f64,
    /// Only one part.
    #[arg(long)]
    only: Option<Part>,
    /// Only peers whose name contains one of these: direct, haproxy, nginx, sixgate, sixgate-spin, and sixgate-before,
    /// which is the program that SIXGATE_BEFORE names. What peers add needs direct, and ratios need haproxy.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Write latency.json and latency.md there too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Install peers that are missing, by apt-get; takes root. Without it they are left out.
    #[arg(long)]
    install: bool,
    /// Does it run at all? One short round; the figures mean little.
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
            (arguments.rounds, arguments.seconds, arguments.warm_up) = (1, 0.3, 0.2);
        }
        assert!((1..=1024).contains(&arguments.connections), "--connections takes 1 to 1024");
        assert!(arguments.rates.iter().all(|rate| (1..=1_000_000).contains(rate)), "--rates takes 1 to 1,000,000");
        arguments
    }

    fn has(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// Those of these peers that are asked for and can be had.
    fn choose(&self, peers: &[&'static str]) -> Vec<&'static str> {
        let wanted = |name: &&str| self.peers.is_empty() || self.peers.iter().any(|part| name.contains(part.as_str()));
        packages::available(peers.iter().copied().filter(wanted).collect(), self.install)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() {
    let arguments = Arguments::read();
    let names = if arguments.has(Part::Latency) { arguments.choose(&PEERS) } else { Vec::new() };
    let cold_names = if arguments.has(Part::Handshakes) { arguments.choose(&COLD_PEERS) } else { Vec::new() };
    network::enter();
    let machine = Machine::look();
    assert!(machine.cores > LOAD_CORE, "two cores are needed, one for the peer and one for the load");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut results = Results::new(&machine, &[]);
    let mut text = String::new();
    if !names.is_empty() {
        let report = latency(&arguments, names, dir.path(), &mut results.peers);
        report.add_to(&mut results);
        text += &report.to_string();
    }
    if !cold_names.is_empty() {
        let report = cold(&arguments, &cold_names, dir.path(), &mut results.peers);
        report.add_to(&mut results);
        text += &report.to_string();
    }
    let mut head = machine.lines;
    head.extend(results.peers.iter().map(|(name, version)| format!("peer:    {name}: {version}")));
    let text = format!("\n{}\n{text}", head.join("\n"));
    print!("{text}");
    if let Some(out) = &arguments.out {
        results.write(out, "latency", &text);
    }
}

/// Names and versions.
type Names = Vec<(String, String)>;

/// An upstream and peers, each on its core.
fn scene(manner: Manner, names: &[&'static str], dir: &Path, idle_per_leg: usize, known: &mut Names) -> Scene {
    let dir = dir.join(manner.number().to_string());
    std::fs::create_dir(&dir).expect("a folder for the peers");
    let upstream = Upstream::start(LOAD_CORE, &dir, manner);
    // Children run where the thread that starts them may run.
    cpu::pin_this_thread(PEER_CORE);
    let mut peers = Vec::new();
    for name in names {
        let mut peer = Peer::start(name, &upstream, &dir, idle_per_leg);
        let (name, version) = peer.describe();
        if known.iter().all(|(other, _)| other != name) {
            known.push((name.to_owned(), version));
        }
        if peer.spins() {
            peer.rest();
        }
        peers.push(peer);
    }
    cpu::pin_this_thread(LOAD_CORE);
    Scene { manner, upstream, peers }
}

fn latency(arguments: &Arguments, names: Vec<&'static str>, dir: &Path, known: &mut Names) -> report::Report {
    let Scene { upstream, peers, .. } = scene(Manner::Keeps, &names, dir, arguments.connections, known);
    let mut report = report::Report::new(names, arguments.connections);
    let (mut direct, mut peers): (Vec<Peer>, Vec<Peer>) = peers.into_iter().partition(|peer| peer.name == "direct");
    for round in 0..arguments.rounds {
        for rate in &arguments.rates {
            let mut measure = |peer: &mut Peer| {
                let cell = one(arguments, round, *rate, peer, &upstream);
                eprintln!("round {} of {}: {cell}", round + 1, arguments.rounds);
                report.add(cell);
            };
            // What is taken off everybody's p50 is measured before and after them: the machine's speed drifts.
            direct.iter_mut().for_each(&mut measure);
            for turn in 0..peers.len() {
                let at = (turn + round as usize) % peers.len();
                measure(&mut peers[at]);
            }
            direct.iter_mut().for_each(&mut measure);
        }
    }
    report
}

fn one(arguments: &Arguments, round: u32, rate: u32, peer: &mut Peer, upstream: &Upstream) -> report::Cell {
    if peer.spins() {
        peer.wake();
    }
    let plan = Plan {
        at: peer.at,
        tls: peer.tls.clone(),
        requests: vec![peer.request.clone()],
        connections: arguments.connections,
        rate,
        warm_up: arguments.warm_up(),
        window: arguments.window(),
    };
    let probe = || Probe {
        peer: peer.process_id().map(CpuTime::of_process),
        own: CpuTime::of_process(std::process::id()),
        cores: cpu::cores(),
        seen: upstream.seen(),
    };
    let before = probe();
    let outcome = open_loop::run(&upstream.runtime, plan);
    let after = probe();
    if peer.spins() {
        peer.rest();
    }
    peer.check(outcome.replies_in_all, &before.seen, &after.seen);
    let new_connections = after.seen.connections() - before.seen.connections();
    report::Cell::new(round, peer.name, rate, &outcome, new_connections, after.others_since(&before))
}

/// What is looked at before and after.
struct Probe {
    peer: Option<CpuTime>,
    own: CpuTime,
    cores: Vec<CoreTime>,
    seen: Seen,
}

impl Probe {
    /// The part of the busier core's time that was used by nobody of ours. Without a peer its core is not of interest.
    fn others_since(&self, earlier: &Self) -> f64 {
        let core = |n: usize| self.cores[n].since(earlier.cores[n]);
        let on_load_core = core(LOAD_CORE).others_share(self.own.since(earlier.own).total());
        self.peer
            .zip(earlier.peer)
            .map_or(on_load_core, |(now, then)| core(PEER_CORE).others_share(now.since(then).total()).max(on_load_core))
    }
}

fn cold(arguments: &Arguments, names: &[&'static str], dir: &Path, known: &mut Names) -> handshakes::Report {
    network::allow_many_connections();
    let scenes =
        [Manner::ClosesAndForgets, Manner::ClosesWithTickets].map(|manner| scene(manner, names, dir, 16, known));
    let mut report = handshakes::Report::default();
    for round in 0..arguments.rounds {
        for scene in &scenes {
            for turn in 0..scene.peers.len() {
                let peer = &scene.peers[(turn + round as usize) % scene.peers.len()];
                let (warm_up, window) = (arguments.warm_up(), arguments.window());
                let cell = handshakes::measure(round, LOAD_CORE, scene, peer, warm_up, window);
                eprintln!("round {} of {}: {cell}", round + 1, arguments.rounds);
                report.add(cell);
            }
        }
    }
    report
}
