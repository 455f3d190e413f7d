//! The private folder of one run: what its command reads, and what is left to be undone.
//!
//! Its lease is locked for as long as the run or its command is there. One that can be locked was left by a run that was
//! killed: the next run of the same user takes its client key away and removes it.
//!
//! Invariant: no secret is written here. The lease names a client key by its id.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::cli::running;

/// What begins the name of such a folder.
const BEGINS: &str = "run-";
/// The file with the lease.
const LEASE: &str = "lease";
/// The longest lease that is read.
const LONGEST: u64 = 16 * 1024;

/// What a run has made at a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// The gateway's admin API, as a person writes it.
    pub(super) admin: String,
    /// The account.
    pub(super) account: String,
    /// The client key that was made for the run.
    pub(super) key_id: Option<String>,
}

/// The folder of this run, removed when dropped.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    lease: File,
}

impl RunFolder {
    /// # Errors
    /// There is no place for it.
    pub(super) fn new() -> io::Result<Self> {
        Self::new_in(&running::own_folder()?)
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let (draft, path) = (parent.join(format!(".{name}")), parent.join(format!("{BEGINS}{name}")));
        DirBuilder::new().mode(0o700).create(&draft)?;
        let lease = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(draft.join(LEASE))?;
        // Locked before it has its name: whoever finds it unlocked removes it.
        lease.lock()?;
        std::fs::rename(&draft, &path)?;
        Ok(Self { path, lease })
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Write a file, for its owner to read.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn write(&self, name: &str, contents: &[u8]) -> io::Result<PathBuf> {
        let path = self.file(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(contents)?;
        Ok(path)
    }

    /// Note what is to be undone.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn note(&mut self, lease: &Lease) -> io::Result<()> {
        self.lease.set_len(0)?;
        self.lease.rewind()?;
        self.lease.write_all(serde_json::to_string(lease)?.as_bytes())
    }

    /// Let the programs that are started from now on hold the lock too: should this process be killed, the key stays
    /// for as long as a command uses it.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn share(&self) -> io::Result<()> {
        fcntl(&self.lease, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// What a run left that was killed.
#[derive(Debug)]
pub(super) struct Leftover {
    path: PathBuf,
    pub(super) lease: Lease,
    /// Nobody else undoes it meanwhile.
    _locked: File,
}

impl Leftover {
    /// It is undone.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// What runs of this user left that were killed.
pub(super) fn leftovers() -> Vec<Leftover> {
    running::own_folder().map(|parent| leftovers_in(&parent)).unwrap_or_default()
}

fn leftovers_in(parent: &Path) -> Vec<Leftover> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let is_run = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with(BEGINS));
    entries.filter(|entry| is_run(&entry.file_name())).filter_map(|entry| left(entry.path())).collect()
}

fn left(path: PathBuf) -> Option<Leftover> {
    let mut file = File::open(path.join(LEASE)).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(LONGEST).read_to_string(&mut text).ok()?;
    Some(Leftover { path, lease: serde_json::from_str(&text).unwrap_or_default(), _locked: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that nobody uses any more must go, and one that is used must not.
    #[test]
    fn what_a_killed_run_left_is_found_and_what_runs_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let mut run = RunFolder::new_in(parent.path()).unwrap();
        let lease = Lease { admin: "http://127.0.0.1:8081".into(), account: "alpha".into(), key_id: Some("k1".into()) };
        run.note(&Lease { key_id: None, ..lease.clone() }).unwrap();
        run.note(&lease).unwrap();
        assert!(leftovers_in(parent.path()).is_empty(), "it runs");

        let RunFolder { path, lease: file } = &run;
        // As the kernel does it for a process that is killed.
        file.unlock().unwrap();
        let [left] = <[_; 1]>::try_from(leftovers_in(parent.path())).unwrap();
        assert_eq!((&left.lease, &left.path), (&lease, path));
        assert!(leftovers_in(parent.path()).is_empty(), "somebody is undoing it already");
        left.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_run_that_ends_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunFolder::new_in(parent.path()).unwrap();
        let file = run.write("bundle.pem", b"x").unwrap();
        assert!(file.exists());
        drop(run);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
