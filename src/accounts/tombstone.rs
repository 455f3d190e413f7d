//! Who has or had an address, as the store keeps it for ever.

use jiff::Timestamp;

use crate::domain::{AccountName, ClientId, Pair, Role, SourceAddr};
use crate::store::Change;
use crate::store::records::{AddressRecord, PairRecord};

/// What stays of a pair that was given up.
pub(super) fn tombstone(change: Change, name: &AccountName, client_id: &ClientId, record: &PairRecord) -> Change {
    let retired_at = Some(Timestamp::now());
    holders(&record.pair).into_iter().fold(change.delete::<PairRecord>(name), |change, (role, address)| {
        let holder = AddressRecord { account: name.clone(), client_id: client_id.clone(), role, retired_at };
        change.put(&address, &holder)
    })
}

/// The addresses of a pair with their roles; one where both are `::1`.
pub(super) fn holders(pair: &Pair) -> Vec<(Role, SourceAddr)> {
    let mut both = vec![(Role::Primary, pair.primary)];
    if pair.secondary != pair.primary {
        both.push((Role::Secondary, pair.secondary));
    }
    both
}
