//! One case, run under callgrind in a process of its own.
//!
//! Counting is on only inside [`cases::counted_by_callgrind`] and on the thread that is in it, so neither the making of
//! a store nor its threads are counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::cases::TIMES;

/// How long a case may take, in seconds; one takes a few.
const WITHIN: &str = "600";
/// What `timeout` ends with when the time is over.
const NOT_OVER: i32 = 124;

/// Instructions of one operation of each case, one case at a time on each core.
pub(crate) fn count_all(names: impl Iterator<Item = &'static str> + Send) -> BTreeMap<String, u64> {
    let (names, counts) = (Mutex::new(names), Mutex::new(BTreeMap::new()));
    let next = || names.lock().expect("no other count panicked").next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = next() {
                    let count = count(name);
                    counts.lock().expect("no other count panicked").insert(name.to_owned(), count);
                }
            });
        }
    });
    counts.into_inner().expect("no count panicked")
}

/// Instructions of one operation, rounded.
fn count(case: &str) -> u64 {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().join("callgrind.out");
    let own = std::env::current_exe().expect("the path of this program");
    let mut valgrind = Command::new("timeout");
    valgrind
        .args(["--kill-after=10", WITHIN, "valgrind"])
        // One thread runs at a time. Without the second option one that waits for another by looking again and again can
        // keep it from ever running.
        .args(["--quiet", "--fair-sched=try"])
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_by_callgrind*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["--case", case])
        .env("TMPDIR", dir.path());
    let mut run = || valgrind.output().unwrap_or_else(|err| panic!("cannot run timeout, of coreutils: {err}"));
    let mut done = run();
    if done.status.code() == Some(NOT_OVER) {
        // A count is the same each time: to take it again hides nothing.
        eprintln!("{case}: not over after {WITHIN} s; counted again");
        done = run();
    }
    assert!(
        done.status.success(),
        "{case}: {valgrind:?} ended with {}\n{}{}",
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    let total = total(&out);
    assert!(total > 0, "{case}: callgrind did not see counted_by_callgrind; were symbols stripped?");
    (total + TIMES / 2) / TIMES
}

/// What callgrind counted in all.
fn total(out: &Path) -> u64 {
    let text = std::fs::read_to_string(out).expect("callgrind's output");
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a line of totals");
    line.trim().parse().expect("a number")
}

/// What counts depend on besides our own code: they are comparable where this is the same.
pub(crate) fn versions() -> String {
    let version = |program: &str| {
        let done = Command::new(program).arg("--version").output();
        let done = done.unwrap_or_else(|err| panic!("cannot run {program}: {err}; is it installed?"));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    // Searching and copying take other ways with wider registers, which valgrind offers where the processor does.
    let wide = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| info.contains(" avx2"));
    let processor = format!("{}{}", std::env::consts::ARCH, if wide { " with AVX2" } else { "" });
    format!("{}, {}, {processor}", version("rustc"), version("valgrind"))
}
