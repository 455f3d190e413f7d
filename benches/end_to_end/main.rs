//! What one order costs from end to end: the real binary, with HAProxy, nginx, Squid and a direct call beside it.
//!
//! ```text
//! core 0:  gateway, HAProxy, nginx or Squid           core 1:  load and upstream
//! load --HTTP/1.1, kept alive--> peer --TLS 1.3, kept alive, from the account's address--> upstream
//! load ------------------------------TLS 1.3, kept alive--------------------------------> upstream   (direct)
//! ```
//!
//! Every round measures every peer at every number of connections, one after the other and in turning order: the speed
//! of a shared machine drifts within minutes, so only ratios inside one round mean anything. All of it runs in a
//! network namespace of its own, where the documentation prefixes are on the loopback interface.
//!
//! - [`load`]: what asks. [`upstream`]: what answers, and looks at what came.
//! - [`peers`]: what is between them, from [`packages`]. [`network`]: where. [`cpu`]: the kernel's accounts of time.
//! - [`report`]: tables. [`figures`]: what the table of goals (`cargo bench --bench goals`) is made of.
//!
//! A reply that is not the upstream's, a request without the account's token, and a connection from another address
//! than the account's end the run: a fast gateway that does something else is not of interest.
//!
//! `cargo bench --bench end_to_end -- --help`; about seven minutes more for the optimised build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

mod cpu;
mod figures;
mod load;
mod network;
mod packages;
mod peers;
mod report;
mod statistics;
#[path = "../../tests/support/mod.rs"]
mod support;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use cpu::{CpuTime, Machine};
use peers::Peer;
use report::{Cell, Report};
use upstream::{Manner, Seen, Upstream};

/// The core of the gateway and its peers.
const PEER_CORE: usize = 0;
/// The core of the load and the upstream.
const LOAD_CORE: usize = 1;

/// Requests per second and CPU per order of the gateway, of HAProxy, nginx and Squid, and without any.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured. Ratios are the median of the rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Kept-alive connections of the load, each with one request at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// Seconds measured for each peer, number of connections and round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before that: connections are made and caches filled.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Unused upstream connections that the gateway keeps (`egress.idle_per_leg`). Default: as many as the load has at
    /// most, as HAProxy does.
    #[arg(long)]
    idle_per_leg: Option<usize>,
    /// Only peers whose name contains one of these: direct, haproxy, nginx, sixgate, squid, and sixgate-before, which is
    /// the program that SIXGATE_BEFORE names. Without haproxy there are no ratios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write orders.json and orders.md there too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Install peers that are missing, by apt-get; takes root. Without it they are left out.
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
            (arguments.rounds, arguments.seconds, arguments.warm_up) = (1, 0.3, 0.2);
        }
        assert!(arguments.connections.iter().all(|n| (1..=1024).contains(n)), "--connections takes 1 to 1024");
        arguments
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

fn main() {
    let arguments = Arguments::read();
    let all = ["direct", "haproxy", "nginx", "squid", "sixgate", packages::BEFORE];
    let names = all.into_iter().filter(|name| arguments.wants(name)).collect();
    let names = packages::available(names, arguments.install);
    network::enter();
    let machine = Machine::look();
    assert!(machine.cores > LOAD_CORE, "two cores are needed, one for the peer and one for the load");

    let dir = tempfile::tempdir().expect("a temporary folder");
    let upstream = Upstream::start(LOAD_CORE, dir.path(), Manner::Keeps);
    let idle_per_leg =
        arguments.idle_per_leg.unwrap_or_else(|| arguments.connections.iter().copied().max().unwrap_or(1));
    // Children run where the thread that starts them may run.
    cpu::pin_this_thread(PEER_CORE);
    let peers: Vec<Peer> =
        names.into_iter().map(|name| Peer::start(name, &upstream, dir.path(), idle_per_leg)).collect();
    cpu::pin_this_thread(LOAD_CORE);

    let mut report = Report::new(machine, peers.iter().map(Peer::describe).collect());
    for round in 0..arguments.rounds {
        for connections in &arguments.connections {
            for turn in 0..peers.len() {
                let peer = &peers[(turn + round as usize) % peers.len()];
                let cell = measure(&arguments, peer, &upstream, *connections);
                eprintln!("round {} of {}: {cell}", round + 1, arguments.rounds);
                report.add(round, cell);
            }
        }
    }
    print!("{report}");
    if let Some(out) = &arguments.out {
        report.results().write(out, "orders", &report.to_string());
    }
}

/// What is looked at when a window of measuring opens and closes.
struct Probe {
    peer: Option<CpuTime>,
    own: CpuTime,
    cores: Vec<cpu::CoreTime>,
    seen: Seen,
}

fn measure(arguments: &Arguments, peer: &Peer, upstream: &Upstream, connections: usize) -> Cell {
    let load = load::Load {
        at: peer.at,
        tls: peer.tls.clone(),
        requests: vec![peer.request.clone()],
        connections,
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        window: Duration::from_secs_f64(arguments.seconds),
    };
    let before = upstream.seen();
    let window = load::run(LOAD_CORE, &load, || Probe {
        peer: peer.process_id().map(CpuTime::of_process),
        own: CpuTime::of_process(std::process::id()),
        cores: cpu::cores(),
        seen: upstream.seen(),
    });
    let after = upstream.seen();
    peer.check(window.replies_in_all, &before, &after);
    let (open, close) = (&window.opened, &window.closed);
    let core = |n: usize| close.cores[n].since(open.cores[n]);
    Cell {
        peer: peer.name,
        connections,
        elapsed: window.elapsed,
        replies: window.replies,
        peer_cpu: open.peer.zip(close.peer).map(|(open, close)| close.since(open)),
        load_cpu: close.own.since(open.own),
        peer_core: core(PEER_CORE),
        load_core: core(LOAD_CORE),
        new_connections: close.seen.connections() - open.seen.connections(),
    }
}
