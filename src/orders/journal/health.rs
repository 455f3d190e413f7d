//! Can lines be written, and how much room is there? Said once when it begins and once when it ends, and shown to
//! whoever asks meanwhile.
//!
//! Trouble begins with the first line that fails, or when there is no room for one, and is over when a line of the
//! journal's own got in. Only the thread that tends looks for that, so an order pays nothing for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::time::Instant;

use super::error::JournalError;
use super::folder::RESERVE_BYTES;
use crate::domain::chain;
use crate::domain::disk;
use crate::domain::lock;

/// With less than this, beside the reserve, no line is certain to get in.
const NO_ROOM: u64 = 64 * 1024;
/// So much room is asked for beside what the journal may write in two days, before anybody is warned.
const AMPLE: u64 = 64 * 1024 * 1024;
/// A file a day, and what the state makes beside it.
const FEW_FILES: u64 = 64;

/// Room on the disk of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this process may still write.
    pub bytes: u64,
    /// Files that may still be made; `None` where the file system does not count them.
    pub files: Option<u64>,
    /// Of how many bytes that is.
    total: u64,
}

impl Room {
    /// Of the disk that this folder is on; `None` when it does not say.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let found = statvfs(folder).ok()?;
        // The superuser may use what is kept for it.
        let is_root = nix::unistd::geteuid().is_root();
        let (blocks, files) = if is_root {
            (found.blocks_free(), found.files_free())
        } else {
            (found.blocks_available(), found.files_available())
        };
        let size = found.fragment_size();
        Some(Self {
            bytes: blocks.saturating_mul(size),
            files: (found.files() > 0).then_some(files),
            total: found.blocks().saturating_mul(size),
        })
    }

    /// No line is certain to get in, or no file can be made.
    const fn is_none(&self) -> bool {
        self.bytes < NO_ROOM || matches!(self.files, Some(0))
    }

    /// `a_day` is how much the journal writes in one.
    fn is_low(&self, a_day: u64) -> bool {
        // A small disk of its own is not low from the beginning.
        let wanted = AMPLE.max(a_day.saturating_mul(2)).min(self.total / 4).max(2 * RESERVE_BYTES as u64);
        self.bytes < wanted || self.files.is_some_and(|files| files < FEW_FILES)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct JournalHealth {
    folder: PathBuf,
    is_unwell: AtomicBool,
    /// Lines of what had left, or left all the same, that could not be written since it is so.
    unwritten: AtomicU64,
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    trouble: Option<DiskTrouble>,
    room: Option<Room>,
    is_low: bool,
}

#[derive(Clone, Debug)]
struct DiskTrouble {
    since: Instant,
    /// What is wrong, with its cause.
    why: String,
    /// What to do.
    action: &'static str,
}

/// A trouble that is over.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) lasted: Duration,
    pub(super) why: String,
    pub(super) unwritten: u64,
}

impl Over {
    /// For the journal itself.
    pub(super) fn note(&self) -> String {
        format!(
            "the order journal could not be written for {} ({}); lines that lack of what had left, or takes risk away: {}",
            humantime::format_duration(Duration::from_secs(self.lasted.as_secs())),
            self.why,
            self.unwritten
        )
    }
}

impl JournalHealth {
    pub(super) fn new(folder: &Path) -> Self {
        let (is_unwell, unwritten) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { folder: folder.to_path_buf(), is_unwell, unwritten, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        lock(&self.state)
    }

    pub(super) fn is_unwell(&self) -> bool {
        self.is_unwell.load(Ordering::Relaxed)
    }

    /// A line could not be written.
    pub(super) fn failed(&self, err: &JournalError) {
        if self.is_unwell() {
            return;
        }
        let cause = err.cause();
        self.begin(chain(err), cause.map_or(disk::SLOW, disk::advice));
    }

    /// A line of what had left, or leaves all the same, is not in the journal.
    pub(super) fn lacks_line(&self) {
        self.unwritten.fetch_add(1, Ordering::Relaxed);
    }

    fn begin(&self, why: String, action: &'static str) {
        let mut state = self.lock();
        if state.trouble.is_some() {
            return;
        }
        tracing::error!(
            folder = %self.folder.display(), why, action,
            "THE ORDER JOURNAL CANNOT BE WRITTEN: placements and changes are refused (503 journal_unavailable, not_sent) until \
             it can; cancels, DELETE /positions and the kill switch are sent all the same"
        );
        state.trouble = Some(DiskTrouble { since: Instant::now(), why, action });
        self.is_unwell.store(true, Ordering::Relaxed);
    }

    /// How it would be over now, if a line gets in.
    pub(super) fn would_be_over(&self) -> Option<Over> {
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        self.lock().trouble.as_ref().map(|trouble| Over {
            lasted: trouble.since.elapsed(),
            why: trouble.why.clone(),
            unwritten,
        })
    }

    /// A line got in.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        let Some(trouble) = state.trouble.take() else { return };
        let unwritten = self.unwritten.swap(0, Ordering::Relaxed);
        self.is_unwell.store(false, Ordering::Relaxed);
        tracing::warn!(
            folder = %self.folder.display(), lasted = ?trouble.since.elapsed(), unwritten,
            "the order journal is written again: placements and changes are sent"
        );
    }

    /// Look how much room there is. `a_day` is how much the journal writes in one. May a line be tried?
    pub(super) fn look_at_room(&self, a_day: u64) -> bool {
        let Some(room) = Room::of(&self.folder) else { return true };
        let is_low = room.is_low(a_day);
        let was_low = {
            let mut state = self.lock();
            state.room = Some(room);
            std::mem::replace(&mut state.is_low, is_low)
        };
        if is_low != was_low {
            let (folder, bytes, files) = (self.folder.display(), room.bytes, room.files);
            if is_low {
                tracing::warn!(%folder, bytes, files, "room runs low on the disk of the order journal; when it is gone, \
                    placements and changes are refused. Free some there: `df -h` and `df -i` show it");
            } else {
                tracing::info!(%folder, bytes, files, "there is room again on the disk of the order journal");
            }
        }
        if room.is_none() {
            self.begin(no_room(&room), disk::FREE_ROOM);
        }
        !room.is_none()
    }

    /// What is wrong, and what to do, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.as_ref().map(|trouble| format!("{}; {}", trouble.why, trouble.action))
    }

    pub(super) fn room(&self) -> Option<Room> {
        self.lock().room
    }

    /// Does room run low? In a sentence.
    pub(super) fn low(&self) -> Option<String> {
        let state = self.lock();
        let room = state.room.filter(|_| state.is_low)?;
        let files = room.files.filter(|files| *files < FEW_FILES);
        let files = files.map(|files| format!(" and for {files} files")).unwrap_or_default();
        Some(format!(
            "room runs low on the disk of the order journal: {} KiB{files} are left in {}",
            room.bytes / 1024,
            self.folder.display()
        ))
    }
}

fn no_room(room: &Room) -> String {
    match room.files {
        Some(0) => "no more files can be made on the disk of the order journal".to_owned(),
        Some(_) | None => format!("the disk of the order journal is full ({} bytes are left)", room.bytes),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn room(bytes: u64, total: u64, files: Option<u64>) -> Room {
        Room { bytes, files, total }
    }

    /// A warning that is always there is read by nobody, and one that comes with the last byte is none.
    #[test]
    fn room_is_low_before_it_is_gone_and_not_on_every_small_disk() {
        let disk = 100 * 1024 * MIB;
        assert!(!room(65 * MIB, disk, None).is_low(MIB));
        assert!(room(63 * MIB, disk, None).is_low(MIB));
        assert!(room(90 * MIB, disk, None).is_low(50 * MIB), "two days of a busy journal");
        assert!(!room(5 * MIB, 16 * MIB, None).is_low(MIB));
        assert!(room(3 * MIB, 16 * MIB, None).is_low(MIB));
        assert!(room(disk, disk, Some(10)).is_low(0) && !room(disk, disk, Some(10_000)).is_low(0));
        assert!(room(0, disk, None).is_none() && room(MIB, disk, Some(0)).is_none());
        assert!(!room(MIB, disk, None).is_none());
    }

    #[test]
    fn a_trouble_begins_once_and_ends_once() {
        let health = JournalHealth::new(Path::new("/nowhere"));
        assert!(health.trouble().is_none() && health.would_be_over().is_none());
        let full = || JournalError::io("append to", Path::new("/nowhere"))(Errno::ENOSPC.into());
        health.failed(&full());
        health.lacks_line();
        health.failed(&JournalError::io("append to", Path::new("/nowhere"))(Errno::EIO.into()));
        let told = health.trouble().unwrap();
        assert!(told.contains("/nowhere") && told.contains("df -h"), "{told}");
        assert_eq!(health.would_be_over().unwrap().unwritten, 1);
        health.ended();
        assert!(!health.is_unwell() && health.trouble().is_none());
        health.failed(&JournalError::io("append to", Path::new("/nowhere"))(Errno::EROFS.into()));
        assert!(health.trouble().unwrap().contains("read-only"));
        assert_eq!(health.would_be_over().unwrap().unwritten, 0);
    }
}
