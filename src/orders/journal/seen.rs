//! A second place that knows of the journal: a small file beside its folder.
//!
//! `.head` lies in the folder and goes with it. This file tells that there was a journal when there is none any more,
//! and whether the host went down under the last process. It is written at a start, at a stop and each minute, so it
//! says less than the lines do, and nothing that is not in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::codec::LineHash;
use super::folder::ChainHead;

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct JournalSeen {
    /// The newest line when this was written.
    pub(super) seq: u64,
    /// The hash of the newest line.
    pub(super) hash: String,
    /// The file it is in.
    pub(super) file: Option<String>,
    /// Which run of the host's kernel; `None` where that is not known.
    pub(super) boot: Option<String>,
    /// Did lines wait for the disk?
    pub(super) fsync: bool,
    /// Was it the last thing that the process did?
    pub(super) closed: bool,
    /// When a file was last deleted for its age, by the host's clock.
    pub(super) retired: Option<Date>,
}

/// Where it lies.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.with_extension("seen")
}

/// This run of the kernel.
pub(super) fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

impl JournalSeen {
    /// `None` when there is none, or none that can be read.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(path(folder)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Replaced as a whole, so that a power cut leaves the one or the other.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let path = path(folder);
        let beside = folder.with_extension("seen.new");
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    }

    /// The line that it names.
    pub(super) fn head(&self) -> Option<ChainHead> {
        let hash = LineHash::parse(self.hash.as_bytes())?;
        (self.seq > 0).then_some(ChainHead { seq: self.seq, hash })
    }

    /// Did the host go down under the process that wrote this, with lines that were not on the disk yet?
    pub(super) fn host_went_down(&self, boot: Option<&str>) -> bool {
        !self.closed && !self.fsync && matches!((&self.boot, boot), (Some(then), Some(now)) if then != now)
    }
}
