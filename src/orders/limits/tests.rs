//! That no window of the broker's ever holds more than it takes, and nobody waits too long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::broker::dhan::endpoints;
use crate::broker::dhan::limits::limits;
use crate::orders::journal::{Entry, Kind};

const SECOND: Duration = Duration::from_secs(1);
const MARGIN: f64 = 0.05;

fn rules(margin: f64) -> Arc<Rules> {
    Arc::new(Rules::new(limits(), margin))
}

fn request(class: RateClass, priority: Priority) -> RateRequest {
    RateRequest { class, priority, modifies: None, body: None }
}

fn order() -> RateRequest {
    request(RateClass::Order, Priority::Other)
}

fn cancel() -> RateRequest {
    request(RateClass::Order, Priority::Cancel)
}

fn chain(body: u8) -> RateRequest {
    RateRequest { body: Some([body; 32]), ..request(RateClass::OptionChain, Priority::Other) }
}

fn change(order: &str) -> RateRequest {
    RateRequest { modifies: Some(order.into()), ..self::order() }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// No window of the broker's holds more than it allows, wherever it begins. Of a minute and
/// longer that is only so of those that a placement ends.
#[track_caller]
fn assert_within(class: RateClass, sent: &[(Priority, MonotonicTime)]) {
    for window in limits().windows(class) {
        let count = window.count as usize;
        for ((_, first), (priority, after)) in sent.iter().zip(sent.iter().skip(count)) {
            let lets_through = priority.takes_risk_away() && window.per.as_secs() >= 60;
            let apart = after.since(*first) >= window.per;
            assert!(apart || lets_through, "{} in {:?}: {first:?} {after:?}", count + 1, window.per);
        }
    }
}

/// Each request asks until it goes or is refused, in order of its time.
fn play(
    limits: &mut Limits,
    requests: &[(RateRequest, MonotonicTime)],
    max_wait: Duration,
) -> Vec<(usize, MonotonicTime)> {
    let mut waiting: std::collections::BTreeSet<(MonotonicTime, usize)> =
        requests.iter().enumerate().map(|(number, (_, at))| (*at, number)).collect();
    let mut sent = Vec::new();
    while let Some((now, number)) = waiting.pop_first() {
        let (request, arrived) = &requests[number];
        let deadline = arrived.after(max_wait);
        assert!(now <= deadline, "{number} waited longer than {max_wait:?}");
        match limits.try_take(0, request, deadline, now) {
            Decision::Go(_) => sent.push((number, now)),
            Decision::Wait { until, .. } => {
                assert!(until > now && until <= deadline);
                waiting.insert((until, number));
            }
            Decision::Refuse { retry_after, .. } => {
                assert!(retry_after.is_none_or(|after| now.after(after) > deadline), "refused too soon");
            }
        }
    }
    sent
}

fn arrivals(longest_gap: u64) -> impl Strategy<Value = Vec<(bool, u64)>> {
    // Bursts and pauses: most gaps are nothing.
    let gap = prop_oneof![4 => Just(0), 2 => 0..longest_gap, 1 => 900_000..1_100_000_u64];
    proptest::collection::vec((any::<bool>(), gap), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The promise, for any arrivals, priorities and margins.
    #[test]
    fn no_window_ever_holds_more_than_the_broker_allows(
        arrivals in arrivals(200_000),
        class in prop_oneof![Just(RateClass::Order), Just(RateClass::Data), Just(RateClass::Quote), Just(RateClass::Other)],
        margin in 0.0..0.5,
        max_wait in 0..5_000_u64,
    ) {
        let mut at = MonotonicTime::START;
        let requests: Vec<_> = arrivals.iter().map(|(is_cancel, gap)| {
            at = at.after(Duration::from_micros(*gap));
            (request(class, if *is_cancel { Priority::Cancel } else { Priority::Other }), at)
        }).collect();
        let sent = play(&mut Limits::new(rules(margin)), &requests, ms(max_wait));
        let times: Vec<_> = sent.iter().map(|(number, at)| (requests[*number].0.priority, *at)).collect();
        assert_within(class, &times);
    }

    /// What the margin is for: the way to the broker brings requests closer together.
    #[test]
    fn jitter_within_the_margin_breaks_no_window(
        arrivals in arrivals(150_000),
        delays in proptest::collection::vec(0..50_000_u64, 400),
    ) {
        let mut at = MonotonicTime::START;
        let requests: Vec<_> = arrivals.iter().map(|(_, gap)| {
            at = at.after(Duration::from_micros(*gap));
            (order(), at)
        }).collect();
        let sent = play(&mut Limits::new(rules(MARGIN)), &requests, Duration::from_secs(3));
        let late = |delay: &u64| Duration::from_micros(*delay);
        let mut arrived: Vec<_> =
            sent.iter().zip(&delays).map(|((_, at), delay)| (Priority::Other, at.after(late(delay)))).collect();
        arrived.sort_unstable_by_key(|(_, at)| *at);
        assert_within(RateClass::Order, &arrived);
    }
}

/// One event in the life of reservations.
#[derive(Clone, Debug)]
enum Event {
    Reserve(Priority),
    /// The one that is there for the longest but for so many: counted, as its connection and the disk are ready.
    Count(usize),
    Drop(usize),
    Pause(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let priority = prop_oneof![6 => Just(Priority::Other), 2 => Just(Priority::Cancel), 1 => Just(Priority::Exit)];
    prop_oneof![
        6 => priority.prop_map(Event::Reserve),
        4 => (0..30_usize).prop_map(Event::Count),
        1 => (0..30_usize).prop_map(Event::Drop),
        2 => (0..150_000_u64).prop_map(Event::Pause),
        1 => (0..3_000_000_u64).prop_map(Event::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is between the reservation and the sending may take as long as it likes: the count at
    /// the broker holds, what takes risk away is never held back by a placement that is still on
    /// its way, and while nothing takes risk away nobody who has reserved waits again.
    #[test]
    fn what_was_reserved_breaks_no_window_however_late_it_is_sent(
        events in proptest::collection::vec(event(), 1..600),
        margin in 0.0..0.5,
    ) {
        let mut limits = Limits::new(rules(margin));
        let (mut now, mut held, mut sent) = (MonotonicTime::START, Vec::new(), Vec::new());
        let mut most_held = BTreeMap::new();
        let mut barged = false;
        for event in events {
            // A place in a line never lasts: those who wait request again and again.
            match event {
                Event::Pause(micros) => now = now.after(Duration::from_micros(micros)),
                Event::Reserve(priority) => {
                    if let Decision::Go(one) = limits.try_reserve(0, &request(RateClass::Order, priority), now, now) {
                        barged |= priority.takes_risk_away();
                        held.push(one);
                    } else if priority.takes_risk_away() {
                        let safe = held.iter().filter(|one: &&HeldRoom| one.request.priority.takes_risk_away()).count();
                        let left = sent.iter().filter(|(_, at): &&(Priority, MonotonicTime)| at.after(SECOND) > now).count();
                        prop_assert_eq!(safe + left, 10, "held back by a placement that has not left");
                    }
                }
                Event::Count(place) if !held.is_empty() => {
                    let one = held.remove(place % held.len());
                    match limits.try_count(0, &one, now, now) {
                        Decision::Go(_) => sent.push((one.request.priority, now)),
                        Decision::Wait { .. } => prop_assert!(false, "it has no time"),
                        Decision::Refuse { .. } => {
                            prop_assert!(barged && !one.request.priority.takes_risk_away());
                            limits.release(&one);
                        }
                    }
                }
                Event::Drop(place) if !held.is_empty() => limits.release(&held.remove(place % held.len())),
                Event::Count(_) | Event::Drop(_) => {}
            }
            for one in &held {
                let most: &mut usize = most_held.entry(one.request.priority.takes_risk_away()).or_default();
                let of_kind = |other: &&HeldRoom| other.request.priority.takes_risk_away() == one.request.priority.takes_risk_away();
                *most = held.iter().filter(of_kind).count().max(*most);
            }
        }
        assert_within(RateClass::Order, &sent);
        // So many connections are in use at once, and no more.
        prop_assert!(most_held.values().all(|most| *most <= 10), "{most_held:?}");
        for one in held {
            limits.release(&one);
        }
        let later = now.after(Duration::from_hours(25));
        for _ in 0..10 {
            prop_assert!(matches!(limits.try_take(0, &order(), later, later), Decision::Go(_)), "room was lost");
        }
    }
}

/// The long windows, with orders every 100 ms for 26 hours: 7,000 a day and no more, and nearly so many.
#[test]
fn a_day_of_orders_stays_within_every_window() {
    let mut limits = Limits::new(rules(MARGIN));
    let mut sent = Vec::new();
    let mut now = MonotonicTime::START;
    let end = MonotonicTime::START.after(Duration::from_hours(26));
    while now < end {
        match limits.try_take(0, &order(), now.after(SECOND), now) {
            Decision::Go(_) => sent.push(now),
            Decision::Wait { until, .. } => now = until.before(ms(100)),
            Decision::Refuse { retry_after, .. } => now = now.after(retry_after.unwrap()).before(ms(100)),
        }
        now = now.after(ms(100));
    }
    assert_within(RateClass::Order, &sent.iter().map(|at| (Priority::Other, *at)).collect::<Vec<_>>());
    let day: Vec<_> = sent.iter().filter(|at| at.since(MonotonicTime::START) < Duration::from_hours(24)).collect();
    assert_eq!(day.len(), 6650);
    // The day's placements are spent; what takes risk away still goes.
    let now = MonotonicTime::START.after(Duration::from_hours(23));
    let mut limits = Limits::new(rules(MARGIN));
    for at in &day {
        limits.add(&order(), **at);
    }
    assert!(matches!(limits.try_take(0, &order(), now, now), Decision::Refuse { .. }));
    for _ in 0..10 {
        assert!(matches!(limits.try_take(0, &cancel(), now, now), Decision::Go(_)));
    }
    // It keeps to the pace all the same, and says when.
    let Decision::Wait { until, .. } = limits.try_take(0, &cancel(), now.after(SECOND), now) else { panic!() };
    assert_eq!(until.since(now), SECOND);
}

/// A tenth of the speed for a twentieth of margin would be a poor bargain.
#[test]
fn a_burst_as_large_as_the_window_goes_at_once() {
    let mut limits = Limits::new(rules(MARGIN));
    let now = MonotonicTime::START;
    for _ in 0..10 {
        assert!(matches!(limits.try_take(0, &order(), now, now), Decision::Go(_)));
    }
    let Decision::Wait { until, limit } = limits.try_take(0, &order(), now.after(SECOND * 2), now) else { panic!() };
    assert_eq!(until.since(now), ms(1050));
    assert_eq!(limit.to_string(), "10 order writes in 1s");
    // A cancel may use the margin, so it is never too late for a wait of a second.
    let Decision::Wait { until, .. } = limits.try_take(0, &cancel(), now.after(SECOND), now) else { panic!() };
    assert_eq!(until.since(now), SECOND);
}

#[test]
fn the_same_option_chain_waits_and_another_does_not() {
    let mut limits = Limits::new(rules(0.0));
    let now = MonotonicTime::START;
    let go = |limits: &mut Limits, body, now: MonotonicTime| limits.try_take(0, &chain(body), now, now);
    assert!(matches!(go(&mut limits, 1, now), Decision::Go(_)));
    assert!(matches!(go(&mut limits, 2, now), Decision::Go(_)));
    let refused = go(&mut limits, 1, now.after(ms(2999)));
    assert!(
        matches!(refused, Decision::Refuse { retry_after: Some(after), limit: Limit::OptionChain { .. } } if after == ms(1))
    );
    assert!(matches!(go(&mut limits, 1, now.after(ms(3000))), Decision::Go(_)));
    assert_eq!(limits.chains.len(), 1, "what is over is forgotten");
    // They are data requests too: five a second.
    for body in 10..14 {
        assert!(matches!(go(&mut limits, body, now.after(ms(3000))), Decision::Go(_)));
    }
    assert!(matches!(go(&mut limits, 20, now.after(ms(3000))), Decision::Refuse { limit: Limit::Window { .. }, .. }));
    let data = request(RateClass::Data, Priority::Other);
    assert!(matches!(limits.try_take(0, &data, now.after(ms(3000)), now.after(ms(3000))), Decision::Refuse { .. }));
}

#[test]
fn an_order_is_changed_twenty_five_times() {
    let mut limits = Limits::new(rules(MARGIN));
    let mut now = MonotonicTime::START;
    for _ in 0..25 {
        now = now.after(SECOND);
        assert!(matches!(limits.try_take(0, &change("1"), now, now), Decision::Go(_)));
    }
    now = now.after(Duration::from_hours(1));
    let refused = limits.try_take(0, &change("1"), now, now);
    assert_eq!(refused, Decision::Refuse { retry_after: None, limit: Limit::Modifications { per_order: 25 } });
    assert!(matches!(limits.try_take(0, &change("2"), now, now), Decision::Go(_)));
    assert!(matches!(limits.try_take(0, &order(), now, now), Decision::Go(_)));
}

/// Early enough to be heard: a trailing stop would stop with the 26th.
#[test]
fn who_changes_an_order_often_is_warned_from_the_twentieth_on() {
    let mut limits = Limits::new(rules(MARGIN));
    let mut now = MonotonicTime::START;
    let mut warned = Vec::new();
    for _ in 0..25 {
        now = now.after(SECOND);
        // What is not sent is no change.
        let Decision::Go(unsent) = limits.try_reserve(0, &change("1"), now, now) else { panic!() };
        limits.release(&unsent);
        let Decision::Go(one) = limits.try_reserve(0, &change("1"), now, now) else { panic!() };
        let Decision::Go(taken) = limits.try_count(0, &one, now, now) else { panic!() };
        assert_eq!(one.changes, taken.changes);
        warned.extend(taken.changes.filter(|changes| changes.is_near_the_end()).map(|changes| changes.this));
    }
    assert_eq!(warned, [20, 21, 22, 23, 24, 25]);
    let limit = Limit::Modifications { per_order: 25 };
    let told = Limited { limit, retry_after: None }.to_string();
    assert_eq!(
        told,
        "the broker takes 25 changes of one order, and this one would be more; cancel it and place it anew"
    );
    let Decision::Go(one) = limits.try_reserve(0, &order(), now, now) else { panic!() };
    assert_eq!(one.changes, None);
}

#[test]
fn an_option_chain_that_is_on_its_way_is_asked_for_once() {
    let mut limits = Limits::new(rules(0.0));
    let now = MonotonicTime::START;
    let Decision::Go(one) = limits.try_reserve(0, &chain(1), now, now) else { panic!() };
    let later = now.after(SECOND * 4);
    assert!(matches!(
        limits.try_take(0, &chain(1), later, later),
        Decision::Refuse { limit: Limit::OptionChain { .. }, .. }
    ));
    limits.release(&one);
    assert!(matches!(limits.try_take(0, &chain(1), later, later), Decision::Go(_)));
}

#[test]
fn what_did_not_leave_is_given_back() {
    let mut limits = Limits::new(rules(MARGIN));
    let now = MonotonicTime::START;
    let mut taken = Vec::new();
    while let Decision::Go(one) = limits.try_take(0, &change("1"), now, now) {
        taken.push(one);
    }
    assert_eq!(taken.len(), 10);
    for one in taken {
        limits.refund(one);
    }
    for _ in 0..10 {
        assert!(matches!(limits.try_take(0, &change("1"), now, now), Decision::Go(_)));
    }
    assert_eq!(limits.modified["1"].0, 10);
    let Decision::Go(one) = limits.try_take(0, &chain(1), now, now) else { panic!() };
    limits.refund(one);
    assert!(matches!(limits.try_take(0, &chain(1), now, now), Decision::Go(_)));
}

/// A restart forgets nothing that the broker remembers.
#[test]
fn the_count_is_rebuilt_from_the_journal() {
    let wall: Timestamp = "2026-11-24T04:00:00Z".parse().unwrap();
    let mut past: Vec<_> =
        (0..949).map(|number| (wall - SignedDuration::from_secs(100 + 3 * number), order())).collect();
    past.extend((0..25).map(|number| (wall - SignedDuration::from_hours(2 + number % 9), change("1"))));
    past.push((wall - SignedDuration::from_millis(400), order()));
    past.reverse();
    let mut limits = Limits::new(rules(MARGIN));
    let now = MonotonicTime::START;
    limits.rebuild(past.clone(), wall, now);
    let Decision::Refuse { retry_after, limit } = limits.try_take(0, &order(), now.after(SECOND), now) else {
        panic!()
    };
    assert_eq!(limit.to_string(), "1000 order writes in 1h");
    // The oldest in the hour left 2,944 s ago; a part of the window is 37.5 s.
    let after = retry_after.unwrap().as_secs();
    assert!((656..=694).contains(&after), "{after}");
    assert!(matches!(limits.try_take(0, &cancel(), now, now), Decision::Go(_)));
    assert!(matches!(
        limits.try_take(0, &change("1"), now, now),
        Decision::Refuse { limit: Limit::Modifications { .. }, .. }
    ));

    // Set back by two hours: counted as if the newest had just left, and not for longer.
    let mut back = Limits::new(rules(MARGIN));
    back.rebuild(past.clone(), wall - SignedDuration::from_hours(2), now);
    assert!(matches!(back.try_take(0, &order(), now, now), Decision::Refuse { .. }));
    let later = now.after(Duration::from_secs(800));
    assert!(matches!(back.try_take(0, &order(), later, later), Decision::Go(_)));
    // Set forward by a year: nothing is counted, and nothing breaks.
    let mut forward = Limits::new(rules(MARGIN));
    forward.rebuild(past, wall + SignedDuration::from_hours(24 * 365), now);
    assert!(matches!(forward.try_take(0, &order(), now, now), Decision::Go(_)));
}

#[test]
fn a_request_is_what_its_method_and_path_say() {
    let of = |method: Method, path: &str| {
        let endpoint = endpoints::classify(&method, path, None);
        RateRequest::of(&method, path, &endpoint, false, || [9; 32])
    };
    let safe = |method: Method, path: &str| {
        let endpoint = endpoints::classify(&method, path, None);
        RateRequest::of(&method, path, &endpoint, true, Default::default)
    };
    assert_eq!(of(Method::POST, "/v2/orders"), order());
    assert_eq!(of(Method::PUT, "/v2/orders/112"), change("112"));
    assert_eq!(of(Method::PUT, "/v2/super/orders/112"), change("112"));
    assert_eq!(of(Method::PUT, "/v2/forever/orders/112"), change("112"));
    assert_eq!(of(Method::PUT, "/v2/alerts/orders/112"), order());
    for path in ["/v2/orders/1", "/v2/super/orders/1/TARGET_LEG", "/v2/forever/orders/1"] {
        assert_eq!(safe(Method::DELETE, path), cancel(), "{path}");
    }
    assert_eq!(safe(Method::DELETE, "/v2/positions"), request(RateClass::Order, Priority::Exit));
    assert_eq!(safe(Method::POST, "/v2/killswitch"), request(RateClass::Other, Priority::Cancel));
    assert_eq!(of(Method::POST, "/v2/killswitch"), request(RateClass::Other, Priority::Other), "off");
    assert_eq!(of(Method::POST, "/v2/optionchain"), chain(9));
    assert_eq!(of(Method::GET, "/v2/positions"), request(RateClass::Other, Priority::Other));
    let at = Timestamp::UNIX_EPOCH;
    let mut entry = Entry::new(Kind::Intent, at);
    assert_eq!(RateRequest::of_entry(&entry), None);
    entry.method = Some(Method::PUT);
    entry.path = Some(crate::orders::journal::SafePath::new("/v2/orders/112"));
    assert_eq!(RateRequest::of_entry(&entry), Some(change("112")));
    entry.kind = Kind::Outcome;
    assert_eq!(RateRequest::of_entry(&entry), None, "it would be counted twice");
}

#[test]
fn an_idle_account_is_small() {
    assert!(size_of::<RateLimiter>() < 768, "{}", size_of::<RateLimiter>());
    let mut limits = Limits::new(rules(MARGIN));
    let mut now = MonotonicTime::START;
    for _ in 0..20_000 {
        now = now.after(ms(20));
        let _ = limits.try_take(0, &order(), now, now);
        now = now.after(Duration::from_secs(5));
        let _ = limits.try_take(0, &order(), now, now);
    }
    let held: usize = limits
        .counters
        .order
        .iter()
        .map(|counter| match counter {
            Counter::Exact(times) => times.len(),
            Counter::Parts(parts, _) => parts.len(),
        })
        .sum();
    assert!(held < 10 + 3 * 98, "{held}");
}

// With waiting, in real time: what is late is late by less than this, on a busy machine too.
const LATE: Duration = Duration::from_millis(800);

/// Polled once, which puts it in line.
async fn is_waiting<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending()))
        .await
}

#[track_caller]
fn assert_about(found: Duration, expected: Duration) {
    assert!(found >= expected && found < expected + LATE, "{found:?} is not about {expected:?}");
}

fn limiter(max_wait: Duration) -> Arc<RateLimiter> {
    limiter_with(MARGIN, max_wait)
}

fn limiter_with(margin: f64, max_wait: Duration) -> Arc<RateLimiter> {
    Arc::new(RateLimiter::new(rules(margin), max_wait, MonotonicClock::start()))
}

async fn timed(limiter: &RateLimiter, request: RateRequest) -> (Duration, Result<Permit, Limited>) {
    let start = tokio::time::Instant::now();
    let done = limiter.enter(request).await;
    (start.elapsed(), done)
}

#[tokio::test]
async fn nobody_waits_longer_than_allowed_and_most_know_at_once() {
    let limiter = limiter(ms(1500));
    let all = join_all((0..40).map(|_| timed(&limiter, order()))).await;
    let went: Vec<_> = all.iter().filter(|(_, done)| done.is_ok()).map(|(waited, _)| *waited).collect();
    assert_eq!(went.len(), 20);
    went[..10].iter().for_each(|waited| assert_about(*waited, ms(0)));
    went[10..].iter().for_each(|waited| assert_about(*waited, ms(1000)));
    for (waited, done) in &all[20..] {
        let err = done.as_ref().unwrap_err();
        assert_about(*waited, ms(0));
        assert!(err.retry_after.unwrap() > ms(1500) && err.code() == "rate_limited", "{err:?}");
    }
    assert_eq!(limiter.waiting(), 0);
}

/// A stop that waits behind entries is a loss.
#[tokio::test]
async fn a_cancel_goes_before_placements_that_came_first() {
    let limiter = limiter(ms(3500));
    for _ in 0..10 {
        limiter.enter(order()).await.unwrap();
    }
    let went = std::sync::Mutex::new(Vec::new());
    let start = tokio::time::Instant::now();
    let one = |name: String, request: RateRequest| {
        let (limiter, went) = (&limiter, &went);
        async move {
            let done = limiter.enter(request).await;
            went.lock().unwrap().push((name, start.elapsed(), done.is_ok()));
        }
    };
    let placements = (0..15).map(|number| one(format!("place {number}"), order()));
    let cancels = (0..6).map(|number| one(format!("cancel {number}"), cancel()));
    // Polled in this order: all placements wait when the first cancel comes.
    join_all(placements.chain(cancels)).await;
    let went = went.into_inner().unwrap();
    let (first, rest) = went.split_at(6);
    assert!(first.iter().all(|(name, _, ok)| name.starts_with("cancel") && *ok), "{went:#?}");
    first.iter().for_each(|(_, at, _)| assert!(*at > ms(900)));
    // Four of the second that the cancels left, and those behind them a window later.
    let ok: Vec<_> =
        rest.iter().filter(|(_, _, ok)| *ok).map(|(name, at, _)| (name.as_str(), at.as_millis())).collect();
    assert_eq!(ok.len(), 15, "{went:#?}");
    assert!(ok.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert!(ok[4].1 - ok[3].1 > 800, "{ok:?}");
}

/// Also when there is no margin that only cancels may use.
#[tokio::test]
async fn a_placement_leaves_the_room_that_waiting_cancels_need() {
    let limiter = limiter_with(0.0, ms(3000));
    for _ in 0..10 {
        limiter.enter(order()).await.unwrap();
    }
    let mut placements = std::pin::pin!(join_all((0..5).map(|_| timed(&limiter, order()))));
    assert!(is_waiting(&mut placements).await);
    let cancels = join_all((0..10).map(|_| timed(&limiter, cancel())));
    // Placements are woken first, and must not take what is not theirs.
    let (placements, cancels) = tokio::join!(biased; placements, cancels);
    for (waited, done) in cancels {
        assert!(done.is_ok());
        assert_about(waited, ms(900));
    }
    for (waited, done) in placements {
        assert!(done.is_ok());
        // Two windows, and the first began before it asked.
        assert_about(waited, ms(1900));
    }
}

/// Placements are not kept waiting for ever by cancels: they are refused in time.
#[tokio::test]
async fn a_placement_behind_endless_cancels_gets_its_answer() {
    let limiter = limiter(SECOND);
    let endless = async {
        loop {
            let _ = join_all((0..20).map(|_| limiter.enter(cancel()))).await;
            tokio::time::sleep(ms(10)).await;
        }
    };
    let (waited, done) = tokio::select! {
        biased;
        () = endless => unreachable!(),
        done = timed(&limiter, order()) => done,
    };
    assert!(done.is_err(), "{waited:?}");
    assert!(waited < SECOND + LATE, "{waited:?}");
}

#[tokio::test]
async fn who_stops_waiting_leaves_no_trace() {
    let limiter = limiter(ms(3000));
    for _ in 0..10 {
        limiter.enter(order()).await.unwrap();
    }
    let mut patient = Box::pin(timed(&limiter, order()));
    {
        let mut impatient = std::pin::pin!(join_all((0..10).map(|_| limiter.enter(cancel()))));
        assert!(is_waiting(&mut impatient).await && is_waiting(&mut patient).await, "there is no room");
        assert_eq!(limiter.waiting(), 11);
    }
    assert_eq!(limiter.waiting(), 1);
    let (waited, done) = patient.await;
    assert!(done.is_ok());
    assert_about(waited, ms(1000));
    assert_eq!(limiter.waiting(), 0);
}

#[tokio::test]
async fn room_that_is_given_back_is_used_at_once() {
    let limiter = limiter(SECOND);
    let mut passes = Vec::new();
    for _ in 0..10 {
        passes.push(limiter.enter(cancel()).await.unwrap());
    }
    let mut waiting = Box::pin(timed(&limiter, cancel()));
    assert!(is_waiting(&mut waiting).await, "there is no room");
    limiter.refund(passes.pop().unwrap());
    let (waited, done) = waiting.await;
    assert!(done.is_ok());
    assert_about(waited, ms(0));
}

fn in_time() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(10)
}

/// A disk that takes its time must not make a burst of what waited for it.
#[tokio::test]
async fn what_is_sent_late_counts_when_it_is_sent() {
    let limiter = limiter(ms(3000));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(limiter.reserve(order(), in_time()).await.unwrap());
    }
    let mut late = std::pin::pin!(limiter.reserve(order(), in_time()));
    assert!(is_waiting(&mut late).await, "the room is kept");
    tokio::time::sleep(ms(1200)).await;
    assert!(is_waiting(&mut late).await, "the room is kept for as long as it takes");
    let start = tokio::time::Instant::now();
    for one in held {
        drop(one.count(in_time()).await.unwrap());
    }
    assert_about(start.elapsed(), ms(0));
    let one = late.await.unwrap();
    assert_about(start.elapsed(), ms(1050));
    drop(one.count(in_time()).await.unwrap());
}

#[tokio::test]
async fn a_reservation_that_is_dropped_lets_the_next_through_at_once() {
    let limiter = limiter(ms(900));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(limiter.reserve(order(), in_time()).await.unwrap());
    }
    let now = tokio::time::Instant::now();
    assert!(limiter.reserve(order(), in_time()).await.is_err(), "max_wait holds for a placement");
    let soon = now + ms(1500);
    held.pop();
    let one = limiter.reserve(order(), soon).await.unwrap();
    let mut next = std::pin::pin!(limiter.reserve(cancel(), in_time()));
    assert!(!is_waiting(&mut next).await);
    drop(one);
    assert_eq!(limiter.waiting(), 0);
}

/// A write's own deadline ends its waiting, and what takes risk away waits longer than `max_wait`.
#[tokio::test]
async fn an_order_waits_until_its_own_deadline_and_a_cancel_longer_than_others() {
    let limiter = limiter(Duration::from_secs(5));
    let hasty = |limiter: Arc<RateLimiter>| async move {
        limiter.reserve(order(), tokio::time::Instant::now() + ms(500)).await
    };
    for _ in 0..10 {
        limiter.enter(cancel()).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let err = hasty(Arc::clone(&limiter)).await.unwrap_err();
    assert!(err.retry_after.is_some());
    assert_about(start.elapsed(), ms(0));
    limiter.reload(rules(MARGIN), ms(0));
    assert!(limiter.reserve(order(), in_time()).await.is_err());
    let one = limiter.reserve(cancel(), in_time()).await.unwrap();
    assert_about(start.elapsed(), ms(800));
    drop(one);
}

/// Placements wait for a connection that does not come; the cancel must not wait for them.
#[tokio::test]
async fn a_cancel_takes_the_room_of_placements_that_have_not_left() {
    let limiter = limiter(ms(3000));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(limiter.reserve(order(), in_time()).await.unwrap());
    }
    let start = tokio::time::Instant::now();
    for _ in 0..10 {
        drop(limiter.reserve(cancel(), in_time()).await.unwrap().count(in_time()).await.unwrap());
    }
    assert_about(start.elapsed(), ms(0));
    // The placements have lost their moment: who cannot wait is not sent, who can is sent later.
    let (hasty, patient) = (held.pop().unwrap(), held.pop().unwrap());
    let refused = hasty.count(tokio::time::Instant::now() + ms(300)).await.unwrap_err();
    assert!(refused.retry_after.is_some(), "{refused}");
    drop(patient.count(in_time()).await.unwrap());
    assert_about(start.elapsed(), ms(1000));
    assert_eq!(limiter.waiting(), 0);
}

/// An engine that ran wild has a hundred cancels in line; the exit from everything is the first.
#[tokio::test]
async fn an_exit_from_everything_goes_before_single_cancels() {
    let limiter = limiter(ms(1000));
    for _ in 0..10 {
        limiter.enter(cancel()).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let leave = |request: RateRequest| async {
        drop(limiter.reserve(request, in_time()).await?.count(in_time()).await?);
        Ok::<_, Limited>(start.elapsed())
    };
    let mut cancels = std::pin::pin!(join_all((0..89).map(|_| leave(cancel()))));
    assert!(is_waiting(&mut cancels).await);
    let exit = leave(request(RateClass::Order, Priority::Exit));
    let waited = tokio::select! {
        done = exit => done.unwrap(),
        _ = cancels => panic!("they went first"),
    };
    assert_about(waited, ms(800));
}

#[tokio::test]
async fn one_option_chain_does_not_hold_up_another() {
    let limiter = limiter(Duration::from_secs(4));
    limiter.enter(chain(1)).await.unwrap();
    let ((same, first), (other, second)) = tokio::join!(timed(&limiter, chain(1)), timed(&limiter, chain(2)));
    assert!(first.is_ok() && second.is_ok());
    assert_about(same, ms(3100));
    assert_about(other, ms(0));
}

/// Many at once on several threads, each with a wait of its own between the reservation and the
/// sending, as a disk and a line make it: no second holds more than ten, and no more than ten are
/// on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_with_slow_lines_stays_within_every_second() {
    let limiter = limiter(ms(2500));
    let tasks = crate::domain::tasks::Tasks::default();
    let on_the_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let crowd = (0..120_u64).map(|number| {
        let (limiter, on_the_way) = (Arc::clone(&limiter), Arc::clone(&on_the_way));
        tasks.spawn(async move {
            let by = tokio::time::Instant::now() + ms(4000);
            let reserved = limiter.reserve(order(), by).await.ok()?;
            let under_way = on_the_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::time::sleep(ms(number * 37 % 400)).await;
            on_the_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            if number % 9 == 0 {
                return None;
            }
            let Permit(taken) = reserved.count(by).await.ok()?;
            assert!(under_way < 10, "{under_way}");
            Some(taken.at)
        })
    });
    let crowd: Vec<_> = crowd.collect();
    let mut sent: Vec<_> = join_all(crowd).await.into_iter().filter_map(Result::unwrap).collect();
    sent.sort_unstable();
    assert_within(RateClass::Order, &sent.iter().map(|at| (Priority::Other, *at)).collect::<Vec<_>>());
    assert!(sent.len() >= 15, "{}", sent.len());
    assert_eq!(limiter.waiting(), 0);
}

/// Many at once on several threads, in real time: the count holds and all are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_gets_no_more_than_the_window() {
    let limiter = limiter(ms(200));
    let tasks = crate::domain::tasks::Tasks::default();
    let crowd = (0..200).map(|number| {
        let limiter = Arc::clone(&limiter);
        tasks.spawn(async move { limiter.enter(if number % 3 == 0 { cancel() } else { order() }).await.is_ok() })
    });
    let crowd: Vec<_> = crowd.collect();
    let passed = join_all(crowd).await.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    assert_eq!(passed, 10);
    assert_eq!(limiter.waiting(), 0);
}
