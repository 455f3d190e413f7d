//! One table or story for each rule.

use std::time::Duration;

use super::schedule::{due, plus};
use super::*;
use crate::domain::Platform;

/// Monday, 23 November 2026; times of day in India.
pub(super) fn at(day: i8, hour: i8, minute: i8) -> Timestamp {
    let text = format!("2026-11-{day:02}T{hour:02}:{minute:02}:00+05:30");
    text.parse().unwrap()
}

pub(super) fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub(super) const AUTOMATIC: LoginMethods =
    LoginMethods { platform: Platform::Automatic, pin_totp: true, consent: false, pair: true };
const MANUAL: LoginMethods = LoginMethods { platform: Platform::Manual, pin_totp: false, consent: false, pair: true };

pub(super) fn facts(generation: u64, issued_at: Timestamp, consumer: Consumer) -> TokenFacts {
    let expires_at = plus(issued_at, SignedDuration::from_hours(24));
    TokenFacts { generation, issued_at, expires_at, consumer, source: TokenSource::Manual }
}

pub(super) fn refusal(verdict: RetryAdvice, login_refusal: bool) -> AttemptOutcome {
    AttemptOutcome::Refused(Refusal { verdict, login_refusal, trouble: Trouble::new("test", "it said no", "mend it") })
}

fn wrong_pin() -> AttemptOutcome {
    refusal(RetryAdvice::NextWindow, true)
}

/// One account, driven by hand.
pub(super) struct Desk {
    pub(super) life: Lifecycle,
    pub(super) now: Timestamp,
    pub(super) recorded: Box<Budget>,
    pub(super) stored: Option<TokenFacts>,
    pub(super) generation: u64,
    pub(super) did: Vec<Action>,
}

impl Desk {
    pub(super) fn open(means: LoginMethods, now: Timestamp) -> Self {
        let life = Lifecycle::new(&AccountName::parse("alpha").unwrap(), means);
        Self { life, now, recorded: Box::default(), stored: None, generation: 0, did: Vec::new() }
    }

    pub(super) fn started(means: LoginMethods, now: Timestamp, stored: Option<TokenFacts>) -> Self {
        let mut desk = Self::open(means, now);
        desk.generation = stored.map_or(0, |facts| facts.generation);
        desk.stored = stored;
        desk.feed(Event::Started { stored, budget: Box::default() });
        desk
    }

    /// Killed and started again: all that is left is what was stored.
    pub(super) fn restarted(&mut self, means: LoginMethods) {
        self.life = Lifecycle::new(&AccountName::parse("alpha").unwrap(), means);
        self.feed(Event::Started { stored: self.stored, budget: self.recorded.clone() });
    }

    pub(super) fn feed(&mut self, event: Event) -> &[Action] {
        self.did = self.life.handle(event, self.now, &Weekdays);
        for action in &self.did {
            if let Action::Record(budget) = action {
                self.recorded = budget.clone();
            }
        }
        &self.did
    }

    pub(super) fn wait(&mut self, wait: SignedDuration) -> &mut Self {
        self.now = plus(self.now, wait);
        self
    }

    pub(super) fn wake(&self) -> Option<(Timestamp, bool)> {
        self.did
            .iter()
            .find_map(|action| if let Action::Wake { at, turn } = action { Some((*at, *turn)) } else { None })
    }

    /// The id of the login or renewal begun by the last event.
    pub(super) fn begun(&self) -> Option<u64> {
        self.did.iter().find_map(|action| {
            if let Action::Mint { id, .. } | Action::Renew { id, .. } | Action::MakeConsent { id, .. } = action {
                Some(*id)
            } else {
                None
            }
        })
    }

    pub(super) fn check_wanted(&self) -> Option<u64> {
        self.did.iter().find_map(|action| if let Action::CheckStored { id, .. } = action { Some(*id) } else { None })
    }

    /// Go to the wake that was asked for, and grant it.
    pub(super) fn go(&mut self) -> &mut Self {
        let (when, turn) = self.wake().expect("a wake was asked for");
        self.now = self.now.max(when);
        self.feed(Event::Woken { turn });
        // The morning's look finds nothing, unless a test says otherwise.
        if self.check_wanted().is_some() && self.state() == "live" {
            self.check(CheckOutcome::Lives);
        }
        self
    }

    /// Follow wakes until there is none before `end`.
    pub(super) fn go_until(&mut self, end: Timestamp) -> &mut Self {
        while self.wake().is_some_and(|(when, _)| when < end) {
            self.go();
        }
        self
    }

    /// Follow wakes until a login begins; its id.
    pub(super) fn login(&mut self) -> u64 {
        for _ in 0..20 {
            if let Some(id) = self.go().begun() {
                return id;
            }
        }
        panic!("no login began: {:?}", self.did);
    }

    pub(super) fn end(&mut self, id: u64, outcome: AttemptOutcome) -> &[Action] {
        self.feed(Event::Attempt { id, outcome })
    }

    pub(super) fn token(&mut self, consumer: Consumer) -> TokenFacts {
        self.generation += 1;
        facts(self.generation, self.now, consumer)
    }

    pub(super) fn minted(&mut self, id: u64) -> TokenFacts {
        let facts = self.token(Consumer::App);
        self.stored = Some(facts);
        self.end(id, AttemptOutcome::Minted(facts));
        facts
    }

    pub(super) fn state(&self) -> &'static str {
        self.life.state().as_str()
    }

    pub(super) fn check(&mut self, outcome: CheckOutcome) {
        let id = self.check_wanted().expect("a check was asked for");
        self.feed(Event::Checked { id, outcome, why: None });
    }
}

/// The first login must not wait for the first order.
#[test]
fn an_automatic_account_logs_in_as_soon_as_it_has_a_pair() {
    let mut desk = Desk::started(LoginMethods { pair: false, ..AUTOMATIC }, at(23, 10, 0), None);
    assert_eq!((desk.state(), desk.wake()), ("absent", None));

    desk.feed(Event::MeansChanged { means: AUTOMATIC, credentials_changed: false });
    assert_eq!((desk.state(), desk.wake()), ("minting", Some((at(23, 10, 0), true))));
    let id = desk.login();
    let told = desk.did.iter().position(|action| matches!(action, Action::Record(_)));
    let sent = desk.did.iter().position(|action| matches!(action, Action::Mint { .. }));
    assert!(told < sent, "written down before it is sent: {:?}", desk.did);
    desk.minted(id);
    assert!(desk.did.contains(&Action::Sign(Some(1))), "{:?}", desk.did);
    assert_eq!(desk.state(), "live");
}

/// The cap on logins per second over all accounts holds only if none begins without its turn.
#[test]
fn no_login_begins_without_a_turn() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    assert_eq!(desk.begun(), None);
    desk.feed(Event::Woken { turn: false });
    assert_eq!(desk.begun(), None);
    desk.feed(Event::RefreshWanted { vouched: true });
    assert_eq!(desk.begun(), None);
    desk.feed(Event::Woken { turn: true });
    assert!(desk.begun().is_some());
}

/// A second mint would kill the token that a person has just given.
#[test]
fn an_account_that_was_given_a_token_does_not_log_in() {
    let given = facts(1, at(23, 9, 30), Consumer::SelfMade);
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), Some(given));
    assert_eq!(desk.state(), "live");
    desk.feed(Event::Woken { turn: true });
    assert_eq!(desk.begun(), None);
    assert!(desk.wake().unwrap().0 >= at(24, 7, 30));
}

/// Restarts are frequent; a mint at each would kill sessions and spend the limit.
#[test]
fn a_restart_goes_on_with_the_stored_token() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 8, 0), None);
    let id = desk.login();
    desk.minted(id);
    desk.wait(secs(3600)).restarted(AUTOMATIC);
    assert_eq!((desk.state(), desk.begun()), ("live", None));
    assert!(desk.did.contains(&Action::Sign(Some(1))));
    // It is asked about, once, since the day's look was due while nobody ran.
    desk.check(CheckOutcome::Lives);
    assert_eq!((desk.state(), desk.check_wanted()), ("live", None));
}

#[test]
fn a_manual_account_without_a_token_needs_a_person() {
    let mut desk = Desk::started(MANUAL, at(23, 10, 0), None);
    assert_eq!(desk.state(), "needs_person");
    let given = desk.token(Consumer::App);
    desk.feed(Event::GivenByHand(given));
    assert_eq!(desk.state(), "live");
    desk.go_until(given.expires_at);
    assert_eq!((desk.state(), desk.wake()), ("live", Some((given.expires_at, false))));
    desk.go();
    assert_eq!(desk.state(), "needs_person");
    assert!(desk.did.contains(&Action::Sign(None)));
}

/// A token that another program's login killed in the night is replaced before the
/// market opens, not at the first order.
#[test]
fn a_token_that_died_in_the_night_is_found_before_the_market_opens() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 7, 45), None);
    let id = desk.login();
    desk.minted(id);
    let (look, turn) = desk.wake().unwrap();
    assert!(!turn && look >= at(23, 8, 30) && look < at(23, 8, 45), "{look}");
    desk.now = look;
    desk.feed(Event::Woken { turn: false });
    desk.check(CheckOutcome::NoAnswer);
    assert_eq!(desk.state(), "live");
    let (again, _) = desk.wake().unwrap();
    desk.now = again;
    desk.feed(Event::Woken { turn: false });
    desk.check(CheckOutcome::Dead);
    assert_eq!(desk.state(), "minting");
    let id = desk.login();
    desk.minted(id);
    assert!(desk.now < at(23, 8, 50));
    assert!(desk.wake().unwrap().0 > at(24, 0, 0), "one look a day");
}

/// What the broker counts is attempts, so those that failed count as well; and
/// those that never left do not, or a dead leg would spend the account's limit.
#[test]
fn the_cooldown_counts_from_every_attempt_that_may_have_left() {
    for (outcome, counts) in [
        (Some(AttemptOutcome::Unknown), true),
        (Some(wrong_pin()), true),
        (Some(refusal(RetryAdvice::Unknown, false)), true),
        (Some(refusal(RetryAdvice::RetryAfter(Duration::from_secs(1)), false)), true),
        (None, true), // killed
        (Some(AttemptOutcome::NotSent), false),
    ] {
        let name = format!("{outcome:?}");
        let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
        let id = desk.login();
        desk.wait(secs(4));
        let made = desk.now;
        match outcome {
            Some(outcome) => drop(desk.end(id, outcome).len()),
            None => desk.restarted(AUTOMATIC),
        }
        let (next, _) = desk.wake().unwrap();
        assert_eq!(next >= plus(made, COOLDOWN), counts, "{name}: {next}");
        assert!(next <= plus(made, secs(200)), "{name}: {next}");
    }
}

/// Of two minutes and three seconds nobody says that the next code is waited for.
#[test]
fn a_wait_is_told_by_what_takes_longest() {
    for second in 0..30 {
        let opened = plus(at(23, 10, 0), secs(second));
        let mut desk = Desk::started(AUTOMATIC, opened, None);
        let why = |desk: &Desk| if let State::Waiting { why, .. } = desk.life.state() { Some(*why) } else { None };
        assert!(matches!(why(&desk), None | Some(Why::NextCode)), "second {second}: {:?}", desk.life.state());
        assert_eq!(why(&desk).is_some(), second > 25, "second {second}");
        let id = desk.login();
        desk.wait(secs(1));
        desk.end(id, AttemptOutcome::Unknown);
        assert!(!matches!(why(&desk), None | Some(Why::NextCode)), "second {second}: {:?}", desk.life.state());
    }
    // It never left, so only its code is spent: two seconds of pause, and then most of the code's thirty.
    let mut desk = Desk::started(AUTOMATIC, plus(at(23, 10, 0), secs(3)), None);
    let id = desk.login();
    desk.end(id, AttemptOutcome::NotSent);
    assert!(matches!(desk.life.state(), State::Waiting { why: Why::NextCode, .. }), "{:?}", desk.life.state());
}

/// A leg that cannot dial may be back in seconds.
#[test]
fn what_could_not_be_sent_is_tried_again_soon_and_then_less_often() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let id = desk.login();
        let before = desk.now;
        desk.end(id, AttemptOutcome::NotSent);
        waits.push(desk.wake().unwrap().0.duration_since(before));
    }
    assert!(waits[0] < secs(35), "{waits:?}"); // the code is spent, so the next window
    assert!(waits[9] <= secs(95), "{waits:?}");
    let id = desk.login();
    desk.minted(id);
    assert_eq!(desk.state(), "live");
}

/// Whoever mends the line and reloads does not wait out a backoff; and finds out before what was wrong with it.
#[test]
fn a_login_that_could_not_be_sent_says_why_and_is_tried_at_once_when_the_line_may_work() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    for _ in 0..8 {
        let id = desk.login();
        desk.life.could_not_send("primary: no route to host".to_owned());
        desk.end(id, AttemptOutcome::NotSent);
    }
    let trouble = desk.life.trouble().unwrap();
    assert_eq!(trouble.code, "login_not_sent");
    assert!(trouble.summary.ends_with(": primary: no route to host"), "{trouble:?}");
    let waits = desk.wake().unwrap().0.duration_since(desk.now);
    desk.feed(Event::LineMayWork);
    let then = desk.wake().unwrap().0.duration_since(desk.now);
    assert!(then < waits, "{then} is no sooner than {waits}");
}

/// The broker takes a code once; one that arrives late counts as a refused login.
#[test]
fn a_code_is_used_once_and_never_late() {
    for second in 0..30 {
        let mut desk = Desk::open(AUTOMATIC, plus(at(23, 10, 0), secs(second)));
        desk.feed(Event::Started { stored: None, budget: Box::default() });
        desk.login();
        let Some(Action::Mint { strategy: Strategy::PinTotp { step }, latest, .. }) =
            desk.did.iter().find(|action| matches!(action, Action::Mint { .. }))
        else {
            panic!("{:?}", desk.did)
        };
        assert_eq!(*step, totp_step(desk.now));
        assert_eq!(totp_step(*latest), *step, "second {second}");
        assert!(latest.as_second() % 30 <= 27, "second {second}: {latest}");
        assert!(*latest > desk.now);

        // Not sent: the cooldown is not spent, the code is.
        let id = desk.begun().unwrap();
        let used = *step;
        desk.end(id, AttemptOutcome::NotSent);
        desk.login();
        assert!(
            desk.did.iter().any(
                |action| matches!(action, Action::Mint { strategy: Strategy::PinTotp { step }, .. } if *step > used)
            )
        );
    }
}

/// The host's clock is a day ahead, or the token has ended: before its clock was held against the broker's nobody knows.
#[test]
fn an_end_by_a_clock_that_was_not_measured_is_asked_about_before_anything_is_done() {
    let stored = || facts(3, at(23, 10, 0), Consumer::SelfMade);
    for means in [AUTOMATIC, MANUAL] {
        let opened = || {
            let mut desk = Desk::started(means, at(24, 11, 0), Some(stored()));
            let id = desk.check_wanted().expect("a question");
            assert_eq!((desk.begun(), desk.state()), (None, "waiting"), "{means:?}");
            desk.wait(secs(1));
            (desk, id)
        };
        // It was the clock.
        let (mut desk, id) = opened();
        desk.feed(Event::ClockSkew(SignedDuration::from_hours(-24)));
        assert_eq!(desk.state(), "live", "{means:?}");
        desk.feed(Event::Checked { id, outcome: CheckOutcome::Lives, why: None });
        assert_eq!((desk.begun(), desk.state()), (None, "live"));
        // It was not. Asked in vain, an account that logs in itself does so; of the other nothing is known, and it is
        // asked again.
        for outcome in [CheckOutcome::Dead, CheckOutcome::NoAnswer, CheckOutcome::Unclear] {
            let (mut desk, id) = opened();
            if outcome == CheckOutcome::Dead {
                desk.feed(Event::ClockSkew(SignedDuration::ZERO));
            }
            desk.feed(Event::Checked { id, outcome, why: None });
            match (means.platform, outcome) {
                (Platform::Automatic, _) => {
                    let id = desk.login();
                    desk.minted(id);
                    assert_eq!(desk.state(), "live");
                }
                (Platform::Manual, CheckOutcome::Dead) => {
                    assert_eq!(desk.state(), "needs_person");
                    assert_eq!(desk.life.trouble().unwrap().code, "token_expired");
                }
                (Platform::Manual, _) => {
                    assert_eq!(desk.state(), "waiting");
                    let again = desk.go().check_wanted();
                    assert!(again.is_some_and(|again| again != id), "{outcome:?}: {:?}", desk.did);
                }
            }
        }
    }
    // Once it was measured, an end is an end.
    let mut desk = Desk::open(MANUAL, at(24, 11, 0));
    desk.feed(Event::ClockSkew(secs(0)));
    desk.feed(Event::Started { stored: Some(stored()), budget: Box::default() });
    assert_eq!((desk.check_wanted(), desk.state()), (None, "needs_person"));
}

/// An attempt could not be sent, a token was asked about, and then the clock was found to be a day ahead.
#[test]
fn a_clock_that_is_corrected_makes_nobody_wait_for_tomorrow() {
    let mut desk = Desk::started(AUTOMATIC, at(24, 10, 0), None);
    let id = desk.login();
    desk.end(id, AttemptOutcome::NotSent);
    desk.now = plus(desk.now, SignedDuration::from_hours(-25));
    desk.feed(Event::Woken { turn: false });
    let (wake, _) = desk.wake().unwrap();
    assert!(wake.duration_since(desk.now) < SignedDuration::from_mins(3), "{wake} at {}", desk.now);
    let stored = facts(3, at(24, 9, 0), Consumer::SelfMade);
    let mut desk = Desk::started(MANUAL, at(24, 10, 0), Some(stored));
    desk.feed(Event::Refused { generation: 3, by: By::Read });
    let id = desk.check_wanted().unwrap();
    desk.feed(Event::Checked { id, outcome: CheckOutcome::NoAnswer, why: None });
    desk.now = plus(desk.now, SignedDuration::from_hours(-25));
    desk.feed(Event::Woken { turn: false });
    let (wake, _) = desk.wake().unwrap();
    assert!(wake.duration_since(desk.now) <= SignedDuration::from_mins(1), "{wake} at {}", desk.now);
}

/// A host clock that is a minute off makes codes that nobody takes.
#[test]
fn codes_and_ends_are_read_by_the_brokers_clock() {
    let mut desk = Desk::open(AUTOMATIC, at(23, 10, 0));
    desk.feed(Event::ClockSkew(secs(65)));
    desk.feed(Event::Started { stored: None, budget: Box::default() });
    let id = desk.login();
    assert!(desk.did.iter().any(|action| matches!(action,
        Action::Mint { strategy: Strategy::PinTotp { step }, .. } if *step == totp_step(plus(desk.now, secs(65))))));
    let mut token = desk.token(Consumer::App);
    token.expires_at = plus(desk.now, secs(60)); // ended 5 s ago, at the broker
    desk.end(id, AttemptOutcome::Minted(token));
    assert!(!desk.life.state().signs());
}

/// A third refusal may lock the account at the broker.
#[test]
fn two_refused_logins_stop_until_credentials_change() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    for _ in 0..2 {
        let id = desk.login();
        desk.end(id, wrong_pin());
    }
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
    assert!(desk.life.trouble().unwrap().summary.contains("it said no"));

    // Neither time, nor a restart, nor a plain request opens it.
    desk.wait(SignedDuration::from_hours(30)).restarted(AUTOMATIC);
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
    desk.feed(Event::RefreshWanted { vouched: false });
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
    let given = desk.token(Consumer::App);
    desk.feed(Event::GivenByHand(given));
    assert_eq!(desk.state(), "live");
    assert_eq!(desk.go_until(given.expires_at).go().state(), "needs_person", "the given token ended");

    // A person who vouches gets one try, and new credentials two.
    desk.feed(Event::RefreshWanted { vouched: true });
    let id = desk.login();
    desk.end(id, wrong_pin());
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
    desk.feed(Event::MeansChanged { means: AUTOMATIC, credentials_changed: true });
    for _ in 0..2 {
        let id = desk.login();
        desk.end(id, wrong_pin());
    }
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
}

/// A refusal that a crash hid is a refusal all the same.
#[test]
fn an_unheard_answer_counts_as_a_refusal_where_it_may_be_one() {
    // Credentials that never worked: refused once, then killed.
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.end(id, wrong_pin());
    desk.login();
    desk.restarted(AUTOMATIC);
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));

    // Refused once, then an error page: what it hides may be the second.
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    for outcome in [refusal(RetryAdvice::Unknown, false), wrong_pin()] {
        assert_eq!(desk.state(), if desk.recorded.errors == 0 { "minting" } else { "waiting" });
        let id = desk.login();
        desk.end(id, outcome);
    }
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));

    // Credentials that worked: an outage stops nothing...
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    let token = desk.minted(id);
    desk.wait(secs(1000)).feed(Event::Refused { generation: token.generation, by: By::Write });
    for _ in 0..5 {
        let id = desk.login();
        desk.end(id, AttemptOutcome::Unknown);
        // ... though no login is made before the broker answers anything at all ...
        for _ in 0..4 {
            desk.check(CheckOutcome::NoAnswer);
            assert!(matches!(desk.life.state(), State::Waiting { why: Why::Check, .. }), "{:?}", desk.life.state());
            desk.wait(secs(1000)).feed(Event::Woken { turn: true });
            assert_eq!(desk.begun(), None);
        }
        desk.check(CheckOutcome::Unclear);
    }
    // ... but the first refusal that is heard makes the unheard ones count.
    let id = desk.login();
    desk.end(id, wrong_pin());
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
}

/// A code that came late is no reason to stop: the next login proves the credentials.
#[test]
fn a_login_that_succeeds_forgets_refusals() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    for _ in 0..3 {
        let id = desk.login();
        desk.end(id, wrong_pin());
        let id = desk.login();
        let token = desk.minted(id);
        assert_eq!(desk.life.budget().refusals, 0);
        desk.wait(secs(1000)).feed(Event::Refused { generation: token.generation, by: By::Write });
    }
    assert_eq!(desk.state(), "minting");
}

#[test]
fn an_answer_that_needs_a_person_stops_logins_and_survives_a_restart() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.end(id, refusal(RetryAdvice::AskPerson, false));
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
    desk.restarted(AUTOMATIC);
    assert_eq!((desk.state(), desk.wake()), ("needs_person", None));
    assert_eq!(desk.life.trouble().unwrap().code, "test");
    desk.feed(Event::RefreshWanted { vouched: false });
    desk.login();
}

/// Automatic first: a person who logs in elsewhere each day is what this spares.
#[test]
fn a_failing_automatic_account_offers_the_link_and_makes_none_by_itself() {
    let means = LoginMethods { consent: true, ..AUTOMATIC };
    let mut desk = Desk::started(means, at(23, 10, 0), None);
    for _ in 0..2 {
        let id = desk.login();
        desk.end(id, wrong_pin());
    }
    assert!(matches!(desk.life.state(), State::NeedsPerson { consent: true, .. }), "{:?}", desk.life.state());
    assert_eq!(desk.wake(), None);

    desk.feed(Event::ConsentReturned);
    assert_eq!(desk.wake(), None, "nobody asked for a link");
    desk.feed(Event::ConsentWanted);
    let id = desk.begun().unwrap();
    assert_eq!(desk.recorded.consents_today, 1);
    desk.end(id, AttemptOutcome::ConsentMade);
    assert!(desk.life.awaits_consent(desk.now));
    desk.wait(secs(30)).feed(Event::ConsentReturned);
    let (next, turn) = desk.wake().unwrap();
    assert!(turn && next >= plus(desk.recorded.last_mint_attempt.unwrap(), COOLDOWN), "{next}");
    let id = desk.login();
    assert!(desk.did.iter().any(|action| matches!(action, Action::Mint { strategy: Strategy::Consent, .. })));
    desk.minted(id);
    assert_eq!(desk.state(), "live");
    // The credentials are no better for it.
    assert!(desk.life.budget().locked_out());
}

/// The broker counts 25 links a day and then refuses them for the rest of it.
#[test]
fn a_day_has_25_links_and_a_restart_no_more() {
    let means = LoginMethods { platform: Platform::Automatic, pin_totp: false, consent: true, pair: true };
    let mut desk = Desk::started(means, at(23, 22, 0), None);
    for _ in 0..CONSENTS_A_DAY {
        desk.wait(secs(60)).feed(Event::ConsentWanted);
        let id = desk.begun().unwrap();
        desk.end(id, AttemptOutcome::Unknown);
        desk.restarted(means);
    }
    desk.feed(Event::ConsentWanted);
    assert!(matches!(&desk.did[0], Action::DenyConsent(trouble) if trouble.code == "consent_limit"), "{:?}", desk.did);
    assert_eq!(desk.life.consents_left(desk.now), 0);
    desk.now = at(24, 0, 1); // India's midnight, not UTC's
    desk.feed(Event::ConsentWanted);
    assert!(desk.begun().is_some());
}

#[test]
fn the_brokers_own_word_on_links_is_kept() {
    let means = LoginMethods { platform: Platform::Automatic, pin_totp: false, consent: true, pair: true };
    let mut desk = Desk::started(means, at(23, 10, 0), None);
    desk.feed(Event::ConsentWanted);
    let id = desk.begun().unwrap();
    desk.end(id, refusal(RetryAdvice::RetryAfter(Duration::from_secs(7200)), false));
    assert!(matches!(desk.life.state(), State::NeedsPerson { consent: false, .. }));
    desk.wait(secs(7201)).feed(Event::ConsentWanted);
    assert!(desk.begun().is_some());
}

/// RenewToken kills the token it is given, whatever we hear.
#[test]
fn a_lost_renewal_is_asked_about_and_not_repeated_blindly() {
    for (said, state) in [(CheckOutcome::Lives, "refreshing"), (CheckOutcome::Dead, "needs_person")] {
        for crash in [false, true] {
            let given = facts(1, at(23, 9, 0), Consumer::SelfMade);
            let mut desk = Desk::started(MANUAL, at(23, 10, 0), Some(given));
            let id = desk.login();
            assert!(matches!(desk.did[1], Action::Renew { generation: 1, .. }), "{:?}", desk.did);
            assert!(desk.now >= at(24, 7, 30) && desk.now <= at(24, 8, 30), "{}", desk.now);
            if crash {
                desk.restarted(MANUAL);
            } else {
                desk.end(id, AttemptOutcome::Unknown);
            }
            assert_eq!(desk.begun(), None);
            // No answer settles nothing; it is asked again.
            desk.check(CheckOutcome::NoAnswer);
            assert!(matches!(desk.wake(), Some((_, false))), "{:?}", desk.did);
            desk.feed(Event::Woken { turn: true });
            assert_eq!(desk.begun(), None, "a token in doubt is not renewed");
            desk.wait(secs(10)).feed(Event::Woken { turn: false });
            desk.check(said);
            assert_eq!(desk.state(), state, "{said:?}");
            if said == CheckOutcome::Lives {
                desk.login(); // and after the cooldown it is renewed
            } else {
                desk.restarted(MANUAL);
                assert_eq!(desk.state(), "needs_person", "a token known dead is dead after a restart");
            }
        }
    }
}

/// Two measurements: only tokens made on the web are renewed.
#[test]
fn a_token_that_is_not_renewed_lives_to_its_end() {
    let given = facts(1, at(23, 9, 0), Consumer::SelfMade);
    let mut desk = Desk::started(MANUAL, at(23, 10, 0), Some(given));
    let id = desk.login();
    desk.end(id, refusal(RetryAdvice::WrongKind, false));
    assert_eq!(desk.state(), "live");
    desk.go_until(given.expires_at);
    assert_eq!(desk.wake(), Some((given.expires_at, false)));
    desk.restarted(MANUAL);
    desk.go_until(given.expires_at);
    assert_eq!(desk.wake(), Some((given.expires_at, false)));
}

/// Somebody else's renewal, or the web button, while ours was on its way.
#[test]
fn a_renewal_that_finds_its_token_dead_does_not_kill_one_given_since() {
    let given = facts(1, at(23, 9, 0), Consumer::SelfMade);
    let mut desk = Desk::started(MANUAL, at(23, 10, 0), Some(given));
    desk.generation = 1;
    let id = desk.login();
    let newer = desk.token(Consumer::SelfMade);
    desk.feed(Event::GivenByHand(newer));
    desk.end(id, refusal(RetryAdvice::TokenDead, false));
    assert_eq!((desk.state(), desk.life.token().unwrap().generation), ("live", 2));
}

/// What other tools make their users do by switching platforms.
#[test]
fn a_stopped_automatic_account_renews_the_token_a_person_gave() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 9, 0), None);
    for _ in 0..2 {
        let id = desk.login();
        desk.end(id, wrong_pin());
    }
    let given = desk.token(Consumer::SelfMade);
    desk.feed(Event::GivenByHand(given));
    assert_eq!(desk.state(), "live");
    let id = desk.login();
    assert!(desk.did.iter().any(|action| matches!(action, Action::Renew { .. })), "{:?}", desk.did);
    desk.minted(id);
    assert!(desk.life.trouble().is_some(), "the reason stays shown while logins are stopped");
}

/// The reply is lost with the new token in it, and the old one died of it.
#[test]
fn a_lost_login_is_made_again_after_the_cooldown() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    let token = desk.minted(id);
    let id = desk.login();
    desk.end(id, AttemptOutcome::Unknown);
    let lost = desk.now;
    assert_eq!(desk.state(), "refreshing", "it may not have happened: the old token signs until somebody says no");
    desk.check(CheckOutcome::Dead);
    assert_eq!(desk.state(), "waiting");
    assert!(desk.did.contains(&Action::Sign(None)));
    desk.feed(Event::Refused { generation: token.generation, by: By::Write });
    desk.login();
    let waited = desk.now.duration_since(lost);
    assert!(waited >= COOLDOWN && waited < secs(180), "{waited}");
}

/// Thousands of requests may be refused at once; the account logs in once.
#[test]
fn refusals_on_the_data_path_share_one_login() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.minted(id);
    desk.wait(secs(3600)).feed(Event::Refused { generation: 1, by: By::Write });
    assert_eq!(desk.state(), "minting");
    let id = desk.login();
    for _ in 0..5 {
        desk.feed(Event::Refused { generation: 1, by: By::Write });
        assert_eq!((desk.begun(), desk.check_wanted()), (None, None));
    }
    desk.minted(id);
    desk.feed(Event::Refused { generation: 1, by: By::Write });
    assert_eq!(desk.state(), "live", "the older token's refusals say nothing of this one");
}

/// A fresh token is refused for a moment by parts of the broker that do not know it yet:
/// `/profile` decides, and meanwhile it signs.
#[test]
fn a_fresh_tokens_refusal_is_asked_about_while_it_signs() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.minted(id);
    let made = desk.now;
    for _ in 0..4 {
        desk.wait(secs(6)).feed(Event::Refused { generation: 1, by: By::Write });
        assert_eq!((desk.state(), desk.life.checking()), ("live", Some(1)));
        desk.check(CheckOutcome::Lives);
        assert_eq!((desk.state(), desk.life.checking()), ("live", None));
    }
    desk.feed(Event::Refused { generation: 1, by: By::Read });
    assert_eq!((desk.state(), desk.check_wanted()), ("live", None), "it was just found alive");
    desk.feed(Event::Refused { generation: 1, by: By::Write });
    desk.check(CheckOutcome::Dead);
    assert_eq!(desk.state(), "waiting");
    assert!(matches!(desk.life.state(), State::Waiting { until, .. } if *until >= plus(made, COOLDOWN)));
    desk.login();
    assert!(desk.now.duration_since(made) >= COOLDOWN);
}

/// Two chart reads answered 401/808 left a manual account without a token until a person came.
#[test]
fn a_data_back_ends_word_never_stops_a_token_that_profile_says_lives() {
    let given = facts(1, at(23, 9, 30), Consumer::App);
    let mut desk = Desk::started(MANUAL, at(23, 10, 0), Some(given));
    let mut asked = 0;
    // Twenty minutes of refused charts, one every two seconds.
    for _ in 0..600 {
        desk.wait(secs(2)).feed(Event::Refused { generation: 1, by: By::Read });
        assert_eq!((desk.state(), desk.life.signing()), ("live", Some(1)));
        if desk.check_wanted().is_some() {
            asked += 1;
            desk.check(CheckOutcome::Lives);
        }
    }
    assert!((35..=41).contains(&asked), "{asked} questions in 20 minutes");
    // An answer that says nothing is followed by some more questions, and not for ever.
    desk.wait(secs(60)).feed(Event::Refused { generation: 1, by: By::Read });
    let mut asked = 0;
    while desk.check_wanted().is_some() {
        asked += 1;
        desk.check(CheckOutcome::Unclear);
        assert_eq!((desk.state(), desk.life.signing()), ("live", Some(1)));
        if asked <= 8 {
            desk.feed(Event::Refused { generation: 1, by: By::Read });
            assert_eq!(desk.check_wanted(), None, "the backoff holds, also where it begins anew");
        }
        desk.wait(secs(70)).feed(Event::Woken { turn: false });
    }
    assert_eq!(asked, 12);
    // And what /profile says is final.
    desk.wait(secs(60)).feed(Event::Refused { generation: 1, by: By::Read });
    desk.check(CheckOutcome::Dead);
    assert_eq!((desk.state(), desk.life.signing()), ("needs_person", None));
}

/// An order's refusal stops an older token at once. Found alive it signs again; and where
/// only a person could bring another, one slip too many locks nobody out.
#[test]
fn an_orders_refusal_bars_an_older_token_until_profile_has_answered() {
    let given = facts(1, at(23, 9, 30), Consumer::App);
    let mut desk = Desk::started(MANUAL, at(23, 10, 0), Some(given));
    for _ in 0..2 {
        desk.wait(secs(5)).feed(Event::Refused { generation: 1, by: By::Write });
        let soon = plus(desk.now, CHECK_TIME);
        assert!(matches!(desk.life.state(), State::Waiting { until, why: Why::Check } if *until == soon));
        assert_eq!(desk.life.signing(), None);
        desk.check(CheckOutcome::Lives);
        assert_eq!((desk.state(), desk.life.signing()), ("live", Some(1)));
    }
    for _ in 0..5 {
        desk.wait(secs(60)).feed(Event::Refused { generation: 1, by: By::Write });
        assert_eq!((desk.state(), desk.life.signing()), ("live", Some(1)));
        desk.check(CheckOutcome::Lives);
    }
    desk.wait(secs(60)).feed(Event::Refused { generation: 1, by: By::Write });
    desk.check(CheckOutcome::Dead);
    assert_eq!(desk.state(), "needs_person");
}

/// Who mints beside us is found out by the second token that dies, and not by the first:
/// that may be anything.
#[test]
fn another_program_that_makes_tokens_is_named_after_the_second_time() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 11, 0), None);
    let named = |desk: &Desk| {
        desk.life.trouble().map(|trouble| trouble.code.to_string()) == Some("another_program_logs_in".to_owned())
    };
    let mut since = String::new();
    for time in 1..=3 {
        let id = desk.login();
        let token = desk.minted(id);
        assert_eq!(named(&desk), time > 2, "a live token does not hide it");
        desk.wait(secs(1800)).feed(Event::Refused { generation: token.generation, by: By::Write });
        if time == 1 {
            since = crate::domain::india::said(desk.now);
        }
        assert_eq!(named(&desk), time > 1, "{time}");
    }
    let summary = desk.life.trouble().unwrap().summary.to_string();
    assert!(summary.contains("3 times") && summary.contains(&since), "{summary}");
    // A restart does not forget it.
    desk.restarted(AUTOMATIC);
    let id = desk.login();
    desk.minted(id);
    assert!(named(&desk));
    // Half a day without one.
    desk.wait(SignedDuration::from_hours(12));
    let fresh = desk.token(Consumer::SelfMade);
    desk.feed(Event::GivenByHand(fresh));
    assert!(!named(&desk), "{:?}", desk.life.trouble());
}

/// Two programs that log one account in would kill each other's token every two minutes.
#[test]
fn tokens_that_keep_dying_early_are_replaced_ever_more_slowly() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 11, 0), None);
    let mut gaps = Vec::new();
    let mut last = desk.now;
    for _ in 0..5 {
        let id = desk.login();
        gaps.push(desk.now.duration_since(last));
        last = desk.now;
        let token = desk.minted(id);
        desk.wait(secs(131)).feed(Event::Refused { generation: token.generation, by: By::Write });
        if desk.check_wanted().is_some() {
            desk.check(CheckOutcome::Dead);
        }
    }
    assert!(gaps[1] < secs(170), "{gaps:?}");
    assert!(gaps[4] > secs(500) && gaps[4] <= secs(960), "{gaps:?}");
}

/// For any account, by hand at any hour: never a token that ends in market hours.
#[test]
fn no_token_is_left_to_end_inside_market_hours() {
    for account in 0..40 {
        let seed = schedule::seed_of(&format!("account-{account}"));
        for half_hours in 0..(7 * 48) {
            let issued = plus(at(16, 0, 0), secs(half_hours * 1800));
            let token = facts(1, issued, Consumer::App);
            let due = due(&token, SignedDuration::ZERO, seed, &Weekdays);
            assert!(due > issued && due < token.expires_at, "{issued} {due}");
            assert!(!Weekdays.is_market_hours(due), "{issued} {due}");
            // Between the refresh and the token's end no market hour passes without a slot.
            if Weekdays.is_market_hours(token.expires_at) {
                let (from, to) = Weekdays.refresh_window(india_date(token.expires_at));
                assert!(from <= due && due <= to, "{issued} {due}");
            }
        }
    }
}

/// 10,000 accounts in one minute would look like an attack; one account at the same
/// minute each day would have no time for a second try.
#[test]
fn slots_are_spread_stable_and_earlier_each_day() {
    let slot = |account: u32, day: i8| {
        let seed = schedule::seed_of(&format!("account-{account}"));
        due(&facts(1, at(day - 1, 11, 0), Consumer::App), SignedDuration::ZERO, seed, &Weekdays)
    };
    let mut minutes = [0_u32; 60];
    for account in 0..4000 {
        for day in 24..=27 {
            let first = slot(account, day);
            assert_eq!(first, slot(account, day));
            let (from, to) = Weekdays.refresh_window(india_date(at(day, 12, 0)));
            assert!(from <= first && first <= to);
            if day > 24 {
                let before = plus(slot(account, day - 1), SignedDuration::from_hours(24));
                assert_eq!(before.duration_since(first), secs(300));
            }
        }
        let minute = slot(account, 24).duration_since(at(24, 7, 30)).as_secs() / 60;
        minutes[usize::try_from(minute).unwrap()] += 1;
    }
    assert!(minutes.iter().all(|many| *many < 150), "{minutes:?}");
}

/// A refresh that fails must not take the token that still lives.
#[test]
fn a_failing_refresh_keeps_the_old_token_and_backs_off() {
    let mut desk = Desk::started(AUTOMATIC, at(21, 10, 0), None); // a Saturday
    let id = desk.login();
    desk.minted(id);
    let mut last = desk.now;
    let mut gaps = Vec::new();
    for _ in 0..6 {
        let id = desk.login();
        gaps.push(desk.now.duration_since(last).as_secs());
        last = desk.now;
        desk.end(id, refusal(RetryAdvice::Unknown, false));
        desk.check(CheckOutcome::Lives);
        assert_eq!(desk.state(), "refreshing");
    }
    assert!(gaps[1] >= 130 && gaps[1] < 175, "{gaps:?}");
    assert!(gaps[5] >= 890 && gaps[5] <= 935, "{gaps:?}");
    assert!(desk.life.trouble().is_some());
    let id = desk.login();
    desk.minted(id);
    assert_eq!((desk.state(), desk.life.trouble()), ("live", None));
}

/// A broker that comes back ten minutes before the market opens must find us asking.
#[test]
fn before_and_in_market_hours_nobody_waits_a_quarter_of_an_hour() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 8, 0), None);
    let mut last = desk.now;
    for _ in 0..12 {
        let id = desk.login();
        assert!(desk.now.duration_since(last) <= secs(300), "{last} {}", desk.now);
        last = desk.now;
        desk.end(id, refusal(RetryAdvice::Unknown, false));
    }
}

/// The gateway was off in the morning. The token lasts until the night, so no login
/// disturbs the session; one that ends at noon is replaced at once.
#[test]
fn a_missed_slot_is_made_up_only_if_the_token_ends_in_the_session() {
    let seed_day = at(24, 10, 30);
    let late = facts(1, at(24, 5, 0), Consumer::App);
    let desk = Desk::started(AUTOMATIC, seed_day, Some(late));
    assert!(desk.wake().unwrap().0 > at(24, 15, 30), "{:?}", desk.did);
    let noon = facts(1, at(23, 12, 0), Consumer::App);
    let desk = Desk::started(AUTOMATIC, seed_day, Some(noon));
    assert_eq!(desk.wake(), Some((seed_day, true)));
    assert_eq!(desk.state(), "refreshing");
}

#[test]
fn an_operator_gets_a_refresh_at_once_within_the_limits() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.minted(id);
    let made = desk.now;
    desk.wait(secs(20)).feed(Event::RefreshWanted { vouched: false });
    assert_eq!(desk.state(), "refreshing");
    let id = desk.login();
    assert!(desk.now.duration_since(made) >= COOLDOWN);
    desk.end(id, refusal(RetryAdvice::RetryAfter(Duration::from_secs(600)), false));
    assert_eq!(desk.state(), "live", "refused: the operator sees why, and the schedule goes on");
    let mut desk = Desk::started(MANUAL, at(23, 10, 0), Some(facts(1, at(23, 9, 0), Consumer::App)));
    desk.feed(Event::RefreshWanted { vouched: false });
    assert_eq!(desk.life.trouble().unwrap().code, "token_not_renewable");
}

/// Waiting for a time that a wrong clock wrote down could take for ever.
#[test]
fn a_clock_that_was_moved_back_costs_one_wait_and_no_more() {
    let mut desk = Desk::started(AUTOMATIC, at(28, 10, 0), None);
    let id = desk.login();
    desk.end(id, AttemptOutcome::Unknown);
    desk.now = at(23, 10, 0);
    desk.restarted(AUTOMATIC);
    desk.login();
    let waited = desk.now.duration_since(at(23, 10, 0));
    assert!(waited >= COOLDOWN && waited <= secs(300), "{waited}");
}

/// A reply to an attempt nobody made must not end the one under way.
#[test]
fn a_stale_outcome_changes_nothing() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.end(id + 7, AttemptOutcome::NotSent);
    assert_eq!(desk.state(), "minting");
    desk.wait(secs(1000)).feed(Event::Woken { turn: true });
    assert_eq!(desk.begun(), None);
    desk.minted(id);
    assert_eq!(desk.state(), "live");
}

/// The budget is read by versions to come.
#[test]
fn a_budget_survives_the_store_and_older_ones_are_read() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.end(id, refusal(RetryAdvice::AskPerson, true));
    let text = serde_json::to_string(&desk.recorded).unwrap();
    assert_eq!(serde_json::from_str::<Budget>(&text).unwrap(), *desk.recorded);
    assert_eq!(serde_json::from_str::<Budget>("{}").unwrap(), Budget::default());
}

/// A measured clock that is forgotten costs a refused code, and a second one stops everything.
#[test]
fn the_measured_clock_survives_a_restart() {
    let mut desk = Desk::started(AUTOMATIC, at(23, 10, 0), None);
    let id = desk.login();
    desk.feed(Event::ClockSkew(secs(90)));
    desk.end(id, refusal(RetryAdvice::NextWindow, true));
    assert_eq!(desk.recorded.skew, secs(90));
    let json = serde_json::to_string(&desk.recorded).unwrap();
    let budget: Budget = serde_json::from_str(&json).unwrap();
    let mut again = Lifecycle::new(&AccountName::parse("alpha").unwrap(), AUTOMATIC);
    again.handle(Event::Started { stored: None, budget: Box::new(budget) }, desk.now, &Weekdays);
    assert_eq!(again.skew(), secs(90));
    // What was measured since is newer.
    let budget = desk.recorded.clone();
    let mut again = Lifecycle::new(&AccountName::parse("alpha").unwrap(), AUTOMATIC);
    again.handle(Event::ClockSkew(secs(3)), desk.now, &Weekdays);
    again.handle(Event::Started { stored: None, budget }, desk.now, &Weekdays);
    assert_eq!((again.skew(), again.budget().skew), (secs(3), secs(3)));
}

/// Whoever looks while a login link is made must not read that logins have stopped.
#[test]
fn a_link_under_way_changes_nothing_that_is_shown() {
    let mut desk = Desk::started(LoginMethods { consent: true, ..AUTOMATIC }, at(23, 10, 0), None);
    let id = desk.login();
    desk.end(id, refusal(RetryAdvice::NextWindow, true));
    let before = (desk.life.state().clone(), desk.life.trouble().cloned());
    assert_eq!(desk.state(), "waiting");
    desk.feed(Event::ConsentWanted);
    assert_eq!((desk.life.state().clone(), desk.life.trouble().cloned()), before);
}
