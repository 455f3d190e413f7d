//! A host whose disk is slow for a while.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::preload;

/// The disk of the programs that are started with it.
#[derive(Debug)]
pub(crate) struct SlowDisk {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl SlowDisk {
    /// One that is as fast as this machine's. Its files are kept in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let (library, path) = (preload::library("support/slow_disk.c", dir), dir.join("slow-disk"));
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).unwrap();
        file.write_all_at(&[0; 16], 0).unwrap();
        Self { library, path, file }
    }

    /// Let a program have it.
    pub(crate) fn give(&self, command: &mut Command) {
        preload::give(&self.library, command);
        command.env("SLOW_DISK", &self.path);
    }

    /// Let each write that begins from here on take so long.
    pub(crate) fn set(&self, each: Duration) {
        self.file.write_all_at(&i64::try_from(each.as_millis()).unwrap().to_ne_bytes(), 0).unwrap();
    }

    /// How many writes have begun.
    pub(crate) fn begun(&self) -> i64 {
        let mut begun = [0; 8];
        self.file.read_exact_at(&mut begun, 8).unwrap();
        i64::from_ne_bytes(begun)
    }
}
