//! What grows with the number of accounts, and what an account with many connections behind it pays for new ones.
//!
//! ```text
//! core 0:  one gateway for each number of accounts     core 1:  load and broker
//! load --HTTP/1.1, kept alive, with a key--> gateway --TLS 1.3, from the account's address--> broker
//! ```
//!
//! There is a gateway for each number of accounts, and one of them is awake at a time: the others are stopped where
//! they are. Every round measures all of them in turning order: the speed of a shared machine drifts within minutes,
//! so only ratios inside one round mean anything. All of it runs in a network namespace of its own, in which whole
//! prefixes are local.
//!
//! - [`site`]: a gateway and its accounts. [`broker`]: what answers, and looks at what came.
//! - [`orders`]: what is asked. [`wire`]: one connection of a thread that blocks.
//! - [`consoles`]: pages of the console, and what browsers that look cost an order.
//! - [`cliff`]: new connections from a source that has thousands of ended ones.
//! - [`results`]: a table.
//! - From other benchmarks: [`load`] and [`open_loop`], [`tunnels`] and [`plain`]; [`cpu`], [`network`], [`figures`].
//!
//! An order with the token of another account, or on a connection of another account, ends the run.
//!
//! `cargo bench --bench growth -- --help`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

mod broker;
mod cliff;
mod consoles;
#[allow(dead_code, reason = "what each core did is of use to other benchmarks")]
#[path = "../end_to_end/cpu.rs"]
mod cpu;
#[path = "../end_to_end/figures.rs"]
mod figures;
#[path = "../end_to_end/load.rs"]
mod load;
#[path = "../end_to_end/network.rs"]
mod network;
#[allow(dead_code, reason = "how late the load was is of use to another benchmark")]
#[path = "../latency/open_loop.rs"]
mod open_loop;
mod orders;
#[path = "../tunnels/plain.rs"]
mod plain;
mod results;
mod site;
#[path = "../end_to_end/statistics.rs"]
mod statistics;
#[path = "../../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "bulk and idle tunnels are of use to another benchmark")]
#[path = "../tunnels/load.rs"]
mod tunnels;
#[path = "../end_to_end/upstream.rs"]
mod upstream;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;

use broker::Broker;
use cpu::Machine;
use figures::Results;
use results::{GROWTH, PEER, Report};
use site::Site;
use upstream::Manner;

/// The core of the gateways.
const GATEWAY_CORE: usize = 0;
/// The core of the load and the broker.
const LOAD_CORE: usize = 1;
/// Connections of the closed loop.
const CONNECTIONS: usize = 64;
/// Connections of the open loop.
const OPEN_CONNECTIONS: usize = 16;
/// Orders a second of the open loop: far from what a gateway can do, so that what is seen is what gets in the way.
const RATE: u32 = 1000;
/// Making more accounts than can be made in this time is left out.
const MAKING: Duration = Duration::from_secs(600);
/// Below so many accounts the time to make them tells nothing of more of them.
const TELLING: u64 = 100;
/// What may be asked for by `--only`.
const PARTS: [&str; 6] = ["idle", "cost", "latency", "reload", "console", "cliff"];
/// Consoles are measured with so many accounts, or the most that there are if those are fewer.
const LOOKED_AT: u64 = 10_000;

/// What grows with the number of accounts, and what TIME_WAITs cost.
///
/// Each number of accounts has a gateway of its own, filled over its admin API. Measured are: the time from the start of
/// the process until its first order is answered; memory, and CPU when idle; CPU an order with 64 connections; latency
/// at 1,000 orders a second, once in peace and once with a reload a second and 20 changes of accounts a second; a
/// reload; with 10,000 accounts, size and time of the console's pages, and CPU an order with 20 browsers that hold its
/// stream of events open; and cold orders and tunnels of an account whose address has 40,000 connections in TIME_WAIT.
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of accounts. One whose making would take more than ten minutes is left out, and the report says so.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000, 10_000, 100_000])]
    accounts: Vec<u64>,
    /// How often everything but memory and idle CPU is measured. Figures are the median of the rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Seconds of each window in which orders are counted; those in which latency is measured are three times as long.
    /// At most 5: an account's ports last for so much of the cliff.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// TIME_WAITs of an account at the cliff.
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u16).range(1..=40_000))]
    time_waits: u16,
    /// Only parts whose name contains one of these: idle, cost, latency, reload, console, cliff. The time of a start is measured
    /// with each but the last.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write growth.json and growth.md there too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Does it run at all? 1 and 100 accounts, a small cliff, one short round; the figures mean little.
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
            arguments.accounts = vec![1, 100];
            (arguments.rounds, arguments.seconds, arguments.time_waits) = (1, 0.2, 2000);
        }
        arguments.accounts.sort_unstable();
        arguments.accounts.dedup();
        assert!(arguments.accounts.first().is_some_and(|least| *least > 0), "--accounts takes numbers from 1");
        assert!((0.1..=5.0).contains(&arguments.seconds), "--seconds takes 0.1 to 5");
        for part in &arguments.only {
            assert!(PARTS.iter().any(|name| name.contains(part.as_str())), "--only takes parts of {PARTS:?}");
        }
        arguments
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// How long gateways keep unused connections, which are gone before memory is looked at. Half a minute is their own
    /// default.
    const fn idle(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 30 })
    }

    /// How long a gateway may take until it rests. Who only wants to know whether all of this runs does not wait for it.
    const fn patience(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 600 })
    }

    fn window(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() {
    let arguments = Arguments::read();
    // Before there is another thread: each has its own namespace.
    network::enter();
    make_room();
    let machine = Machine::look();
    assert!(machine.cores > LOAD_CORE, "two cores are needed, one for the gateways and one for the load");
    cpu::pin_this_thread(LOAD_CORE);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let peers = vec![(PEER, version())];
    let mut report = Report {
        results: Results::new(&machine, &peers),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        notes: Vec::new(),
    };
    if arguments.wants("cliff") {
        let index = u16::try_from(arguments.accounts.len()).expect("a few gateways");
        cliff::measure(index, dir.path(), arguments.time_waits.into(), arguments.window(), &mut report);
    }
    if PARTS.iter().any(|part| *part != "cliff" && arguments.wants(part)) {
        growth(&arguments, dir.path(), &mut report);
    }
    print!("{report}");
    if let Some(out) = &arguments.out {
        report.results.write(out, "growth", &report.to_string());
    }
}

/// Prefixes to cut pools from, of which each gateway has a /64, and ports for tens of thousands of connections.
fn make_room() {
    network::hold(&["2001:db8:a1::/48", "2001:db8:a2::/48"]);
    // Ours listen below it, and an account may use all the rest.
    network::set("ip_local_port_range", "1024 65535");
    // The load's ports, of ::1, are free again after a second; the accounts' after a minute, as everywhere else.
    network::set("tcp_tw_reuse", "2");
    // All accounts' ended connections of a minute; beyond it they are forgotten at once.
    network::set("tcp_max_tw_buckets", "1000000");
}

fn version() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sixgate")).arg("--version").output().expect("run sixgate");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// All that is measured for each number of accounts.
fn growth(arguments: &Arguments, dir: &Path, report: &mut Report) {
    let broker = Broker::start(LOAD_CORE, dir, Manner::Keeps, arguments.idle() * 2);
    let mut sites: Vec<Site> = Vec::new();
    for (index, accounts) in arguments.accounts.iter().enumerate() {
        if let Some(time) = too_long(*accounts, sites.last()) {
            let note = format!("{accounts} accounts are left out: to make them would take {:.0} s", time.as_secs_f64());
            eprintln!("NOTE: {note}");
            report.notes.push(note);
            continue;
        }
        let site = awake(u16::try_from(index).expect("a few gateways"), *accounts, arguments, &broker, dir, report);
        let fewest = sites.first().map(|site| site.accounts);
        if arguments.wants("idle") {
            idle(&site, fewest, arguments, &broker, report);
        }
        // For a while after a start it asks whether the tokens are still good.
        site.settle(&broker, arguments.patience());
        site.rest();
        sites.push(site);
    }
    for round in 0..arguments.rounds {
        // Whoever is first in a round is another one each time.
        for turn in 0..sites.len() {
            let site = &sites[(turn + round as usize) % sites.len()];
            eprintln!("round {} of {}: {} accounts", round + 1, arguments.rounds, site.accounts);
            site.wake();
            if arguments.wants("cost") {
                cost(round, site, arguments, &broker, report);
            }
            if arguments.wants("latency") {
                latency(round, site, arguments, &broker, report);
            }
            if arguments.wants("reload") {
                let times = site.reloads(5).into_iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>();
                let time = statistics::middle(&times).expect("a few reloads");
                report.add(GROWTH, site.accounts, round, ("a reload", "ms"), time);
            }
            if arguments.wants("console") && site.accounts == looked_at(&sites) {
                consoles::look(round, site, report);
                consoles::cost(round, site, arguments, &broker, report);
            }
            site.rest();
        }
    }
    for trader in sites.iter().flat_map(|site| &site.traders) {
        for from in broker.sources(trader.number) {
            let own = from == trader.primary || from == trader.secondary;
            assert!(own, "customer {}'s orders came from {from}", trader.number);
        }
    }
    eprintln!("the broker saw {:?}", broker.seen());
}

/// With how many accounts consoles are measured.
fn looked_at(sites: &[Site]) -> u64 {
    sites.iter().map(|site| site.accounts).filter(|accounts| *accounts <= LOOKED_AT).max().unwrap_or_default()
}

/// How long it would take to make so many accounts, as far as is known, if that is more than is waited.
fn too_long(accounts: u64, last: Option<&Site>) -> Option<Duration> {
    let last = last.filter(|last| last.accounts >= TELLING)?;
    let time = last.made.mul_f64(accounts as f64 / last.accounts as f64);
    (time > MAKING).then_some(time)
}

/// A gateway with so many accounts that was started on them.
fn awake(index: u16, accounts: u64, arguments: &Arguments, broker: &Broker, dir: &Path, report: &mut Report) -> Site {
    let mut site = Site::make(index, accounts, broker, arguments.idle(), dir);
    let each = site.made.as_secs_f64() * 1e3 / accounts as f64;
    eprintln!("{accounts} accounts: made in {:.1?}", site.made);
    report.add(GROWTH, accounts, 0, ("an account made, with token and pair", "ms"), each);
    for round in 0..arguments.rounds {
        let time = site.restart();
        eprintln!("{accounts} accounts: first order after {time:.2?}");
        report.add(GROWTH, accounts, round, ("start to first order", "s"), time.as_secs_f64());
    }
    site
}

/// Nothing is asked of it.
fn idle(site: &Site, fewest: Option<u64>, arguments: &Arguments, broker: &Broker, report: &mut Report) {
    let accounts = site.accounts;
    let look = Duration::from_secs(if arguments.quick { 1 } else { 10 });
    site.settle(broker, arguments.patience());
    let memory = site.memory() as f64;
    report.add(GROWTH, accounts, 0, ("memory when idle", "MB"), memory / 1e6);
    let figures = report.results.figures();
    let first = figures.iter().find(|figure| figure.measure == "memory when idle").map(|figure| figure.value * 1e6);
    if let Some((fewest, first)) = fewest.zip(first) {
        let each = (memory - first) / (accounts - fewest) as f64;
        report.add(GROWTH, accounts, 0, ("memory for each account beyond the fewest", "KB"), each / 1e3);
    }
    let share = site.share(look);
    report.add(GROWTH, accounts, 0, ("idle CPU", "ms/s"), share * 1e3);
    // The account of the first order has been used at least, so it is kept warm.
    let warm = site.share_when_warm(look, broker, 2);
    report.add(GROWTH, accounts, 0, ("idle CPU with warm connections", "ms/s"), warm * 1e3);
    eprintln!(
        "{accounts} accounts: {:.1} MB; idle CPU {:.2} ms/s, with warm connections {:.2}",
        memory / 1e6,
        share * 1e3,
        warm * 1e3
    );
}

fn cost(round: u32, site: &Site, arguments: &Arguments, broker: &Broker, report: &mut Report) {
    let traders = &site.traders[..site.traders.len().min(CONNECTIONS)];
    let window = orders::closed_loop(site, broker, traders, CONNECTIONS, arguments.window());
    report.add(GROWTH, site.accounts, round, ("CPU per order", "us"), orders::cost(&window));
    report.add(GROWTH, site.accounts, round, ("orders", "1/s"), orders::rate(&window));
}

fn latency(round: u32, site: &Site, arguments: &Arguments, broker: &Broker, report: &mut Report) {
    let traders: Vec<_> = site.traders.iter().cycle().take(OPEN_CONNECTIONS).cloned().collect();
    let window = arguments.window() * 3;
    let run = || orders::open_loop(site, broker, &traders, RATE, window);
    let quiet = run();
    let (disturbed, changes) = orders::disturbed(site, broker, window, run);
    let micros = |outcome: &open_loop::Outcome, part| outcome.latency.value_at_quantile(part) as f64 / 1e3;
    let mut add = |measure, value| report.add(GROWTH, site.accounts, round, (measure, "us"), value);
    add("p50", micros(&quiet, 0.5));
    add("p99", micros(&quiet, 0.99));
    add("p50 while disturbed", micros(&disturbed, 0.5));
    add("p99 while disturbed", micros(&disturbed, 0.99));
    add("p50 of a change meanwhile", micros(&changes, 0.5));
    let ratio = micros(&disturbed, 0.99) / micros(&quiet, 0.99);
    report.add(GROWTH, site.accounts, round, ("p99 disturbed by quiet", "ratio"), ratio);
}
