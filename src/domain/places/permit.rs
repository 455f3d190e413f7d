//! A connection's own place: what it says of itself, and that it is given back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::{BUSY, ConnectionPermit, KIND, LISTENS, STRANGER, Spot};

/// Says of a place what it is, for what its connection does in other tasks. It does not hold the place.
#[derive(Clone, Debug)]
pub struct PermitHandle(Arc<Spot>);

impl PermitHandle {
    /// As [`ConnectionPermit::is_busy`].
    pub fn is_busy(&self) {
        self.0.is_busy();
    }

    /// As [`ConnectionPermit::is_idle`].
    pub fn is_idle(&self) {
        self.0.is_idle();
    }
}

impl ConnectionPermit {
    /// To say from elsewhere what it is.
    pub fn handle(&self) -> PermitHandle {
        PermitHandle(Arc::clone(&self.0))
    }

    /// Something is under way from now on: it stays.
    pub fn is_busy(&self) {
        self.0.is_busy();
    }

    /// Whoever it is has shown who that is, and waits.
    pub fn is_idle(&self) {
        self.0.is_idle();
    }

    /// It only listens from now on, without end. Has another one to go for it, since too many do?
    pub fn listens(&self) -> bool {
        self.0.state.store(self.0.doorway.house.now() << 2 | LISTENS, Ordering::Release);
        self.0.doorway.keep_listeners_to_half()
    }

    /// What it is, to be given back with [`ConnectionPermit::is_again`].
    pub fn standing(&self) -> Standing {
        Standing(self.0.state.load(Ordering::Acquire))
    }

    /// As it was: what was under way has shown nothing.
    pub fn is_again(&self, standing: Standing) {
        self.0.state.store(standing.0, Ordering::Release);
    }

    /// Is it to make room as soon as nothing is under way?
    pub fn must_close(&self) -> bool {
        self.0.close_requested_at().is_some()
    }

    /// Until it is to make room. For one task at a time. Cancel-safe.
    pub async fn close_requested(&self) {
        std::future::poll_fn(|cx| {
            self.0.waker.register(cx.waker());
            if self.0.close_requested_at().is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let house = &self.0.doorway.house;
        let mut inside = house.lock();
        // Which ends the circle of these.
        inside.remove(&self.0.number);
        self.0.doorway.taken.fetch_sub(1, Ordering::Relaxed);
        drop(inside);
        house.freed.notify_waiters();
    }
}

/// What a place was.
#[derive(Clone, Copy, Debug)]
pub struct Standing(u64);

impl Standing {
    /// Is something under way?
    pub const fn is_busy(self) -> bool {
        self.0 & KIND == BUSY
    }

    /// Does it only listen?
    pub const fn is_listeners(self) -> bool {
        self.0 & KIND == LISTENS
    }

    /// Had whoever it is not shown who that is?
    pub const fn is_strangers(self) -> bool {
        self.0 & KIND == STRANGER
    }
}
