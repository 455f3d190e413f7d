//! Which trading day an order belongs to, and for how long its ids are remembered.
//!
//! A day ends at midnight in India. An order of a day on which nothing is traded, and an after-market order, belongs to
//! the next day on which something is: an engine that repeats it in the morning must not have two.

use std::sync::Mutex;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::{SignedDuration, Timestamp};

use crate::broker::dhan::calendar;
use crate::domain::india;
use crate::domain::lock;

/// An id is remembered at least this long past its last use.
pub const AT_LEAST: Duration = Duration::from_hours(1);

/// The longest run of closed days that is looked over.
const LONGEST_CLOSURE: usize = 30;

/// The trading day that an order placed at this instant belongs to.
pub fn of(at: Timestamp, after_market: bool) -> Date {
    let local = india::local(at);
    let today = local.date();
    let is_open = |date: &Date| calendar::market_hours(*date).is_some();
    // Placed before the open it is for this very morning.
    let is_todays = !after_market || local.time() < calendar::PRE_OPEN;
    if is_todays && is_open(&today) {
        return today;
    }
    let mut date = today;
    for _ in 0..LONGEST_CLOSURE {
        let Ok(next) = date.tomorrow() else { break };
        date = next;
        if is_open(&date) {
            return date;
        }
    }
    date
}

/// How far back orders may lie whose ids are remembered at this instant: to the pre-open of the last trading day, whose
/// after-market orders may belong to today; and a day at least.
pub fn look_back(at: Timestamp) -> SignedDuration {
    let least = SignedDuration::from_hours(24);
    let mut date = india::local(at).date();
    for _ in 0..LONGEST_CLOSURE {
        let Ok(before) = date.yesterday() else { break };
        date = before;
        if calendar::market_hours(date).is_some() {
            return at.duration_since(india::instant(date.to_datetime(calendar::PRE_OPEN))).max(least);
        }
    }
    least
}

/// How long from this instant until the ids of an order that belongs to its trading day may be used again.
pub fn remembered_for(at: Timestamp, after_market: bool) -> Duration {
    let next = of(at, after_market).tomorrow();
    let end = next.map_or(Timestamp::MAX, |next| india::instant(next.to_datetime(Time::midnight())));
    Duration::try_from(end.duration_since(at)).unwrap_or_default().max(AT_LEAST)
}

/// How many writes of one account were repeats, by India's day.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Option<(Date, u64)>>);

impl Repeats {
    /// One more at this instant.
    pub fn note(&self, at: Timestamp) {
        let today = india::local(at).date();
        let mut counted = lock(&self.0);
        let before = counted.filter(|(day, _)| *day == today).map_or(0, |(_, count)| count);
        *counted = Some((today, before + 1));
    }

    /// How many there were on the day of this instant.
    pub fn today(&self, at: Timestamp) -> u64 {
        let counted = lock(&self.0);
        counted.filter(|(day, _)| *day == india::local(at).date()).map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("{text}+05:30").parse().unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    /// The morning's repeat of a late-night order would be a second order.
    #[test]
    fn an_after_market_order_belongs_to_the_next_trading_day() {
        // 2026-11-20 is a Friday, 2026-11-23 the Monday after it.
        for (when, after_market, want) in [
            ("2026-11-20T10:00:00", false, "2026-11-20"),
            ("2026-11-20T22:00:00", false, "2026-11-20"),
            ("2026-11-20T22:00:00", true, "2026-11-23"),
            ("2026-11-23T07:30:00", true, "2026-11-23"),
            ("2026-11-22T12:00:00", false, "2026-11-23"),
            ("2026-11-22T12:00:00", true, "2026-11-23"),
        ] {
            assert_eq!(of(at(when), after_market), day(want), "{when} {after_market}");
        }
        let hours = |when, after_market| remembered_for(at(when), after_market).as_secs_f64() / 3600.0;
        assert_eq!(hours("2026-11-20T10:00:00", false), 14.0);
        assert_eq!(hours("2026-11-20T22:00:00", true), 74.0);
    }

    /// Who uses labels as ids finds out on the first day.
    #[test]
    fn repeats_are_counted_by_the_day() {
        let repeats = Repeats::default();
        repeats.note(at("2026-11-20T10:00:00"));
        repeats.note(at("2026-11-20T23:59:00"));
        assert_eq!(repeats.today(at("2026-11-20T23:59:59")), 2);
        assert_eq!(repeats.today(at("2026-11-21T00:00:00")), 0);
        repeats.note(at("2026-11-21T00:00:01"));
        assert_eq!(repeats.today(at("2026-11-21T09:00:00")), 1);
    }

    /// What Friday's late orders did has to be known on Monday.
    #[test]
    fn a_start_looks_back_to_whatever_may_still_be_remembered() {
        for (now, hours) in
            [("2026-11-23T08:00:00", 71.0), ("2026-11-24T08:00:00", 24.0), ("2026-11-24T10:00:00", 25.0)]
        {
            let back = look_back(at(now));
            assert_eq!(back.as_secs_f64() / 3600.0, hours, "{now}");
            // Whatever is older is remembered no longer.
            let older = at(now).checked_sub(back).unwrap().checked_sub(SignedDuration::from_secs(1)).unwrap();
            let until = older.checked_add(remembered_for(older, true)).unwrap();
            assert!(until <= at(now), "{now}: {until}");
        }
    }

    /// At one minute to midnight an engine still repeats what was lost at two minutes to.
    #[test]
    fn an_id_is_kept_an_hour_at_least() {
        assert_eq!(remembered_for(at("2026-11-20T23:59:00"), false), AT_LEAST);
        assert_eq!(remembered_for(Timestamp::MAX, true), AT_LEAST);
    }
}
