//! A host whose wall clock is wrong, or is set while a program runs, or which sleeps meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};

use super::preload;

/// The wall clock of the programs that are started with it.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// One that is right. Its files are kept in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let clock = Self { library: preload::library("support/clock.c", dir), file: dir.join("clock-offset") };
        clock.write([0, 0]);
        clock
    }

    /// Let a program have it.
    pub(crate) fn give(&self, command: &mut Command) {
        preload::give(&self.library, command);
        command.env("CLOCK_OFFSET", &self.file);
    }

    /// Let it be ahead of this machine's by so much (negative: behind), at once and in whole seconds.
    pub(crate) fn set(&self, ahead: SignedDuration) {
        self.write([ahead.as_secs()]);
    }

    /// Let the machine have slept for so long: its wall clock and the time since its boot went on, and what timers count
    /// did not. It slept for the first time, with a clock that was right.
    pub(crate) fn sleep(&self, slept: SignedDuration) {
        self.write([slept.as_secs(); 2]);
    }

    fn write<const N: usize>(&self, offsets: [i64; N]) {
        use std::io::Write as _;
        // In place and at once: programs have it mapped.
        let mut file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.file).unwrap();
        file.write_all(&offsets.map(i64::to_ne_bytes).concat()).unwrap();
    }

    /// Let it show this moment now. How far ahead it is then.
    pub(crate) fn show(&self, moment: Timestamp) -> SignedDuration {
        let ahead = moment.duration_since(Timestamp::now());
        self.set(ahead);
        ahead
    }
}
