//! Small libraries in C that a program is started with, to give it a host that is not as it should be.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Start the program with this library, beside those that it is started with already.
pub(crate) fn give(library: &Path, command: &mut Command) {
    let before = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "LD_PRELOAD"));
    let mut all = before.map(|before| [before, OsStr::new(":")].join(OsStr::new(""))).unwrap_or_default();
    all.push(library);
    command.env("LD_PRELOAD", all);
}

/// Build `tests/{source}` into this folder, for `LD_PRELOAD`.
pub(crate) fn library(source: &str, folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let library = folder.join(source.with_extension("so").file_name().expect("a file"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(built.expect("this test needs a C compiler, cc").success());
    library
}
