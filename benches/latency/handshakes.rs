//! What a cold order costs: one for which there is no upstream connection, because the upstream closes each after its
//! reply. Once with a whole handshake for each, once with session tickets.
//!
//! A gateway that makes a connection before there is an order for it saves the order's time, and no CPU: what counts
//! here is CPU by orders, and the number of handshakes is shown beside it.

use std::fmt;
use std::time::Duration;

use crate::cpu::CpuTime;
use crate::figures::Results;
use crate::load::{self, Load};
use crate::peers::Peer;
use crate::statistics::{middle, spread};
use crate::upstream::{Manner, Seen, Upstream};

/// What the other is compared with.
const BASE: &str = "haproxy";
/// Of the load. Enough that a peer is never out of work.
const CONNECTIONS: usize = 16;

/// An upstream and those in front of it.
pub(crate) struct Scene {
    pub manner: Manner,
    pub upstream: Upstream,
    pub peers: Vec<Peer>,
}

/// One peer, once.
pub(crate) struct Cell {
    round: u32,
    kind: &'static str,
    peer: &'static str,
    orders: u64,
    cpu: CpuTime,
    connections: u64,
    resumed: u64,
    elapsed: Duration,
}

impl Cell {
    /// Microseconds of CPU an order.
    fn cost(&self) -> f64 {
        self.cpu.total().as_secs_f64() * 1e6 / self.orders.max(1) as f64
    }

    fn connections_each(&self) -> f64 {
        self.connections as f64 / self.orders.max(1) as f64
    }

    fn resumed_share(&self) -> f64 {
        self.resumed as f64 / self.connections.max(1) as f64
    }

    fn rate(&self) -> f64 {
        self.orders as f64 / self.elapsed.as_secs_f64()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<8} handshakes, {:<8} {:.0} us of CPU an order, {:.2} connections each, {:.0} % resumed",
            self.kind,
            self.peer,
            self.cost(),
            self.connections_each(),
            self.resumed_share() * 100.0
        )
    }
}

const fn kind(manner: Manner) -> &'static str {
    match manner {
        Manner::Keeps => "no",
        Manner::ClosesAndForgets => "full",
        Manner::ClosesWithTickets => "resumed",
    }
}

/// Measure one peer of a scene.
pub(crate) fn measure(
    round: u32,
    core: usize,
    scene: &Scene,
    peer: &Peer,
    warm_up: Duration,
    window: Duration,
) -> Cell {
    let load = Load {
        at: peer.at,
        tls: peer.tls.clone(),
        requests: vec![peer.request.clone()],
        connections: CONNECTIONS,
        warm_up,
        window,
    };
    let id = peer.process_id().expect("a peer with a process");
    let before = scene.upstream.seen();
    let done = load::run(core, &load, || (CpuTime::of_process(id), scene.upstream.seen()));
    peer.check(done.replies_in_all, &before, &scene.upstream.seen());
    let ((cpu, seen), (cpu_then, seen_then)) = (&done.closed, &done.opened);
    let new = |count: fn(&Seen) -> u64| count(seen) - count(seen_then);
    let cell = Cell {
        round,
        kind: kind(scene.manner),
        peer: peer.name,
        orders: done.replies,
        cpu: cpu.since(*cpu_then),
        connections: new(Seen::connections),
        resumed: new(|seen| seen.resumed),
        elapsed: done.elapsed,
    };
    assert!(
        scene.manner != Manner::ClosesAndForgets || cell.resumed == 0,
        "{}: handshakes were resumed, of sessions that nobody gave",
        peer.name
    );
    cell
}

/// All of them.
#[derive(Default)]
pub(crate) struct Report {
    cells: Vec<Cell>,
}

impl Report {
    pub(crate) fn add(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// What was measured, for who compares.
    pub(crate) fn add_to(&self, results: &mut Results) {
        for cell in &self.cells {
            let mut add = |measure, value| {
                results.add(&format!("cold orders, {}", cell.kind), measure, cell.peer, 0.0, cell.round, value);
            };
            add(("CPU per order", "us"), cell.cost());
            add(("of the handshakes resumed", "%"), cell.resumed_share() * 100.0);
        }
    }

    fn of(&self, kind: &str, peer: &str) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| (cell.kind, cell.peer) == (kind, peer))
    }

    /// CPU of a peer by that of the base in the same round.
    fn ratios(&self, kind: &str, peer: &str) -> Vec<f64> {
        let base = |round| self.of(kind, BASE).find(|cell| cell.round == round).map(Cell::cost);
        self.of(kind, peer).filter_map(|cell| Some(cell.cost() / base(cell.round)?)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n## CPU of a cold signed order\n\nThe upstream closes after each reply. {CONNECTIONS} kept-alive \
             callers, closed loop; median (smallest to largest) of the rounds, ratios inside one round.\n\n\
             | handshakes | peer | CPU us/order | ratio to {BASE} | orders/s | upstream connections/order | of them \
             resumed |\n|---|---|---|---|---|---|---|"
        )?;
        let mut rows: Vec<(&str, &str)> = self.cells.iter().map(|cell| (cell.kind, cell.peer)).collect();
        rows.sort_unstable();
        rows.dedup();
        for (kind, peer) in rows {
            let values = |value: fn(&Cell) -> f64| self.of(kind, peer).map(value).collect::<Vec<_>>();
            let median = |value: fn(&Cell) -> f64| middle(&values(value)).unwrap_or(f64::NAN);
            writeln!(
                f,
                "| {kind} | {peer} | {} | {} | {:.0} | {:.2} | {:.0} % |",
                spread(&values(Cell::cost), 0),
                spread(&self.ratios(kind, peer), 2),
                median(Cell::rate),
                median(Cell::connections_each),
                median(Cell::resumed_share) * 100.0,
            )?;
        }
        Ok(())
    }
}
