//! The whole way of an order write under a simulation: the real memory of writes, limits, exits, evidence and health of
//! legs, with a model of what lies around them: callers that go away, repeat a write by either id or none, or use an id
//! for something else; a wall clock that is set; a broker whose book holds other orders under the same id; answers that
//! are lost; operators that halt; and a process that is killed between any two steps and reads its journal back, which
//! may have lost its last lines.
//!
//! Millions of steps, each followed by the invariants. A failure prints its seed; `SIXGATE_MODEL_STEPS` asks for more.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test stops at whatever it did not expect")]

mod broker;
mod callers;
mod way;
mod world;

use world::{Counts, Model};

/// Of one run; there are as many runs as it takes.
const STEPS: u64 = 50_000;
/// Of all runs of one test.
const ALL: u64 = 700_000;

/// Runs until so many steps are done, each with a seed of its own.
fn run(first: u64) {
    let all = std::env::var("SIXGATE_MODEL_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(ALL);
    let seeds = std::env::var("SIXGATE_MODEL_SEED").ok().and_then(|text| text.parse().ok());
    let mut total = Counts::default();
    for n in 0..all.div_ceil(STEPS) {
        let seed: u64 = seeds.unwrap_or(0) ^ (first << 32 | n);
        let mut model = Model::new(seed);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..STEPS {
                model.step();
            }
        }));
        if let Err(why) = ran {
            eprintln!("seed {seed}, after {} steps: {:?}", model.steps, model.counts);
            std::panic::resume_unwind(why);
        }
        println!("seed {seed}: {STEPS} steps, {:?}", model.counts);
        total.add(&model.counts);
    }
    let idle = total.idle();
    assert!(idle.is_empty(), "this proves little, for it hardly saw {idle:?}: {total:?}");
}

/// Each on a core of its own, where there are several.
mod no_write_is_done_twice_nor_told_of_falsely_whatever_happens {
    #[test]
    fn one() {
        super::run(1);
    }

    #[test]
    fn two() {
        super::run(2);
    }

    #[test]
    fn three() {
        super::run(3);
    }
}
