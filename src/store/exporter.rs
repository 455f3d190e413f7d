//! Exporter: the thread that writes an export after changes.
//!
//! A change makes the table dirty; an export follows a second later, however many
//! changes came between. Where an export takes long (some 700,000 entries take a
//! second or so), the pause grows to 20 times as long, so that exporting takes no more
//! than a twentieth of the time, but to no more than a minute. A failed export is said
//! and tried again.
//!
//! The thread runs only on cores that nobody else needs (`SCHED_IDLE`, sched(7)): orders that
//! share one with it do not wait for the end of its slice. It holds no lock while it works.
//! The last export, which somebody waits for, is made by the thread that closes the store.
//!
//! Not here: the format (`export`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::export;
use super::table::Shared;
use crate::domain::lock;
use crate::domain::priority;

const SHARE: u32 = 20;
/// On busy cores an export may take long, and the one before it is old meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tells the exporter's thread of changes and of the end.
pub(super) struct Exporter {
    shared: Arc<Shared>,
    folder: PathBuf,
    signal: Arc<Signal>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    dirty_since: Option<Instant>,
    closing: bool,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Exporter {
    pub(super) fn start(shared: Arc<Shared>, folder: PathBuf, after: Duration) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let (signal_of, shared_of, folder_of) = (Arc::clone(&signal), Arc::clone(&shared), folder.clone());
        let thread = std::thread::Builder::new()
            .name("store-export".into())
            .spawn(move || run(&signal_of, &shared_of, &folder_of, after))?;
        Ok(Self { shared, folder, signal, thread })
    }

    /// Something changed: an export is due in a while.
    pub(super) fn changed(&self) {
        let mut state = self.signal.lock();
        if state.dirty_since.is_none() {
            state.dirty_since = Some(Instant::now());
            self.signal.changed.notify_all();
        }
    }

    /// End the thread and export what is left.
    pub(super) fn finish(self) {
        self.signal.lock().closing = true;
        self.signal.changed.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the exporter panicked; exports may be missing");
        }
        if self.signal.lock().dirty_since.is_some()
            && let Err(err) = export::write(&self.folder, &self.shared.sealer, &self.shared.snapshot())
        {
            tracing::error!(folder = %self.folder.display(), error = %err, "cannot write the last export");
        }
    }
}

fn run(signal: &Signal, shared: &Shared, folder: &Path, after: Duration) {
    priority::give_way_to_all();
    let mut pause = after;
    let mut fails = false;
    while is_due(signal, pause) {
        let begun = Instant::now();
        match export::write(folder, &shared.sealer, &shared.snapshot()) {
            Ok(_) => {
                pause = after.max((begun.elapsed() * SHARE).min(LONGEST_PAUSE));
                if std::mem::take(&mut fails) {
                    tracing::info!(folder = %folder.display(), "exports are written again");
                }
            }
            Err(err) => {
                // Once: a full disk has a thousand tries.
                if !std::mem::replace(&mut fails, true) {
                    tracing::error!(folder = %folder.display(), error = %err, "cannot write an export; will try again");
                }
                pause = after.max(Duration::from_millis(100)) * 10;
                signal.lock().dirty_since.get_or_insert_with(Instant::now);
            }
        }
    }
}

/// Wait until an export is due; `false` at the end.
fn is_due(signal: &Signal, pause: Duration) -> bool {
    let mut state = signal.lock();
    loop {
        let left = state.dirty_since.map(|since| pause.saturating_sub(since.elapsed()));
        match left {
            _ if state.closing => return false,
            Some(Duration::ZERO) => {
                state.dirty_since = None;
                return true;
            }
            Some(left) => {
                state = signal.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => state = signal.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}
