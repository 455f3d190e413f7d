//! Attempts: how they begin, and what their ends mean.

use jiff::{SignedDuration, Timestamp};

use super::budget::{AttemptKind, CONSENTS_A_DAY, TOTP_LEFT, Unanswered, totp_begins};
use super::facts::{TokenFacts, Trouble};
use super::interface::{Action, AttemptOutcome, Refusal, RetryAdvice, Strategy};
use super::plan::{LOCKED_OUT, NO_PAIR};
use super::schedule::{MarketCalendar, plus};
use super::{Lifecycle, LoginAttempt};

/// An attempt that is not sent within this is not sent: the keeper writes first, and
/// the time between two logins counts from when one was sent at the latest.
const TO_SEND: SignedDuration = SignedDuration::from_secs(10);

const LOST: Trouble = Trouble::new(
    "login_lost",
    "the broker did not answer a login; whether it made a token is not known",
    "nothing: the gateway tries again when the broker allows it",
);
const NOT_SENT: Trouble = Trouble::new(
    "login_not_sent",
    "no connection to the broker could be made to log in",
    "see the account's legs; the gateway keeps trying",
);
const NO_CONSENT_MEANS: Trouble = Trouble::new(
    "consent_unavailable",
    "this account has no API key and secret",
    "make them on web.dhan.co and add api_key and api_secret to the account",
);
const CONSENTS_SPENT: Trouble = Trouble::new(
    "consent_limit",
    "today's 25 login links are spent",
    "wait until tomorrow (India), or give a token by hand",
);
const BUSY: Trouble =
    Trouble::new("login_under_way", "a login of this account is under way", "try again in half a minute");

impl Lifecycle {
    /// The keeper grants a login: begin the planned one if its time has come.
    pub(super) fn begin_if_due(&mut self, now: Timestamp, calendar: &dyn MarketCalendar, actions: &mut Vec<Action>) {
        let Some(plan) = self.plan(now, calendar).filter(|plan| plan.at <= now) else { return };
        let id = self.fresh_id();
        let latest = plus(now, TO_SEND);
        let mut attempt = LoginAttempt {
            id,
            kind: plan.kind,
            latest,
            before: self.budget.last_mint_attempt,
            step_before: self.budget.last_totp_step,
            generation: None,
            link: None,
        };
        match plan.kind {
            AttemptKind::PinTotp => {
                let (_, step) = self.budget.next_code(now, self.skew);
                let code_ends = plus(totp_begins(step.saturating_add(1)), -self.skew);
                attempt.latest = latest.min(plus(code_ends, -TOTP_LEFT));
                self.budget.last_totp_step = Some(step);
                actions.push(Action::Mint { id, strategy: Strategy::PinTotp { step }, latest: attempt.latest });
            }
            AttemptKind::ConsentToken => {
                self.consent_back = false;
                attempt.link = self.budget.consent_open.take();
                actions.push(Action::Mint { id, strategy: Strategy::Consent, latest });
            }
            AttemptKind::Renewal => {
                let Some(facts) = self.renewable(now) else { return };
                attempt.generation = Some(facts.generation);
                actions.push(Action::Renew { id, generation: facts.generation, latest });
            }
            // Never planned: only a person's click makes one.
            AttemptKind::ConsentLink => return,
        }
        self.budget.made_until(now);
        self.outstanding(attempt);
    }

    fn outstanding(&mut self, attempt: LoginAttempt) {
        self.budget.unanswered = Some(Unanswered { kind: attempt.kind, latest: attempt.latest });
        self.attempt = Some(Box::new(attempt));
    }

    /// Would a login link be made now?
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn may_consent(&self, now: Timestamp) -> Result<(), Trouble> {
        if !self.means.consent {
            return Err(NO_CONSENT_MEANS);
        }
        if !self.means.pair {
            return Err(NO_PAIR);
        }
        if self.attempt.is_some() {
            return Err(BUSY);
        }
        if self.budget.consents_left(now, self.skew) == 0 {
            return Err(CONSENTS_SPENT);
        }
        Ok(())
    }

    /// How many login links are left today, of [`CONSENTS_A_DAY`].
    pub fn consents_left(&self, now: Timestamp) -> u32 {
        self.budget.consents_left(now, self.skew).min(CONSENTS_A_DAY)
    }

    pub(super) fn consent_wanted(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if let Err(trouble) = self.may_consent(now) {
            actions.push(Action::DenyConsent(trouble));
            return;
        }
        let id = self.fresh_id();
        let latest = plus(now, TO_SEND);
        self.budget.spend_consent(now, self.skew);
        let kind = AttemptKind::ConsentLink;
        self.outstanding(LoginAttempt {
            id,
            kind,
            latest,
            before: None,
            step_before: None,
            generation: None,
            link: None,
        });
        actions.push(Action::MakeConsent { id, latest });
    }

    /// The attempt under this id has ended.
    pub(super) fn ended(&mut self, id: u64, outcome: AttemptOutcome, now: Timestamp) {
        let Some(attempt) = self.attempt.take_if(|attempt| attempt.id == id) else { return };
        self.budget.unanswered = None;
        let is_sent = !matches!(outcome, AttemptOutcome::NotSent | AttemptOutcome::NotRecorded(_));
        if is_sent {
            self.unsent = 0;
            self.unsent_at = None;
            if attempt.kind.mints() {
                self.budget.made_until(attempt.latest.min(now));
            }
        }
        if is_sent && outcome != AttemptOutcome::Unknown {
            self.budget.silent = false;
        }
        match outcome {
            AttemptOutcome::Minted(facts) => self.minted(&attempt, facts, now),
            AttemptOutcome::ConsentMade => {
                self.budget.consent_open = Some(now);
                self.trouble.clone_from(&self.budget.stopped);
            }
            AttemptOutcome::NotSent => self.not_sent(&attempt, now),
            AttemptOutcome::NotRecorded(trouble) => self.not_recorded(&attempt, trouble, now),
            AttemptOutcome::Unknown => self.lost(&attempt, now),
            AttemptOutcome::Refused(refusal) => self.attempt_refused(&attempt, refusal, now),
        }
    }

    fn minted(&mut self, attempt: &LoginAttempt, facts: TokenFacts, now: Timestamp) {
        self.adopt(facts, now);
        self.budget.forget_failures();
        if attempt.kind == AttemptKind::PinTotp {
            self.budget.prove();
            self.budget.stopped = None;
        }
        self.consent_back = false;
        self.show_standing_trouble(now);
    }

    /// Nothing left this host, so nothing is spent but the code, which stays spent:
    /// a step is written down once.
    fn not_sent(&mut self, attempt: &LoginAttempt, now: Timestamp) {
        self.unsent = self.unsent.saturating_add(1);
        self.unsent_at = Some(now);
        let mut trouble = NOT_SENT;
        if let Some(why) = self.unsent_why.take().filter(|why| !why.is_empty()) {
            trouble.summary = format!("a login could not be sent: {why}").into();
        }
        self.trouble = Some(trouble.into());
        match attempt.kind {
            AttemptKind::PinTotp | AttemptKind::Renewal => self.budget.last_mint_attempt = attempt.before,
            AttemptKind::ConsentToken => {
                self.budget.last_mint_attempt = attempt.before;
                self.budget.consent_open = attempt.link;
                self.consent_back = true;
            }
            AttemptKind::ConsentLink => self.budget.consents_today = self.budget.consents_today.saturating_sub(1),
        }
    }

    /// Not so much as a code was made. It is no leg's fault, and worth another try as soon as there may be room.
    fn not_recorded(&mut self, attempt: &LoginAttempt, trouble: Trouble, now: Timestamp) {
        self.unsent = 0;
        self.not_sent(attempt, now);
        if attempt.kind == AttemptKind::PinTotp {
            self.budget.last_totp_step = attempt.step_before;
        }
        self.trouble = Some(trouble.into());
    }

    fn lost(&mut self, attempt: &LoginAttempt, now: Timestamp) {
        self.trouble = Some(LOST.into());
        if !attempt.kind.mints() {
            return;
        }
        self.budget.failed(now);
        self.token_in_doubt(now);
        if attempt.kind == AttemptKind::PinTotp {
            self.budget.unanswered_login();
            // Dead or alive, the token we have is what to ask with.
            if let Some(held) = self.held.as_mut() {
                held.doubt(held.health, now);
            }
            self.stop_if_locked_out(None);
        }
    }

    fn attempt_refused(&mut self, attempt: &LoginAttempt, refusal: Refusal, now: Timestamp) {
        let Refusal { verdict, login_refusal, trouble } = refusal;
        self.trouble = Some(trouble.clone().into());
        if let RetryAdvice::RetryAfter(wait) = verdict {
            let until = plus(now, SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX));
            match attempt.kind {
                AttemptKind::ConsentLink => self.budget.consent_after = Some(until),
                AttemptKind::PinTotp | AttemptKind::Renewal | AttemptKind::ConsentToken => {
                    self.budget.retry_after = Some(until);
                }
            }
        }
        match attempt.kind {
            AttemptKind::ConsentLink => return,
            AttemptKind::Renewal => self.renewal_refused(attempt, verdict, now),
            AttemptKind::ConsentToken => {}
            AttemptKind::PinTotp => {
                if verdict == RetryAdvice::AskPerson {
                    self.budget.stopped = Some(trouble.clone().into());
                }
                if verdict == RetryAdvice::Unknown && !login_refusal {
                    self.budget.errors = self.budget.errors.saturating_add(1);
                    self.stop_if_locked_out(None);
                }
                if login_refusal {
                    self.budget.refusals = self.budget.refusals.saturating_add(1);
                    self.stop_if_locked_out(Some(trouble));
                }
            }
        }
        self.budget.failed(now);
        match verdict {
            RetryAdvice::Unknown => self.token_in_doubt(now),
            RetryAdvice::RetryAfter(_)
            | RetryAdvice::NextWindow
            | RetryAdvice::TokenDead
            | RetryAdvice::AskPerson
            | RetryAdvice::WrongKind => self.forced = false,
        }
    }

    fn renewal_refused(&mut self, attempt: &LoginAttempt, verdict: RetryAdvice, now: Timestamp) {
        match verdict {
            RetryAdvice::WrongKind | RetryAdvice::AskPerson => self.budget.renewal_refused = attempt.generation,
            RetryAdvice::TokenDead => {
                // Only the token that was tried: a person may have given another since.
                if self.held.as_ref().map(|held| held.facts.generation) == attempt.generation {
                    self.token_died(now);
                }
            }
            RetryAdvice::RetryAfter(_) | RetryAdvice::NextWindow | RetryAdvice::Unknown => {}
        }
    }

    /// Keep the reason with the budget, so that a restart still knows it.
    pub(super) fn stop_if_locked_out(&mut self, last: Option<Trouble>) {
        if !self.budget.locked_out() {
            return;
        }
        let mut stopped = Box::new(LOCKED_OUT);
        if let Some(last) = last {
            stopped.summary = format!("{}; stopped before a third refusal locks the account", last.summary).into();
            stopped.action = last.action;
        }
        self.budget.stopped = Some(stopped.clone());
        self.trouble = Some(stopped);
    }
}
