//! From measurements to tables.

use std::fmt;
use std::time::Duration;

use crate::figures::Results;
use crate::statistics::{middle, spread};
use hdrhistogram::Histogram;

/// What the others are compared with.
const BASE: &str = "haproxy";
/// What all have in common.
const NOTHING: &str = "direct";
/// A sender that is later than this for one request in a hundred measures itself.
const LATE_US: f64 = 100.0;
/// A peer that answers less than this part of what is due has a queue that grows, and its latency means nothing.
const KEEPS_UP: f64 = 0.97;

/// One peer at one rate, once. Times in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub round: u32,
    pub peer: &'static str,
    pub rate: u32,
    /// Requests of the window by the time until the last was answered.
    pub achieved: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub worst: f64,
    pub lag_p50: f64,
    pub lag_p99: f64,
    /// Upstream connections that were made meanwhile: handshakes.
    pub new_connections: u64,
    /// The part of the busier core's time that was used by nobody of ours.
    pub others: f64,
}

impl Cell {
    pub(crate) fn new(
        round: u32,
        peer: &'static str,
        rate: u32,
        outcome: &crate::open_loop::Outcome,
        new_connections: u64,
        others: f64,
    ) -> Self {
        let us = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let of = |quantile| us(&outcome.latency, quantile);
        Self {
            round,
            peer,
            rate,
            achieved: outcome.latency.len() as f64 / outcome.elapsed.max(Duration::from_nanos(1)).as_secs_f64(),
            p50: of(0.5),
            p90: of(0.9),
            p99: of(0.99),
            p999: of(0.999),
            worst: of(1.0),
            lag_p50: us(&outcome.lag, 0.5),
            lag_p99: us(&outcome.lag, 0.99),
            new_connections,
            others,
        }
    }

    fn keeps_up(&self) -> bool {
        self.achieved >= f64::from(self.rate) * KEEPS_UP
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5}/s, {:<13} p50 {:.0} us, p99 {:.0} us, sent late by {:.0} us (p99), others: {:.0} %{}",
            self.rate,
            self.peer,
            self.p50,
            self.p99,
            self.lag_p99,
            self.others * 100.0,
            if self.keeps_up() { "" } else { ", DOES NOT KEEP UP" }
        )
    }
}

/// All of them.
pub(crate) struct Report {
    peers: Vec<&'static str>,
    connections: usize,
    cells: Vec<Cell>,
}

impl Report {
    pub(crate) fn new(peers: Vec<&'static str>, connections: usize) -> Self {
        Self { peers, connections, cells: Vec::new() }
    }

    pub(crate) fn add(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// What was measured, for who compares.
    pub(crate) fn add_to(&self, results: &mut Results) {
        for cell in &self.cells {
            for (quantile, value) in
                [("p50", cell.p50), ("p90", cell.p90), ("p99", cell.p99), ("p99.9", cell.p999), ("worst", cell.worst)]
            {
                results.add("latency", (quantile, "us"), cell.peer, f64::from(cell.rate), cell.round, value);
            }
        }
        for (peer, rate, round) in self.all_rounds().filter(|(peer, _, _)| *peer != NOTHING) {
            if let Some(added) = self.added(peer, rate, round) {
                results.add("latency", ("added p50", "us"), peer, f64::from(rate), round, added);
            }
        }
    }

    fn all_rounds(&self) -> impl Iterator<Item = (&'static str, u32, u32)> {
        let rates = self.rates();
        let rounds = self.rounds();
        self.peers.iter().flat_map(move |peer| {
            rates.clone().into_iter().flat_map(move |rate| (0..rounds).map(move |round| (*peer, rate, round)))
        })
    }

    fn rates(&self) -> Vec<u32> {
        let mut rates: Vec<u32> = self.cells.iter().map(|cell| cell.rate).collect();
        rates.sort_unstable();
        rates.dedup();
        rates
    }

    fn values(&self, peer: &str, rate: u32, value: impl Fn(&Cell) -> f64) -> Vec<f64> {
        self.cells.iter().filter(|cell| cell.peer == peer && cell.rate == rate).map(value).collect()
    }

    /// The p50 of a peer in a round, less that without any: of the two that there are, the mean.
    fn added(&self, peer: &str, rate: u32, round: u32) -> Option<f64> {
        let p50 = |peer| {
            let of = self.cells.iter().filter(|cell| (cell.round, cell.rate, cell.peer) == (round, rate, peer));
            middle(&of.map(|cell| cell.p50).collect::<Vec<_>>())
        };
        Some(p50(peer)? - p50(NOTHING)?)
    }

    fn rounds(&self) -> u32 {
        self.cells.iter().map(|cell| cell.round + 1).max().unwrap_or_default()
    }

    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nMicroseconds, medians of the rounds (p50: smallest to largest). Sent late: how long after its time the \
             generator got to a request.\n\n\
             | rate | peer | p50 | p90 | p99 | p99.9 | worst | sent late: p50 | p99 | replies/s | new upstream \
             connections |\n|---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for rate in self.rates() {
            for peer in &self.peers {
                let median = |value: fn(&Cell) -> f64| middle(&self.values(peer, rate, value)).unwrap_or(f64::NAN);
                let new: f64 = self.values(peer, rate, |cell| cell.new_connections as f64).iter().sum();
                writeln!(
                    f,
                    "| {rate} | {peer} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {new:.0} |",
                    spread(&self.values(peer, rate, |cell| cell.p50), 0),
                    median(|cell| cell.p90),
                    median(|cell| cell.p99),
                    median(|cell| cell.p999),
                    median(|cell| cell.worst),
                    median(|cell| cell.lag_p50),
                    median(|cell| cell.lag_p99),
                    median(|cell| cell.achieved),
                )?;
            }
        }
        Ok(())
    }

    /// What speaks against the figures.
    fn doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<f64> = self.cells.iter().map(|cell| cell.others * 100.0).collect();
        writeln!(f, "\nOthers used this part of the busier of the two cores: {} %.", spread(&others, 0))?;
        let mut late: Vec<f64> = self.cells.iter().map(|cell| cell.lag_p99).filter(|lag| *lag > LATE_US).collect();
        late.sort_unstable_by(f64::total_cmp);
        if let Some(worst) = late.last() {
            writeln!(
                f,
                "\n!!! THE LOAD WAS LATE in {} of {} measurements (p99 above {LATE_US:.0} us, {worst:.0} us at worst): \
                 what is above a peer's p50 there is the load's own, or another program's.",
                late.len(),
                self.cells.len()
            )?;
        }
        let mut slow: Vec<(u32, &str)> =
            self.cells.iter().filter(|cell| !cell.keeps_up()).map(|cell| (cell.rate, cell.peer)).collect();
        slow.sort_unstable();
        slow.dedup();
        for (rate, peer) in slow {
            writeln!(f, "\n!!! {peer} DID NOT KEEP UP with {rate}/s in every round: what it has there is a queue.")?;
        }
        Ok(())
    }

    fn comparison(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nAdded p50 over {NOTHING} in the same round, and its ratio to {BASE}'s: median (smallest to largest).\n\n\
             | rate | peer | added p50, us | ratio to {BASE} |\n|---|---|---|---|"
        )?;
        for rate in self.rates() {
            for peer in self.peers.iter().filter(|peer| **peer != NOTHING) {
                let added: Vec<f64> = (0..self.rounds()).filter_map(|round| self.added(peer, rate, round)).collect();
                let ratios: Vec<f64> = (0..self.rounds())
                    .filter_map(|round| Some(self.added(peer, rate, round)? / self.added(BASE, rate, round)?))
                    .collect();
                writeln!(f, "| {rate} | {peer} | {} | {} |", spread(&added, 0), spread(&ratios, 2))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n## Latency of signed orders at fixed rates\n\n{} rounds, {} kept-alive connections; from when a request \
             was due. Load and upstream share a core and one event loop, which does not sleep; peers have the other \
             core.",
            self.rounds(),
            self.connections
        )?;
        self.figures(f)?;
        self.comparison(f)?;
        self.doubts(f)
    }
}
