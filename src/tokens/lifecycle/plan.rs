//! What comes next and when, and what to tell people meanwhile.

use jiff::{SignedDuration, Timestamp};

use super::budget::AttemptKind;
use super::facts::{ANOTHER_LOGS_IN, TokenFacts, Trouble};
use super::interface::{Action, State, Why};
use super::schedule::{self, COOLDOWN, MarketCalendar, backoff, mix, plus};
use super::{CHECK_TIME, HeldToken, Lifecycle, TokenHealth};
use crate::domain::Platform;

/// A slot missed by more than this was missed for good, because we did not run.
const MISSED: SignedDuration = SignedDuration::from_mins(90);

/// The shortest and longest wait after an attempt that could not be sent.
const UNSENT: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(2), SignedDuration::from_mins(1));

/// The next login, if there will be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) kind: AttemptKind,
    /// When it is wanted.
    pub(super) wanted: Timestamp,
    /// When it may be.
    pub(super) at: Timestamp,
    /// What stands between the two.
    pub(super) why: Why,
}

const GIVE_A_TOKEN: &str =
    "make a token on web.dhan.co (My Profile, Access DhanHQ APIs) and give it by PUT /v1/accounts/{name}/token";

pub(super) const NO_PAIR: Trouble = Trouble::new(
    "pair_missing",
    "this account has no pair of addresses to log in from",
    "assign one by POST /v1/accounts/{name}/pair",
);
const NO_TOKEN: Trouble = Trouble::new("token_absent", "this account has no access token yet", GIVE_A_TOKEN);
const ENDED: Trouble = Trouble::new("token_expired", "the access token has ended", GIVE_A_TOKEN);
/// Where the broker did not say why.
const DEAD: Trouble = Trouble::new(
    "token_dead",
    "the broker refuses this account's access token: another was made since, or it was revoked",
    GIVE_A_TOKEN,
);
/// What there is to do about a dead token of an account that logs in by itself.
const LOGS_IN_AGAIN: &str = "nothing: the gateway logs in again by itself";
const NOT_RENEWED: Trouble = Trouble::new(
    "token_not_renewable",
    "the broker does not renew a token of this kind",
    "a new token is needed before it ends: make one on web.dhan.co and give it by PUT /v1/accounts/{name}/token",
);
const NO_LOGIN: Trouble = Trouble::new(
    "login_incomplete",
    "this account has no PIN and TOTP secret to log in with",
    "add pin and totp_secret to the account, log in by the broker's link, or give a token by hand",
);
/// The lock-out guard, where no refusal gave a better text.
pub(super) const LOCKED_OUT: Trouble = Trouble::new(
    "login_stopped",
    "two logins in a row were refused or never answered; a third might lock the account at the broker",
    "check PIN and TOTP secret and save them again, or give a token by hand",
);

impl Lifecycle {
    /// A token's end by our clock.
    fn ends(&self, facts: &TokenFacts) -> Timestamp {
        plus(facts.expires_at, -self.skew)
    }

    /// The token that is held has ended by a clock that nobody has held against the broker's yet, and `/profile`, whose
    /// answer brings the broker's time too, may still say that it lives.
    fn unsure_of_end(&self, now: Timestamp) -> bool {
        let may_live = |held: &&HeldToken| held.health != TokenHealth::Dead && held.vouched.is_none();
        let held = self.held.as_ref().filter(may_live).filter(|_| self.means.pair && !self.measured);
        held.is_some_and(|held| self.ends(&held.facts) <= now)
    }

    /// The token to sign with.
    pub(super) fn usable(&self, now: Timestamp) -> Option<TokenFacts> {
        let held = self.held.as_ref()?;
        let good = matches!(held.health, TokenHealth::Good | TokenHealth::Doubtful);
        (good && self.ends(&held.facts) > now).then_some(held.facts)
    }

    /// By what to get the next token, if a machine can.
    ///
    /// An automatic account whose logins have stopped and that a person helped out
    /// with a token behaves as a manual one: the token is renewed if it can be.
    pub(super) fn how(&self, now: Timestamp) -> Option<AttemptKind> {
        if !self.means.pair {
            return None;
        }
        if self.consent_back {
            return Some(AttemptKind::ConsentToken);
        }
        if self.logs_in_itself() && self.budget.stopped.is_none() && !self.budget.locked_out() {
            return Some(AttemptKind::PinTotp);
        }
        self.renewable(now).is_some().then_some(AttemptKind::Renewal)
    }

    pub(super) fn logs_in_itself(&self) -> bool {
        self.means.platform == Platform::Automatic && self.means.pin_totp
    }

    /// The token that the broker would renew: nothing is known against it.
    pub(super) fn renewable(&self, now: Timestamp) -> Option<TokenFacts> {
        let held = self.held.as_ref().filter(|held| held.health == TokenHealth::Good && !held.doubted)?;
        let kind = held.facts.consumer == super::Consumer::SelfMade
            && self.budget.renewal_refused != Some(held.facts.generation);
        (kind && self.ends(&held.facts) > now).then_some(held.facts)
    }

    /// The last login was never answered, so it may have been refused. In an outage of
    /// answers, one try after the other would lock an account whose PIN was changed. So
    /// first `/profile` must answer, whatever it says; while it does not, no token is
    /// of use anyway.
    const fn silenced(&self) -> bool {
        self.budget.silent && self.held.is_some()
    }

    /// The next login. None while one is under way, or when a machine can do nothing.
    pub(super) fn plan(&self, now: Timestamp, calendar: &dyn MarketCalendar) -> Option<Plan> {
        if self.attempt.is_some() {
            return None;
        }
        let kind = self.how(now)?;
        if kind == AttemptKind::PinTotp && self.silenced() {
            return None;
        }
        // A login kills a token that may live, and makes its code by a clock that may be wrong. Asked in vain once, it
        // is not waited for longer.
        let to_be_checked = self.held.as_ref().is_some_and(|held| held.checks == 0) && self.unsure_of_end(now);
        if to_be_checked && kind != AttemptKind::ConsentToken {
            return None;
        }
        let wanted = match self.usable(now) {
            Some(facts) if !self.forced && kind != AttemptKind::ConsentToken => self.refresh_at(&facts, now, calendar),
            Some(_) | None => now,
        };
        let (at, why) = self.ready(kind, wanted.max(now), calendar);
        Some(Plan { kind, wanted, at, why })
    }

    fn refresh_at(&self, facts: &TokenFacts, now: Timestamp, calendar: &dyn MarketCalendar) -> Timestamp {
        let due = schedule::due(facts, self.skew, self.seed, calendar);
        // The slot passed while we did not run, and the token outlives this session:
        // a login now could only do harm.
        let missed = now.duration_since(due) > MISSED && calendar.is_market_hours(now);
        if missed && self.budget.last_failure.is_none() && !calendar.is_market_hours(self.ends(facts)) {
            return due.max(schedule::most_of_life(facts, self.skew));
        }
        due
    }

    /// From `from` on, the first moment that every limit allows, and the limit
    /// that holds it up longest: the next code adds some seconds to minutes of
    /// something else.
    pub(super) fn ready(&self, kind: AttemptKind, from: Timestamp, calendar: &dyn MarketCalendar) -> (Timestamp, Why) {
        let mut ready = (from, Why::Cooldown);
        let mut hold = |until: Option<Timestamp>, why: Why| {
            if let Some(until) = until.filter(|until| *until > ready.0) {
                ready = (until, why);
            }
        };
        hold(self.budget.cooled_at(), Why::Cooldown);
        hold(self.budget.retry_after, Why::Backoff);
        // A person is waiting who has just logged in: only the broker's limits count.
        if kind != AttemptKind::ConsentToken {
            let failed = self.budget.last_failure.filter(|_| self.budget.failures > 0);
            hold(
                failed.map(|at| schedule::after_failures(self.budget.failures, at, self.seed, calendar)),
                Why::Backoff,
            );
            // Two programs that log one account in kill each other's tokens for ever.
            let war = self
                .budget
                .last_mint_attempt
                .filter(|_| self.early_deaths > 1)
                .map(|at| plus(at, backoff(self.early_deaths, COOLDOWN, schedule::BACKOFF_CAP, self.seed)));
            hold(war, Why::Backoff);
        }
        let unsent = self
            .unsent_at
            .map(|at| plus(at, backoff(self.unsent, UNSENT.0, UNSENT.1, mix(self.seed ^ u64::from(self.unsent)))));
        hold(unsent, Why::Backoff);
        if kind == AttemptKind::PinTotp {
            let (code_at, _) = self.budget.next_code(ready.0, self.skew);
            if code_at > ready.0 {
                let is_longer = code_at.duration_since(ready.0) > ready.0.duration_since(from);
                ready = (code_at, if is_longer { Why::NextCode } else { ready.1 });
            }
        }
        ready
    }

    /// Ask about a token that may be dead, when nothing else settles it; and once before
    /// each trading day.
    pub(super) fn check_if_due(
        &mut self,
        plan: Option<Plan>,
        now: Timestamp,
        calendar: &dyn MarketCalendar,
        actions: &mut Vec<Action>,
    ) {
        if self.check_due(plan, now, calendar).is_none_or(|at| at > now) {
            return;
        }
        let id = self.fresh_id();
        if let Some(held) = self.held.as_mut() {
            held.check = Some(id);
            held.check_at = now;
            actions.push(Action::CheckStored { id, generation: held.facts.generation });
        }
    }

    /// When to ask about the token next.
    fn check_due(&self, plan: Option<Plan>, now: Timestamp, calendar: &dyn MarketCalendar) -> Option<Timestamp> {
        let held = self.held.as_ref().filter(|held| held.check.is_none())?;
        if !self.means.pair || self.attempt.is_some() {
            return None;
        }
        if self.silenced() && self.how(now) == Some(AttemptKind::PinTotp) {
            return Some(held.check_at);
        }
        if self.ends(&held.facts) <= now {
            return self.unsure_of_end(now).then_some(held.check_at);
        }
        match held.health {
            TokenHealth::Good if held.doubted => Some(held.check_at),
            TokenHealth::Good => {
                schedule::morning_look(held.looked, self.seed, calendar).map(|at| at.max(held.check_at))
            }
            TokenHealth::Doubtful => Some(held.check_at),
            // A login that may be made at once settles it better.
            TokenHealth::Suspect => plan.is_none_or(|plan| plan.at > now).then_some(held.check_at),
            TokenHealth::Dead => None,
        }
    }

    pub(super) fn state_of(&self, plan: Option<Plan>, now: Timestamp) -> State {
        let minting = self.attempt.as_ref().is_some_and(|attempt| attempt.kind.mints());
        if self.usable(now).is_some() {
            let doubted = self.held.as_ref().is_some_and(|held| held.health == TokenHealth::Doubtful);
            let wanted = plan.is_some_and(|plan| plan.wanted <= now);
            return if minting || doubted || wanted { State::Refreshing } else { State::Live };
        }
        if minting {
            return State::Minting;
        }
        // A link that is being made changes nothing of what comes next.
        if self.attempt.as_ref().is_some_and(|attempt| !attempt.kind.mints()) && !self.state.signs() {
            return self.state.clone();
        }
        // A check that is under way may find it alive at any moment.
        let decides = |held: &&HeldToken| held.health == TokenHealth::Suspect || self.unsure_of_end(now);
        let wanted = self.check_wanted(now).filter(|held| held.check.is_some()).filter(decides);
        if let Some(held) = wanted {
            return State::Waiting { until: plus(held.check_at, CHECK_TIME), why: Why::Check };
        }
        match plan {
            Some(plan) if plan.at <= now => return State::Minting,
            Some(plan) => return State::Waiting { until: plan.at, why: plan.why },
            None => {}
        }
        if self.attempt.is_none()
            && let Some(held) = self.check_wanted(now)
        {
            let cooled = self.budget.cooled_at().filter(|_| self.logs_in_itself());
            let until = cooled.max(Some(plus(held.check_at, CHECK_TIME))).unwrap_or(now);
            return State::Waiting { until, why: Why::Check };
        }
        if !self.means.pair && self.means.platform == Platform::Automatic {
            return State::Absent;
        }
        let consent = self.may_consent(now).is_ok();
        State::NeedsPerson { trouble: Box::new(self.why_not(now)), consent }
    }

    /// The token whose check decides how it goes on.
    fn check_wanted(&self, now: Timestamp) -> Option<&HeldToken> {
        let held = self.held.as_ref().filter(|_| self.means.pair)?;
        let suspect = held.health == TokenHealth::Suspect && self.ends(&held.facts) > now;
        let silenced = self.silenced() && self.how(now) == Some(AttemptKind::PinTotp);
        (suspect || silenced || self.unsure_of_end(now)).then_some(held)
    }

    /// Why no machine can get a token.
    pub(super) fn why_not(&self, now: Timestamp) -> Trouble {
        if self.means.platform == Platform::Automatic {
            if !self.means.pair {
                return NO_PAIR;
            }
            if let Some(stopped) = &self.budget.stopped {
                return Trouble::clone(stopped);
            }
            return if self.means.pin_totp { LOCKED_OUT } else { NO_LOGIN };
        }
        match &self.held {
            None => NO_TOKEN,
            Some(held) if self.ends(&held.facts) <= now => ENDED,
            Some(held) if held.health == TokenHealth::Dead => {
                let rival = self.rival(now).map(|rival| Trouble { action: GIVE_A_TOKEN.into(), ..rival });
                rival.unwrap_or_else(|| self.why_dead(GIVE_A_TOKEN))
            }
            // It lives: what is asked for is a renewal, and that needs an address.
            Some(_) if !self.means.pair => NO_PAIR,
            Some(_) => NOT_RENEWED,
        }
    }

    /// Why the token is dead, and what to do about it.
    fn why_dead(&self, action: &'static str) -> Trouble {
        let said = self.held.as_ref().and_then(|held| held.why_dead.as_deref()).cloned();
        Trouble { action: action.into(), ..said.unwrap_or(DEAD) }
    }

    /// What is told of a dead token while the account logs in by itself.
    pub(super) fn replaced_by_itself(&self) -> Trouble {
        self.why_dead(LOGS_IN_AGAIN)
    }

    /// What is told of another program that makes tokens for the account.
    pub(super) fn rival(&self, now: Timestamp) -> Option<Trouble> {
        let killed = self.budget.rival(now)?;
        let since = crate::domain::india::said(killed.since);
        Some(Trouble {
            code: ANOTHER_LOGS_IN.into(),
            summary: format!(
                "another program makes tokens for this account, and each of its tokens kills ours: {} since {since}",
                crate::domain::counted(killed.times, "time")
            )
            .into(),
            action: "find what else logs in to this account (a second gateway, a script, another vendor, the Generate \
                     button on web.dhan.co) and stop it"
                .into(),
        })
    }

    /// The next wake: for a login, the token's end, or a question.
    pub(super) fn wake(&self, plan: Option<Plan>, now: Timestamp, calendar: &dyn MarketCalendar) -> Option<Action> {
        let end = self.usable(now).map(|facts| self.ends(&facts));
        let check = self.check_due(plan, now, calendar);
        let other = [end, check].into_iter().flatten().min();
        match (plan, other) {
            (Some(plan), Some(other)) if other < plan.at => Some(Action::Wake { at: other, turn: false }),
            (Some(plan), _) => Some(Action::Wake { at: plan.at, turn: true }),
            (None, other) => other.map(|at| Action::Wake { at, turn: false }),
        }
    }
}
