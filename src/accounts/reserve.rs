//! Setting a pair aside for an account that is being made, and assigning it.

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::reservations::KEPT;
use super::{AccountError, Accounts, Assigned};
use crate::addressing::Reservation;
use crate::domain::problem::Invalid;
use crate::domain::{AccountName, Pair};
use crate::store::records::PairRecord;

/// A pair that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Names it when it is taken or given back.
    pub id: String,
    /// What is set aside.
    pub pair: Pair,
    /// When it is free again.
    pub until: Timestamp,
}

impl Accounts {
    /// Set the next free pair of a pool aside for ten minutes.
    ///
    /// # Errors
    /// [`AccountError`]: no such pool, nothing free, too many set aside.
    pub fn reserve_pair(&self, pool: &str) -> Result<Reserved, AccountError> {
        self.tend_reservations();
        let mut random = [0_u8; 10];
        let none = |_| AccountError::Invalid { field: "id", why: Invalid::new("the kernel gave no random bytes") };
        getrandom::fill(&mut random).map_err(none)?;
        let reservation = self.addressing.reserve_next(Some(pool))?;
        let (id, pair) = (HEXLOWER.encode(&random), reservation.pair());
        self.reservations.keep(id.clone(), reservation, Instant::now())?;
        let kept = SignedDuration::try_from(KEPT).unwrap_or_default();
        Ok(Reserved { id, pair, until: Timestamp::now().saturating_add(kept).unwrap_or(Timestamp::MAX) })
    }

    /// Give a pair back that was set aside.
    ///
    /// # Errors
    /// [`AccountError::NoSuch`].
    pub fn release_pair(&self, pool: &str, id: &str) -> Result<(), AccountError> {
        self.tend_reservations();
        self.reservations.take(id, Some(pool)).map(drop).ok_or(NO_SUCH)
    }

    /// Assign a pair that was set aside.
    ///
    /// # Errors
    /// [`AccountError`]: no such account or reservation, another pair that the account has.
    pub async fn assign_reserved(&self, name: &AccountName, id: &str) -> Result<Assigned, AccountError> {
        self.tend_reservations();
        let _turn = self.turns.of(name).await;
        let record = self.stored(name)?;
        if self.store.get::<PairRecord>(name)?.is_some() {
            return Err(AccountError::HasPair(name.clone()));
        }
        let reservation = self.reservations.take(id, None).ok_or(NO_SUCH)?;
        self.assign(name, record, reservation).await
    }

    /// The pair, if it is set aside: whoever names both its addresses has seen them.
    pub(super) fn take_reserved(&self, pair: Pair) -> Option<Reservation> {
        self.tend_reservations();
        self.reservations.take_pair(pair)
    }

    /// What was set aside for too long is free again.
    pub fn tend_reservations(&self) {
        self.reservations.tend(Instant::now());
    }
}

const NO_SUCH: AccountError = AccountError::NoSuch("reservation; one ends after ten minutes, and with a restart");
