//! When a token is refreshed, and how long to wait after a failure.
//!
//! Every choice that should differ between accounts comes from a hash of the
//! account's name: it is spread over accounts, and the same after a restart.

use jiff::civil::{Date, time};

use jiff::{SignedDuration, Timestamp};

use super::facts::TokenFacts;
use crate::domain::india;

pub(super) use crate::domain::random::mix;

/// When the market needs a token. `broker::dhan` has the real one.
pub trait MarketCalendar {
    /// Would a request at this moment be in market hours, pre-open included?
    fn is_market_hours(&self, at: Timestamp) -> bool;
    /// From when to when tokens are refreshed on this day, before the pre-open.
    fn refresh_window(&self, day: Date) -> (Timestamp, Timestamp);
    /// Does the market open on this day (India's date)?
    fn trading_day(&self, day: Date) -> bool;
}

/// Monday to Friday, 09:00 to 15:30 IST, refreshed 07:30 to 08:30. Knows no
/// holidays: for tests, and where no calendar was given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weekdays;

impl MarketCalendar for Weekdays {
    fn is_market_hours(&self, at: Timestamp) -> bool {
        let day = india_date(at);
        self.trading_day(day) && india(day, 9, 0) <= at && at < india(day, 15, 30)
    }

    fn refresh_window(&self, day: Date) -> (Timestamp, Timestamp) {
        (india(day, 7, 30), india(day, 8, 30))
    }

    fn trading_day(&self, day: Date) -> bool {
        day.weekday().to_monday_one_offset() <= 5
    }
}

/// No day is a trading day: what is tested or measured under it does not depend on the hour.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverOpen;

impl MarketCalendar for NeverOpen {
    fn is_market_hours(&self, _: Timestamp) -> bool {
        false
    }

    fn refresh_window(&self, day: Date) -> (Timestamp, Timestamp) {
        Weekdays.refresh_window(day)
    }

    fn trading_day(&self, _: Date) -> bool {
        false
    }
}

/// The date in India.
pub fn india_date(at: Timestamp) -> Date {
    india::local(at).date()
}

/// A time of day in India. For hours and minutes that a clock has.
fn india(day: Date, hour: i8, minute: i8) -> Timestamp {
    india::instant(day.to_datetime(time(hour, minute, 0, 0)))
}

/// `at` and a while, or the end of time.
pub(super) fn plus(at: Timestamp, wait: SignedDuration) -> Timestamp {
    at.checked_add(wait).unwrap_or(if wait.is_negative() { Timestamp::MIN } else { Timestamp::MAX })
}

/// A token this young is not refreshed only because its day's slot comes: an
/// account made at 08:00 would otherwise log in twice within the hour.
const TOO_YOUNG: SignedDuration = SignedDuration::from_hours(1);

/// How far to look for a trading day.
const LOOK_DAYS: usize = 12;

/// When to replace a token: at the last slot of a trading day before it ends, else
/// at 80 % of its life. All times by our clock; `skew` is the broker's minus ours.
pub(super) fn due(token: &TokenFacts, skew: SignedDuration, seed: u64, calendar: &dyn MarketCalendar) -> Timestamp {
    let issued = plus(token.issued_at, -skew);
    let ends = plus(token.expires_at, -skew);
    let late = calendar.is_market_hours(ends);
    let old_enough = if late { issued } else { plus(issued, TOO_YOUNG) };
    let mut day = india_date(ends);
    for _ in 0..LOOK_DAYS {
        if calendar.trading_day(day) {
            let slot = slot(day, seed, calendar);
            if slot <= old_enough {
                break;
            }
            if slot < ends {
                return slot;
            }
        }
        let Ok(before) = day.yesterday() else { break };
        day = before;
    }
    most_of_life(token, skew)
}

/// 80 % of a token's life, by our clock.
pub(super) fn most_of_life(token: &TokenFacts, skew: SignedDuration) -> Timestamp {
    let life = token.expires_at.duration_since(token.issued_at);
    plus(token.issued_at, SignedDuration::from_millis(i64::try_from(life.as_millis() * 4 / 5).unwrap_or(0)) - skew)
}

/// The account's own moment in a day's window.
///
/// A token lives exactly a day. At the same minute each day it would end just as
/// its successor is asked for, with no time for a second try. So from Monday to
/// Friday the slot comes a twelfth of the window (5 minutes) earlier each day, and
/// the first eight twelfths hold the accounts' own offsets.
fn slot(day: Date, seed: u64, calendar: &dyn MarketCalendar) -> Timestamp {
    let (from, to) = calendar.refresh_window(day);
    let twelfth = to.duration_since(from).as_millis() / 12;
    let earlier = i128::from(5_i8.saturating_sub(day.weekday().to_monday_one_offset()).max(0));
    let own = twelfth * 8 * i128::from(seed % 4096) / 4096;
    plus(from, SignedDuration::from_millis(i64::try_from(twelfth * earlier + own).unwrap_or(0)))
}

/// The first time after `after` at which to look whether a token lives that nobody
/// has used since the night: on each trading day in the quarter of a window's length
/// that follows the window. A token that another login killed in the small hours is
/// then replaced before the pre-open, and not at the first order.
pub(super) fn morning_look(after: Timestamp, seed: u64, calendar: &dyn MarketCalendar) -> Option<Timestamp> {
    let mut day = india_date(after);
    for _ in 0..LOOK_DAYS {
        if calendar.trading_day(day) {
            let (from, to) = calendar.refresh_window(day);
            let own = to.duration_since(from).as_millis() / 4 * i128::from((seed >> 12) % 4096) / 4096;
            let look = plus(to, SignedDuration::from_millis(i64::try_from(own).unwrap_or(0)));
            if look > after {
                return Some(look);
            }
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// The time between two logins. The broker says two minutes; clients in production
/// use 125 to 130 s from the last attempt, refused ones included.
pub const COOLDOWN: SignedDuration = SignedDuration::from_secs(130);

/// The longest wait after failures.
pub const BACKOFF_CAP: SignedDuration = SignedDuration::from_mins(15);

/// The longest wait when the market is open or soon opens: a broker that comes back
/// ten minutes before must find us asking.
const URGENT_CAP: SignedDuration = SignedDuration::from_mins(4);

/// How long before market hours a wait counts as urgent.
const SOON: SignedDuration = SignedDuration::from_mins(100);

/// When to try again after the `failures`-th failure in a row.
pub(super) fn after_failures(failures: u8, last: Timestamp, seed: u64, calendar: &dyn MarketCalendar) -> Timestamp {
    let wait = backoff(failures, COOLDOWN, BACKOFF_CAP, mix(seed ^ u64::from(failures)));
    let urgent = plus(last, wait.min(URGENT_CAP));
    if calendar.is_market_hours(urgent) || calendar.is_market_hours(plus(urgent, SOON)) {
        return urgent;
    }
    plus(last, wait)
}

/// Twice as long each time, up to a tenth more by chance, between `least` and `most`.
pub(super) fn backoff(failures: u8, least: SignedDuration, most: SignedDuration, chance: u64) -> SignedDuration {
    let doubled = least.saturating_mul(1_i32 << failures.saturating_sub(1).min(12));
    let tenth = doubled.as_millis() / 10;
    let more = tenth * i128::from(chance % 1024) / 1024;
    doubled.saturating_add(SignedDuration::from_millis(i64::try_from(more).unwrap_or(0))).min(most)
}

/// A number for a name: FNV-1a, then mixed. Fixed here for ever: the standard
/// library's hash may change, and with it every account's slot.
pub(super) fn seed_of(name: &str) -> u64 {
    mix(name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}
