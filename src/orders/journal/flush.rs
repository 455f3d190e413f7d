//! Syncing to disk, off the runtime's workers: many lines with one sync.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::domain::lock;

use tokio::sync::oneshot;

type FlushDone = oneshot::Sender<Result<(), Arc<io::Error>>>;

/// A sync that takes longer than this is not waited for by others.
const HANGS: Duration = Duration::from_secs(2);

/// One thread that syncs what others wrote. Those who ask while it syncs wait for the
/// next sync together. As many can wait as there are orders in flight.
#[derive(Debug)]
pub(super) struct Flusher {
    shared: Arc<FlushShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct FlushShared {
    queue: Mutex<FlushQueue>,
    requested: Condvar,
}

#[derive(Debug, Default)]
struct FlushQueue {
    /// The file of the newest line that somebody waits for. Older files are synced
    /// before there is a newer one.
    file: Option<(u64, Arc<File>)>,
    waiting: Vec<FlushDone>,
    closed: bool,
    /// When the sync under way began.
    syncing_since: Option<Instant>,
}

impl Flusher {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(FlushShared { queue: Mutex::default(), requested: Condvar::new() });
        let thread = std::thread::Builder::new().name("journal-sync".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Does a sync hang? Then nothing more is asked of it: who asks would only wait too.
    pub(super) fn hangs(&self) -> bool {
        self.shared.lock().syncing_since.is_some_and(|since| since.elapsed() > HANGS)
    }

    /// Ask for line `seq`, which was written to `file`, to be synced.
    pub(super) fn request(&self, seq: u64, file: Arc<File>) -> oneshot::Receiver<Result<(), Arc<io::Error>>> {
        let (done, wait) = oneshot::channel();
        let mut queue = self.shared.lock();
        if queue.file.as_ref().is_none_or(|(newest, _)| *newest < seq) {
            queue.file = Some((seq, file));
        }
        queue.waiting.push(done);
        drop(queue);
        self.shared.requested.notify_one();
        wait
    }
}

impl Drop for Flusher {
    /// Whoever waits is answered first.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.requested.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

impl FlushShared {
    fn lock(&self) -> MutexGuard<'_, FlushQueue> {
        lock(&self.queue)
    }

    fn run(&self) {
        loop {
            let mut queue = self.lock();
            while queue.waiting.is_empty() && !queue.closed {
                queue = self.requested.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let waiting = std::mem::take(&mut queue.waiting);
            let file = queue.file.take();
            queue.syncing_since = Some(Instant::now());
            drop(queue);
            if waiting.is_empty() {
                return;
            }
            let synced = file.map_or(Ok(()), |(_, file)| file.sync_data()).map_err(Arc::new);
            self.lock().syncing_since = None;
            for done in waiting {
                // The caller may have stopped waiting.
                let _ = done.send(synced.clone());
            }
        }
    }
}
