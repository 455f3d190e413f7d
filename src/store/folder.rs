//! Folder: file-system steps whose order decides what a power cut leaves behind.
//!
//! Invariants:
//! - A file made here is whole or absent: written under another name, synced,
//!   renamed, and its folder synced.
//! - A folder made here is found after a power cut: its parent is synced too.
//! - The lock is on the folder itself and not on a file in it, which a clean-up
//!   could delete and a second process make anew.
//!
//! Not here: what the files hold.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder is ours until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FolderLock {
    _folder: File,
}

/// Lock a folder against other processes and other stores of this one.
///
/// # Errors
/// `None` when somebody else holds it.
pub(super) fn lock(path: &Path) -> Result<FolderLock, Option<io::Error>> {
    let folder = File::open(path).map_err(Some)?;
    match folder.try_lock() {
        Ok(()) => Ok(FolderLock { _folder: folder }),
        Err(TryLockError::WouldBlock) => Err(None),
        Err(TryLockError::Error(err)) => Err(Some(err)),
    }
}

/// With less than this an engine cannot go on: sled takes its room by 512 KiB.
const ROOM: u64 = 1024 * 1024;

/// Has its disk too little room to go on, or for another file?
pub(super) fn is_full(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok_and(|found| {
        let bytes = found.blocks_available().saturating_mul(found.fragment_size());
        bytes < ROOM || (found.files() > 0 && found.files_available() == 0)
    })
}

/// Make a folder, mode 0700, and those above it, each one synced into its parent.
pub(super) fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = parent(path) {
        make(&parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(err) => return Err(err),
    }
    sync_parent(path)
}

/// The folder that holds `path`; `.` for a bare name.
fn parent(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
}

/// Make the entries of a folder durable: names made, renamed and deleted in it.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Make the entry of `path` in its folder durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    parent(path).map_or(Ok(()), |parent| sync_folder(&parent))
}

/// Make a file's content durable, whoever wrote it. A missing file is fine.
pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => file.sync_all(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

/// A file that did not exist, for this user alone.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Write a file whole: under another name, synced, renamed over `path`, folder synced.
pub(super) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut io::BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let unfinished = path.with_file_name(format!("{name}{UNFINISHED}"));
    delete(&unfinished)?;
    let written = (|| {
        let mut file = create_new(&unfinished)?;
        let mut buffered = io::BufWriter::with_capacity(128 * 1024, &mut file);
        fill(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.sync_all()?;
        fs::rename(&unfinished, path)
    })();
    if let Err(err) = written {
        // Half a file on a full disk would only keep it full. The first error is the one to tell.
        let _ = delete(&unfinished);
        return Err(err);
    }
    sync_parent(path)
}

/// How the name of a file that is not whole yet ends.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Delete a file; a missing one is fine.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Delete the files of a folder whose names end in `suffix`, and say how many.
pub(super) fn delete_ending(folder: &Path, suffix: &str) -> io::Result<usize> {
    let mut deleted = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(suffix) {
            delete(&entry.path())?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Rename `path` to a free name beside it and sync the folder. The old content
/// stays for a person to look at.
pub(super) fn set_aside(path: &Path, word: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut aside = path.with_file_name(format!("{name}.{word}-{now}"));
    let mut attempt = 1;
    while aside.symlink_metadata().is_ok() {
        attempt += 1;
        aside = path.with_file_name(format!("{name}.{word}-{now}-{attempt}"));
    }
    fs::rename(path, &aside)?;
    sync_parent(&aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes on one sled folder destroy it.
    #[test]
    fn a_folder_is_locked_once_and_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(None)));
        drop(held);
        assert!(lock(dir.path()).is_ok());
    }

    /// A reader must never see half a file, and a failed write must not replace a good one.
    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_whole(&path, |file| file.write_all(b"good")).unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"good");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// The damaged data is the only evidence: a second failure within the same second must not overwrite it.
    #[test]
    fn setting_aside_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..3 {
            make(&path).unwrap();
            names.insert(set_aside(&path, "corrupt").unwrap());
        }
        assert_eq!(names.len(), 3);
        assert!(!path.exists());
    }
}
