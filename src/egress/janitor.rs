//! Idle connections that the broker closes are let go of when it does, and not when they are looked at next:
//! a socket that only we hold open costs the broker and us memory, and tells nobody anything. So are those that
//! nobody has used for `egress.idle_timeout`, at twice that time at the latest.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use tokio::sync::mpsc;

use super::lease::HttpConnection;
use super::pool::{IdleBounds, Pool};
use crate::domain::BootInstant;
use crate::domain::tasks::Tasks;

/// Where pools say that something came on a connection of theirs.
#[derive(Clone, Debug)]
pub(super) struct Janitor {
    stirred: mpsc::UnboundedSender<Arc<PoolWaker>>,
}

/// A pool's waker. It is on the way at most once, so the channel holds no more than there are pools.
#[derive(Debug)]
struct PoolWaker {
    pool: Weak<Pool<HttpConnection>>,
    notified: AtomicBool,
    /// Stands in the janitor's list of those to be looked at. His alone.
    listed: AtomicBool,
    stirred: mpsc::UnboundedSender<Arc<Self>>,
}

impl Wake for PoolWaker {
    fn wake(self: Arc<Self>) {
        if !self.notified.swap(true, Ordering::AcqRel) {
            let _ = self.stirred.send(Arc::clone(&self));
        }
    }
}

async fn until(at: Option<BootInstant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.instant()).await,
        None => std::future::pending().await,
    }
}

impl Janitor {
    /// At work until `tasks` stop.
    pub(super) fn start(tasks: &Tasks) -> Self {
        let (stirred, mut inbox) = mpsc::unbounded_channel::<Arc<PoolWaker>>();
        let stopping = tasks.clone();
        tasks.spawn(async move {
            // In the order of their times, but for those of before a reload that made it shorter.
            let mut list: VecDeque<(BootInstant, Arc<PoolWaker>)> = VecDeque::new();
            loop {
                let next = list.front().map(|(at, _)| *at);
                let stir = tokio::select! {
                    stir = inbox.recv() => stir,
                    () = until(next) => list.pop_front().map(|(_, stir)| {
                        stir.listed.store(false, Ordering::Relaxed);
                        stir
                    }),
                    () = stopping.stopping() => return,
                };
                let Some(stir) = stir else { return };
                // Before it is looked at: what comes from here on is told again.
                stir.notified.store(false, Ordering::Release);
                let Some(pool) = stir.pool.upgrade() else { continue };
                let now = BootInstant::now();
                pool.expire(now);
                if !stir.listed.load(Ordering::Relaxed)
                    && let Some(at) = pool.look_again(now)
                {
                    stir.listed.store(true, Ordering::Relaxed);
                    list.push_back((at, stir));
                }
            }
        });
        Self { stirred }
    }

    /// A pool that is looked after.
    pub(super) fn pool(&self, bounds: Arc<IdleBounds>) -> Arc<Pool<HttpConnection>> {
        Arc::new_cyclic(|pool| {
            let (pool, stirred) = (Weak::clone(pool), self.stirred.clone());
            Pool::new(
                bounds,
                Waker::from(Arc::new(PoolWaker {
                    pool,
                    notified: AtomicBool::new(false),
                    listed: AtomicBool::new(false),
                    stirred,
                })),
            )
        })
    }
}
