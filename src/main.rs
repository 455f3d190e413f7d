//! `sixgate`: flags to command.

use std::process::ExitCode;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// Many small allocations on many threads: see `ARCHITECTURE.md` for the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is begun: it may start this program anew.
    sixgate::store::handed_over::take();
    keep_memory_private();
    sixgate::cli::run()
}

/// A crash must not write tokens, PINs and keys to disk, and no other process of the same
/// user may read them. Neither can fail but where the kernel has no such thing.
fn keep_memory_private() {
    let _no_core = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // Also what pipes cores to a program keeps to this, and `/proc/PID/mem` and `environ` are root's.
    let _not_dumpable = prctl::set_dumpable(false);
}
