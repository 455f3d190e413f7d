//! What a test may change about the login.

use std::time::Duration;

/// How the broker's login behaves. The default is what was measured of it.
#[derive(Clone, Debug)]
pub struct LoginRules {
    /// How long after an attempt the next one is refused.
    pub cooldown: Duration,
    /// What that time is counted from.
    pub window: Window,
    /// How long a token lives, whoever makes it.
    pub token_life: Duration,
    /// How replies write a token's end.
    pub expiry: ExpiryForm,
    /// How many refusals of PIN or TOTP in a row lock an account. `[C]`
    pub refusals_to_lock: u32,
    /// How many consents an account may ask for in a day of India's.
    pub consents_a_day: u32,
    /// By which verbs a consent's token is fetched.
    pub consent_verbs: ConsentVerbs,
}

impl Default for LoginRules {
    fn default() -> Self {
        Self {
            cooldown: Duration::from_secs(120),
            window: Window::LastAttempt,
            token_life: Duration::from_secs(86_400),
            expiry: ExpiryForm::AsSeen,
            refusals_to_lock: 3,
            consents_a_day: 25,
            consent_verbs: ConsentVerbs::Both,
        }
    }
}

/// What the time between attempts is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last attempt, even one that was refused. Reported once, and the harder one.
    LastAttempt,
    /// The last token that was made.
    LastToken,
}

/// How `expiryTime` is written. It never says its zone, which is India's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryForm {
    /// With milliseconds by PIN and TOTP and by renewal, without by consent.
    AsSeen,
    /// Always `2026-11-24T08:00:00.019`.
    Milliseconds,
    /// Always `2026-11-24T08:00:00`.
    Seconds,
    /// Milliseconds since 1970, as a number. A published client reads this form, so somebody has seen it.
    EpochMilliseconds,
    /// `2026-11-24T08:00:00+05:30`. Likewise.
    Offset,
}

/// By which verbs `consumeApp-consent` answers. The SDK and the documents' example say
/// GET, their table and other clients POST; nobody wrote down that both work. `[C]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentVerbs {
    /// GET and POST.
    Both,
    /// GET; another is a bad field.
    Get,
    /// POST; another is a bad field.
    Post,
}

impl ConsentVerbs {
    pub(super) fn take(self, method: &str) -> bool {
        match self {
            Self::Both => matches!(method, "GET" | "POST"),
            Self::Get => method == "GET",
            Self::Post => method == "POST",
        }
    }
}
