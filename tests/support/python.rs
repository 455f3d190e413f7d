//! A Python with the client libraries of `tests/clients/requirements.txt`, at exactly those versions.
//!
//! Made once below `target/` under a name that is the hash of that file, so a change
//! of it makes a new one. Tests are processes of their own: a lock on a file lets one
//! of them make it while the others wait.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::net::assert_asked_for_in_time;

/// The path of that Python's interpreter. Panics with pip's words if it cannot be made.
///
/// To be called before `Net::up`, or it panics: the first call of all fetches packages, and `Net::up` may start the test
/// again where nothing outside can be reached.
#[track_caller]
pub(crate) fn python() -> PathBuf {
    python_of("requirements.txt")
}

/// The same with what another file of `tests/clients/` asks for.
#[track_caller]
pub(crate) fn python_of(file: &str) -> PathBuf {
    assert_asked_for_in_time(file);
    let requirements = client(file);
    let text = fs::read(&requirements).unwrap_or_else(|err| panic!("cannot read tests/clients/{file}: {err}"));
    let hash = HEXLOWER.encode(&Sha256::digest(&text));
    let name = format!("python-{}", hash.get(..16).expect("a SHA-256 has 64 digits"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Written last: a folder without it was left by a test that was stopped half-way.
    let complete = folder.join("complete");

    let lock = File::create(folder.with_extension("lock")).expect("make the lock file");
    lock.lock().expect("wait for the lock"); // given back when `lock` is dropped
    if !complete.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("remove what a stopped test left");
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements));
        fs::write(&complete, []).expect("mark it as complete");
    }
    folder.join("bin/python")
}

/// A file of `tests/clients/`.
pub(crate) fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|err| panic!("cannot run {command:?}: {err}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
