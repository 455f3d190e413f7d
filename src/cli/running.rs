//! The sandboxes that run on this host, so that commands find them without being told where.
//!
//! A sandbox that runs keeps a file, `sixgate/PID.json` below the user's runtime folder, with where its listeners and
//! its token's file are. It holds no secret.
//!
//! Invariants:
//! - Only a folder that is ours alone (owner, mode 0700, no link) is written to or believed: whoever could put a file
//!   there could name the address that an admin token is sent to.
//! - The file is locked for as long as the sandbox runs. One that can be locked was left by a crash and is removed.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The longest file that is read.
const LONGEST: u64 = 16 * 1024;

/// Where a running sandbox is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// Its process.
    pub(super) pid: u32,
    /// The gateway beside it, if there is one.
    pub(super) gateway: Option<RunningGateway>,
    /// The built-in broker's control listener, as a URL.
    pub(super) control: Option<String>,
}

/// A gateway that runs beside the built-in broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunningGateway {
    /// The admin API, as `--admin` has it.
    pub(super) admin: String,
    /// The admin token's file.
    pub(super) token_file: PathBuf,
    /// The state folder.
    pub(super) state: PathBuf,
    /// Its configuration, which stands in no file of its own.
    #[serde(default)]
    pub(super) config: String,
}

/// The file of a sandbox that runs here; removed when dropped.
#[derive(Debug)]
pub(super) struct Published {
    path: PathBuf,
    /// Its lock says that the sandbox runs.
    _locked: File,
}

impl Published {
    /// Let commands of the same user find a sandbox.
    ///
    /// # Errors
    /// The folder cannot be made, or is not ours alone.
    pub(super) fn new(running: &Running) -> io::Result<Self> {
        publish(&own_folder()?, running)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where such files are, the best place first. A shell of `su` has another variable than the login that it began with.
fn folders() -> Vec<PathBuf> {
    let of_session = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_absolute());
    let shared = std::env::temp_dir().join(format!("sixgate-run-{}", nix::unistd::geteuid()));
    of_session.map(|folder| PathBuf::from(folder).join("sixgate")).into_iter().chain([shared]).collect()
}

/// The runtime folder of this user alone, made if it is not there.
///
/// # Errors
/// It cannot be made, or is not ours alone.
pub(super) fn own_folder() -> io::Result<PathBuf> {
    let mut result = Err(io::Error::other("there is no folder for it"));
    for folder in folders() {
        result = make_ours(&folder).map(|()| folder);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn make_ours(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        Ok(()) | Err(_) => {}
    }
    if !is_ours_alone(folder)? {
        return Err(io::Error::other(format!("{} is not a folder of this user alone", folder.display())));
    }
    Ok(())
}

fn publish(folder: &Path, running: &Running) -> io::Result<Published> {
    make_ours(folder)?;
    let path = folder.join(format!("{}.json", running.pid));
    let draft = folder.join(format!(".{}.unfinished", running.pid));
    // Locked before it has its name: whoever finds it unlocked removes it.
    let _ = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.lock()?;
    file.write_all(serde_json::to_string(running)?.as_bytes())?;
    std::fs::rename(&draft, &path)?;
    Ok(Published { path, _locked: file })
}

fn is_ours_alone(folder: &Path) -> io::Result<bool> {
    let found = std::fs::symlink_metadata(folder)?;
    Ok(found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0)
}

/// The sandboxes of this user that run.
pub(super) fn find() -> Vec<Running> {
    folders().iter().flat_map(|folder| find_in(folder)).collect()
}

fn find_in(folder: &Path) -> Vec<Running> {
    if !is_ours_alone(folder).unwrap_or(false) {
        return Vec::new();
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    files.filter_map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Option<Running> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        // Nobody holds it: it was left behind.
        Ok(()) => {
            let _ = std::fs::remove_file(path);
            return None;
        }
        Err(TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sandbox() -> Running {
        let gateway = RunningGateway {
            admin: "http://127.0.0.1:8081".into(),
            token_file: "/t".into(),
            state: "/s".into(),
            config: String::new(),
        };
        Running { pid: 7, gateway: Some(gateway), control: None }
    }

    /// A command must not go to where a sandbox was.
    #[test]
    fn a_sandbox_is_found_while_it_runs_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sixgate");
        let published = publish(&folder, &sandbox()).unwrap();
        assert_eq!(find_in(&folder), [sandbox()]);
        assert_eq!(std::fs::metadata(folder.join("7.json")).unwrap().permissions().mode() & 0o777, 0o600);
        drop(published);
        assert!(!folder.join("7.json").exists());
        // As a process leaves it that was killed.
        std::fs::write(folder.join("8.json"), serde_json::to_string(&sandbox()).unwrap()).unwrap();
        assert_eq!(find_in(&folder), []);
        assert!(!folder.join("8.json").exists(), "what was left behind is still there");
    }

    /// Whoever can write there decides where the admin token is sent.
    #[test]
    fn a_folder_that_others_may_write_to_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sixgate");
        let _published = publish(&folder, &sandbox()).unwrap();
        for mode in [0o770, 0o707, 0o755] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(find_in(&folder), []);
            assert!(publish(&folder, &sandbox()).is_err());
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert_eq!(find_in(&link), []);
        assert_eq!(find_in(&folder).len(), 1);
    }
}
