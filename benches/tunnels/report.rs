//! From samples to a table.

use std::fmt;

use crate::Measure;
use crate::cpu::Machine;
use crate::figures::Results;
use crate::statistics::{middle, spread};

/// One peer at one measure, once.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub round: u32,
    pub measure: Measure,
    pub peer: &'static str,
    /// In the measure's unit.
    pub value: f64,
    /// GB or connects a second, or how many were held.
    pub rate: f64,
    /// Not for memory.
    pub cores: Option<Cores>,
}

/// Parts of the time that was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The busier of the two was used by nobody of ours, or by the kernel in nobody's name.
    pub others: f64,
    /// The load's core had nothing to do. Where it never has, it is the load that sets the rate, not the peer.
    pub load_idle: f64,
    /// The peer's core had nothing to do.
    pub peer_idle: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { measure, peer, value, rate, .. } = self;
        write!(f, "{measure:<16} {peer:<8}{value:>9.3} {} ({rate:.2} {})", measure.unit(), measure.rate())?;
        match self.cores {
            Some(cores) => write!(f, " (others: {:.0} %)", cores.others * 100.0),
            None => Ok(()),
        }
    }
}

/// All of them.
pub(crate) struct Report {
    pub machine: Machine,
    pub peers: Vec<(&'static str, String)>,
    pub rounds: u32,
    pub seconds: f64,
    pub idle: usize,
    pub samples: Vec<Sample>,
}

/// A row of the table.
struct Row {
    measure: Measure,
    peer: &'static str,
    values: Vec<f64>,
    rates: Vec<f64>,
    ratios: Vec<f64>,
}

impl Report {
    fn of(&self, measure: Measure, peer: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.measure == measure && sample.peer == peer)
    }

    /// In the order in which they were first measured.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for sample in &self.samples {
            let (measure, peer) = (sample.measure, sample.peer);
            if rows.iter().any(|row| row.measure == measure && row.peer == peer) {
                continue;
            }
            let mut row = Row { measure, peer, values: Vec::new(), rates: Vec::new(), ratios: Vec::new() };
            for own in self.of(measure, peer) {
                row.values.push(own.value);
                row.rates.push(own.rate);
                let base = measure.base().filter(|base| *base != peer);
                let base = base.and_then(|base| self.of(measure, base).find(|other| other.round == own.round));
                row.ratios.extend(base.map(|base| own.value / base.value));
            }
            rows.push(row);
        }
        rows
    }

    fn idle_share(&self, row: &Row, of: impl Fn(Cores) -> f64) -> String {
        let shares: Vec<f64> = self.of(row.measure, row.peer).filter_map(|sample| sample.cores).map(of).collect();
        middle(&shares).map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0))
    }

    /// What was measured, for who compares.
    pub(crate) fn results(&self) -> Results {
        let mut results = Results::new(&self.machine, &self.peers);
        for Sample { round, measure, peer, value, .. } in &self.samples {
            let (scene, what, at) = measure.names();
            results.add(scene, (what, measure.unit()), peer, at, *round, *value);
        }
        results
    }
}

fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

fn most(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, seconds, idle, .. } = self;
        writeln!(f, "\nTunnels: {rounds} rounds of {seconds:.1} s for each figure; {idle} held for those of memory\n")?;
        for line in &self.machine.lines {
            writeln!(f, "{line}")?;
        }
        for (peer, version) in &self.peers {
            writeln!(f, "peer:    {peer}: {version}")?;
        }
        let others: Vec<f64> =
            self.samples.iter().filter_map(|sample| sample.cores).map(|cores| cores.others * 100.0).collect();
        if let (Some(usual), Some(worst)) = (middle(&others), most(&others)) {
            writeln!(f, "noise:   others used {usual:.0} % of the busier core (median), {worst:.0} % at worst")?;
        }
        writeln!(
            f,
            "\nMedian of the rounds (least to most). Ratios are of the same round: of the times, compare only those.\n\n\
             | measure | peer | cost | unit | ratio | to | rate | its core idle | load's core idle |\n\
             |---|---|---|---|---|---|---|---|---|"
        )?;
        for row in self.rows() {
            let (measure, rate) = (row.measure, middle(&row.rates).unwrap_or_default());
            writeln!(
                f,
                "| {measure} | {} | {} | {} | {} | {} | {rate:.2} {} | {} | {} |",
                row.peer,
                if measure.base().is_some() { spread(&row.values, 2) } else { whole(&row.values) },
                measure.unit(),
                spread(&row.ratios, 2),
                measure.base().unwrap_or("-"),
                measure.rate(),
                self.idle_share(&row, |cores| cores.peer_idle),
                self.idle_share(&row, |cores| cores.load_idle),
            )?;
        }
        Ok(())
    }
}

/// Of bytes, which need no decimals.
fn whole(values: &[f64]) -> String {
    match (middle(values), least(values), most(values)) {
        (Some(middle), Some(least), Some(most)) => format!("{middle:.0} ({least:.0} to {most:.0})"),
        _ => "-".to_owned(),
    }
}
