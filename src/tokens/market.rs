//! The exchanges' calendar, as the life cycle of a token asks for it.

use jiff::Timestamp;
use jiff::civil::Date;

use super::lifecycle::MarketCalendar;
use crate::broker::dhan::calendar;

/// Dhan's exchanges: `broker/dhan/calendar.toml`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exchanges;

impl MarketCalendar for Exchanges {
    fn is_market_hours(&self, at: Timestamp) -> bool {
        calendar::is_market_hours(at)
    }

    fn refresh_window(&self, day: Date) -> (Timestamp, Timestamp) {
        calendar::refresh_window(day)
    }

    fn trading_day(&self, day: Date) -> bool {
        // A holiday with an evening session needs a token too.
        calendar::market_hours(day).is_some()
    }
}
