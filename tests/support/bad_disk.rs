//! A host whose disk fails or hangs for a while.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

use super::preload;

/// The disk of the programs that are started with it: what they write to files by `write` and sync by `fdatasync`.
#[derive(Debug)]
pub(crate) struct BadDisk {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl BadDisk {
    /// One that works. Its files are kept in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let (library, path) = (preload::library("support/bad_disk.c", dir), dir.join("bad-disk"));
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).unwrap();
        file.write_all_at(&[0; 48], 0).unwrap();
        Self { library, path, file }
    }

    /// Let a program have it.
    pub(crate) fn give(&self, command: &mut Command) {
        preload::give(&self.library, command);
        command.env("BAD_DISK", &self.path);
    }

    fn set(&self, place: u64, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), place * 8).unwrap();
    }

    /// Let writes fail with this, or work.
    pub(crate) fn fail_writes(&self, errno: Option<Errno>) {
        self.set(0, errno.map_or(0, |errno| errno as i64));
    }

    /// Let writes that begin from here on wait, or go on.
    pub(crate) fn hold_writes(&self, held: bool) {
        self.set(1, held.into());
    }

    /// Let syncs fail with this, or work.
    pub(crate) fn fail_syncs(&self, errno: Option<Errno>) {
        self.set(2, errno.map_or(0, |errno| errno as i64));
    }

    /// Let syncs that begin from here on wait, or go on.
    pub(crate) fn hold_syncs(&self, held: bool) {
        self.set(3, held.into());
    }

    /// Let each sync take so long.
    pub(crate) fn slow_syncs(&self, takes: Duration) {
        self.set(5, takes.as_millis().try_into().unwrap());
    }

    /// How many writes and syncs wait.
    pub(crate) fn waiting(&self) -> i64 {
        let mut waiting = [0; 8];
        self.file.read_exact_at(&mut waiting, 32).unwrap();
        i64::from_ne_bytes(waiting)
    }
}
