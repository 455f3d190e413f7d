//! Writing aside: while the disk is slow, lines are written by a thread of their own, and whoever needs them waits
//! without holding up a worker.
//!
//! As long as the disk is fast, which is nearly always, who has a line writes it itself: handing it over would cost two
//! wake-ups an order. A write that took long, or somebody else's that goes on and on, turns that around until the disk
//! has been fast for a while. So a disk that hangs holds the one worker that met it first, and no other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::oneshot;

use super::batch::{AppendResult, LineBatch};
use super::keep::Core;
use super::pace::SLOW;
/// Lines that may wait. When it is full, who comes is told that the line was not written.
const WAITING: usize = 4096;
/// Jobs that are written together.
const TOGETHER: usize = 256;

/// Lines to be written, and who waits for the first of them.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) batch: LineBatch,
    pub(super) done: Option<oneshot::Sender<AppendResult>>,
}

/// The thread that writes, until it is dropped; what waits is written first.
#[derive(Debug)]
pub(super) struct Aside {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Aside {
    pub(super) fn start(core: Arc<Core>) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("journal-write".to_owned()).spawn(move || run(&core, &jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// # Errors
    /// The job, when too many wait.
    pub(super) fn write(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(queue) = &self.queue else { return Err(Box::new(job)) };
        queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}

impl Aside {
    /// Write what waits, and end.
    pub(super) fn finish(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(core: &Core, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let (mut batch, mut waiting) = (LineBatch::default(), Vec::new());
        let more = std::iter::from_fn(|| jobs.try_recv().ok());
        for job in std::iter::once(first).chain(more).take(TOGETHER) {
            batch.take_over(job.batch, job.done, &mut waiting);
        }
        let begun = Instant::now();
        let outcomes = core.lock().append_all(&batch);
        let took = begun.elapsed();
        for (waiting, outcome) in waiting.into_iter().zip(outcomes) {
            // Who has gone has said so in a line of its own.
            let _ = waiting.map(|waiting| waiting.send(outcome));
        }
        if took > SLOW {
            core.pace.is_held();
        } else {
            core.pace.fast_at(core.pace.now());
        }
    }
}
