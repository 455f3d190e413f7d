//! `sixgate`: flags to command.

use std::process::ExitCode;

use clap::Parser;
use sixgate::cli::{Arguments, run};

/// Many small allocations on many threads: see `ARCHITECTURE.md` for the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(Arguments::parse())
}
