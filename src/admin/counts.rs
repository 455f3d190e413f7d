//! How many accounts are in which state.

use super::wire::AccountCounts;
use crate::accounts::{Account, Accounts};
use crate::legs::LegState;
use crate::tokens::lifecycle::State as TokenState;

/// Looks at every account: not on a runtime worker.
pub(super) fn count(accounts: &Accounts) -> AccountCounts {
    let mut counts = AccountCounts::default();
    accounts.for_each(|account| add(&mut counts, account));
    counts
}

fn add(counts: &mut AccountCounts, account: &Account) {
    counts.total += 1;
    counts.halted += u64::from(account.record.halted.is_some());
    counts.not_alone += u64::from(!account.is_alone());
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
