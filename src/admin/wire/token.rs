//! Tokens: how they stand, how they are given and how a login gets one.

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::Account;
use crate::domain::steady;
use crate::tokens::lifecycle::State;

/// What last went wrong with an account's token, until something goes right.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenProblem {
    /// A word for programs.
    pub code: String,
    /// One sentence that says what happened.
    pub summary: String,
    /// What to do.
    pub action: String,
}

/// Where an account's token stands. Never the token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenBody {
    /// `absent`, `minting`, `live`, `refreshing`, `waiting` or `needs_person`.
    pub state: &'static str,
    pub expires_at: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// While `waiting`: when the next login may be.
    pub waiting_until: Option<String>,
    /// While `waiting`, for what: `cooldown` (the time between two logins), `backoff` (after a failure), `next_code` (of
    /// TOTP) or `check` (the broker's word on whether the token lives).
    pub waiting_for: Option<&'static str>,
    /// What last went wrong, until something goes right.
    pub last_error: Option<TokenProblem>,
    /// The broker's clock minus this host's in seconds, where it is off by more than 2.
    pub clock_skew: Option<f64>,
}

impl TokenBody {
    pub(crate) fn of(account: &Account) -> Self {
        let last = account.token.last();
        let standing = account.token.standing();
        let last_error = standing.trouble.as_ref().map(|trouble| TokenProblem {
            code: trouble.code.to_string(),
            summary: trouble.summary.to_string(),
            action: trouble.action.replace("{name}", account.name.as_str()),
        });
        let waiting = match &standing.state {
            Some(State::Waiting { until, why }) => Some((until.to_string(), why.as_str())),
            Some(_) | None => None,
        };
        let (waiting_until, waiting_for) = waiting.unzip();
        Self {
            waiting_until,
            waiting_for,
            state: standing.word(),
            expires_at: last.as_ref().map(|token| token.expires_at().to_string()),
            source: last.as_ref().map(|token| token.source().to_owned()),
            last_error,
            clock_skew: steady::brokers_ahead_of_host().map(|skew| skew.as_secs_f64()).filter(|skew| skew.abs() > 2.0),
        }
    }
}

/// A token given by hand.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct TokenFields {
    /// As people have it: with line breaks in it, in quotation marks, after `Bearer`. Write-only.
    #[schema(max_length = 4096)]
    pub access_token: String,
}

/// How to refresh a token: `{}` or no body at all will do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct RefreshFields {
    /// The cause of refused logins is mended outside (the PIN changed back at the broker, the
    /// account unlocked): one more try, although two were refused.
    pub vouched: Option<bool>,
}

/// What a person brought back from the broker's page; `{}` or no body asks for a link there.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct ConsentFields {
    /// `tokenId` of the address that the broker's page led to, for a browser that cannot
    /// reach `/auth/dhan`. Write-only.
    #[schema(max_length = 4096)]
    pub token_id: Option<String>,
}

/// A login by the broker's page: a link to it, or what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsentBody {
    /// Open it in a browser: it leads to the broker's page and from there back here.
    pub login_url: Option<String>,
    /// The broker's page itself, for a browser that cannot reach this listener.
    pub broker_url: Option<String>,
    /// Links that may be made today; the broker allows 25.
    pub consents_left: Option<u32>,
    pub token: TokenBody,
}

/// A TOTP secret to be compared with an authenticator.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct TotpFields {
    /// Base32, as the broker shows it, or the `otpauth://` address of its picture. Write-only.
    #[schema(max_length = 4096)]
    pub totp_secret: String,
}

/// What an authenticator with that secret shows now. No `Debug`: it opens an account.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpBody {
    #[schema(example = "492039")]
    pub code: String,
    /// So long it is the one.
    pub seconds_left: u64,
}
