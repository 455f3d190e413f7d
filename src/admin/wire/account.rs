//! Accounts: what of them is more than their settings, and lists of them.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::broker::{CheckBody, ChecksBody};
use crate::accounts::overview::{Counts, Trouble};
use crate::accounts::validate::Validated;
use crate::accounts::{Account, LastRequestView, SecretsSet};
use crate::domain::Role;
use crate::domain::secret::LoginSecret;

/// Is a secret set?
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretBody {
    pub set: bool,
    /// Since when; null also for one that was given before that was kept.
    pub since: Option<String>,
}

/// Which secrets of a login are set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretsBody {
    pub pin: SecretBody,
    pub totp_secret: SecretBody,
    pub phone: SecretBody,
    pub api_key: SecretBody,
    pub api_secret: SecretBody,
}

impl From<&SecretsSet> for SecretsBody {
    fn from(secrets: &SecretsSet) -> Self {
        let body = |name: LoginSecret| SecretBody {
            set: secrets.contains_key(&name),
            since: secrets.get(&name).copied().flatten().map(|at| at.to_string()),
        };
        Self {
            pin: body(LoginSecret::Pin),
            totp_secret: body(LoginSecret::TotpSecret),
            phone: body(LoginSecret::Phone),
            api_key: body(LoginSecret::ApiKey),
            api_secret: body(LoginSecret::ApiSecret),
        }
    }
}

/// When a caller last asked for something of an account. Lost when the gateway stops.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LastRequestBody {
    /// When it was answered.
    pub at: String,
    /// `order`, `read`, `stream` (a WebSocket) or `tunnel` (a `CONNECT`).
    pub class: &'static str,
    /// The listener that it came by: `127.0.0.1:8080` or `unix:/path`.
    pub listener: String,
    /// What the program calls itself (`User-Agent`); null where it says nothing.
    pub program: Option<String>,
}

impl From<LastRequestView> for LastRequestBody {
    fn from(last: LastRequestView) -> Self {
        let LastRequestView { at, class, listener, program } = last;
        Self { at: at.to_string(), class: class.as_str(), listener, program }
    }
}

/// What the last validation found. Lost when the gateway stops.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidatedBody {
    pub at: String,
    /// All checks are as they should be.
    pub ok: bool,
    pub checks: Vec<CheckBody>,
}

impl From<&Validated> for ValidatedBody {
    fn from(validated: &Validated) -> Self {
        let ChecksBody { ok, checks } = validated.checks.as_slice().into();
        Self { at: validated.at.to_string(), ok, checks }
    }
}

/// One of the broker's two places for an address, as it was last told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeenSlotBody {
    /// What the broker holds; null when it is empty.
    pub registered: Option<String>,
    /// Is it the address that the account has now? Null without a pair.
    pub matches: Option<bool>,
    /// The first day (in India) on which the broker allows a change.
    pub change_allowed_from: Option<String>,
    /// When the broker said so.
    pub seen_at: String,
}

/// What the broker was last seen to hold. Null where it was not told. Lost when the gateway stops, and told anew by
/// the next `getIP`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeenRegistrationBody {
    pub primary: Option<SeenSlotBody>,
    pub secondary: Option<SeenSlotBody>,
}

impl SeenRegistrationBody {
    pub(super) fn of(account: &Account) -> Option<Self> {
        let body = |role: Role| {
            let seen = account.registration.get(role)?;
            let own = account.legs.as_ref().map(|legs| legs.pair().of(role).ip());
            Some(SeenSlotBody {
                registered: seen.slot.holds.text(),
                matches: own.map(|own| seen.slot.holds.is(own.into())),
                change_allowed_from: seen.slot.change_allowed_from.map(|day| day.to_string()),
                seen_at: seen.at.to_string(),
            })
        };
        let seen = Self { primary: body(Role::Primary), secondary: body(Role::Secondary) };
        (seen.primary.is_some() || seen.secondary.is_some()).then_some(seen)
    }
}

/// How many accounts are in which trouble. One can be in several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountsBody {
    /// All that `q` and `state` leave.
    pub all: u64,
    /// Those of them that `problem` leaves: so many items have all pages together.
    pub matching: u64,
    pub needs_person: u64,
    pub halted: u64,
    pub leg_tripped: u64,
    pub no_token: u64,
    pub validation_failed: u64,
    pub not_validated: u64,
}

impl From<Counts> for CountsBody {
    fn from(counts: Counts) -> Self {
        Self {
            all: counts.all,
            matching: counts.matching,
            needs_person: counts.of(Trouble::NeedsPerson),
            halted: counts.of(Trouble::Halted),
            leg_tripped: counts.of(Trouble::LegTripped),
            no_token: counts.of(Trouble::NoToken),
            validation_failed: counts.of(Trouble::ValidationFailed),
            not_validated: counts.of(Trouble::NotValidated),
        }
    }
}

/// Which accounts, and in which order. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct ListFilter {
    /// A text that stands in the name, the nickname, the client id or an address.
    pub q: Option<String>,
    /// The state of the token: `absent`, `minting`, `live`, `refreshing`, `waiting` or `needs_person`.
    #[param(value_type = Option<String>, pattern = "^(absent|minting|live|refreshing|waiting|needs_person)$")]
    pub state: Option<String>,
    /// Those in this trouble: one of `problems`.
    #[param(value_type = Option<String>,
        pattern = "^(needs_person|halted|leg_tripped|no_token|validation_failed|not_validated)$")]
    pub problem: Option<String>,
    /// `name` (when not given), or `trouble`: the worst first.
    #[param(value_type = Option<String>, pattern = "^(name|trouble)$")]
    pub sort: Option<String>,
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before, of the same `sort`.
    pub cursor: Option<String>,
}

/// A TOTP secret to be compared with an authenticator.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct TotpFields {
    /// Base32, as the broker shows it, or the `otpauth://` address of its picture. Write-only.
    #[schema(max_length = 256, pattern = r"^\s*([A-Za-z2-7]([ =-]*[A-Za-z2-7]){15,}[ =-]*|otpauth://[!-~]+)\s*$")]
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
