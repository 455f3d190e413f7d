//! The last good answers over a restart: `names.json` in the state folder, for a host whose name service is dead when
//! it boots.
//!
//! It is a help and nothing relies on it: it is written beside its place and renamed, not synced, and a file that cannot
//! be read or written is as none. The guard is asked anew about what is read from it, and that is old at once: it serves
//! only while no name server says anything better, and TLS proves who answers there.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::family::Family;
use crate::domain::Host;
use crate::domain::lock;
use crate::egress::guard;

/// An answer that is the same is written anew no more often than this.
const AT_MOST_EVERY: Duration = Duration::from_secs(3600);

/// What the file has of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownHost {
    pub addresses: Vec<IpAddr>,
    /// When a name server gave them or a connection proved them, in seconds since 1970.
    pub at: u64,
}

impl KnownHost {
    /// What of it is of one family, if anything is.
    pub(super) fn of(&self, family: Family) -> Option<Self> {
        let addresses: Vec<_> = self.addresses.iter().copied().filter(|at| family.has(*at)).collect();
        (!addresses.is_empty()).then_some(Self { addresses, at: self.at })
    }

    /// The other family's addresses too; the whole is as old as the older of both.
    pub(super) fn join(&mut self, other: &Self) {
        self.addresses.extend(&other.addresses);
        self.addresses.sort_unstable();
        self.at = self.at.min(other.at);
    }
}

/// Every host that was known.
pub(super) type KnownHosts = BTreeMap<String, KnownHost>;

/// The file, and what it has.
#[derive(Debug)]
pub(super) struct NamesFile {
    path: PathBuf,
    written: Mutex<KnownHosts>,
}

impl NamesFile {
    /// What is in the file at `path`, and that file from now on.
    pub(super) fn load(path: PathBuf) -> (Self, Vec<(Host, KnownHost)>) {
        let mut entries = read(&path).unwrap_or_else(|err| {
            if err.kind() != io::ErrorKind::NotFound {
                tracing::info!(path = %path.display(), error = %err, "the addresses kept from the last run cannot be read; they are looked up anew");
            }
            KnownHosts::new()
        });
        // Written while the clock was ahead, or it is behind now: either way its age is not known, and an age of
        // nothing would last.
        let now = now();
        entries.values_mut().for_each(|entry| entry.at = entry.at.min(now));
        let good = entries.iter().filter_map(|(host, entry)| {
            let addresses: Vec<_> =
                entry.addresses.iter().copied().filter(|at| guard::forbidden(*at).is_none()).collect();
            let host = Host::parse(host).ok().filter(|_| !addresses.is_empty())?;
            Some((host, KnownHost { addresses, at: entry.at }))
        });
        let good = good.collect();
        (Self { path, written: Mutex::new(entries) }, good)
    }

    /// Is there anything in these that is worth a write?
    pub(super) fn is_news(&self, entries: &KnownHosts) -> bool {
        let written = lock(&self.written);
        entries.iter().any(|(host, entry)| match written.get(host) {
            Some(old) => old.addresses != entry.addresses || old.at.saturating_add(AT_MOST_EVERY.as_secs()) <= entry.at,
            None => true,
        })
    }

    /// Write the file anew. Blocks.
    pub(super) fn write(&self, entries: KnownHosts) {
        let mut written = lock(&self.written);
        if let Err(err) = replace(&self.path, &entries) {
            tracing::debug!(path = %self.path.display(), error = %err, "the addresses of hosts are not kept over a restart");
        }
        // Also when it failed: a full disk is not tried again for each answer.
        *written = entries;
    }
}

/// Seconds since 1970, by this host's clock.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn read(path: &Path) -> io::Result<KnownHosts> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn replace(path: &Path, entries: &KnownHosts) -> io::Result<()> {
    let draft = path.with_extension("json.new");
    let written = std::fs::write(&draft, serde_json::to_vec_pretty(entries)?);
    written.and_then(|()| std::fs::rename(&draft, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}
