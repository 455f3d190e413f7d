//! From figures to a table that a person reads.

use std::fmt;

use crate::figures::{Figure, Results};
use crate::statistics::{middle, spread};

/// The accounts' scene; the size is their number.
pub(crate) const GROWTH: &str = "growth";
/// That of a source with many ended connections; the size is the number of those.
pub(crate) const CLIFF: &str = "port cliff";
/// That of orders while browsers look; the size is the orders a second.
pub(crate) const CONSOLE: &str = "console";
/// What is measured, there is one.
pub(crate) const PEER: &str = "sixgate";

/// All that was measured, and what there is to be said of it.
pub(crate) struct Report {
    pub results: Results,
    pub rounds: u32,
    pub seconds: f64,
    pub notes: Vec<String>,
}

impl Report {
    pub(crate) fn add(&mut self, scene: &str, at: u64, round: u32, (measure, unit): (&str, &str), value: f64) {
        self.results.push(Figure {
            scene: scene.to_owned(),
            measure: measure.to_owned(),
            unit: unit.to_owned(),
            peer: PEER.to_owned(),
            at: at as f64,
            round,
            value,
        });
    }

    /// Of a scene, in the order in which they were first added.
    fn measures(&self, scene: &str) -> Vec<(&str, &str)> {
        let mut measures = Vec::new();
        for figure in self.results.figures().iter().filter(|figure| figure.scene == scene) {
            let measure = (figure.measure.as_str(), figure.unit.as_str());
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        measures
    }

    /// Of a scene, from the smallest.
    fn sizes(&self, scene: &str) -> Vec<f64> {
        let sizes = self.results.figures().iter().filter(|figure| figure.scene == scene).map(|figure| figure.at);
        let mut sizes: Vec<f64> = sizes.collect();
        sizes.sort_unstable_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }

    fn of(&self, scene: &str, measure: &str, at: f64) -> impl Iterator<Item = &Figure> {
        let figures = self.results.figures().iter();
        figures.filter(move |figure| figure.scene == scene && figure.measure == measure && figure.at == at)
    }

    /// Each value at `most` by the one at `least` in the same round.
    fn ratios(&self, scene: &str, measure: &str, least: f64, most: f64) -> Vec<f64> {
        let base = |round| self.of(scene, measure, least).find(|figure| figure.round == round);
        let pairs = self.of(scene, measure, most).filter_map(|figure| Some((figure.value, base(figure.round)?.value)));
        pairs.filter(|(_, base)| *base > 0.0).map(|(value, base)| value / base).collect()
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, scene: &str, title: &str) -> fmt::Result {
        let sizes = self.sizes(scene);
        let (Some(least), Some(most)) = (sizes.first(), sizes.last()) else { return Ok(()) };
        write!(f, "\n{title}: median (smallest to largest)\n\n| |")?;
        for size in &sizes {
            write!(f, " {size} |")?;
        }
        write!(f, " most by fewest |\n|---|{}", "---|".repeat(sizes.len() + 1))?;
        for (measure, unit) in self.measures(scene) {
            write!(f, "\n| {measure}, {unit} |")?;
            for size in &sizes {
                let values: Vec<f64> = self.of(scene, measure, *size).map(|figure| figure.value).collect();
                write!(f, " {} |", cell(&values))?;
            }
            let ratios = if least == most { Vec::new() } else { self.ratios(scene, measure, *least, *most) };
            write!(f, " {} |", cell(&ratios))?;
        }
        writeln!(f)
    }
}

/// One value as it is, more by their spread, with the digits that mean something.
fn cell(values: &[f64]) -> String {
    let size = middle(values).unwrap_or_default().abs();
    let digits = if size < 1.0 { 3 } else { usize::from(size < 100.0) + usize::from(size < 10.0) };
    match values {
        [] => String::new(),
        [only] => format!("{only:.digits$}"),
        many => spread(many, digits),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nGrowth: {} rounds, windows of {:.1} s\n", self.rounds, self.seconds)?;
        for line in &self.results.machine {
            writeln!(f, "{line}")?;
        }
        for (peer, version) in &self.results.peers {
            writeln!(f, "peer:    {peer}: {version}")?;
        }
        for note in &self.notes {
            writeln!(f, "NOTE:    {note}")?;
        }
        self.table(f, GROWTH, "By the number of accounts")?;
        self.table(f, CONSOLE, "Orders while 20 browsers have the console open, by orders a second")?;
        self.table(f, CLIFF, "New connections by the number of the source's connections in TIME_WAIT")
    }
}
