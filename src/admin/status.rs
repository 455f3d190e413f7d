//! `/v1/status`: what runs here, where it listens and how its accounts stand, on one page.

use axum::Json;
use axum::extract::State;

use super::error::{Failure, cut_short};
use super::state::Admin;
use super::wire::{AccountCounts, JournalHeadBody, StatusBody};
use crate::accounts::Account;
use crate::legs::LegState;
use crate::tokens::lifecycle::State as TokenState;

/// What runs here: version, listeners, the authority's fingerprint, the journal's newest line, and how many accounts are
/// in which state. No secret.
#[utoipa::path(get, path = "/v1/status", tag = "status", security(("bearer" = [])), responses((status = 200, body = StatusBody)))]
pub(super) async fn read(State(admin): State<Admin>) -> Result<Json<StatusBody>, Failure> {
    let journal = admin.orders.journal.clone();
    // It waits, if not for long, for whoever writes; and ten thousand accounts are counted.
    let asking = tokio::task::spawn_blocking(move || {
        let mut accounts = AccountCounts::default();
        admin.accounts.for_each(|account| count(&mut accounts, account));
        let head = JournalHeadBody::of(&journal);
        StatusBody::of(&admin, accounts, head)
    });
    asking.await.map(Json).map_err(|_| cut_short())
}

fn count(counts: &mut AccountCounts, account: &Account) {
    counts.total += 1;
    counts.halted += u64::from(account.record.halted.is_some());
    let tokens = &mut counts.tokens;
    *match account.token.standing().state {
        None | Some(TokenState::Absent) => &mut tokens.absent,
        Some(TokenState::Minting) => &mut tokens.minting,
        Some(TokenState::Live) => &mut tokens.live,
        Some(TokenState::Refreshing) => &mut tokens.refreshing,
        Some(TokenState::Waiting { .. }) => &mut tokens.waiting,
        Some(TokenState::NeedsPerson { .. }) => &mut tokens.needs_person,
    } += 1;
    let Some(legs) = &account.legs else {
        counts.without_pair += 1;
        return;
    };
    for leg in legs.both() {
        *match leg.state().0 {
            LegState::Admits => &mut counts.legs.admits,
            LegState::Tripped { .. } => &mut counts.legs.tripped,
            LegState::Probing { .. } => &mut counts.legs.probing,
        } += 1;
    }
}
