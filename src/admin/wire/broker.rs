//! What the broker was asked for: registration and validation.

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::registration::{Registration, SlotChange, SlotState};
use crate::accounts::validate::{self, Check};
use crate::domain::AccountName;

/// One of the broker's two places for an address.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SlotBody {
    /// The account's own address.
    pub assigned: String,
    /// What the broker holds; null when it is empty or not told.
    pub registered: Option<String>,
    /// Is the account's own address registered?
    pub matches: bool,
    /// The first day (in India) on which the broker allows a change.
    pub change_allowed_from: Option<String>,
}

impl From<&SlotState> for SlotBody {
    fn from(slot: &SlotState) -> Self {
        Self {
            assigned: slot.assigned.to_string(),
            registered: slot.registered.holds.text(),
            matches: slot.matches(),
            change_allowed_from: slot.registered.change_allowed_from.map(|day| day.to_string()),
        }
    }
}

/// What the broker holds for an account. Null where it does not say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistrationBody {
    pub primary: SlotBody,
    pub secondary: SlotBody,
    /// From where the broker saw the question come.
    pub detected: Option<String>,
    /// Its word for how that compares: `PRIMARY_MATCH`, `MISMATCH` and so on.
    pub match_status: Option<String>,
    /// Does it take orders from there?
    pub orders_allowed: Option<bool>,
}

impl From<&Registration> for RegistrationBody {
    fn from(found: &Registration) -> Self {
        Self {
            primary: (&found.primary).into(),
            secondary: (&found.secondary).into(),
            detected: found.detected.map(|address| address.to_string()),
            match_status: found.match_status.clone(),
            orders_allowed: found.orders_allowed,
        }
    }
}

/// What happened to a slot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// `primary` or `secondary`.
    pub role: &'static str,
    /// `set`, `modified`, `unchanged`, `refused` (nothing was sent) or `failed`.
    pub action: &'static str,
    /// What happened and why.
    pub detail: String,
}

/// What the broker holds afterwards, and what was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredBody {
    pub primary: SlotBody,
    pub secondary: SlotBody,
    /// From where the broker saw the question come.
    pub detected: Option<String>,
    /// Its word for how that compares: `PRIMARY_MATCH`, `MISMATCH` and so on.
    pub match_status: Option<String>,
    /// Does it take orders from there?
    pub orders_allowed: Option<bool>,
    pub changes: Vec<ChangeBody>,
}

impl RegisteredBody {
    pub(crate) fn of(found: &Registration, changes: &[SlotChange]) -> Self {
        let RegistrationBody { primary, secondary, detected, match_status, orders_allowed } = found.into();
        let change = |change: &SlotChange| ChangeBody {
            role: change.role.as_str(),
            action: change.action.as_str(),
            detail: change.detail.clone(),
        };
        let changes = changes.iter().map(change).collect();
        Self { primary, secondary, detected, match_status, orders_allowed, changes }
    }
}

/// Which registered addresses may be replaced.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct ReplaceFields {
    /// Addresses that the broker holds now, IPv4 or IPv6. A slot with another one is left alone.
    #[schema(max_items = 2)]
    pub replace: Option<Vec<String>>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckBody {
    /// `pair`, `line_primary`, `line_secondary`, `hosts`, `token`, `token_expiry`, `leg_primary`, `leg_secondary`, `registration`, `orders_allowed` or `totp_clock`.
    pub name: &'static str,
    /// Is it known to be as it should be?
    pub ok: bool,
    /// `ok`, `failed`, or `unknown` where nobody said: what is not known is not `ok`.
    pub result: &'static str,
    /// What was found.
    pub detail: String,
}

/// Is an account ready to trade?
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChecksBody {
    /// All checks are.
    pub ok: bool,
    pub checks: Vec<CheckBody>,
}

impl From<&[Check]> for ChecksBody {
    fn from(checks: &[Check]) -> Self {
        let body = |check: &Check| CheckBody {
            name: check.name,
            ok: check.ok(),
            result: check.verdict.as_str(),
            detail: check.detail.clone(),
        };
        Self { ok: validate::all_ok(checks), checks: checks.iter().map(body).collect() }
    }
}

/// Is this account ready to trade?
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountChecksBody {
    pub account: String,
    /// All checks are.
    pub ok: bool,
    pub checks: Vec<CheckBody>,
}

impl AccountChecksBody {
    pub(crate) fn of(name: &AccountName, checks: &[Check]) -> Self {
        let ChecksBody { ok, checks } = checks.into();
        Self { account: name.to_string(), ok, checks }
    }
}

/// Every account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AllChecksBody {
    pub items: Vec<AccountChecksBody>,
}
