//! Pairs that are set aside for somebody who is filling in a form: what is shown is what will be given.
//!
//! In memory only. A reservation ends after ten minutes, with a restart, or when its pair is assigned.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{AccountError, Accounts, Assigned};
use crate::addressing::Reservation;
use crate::domain::problem::Invalid;
use crate::domain::{AccountName, Pair, lock};
use crate::store::records::PairRecord;

/// How long a pair is set aside.
const KEPT: Duration = Duration::from_secs(600);
/// So many are set aside at once: whoever asks without end must not empty a pool.
const MOST: usize = 256;

/// Pairs that are set aside, by the ids that were told.
#[derive(Debug, Default)]
pub(super) struct Reservations(Mutex<HashMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    reservation: Reservation,
    until: Instant,
}

impl Reservations {
    /// Those whose time is over go, and their pairs are free again.
    fn tend(&self, now: Instant) {
        lock(&self.0).retain(|_, kept| kept.until > now);
    }

    fn keep(&self, id: String, reservation: Reservation, now: Instant) -> Result<(), AccountError> {
        let mut kept = lock(&self.0);
        if kept.len() >= MOST {
            return Err(AccountError::TooManyReservations(MOST));
        }
        kept.insert(id, Kept { reservation, until: now + KEPT });
        Ok(())
    }

    /// The reservation of this id, if it is of this pool or of any.
    fn take(&self, id: &str, pool: Option<&str>) -> Option<Reservation> {
        let mut kept = lock(&self.0);
        let found = kept.get(id)?;
        if pool.is_some() && found.reservation.pool() != pool {
            return None;
        }
        kept.remove(id).map(|kept| kept.reservation)
    }

    fn take_pair(&self, pair: Pair) -> Option<Reservation> {
        let mut kept = lock(&self.0);
        let id = kept.iter().find(|(_, kept)| kept.reservation.pair() == pair).map(|(id, _)| id.clone())?;
        kept.remove(&id).map(|kept| kept.reservation)
    }
}

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
