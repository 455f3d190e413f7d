//! Tracked tasks: nothing is spawned that is not waited for at the end.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The running tasks of the process and the wish that they stop.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    running: TaskTracker,
    stop: CancellationToken,
}

/// How [`Tasks::stop`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every task finished by itself.
    Clean,
    /// The grace period ended with this many tasks still at work.
    Cut {
        /// How many tasks were cut off.
        left: usize,
    },
}

impl Tasks {
    /// Run a task that [`Tasks::stop`] waits for.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.running.spawn(task)
    }

    /// Run a task on another runtime than this one.
    pub fn spawn_on<F>(&self, task: F, runtime: &tokio::runtime::Handle) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.running.spawn_on(task, runtime)
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Resolves when the process is to stop: accept loops end, keep-alive is
    /// turned off. Cancel-safe.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Has the process been told to stop?
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tell every task to finish, wait up to `grace`, then say what was cut off.
    pub async fn stop(&self, grace: Duration) -> Stopped {
        self.stop.cancel();
        self.running.close();
        match tokio::time::timeout(grace, self.running.wait()).await {
            Ok(()) => Stopped::Clean,
            Err(_) => Stopped::Cut { left: self.running.len() },
        }
    }
}
