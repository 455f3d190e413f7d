//! Everything that is measured against peers, by one command: the table of goals, and plots.
//!
//! Builds the other benchmarks, runs them one after the other, each of which measures all its peers in every round, and
//! makes of what they wrote down (`<benchmark>.json`) two things: the [`goals`] with what was reached, as ratios, and
//! [`plots`] in SVG. With `--no-run` only that, of what a run before has left.
//!
//! `cargo bench --bench goals -- --install`; with five rounds about an hour and a half, without the optimised build.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

#[path = "../end_to_end/cpu.rs"]
#[allow(dead_code, reason = "here only for where the figures come from")]
mod cpu;
#[path = "../end_to_end/figures.rs"]
mod figures;
mod goals;
mod plots;
#[path = "../end_to_end/statistics.rs"]
mod statistics;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use serde_json::Value;

use figures::{Figure, Results};

/// A benchmark, and the name under which it leaves its figures.
const BENCHMARKS: [(&str, &str); 5] = [
    ("end_to_end", "orders"),
    ("latency", "latency"),
    ("tunnels", "tunnels"),
    ("streams", "streams"),
    ("growth", "growth"),
];
/// Those of them that install peers.
const INSTALLERS: [&str; 3] = ["end_to_end", "latency", "streams"];

/// All benchmarks with peers, one after the other: the table of goals, plots in SVG, results as JSON.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where results, plots and the table are written. They are replaced.
    #[arg(long, value_name = "DIR", default_value = "target/goals")]
    out: PathBuf,
    /// How often every benchmark measures everything.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these benchmarks: end_to_end, latency, tunnels, streams, growth. Figures of the others are taken from what a run
    /// before has left in the folder.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure nothing: table and plots of what is in the folder.
    #[arg(long)]
    no_run: bool,
    /// Install peers that are missing, by apt-get; takes root. Without it they are left out.
    #[arg(long)]
    install: bool,
    /// Do they run at all? The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// The profile that is built.
    #[arg(long, default_value = "bench")]
    profile: String,
    /// The features that are built, as `cargo bench` takes them.
    #[arg(long, default_value = "")]
    features: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        !self.no_run && (self.only.is_empty() || self.only.iter().any(|only| only == name))
    }
}

fn main() {
    let arguments = Arguments::parse();
    let unknown = arguments.only.iter().find(|only| BENCHMARKS.iter().all(|(name, _)| name != only));
    assert!(unknown.is_none(), "there is no benchmark {}", unknown.map_or("", String::as_str));
    fs::create_dir_all(&arguments.out).unwrap_or_else(|err| panic!("cannot make {}: {err}", arguments.out.display()));
    let out = fs::canonicalize(&arguments.out).expect("the folder that was just made");
    let wanted: Vec<&str> = BENCHMARKS.iter().map(|(name, _)| *name).filter(|name| arguments.wants(name)).collect();
    if !wanted.is_empty() {
        let programs = build(&arguments, &wanted);
        for benchmark in wanted {
            let program = programs.get(benchmark).unwrap_or_else(|| panic!("{benchmark} was not built"));
            run(&arguments, benchmark, program, &out);
        }
    }

    let parts = BENCHMARKS.iter().map(|(_, name)| *name).filter(|name| out.join(format!("{name}.json")).exists());
    let results: Vec<(&str, Results)> = parts.map(|name| (name, Results::read(&out, name))).collect();
    assert!(!results.is_empty(), "no benchmark has left figures in {}", out.display());
    let all: Vec<Figure> = results.iter().flat_map(|(_, results)| results.figures().iter().cloned()).collect();
    let is_debug = results.iter().flat_map(|(_, results)| &results.machine).any(|line| line.contains("build: DEBUG"));
    let plots = plots::draw_all(&out, &all);
    let report = format!("{}\n{}\n{}", goals::table(&all, is_debug), provenance(&results), pictures(&plots));
    fs::write(out.join("goals.md"), &report).expect("write goals.md");
    println!("{report}");
    println!("written to {}", out.display());
}

/// Build them all at once; their programs by their names.
fn build(arguments: &Arguments, wanted: &[&str]) -> HashMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    command.args(["bench", "--locked", "--no-run", "--message-format", "json-render-diagnostics"]);
    command.args(["--profile", &arguments.profile, "--features", &arguments.features]);
    command.args(wanted.iter().flat_map(|name| ["--bench", name]));
    let output = command.output().unwrap_or_else(|err| panic!("cannot run {command:?}: {err}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let said = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let messages = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("cargo writes JSON"));
    let program = |message: Value| {
        let (name, path) = (message["target"]["name"].as_str()?, message["executable"].as_str()?);
        wanted.contains(&name).then(|| (name.to_owned(), path.into()))
    };
    messages.filter_map(program).collect()
}

/// Run one and wait for it.
fn run(arguments: &Arguments, benchmark: &str, program: &Path, out: &Path) {
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["--bench", "--out"]).arg(out);
    if arguments.quick {
        command.arg("--quick");
    } else {
        command.args(["--rounds", &arguments.rounds.to_string()]);
    }
    if arguments.install && INSTALLERS.contains(&benchmark) {
        command.arg("--install");
    }
    eprintln!("=== {benchmark}");
    let done = command.status();
    assert!(done.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {done:?}");
}

/// Where the figures come from. Each benchmark says it, because parts of a folder may be of different runs.
fn provenance(results: &[(&str, Results)]) -> String {
    let mut text = String::new();
    let mut last: &[String] = &[];
    for (name, results) in results {
        if results.machine != last {
            let _ = writeln!(text, "{name}: {}\n", results.machine.join("; "));
            last = &results.machine;
        }
    }
    let mut peers: Vec<String> = results
        .iter()
        .flat_map(|(_, results)| &results.peers)
        .map(|(peer, version)| format!("{peer}: {version}"))
        .collect();
    peers.sort_unstable();
    peers.dedup();
    let _ = writeln!(text, "Peers: {}.", peers.join("; "));
    text
}

fn pictures(plots: &[plots::Plot]) -> String {
    plots.iter().fold(String::new(), |mut text, plot| {
        let _ = writeln!(text, "![{}]({})", plot.title, plot.file);
        text
    })
}
