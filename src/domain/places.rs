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

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::Poll;
use std::time::Duration;

use super::lock::lock;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection is idle at least before it makes room.
const IDLE_FOR: Duration = Duration::from_secs(1);
/// When to look again where nobody may be told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long whoever was told to go may take before another one is told.
const LEAVING: Duration = Duration::from_millis(200);
/// Of so many strangers one goes at a time; with more of them, so many at once, or who comes waits for each.
const AT_ONCE: usize = 64;

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
    /// When it was told to go, in milliseconds of the house and one more; 0: it was not.
    told: AtomicU64,
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

    /// When it was told to go, if it was.
    fn told(&self) -> Option<u64> {
        self.told.load(Ordering::Acquire).checked_sub(1)
    }

    fn is_busy(&self) {
        self.state.store(BUSY, Ordering::Release);
    }

    fn is_idle(&self) {
        self.state.store(self.doorway.house.now() << 2 | IDLE, Ordering::Release);
    }

    fn tell(&self, now: u64) {
        self.told.store(now.saturating_add(1), Ordering::Release);
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
            told: AtomicU64::new(0),
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

    /// Tell somebody to go, if anybody may be told. When to look again.
    fn make_room(&self) -> Duration {
        self.make_room_at(self.house.now(), Whom::Anybody)
    }

    /// Tell a stranger to go, if there is one: his descriptor is needed, and nobody's who is known.
    pub fn send_a_stranger_away(&self) {
        self.make_room_at(self.house.now(), Whom::Strangers);
    }

    fn make_room_at(&self, now: u64, whom: Whom) -> Duration {
        let inside = self.house.lock();
        // Where it is this door that is full, nobody of another one helps.
        let full = self.is_full();
        let left = |since: u64, time: Duration| Duration::from_millis((since + millis(time)).saturating_sub(now));
        let (mut strangers, mut idle, mut listens, mut leaving) = (Vec::new(), None, None, false);
        for spot in inside.values().filter(|spot| !full || std::ptr::eq(&*spot.doorway, self)) {
            match (spot.is(), spot.told()) {
                ((BUSY, _), _) => {}
                // Who does not read keeps his place for a moment longer, and nobody waits for that.
                (_, Some(told)) => leaving |= !left(told, LEAVING).is_zero(),
                ((STRANGER, since), None) => strangers.push((left(since, spot.comer.grace), since, spot)),
                ((LISTENS, _), None) => oldest(&mut listens, spot),
                (_, None) => oldest(&mut idle, spot),
            }
        }
        if leaving {
            return LEAVING;
        }
        let Some(soonest) = strangers.iter().map(|(left, ..)| *left).min() else {
            let Some(spot) = idle.or(listens).filter(|_| whom == Whom::Anybody) else { return LOOK_AGAIN };
            let left = left(spot.is().1, IDLE_FOR);
            if left.is_zero() {
                spot.tell(now);
            }
            return left.max(LEAVING);
        };
        if !soonest.is_zero() {
            return soonest;
        }
        let go = strangers.len() / AT_ONCE + 1;
        let mut of_peer = HashMap::<_, usize>::new();
        for (.., spot) in &strangers {
            *of_peer.entry(spot.comer.peer).or_default() += 1;
        }
        strangers.retain(|(left, ..)| left.is_zero());
        strangers.sort_by_key(|(_, since, spot)| (Reverse(of_peer.get(&spot.comer.peer).copied()), *since));
        strangers.iter().take(go).for_each(|(.., spot)| spot.tell(now));
        LEAVING
    }

    /// How its places are taken: those of the house where it is the house that is full.
    pub fn crowd(&self) -> Crowd {
        let inside = self.house.lock();
        let full = self.is_full();
        let here = || inside.values().filter(|spot| !full || std::ptr::eq(&*spot.doorway, self));
        let busy = here().filter(|spot| spot.is().0 == BUSY).count();
        let most = if full { self.most.load(Ordering::Relaxed) } else { self.house.most };
        Crowd { most, taken: here().count(), busy }
    }

    /// Over half of the places for those who only listen? Then the oldest of them goes. Was it told?
    fn keep_listeners_to_half(&self) -> bool {
        let inside = self.house.lock();
        let (mut first, mut count) = (None, 0);
        let here = inside.values().filter(|spot| std::ptr::eq(&*spot.doorway, self) && spot.told().is_none());
        for spot in here.filter(|spot| spot.is().0 == LISTENS) {
            oldest(&mut first, spot);
            count += 1;
        }
        let most = self.most.load(Ordering::Relaxed).min(self.house.most);
        match first.filter(|_| count > (most / 2).max(1)) {
            Some(spot) => spot.tell(self.house.now()),
            None => return false,
        }
        true
    }

    fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed)
    }
}

/// How places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// How many there are.
    pub most: usize,
    /// How many are taken.
    pub taken: usize,
    /// By how many who are busy, and stay.
    pub busy: usize,
}

/// Of two the one that has been what it is for longer.
fn oldest<'s>(so_far: &mut Option<&'s Arc<Spot>>, spot: &'s Arc<Spot>) {
    // Of the same moment whoever came first.
    if so_far.is_none_or(|oldest| (spot.is().1, spot.number) < (oldest.is().1, oldest.number)) {
        *so_far = Some(spot);
    }
}

/// Says of a place what it is, for what its connection does in other tasks. It does not hold the place.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Spot>);

impl Handle {
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
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.0))
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
    pub fn is_told_to_go(&self) -> bool {
        self.0.told().is_some()
    }

    /// Until it is to make room. For one task at a time. Cancel-safe.
    pub async fn told_to_go(&self) {
        std::future::poll_fn(|cx| {
            self.0.waker.register(cx.waker());
            if self.0.told().is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Who may be told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Strangers,
    Anybody,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 2)
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

/// Who has one address of IPv6 has all of its /64.
fn whole_site(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(peer) => IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;

    use super::*;

    const GRACE: Duration = Duration::from_secs(1);
    /// Somebody.
    const ONE: NewCaller = NewCaller { peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))), grace: GRACE };

    fn told(places: &[ConnectionPermit]) -> usize {
        places.iter().filter(|place| place.is_told_to_go()).count()
    }

    /// Places of one peer, that are this since then.
    fn fill(door: &Arc<ListenerLimit>, count: usize, kind: u64, since: u64) -> Vec<ConnectionPermit> {
        let places: Vec<_> = (0..count).map(|_| door.try_take(ONE).unwrap()).collect();
        places.iter().for_each(|place| place.0.state.store(since << 2 | kind, Ordering::Relaxed));
        places
    }

    #[test]
    fn fewer_places_count_when_those_who_have_one_go() {
        let door = ListenerLimit::new(&ConnectionLimit::new(100), 3);
        let mut taken = fill(&door, 3, BUSY, 0);
        door.resize(1);
        for left in ["two are still open, and one is allowed", "one is still open, and one is allowed"] {
            drop(taken.pop());
            assert!(door.try_take(ONE).is_none(), "{left}");
        }
        drop(taken.pop());
        let one = door.try_take(ONE).unwrap();
        assert!(door.try_take(ONE).is_none());
        door.resize(2);
        assert!(door.try_take(ONE).is_some());
        drop(one);
    }

    /// However many each door may take in, what the house has left is for what it exists for.
    #[test]
    fn all_doors_together_take_in_what_the_house_holds() {
        let house = ConnectionLimit::new(3);
        let (one, other) = (ListenerLimit::new(&house, 2), ListenerLimit::new(&house, 2));
        let (first, _second) = (one.try_take(ONE).unwrap(), one.try_take(ONE).unwrap());
        assert!(one.try_take(ONE).is_none());
        let _third = other.try_take(ONE).unwrap();
        assert!(other.try_take(ONE).is_none());
        assert_eq!((house.taken(), house.most()), (3, 3));
        other.resize(0);
        assert_eq!(house.most(), 2, "no more than its doors let in");
        other.resize(2);
        drop(first);
        assert!(other.try_take(ONE).is_some());
    }

    /// Engines open connections ahead. Ending one while there is room, or before it could speak, helps nobody.
    #[test]
    fn nobody_goes_before_the_grace_is_over_and_then_the_oldest() {
        let door = ListenerLimit::new(&ConnectionLimit::new(100), 2);
        let places = [fill(&door, 1, STRANGER, 100), fill(&door, 1, STRANGER, 200)];
        assert_eq!(door.make_room_at(600, Whom::Anybody), Duration::from_millis(500));
        assert_eq!((told(&places[0]), told(&places[1])), (0, 0));
        door.make_room_at(1500, Whom::Anybody);
        assert_eq!((told(&places[0]), told(&places[1])), (1, 0), "one for one who comes");
        door.make_room_at(1699, Whom::Anybody);
        assert_eq!(told(&places[1]), 0, "while one takes its leave, nobody else is told");
        door.make_room_at(1700, Whom::Anybody);
        assert_eq!(told(&places[1]), 1, "one that does not go is not waited for");
    }

    /// A stranger's flood must not end the connection of an engine that waits for its next order.
    #[test]
    fn strangers_go_before_those_who_are_known_and_whoever_is_busy_stays() {
        let door = ListenerLimit::new(&ConnectionLimit::new(100), 4);
        let busy = fill(&door, 1, BUSY, 0);
        let idle = fill(&door, 2, IDLE, 0);
        let strangers = fill(&door, 1, STRANGER, 50_000);
        door.make_room_at(50_500, Whom::Anybody);
        assert_eq!((told(&strangers), told(&idle)), (0, 0), "who may turn out to be somebody is waited for");
        door.make_room_at(51_000, Whom::Anybody);
        assert_eq!((told(&strangers), told(&idle)), (1, 0));
        drop(strangers);
        door.make_room_at(52_000, Whom::Strangers);
        assert_eq!(told(&idle), 0);
        door.make_room_at(52_000, Whom::Anybody);
        assert_eq!((told(&idle), told(&busy)), (1, 0));
        // It had an order in its hand when it was told: it is nobody who leaves.
        idle.iter().filter(|place| place.is_told_to_go()).for_each(ConnectionPermit::is_busy);
        door.make_room_at(53_000, Whom::Anybody);
        assert_eq!((told(&idle), told(&busy)), (2, 0));
    }

    /// Consoles that watch kept every operator out, the one who wants to halt an account too.
    #[test]
    fn who_only_listens_has_half_of_the_places_and_goes_when_nobody_else_can() {
        let door = ListenerLimit::new(&ConnectionLimit::new(100), 6);
        let listens = fill(&door, 3, LISTENS, 0);
        assert!(!door.keep_listeners_to_half());
        let one_more = door.try_take(ONE).unwrap();
        assert!(one_more.listens());
        assert!(listens[0].is_told_to_go() && told(&listens) == 1 && !one_more.is_told_to_go(), "the oldest");
        let (busy, idle) = (fill(&door, 1, BUSY, 0), fill(&door, 1, IDLE, 0));
        door.make_room_at(10_000, Whom::Anybody);
        assert_eq!((told(&idle), told(&listens)), (1, 1), "who is idle goes first");
        assert_eq!(door.crowd(), Crowd { most: 6, taken: 6, busy: 1 });
        drop(idle);
        door.make_room_at(20_000, Whom::Strangers);
        assert_eq!(told(&listens), 1);
        door.make_room_at(20_000, Whom::Anybody);
        assert_eq!((told(&listens), told(&busy)), (2, 0));
    }

    /// One peer that takes all places by itself keeps those of others no longer than its own.
    #[test]
    fn of_strangers_those_of_the_peer_with_most_of_them_go_first() {
        let door = ListenerLimit::new(&ConnectionLimit::new(200), 200);
        let site = |last: u16| NewCaller { peer: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into()), grace: GRACE };
        let few = fill(&door, 2, STRANGER, 0);
        let many: Vec<_> = (0..150).map(|n| door.try_take(site(n)).unwrap()).collect();
        door.make_room_at(10_000, Whom::Anybody);
        assert_eq!((told(&few), told(&many)), (0, 3), "of many, some at once");
    }

    #[test]
    fn a_full_door_is_not_helped_by_who_came_in_by_another() {
        let house = ConnectionLimit::new(100);
        let (full, other) = (ListenerLimit::new(&house, 1), ListenerLimit::new(&house, 5));
        let elsewhere = fill(&other, 3, STRANGER, 0);
        let here = fill(&full, 1, BUSY, 0);
        full.make_room_at(10_000, Whom::Anybody);
        assert_eq!((told(&elsewhere), told(&here)), (0, 0));
    }

    /// Who comes is let in when somebody went, and who waits to be told hears it.
    #[tokio::test]
    async fn a_place_that_comes_free_is_taken_by_who_waits_for_it() {
        let door = ListenerLimit::new(&ConnectionLimit::new(100), 1);
        let first = door.try_take(ONE).unwrap();
        let coming = door.take(ONE);
        tokio::pin!(coming);
        assert!(coming.as_mut().now_or_never().is_none());
        let leaving = async {
            first.told_to_go().await;
            drop(first);
        };
        // The first is told when its grace is over.
        let (_second, ()) = tokio::join!(coming, leaving);
        assert_eq!(door.house.taken(), 1);
    }
}
