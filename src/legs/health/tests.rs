//! The health of a leg and the choice between two, whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

const DWELL: Duration = Duration::from_secs(60);
const OWN: AddressSeen = AddressSeen { own_address: Some(true), orders_allowed: Some(true) };
const NOT_ALLOWED: AddressSeen = AddressSeen { own_address: Some(true), orders_allowed: Some(false) };
const SILENT: AddressSeen = AddressSeen { own_address: Some(true), orders_allowed: None };
const OTHER: AddressSeen = AddressSeen { own_address: Some(false), orders_allowed: Some(true) };
const NOTHING: AddressSeen = AddressSeen { own_address: None, orders_allowed: None };

/// A leg and a clock that is set by hand.
struct Desk {
    health: Health,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self { health: Health::new(DWELL, 1), now: Instant::now() }
    }

    fn on(&mut self, event: Event) -> &mut Self {
        self.health.on(event, self.now);
        self
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn word(&self) -> (&'static str, Option<Reason>) {
        (self.health.state().as_str(), self.health.state().reason())
    }

    fn admits(&self) -> (bool, bool) {
        (self.health.admits(Purpose::Read), self.health.admits(Purpose::OrderWrite))
    }
}

#[test]
fn a_leg_that_cannot_be_dialled_comes_back_after_a_dwell_of_healthy_probes() {
    let mut leg = Desk::new();
    leg.on(Event::DialFailed(Reason::ConnectTimedOut));
    assert_eq!(leg.word(), ("tripped", Some(Reason::ConnectTimedOut)));
    leg.wait(10).on(Event::Probed(PathState::Works, None));
    assert_eq!((leg.word(), leg.admits()), (("probing", Some(Reason::ConnectTimedOut)), (false, false)));
    leg.wait(59).on(Event::Probed(PathState::Works, None));
    assert_eq!(leg.word().0, "probing");
    leg.wait(1).on(Event::Probed(PathState::Works, None));
    assert_eq!((leg.word(), leg.admits()), (("admits", None), (true, true)));
    assert_eq!(leg.health.next_probe(), None);
}

#[test]
fn anything_bad_in_the_dwell_starts_it_anew() {
    for bad in [Event::Probed(PathState::Failed(Reason::TlsFailed), None), Event::DialFailed(Reason::TlsFailed)] {
        let mut leg = Desk::new();
        leg.on(Event::DialFailed(Reason::ConnectFailed)).on(Event::Probed(PathState::Works, None));
        leg.wait(59).on(bad);
        assert_eq!(leg.word(), ("tripped", Some(Reason::TlsFailed)));
        leg.wait(1).on(Event::Probed(PathState::Works, None)).wait(59).on(Event::Probed(PathState::Works, None));
        assert_eq!(leg.word().0, "probing");
        leg.wait(1).on(Event::Dialled);
        assert_eq!(leg.word().0, "admits", "a connection for a request is evidence too");
    }
}

/// Freebind hides that the address is gone; whatever fails then is because of it.
#[test]
fn a_leg_whose_address_is_gone_says_so_until_it_is_back() {
    let mut leg = Desk::new();
    leg.on(Event::AddressGone).on(Event::DialFailed(Reason::ConnectTimedOut));
    // Made a moment before the address went, told after.
    leg.on(Event::Dialled).wait(100).on(Event::Dialled);
    assert_eq!(leg.word(), ("tripped", Some(Reason::AddressGone)));
    leg.on(Event::AddressBack);
    assert_eq!(leg.health.next_probe(), Some(leg.now), "it is probed at once");
    leg.on(Event::Probed(PathState::Works, None));
    assert_eq!(leg.word(), ("probing", Some(Reason::AddressGone)));
    leg.wait(60).on(Event::Probed(PathState::Works, None));
    assert_eq!(leg.word().0, "admits");
}

/// A refused order says nothing of the line: reads go on, and no number of
/// connections proves that orders are taken again.
#[test]
fn a_refused_source_reads_on_and_needs_proof_for_orders() {
    let mut leg = Desk::new();
    leg.on(Event::SourceRefused);
    assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::SourceRefused)), (true, false)));
    for _ in 0..5 {
        leg.wait(60)
            .on(Event::Probed(PathState::Works, None))
            .on(Event::Probed(PathState::Works, Some(SILENT)))
            .on(Event::Dialled);
        assert_eq!(leg.admits(), (true, false));
    }
    leg.on(Event::Probed(PathState::Works, Some(OWN)));
    assert_eq!(leg.word(), ("probing", Some(Reason::SourceRefused)));
    leg.wait(30).on(Event::Seen(NOT_ALLOWED));
    assert_eq!(leg.word(), ("tripped", Some(Reason::OrdersNotAllowed)));
    leg.on(Event::SourceAccepted).wait(60).on(Event::Seen(OWN));
    assert_eq!((leg.word(), leg.admits()), (("admits", None), (true, true)));
}

/// A refusal must not be forgotten because the line failed and came back.
#[test]
fn each_kind_of_trouble_heals_by_its_own_evidence() {
    let mut leg = Desk::new();
    leg.on(Event::SourceRefused).on(Event::DialFailed(Reason::ConnectFailed));
    assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::ConnectFailed)), (false, false)));
    leg.on(Event::Dialled).wait(60).on(Event::Dialled);
    assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::SourceRefused)), (true, false)));
}

#[test]
fn an_address_that_the_broker_does_not_see_is_used_for_nothing() {
    let mut leg = Desk::new();
    leg.on(Event::Seen(OTHER));
    for event in [Event::Dialled, Event::SourceAccepted, Event::Seen(NOTHING), Event::Probed(PathState::Works, None)] {
        leg.wait(60).on(event);
        assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::SeenAsAnother)), (false, false)));
        for purpose in [Purpose::Read, Purpose::OrderWrite, Purpose::TakesRiskAway] {
            assert!(leg.health.rank(purpose).is_barred(), "{purpose:?} after {event:?}");
        }
    }
    leg.on(Event::Seen(SILENT)).wait(60).on(Event::Seen(SILENT));
    assert_eq!(leg.admits(), (true, true), "the right address is all that was in doubt");
}

/// A broker that says less than it did, or nothing, stops nobody.
#[test]
fn an_answer_that_does_not_say_trips_no_leg() {
    let mut leg = Desk::new();
    leg.on(Event::Seen(NOTHING))
        .on(Event::Probed(PathState::Works, Some(NOTHING)))
        .on(Event::Probed(PathState::NotTried, None));
    assert_eq!((leg.word(), leg.admits()), (("admits", None), (true, true)));
    assert!(!leg.health.rank(Purpose::OrderWrite).is_barred());
}

/// The address is right again, and the broker still refuses orders from it.
#[test]
fn a_leg_that_is_seen_right_again_is_not_thereby_allowed_to_order() {
    let mut leg = Desk::new();
    leg.on(Event::SourceRefused).on(Event::Seen(OTHER));
    assert_eq!(leg.word(), ("tripped", Some(Reason::SeenAsAnother)));
    leg.on(Event::Seen(SILENT)).wait(60).on(Event::Seen(SILENT));
    assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::SourceRefused)), (true, false)));
}

/// The broker has slow pages, and its second leg may not be allowed for orders: what a read says moves reads.
#[test]
fn a_read_without_a_reply_moves_reads_until_a_whole_one_came_and_orders_only_with_the_line() {
    let mut leg = Desk::new();
    leg.on(Event::NoReply);
    assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::NoReply)), (false, true)));
    // That it can be dialled says nothing of what is lost on it.
    leg.on(Event::Dialled).wait(60).on(Event::Probed(PathState::Works, None));
    assert_eq!(leg.admits(), (false, true));
    leg.on(Event::DialFailed(Reason::TlsTimedOut));
    assert_eq!((leg.word(), leg.admits()), (("tripped", Some(Reason::TlsTimedOut)), (false, false)));
    leg.on(Event::Probed(PathState::Works, Some(NOTHING))).wait(59).on(Event::Probed(PathState::Works, Some(NOTHING)));
    assert_eq!(leg.admits(), (false, false));
    leg.wait(1).on(Event::Probed(PathState::Works, Some(NOTHING)));
    assert_eq!((leg.word(), leg.admits()), (("admits", None), (true, true)));
}

#[test]
fn probes_back_off_to_thirty_seconds_and_are_steady_once_healthy() {
    let mut leg = Desk::new();
    leg.on(Event::DialFailed(Reason::ConnectFailed));
    let mut waits = Vec::new();
    for _ in 0..9 {
        let at = leg.health.next_probe().unwrap();
        waits.push(at - leg.now);
        leg.now = at;
        leg.on(Event::Probed(PathState::Failed(Reason::ConnectFailed), None));
    }
    for (n, wait) in waits.iter().enumerate() {
        let most = LONGEST_WAIT.min(Duration::from_secs(1 << n));
        assert!(*wait >= most / 2 && *wait <= most, "{n}: {wait:?}");
    }
    leg.on(Event::Probed(PathState::Works, None));
    let back = leg.now;
    while leg.word().0 != "admits" {
        let wait = leg.health.next_probe().unwrap() - leg.now;
        assert!(wait <= PROBE_EVERY.1, "{wait:?}");
        leg.now += wait;
        leg.on(Event::Probed(PathState::Works, None));
    }
    assert_eq!(leg.now - back, DWELL, "back as soon as it may be");
}

#[test]
fn the_least_troubled_leg_goes_first_and_none_is_refused_a_try() {
    let rank = |events: &[Event]| {
        let mut leg = Desk::new();
        for event in events {
            leg.on(*event);
        }
        leg.health.rank(Purpose::OrderWrite)
    };
    let ladder = [
        rank(&[]),
        rank(&[Event::SourceRefused]),
        rank(&[Event::DialFailed(Reason::TlsFailed), Event::Dialled]),
        rank(&[Event::DialFailed(Reason::TlsFailed)]),
        rank(&[Event::AddressGone]),
        rank(&[Event::Seen(OTHER)]),
    ];
    for (n, better) in ladder.iter().enumerate() {
        assert_eq!(choose(*better, *better, None), (Role::Primary, Some(Role::Secondary)));
        for worse in &ladder[n + 1..] {
            assert_eq!(choose(*better, *worse, None), (Role::Primary, Some(Role::Secondary)));
            assert_eq!(choose(*worse, *better, None), (Role::Secondary, Some(Role::Primary)));
            assert_eq!(choose(*worse, *better, Some(Role::Primary)), (Role::Primary, None));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Something is learnt of the primary, or of the secondary.
    Learn(bool, Event),
    /// Whatever probe is due next is made, with this end.
    Probe(PathState, Option<AddressSeen>),
    Pin(Option<Role>),
    Wait(u32),
}

/// The two legs of an account, and what a watcher remembers of each.
struct Account {
    legs: [Watched; 2],
    pin: Option<Role>,
    now: Instant,
    began: Instant,
}

struct Watched {
    health: Health,
    here: bool,
    /// When something bad was last learnt.
    last_bad: Option<Instant>,
    /// When its standing was last spoilt, and whether since then there was proof.
    spoilt: Option<(Instant, bool)>,
    /// When it was last seen as another, and whether since then it was seen right.
    barred: Option<(Instant, bool)>,
    /// When a read got no reply by it, and whether since then a whole one came.
    silent: Option<(Instant, bool)>,
    trips: u32,
}

impl Account {
    fn new(seed: u64) -> Self {
        let leg = |seed| Watched {
            health: Health::new(DWELL, seed),
            here: true,
            last_bad: None,
            spoilt: None,
            barred: None,
            silent: None,
            trips: 0,
        };
        let now = Instant::now();
        Self { legs: [leg(seed), leg(!seed)], pin: None, now, began: now }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Learn(secondary, event) => self.learn(usize::from(secondary), event),
            Step::Probe(line, sight) => {
                let due = self.legs.iter().enumerate().filter_map(|(n, l)| Some((l.health.next_probe()?, n))).min();
                let Some((at, leg)) = due else { return };
                self.now = self.now.max(at);
                self.learn(leg, Event::Probed(line, sight));
            }
            Step::Pin(pin) => self.pin = pin,
            Step::Wait(ms) => self.now += Duration::from_millis(ms.into()),
        }
        self.check();
    }

    fn learn(&mut self, leg: usize, event: Event) {
        let now = self.now;
        let leg = &mut self.legs[leg];
        let another = |sight: AddressSeen| sight.own_address == Some(false);
        let bad_sight = |sight: AddressSeen| !another(sight) && sight.orders_allowed == Some(false);
        let good_sight = |sight: AddressSeen| !another(sight) && sight.orders_allowed == Some(true);
        if let Event::Seen(sight) | Event::Probed(_, Some(sight)) = event {
            if another(sight) {
                (leg.barred, leg.last_bad) = (Some((now, false)), Some(now));
            } else if sight.own_address == Some(true)
                && let Some((_, proved)) = &mut leg.barred
            {
                *proved = true;
            }
        }
        match event {
            Event::NoReply => leg.silent = Some((now, false)),
            Event::Seen(_) | Event::Probed(_, Some(_)) | Event::SourceAccepted => {
                leg.silent.iter_mut().for_each(|(_, replied)| *replied = true);
            }
            Event::Probed(_, None)
            | Event::Dialled
            | Event::DialFailed(_)
            | Event::AddressGone
            | Event::AddressBack
            | Event::SourceRefused => {}
        }
        let (bad, spoilt, proof) = match event {
            Event::NoReply => (true, false, false),
            Event::DialFailed(_) | Event::AddressGone => (true, false, false),
            Event::SourceRefused => (true, true, false),
            Event::SourceAccepted => (false, false, true),
            Event::Seen(sight) => (bad_sight(sight), bad_sight(sight), good_sight(sight)),
            Event::Probed(line, sight) => {
                let spoilt = sight.is_some_and(bad_sight);
                (matches!(line, PathState::Failed(_)) || spoilt, spoilt, sight.is_some_and(good_sight))
            }
            Event::Dialled | Event::AddressBack => (false, false, false),
        };
        if matches!(event, Event::AddressGone | Event::AddressBack) {
            leg.here = event == Event::AddressBack;
        }
        if bad {
            leg.last_bad = Some(now);
        }
        if spoilt {
            leg.spoilt = Some((now, false));
        } else if proof && let Some((_, proved)) = &mut leg.spoilt {
            *proved = true;
        }
        let before = leg.health.state();
        leg.health.on(event, now);
        let after = leg.health.state();
        if before == LegState::Admits && after != LegState::Admits {
            leg.trips += 1;
        }
        if before != LegState::Admits && after == LegState::Admits {
            let bad = leg.last_bad.expect("it had tripped");
            assert!(now - bad >= DWELL, "back {:?} after the last trouble, by {event:?}", now - bad);
            assert!(leg.here, "back without its address");
        }
        if leg.health.standing.is_none() {
            assert!(leg.spoilt.is_none_or(|(at, proved)| proved && now - at >= DWELL), "orders again without proof");
            leg.spoilt = None;
        }
        if leg.health.replies.is_none() {
            let healed = leg.silent.is_none_or(|(at, replied)| replied && now - at >= DWELL);
            assert!(healed, "reads again without a whole reply, by {event:?}");
            leg.silent = None;
        }
        if leg.health.seen_as_another.is_none() {
            let healed = leg.barred.is_none_or(|(at, proved)| proved && now - at >= DWELL);
            assert!(healed, "signs again without having been seen right, by {event:?}");
            leg.barred = None;
        }
    }

    fn check(&self) {
        for purpose in [Purpose::Read, Purpose::OrderWrite] {
            let [primary, secondary] = &self.legs;
            let (first, then) = choose(primary.health.rank(purpose), secondary.health.rank(purpose), self.pin);
            let of = |role| if role == Role::Primary { primary } else { secondary };
            match self.pin {
                Some(pin) => assert_eq!((first, then), (pin, None)),
                None => {
                    let other = of(then.expect("no leg is refused a try"));
                    assert_ne!(Some(first), then);
                    let admits = |leg: &Watched| leg.health.admits(purpose);
                    assert!(admits(of(first)) || !admits(other), "a leg that does not admit went first");
                    assert!(of(first).here || !admits(other), "an address that is gone went first");
                    assert!(first == Role::Primary || !admits(primary), "the primary admits and was passed over");
                }
            }
        }
        for leg in &self.legs {
            let state = leg.health.state();
            let admits = [Purpose::Read, Purpose::OrderWrite].map(|purpose| leg.health.admits(purpose));
            assert_eq!(state == LegState::Admits, admits == [true; 2]);
            assert!(state.reason().is_none_or(|reason| Reason::ALL.contains(&reason)));
            match leg.health.next_probe() {
                None => assert_eq!(state, LegState::Admits, "a leg that is never probed again"),
                Some(at) => {
                    assert_ne!(state, LegState::Admits);
                    assert!(at <= self.now + LONGEST_WAIT, "the next probe is {:?} away", at - self.now);
                }
            }
            let elapsed = self.now - self.began;
            assert!(u64::from(leg.trips) <= 1 + elapsed.as_secs() / DWELL.as_secs(), "{} trips", leg.trips);
        }
    }
}

/// From a number, so that long runs cost no list of steps. Bad and good weather
/// alternate: without long good spells no leg would ever come back.
fn any_step(n: u64, good_weather: bool) -> Step {
    let pick = |shift: u32, of: usize| usize::try_from((n >> shift) & 0xffff).unwrap() % of;
    let reason = Reason::ALL[pick(0, Reason::ALL.len())];
    let sights = [OWN, NOT_ALLOWED, SILENT, OTHER, NOTHING];
    let sight = if good_weather { OWN } else { sights[pick(16, 5)] };
    let line = match pick(32, 6) {
        0 => PathState::NotTried,
        1 | 2 if !good_weather => PathState::Failed(reason),
        _ => PathState::Works,
    };
    let leg = pick(8, 2) == 0;
    match pick(40, if good_weather { 12 } else { 24 }) {
        0..4 => Step::Probe(line, (pick(24, 2) == 0 || good_weather).then_some(sight)),
        4..6 => Step::Learn(leg, Event::Dialled),
        6..8 => Step::Learn(leg, Event::AddressBack),
        8 => Step::Learn(leg, Event::Seen(sight)),
        9..11 => Step::Wait(u32::try_from(pick(24, 30_000)).unwrap()),
        11 => Step::Wait(1),
        12..15 => Step::Learn(leg, Event::DialFailed(reason)),
        15 => Step::Learn(leg, Event::AddressGone),
        16..18 => Step::Learn(leg, Event::SourceRefused),
        18 => Step::Learn(leg, Event::SourceAccepted),
        21 => Step::Learn(leg, Event::NoReply),
        19 => Step::Pin([None, Some(Role::Primary), Some(Role::Secondary)][pick(24, 3)]),
        20 => Step::Pin(None),
        _ => Step::Probe(line, None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Three million steps; a failure prints its seed.
    #[test]
    fn whatever_happens_the_rules_of_the_module_hold(seed in any::<u64>()) {
        let mut account = Account::new(seed);
        let mut random = Health::new(DWELL, seed);
        let mut back = 0;
        for n in 0..50_000_u32 {
            random.jittered(Duration::from_secs(1));
            let mixed = random.random.wrapping_mul(0xd6e8_feb8_6659_fd93);
            let tripped = account.legs.iter().filter(|leg| leg.health.state() != LegState::Admits).count();
            account.step(any_step(mixed ^ (mixed >> 29), n % 400 > 200));
            let now = account.legs.iter().filter(|leg| leg.health.state() != LegState::Admits).count();
            back += tripped.saturating_sub(now);
        }
        prop_assert!(back > 50, "only {} legs came back: this proves little", back);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same in short runs that shrink to what matters.
    #[test]
    fn the_rules_hold_in_short_runs_too(steps in prop::collection::vec((any::<u64>(), any::<bool>()), 1..200)) {
        let mut account = Account::new(7);
        for (n, good_weather) in steps {
            account.step(any_step(n, good_weather));
        }
    }
}
