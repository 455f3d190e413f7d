//! What an error of a disk means, and what somebody can do about it: the same for whatever is kept there.

use std::io;

use nix::errno::Errno;

/// What to do when there is no room.
pub const FREE_ROOM: &str = "free room there: `df -h` shows how full the disk is, `df -i` whether it can make files";
/// What to do when nothing comes back.
pub const SLOW: &str = "the disk does not answer: see `dmesg`, and what else writes to it";

/// Does this mean "no room"? A quota and a limit on a file's size are as final as a full disk.
pub fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// What somebody can do about it.
pub fn advice(cause: &io::Error) -> &'static str {
    if is_full(cause) {
        return if cause.kind() == io::ErrorKind::QuotaExceeded {
            "free room there, or raise the quota of the gateway's user"
        } else if cause.kind() == io::ErrorKind::FileTooLarge {
            "raise the limit on a file's size (`ulimit -f`, LimitFSIZE=)"
        } else {
            FREE_ROOM
        };
    }
    match cause.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EIO) => return "the disk fails: see `dmesg` and `smartctl`, and move state.path to another disk",
        Some(Errno::EMFILE | Errno::ENFILE) => return "raise the limit on open files (`ulimit -n`, LimitNOFILE=)",
        Some(Errno::ENOTCONN) => return GONE,
        Some(_) | None => {}
    }
    // By kind: a library may tell that and not the number.
    let is = |kind| cause.kind() == kind;
    if is(io::ErrorKind::ReadOnlyFilesystem) {
        "its file system is read-only: see `dmesg` for why, mend it, and mount it writable again (`mount -o remount,rw`)"
    } else if is(io::ErrorKind::PermissionDenied) {
        "give the gateway's user the right to write there"
    } else if is(io::ErrorKind::NotFound) || is(io::ErrorKind::NotADirectory) {
        "put the folder back, or let the gateway's user make it"
    } else if is(io::ErrorKind::StaleNetworkFileHandle) {
        GONE
    } else if is(io::ErrorKind::TimedOut) {
        SLOW
    } else {
        "see `dmesg`"
    }
}

const GONE: &str = "its file system is gone: mount it again";

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever frees room on a disk that fails loses an hour.
    #[test]
    fn each_failure_has_an_advice_of_its_own() {
        for (errno, word) in [
            (Errno::ENOSPC, "free room"),
            (Errno::EDQUOT, "quota"),
            (Errno::EFBIG, "file's size"),
            (Errno::EROFS, "read-only"),
            (Errno::EIO, "smartctl"),
            (Errno::EACCES, "right to write"),
            (Errno::EPERM, "right to write"),
            (Errno::EMFILE, "open files"),
            (Errno::ENOENT, "put the folder back"),
            (Errno::ENOTDIR, "put the folder back"),
            (Errno::ESTALE, "mount it again"),
            (Errno::ETIMEDOUT, "does not answer"),
            (Errno::EINVAL, "dmesg"),
        ] {
            let told = advice(&errno.into());
            assert!(told.contains(word), "{errno}: {told}");
            assert_eq!(told.contains("free room"), matches!(errno, Errno::ENOSPC | Errno::EDQUOT), "{errno}: {told}");
        }
        let without_number = io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "said a library");
        assert!(advice(&without_number).contains("read-only"));
    }
}
