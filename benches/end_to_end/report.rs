//! From measurements to tables.

use std::fmt;
use std::time::Duration;

use crate::cpu::{CoreTime, CpuTime, Machine};
use crate::figures::Results;
use crate::statistics::{middle, spread};

/// What the others are compared with.
const BASE: &str = "haproxy";

/// One peer at one number of connections, once.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub peer: &'static str,
    pub connections: usize,
    pub elapsed: Duration,
    pub replies: u64,
    /// What the peer's process used.
    pub peer_cpu: Option<CpuTime>,
    /// What load and upstream used.
    pub load_cpu: CpuTime,
    pub peer_core: CoreTime,
    pub load_core: CoreTime,
    /// Upstream connections that were made while it was measured: handshakes.
    pub new_connections: u64,
}

impl Cell {
    fn rate(&self) -> f64 {
        self.replies as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of CPU a request, of the peer.
    fn cost(&self) -> Option<f64> {
        self.peer_cpu.map(|cpu| self.each(cpu.total()))
    }

    fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / (self.replies.max(1) as f64)
    }

    /// What was done on the two cores by nobody of ours.
    fn others(&self) -> f64 {
        let on_load_core = self.load_core.others_share(self.load_cpu.total());
        // Without a peer its core is not of interest.
        self.peer_cpu.map_or(on_load_core, |cpu| self.peer_core.others_share(cpu.total()).max(on_load_core))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} connections, {:<8}{:>8.0} requests/s", self.connections, self.peer, self.rate())?;
        if let Some(cost) = self.cost() {
            write!(f, ", {cost:.1} us of CPU each")?;
        }
        if self.new_connections > 0 {
            write!(f, ", {} new upstream connections", self.new_connections)?;
        }
        write!(f, " (others: {:.0} %)", self.others() * 100.0)
    }
}

/// All of them.
pub(crate) struct Report {
    machine: Machine,
    peers: Vec<(&'static str, String)>,
    cells: Vec<(u32, Cell)>,
}

impl Report {
    pub(crate) fn new(machine: Machine, peers: Vec<(&'static str, String)>) -> Self {
        Self { machine, peers, cells: Vec::new() }
    }

    pub(crate) fn add(&mut self, round: u32, cell: Cell) {
        self.cells.push((round, cell));
    }

    /// What was measured, for who compares.
    pub(crate) fn results(&self) -> Results {
        let mut results = Results::new(&self.machine, &self.peers);
        for (round, cell) in &self.cells {
            let mut add = |measure, value| {
                results.add("orders", measure, cell.peer, cell.connections as f64, *round, value);
            };
            add(("rate", "orders/s"), cell.rate());
            if let (Some(cost), Some(cpu)) = (cell.cost(), cell.peer_cpu) {
                add(("CPU per order", "us"), cost);
                add(("of it in the kernel", "us"), cell.each(cpu.system));
            }
        }
        results
    }

    fn of<'a>(&'a self, peer: &'a str, connections: usize) -> impl Iterator<Item = &'a (u32, Cell)> {
        self.cells.iter().filter(move |(_, cell)| cell.peer == peer && cell.connections == connections)
    }

    fn all_connections(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.cells.iter().map(|(_, cell)| cell.connections).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// `value` of a peer by that of the base in the same round.
    fn ratios(&self, peer: &str, connections: usize, value: impl Fn(&Cell) -> Option<f64>) -> Vec<f64> {
        let mut ratios = Vec::new();
        for (round, cell) in self.of(peer, connections) {
            let base = self.of(BASE, connections).find(|(other, _)| other == round).and_then(|(_, cell)| value(cell));
            if let (Some(own), Some(base)) = (value(cell), base) {
                ratios.push(own / base);
            }
        }
        ratios
    }

    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nMedians of the rounds. Figures of one machine in one hour: compare only ratios.\n\n\
             | connections | peer | requests/s | CPU us/request | of it in the kernel | its core idle | load's core idle \
             | load's CPU us/request | new upstream connections |\n|---|---|---|---|---|---|---|---|---|"
        )?;
        for connections in self.all_connections() {
            for (peer, _) in &self.peers {
                let median = |value: &dyn Fn(&Cell) -> Option<f64>| {
                    middle(&self.of(peer, connections).filter_map(|(_, cell)| value(cell)).collect::<Vec<_>>())
                };
                let number = |value: Option<f64>, digits| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
                let cost = median(&Cell::cost);
                let kernel = median(&|cell| cell.peer_cpu.map(|cpu| cell.each(cpu.system)));
                let idle = median(&|cell| cell.peer_cpu.map(|_| cell.peer_core.idle_share()));
                let load_idle = median(&|cell| Some(cell.load_core.idle_share()));
                let percent = |share: f64| format!("{:.0} %", share * 100.0);
                let load = median(&|cell| Some(cell.each(cell.load_cpu.total())));
                let new: u64 = self.of(peer, connections).map(|(_, cell)| cell.new_connections).sum();
                writeln!(
                    f,
                    "| {connections} | {peer} | {} | {} | {} | {} | {} | {} | {new} |",
                    number(median(&|cell| Some(cell.rate())), 0),
                    number(cost, 1),
                    number(kernel, 1),
                    idle.map_or("-".to_owned(), percent),
                    load_idle.map_or("-".to_owned(), percent),
                    number(load, 1),
                )?;
            }
        }
        Ok(())
    }

    fn comparison(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nRatios to {BASE} in the same round: median (smallest to largest).\n\n\
             | connections | peer | CPU/request | requests/s |\n|---|---|---|---|"
        )?;
        for connections in self.all_connections() {
            for (peer, _) in self.peers.iter().filter(|(peer, _)| *peer != BASE) {
                let cost = spread(&self.ratios(peer, connections, Cell::cost), 2);
                let rate = spread(&self.ratios(peer, connections, |cell| Some(cell.rate())), 2);
                writeln!(f, "| {connections} | {peer} | {cost} | {rate} |")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.cells.iter().map(|(round, _)| round + 1).max().unwrap_or_default();
        let seconds = self.cells.first().map_or(Duration::ZERO, |(_, cell)| cell.elapsed);
        writeln!(f, "\nSigned, kept-alive orders: {rounds} rounds of {:.1} s each\n", seconds.as_secs_f64())?;
        for line in &self.machine.lines {
            writeln!(f, "{line}")?;
        }
        for (peer, version) in &self.peers {
            writeln!(f, "peer:    {peer}: {version}")?;
        }
        let others: Vec<f64> = self.cells.iter().map(|(_, cell)| cell.others() * 100.0).collect();
        let worst = others.iter().copied().fold(0.0, f64::max);
        let usual = middle(&others).unwrap_or_default();
        writeln!(
            f,
            "noise:   others used {usual:.0} % of the busier of the two cores (median), {worst:.0} % at worst"
        )?;
        self.figures(f)?;
        if self.peers.iter().any(|(peer, _)| *peer == BASE) {
            self.comparison(f)?;
        }
        Ok(())
    }
}
