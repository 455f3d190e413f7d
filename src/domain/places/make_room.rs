//! Who is told to go when places run short, and how the places are taken.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{BUSY, LISTENS, ListenerLimit, STRANGER, Spot, millis};

/// How long a connection is idle at least before it makes room.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// When to look again where nobody may be told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long whoever was told to go may take before another one is told.
const LEAVING: Duration = Duration::from_millis(200);

/// Of so many strangers one goes at a time; with more of them, so many at once, or who comes waits for each.
const AT_ONCE: usize = 64;

/// Who may be told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Strangers,
    Anybody,
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

impl ListenerLimit {
    /// Request somebody to close, if anybody may be. When to look again.
    pub(super) fn make_room(&self) -> Duration {
        self.make_room_at(self.house.now(), Whom::Anybody)
    }

    /// Request a stranger to close, if there is one: his descriptor is needed, and nobody's who is known.
    pub fn send_a_stranger_away(&self) {
        self.make_room_at(self.house.now(), Whom::Strangers);
    }

    pub(super) fn make_room_at(&self, now: u64, whom: Whom) -> Duration {
        let inside = self.house.lock();
        // Where it is this door that is full, nobody of another one helps.
        let full = self.is_full();
        let left = |since: u64, time: Duration| Duration::from_millis((since + millis(time)).saturating_sub(now));
        let (mut strangers, mut idle, mut listens, mut leaving) = (Vec::new(), None, None, false);
        for spot in inside.values().filter(|spot| !full || std::ptr::eq(&*spot.doorway, self)) {
            match (spot.is(), spot.close_requested_at()) {
                ((BUSY, _), _) => {}
                // Who does not read keeps his place for a moment longer, and nobody waits for that.
                (_, Some(requested)) => leaving |= !left(requested, LEAVING).is_zero(),
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
                spot.request_close(now);
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
        strangers.iter().take(go).for_each(|(.., spot)| spot.request_close(now));
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

    /// Over half of the places for those who only listen? Then the oldest of them goes. Was it requested to?
    pub(super) fn keep_listeners_to_half(&self) -> bool {
        let inside = self.house.lock();
        let (mut first, mut count) = (None, 0);
        let here =
            inside.values().filter(|spot| std::ptr::eq(&*spot.doorway, self) && spot.close_requested_at().is_none());
        for spot in here.filter(|spot| spot.is().0 == LISTENS) {
            oldest(&mut first, spot);
            count += 1;
        }
        let most = self.most.load(Ordering::Relaxed).min(self.house.most);
        match first.filter(|_| count > (most / 2).max(1)) {
            Some(spot) => spot.request_close(self.house.now()),
            None => return false,
        }
        true
    }
}

/// Of two the one that has been what it is for longer.
fn oldest<'s>(so_far: &mut Option<&'s Arc<Spot>>, spot: &'s Arc<Spot>) {
    // Of the same moment whoever came first.
    if so_far.is_none_or(|oldest| (spot.is().1, spot.number) < (oldest.is().1, oldest.number)) {
        *so_far = Some(spot);
    }
}
