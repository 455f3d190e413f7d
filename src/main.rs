//! `sixgate`: flags to command.

use std::process::ExitCode;

/// Many small allocations on many threads: see `ARCHITECTURE.md` for the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sixgate::cli::run()
}
