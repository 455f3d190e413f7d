//! What an account needs before anything is sent for it, and the refusals where it lacks.

use std::sync::Arc;

use tokio::time::Instant;

use super::reply::{Code, Problem, Retry};
use crate::accounts::Account;
use crate::domain::{Outcome, india};
use crate::legs::Legs;
use crate::tokens::{LiveToken, Unavailable};

/// An account's two ways out.
///
/// # Errors
/// 503 `egress_unavailable` where it has no pair of addresses.
pub(crate) fn legs(account: &Account) -> Result<&Legs, Problem> {
    account.legs.as_deref().ok_or_else(|| {
        let detail =
            format!("account {0} has no pair of addresses; assign one by POST /v1/accounts/{0}/pair", account.name);
        Problem::before_sending(Code::EgressUnavailable, detail)
    })
}

/// The token to sign with. Waits until `by` for one that is on its way.
///
/// # Errors
/// 503 `token_unavailable`.
pub(crate) async fn live(account: &Account, by: Instant) -> Result<Arc<LiveToken>, Problem> {
    match account.token.live() {
        Ok(token) => Ok(token),
        Err(_) => account.token.wait(0, by).await.map_err(|why| no_token(account, &why, Outcome::NotSent)),
    }
}

/// No token came, of a request of which `outcome` is known.
pub(super) fn no_token(account: &Account, why: &Unavailable, outcome: Outcome) -> Problem {
    let action = why.action.replace("{name}", account.name.as_str());
    let mut problem = Problem::before_sending(Code::TokenUnavailable, format!("{}; {action}", why.summary));
    problem.outcome = outcome;
    if let Some(wait) = why.retry_after {
        problem.retry = Retry::After(wait);
    }
    problem
}

/// # Errors
/// 403 `account_halted`.
pub(crate) fn refuse_if_halted(account: &Account) -> Result<(), Problem> {
    let Some(halt) = &account.record.halted else { return Ok(()) };
    let reason = if halt.reason.is_empty() { String::new() } else { format!(": {}", halt.reason) };
    let detail = format!(
        "an operator halted account {} at {}{reason}; cancels, DELETE /positions and the kill switch pass",
        account.name,
        india::said(halt.since)
    );
    Err(Problem::before_sending(Code::AccountHalted, detail))
}
