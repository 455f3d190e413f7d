//! Exporter: the thread that writes an export after changes.
//!
//! A change makes the table dirty; an export follows a second later, however many
//! changes came between. Where an export takes long (some 700,000 entries take a
//! second or so), the pause grows to 20 times as long, so that exporting never takes
//! more than a twentieth of the time. A failed export is said and tried again.
//!
//! The thread runs only on cores that nobody else needs (`SCHED_IDLE`, sched(7)): orders that
//! share one with it do not wait for the end of its slice. It holds no lock while it works.
//!
//! Not here: the format (`export`).

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

use super::export;
use super::table::Shared;

const SHARE: u32 = 20;

/// Tells the exporter's thread of changes and of the end.
pub(super) struct Exporter {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exporter {
    pub(super) fn start(shared: Arc<Shared>, folder: PathBuf, after: Duration) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let seen = Arc::clone(&signal);
        let thread = std::thread::Builder::new()
            .name("store-export".into())
            .spawn(move || run(&seen, &shared, &folder, after))?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// Something changed: an export is due in a while.
    pub(super) fn changed(&self) {
        let mut state = self.signal.lock();
        if state.dirty_since.is_none() {
            state.dirty_since = Some(Instant::now());
            self.signal.changed.notify_all();
        }
    }

    /// Export what is left and end the thread.
    pub(super) fn finish(mut self) {
        self.signal.lock().closing = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the exporter panicked; the last export may be missing");
        }
    }
}

fn run(signal: &Signal, shared: &Shared, folder: &std::path::Path, after: Duration) {
    give_way();
    let mut pause = after;
    while let Some(closing) = next(signal, pause) {
        let begun = Instant::now();
        match export::write(folder, &shared.sealer, &shared.snapshot()) {
            Ok(_) => pause = after.max(begun.elapsed() * SHARE),
            Err(err) => {
                tracing::error!(folder = %folder.display(), error = %err, "cannot write an export; will try again");
                pause = after.max(Duration::from_millis(100)) * 10;
                if !closing {
                    signal.lock().dirty_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }
}

fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(err) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        // A sandbox may forbid it. Exports are right all the same.
        tracing::debug!(error = %err, "exports of the state run at the priority of all else");
    }
}

/// Wait until an export is due; `None` at the end. The answer says whether it is the last.
fn next(signal: &Signal, pause: Duration) -> Option<bool> {
    let mut state = signal.lock();
    loop {
        let left = state.dirty_since.map(|since| pause.saturating_sub(since.elapsed()));
        match left {
            _ if state.closing => return state.dirty_since.take().map(|_| true),
            Some(Duration::ZERO) => {
                state.dirty_since = None;
                return Some(false);
            }
            Some(left) => {
                state = signal.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => state = signal.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}
