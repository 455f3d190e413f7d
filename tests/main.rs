//! The integration tests: one program, of which each file here is a module.
//!
//! A program for each file would link the whole gateway and its dependencies forty times. `cargo nextest run` makes a
//! process of each test all the same. One file's tests: `cargo nextest run -E 'binary(it) and test(/^chaos::/)'`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking; clippy.toml allows it in test functions only, not in what helps them"
)]
#![allow(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod admin;
mod at_most_once;
mod broker_calls;
mod callers;
mod chaos;
mod cli;
mod clients_harness;
mod console;
mod cut_off;
mod doctor;
mod egress;
mod endurance;
mod events;
mod evidence;
mod examples;
mod failover;
mod fault_matrix;
mod field;
mod full_disk;
mod fuzz_corpus;
mod host;
mod host_limits;
mod instructions_rule;
mod isolation;
mod journal;
mod layers;
mod leaving;
mod legs;
mod names;
mod net_harness;
mod openapi;
mod process_harness;
mod proxy;
mod readme;
mod refused_bodies;
mod reload;
mod repeats;
mod run;
mod sandbox;
mod sdk;
mod secrets;
mod settle;
mod speed;
mod state;
mod store_crash;
mod storm;
mod streams;
mod support;
mod tokens;
mod transparent;
mod two_gateways;

use std::fs;
use std::path::Path;

/// A file that is not named above is not compiled, its tests are not run, and nothing would say so.
#[test]
fn every_file_of_this_folder_is_a_module_of_this_program() {
    let named = include_str!("main.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let missing: Vec<_> = files
        .filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "main" && !named.contains(&format!("\nmod {name};\n")))
        .collect();
    assert!(missing.is_empty(), "tests/main.rs names no module {missing:?}");
}
