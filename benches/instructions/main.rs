//! How many instructions the parts of an order's way take, counted by callgrind: the same on a busy machine as on a
//! quiet one, so a change that makes one of them dearer can be told from noise.
//!
//! ```text
//! cargo bench --profile dev --features redb --bench instructions
//! ```
//!
//! tells what they take, beside the baseline. After `--`: `--compare` fails on more than 5 % more than that, `--save` makes
//! the counts the baseline, `--explain` asks whether the commit that raised it says why.
//!
//! The baseline is `baseline.toml`, committed. Who makes a part dearer on purpose saves, and gives the reason in a line
//! `Instructions: <why>` of the commit; CI runs `--compare` and `--explain`.
//!
//! - [`cases`]: what is counted. [`callgrind`]: how. [`baseline`]: with what it is compared, and the rule.
//!
//! They are taken of the build that the tests are, in which our own crate is not optimised: optimised, it takes six
//! minutes of a processor to build. A part takes 2 to 14 times as many instructions there, and work that is added shows
//! in them as it does in what is delivered; what the optimiser makes worse does not, and is for the other benchmarks.
//!
//! What the counts do not say: nothing of the kernel's work is in them, nor of waiting, nor of caches. Valgrind offers
//! no SHA instructions, so SHA-256 is computed in software here and takes several times the share that it has in use.
//! Another compiler, C library or kind of processor gives other counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends by panicking"
)]

mod baseline;
mod callgrind;
mod cases;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use baseline::{Baseline, Explained};
use cases::CASES;

/// The binary's own allocator: allocating is a part of what things cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Instructions per operation of the parts of an order's way, beside the committed baseline.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fail when a part takes more than 5 % more than the baseline says.
    #[arg(long)]
    compare: bool,
    /// Write the counts to the baseline.
    #[arg(long, conflicts_with = "compare")]
    save: bool,
    /// Count nothing: fail when the last commit that raised the baseline by more than 5 % does not say why.
    #[arg(long, conflicts_with_all = ["compare", "save", "only"])]
    explain: bool,
    /// Only parts whose name contains one of these.
    #[arg(long, value_delimiter = ',', conflicts_with = "save")]
    only: Vec<String>,
    /// Do the operations of one part, to be counted.
    #[arg(long, hide = true)]
    case: Option<String>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.case {
        let case = CASES.iter().find(|case| case.name == name).expect("a case of that name");
        cases::run(case);
        return ExitCode::SUCCESS;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if arguments.explain {
        return match baseline::explained(root) {
            Explained::Yes(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Explained::No(text) => {
                eprintln!("{text}");
                ExitCode::FAILURE
            }
        };
    }
    let wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part.as_str()));
    let names = CASES.iter().map(|case| case.name).filter(|name| wanted(name));
    let counted = Baseline { made_with: callgrind::versions(), instructions: callgrind::count_all(names) };
    if arguments.save {
        counted.save(root);
    }
    let mut known = Baseline::read(root);
    known.instructions.retain(|name, _| wanted(name));
    let (table, problems) = known.compared_with(&counted);
    println!("{table}");
    for problem in &problems {
        eprintln!("{problem}");
    }
    if arguments.compare && !problems.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
