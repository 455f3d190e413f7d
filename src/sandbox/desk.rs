//! What every order meets that comes in: numbers that are never given twice, the
//! broker's habits, and what a test has in store for the orders of one request.

use jiff::{SignedDuration, Timestamp};

use super::clock;
use super::fault::Fate;
use super::habits::Habits;

/// Where orders come in.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) ids: Ids,
    pub(super) habits: Habits,
    /// Of the request that is being answered.
    pub(super) fate: Fate,
}

impl Desk {
    /// A moment so many milliseconds from now.
    pub(super) fn after(now: Timestamp, milliseconds: u64) -> Timestamp {
        let wait = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
        now.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}

/// Numbers that are never given twice, to whichever account.
#[derive(Default)]
pub(super) struct Ids {
    orders: u64,
    alerts: u64,
}

impl Ids {
    /// Orders are numbered from here on.
    pub(super) const fn go_on_from(&mut self, orders: u64) {
        self.orders = orders;
    }

    /// An order id (`112611230001`) and the exchange's id of the same order.
    pub(super) fn order(&mut self, now: Timestamp) -> (String, String) {
        self.orders += 1;
        let (high, low) = (11 + self.orders / 10_000, self.orders % 10_000);
        let id = format!("{high}{}{low:04}", clock::compact_date(now));
        (id, (1_100_000_000_000_000 + self.orders).to_string())
    }

    /// A trade's id at the exchange.
    pub(super) fn trade(&self, nth: usize) -> String {
        format!("15{:06}{nth}", self.orders)
    }

    pub(super) fn alert(&mut self) -> u64 {
        self.alerts += 1;
        12_344 + self.alerts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two orders with one id would let a reconciliation find the wrong one.
    #[test]
    fn order_ids_are_twelve_digits_and_never_repeat() {
        let now: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        let mut ids = Ids::default();
        assert_eq!(ids.order(now).0, "112611230001");
        let made: std::collections::HashSet<_> = (0..30_000).map(|_| ids.order(now).0).collect();
        assert_eq!(made.len(), 30_000);
        assert!(made.iter().all(|id| id.len() == 12));
    }
}
