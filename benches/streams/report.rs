//! From measurements to a table: medians, and ratios of the same round.

use std::fmt;

use crate::cpu::Machine;
use crate::figures::{Figure, Results};
use crate::peers::TUNNEL;
use crate::statistics::{middle, spread};

/// What the others are compared with.
const BASES: [&str; 2] = ["haproxy", TUNNEL];
/// What all have in common.
const NOTHING: &str = "direct";

/// What was measured of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    pub scene: &'static str,
    pub name: &'static str,
    pub unit: &'static str,
}

pub(crate) const P50: Measure = Measure { scene: "stream latency", name: "p50", unit: "us" };
pub(crate) const P99: Measure = Measure { scene: "stream latency", name: "p99", unit: "us" };
pub(crate) const LATE: Measure = Measure { scene: "stream latency", name: "sent late, p99", unit: "us" };
pub(crate) const RATE: Measure = Measure { scene: "stream flood", name: "rate", unit: "messages/s" };
pub(crate) const CPU: Measure = Measure { scene: "stream flood", name: "CPU per message", unit: "us" };
pub(crate) const IDLE: Measure = Measure { scene: "stream flood", name: "its core idle", unit: "%" };
pub(crate) const MEMORY: Measure = Measure { scene: "idle stream", name: "memory", unit: "bytes" };
const ADDED_P50: Measure = Measure { name: "added p50", ..P50 };
const ADDED_P99: Measure = Measure { name: "added p99", ..P99 };

/// Rows of the table. What an idle core says is no cost, so it has no ratio.
const ROWS: [Measure; 8] = [P50, ADDED_P50, P99, ADDED_P99, LATE, RATE, CPU, MEMORY];

/// All of them.
pub(crate) struct Report {
    pub machine: Machine,
    pub peers: Vec<(&'static str, String)>,
    pub rounds: u32,
    pub about: String,
    pub figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn add(&mut self, measure: Measure, peer: &str, at: f64, round: u32, value: f64) {
        let Measure { scene, name, unit, .. } = measure;
        eprintln!("round {} of {}: {scene}, {at:.0}, {peer}: {name} {value:.1} {unit}", round + 1, self.rounds);
        let [scene, measure, unit, peer] = [scene, name, unit, peer].map(str::to_owned);
        self.figures.push(Figure { scene, measure, unit, peer, at, round, value });
    }

    /// Add what was measured less what a direct way had in the same round, for who compares.
    pub(crate) fn add_differences(&mut self) {
        for (of, added) in [(P50, ADDED_P50), (P99, ADDED_P99)] {
            let direct: Vec<Figure> = self.of(of, NOTHING).cloned().collect();
            let others: Vec<Figure> = self.figures.iter().filter(|f| is(f, of) && f.peer != NOTHING).cloned().collect();
            for figure in others {
                let same = direct.iter().find(|d| d.round == figure.round && d.at.total_cmp(&figure.at).is_eq());
                if let Some(direct) = same {
                    let value = figure.value - direct.value;
                    self.figures.push(Figure { measure: added.name.to_owned(), value, ..figure });
                }
            }
        }
    }

    fn of<'a>(&'a self, measure: Measure, peer: &'a str) -> impl Iterator<Item = &'a Figure> {
        self.figures.iter().filter(move |figure| is(figure, measure) && figure.peer == peer)
    }

    /// The sizes that a measure was made at.
    fn sizes(&self, measure: Measure) -> Vec<f64> {
        let mut sizes: Vec<f64> = self.figures.iter().filter(|f| is(f, measure)).map(|f| f.at).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }

    pub(crate) fn results(&self) -> Results {
        let mut results = Results::new(&self.machine, &self.peers);
        self.figures.iter().cloned().for_each(|figure| results.push(figure));
        results
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, measure: Measure, at: f64, peer: &str) -> fmt::Result {
        let at_it = |peer| self.of(measure, peer).filter(move |figure| figure.at.total_cmp(&at).is_eq());
        let values: Vec<f64> = at_it(peer).map(|figure| figure.value).collect();
        if values.is_empty() {
            return Ok(());
        }
        let ratios = BASES.map(|base| {
            let base: Vec<&Figure> = at_it(base).filter(|_| base != peer && measure != LATE).collect();
            let ratio = |own: &Figure| Some(own.value / base.iter().find(|b| b.round == own.round)?.value);
            spread(&at_it(peer).filter_map(ratio).collect::<Vec<_>>(), 2)
        });
        let Measure { scene, name, unit, .. } = measure;
        let digits = if measure == CPU { 2 } else { 0 };
        let idle: Vec<f64> = match measure {
            RATE => self.of(IDLE, peer).filter(|f| f.at.total_cmp(&at).is_eq()).map(|f| f.value).collect(),
            _ => Vec::new(),
        };
        let idle = middle(&idle).map_or(String::new(), |idle| format!(" (its core idle {idle:.0} %)"));
        writeln!(
            f,
            "| {scene} | {at:.0} | {peer} | {name}{idle} | {} {unit} | {} | {} |",
            spread(&values, digits),
            ratios[0],
            ratios[1]
        )
    }
}

fn is(figure: &Figure, measure: Measure) -> bool {
    figure.scene == measure.scene && figure.measure == measure.name
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## Streams\n\n{} rounds. {}\n", self.rounds, self.about)?;
        for line in &self.machine.lines {
            writeln!(f, "{line}")?;
        }
        for (peer, version) in &self.peers {
            writeln!(f, "peer:    {peer}: {version}")?;
        }
        writeln!(
            f,
            "\nMedian of the rounds (least to most). Ratios are of the same round. Sent late: how long after its time \
             the broker got to a message, which is part of all latencies.\n\n\
             | scene | messages/s, or sockets | peer | measure | value | to {} | to {} |\n|---|---|---|---|---|---|---|",
            BASES[0], BASES[1]
        )?;
        for measure in ROWS {
            for at in self.sizes(measure) {
                for (peer, _) in &self.peers {
                    self.row(f, measure, at, peer)?;
                }
            }
        }
        Ok(())
    }
}
