//! The table of goals: what the gateway is to reach, and whether it did.

use std::fmt::Write as _;

use crate::figures::Figure;
use crate::statistics::{middle, spread};

/// The one that is to reach them.
const OURS: &str = "sixgate";

/// What is to be reached.
struct Goal {
    what: &'static str,
    /// At most this.
    most: f64,
    unit: &'static str,
    /// One for each round.
    reached: Vec<f64>,
}

/// Which value is meant: scene, measure, peer, size.
type Key<'a> = (&'a str, &'a str, &'a str, f64);

/// A table in Markdown. The verdict is of the median; there is none of a build that is not optimised.
pub(crate) fn table(figures: &[Figure], is_debug: bool) -> String {
    let mut text = String::from("| goal | at most | reached: median (range of the rounds) | |\n|---|---|---|---|\n");
    for Goal { what, most, unit, reached } in goals(figures) {
        let verdict = match middle(&reached) {
            None => "not measured",
            Some(_) if is_debug => "a debug build",
            Some(median) if median <= most => "met",
            Some(_) => "**not met**",
        };
        let _ = writeln!(text, "| {what} | {most}{unit} | {}{unit} | {verdict} |", spread(&reached, 2));
    }
    text
}

fn goals(figures: &[Figure]) -> Vec<Goal> {
    let goal = |what, most, unit, reached| Goal { what, most, unit, reached };
    let ratio = |own: Key<'_>, base: Key<'_>| ratios(figures, own, base);
    let to = |base, scene, measure, at| ratio((scene, measure, OURS, at), (scene, measure, base, at));
    let orders = |at| to("haproxy", "orders", "CPU per order", at);
    let kilobytes = |scene| scaled(figures, (scene, "memory", OURS, 0.0), 1e-3);
    let crowded = |measure| ratio(("port cliff", measure, OURS, 40_000.0), ("port cliff", measure, OURS, 0.0));
    let accounts = 10_000.0;
    let watched =
        |rate| ratio(("console", "CPU per order with consoles", OURS, rate), ("console", "CPU per order", OURS, rate));
    let growth = |measure, at| (("growth", measure, OURS, at), ("growth", measure, OURS, 1.0));
    let cost_of_growth = |at| {
        let (own, base) = growth("CPU per order", at);
        ratio(own, base)
    };
    vec![
        goal("CPU per signed order, 64 connections, to HAProxy's", 0.80, "", orders(64.0)),
        goal("CPU per signed order, 256 connections, to HAProxy's", 0.70, "", orders(256.0)),
        goal("added p50 at 2,000 orders/s, to HAProxy's", 0.85, "", to("haproxy", "latency", "added p50", 2000.0)),
        goal(
            "the same with latency.spin",
            0.85,
            "",
            ratio(("latency", "added p50", "sixgate-spin", 2000.0), ("latency", "added p50", "haproxy", 2000.0)),
        ),
        goal(
            "CPU per cold signed order, whole handshake, to HAProxy's",
            0.33,
            "",
            to("haproxy", "cold orders, full", "CPU per order", 0.0),
        ),
        goal(
            "CPU per GB through 16 tunnels, to the splice floor's",
            1.10,
            "",
            to("floor", "bulk tunnel", "CPU per GB", 16.0),
        ),
        goal("CPU per CONNECT, to HAProxy's plain relay", 1.15, "", to("haproxy", "CONNECT", "CPU per connect", 0.0)),
        goal("memory of an idle tunnel", 4.0, " KB", kilobytes("idle tunnel")),
        goal("memory of an idle caller", 8.0, " KB", kilobytes("idle caller")),
        goal(
            "CPU per cold order with 40,000 TIME_WAITs on the source, to none",
            1.10,
            "",
            crowded("CPU per cold order"),
        ),
        goal("CPU per tunnel with 40,000 TIME_WAITs on the source, to none", 1.10, "", crowded("CPU per tunnel")),
        goal(
            "10,000 accounts: start to first order",
            5.0,
            " s",
            scaled(figures, ("growth", "start to first order", OURS, accounts), 1.0),
        ),
        goal(
            "10,000 accounts: memory of each",
            10.0,
            " KB",
            scaled(figures, ("growth", "memory for each account beyond the fewest", OURS, accounts), 1.0),
        ),
        goal("10,000 accounts: CPU per order, to one account's", 1.05, "", cost_of_growth(accounts)),
        goal(
            "10,000 accounts: p99 under reloads and changes, to without",
            1.10,
            "",
            ratio(("growth", "p99 while disturbed", OURS, accounts), ("growth", "p99", OURS, accounts)),
        ),
        goal(
            "10,000 accounts: the console's largest page",
            50.0,
            " KB",
            scaled(figures, ("growth", "largest page of the console", OURS, accounts), 1.0),
        ),
        goal(
            "10,000 accounts: the console's slowest page",
            30.0,
            " ms",
            scaled(figures, ("growth", "slowest page of the console", OURS, accounts), 1.0),
        ),
        goal("CPU per order at 20 orders/s with 20 consoles open, to none", 1.05, "", watched(20.0)),
        goal("CPU per order at 200 orders/s with 20 consoles open, to none", 1.05, "", watched(200.0)),
    ]
}

fn of<'a>(figures: &'a [Figure], (scene, measure, peer, at): Key<'a>) -> impl Iterator<Item = &'a Figure> {
    figures.iter().filter(move |figure| {
        (figure.scene.as_str(), figure.measure.as_str(), figure.peer.as_str()) == (scene, measure, peer)
            && figure.at.total_cmp(&at).is_eq()
    })
}

fn scaled(figures: &[Figure], key: Key<'_>, factor: f64) -> Vec<f64> {
    of(figures, key).map(|figure| figure.value * factor).collect()
}

/// Of two values in the same round.
fn ratios(figures: &[Figure], own: Key<'_>, base: Key<'_>) -> Vec<f64> {
    let base = |round| of(figures, base).find(|figure| figure.round == round);
    of(figures, own).filter_map(|own| Some(own.value / base(own.round)?.value)).collect()
}
