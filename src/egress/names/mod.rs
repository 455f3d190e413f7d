//! Names: which addresses a host has, known before anybody asks.
//!
//! A broken name server must not stop orders to a broker that has not moved. So a dial does not ask name servers: it
//! takes what is known. Each host that is in use has one task, its keeper, which asks anew when the last answer is
//! over, however many dial. What it finds replaces what was known; anything else (silence, an error, "no such
//! record", an address that the guard forbids) leaves the last good answer where it is, for a day from when a name
//! server gave it or a connection proved it (RFC 8767), and is asked again with a growing wait. TLS proves who answers
//! at an old address, so an old one can be dead and never somebody else's.
//!
//! Who dials waits for a name only when nothing is known of it, and at most [`PATIENCE`] when nobody has used it for an
//! hour. A failure is remembered too: while an address is known nobody waits for the same silence twice.
//!
//! A broker that has moved is followed: the keeper asks when the answer's time is over ([`name::TTL_CEILING`] at the latest),
//! and sooner, once in [`name::TTL_FLOOR`], when a dial found an address of it dead, or at once when none is known and somebody
//! wants one.
//!
//! Map: `question` is one question to one server, `servers` all of them in turn, `system` the host's files, `survey` asks all of them, `name` one
//! host's state, `kept` what is known over a restart.
//!
//! Hosts are the broker's and those that the configuration allows, so the table does not grow.

mod family;
mod kept;
mod name;
mod question;
mod servers;
mod survey;
mod system;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::ResolveError;
use crate::domain::tasks::Tasks;
use crate::domain::{Host, lock, stirred};

pub(super) use family::Family;
pub(super) use name::Name;
pub(super) use question::Unusable;
pub(super) use servers::ServerFailures;
pub(super) use survey::survey;
pub(super) use system::Origin;
#[cfg(test)]
pub(super) use system::Servers;

use kept::{KnownHost, KnownHosts, NamesFile};
use name::{Glance, Next};
use servers::NameServers;
use system::Files;
/// How long an old answer is held back for a new one, if nobody has kept it fresh.
const PATIENCE: Duration = Duration::from_millis(800);
/// How often the host's files are looked at while there is no answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// See the module. Shared by all that resolve, over every reload.
#[derive(Debug)]
pub(super) struct Names {
    table: Mutex<HashMap<(Host, Family), Arc<Name>>>,
    servers: NameServers,
    /// Where it is kept over a restart, if it is.
    kept: OnceLock<Arc<NamesFile>>,
    /// Other servers were given.
    reconfigured: Notify,
    tasks: Tasks,
    /// Keepers live here, whichever worker's request made one.
    runtime: Handle,
}

/// Why a lookup that began then gave no address.
fn failed(name: &Name, failure: Option<Arc<ServerFailures>>, began: Instant) -> ResolveError {
    let (host, family) = (name.host(), name.family());
    match failure {
        Some(failure) => ResolveError::of(host, family, &failure),
        None => ResolveError::Late { host: host.clone(), record: family.record(), waited: began.elapsed() },
    }
}

impl Names {
    /// `name_servers` are asked, or the system's where there are none. Within a runtime.
    pub(super) fn new(name_servers: &[SocketAddr], tasks: Tasks) -> Arc<Self> {
        Self::with_files(Files::default(), name_servers, tasks)
    }

    fn with_files(files: Files, name_servers: &[SocketAddr], tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            servers: NameServers::new(files, name_servers.to_vec()),
            kept: OnceLock::new(),
            reconfigured: Notify::new(),
            tasks,
            runtime: Handle::current(),
        })
    }

    /// Know what was known at the end of the last run, and keep what is known in this file. Only the first one counts.
    pub(super) fn keep_in(&self, path: PathBuf) {
        let (kept, entries) = NamesFile::load(path);
        if self.kept.set(Arc::new(kept)).is_ok() {
            for (host, entry) in entries {
                for family in [Family::V6, Family::V4] {
                    if let Some(entry) = entry.of(family) {
                        self.name(&host, family).restore(entry);
                    }
                }
            }
        }
    }

    /// Ask these from now on. What is known stays known.
    pub(super) fn configure(&self, name_servers: &[SocketAddr]) {
        if self.servers.configure(name_servers) {
            self.reconfigured.notify_waiters();
        }
    }

    /// The addresses of `host` that are of this family, by `by`.
    pub(super) async fn lookup(
        self: &Arc<Self>,
        host: &Host,
        family: Family,
        by: Instant,
    ) -> Result<(Arc<Name>, Vec<IpAddr>), ResolveError> {
        let name = self.name(host, family);
        let mut queried = pin!(name.queried.notified());
        // From here on the end of an attempt is not missed.
        queried.as_mut().enable();
        let now = Instant::now();
        let glance = name.glance(now, || self.keep(&name));
        let addresses = match glance {
            Glance::Known(addresses) => Ok(addresses),
            Glance::Failed => {
                // The network may have come up this moment, and nothing leaves without an address: whoever asks waits for
                // another attempt.
                name.is_wanted();
                let _ = timeout_at(by, queried).await;
                name.conclude(Instant::now()).map_err(|failure| failed(&name, failure, now))
            }
            Glance::Querying { for_the_first_time } => {
                // Half of a short deadline, so that what is known is of use.
                let patience = now + PATIENCE.min(by.saturating_duration_since(now) / 2);
                let _ = timeout_at(if for_the_first_time { by } else { patience }, queried).await;
                name.conclude(Instant::now()).map_err(|failure| failed(&name, failure, now))
            }
        };
        addresses.map(|addresses| (Arc::clone(&name), addresses))
    }

    fn name(&self, host: &Host, family: Family) -> Arc<Name> {
        let mut table = lock(&self.table);
        let made = || Arc::new(Name::new(host.clone(), family));
        Arc::clone(table.entry((host.clone(), family)).or_insert_with(made))
    }

    /// Start the keeper of a name that has none.
    fn keep(self: &Arc<Self>, name: &Arc<Name>) {
        let (names, name, mut keeper) = (Arc::clone(self), Arc::clone(name), KeeperGuard(Some(Arc::clone(name))));
        let task = async move {
            tokio::select! {
                () = names.keep_until_unused(&name) => drop(keeper.0.take()),
                () = names.tasks.stopping() => {}
            }
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    async fn keep_until_unused(&self, name: &Name) {
        loop {
            let mut reconfigured = pin!(self.reconfigured.notified());
            // From here on it is not missed.
            reconfigured.as_mut().enable();
            let answer = self.servers.query(name.host(), name.family()).await;
            let failed_servers = answer.as_ref().err().map(|failure| failure.servers.clone());
            let due = name.answered(answer, Instant::now());
            if failed_servers.is_none() {
                self.save().await;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.others_than(failed_servers) => {}
                () = reconfigured => {}
                () = name.doubted() => {}
                // The machine slept: what a timer says of its age is wrong.
                () = stirred::stirred() => {}
            }
            if name.next(Instant::now()) == Next::Sleep {
                return;
            }
        }
    }

    /// Write down what is known, if that is worth it.
    async fn save(&self) {
        let Some(kept) = self.kept.get() else { return };
        let entries: KnownHosts = {
            let table = lock(&self.table);
            let known = table.iter().filter_map(|((host, _), name)| Some((host.as_str().to_owned(), name.entry()?)));
            known.fold(KnownHosts::new(), |mut all, (host, entry)| {
                all.entry(host).and_modify(|both: &mut KnownHost| both.join(&entry)).or_insert(entry);
                all
            })
        };
        if kept.is_news(&entries) {
            let kept = Arc::clone(kept);
            // An error is only the runtime's end.
            let _ = tokio::task::spawn_blocking(move || kept.write(entries)).await;
        }
    }

    /// Resolves when the host's files name other servers than those that failed.
    async fn others_than(&self, failed: Option<system::Servers>) {
        let Some(failed) = failed else { return std::future::pending().await };
        loop {
            sleep(LOOK_AGAIN).await;
            if self.servers.servers().await.is_other_than(&failed) {
                return;
            }
        }
    }
}

/// A keeper. If it ends at its work, whatever the reason, nobody waits for it any longer and another one may begin.
struct KeeperGuard(Option<Arc<Name>>);

impl Drop for KeeperGuard {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            name.left_alone();
        }
    }
}

#[cfg(test)]
mod tests;
