//! The journal's folder: its files' names, its lock, and the head and reserve beside them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use nix::errno::Errno;

use super::codec::LineHash;

/// The date in UTC.
pub(super) fn date(at: Timestamp) -> Date {
    Offset::UTC.to_datetime(at).date()
}

/// The file of a date.
pub(super) fn name(date: Date) -> String {
    format!("{date}.jsonl")
}

pub(super) fn path(folder: &Path, date: Date) -> PathBuf {
    folder.join(name(date))
}

/// The dates that have a file, oldest first. Whatever else lies there is not ours.
pub(super) fn dates(folder: &Path) -> io::Result<Vec<Date>> {
    let mut dates = Vec::new();
    for entry in fs::read_dir(folder)? {
        let found = entry?.file_name();
        let parsed = found.to_str().and_then(|text| text.strip_suffix(".jsonl")).and_then(|text| text.parse().ok());
        // One date has one spelling.
        dates.extend(parsed.filter(|date| found.to_str() == Some(name(*date).as_str())));
    }
    dates.sort_unstable();
    Ok(dates)
}

/// The folder is ours until this is dropped or the process ends, however it ends. On
/// the folder itself and not on a file in it, which a clean-up could delete.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// # Errors
    /// `None` when somebody else holds it.
    pub(super) fn take(folder: &Path) -> Result<Self, Option<io::Error>> {
        let file = File::open(folder).map_err(Some)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(None),
            Err(TryLockError::Error(err)) => Err(Some(err)),
        }
    }

    /// Is this still the folder of that path?
    pub(super) fn is_at(&self, folder: &Path) -> bool {
        let same = |ours: fs::Metadata, there: fs::Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
        match (self.0.metadata(), fs::metadata(folder)) {
            (Ok(ours), Ok(there)) => same(ours, there),
            (_, Err(err)) => !matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
            (Err(_), Ok(_)) => true,
        }
    }

    /// Make the names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Make the folder, mode 0700, its name durable.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Open a date's file for appending; made, mode 0600, when absent.
pub(super) fn append_to(folder: &Path, date: Date) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path(folder, date))
}

/// Number and hash of a line that was written whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) seq: u64,
    pub(super) hash: LineHash,
}

const HEAD: &str = ".head";
/// 20 digits, a blank, 64 digits, a newline.
const HEAD_BYTES: usize = 20 + 1 + 64 + 1;

impl ChainHead {
    /// `None` when there is none, or none that can be read: it is written in place,
    /// and a power cut may leave anything.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(HEAD)) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == HEAD_BYTES)?;
        let (seq, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { seq: seq.parse().ok()?, hash: LineHash::parse(hash.as_bytes())? })
    }
}

/// The file `.head`, one write in place for each line: always as long, so that it
/// needs no room on the disk.
#[derive(Debug)]
pub(super) struct HeadFile(File);

impl HeadFile {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(HEAD);
        Ok(Self(OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?))
    }

    pub(super) fn is_there(folder: &Path) -> bool {
        folder.join(HEAD).exists()
    }

    pub(super) fn write(&self, head: ChainHead) -> io::Result<()> {
        let mut text = [0_u8; HEAD_BYTES];
        let mut rest = text.as_mut_slice();
        io::Write::write_fmt(&mut rest, format_args!("{:020} {}\n", head.seq, head.hash))?;
        self.0.write_all_at(&text, 0)
    }
}

/// Room on the disk that is given up for outcomes when there is none left. About 1,400 lines.
pub(super) const RESERVE_BYTES: usize = 1024 * 1024;
const RESERVE: &str = ".reserve";

/// Have the reserve. Allocated, not only named.
pub(super) fn make_reserve(folder: &Path) -> io::Result<()> {
    let path = folder.join(RESERVE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    let made = match nix::fcntl::posix_fallocate(&file, 0, RESERVE_BYTES as i64) {
        // A file system that cannot allocate can still be written.
        Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => file.write_all_at(&vec![0; RESERVE_BYTES], 0),
        made => made.map_err(io::Error::from),
    };
    made.inspect_err(|_| {
        // Half a reserve on a full disk would only keep it full.
        let _ = fs::remove_file(&path);
    })
}

/// Can room be had, and a file be made?
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    const PROBE_BYTES: usize = 64 * 1024;
    let path = folder.join(".probe");
    let probed = (|| {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        match nix::fcntl::posix_fallocate(&file, 0, PROBE_BYTES as i64) {
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => file.write_all_at(&vec![0; PROBE_BYTES], 0),
            made => made.map_err(io::Error::from),
        }
    })();
    let removed = fs::remove_file(&path);
    probed.and(removed)
}

/// Give the reserve up. Whether it was there tells whether another try is worth it.
pub(super) fn release_reserve(folder: &Path) -> bool {
    fs::remove_file(folder.join(RESERVE)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_are_files_of_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["2026-11-24.jsonl", "2026-11-23.jsonl", "20261122.jsonl", "a.jsonl", ".head", "2026-11-25.jsonl.gz"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names: Vec<_> = dates(dir.path()).unwrap().into_iter().map(name).collect();
        assert_eq!(names, ["2026-11-23.jsonl", "2026-11-24.jsonl"]);
    }

    #[test]
    fn a_head_is_read_back_and_a_torn_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ChainHead::read(dir.path()).unwrap(), None);
        let head = ChainHead { seq: u64::MAX, hash: LineHash::of(b"x") };
        HeadFile::open(dir.path()).unwrap().write(head).unwrap();
        assert_eq!(ChainHead::read(dir.path()).unwrap(), Some(head));
        fs::write(dir.path().join(HEAD), "0000").unwrap();
        assert_eq!(ChainHead::read(dir.path()).unwrap(), None);
    }
}
