//! Pairs that are set aside for somebody who is filling in a form: what is shown is what will be given.
//!
//! In memory only. A reservation ends after ten minutes, with a restart, or when its pair is assigned.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::error::AccountError;
use crate::addressing::Reservation;
use crate::domain::{Pair, lock};

/// How long a pair is set aside.
pub(super) const KEPT: Duration = Duration::from_secs(600);
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
    pub(super) fn tend(&self, now: Instant) {
        lock(&self.0).retain(|_, kept| kept.until > now);
    }

    pub(super) fn keep(&self, id: String, reservation: Reservation, now: Instant) -> Result<(), AccountError> {
        let mut kept = lock(&self.0);
        if kept.len() >= MOST {
            return Err(AccountError::TooManyReservations(MOST));
        }
        kept.insert(id, Kept { reservation, until: now + KEPT });
        Ok(())
    }

    /// The reservation of this id, if it is of this pool or of any.
    pub(super) fn take(&self, id: &str, pool: Option<&str>) -> Option<Reservation> {
        let mut kept = lock(&self.0);
        let found = kept.get(id)?;
        if pool.is_some() && found.reservation.pool() != pool {
            return None;
        }
        kept.remove(id).map(|kept| kept.reservation)
    }

    pub(super) fn take_pair(&self, pair: Pair) -> Option<Reservation> {
        let mut kept = lock(&self.0);
        let id = kept.iter().find(|(_, kept)| kept.reservation.pair() == pair).map(|(id, _)| id.clone())?;
        kept.remove(&id).map(|kept| kept.reservation)
    }
}
