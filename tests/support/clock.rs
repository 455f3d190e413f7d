//! A host whose wall clock is wrong, or is set while a program runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use super::preload;

/// The wall clock of the programs that are started with it.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// One that is right. Its files are kept in `dir`.
    pub fn new(dir: &Path) -> Self {
        let clock = Self { library: preload::library("support/clock.c", dir), file: dir.join("clock-offset") };
        clock.set(SignedDuration::ZERO);
        clock
    }

    /// Let a program have it.
    pub fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET", &self.file);
    }

    /// Let it be ahead of this machine's by so much (negative: behind), at once and in whole seconds.
    pub fn set(&self, ahead: SignedDuration) {
        use std::io::Write as _;
        // In place: programs have it mapped.
        let mut file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.file).unwrap();
        file.write_all(&ahead.as_secs().to_ne_bytes()).unwrap();
    }

    /// Let it show this moment now. How far ahead it is then.
    pub fn show(&self, moment: Timestamp) -> SignedDuration {
        let ahead = moment.duration_since(Timestamp::now());
        self.set(ahead);
        ahead
    }
}
