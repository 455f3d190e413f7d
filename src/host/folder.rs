//! The state folder, or where it will be.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, geteuid};

/// What was found of it.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Is it there? If not, the rest is of the folder that it will be made in.
    pub(super) exists: bool,
    pub(super) ours: bool,
    pub(super) writable: bool,
    /// The permission bits.
    pub(super) mode: u32,
    pub(super) kind: Kind,
    pub(super) free_bytes: Option<u64>,
    /// What the journal took on its last day.
    pub(super) a_day: Option<u64>,
}

/// The kind of file system, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Forgotten at a restart of the host.
    Memory,
    /// Forgotten with a container.
    Layers,
    /// On another host.
    Network,
    /// A disk.
    Disk,
}

impl Kind {
    fn of(kind: FsType) -> Self {
        /// RAM of before there was tmpfs.
        const RAMFS: FsType = FsType(0x8584_58f6);
        if kind == TMPFS_MAGIC || kind == RAMFS {
            Self::Memory
        } else if kind == OVERLAYFS_SUPER_MAGIC {
            Self::Layers
        } else if kind == NFS_SUPER_MAGIC {
            Self::Network
        } else {
            Self::Disk
        }
    }
}

impl Folder {
    /// Look at it. Nothing is made.
    pub(super) fn read(path: &Path) -> Self {
        let meta = std::fs::metadata(path).ok();
        let exists = meta.is_some();
        let there = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        let room = statvfs(there).ok();
        Self {
            path: path.to_owned(),
            exists,
            ours: meta.as_ref().is_none_or(|meta| meta.uid() == geteuid().as_raw()),
            writable: access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok(),
            mode: meta.as_ref().map_or(0o700, |meta| meta.mode() & 0o777),
            kind: statfs(there).map_or(Kind::Disk, |found| Kind::of(found.filesystem_type())),
            free_bytes: room.map(|room| room.blocks_available().saturating_mul(room.fragment_size())),
            a_day: last_day(&path.join("journal")),
        }
    }

    /// So many days until it is full, at the rate of its last one.
    pub(super) fn days_left(&self) -> Option<u64> {
        let a_day = self.a_day.filter(|bytes| *bytes > 0)?;
        Some(self.free_bytes? / a_day)
    }
}

/// The size of the journal's newest file; it begins one a day.
fn last_day(journal: &Path) -> Option<u64> {
    let files = std::fs::read_dir(journal).ok()?.flatten();
    let sizes = files.filter_map(|file| Some((file.file_name(), file.metadata().ok()?.len())));
    sizes.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, size)| size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let found = Folder::read(&dir.path().join("state"));
        assert!(!found.exists && found.writable && found.ours, "{found:?}");
        let state = dir.path().join("state");
        std::fs::create_dir_all(state.join("journal")).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).unwrap();
        std::fs::write(state.join("journal/2026-11-29.jsonl"), [0; 10]).unwrap();
        std::fs::write(state.join("journal/2026-11-30.jsonl"), [0; 100]).unwrap();
        let found = Folder { free_bytes: Some(1000), ..Folder::read(&state) };
        assert_eq!((found.exists, found.mode, found.days_left()), (true, 0o750, Some(10)));
    }
}
