//! What must not be forgotten: how much of each limit is spent.
//!
//! The keeper writes it before each attempt, so a process that is killed between
//! writing and hearing finds the attempt as `unanswered` and counts it as made.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::facts::Trouble;
use super::schedule::{COOLDOWN, india_date, plus};

/// Consents a day: each `generate-consent` counts, used or not.
pub const CONSENTS_A_DAY: u32 = 25;

/// Refusals of PIN or TOTP in a row after which a person must look.
pub const REFUSALS: u8 = 2;

/// How long a code lives (RFC 6238's default, and the broker's).
pub const TOTP_SECONDS: i64 = 30;

/// No code is sent with less than this left.
pub const TOTP_LEFT: SignedDuration = SignedDuration::from_secs(3);

/// No code is begun with less than this left: writing the budget takes time too.
const TOTP_LEFT_AT_START: SignedDuration = SignedDuration::from_secs(5);

/// How long a person may take between link and return.
const CONSENT_OPEN: SignedDuration = SignedDuration::from_hours(24);

/// The longest that a broker's "retry after" is believed.
const RETRY_AFTER_CAP: SignedDuration = SignedDuration::from_hours(24);

/// What an attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// PIN and TOTP.
    PinTotp,
    /// `RenewToken`.
    Renewal,
    /// A login link.
    ConsentLink,
    /// The token of a login link.
    ConsentToken,
}

impl AttemptKind {
    /// Does it make a token, and so kill the one before?
    pub const fn mints(self) -> bool {
        match self {
            Self::PinTotp | Self::Renewal | Self::ConsentToken => true,
            Self::ConsentLink => false,
        }
    }
}

/// An attempt that was written down and whose end was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// What it was.
    pub kind: AttemptKind,
    /// The last moment at which it can have been sent.
    pub latest: Timestamp,
}

/// How long the deaths of tokens are held to have one cause: a person who makes one a day
/// is no program.
const ONE_CAUSE: SignedDuration = SignedDuration::from_hours(12);

/// Tokens of the account that died before their end though no login of ours killed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// How many in a row.
    pub times: u8,
    /// When the first of them was found dead.
    pub since: Timestamp,
    /// When the last was.
    pub last: Timestamp,
}

/// An account's spent limits. Holds no secret. New fields need a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// When a login or renewal was last attempted, whatever came of it.
    pub last_mint_attempt: Option<Timestamp>,
    /// Refusals of PIN or TOTP in a row.
    pub refusals: u8,
    /// Attempts with PIN and TOTP whose answer never came, since the last answer
    /// that was a token: any of them may have been a refusal.
    pub doubts: u8,
    /// The last attempt with PIN and TOTP was never answered, nor anything since.
    pub silent: bool,
    /// Attempts with PIN and TOTP that were answered by an error which proves
    /// nothing (a 5xx), since the last answer that was a token.
    pub errors: u8,
    /// These credentials have logged in since they were given.
    pub proven: bool,
    /// The last TOTP step whose code was or may have been sent.
    pub last_totp_step: Option<u64>,
    /// Consents made on `consent_day`.
    pub consents_today: u32,
    /// India's date.
    pub consent_day: Option<Date>,
    /// The broker's word on when it makes consents again.
    pub consent_after: Option<Timestamp>,
    /// When the link was made that a person has not come back from.
    pub consent_open: Option<Timestamp>,
    /// The attempt under way.
    pub unanswered: Option<Unanswered>,
    /// Failures in a row of logins and renewals.
    pub failures: u8,
    /// When the last of them was.
    pub last_failure: Option<Timestamp>,
    /// The broker's word on when it takes logins again.
    pub retry_after: Option<Timestamp>,
    /// Why logins by PIN and TOTP have stopped until a person does something.
    pub stopped: Option<Box<Trouble>>,
    /// The broker does not renew the token of this generation.
    pub renewal_refused: Option<u64>,
    /// The broker has refused the token of this generation.
    pub dead: Option<u64>,
    /// A login was lost while this generation was held: it may be dead.
    pub doubtful: Option<u64>,
    /// Tokens that were killed before their end, and not by us.
    pub killed: Option<Killed>,
    /// The broker's clock minus ours, as last measured: forgotten over a restart it would
    /// cost a second refused code, and two stop everything.
    pub skew: SignedDuration,
}

impl Budget {
    /// Take up a budget after a restart: an attempt without an end was made.
    pub(super) fn resume(&mut self, now: Timestamp) -> Option<AttemptKind> {
        let unanswered = self.unanswered.take()?;
        if unanswered.kind.mints() {
            self.made_until(unanswered.latest.min(now));
        }
        if unanswered.kind == AttemptKind::PinTotp {
            self.unanswered_login();
        }
        Some(unanswered.kind)
    }

    /// Times that lie ahead can only come from a clock that was moved back. Waiting
    /// for them could take for ever; one whole wait from now keeps every limit.
    pub(super) fn clamp_times(&mut self, now: Timestamp, skew: SignedDuration) {
        for past in [&mut self.last_mint_attempt, &mut self.last_failure, &mut self.consent_open] {
            *past = past.map(|at| at.min(now));
        }
        for ahead in [&mut self.retry_after, &mut self.consent_after] {
            *ahead = ahead.map(|at| at.min(plus(now, RETRY_AFTER_CAP)));
        }
        // Counts stay: a clock that goes back over midnight gives no second allowance.
        let today = india_date(plus(now, skew));
        self.consent_day = self.consent_day.map(|day| day.min(today));
        let current = totp_step(plus(now, skew));
        // A few steps ahead is a measured skew that changed.
        if self.last_totp_step.is_some_and(|last| last > current.saturating_add(4)) {
            self.last_totp_step = Some(current);
        }
    }

    /// May there have been a token, though none is stored? One that could not be written signs until the process ends.
    pub fn may_hide_token(&self) -> bool {
        let lost = self.unanswered.is_some_and(|attempt| attempt.kind.mints()) || self.doubts > 0;
        let had = self.proven || self.killed.is_some() || self.dead.is_some() || self.doubtful.is_some();
        lost || had || self.renewal_refused.is_some() || self.consent_day.is_some()
    }

    /// An attempt was sent at `until` or earlier.
    pub(super) fn made_until(&mut self, until: Timestamp) {
        self.last_mint_attempt = self.last_mint_attempt.max(Some(until));
    }

    /// When the time between two logins is over.
    pub(super) fn cooled_at(&self) -> Option<Timestamp> {
        self.last_mint_attempt.map(|last| plus(last, COOLDOWN))
    }

    pub(super) fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
    }

    pub(super) fn forget_failures(&mut self) {
        self.failures = 0;
        self.last_failure = None;
        self.retry_after = None;
    }

    /// An attempt with PIN and TOTP was never answered.
    pub(super) fn unanswered_login(&mut self) {
        self.doubts = self.doubts.saturating_add(1);
        self.silent = true;
    }

    /// A token was found dead that should have lived.
    pub(super) fn token_killed(&mut self, now: Timestamp) {
        let before = self.killed.filter(|killed| now.duration_since(killed.last) < ONE_CAUSE);
        let (times, since) = before.map_or((0, now), |killed| (killed.times, killed.since));
        self.killed = Some(Killed { times: times.saturating_add(1), since, last: now });
    }

    /// Since when another program makes tokens for the account, if one seems to: once
    /// may be anything.
    pub(super) fn rival(&self, now: Timestamp) -> Option<Killed> {
        self.killed.filter(|killed| killed.times > 1 && now.duration_since(killed.last) < ONE_CAUSE)
    }

    /// May PIN and TOTP not be tried?
    ///
    /// After one refusal that was heard, every attempt whose end is not known counts as
    /// one too. Without any, attempts that were never answered count only for
    /// credentials that have never worked, and errors not at all; or else an outage
    /// would leave every account waiting for a person.
    pub(super) fn locked_out(&self) -> bool {
        let refusals = match (self.refusals, self.proven) {
            (0, true) => 0,
            (0, false) => self.doubts,
            (heard, _) => heard.saturating_add(self.doubts).saturating_add(self.errors),
        };
        refusals >= REFUSALS
    }

    /// PIN and TOTP were taken.
    pub(super) fn prove(&mut self) {
        self.refusals = 0;
        self.doubts = 0;
        self.errors = 0;
        self.proven = true;
    }

    /// Other credentials: what is known of the old ones says nothing of them.
    pub(super) fn new_credentials(&mut self) {
        self.refusals = 0;
        self.doubts = 0;
        self.errors = 0;
        self.proven = false;
        self.stopped = None;
        self.forget_failures();
    }

    /// A person says the credentials are right now: one more try.
    pub(super) fn vouched(&mut self) {
        if self.locked_out() {
            self.refusals = REFUSALS - 1;
            self.doubts = 0;
            self.errors = 0;
        }
        self.stopped = None;
    }

    /// The first moment from `at` on at which a code may be sent, and its step.
    pub(super) fn next_code(&self, at: Timestamp, skew: SignedDuration) -> (Timestamp, u64) {
        let step = totp_step(plus(at, skew));
        let begins = |step: u64| plus(totp_begins(step), -skew);
        if let Some(last) = self.last_totp_step.filter(|last| *last >= step) {
            return (begins(last.saturating_add(1)), last.saturating_add(1));
        }
        let next = step.saturating_add(1);
        if begins(next).duration_since(at) < TOTP_LEFT_AT_START { (begins(next), next) } else { (at, step) }
    }

    /// May a consent be made? `today` and `now` by the broker's clock and ours.
    pub(super) fn consents_left(&self, now: Timestamp, skew: SignedDuration) -> u32 {
        if self.consent_after.is_some_and(|at| at > now) {
            return 0;
        }
        let spent = if self.consent_day == Some(india_date(plus(now, skew))) { self.consents_today } else { 0 };
        CONSENTS_A_DAY.saturating_sub(spent)
    }

    pub(super) fn spend_consent(&mut self, now: Timestamp, skew: SignedDuration) {
        let today = india_date(plus(now, skew));
        if self.consent_day != Some(today) {
            self.consent_day = Some(today);
            self.consents_today = 0;
        }
        self.consents_today = self.consents_today.saturating_add(1);
    }

    pub(super) fn consent_awaited(&self, now: Timestamp) -> bool {
        self.consent_open.is_some_and(|made| plus(made, CONSENT_OPEN) > now)
    }
}

/// RFC 6238's `T` at a time on the broker's clock.
pub fn totp_step(broker: Timestamp) -> u64 {
    u64::try_from(broker.as_second().div_euclid(TOTP_SECONDS)).unwrap_or(0)
}

/// When a step begins, on the broker's clock.
pub(super) fn totp_begins(step: u64) -> Timestamp {
    i64::try_from(step)
        .ok()
        .and_then(|step| step.checked_mul(TOTP_SECONDS))
        .and_then(|second| Timestamp::from_second(second).ok())
        .unwrap_or(Timestamp::MAX)
}
