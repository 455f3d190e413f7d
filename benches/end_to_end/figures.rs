//! What every benchmark writes down, one way for all: the table of goals and the plots are made of it.

#![allow(dead_code, reason = "each benchmark uses a part of this")]

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cpu::Machine;

/// One value of one peer in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What was done: `orders`, `latency`, `cold orders`.
    pub scene: String,
    /// What was measured of it: `CPU per order`.
    pub measure: String,
    pub unit: String,
    pub peer: String,
    /// The scene's size: connections, a rate, accounts; zero, if it has none.
    pub at: f64,
    pub round: u32,
    pub value: f64,
}

/// All that a benchmark measured, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub machine: Vec<String>,
    /// Name and version.
    pub peers: Vec<(String, String)>,
    /// Only numbers: see [`Self::push`].
    figures: Vec<Figure>,
}

impl Results {
    /// None yet.
    pub(crate) fn new(machine: &Machine, peers: &[(&'static str, String)]) -> Self {
        let peers = peers.iter().map(|(name, version)| ((*name).to_owned(), version.clone())).collect();
        Self { machine: machine.lines.clone(), peers, figures: Vec::new() }
    }

    /// Add a value of a scene's measure, with its unit.
    pub(crate) fn add(
        &mut self,
        scene: &str,
        (measure, unit): (&str, &str),
        peer: &str,
        at: f64,
        round: u32,
        value: f64,
    ) {
        let [scene, measure, unit, peer] = [scene, measure, unit, peer].map(str::to_owned);
        self.push(Figure { scene, measure, unit, peer, at, round, value });
    }

    /// Add a figure, unless its value is no number (a ratio to a time that was too short for the kernel to count): that
    /// says nothing, and JSON has no word for it.
    pub(crate) fn push(&mut self, figure: Figure) {
        if figure.value.is_finite() {
            self.figures.push(figure);
        }
    }

    /// What was added, in its order.
    pub(crate) fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// Write them into `dir` as `name`.json, with the report that a person reads as `name`.md beside it.
    pub(crate) fn write(&self, dir: &Path, name: &str, report: &str) {
        let json = serde_json::to_string_pretty(self).expect("figures are JSON");
        fs::create_dir_all(dir).unwrap_or_else(|err| panic!("cannot make {}: {err}", dir.display()));
        for (kind, text) in [("json", format!("{json}\n")), ("md", report.to_owned())] {
            let file = dir.join(format!("{name}.{kind}"));
            fs::write(&file, text).unwrap_or_else(|err| panic!("cannot write {}: {err}", file.display()));
        }
    }

    pub(crate) fn read(dir: &Path, name: &str) -> Self {
        let file = dir.join(format!("{name}.json"));
        let text = fs::read_to_string(&file).unwrap_or_else(|err| panic!("cannot read {}: {err}", file.display()));
        serde_json::from_str(&text).unwrap_or_else(|err| panic!("{} holds no figures: {err}", file.display()))
    }
}
