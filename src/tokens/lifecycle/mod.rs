//! The life of an account's token, as a pure machine: events in, actions out.
//!
//! No I/O, no clock, no tasks. The keeper around it sends requests, stores and
//! signs; this decides. `now` is our clock, which nobody can set; the broker's is `now`
//! plus the measured skew, and what the broker counts by (a token's end, TOTP windows) is
//! read by it.
//!
//! # The keeper's part
//!
//! 1. [`Lifecycle::new`], then [`Event::ClockSkew`] if known, then [`Event::Started`].
//! 2. One event at a time through [`Lifecycle::handle`]; do the actions in order.
//!    [`Action::Record`] is durable before anything after it is done. Requests run
//!    aside and come back as events.
//! 3. One timer per account, set by the last [`Action::Wake`]. Logins begin only in
//!    answer to `Woken { turn: true }`, so a cap on logins per second for the whole
//!    gateway is a semaphore that is taken before such a wake is delivered.
//! 4. A request is sent once, not after `latest`, and always ends in one
//!    [`Event::Attempt`], a check in one [`Event::Checked`]: both have a timeout.
//! 5. [`Event::Refused`] from the data path; [`Action::Sign`] to it.
//! 6. [`Action::CheckStored`] may wait in a queue: after a restart every account has one.
//!
//! # Invariants
//!
//! - One attempt is outstanding at most. It is in a [`Action::Record`] first.
//! - Between two logins or renewals lie [`COOLDOWN`] at least, counted from when the
//!   first was sent at the latest; refused, lost and crashed ones count.
//! - No TOTP step is used twice, or sent with under 3 s left.
//! - After two refusals of PIN or TOTP no third is risked before a person acts. After a
//!   login that was never answered none is made before the broker answers something.
//! - A consent is made only for a person who asked, at most 25 a day.
//! - A token that may be dead is asked about, never renewed.
//! - An end is believed only of a clock that was held against the broker's since the start:
//!   before that `/profile` is asked, whose answer brings the broker's time. Asked once in
//!   vain, an account that logs in by itself does so.
//! - Only an order's refusal or `/profile` puts a token out of use; and no order's puts a
//!   fresh one out of use. Any other refusal asks `/profile`, while the token signs on.
//!
//! Not here: what an error of the broker means (`broker::dhan`), holidays
//! ([`MarketCalendar`]), the cap over all accounts (keeper).

mod attempt;
mod budget;
mod facts;
mod interface;
mod plan;
#[cfg(test)]
mod properties;
mod schedule;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

pub use budget::{
    AttemptKind, Budget, CONSENTS_A_DAY, Killed, REFUSALS, TOTP_LEFT, TOTP_SECONDS, Unanswered, totp_step,
};
pub use facts::{ANOTHER_LOGS_IN, Consumer, LoginMethods, TokenFacts, TokenSource, Trouble};
pub use interface::{Action, AttemptOutcome, By, CheckOutcome, Event, Refusal, RetryAdvice, State, Strategy, Why};
pub use schedule::{BACKOFF_CAP, COOLDOWN, MarketCalendar, NeverOpen, Weekdays, india_date};

use schedule::{backoff, plus, seed_of};

use crate::domain::AccountName;

/// A token that dies this soon after it came was most likely killed by another login.
const EARLY: SignedDuration = SignedDuration::from_mins(10);

/// A token younger than this draws spurious refusals: not all of the broker knows it yet.
pub(super) const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// Once `/profile` has said that a token lives, it is not asked again for this long because
/// of a refused read, of which there may be one with each quote. Orders come in their limits.
const ASKED_APART: SignedDuration = SignedDuration::from_secs(30);

/// How often an answer that says nothing of a doubted token is followed by another question.
const DOUBTS_ASKED: u8 = 5;

/// The longest wait between two of these questions.
const LONGEST_CHECK_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// How often a token that an order's refusal barred may be found alive after all.
const REVIVALS: u8 = 2;

/// How long `/profile` is waited for in what callers are told.
pub(super) const CHECK_TIME: SignedDuration = SignedDuration::from_secs(10);

/// What is known of the token that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenHealth {
    /// Nothing against it. Signs.
    Good,
    /// A login was lost: if it happened, this one is dead. Signs, as most often it
    /// did not happen, and a refusal tells.
    Doubtful,
    /// An order was refused for it and nothing better can be had now. Does not sign.
    Suspect,
    /// The broker refused it.
    Dead,
}

/// The attempt under way.
#[derive(Clone, Debug)]
struct LoginAttempt {
    id: u64,
    kind: AttemptKind,
    latest: Timestamp,
    /// The attempt before it, to go back to if this one is never sent.
    before: Option<Timestamp>,
    /// And its code.
    step_before: Option<u64>,
    /// The token to be renewed.
    generation: Option<u64>,
    /// When the link was made whose token is asked for.
    link: Option<Timestamp>,
}

/// The token that is held.
#[derive(Clone, Debug)]
struct HeldToken {
    facts: TokenFacts,
    health: TokenHealth,
    since: Timestamp,
    revivals: u8,
    /// The check under way.
    check: Option<u64>,
    /// When the check under way began, or the next may.
    check_at: Timestamp,
    checks: u8,
    /// Somebody was refused for it, and it signs on until `/profile` has answered.
    doubted: bool,
    /// When `/profile` last said that it lives.
    vouched: Option<Timestamp>,
    /// When it was last known to live.
    looked: Timestamp,
    /// Why the broker refuses it, as `/profile` said.
    why_dead: Option<Box<Trouble>>,
}

impl HeldToken {
    const fn new(facts: TokenFacts, health: TokenHealth, since: Timestamp) -> Self {
        Self {
            facts,
            health,
            since,
            revivals: 0,
            check: None,
            check_at: since,
            checks: 0,
            doubted: false,
            vouched: None,
            looked: since,
            why_dead: None,
        }
    }

    const fn doubt(&mut self, health: TokenHealth, now: Timestamp) {
        self.health = health;
        self.check = None;
        self.check_at = now;
        self.checks = 0;
        self.doubted = false;
    }
}

impl HeldToken {
    /// It signs on, and `/profile` is asked, unless that has just been.
    fn want_check(&mut self, by: By, now: Timestamp) {
        if by == By::Read && self.vouched.is_some_and(|at| now.duration_since(at).abs() < ASKED_APART) {
            return;
        }
        if !self.doubted {
            self.doubted = true;
            // What was asked in vain a moment ago waits as long as was said then.
            if self.check.is_none() && self.checks == 0 {
                self.check_at = now;
            }
            self.checks = 0;
        }
    }
}

/// Is a token that was made at `issued_at`, on the broker's clock, so new that a refusal
/// proves little?
pub(super) fn is_fresh(issued_at: Timestamp, now: Timestamp, skew: SignedDuration) -> bool {
    plus(now, skew).duration_since(issued_at) < FRESH
}

/// What an event found.
struct LastShown {
    /// As given in the last [`Action::Record`].
    recorded: Budget,
    /// As it was at the last [`Action::Show`]. None yet before the first.
    shown: Option<(State, Option<Box<Trouble>>)>,
}

/// One account's token life. See the module.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    seed: u64,
    means: LoginMethods,
    started: bool,
    /// Credentials changed before the budget was known.
    changed_early: bool,
    budget: Budget,
    held: Option<HeldToken>,
    /// Boxed: there is none for most of the day.
    attempt: Option<Box<LoginAttempt>>,
    next_id: u64,
    skew: SignedDuration,
    /// It was measured since the start.
    measured: bool,
    /// A refresh is wanted before its time.
    forced: bool,
    /// A person came back from the broker's page and that token is not yet asked for.
    consent_back: bool,
    /// Attempts in a row that could not be sent, and when the last was.
    unsent: u8,
    unsent_at: Option<Timestamp>,
    /// Why the next login that is told as not sent could not be.
    unsent_why: Option<String>,
    /// Tokens in a row that died early.
    early_deaths: u8,
    /// Boxed like those of the budget and the state: hardly ever is there one.
    trouble: Option<Box<Trouble>>,
    state: State,
    signing: Option<u64>,
}

impl Lifecycle {
    /// A machine that waits for [`Event::Started`].
    pub fn new(name: &AccountName, means: LoginMethods) -> Self {
        Self {
            seed: seed_of(name.as_str()),
            means,
            started: false,
            changed_early: false,
            budget: Budget::default(),
            held: None,
            attempt: None,
            next_id: 1,
            skew: SignedDuration::ZERO,
            measured: false,
            forced: false,
            consent_back: false,
            unsent: 0,
            unsent_at: None,
            unsent_why: None,
            early_deaths: 0,
            trouble: None,
            state: State::Absent,
            signing: None,
        }
    }

    /// Where the token stood after the last event.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What a person must mend, or else what last went wrong, until something goes
    /// right: `last_error` of the API.
    pub fn trouble(&self) -> Option<&Trouble> {
        if let State::NeedsPerson { trouble, .. } = &self.state { Some(trouble) } else { self.trouble.as_deref() }
    }

    /// The token that is held, live or not.
    pub fn token(&self) -> Option<&TokenFacts> {
        self.held.as_ref().map(|held| &held.facts)
    }

    /// What of the limits is spent.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The broker's clock minus ours, as last measured. To be shown when over 2 s.
    pub const fn skew(&self) -> SignedDuration {
        self.skew
    }

    /// Was the broker's clock measured since the start?
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// Is a person on the way back from the broker's page? When not, a `tokenId`
    /// that comes is nobody's and is not kept.
    pub fn awaits_consent(&self, now: Timestamp) -> bool {
        self.budget.consent_awaited(now)
    }

    /// One event, and what to do about it.
    pub fn handle(&mut self, event: Event, now: Timestamp, calendar: &dyn MarketCalendar) -> Vec<Action> {
        let mut actions = Vec::new();
        let last = self.last(&event);
        self.budget.clamp_times(now, self.skew);
        self.clamp_times(now);
        if self.started {
            self.take(event, now, calendar, &mut actions);
        } else {
            self.before_start(event, now);
        }
        if let Some(last) = last {
            self.finish(last, now, calendar, &mut actions);
        }
        actions
    }

    /// Times that lie ahead are of a clock that was corrected since: see [`Budget::clamp_times`].
    fn clamp_times(&mut self, now: Timestamp) {
        self.unsent_at = self.unsent_at.map(|at| at.min(now));
        if let Some(held) = &mut self.held {
            held.since = held.since.min(now);
            held.looked = held.looked.min(now);
            held.check_at = held.check_at.min(plus(now, LONGEST_CHECK_WAIT));
        }
    }

    /// What was written and shown before this event: every event says all that it changed.
    fn last(&self, event: &Event) -> Option<LastShown> {
        if self.started {
            let shown = Some((self.state.clone(), self.trouble.clone()));
            return Some(LastShown { recorded: self.budget.clone(), shown });
        }
        let Event::Started { budget, .. } = event else { return None };
        Some(LastShown { recorded: Budget::clone(budget), shown: None })
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "before the start every other event is ignored, new ones too")]
    fn before_start(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Started { stored, budget } => self.start(stored, *budget, now),
            Event::MeansChanged { means, credentials_changed } => {
                self.means = means;
                self.changed_early |= credentials_changed;
            }
            Event::ClockSkew(skew) => {
                self.skew = skew;
                self.measured = true;
            }
            _ => {}
        }
    }

    fn start(&mut self, stored: Option<TokenFacts>, budget: Budget, now: Timestamp) {
        self.started = true;
        self.budget = budget;
        if !self.measured {
            self.skew = self.budget.skew;
        }
        self.budget.skew = self.skew;
        let crashed = self.budget.resume(now);
        self.budget.clamp_times(now, self.skew);
        if self.changed_early {
            self.budget.new_credentials();
        }
        if crashed == Some(AttemptKind::PinTotp) {
            self.stop_if_locked_out(None);
        }
        self.trouble.clone_from(&self.budget.stopped);
        let Some(facts) = stored else { return };
        if crashed.is_some_and(AttemptKind::mints) {
            self.budget.doubtful = Some(facts.generation);
        }
        let health = if self.budget.dead == Some(facts.generation) {
            TokenHealth::Dead
        } else if self.budget.doubtful == Some(facts.generation) {
            TokenHealth::Doubtful
        } else {
            TokenHealth::Good
        };
        let mut held = HeldToken::new(facts, health, now);
        // What another login did while we did not run was not seen.
        held.looked = plus(facts.issued_at, -self.skew);
        self.held = Some(held);
    }

    fn take(&mut self, event: Event, now: Timestamp, calendar: &dyn MarketCalendar, actions: &mut Vec<Action>) {
        match event {
            Event::Started { .. } => {}
            Event::MeansChanged { means, credentials_changed } => {
                self.means = means;
                if credentials_changed {
                    self.budget.new_credentials();
                    self.trouble = None;
                }
            }
            Event::ClockSkew(skew) => {
                self.skew = skew;
                self.measured = true;
                self.budget.skew = skew;
            }
            Event::LineMayWork => self.unsent_at = None,
            Event::Woken { turn } => {
                if turn {
                    self.begin_if_due(now, calendar, actions);
                }
            }
            Event::GivenByHand(facts) => self.given(facts, now),
            Event::Attempt { id, outcome } => self.ended(id, outcome, now),
            Event::Checked { id, outcome, why } => self.checked(id, (outcome, why), now, calendar),
            Event::Refused { generation, by } => self.refused(generation, by, now, calendar),
            Event::RefreshWanted { vouched } => self.refresh_wanted(vouched, now),
            Event::ConsentWanted => self.consent_wanted(now, actions),
            Event::ConsentReturned => {
                if self.budget.consent_awaited(now) {
                    self.consent_back = true;
                }
            }
        }
    }

    fn given(&mut self, facts: TokenFacts, now: Timestamp) {
        self.adopt(facts, now);
        self.consent_back = false;
        self.budget.forget_failures();
        // What stopped logins may have passed by tomorrow; but a refused PIN is
        // no better for a token that a person gave.
        if self.budget.refusals == 0 && !self.budget.locked_out() {
            self.budget.stopped = None;
        }
        self.show_standing_trouble(now);
    }

    /// What stays to be told though there is a token that signs.
    fn show_standing_trouble(&mut self, now: Timestamp) {
        self.trouble = self.budget.stopped.clone().or_else(|| self.rival(now).map(Box::new));
    }

    /// This is the account's token now.
    fn adopt(&mut self, facts: TokenFacts, now: Timestamp) {
        self.held = Some(HeldToken::new(facts, TokenHealth::Good, now));
        self.forced = false;
        self.budget.doubtful = None;
        self.budget.dead = None;
        self.budget.renewal_refused = self.budget.renewal_refused.filter(|old| *old == facts.generation);
    }

    fn refused(&mut self, generation: u64, by: By, now: Timestamp, calendar: &dyn MarketCalendar) {
        let own_login = self.how(now) == Some(AttemptKind::PinTotp);
        let at_once = own_login && self.attempt.is_none() && self.ready(AttemptKind::PinTotp, now, calendar).0 <= now;
        let skew = self.skew;
        let Some(held) = self.held.as_mut().filter(|held| held.facts.generation == generation) else { return };
        match held.health {
            TokenHealth::Good | TokenHealth::Doubtful => {}
            TokenHealth::Suspect | TokenHealth::Dead => return,
        }
        if by == By::Read || is_fresh(held.facts.issued_at, now, skew) {
            held.want_check(by, now);
        } else if at_once {
            self.token_died(now);
        } else if held.revivals < REVIVALS {
            // No login can be made at once, and asking costs nothing.
            held.doubt(TokenHealth::Suspect, now);
        } else if own_login {
            self.token_died(now);
        } else {
            // It was found alive each time, and nothing but a person could bring another.
            held.want_check(by, now);
        }
    }

    fn checked(
        &mut self,
        id: u64,
        (outcome, why): (CheckOutcome, Option<Box<Trouble>>),
        now: Timestamp,
        calendar: &dyn MarketCalendar,
    ) {
        let chance = schedule::mix(self.seed ^ id);
        let Some(held) = self.held.as_mut().filter(|held| held.check == Some(id)) else { return };
        held.check = None;
        if outcome != CheckOutcome::NoAnswer {
            self.budget.silent = false;
        }
        match (outcome, held.health) {
            (CheckOutcome::Unclear | CheckOutcome::NoAnswer, _) => {
                // Reads go on being refused if it is dead, and begin it anew.
                held.doubted &= held.checks < DOUBTS_ASKED;
                // The morning's look was for the time before the market; now callers tell.
                if held.health == TokenHealth::Good && calendar.is_market_hours(now) {
                    held.looked = now;
                }
                held.checks = held.checks.saturating_add(1);
                let wait = backoff(held.checks, SignedDuration::from_secs(5), LONGEST_CHECK_WAIT, chance);
                held.check_at = plus(now, wait);
            }
            (_, TokenHealth::Dead) => {}
            (CheckOutcome::Dead, _) => {
                held.why_dead = why;
                self.token_died(now);
            }
            (CheckOutcome::Lives, health) => {
                if health == TokenHealth::Suspect {
                    held.revivals = held.revivals.saturating_add(1);
                }
                held.health = TokenHealth::Good;
                held.looked = now;
                held.checks = 0;
                held.doubted = false;
                held.vouched = Some(now);
                self.budget.doubtful = None;
            }
        }
    }

    fn token_died(&mut self, now: Timestamp) {
        let skew = self.skew;
        let Some(held) = self.held.as_mut() else { return };
        // A login of ours that was lost may have killed it, and so has its end.
        let killed = held.health != TokenHealth::Doubtful && plus(held.facts.expires_at, -skew) > now;
        if killed {
            let early = now.duration_since(held.since) < EARLY;
            self.early_deaths = if early { self.early_deaths.saturating_add(1) } else { 0 };
            self.budget.token_killed(now);
        }
        held.doubt(TokenHealth::Dead, now);
        self.budget.dead = Some(held.facts.generation);
        self.budget.doubtful = None;
        self.forced = false;
        if let Some(rival) = self.rival(now) {
            self.trouble = Some(rival.into());
        } else if killed && self.logs_in_itself() {
            self.trouble = Some(self.replaced_by_itself().into());
        }
    }

    /// The generation that signs though somebody was refused for it, while `/profile` is
    /// asked or a login is under way that replaces it.
    pub fn checking(&self) -> Option<u64> {
        let swaps = self.attempt.as_ref().is_some_and(|attempt| attempt.kind.mints());
        let held = self.held.as_ref().filter(|held| held.doubted && (held.check.is_some() || swaps))?;
        matches!(held.health, TokenHealth::Good | TokenHealth::Doubtful).then_some(held.facts.generation)
    }

    /// The generation that signs, as last said.
    pub const fn signing(&self) -> Option<u64> {
        self.signing
    }

    /// Why the login that is about to be told as not sent could not be, for people.
    pub fn could_not_send(&mut self, why: String) {
        self.unsent_why = Some(why);
    }

    /// A login was lost: the token it would have replaced may be dead.
    fn token_in_doubt(&mut self, now: Timestamp) {
        let Some(held) = self.held.as_mut().filter(|held| held.health == TokenHealth::Good) else { return };
        held.doubt(TokenHealth::Doubtful, now);
        self.budget.doubtful = Some(held.facts.generation);
    }

    fn refresh_wanted(&mut self, vouched: bool, now: Timestamp) {
        if vouched {
            self.budget.vouched();
        } else if !self.budget.locked_out() {
            self.budget.stopped = None;
        }
        // A person asks: no backoff of ours, but the cooldown and the broker's word stay.
        self.budget.last_failure = None;
        self.unsent_at = None;
        if self.how(now).is_some() {
            self.forced = self.usable(now).is_some();
        } else {
            self.trouble = Some(self.why_not(now).into());
        }
    }

    /// Say what follows from the state as it is now.
    fn finish(&mut self, last: LastShown, now: Timestamp, calendar: &dyn MarketCalendar, actions: &mut Vec<Action>) {
        let plan = self.plan(now, calendar);
        self.check_if_due(plan, now, calendar, actions);
        let usable = self.usable(now).map(|facts| facts.generation);
        let mut first = Vec::with_capacity(actions.len() + 4);
        if self.budget != last.recorded {
            first.push(Action::Record(Box::new(self.budget.clone())));
        }
        if usable != self.signing {
            self.signing = usable;
            first.push(Action::Sign(usable));
        }
        first.append(actions);
        *actions = first;
        self.state = self.state_of(plan, now);
        if last.shown.is_none_or(|(state, trouble)| state != self.state || trouble != self.trouble) {
            actions.push(Action::Show(self.state.clone()));
        }
        actions.extend(self.wake(plan, now, calendar));
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        id
    }
}
