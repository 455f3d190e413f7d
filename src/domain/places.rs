//! Places for connections that others open to us: how many there may be, and who goes first when they run short.
//!
//! Every connection costs a file descriptor, of which a process has so many. So each door has so many places, all
//! doors of a house together have so many, and what is left of the descriptors is for what the house exists for.
//!
//! While there is room nobody is sent away: engines open connections ahead and leave them idle, and that is a good
//! thing to do. When somebody comes and there is none, room is made:
//! - by strangers, who have not shown who they are in the time that they were given: of the peer that has most of them
//!   the oldest first. While one may still turn out to be somebody it is waited for, and nobody else goes;
//! - where there are no strangers, by the one who has been idle for the longest, for `IDLE_FOR` at least;
//! - where nobody is idle either, by the oldest of those who only listen: a stream has no end of its own, and whoever
//!   listens opens it anew. They may have half of a door's places at the most, or they would keep out who has to act.
//!
//! Whoever is busy stays: a request that is under way, a tunnel and a WebSocket are never ended for this.
//!
//! What a connection does to its own state on an order's way is one store to memory of its own.

mod make_room;
mod permit;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock::lock;

pub use make_room::Crowd;
pub use permit::{PermitHandle, Standing};

/// All places of a process for one purpose.
#[derive(Debug)]
pub struct ConnectionLimit {
    most: usize,
    began: Instant,
    inside: Mutex<HashMap<u64, Arc<Spot>>>,
    next: AtomicU64,
    freed: Notify,
    doors: Mutex<Vec<Weak<ListenerLimit>>>,
}

/// One way in, with places of its own among those of the house.
#[derive(Debug)]
pub struct ListenerLimit {
    house: Arc<ConnectionLimit>,
    most: AtomicUsize,
    taken: AtomicUsize,
}

/// A caller who wants a connection.
#[derive(Clone, Copy, Debug)]
pub struct NewCaller {
    /// From where; `None` from this host.
    pub peer: Option<IpAddr>,
    /// How long it has to show who it is, when others need its place.
    pub grace: Duration,
}

/// A connection's place, until it is dropped. As it begins it is a stranger's.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<Spot>);

#[derive(Debug)]
struct Spot {
    doorway: Arc<ListenerLimit>,
    number: u64,
    comer: NewCaller,
    /// What it is, in the low bits, and since when, in milliseconds of the house.
    state: AtomicU64,
    /// When it was requested to close, in milliseconds of the house and one more; 0: it was not.
    close_requested: AtomicU64,
    waker: AtomicWaker,
}

const STRANGER: u64 = 0;
const IDLE: u64 = 1;
const BUSY: u64 = 2;
const LISTENS: u64 = 3;
const KIND: u64 = 3;

impl Spot {
    /// What it is, and since when.
    fn is(&self) -> (u64, u64) {
        let state = self.state.load(Ordering::Acquire);
        (state & KIND, state >> 2)
    }

    /// When it was requested to close, if it was.
    fn close_requested_at(&self) -> Option<u64> {
        self.close_requested.load(Ordering::Acquire).checked_sub(1)
    }

    fn is_busy(&self) {
        self.state.store(BUSY, Ordering::Release);
    }

    fn is_idle(&self) {
        self.state.store(self.doorway.house.now() << 2 | IDLE, Ordering::Release);
    }

    fn request_close(&self, now: u64) {
        self.close_requested.store(now.saturating_add(1), Ordering::Release);
        self.waker.wake();
    }
}

impl ConnectionLimit {
    /// With room for so many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            began: Instant::now(),
            inside: Mutex::default(),
            next: AtomicU64::new(0),
            freed: Notify::new(),
            doors: Mutex::default(),
        })
    }

    /// How many may come in by its doors together.
    pub fn most(&self) -> usize {
        let mut doors = lock(&self.doors);
        doors.retain(|door| door.strong_count() > 0);
        let each = doors.iter().filter_map(Weak::upgrade).map(|door| door.most.load(Ordering::Relaxed));
        each.fold(0, usize::saturating_add).min(self.most)
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.lock().len()
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Spot>>> {
        lock(&self.inside)
    }
}

impl ListenerLimit {
    /// A way into `house` for at most so many.
    pub fn new(house: &Arc<ConnectionLimit>, most: usize) -> Arc<Self> {
        let door = Arc::new(Self { house: Arc::clone(house), most: most.into(), taken: AtomicUsize::new(0) });
        lock(&house.doors).push(Arc::downgrade(&door));
        door
    }

    /// From now on so many. Whoever is in stays.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.house.freed.notify_waiters();
    }

    /// A place, if there is one.
    pub fn try_take(self: &Arc<Self>, comer: NewCaller) -> Option<ConnectionPermit> {
        let house = &self.house;
        let mut inside = house.lock();
        if self.is_full() || inside.len() >= house.most {
            return None;
        }
        let number = house.next.fetch_add(1, Ordering::Relaxed);
        let spot = Arc::new(Spot {
            doorway: Arc::clone(self),
            number,
            comer: NewCaller { peer: comer.peer.map(whole_site), ..comer },
            state: AtomicU64::new(house.now() << 2 | STRANGER),
            close_requested: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        });
        inside.insert(number, Arc::clone(&spot));
        self.taken.fetch_add(1, Ordering::Relaxed);
        drop(inside);
        Some(ConnectionPermit(spot))
    }

    /// A place; where there is none, once somebody has gone. Cancel-safe.
    pub async fn take(self: &Arc<Self>, comer: NewCaller) -> ConnectionPermit {
        loop {
            let freed = self.house.freed.notified();
            tokio::pin!(freed);
            // Before it is looked: what is freed from here on is heard of.
            freed.as_mut().enable();
            if let Some(place) = self.try_take(comer) {
                return place;
            }
            let again = self.make_room();
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 2)
}

/// Who has one address of IPv6 has all of its /64.
fn whole_site(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(peer) => IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
