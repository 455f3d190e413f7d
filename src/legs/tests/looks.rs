//! What goes by a leg before, while and after the broker said as what it sees it.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Notify, Semaphore};

use super::*;

const OWN: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xff));

/// A broker's `getIP` that is told what to answer.
struct Oracle {
    /// The answers to come by the primary; after them its last one for ever.
    primary: Mutex<Vec<Option<IpAddr>>>,
    secondary: Option<IpAddr>,
    /// One for each answer that may be given.
    may_answer: Arc<Semaphore>,
    token: AtomicBool,
    anothers: AtomicBool,
    calls: AtomicUsize,
    was_called: Notify,
}

impl GetIp for Oracle {
    fn can_call(&self, _: &Legs) -> bool {
        self.token.load(Ordering::Relaxed)
    }

    fn get_ip(&self, _: &Arc<Legs>, role: Role) -> Option<BoxFuture<'static, Option<SeenAddress>>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.was_called.notify_one();
        let detected = match role {
            Role::Primary => {
                let mut answers = self.primary.lock().unwrap();
                if answers.len() > 1 { answers.remove(0) } else { answers.first().copied().flatten() }
            }
            Role::Secondary => self.secondary,
        };
        let may_answer = Arc::clone(&self.may_answer);
        Some(Box::pin(async move {
            let _permit = may_answer.acquire().await;
            Some(SeenAddress { detected, orders_allowed: None })
        }))
    }

    fn is_anothers(&self, legs: &Legs, address: IpAddr) -> bool {
        assert_eq!((legs.account().as_str(), address), ("a1", OTHER));
        self.anothers.load(Ordering::Relaxed)
    }
}

/// Legs that are looked after, with a broker that answers so; it is silent if `answers` is false.
async fn looked_after(primary: &[Option<IpAddr>], secondary: Option<IpAddr>, answers: bool) -> (Bench, Arc<Oracle>) {
    let bench = bench(Duration::from_millis(300)).await;
    let oracle = Arc::new(Oracle {
        primary: Mutex::new(primary.to_vec()),
        secondary,
        may_answer: Arc::new(Semaphore::new(if answers { Semaphore::MAX_PERMITS } else { 0 })),
        token: AtomicBool::new(true),
        anothers: AtomicBool::new(true),
        calls: AtomicUsize::new(0),
        was_called: Notify::new(),
    });
    bench.supervisor.set_get_ip(Arc::<Oracle>::clone(&oracle));
    bench.supervisor.start(&bench.tasks);
    (bench, oracle)
}

async fn lease(legs: &Arc<Legs>, purpose: Purpose) -> Result<Role, NoLeg> {
    let leased = legs.lease(&api(), purpose, Reuse::Never, Instant::now() + PATIENCE).await;
    leased.map(|(leg, _)| leg.role())
}

fn word(legs: &Legs, role: Role) -> (&'static str, Option<Reason>) {
    let (state, _) = legs.leg(role).state();
    (state.as_str(), state.reason())
}

/// The first promise, on the far side: the address that the broker sees may be another account's.
#[tokio::test]
async fn a_leg_that_is_seen_as_another_twice_carries_nothing_though_it_is_pinned() {
    let (Bench { legs, .. }, oracle) = &looked_after(&[Some(OTHER)], Some(OWN), true).await;
    for purpose in [Purpose::OrderWrite, Purpose::Read, Purpose::TakesRiskAway] {
        assert_eq!(lease(legs, purpose).await.unwrap(), Role::Secondary, "{purpose:?}");
    }
    assert!(oracle.calls.load(Ordering::Relaxed) >= 3, "twice by the primary, once by the secondary");
    assert_eq!(word(legs, Role::Primary), ("tripped", Some(Reason::SeenAsAnother)));
    assert!(legs.other_than(Role::Secondary, Purpose::OrderWrite).is_none());
    let by = || Instant::now() + PATIENCE;
    assert_eq!(legs.dial(&api(), Purpose::OrderWrite, by()).await.unwrap().0.role(), Role::Secondary);

    legs.set_pin(Some(Role::Primary));
    let none = lease(legs, Purpose::OrderWrite).await.unwrap_err();
    assert_eq!(none.code(), "seen_as_another");
    let text = none.to_string();
    assert!(text.contains("sees ::1 as 2001:db8::ff") && text.contains("masquerade"), "{text}");
    let primary = legs.leg(Role::Primary);
    assert!(legs.dial(&api(), Purpose::OrderWrite, by()).await.is_err());
    assert!(primary.lease(&api(), Purpose::Read, Reuse::Idle, by()).await.is_err());
    let at = primary.resolve(&api(), by()).await.unwrap();
    assert!(primary.lease_for_errand(Errand::Signed, &at, by()).await.is_err());
    assert!(primary.lease_for_errand(Errand::GetIp, &at, by()).await.is_ok(), "how else would it be known again?");
}

/// A feed that was opened before it was known must not go on from what may be another account's address.
#[tokio::test]
async fn what_was_opened_before_a_leg_was_seen_as_another_is_told_to_end() {
    let (Bench { legs, .. }, _) = &looked_after(&[Some(OTHER)], Some(OWN), true).await;
    let open = legs.both().map(Leg::barred);
    assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Secondary);
    tokio::time::timeout(PATIENCE, open[0].cancelled()).await.unwrap();
    assert!(!open[1].is_cancelled(), "the other leg is none of it");
    assert!(legs.leg(Role::Primary).barred().is_cancelled(), "nor may anything begin by it");
}

/// Nobody may be kept from getting out, unless it were by another account's address.
#[tokio::test]
async fn with_both_legs_seen_as_another_only_what_takes_risk_away_goes_and_only_by_nobodys_address() {
    let (Bench { legs, .. }, oracle) = &looked_after(&[Some(OTHER)], Some(OTHER), true).await;
    for anothers in [true, false] {
        oracle.anothers.store(anothers, Ordering::Relaxed);
        for purpose in [Purpose::OrderWrite, Purpose::Read] {
            let none = lease(legs, purpose).await.unwrap_err();
            assert_eq!((none.code(), none.tried.len()), ("seen_as_another", 2), "{purpose:?}");
        }
        assert_eq!(lease(legs, Purpose::TakesRiskAway).await.is_ok(), !anothers);
        let (primary, by) = (legs.leg(Role::Primary), Instant::now() + PATIENCE);
        let login = primary.lease_for_errand(Errand::Login, &primary.resolve(&api(), by).await.unwrap(), by).await;
        assert_eq!(login.is_ok(), !anothers);
    }
}

/// An answer that is wrong once, a broker that hides what it sees, and one that says what cannot be.
#[tokio::test]
async fn one_sight_as_another_is_no_proof_and_no_sight_is_none_either() {
    for answers in [&[Some(OTHER), Some(OWN)][..], &[Some(OTHER), None], &[None], &[Some(OWN)]] {
        let (Bench { legs, .. }, oracle) = &looked_after(answers, None, true).await;
        assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Primary, "{answers:?}");
        assert_eq!(word(legs, Role::Primary), ("admits", None), "{answers:?}");
        let asked = oracle.calls.load(Ordering::Relaxed);
        assert_eq!(asked, answers.len());
        assert_eq!(lease(legs, Purpose::Read).await.unwrap(), Role::Primary);
        assert_eq!(oracle.calls.load(Ordering::Relaxed), asked, "asked again for the next request");
    }
}

/// A silent `getIP` costs a second, once; what it says in the end counts all the same.
#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_once_and_counts_when_it_comes() {
    let (Bench { legs, supervisor, .. }, oracle) = &looked_after(&[Some(OTHER)], Some(OWN), false).await;
    let mut events = supervisor.events();
    let began = Instant::now();
    assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Primary);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(5), "{took:?}");
    let began = Instant::now();
    assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Primary);
    assert!(began.elapsed() < Duration::from_millis(900), "waited again: {:?}", began.elapsed());
    assert_eq!(oracle.calls.load(Ordering::Relaxed), 1);

    oracle.may_answer.add_permits(100);
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.role, event.to.reason()), (Role::Primary, Some(Reason::SeenAsAnother)));
    assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Secondary);
}

/// A burst at the opening is one question a leg, and none of it leaves before the answer.
#[tokio::test]
async fn all_who_come_at_first_wait_for_one_question() {
    let (Bench { legs, .. }, oracle) = &looked_after(&[Some(OTHER)], Some(OWN), false).await;
    let all = futures_util::future::join_all((0..20).map(|_| lease(legs, Purpose::OrderWrite)));
    let (leases, ()) = tokio::join!(all, async {
        oracle.was_called.notified().await;
        assert_eq!((oracle.calls.load(Ordering::Relaxed), legs.leg(Role::Primary).open()), (1, 0));
        oracle.may_answer.add_permits(100);
    });
    for lease in leases {
        assert_eq!(lease.unwrap(), Role::Secondary);
    }
}

/// Its deadline is its own: it does not leave unproved, and the leg is no worse for it.
#[tokio::test]
async fn who_has_less_time_than_the_question_does_not_leave() {
    let (Bench { legs, .. }, _oracle) = &looked_after(&[Some(OWN)], Some(OWN), false).await;
    let by = Instant::now() + Duration::from_millis(100);
    let none = legs.lease(&api(), Purpose::OrderWrite, Reuse::Never, by).await.unwrap_err();
    assert_eq!(none.code(), "connect_timed_out");
    assert_eq!(legs.both().map(|leg| (leg.is_unseen(), leg.open())), [(true, 0), (true, 0)]);
    assert_eq!(word(legs, Role::Primary), ("admits", None));
}

/// Without a token nobody can ask; that must not stop what needs none, nor be forgotten.
#[tokio::test]
async fn what_could_not_be_asked_is_asked_when_there_is_a_token() {
    let (Bench { legs, .. }, oracle) = &looked_after(&[Some(OTHER)], Some(OWN), true).await;
    oracle.token.store(false, Ordering::Relaxed);
    assert_eq!(lease(legs, Purpose::Read).await.unwrap(), Role::Primary);
    assert_eq!(oracle.calls.load(Ordering::Relaxed), 0);
    oracle.token.store(true, Ordering::Relaxed);
    assert_eq!(lease(legs, Purpose::Read).await.unwrap(), Role::Secondary);
}

/// The rule that was in the way is gone: the leg comes back by itself, after the dwell.
#[tokio::test]
async fn a_leg_that_is_seen_right_again_heals() {
    let (Bench { legs, supervisor, .. }, oracle) = &looked_after(&[Some(OTHER)], Some(OWN), true).await;
    let mut events = supervisor.events();
    assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Secondary);
    *oracle.primary.lock().unwrap() = vec![Some(OWN)];
    let mut words = Vec::new();
    while words.last() != Some(&"admits") {
        words.push(tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap().to.as_str());
    }
    assert_eq!(words, ["tripped", "probing", "admits"]);
    assert_eq!(lease(legs, Purpose::OrderWrite).await.unwrap(), Role::Primary);
}
