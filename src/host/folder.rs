//! The state folder, or where it will be.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, Uid, User, access, geteuid};

/// What was found of it.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Is it there? If not, the rest is of the folder that it will be made in.
    pub(super) exists: bool,
    /// Whose it is, if it is neither of the user who looks nor can be looked into: root looks into everybody's.
    pub(super) others: Option<Owner>,
    pub(super) writable: bool,
    /// The permission bits.
    pub(super) mode: u32,
    pub(super) kind: Kind,
    pub(super) free_bytes: Option<u64>,
    /// What the journal took on its last day.
    pub(super) a_day: Option<u64>,
}

/// A user, as people and as `sudo -u` name one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) argument: String,
}

impl Owner {
    fn of(uid: u32) -> Self {
        match User::from_uid(Uid::from_raw(uid)).ok().flatten() {
            Some(user) => Self { argument: user.name.clone(), name: user.name },
            None => Self { name: format!("user {uid}"), argument: format!("'#{uid}'") },
        }
    }
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
        let found = std::fs::metadata(path);
        let is_hidden = found.as_ref().is_err_and(|err| err.kind() == std::io::ErrorKind::PermissionDenied);
        let meta = found.ok();
        let exists = meta.is_some();
        let there = path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        let room = statvfs(there).ok();
        Self {
            path: path.to_owned(),
            exists,
            others: owner(path, is_hidden || exists).filter(|uid| !may_look(*uid)).map(Owner::of),
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

/// Of the folder, or of the one that hides it.
fn owner(path: &Path, is_there: bool) -> Option<u32> {
    path.ancestors().filter(|_| is_there).find_map(|folder| Some(std::fs::metadata(folder).ok()?.uid()))
}

fn may_look(uid: u32) -> bool {
    let own = geteuid();
    own.is_root() || own.as_raw() == uid
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
        assert!(!found.exists && found.writable && found.others.is_none(), "{found:?}");
        let state = dir.path().join("state");
        std::fs::create_dir_all(state.join("journal")).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).unwrap();
        std::fs::write(state.join("journal/2026-11-29.jsonl"), [0; 10]).unwrap();
        std::fs::write(state.join("journal/2026-11-30.jsonl"), [0; 100]).unwrap();
        let found = Folder { free_bytes: Some(1000), ..Folder::read(&state) };
        assert_eq!((found.exists, found.mode, found.days_left()), (true, 0o750, Some(10)));
    }

    /// A name that nobody has in a command sends somebody to make the user.
    #[test]
    fn an_owner_is_named_as_the_host_knows_him() {
        assert_eq!(Owner::of(0), Owner { name: "root".to_owned(), argument: "root".to_owned() });
        let nobody = Owner::of(4_000_000_123);
        assert_eq!((nobody.name.as_str(), nobody.argument.as_str()), ("user 4000000123", "'#4000000123'"));
    }
}
