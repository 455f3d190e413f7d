//! Events in any order, killed anywhere: what a watcher at the wire would see.

use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, Strategy as _, any, prop_oneof, proptest};

use super::schedule::plus;
use super::tests::{AUTOMATIC, Desk, at, refusal, secs};
use super::*;
use crate::domain::Platform;

fn any_verdict() -> impl proptest::strategy::Strategy<Value = RetryAdvice> {
    prop_oneof![
        (0_u64..100_000).prop_map(|wait| RetryAdvice::RetryAfter(Duration::from_secs(wait))),
        Just(RetryAdvice::NextWindow),
        Just(RetryAdvice::TokenDead),
        Just(RetryAdvice::AskPerson),
        Just(RetryAdvice::WrongKind),
        Just(RetryAdvice::Unknown),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Wake,
    Turn,
    Answer(u8, RetryAdvice, bool),
    Check(u8),
    Refused(bool),
    Give(bool),
    Refresh(bool),
    Consent,
    Return,
    Means(bool, bool, bool),
    Skew(i64),
    Crash,
}

fn any_step() -> impl proptest::strategy::Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![0_i64..200, 0_i64..100_000].prop_map(Step::Wait),
        6 => Just(Step::Wake),
        2 => Just(Step::Turn),
        6 => (0_u8..5, any_verdict(), any::<bool>()).prop_map(|(how, verdict, login)| Step::Answer(how, verdict, login)),
        2 => (0_u8..4).prop_map(Step::Check),
        2 => any::<bool>().prop_map(Step::Refused),
        1 => any::<bool>().prop_map(Step::Give),
        1 => any::<bool>().prop_map(Step::Refresh),
        1 => Just(Step::Consent),
        1 => Just(Step::Return),
        1 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c)| Step::Means(a, b, c)),
        1 => (-40_i64..40).prop_map(Step::Skew),
        1 => Just(Step::Crash),
    ]
}

/// What a watcher at the wire would hold against the machine.
#[derive(Default)]
struct Watch {
    outstanding: Option<u64>,
    last_sent: Option<Timestamp>,
    last_step: Option<u64>,
}

impl Watch {
    /// Look at what was done; `recorded` is what is durable so far.
    fn look(&mut self, desk: &Desk, unsent: &mut Option<Timestamp>) {
        let mut written = false;
        for action in &desk.did {
            match action {
                Action::Record(budget) => written = budget.unanswered.is_some(),
                Action::Mint { id, latest, .. }
                | Action::Renew { id, latest, .. }
                | Action::MakeConsent { id, latest } => {
                    assert_eq!(self.outstanding, None, "two attempts at once");
                    assert!(written, "sent before it was written");
                    assert!(*latest > desk.now);
                    self.outstanding = Some(*id);
                    if !matches!(action, Action::MakeConsent { .. }) {
                        if let Some(last) = self.last_sent {
                            assert!(desk.now.duration_since(last) >= COOLDOWN, "{last} {}", desk.now);
                        }
                        *unsent = self.last_sent;
                        // The worst: it is sent as late as it may be.
                        self.last_sent = Some(*latest);
                    } else {
                        *unsent = self.last_sent;
                    }
                    if let Action::Mint { strategy: Strategy::PinTotp { step }, .. } = action {
                        assert!(self.last_step.is_none_or(|last| last < *step), "a step twice");
                        self.last_step = Some(*step);
                        let broker = plus(*latest, desk.life.skew());
                        assert_eq!(totp_step(broker), *step);
                        let left = (i64::try_from(*step).unwrap() + 1) * TOTP_SECONDS * 1000 - broker.as_millisecond();
                        assert!(left >= 3000, "{left} ms left");
                    }
                }
                Action::Sign(Some(generation)) => {
                    let facts = desk.life.token().unwrap();
                    assert_eq!(facts.generation, *generation);
                    assert!(facts.expires_at > plus(desk.now, desk.life.skew()));
                }
                Action::Sign(None)
                | Action::DenyConsent(_)
                | Action::CheckStored { .. }
                | Action::Show(_)
                | Action::Wake { .. } => {}
            }
        }
        assert_eq!(desk.did.iter().filter(|action| matches!(action, Action::Wake { .. })).count().max(1), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, and wherever it is killed.
    #[test]
    fn no_order_of_events_breaks_a_limit(start in 0_i64..600_000, steps in proptest::collection::vec(any_step(), 1..120)) {
        let mut desk = Desk::open(LoginMethods { consent: true, ..AUTOMATIC }, plus(at(16, 0, 0), secs(start)));
        let mut means = LoginMethods { consent: true, ..AUTOMATIC };
        let mut watch = Watch::default();
        let mut unsent = None;
        let mut check = None;
        desk.feed(Event::Started { stored: None, budget: Box::default() });
        for step in steps {
            match step {
                Step::Wait(seconds) => { desk.wait(secs(seconds)); continue; }
                Step::Wake => match desk.wake() {
                    Some(_) => { desk.go(); }
                    None => { desk.feed(Event::Woken { turn: false }); }
                },
                Step::Turn => { desk.feed(Event::Woken { turn: true }); }
                Step::Answer(how, verdict, login) => {
                    let Some(id) = watch.outstanding.take() else { continue };
                    let outcome = match how {
                        0 => AttemptOutcome::Minted(desk.token(if login { Consumer::App } else { Consumer::SelfMade })),
                        1 => AttemptOutcome::Unknown,
                        2 => { watch.last_sent = unsent; AttemptOutcome::NotSent }
                        3 => AttemptOutcome::ConsentMade,
                        _ => refusal(verdict, login),
                    };
                    if let AttemptOutcome::Minted(facts) = outcome {
                        desk.stored = Some(facts);
                    }
                    if how != 2 {
                        watch.last_sent = watch.last_sent.map(|at| at.min(desk.now));
                    }
                    desk.end(id, outcome);
                }
                Step::Check(said) => {
                    let Some(id) = check.take() else { continue };
                    let outcome = [CheckOutcome::Lives, CheckOutcome::Dead, CheckOutcome::Unclear, CheckOutcome::NoAnswer][usize::from(said)];
                    desk.feed(Event::Checked { id, outcome, why: None });
                }
                Step::Refused(write) => {
                    let (generation, signing) = (desk.generation, desk.life.signing());
                    let by = if write { By::Write } else { By::Read };
                    desk.feed(Event::Refused { generation, by });
                    // Only an order's word may stop a token, and /profile's.
                    let ended = desk.life.token().is_none_or(|held| held.expires_at <= plus(desk.now, desk.life.skew()));
 assert!(write || ended || signing == desk.life.signing());
                }
                Step::Give(web) => {
                    let facts = desk.token(if web { Consumer::SelfMade } else { Consumer::App });
                    desk.stored = Some(facts);
                    desk.feed(Event::GivenByHand(facts));
                }
                Step::Refresh(vouched) => { desk.feed(Event::RefreshWanted { vouched }); }
                Step::Consent => { desk.feed(Event::ConsentWanted); }
                Step::Return => { desk.feed(Event::ConsentReturned); }
                Step::Means(automatic, pair, changed) => {
                    let platform = if automatic { Platform::Automatic } else { Platform::Manual };
                    means = LoginMethods { platform, pair, ..means };
                    desk.feed(Event::MeansChanged { means, credentials_changed: changed });
                }
                // A clock that is measured to run back cannot be told from a used code.
                Step::Skew(seconds) => {
                    let ahead = desk.life.skew().max(secs(seconds));
                    desk.feed(Event::ClockSkew(ahead));
                }
                Step::Crash => {
                    watch.outstanding = None;
                    check = None;
                    watch.last_sent = watch.last_sent.map(|at| at.min(desk.now));
                    let skew = desk.life.skew();
                    desk.life = Lifecycle::new(&AccountName::parse("alpha").unwrap(), means);
                    desk.feed(Event::ClockSkew(skew));
                    desk.feed(Event::Started { stored: desk.stored, budget: desk.recorded.clone() });
                }
            }
            check = desk.check_wanted().or(check);
            watch.look(&desk, &mut unsent);
        }
    }
}
