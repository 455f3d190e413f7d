//! Who goes when places run short, and who never does.

use std::net::Ipv4Addr;

use futures_util::FutureExt;

use super::make_room::Whom;
use super::*;

const GRACE: Duration = Duration::from_secs(1);
/// Somebody.
const ONE: NewCaller = NewCaller { peer: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))), grace: GRACE };

fn leaving(places: &[ConnectionPermit]) -> usize {
    places.iter().filter(|place| place.must_close()).count()
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
    assert_eq!((leaving(&places[0]), leaving(&places[1])), (0, 0));
    door.make_room_at(1500, Whom::Anybody);
    assert_eq!((leaving(&places[0]), leaving(&places[1])), (1, 0), "one for one who comes");
    door.make_room_at(1699, Whom::Anybody);
    assert_eq!(leaving(&places[1]), 0, "while one takes its leave, nobody else is told");
    door.make_room_at(1700, Whom::Anybody);
    assert_eq!(leaving(&places[1]), 1, "one that does not go is not waited for");
}

/// A stranger's flood must not end the connection of an engine that waits for its next order.
#[test]
fn strangers_go_before_those_who_are_known_and_whoever_is_busy_stays() {
    let door = ListenerLimit::new(&ConnectionLimit::new(100), 4);
    let busy = fill(&door, 1, BUSY, 0);
    let idle = fill(&door, 2, IDLE, 0);
    let strangers = fill(&door, 1, STRANGER, 50_000);
    door.make_room_at(50_500, Whom::Anybody);
    assert_eq!((leaving(&strangers), leaving(&idle)), (0, 0), "who may turn out to be somebody is waited for");
    door.make_room_at(51_000, Whom::Anybody);
    assert_eq!((leaving(&strangers), leaving(&idle)), (1, 0));
    drop(strangers);
    door.make_room_at(52_000, Whom::Strangers);
    assert_eq!(leaving(&idle), 0);
    door.make_room_at(52_000, Whom::Anybody);
    assert_eq!((leaving(&idle), leaving(&busy)), (1, 0));
    // It had an order in its hand when it was told: it is nobody who leaves.
    idle.iter().filter(|place| place.must_close()).for_each(ConnectionPermit::is_busy);
    door.make_room_at(53_000, Whom::Anybody);
    assert_eq!((leaving(&idle), leaving(&busy)), (2, 0));
}

/// Consoles that watch kept every operator out, the one who wants to halt an account too.
#[test]
fn who_only_listens_has_half_of_the_places_and_goes_when_nobody_else_can() {
    let door = ListenerLimit::new(&ConnectionLimit::new(100), 6);
    let listens = fill(&door, 3, LISTENS, 0);
    assert!(!door.keep_listeners_to_half());
    let one_more = door.try_take(ONE).unwrap();
    assert!(one_more.listens());
    assert!(listens[0].must_close() && leaving(&listens) == 1 && !one_more.must_close(), "the oldest");
    let (busy, idle) = (fill(&door, 1, BUSY, 0), fill(&door, 1, IDLE, 0));
    door.make_room_at(10_000, Whom::Anybody);
    assert_eq!((leaving(&idle), leaving(&listens)), (1, 1), "who is idle goes first");
    assert_eq!(door.crowd(), Crowd { most: 6, taken: 6, busy: 1 });
    drop(idle);
    door.make_room_at(20_000, Whom::Strangers);
    assert_eq!(leaving(&listens), 1);
    door.make_room_at(20_000, Whom::Anybody);
    assert_eq!((leaving(&listens), leaving(&busy)), (2, 0));
}

/// One peer that takes all places by itself keeps those of others no longer than its own.
#[test]
fn of_strangers_those_of_the_peer_with_most_of_them_go_first() {
    let door = ListenerLimit::new(&ConnectionLimit::new(200), 200);
    let site = |last: u16| NewCaller { peer: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into()), grace: GRACE };
    let few = fill(&door, 2, STRANGER, 0);
    let many: Vec<_> = (0..150).map(|n| door.try_take(site(n)).unwrap()).collect();
    door.make_room_at(10_000, Whom::Anybody);
    assert_eq!((leaving(&few), leaving(&many)), (0, 3), "of many, some at once");
}

#[test]
fn a_full_door_is_not_helped_by_who_came_in_by_another() {
    let house = ConnectionLimit::new(100);
    let (full, other) = (ListenerLimit::new(&house, 1), ListenerLimit::new(&house, 5));
    let elsewhere = fill(&other, 3, STRANGER, 0);
    let here = fill(&full, 1, BUSY, 0);
    full.make_room_at(10_000, Whom::Anybody);
    assert_eq!((leaving(&elsewhere), leaving(&here)), (0, 0));
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
        first.close_requested().await;
        drop(first);
    };
    // The first is told when its grace is over.
    let (_second, ()) = tokio::join!(coming, leaving);
    assert_eq!(door.house.taken(), 1);
}
