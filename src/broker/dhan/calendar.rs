//! When the exchanges behind the broker are open. The days are `calendar.toml`.
//!
//! This is for planning a token's life, so "open" means any segment an account
//! may trade in: cash and F&O (pre-open 09:00, open 09:15, close 15:30) and
//! commodities (09:00 to 23:30, and to 23:55 while the United States are on
//! winter time). One span covers both, 09:00 to 23:55: which segments an account
//! uses is not known here, and a token that ends at 23:40 ends in somebody's trade.
//!
//! Invariants:
//! - Pure: the time is always an argument.
//! - In doubt a day is open. A needless renewal harms nobody.
//!
//! Not here: the jitter inside the window, and what a refresh is (`tokens`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use serde::Deserialize;

use crate::domain::india;

/// The pre-open session of cash and F&O, and the first trade of commodities.
pub const PRE_OPEN: Time = Time::constant(9, 0, 0, 0);
/// Where only the evening is traded: commodities, on most holidays.
pub const EVENING_OPEN: Time = Time::constant(17, 0, 0, 0);
/// The last close of the day: commodities, in winter.
pub const LAST_CLOSE: Time = Time::constant(23, 55, 0, 0);
/// Tokens are refreshed from here...
pub const REFRESH_FROM: Time = Time::constant(7, 30, 0, 0);
/// ...to here: done before the pre-open, with time left for a person to help.
pub const REFRESH_TO: Time = Time::constant(8, 30, 0, 0);

/// No run of closed days is longer than this, so that a search ends.
const LONGEST_CLOSURE: usize = 30;

/// A span of time: from the first instant to before the second.
pub type TimeSpan = (Timestamp, Timestamp);

/// Do cash and F&O trade on this day (in India)?
pub fn trading_day(date: Date) -> bool {
    TABLE.trading_day(date)
}

/// When something is traded on this day (in India), if anything is.
pub fn market_hours(date: Date) -> Option<TimeSpan> {
    let opens = TABLE.opens(date)?;
    Some((india::instant(date.to_datetime(opens)), india::instant(date.to_datetime(LAST_CLOSE))))
}

/// Is something traded at this instant? The opening instant counts, the closing
/// one does not.
pub fn is_market_hours(at: Timestamp) -> bool {
    market_hours(india::local(at).date()).is_some_and(|(open, close)| open <= at && at < close)
}

/// The first pre-open of cash and F&O after an instant, which itself does not count.
pub fn next_pre_open(after: Timestamp) -> Timestamp {
    days(after)
        .filter(|date| trading_day(*date))
        .map(|date| india::instant(date.to_datetime(PRE_OPEN)))
        .find(|open| *open > after)
        .unwrap_or(Timestamp::MAX)
}

/// When tokens are refreshed on a day on which something is traded: before it opens.
pub fn refresh_window(day: Date) -> TimeSpan {
    (india::instant(day.to_datetime(REFRESH_FROM)), india::instant(day.to_datetime(REFRESH_TO)))
}

/// The first window, of a day on which something is traded, that begins after
/// an instant. Called inside a window it gives the next day's.
pub fn next_refresh_window(after: Timestamp) -> TimeSpan {
    days(after)
        .filter(|date| market_hours(*date).is_some())
        .map(refresh_window)
        .find(|(from, _)| *from > after)
        .unwrap_or((Timestamp::MAX, Timestamp::MAX))
}

/// Are this year's holidays the exchange's own list? If not, weekdays are taken
/// for trading days, except those that no moon decides.
pub fn holidays_published(year: i16) -> bool {
    TABLE.published.contains(&year)
}

/// The day (in India) of an instant and those after it.
fn days(from: Timestamp) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(india::local(from).date()), |date| date.tomorrow().ok()).take(LONGEST_CLOSURE)
}

static TABLE: LazyLock<CalendarTable> =
    LazyLock::new(|| CalendarTable::parse(include_str!("calendar.toml")).unwrap_or_default());

#[derive(Debug, Default)]
struct CalendarTable {
    /// Holidays, and whether commodities trade in the evening.
    holidays: BTreeMap<Date, bool>,
    special: BTreeSet<Date>,
    published: BTreeSet<i16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarFile {
    #[serde(rename = "checked")]
    _checked: Date,
    special_sessions: Vec<Date>,
    year: Vec<Year>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Year {
    year: i16,
    published: bool,
    holiday: Vec<Holiday>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holiday {
    date: Date,
    #[serde(rename = "name")]
    _name: String,
    evening: bool,
}

impl CalendarTable {
    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let file: CalendarFile = toml::from_str(text)?;
        Ok(Self {
            published: file.year.iter().filter(|year| year.published).map(|year| year.year).collect(),
            holidays: file.year.iter().flat_map(|year| &year.holiday).map(|day| (day.date, day.evening)).collect(),
            special: file.special_sessions.into_iter().collect(),
        })
    }

    fn trading_day(&self, date: Date) -> bool {
        let weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        self.special.contains(&date) || !(weekend || self.holidays.contains_key(&date))
    }

    fn opens(&self, date: Date) -> Option<Time> {
        if self.trading_day(date) {
            return Some(PRE_OPEN);
        }
        self.holidays.get(&date).is_some_and(|evening| *evening).then_some(EVENING_OPEN)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    /// An instant by India's clock.
    fn ist(text: &str) -> Timestamp {
        india::instant(text.parse().unwrap())
    }

    /// A file that does not parse would make every weekday open and every year unknown.
    #[test]
    fn the_table_parses_and_is_whole() {
        let file: CalendarFile = toml::from_str(include_str!("calendar.toml")).unwrap();
        for year in &file.year {
            let in_order = year.holiday.windows(2).all(|pair| pair[0].date < pair[1].date);
            assert!(in_order, "{} is not in order", year.year);
            for day in &year.holiday {
                assert_eq!(day.date.year(), year.year, "{}", day.date);
                let weekday = day.date.weekday();
                assert!(!matches!(weekday, Weekday::Saturday | Weekday::Sunday), "{} is a {weekday:?}", day.date);
            }
        }
        for date in &file.special_sessions {
            assert!(matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday), "{date} trades anyway");
        }
        assert_eq!(file.year[0].holiday.len(), 16);
        assert!(holidays_published(2026) && !holidays_published(2027) && !holidays_published(2028));
    }

    #[test]
    fn weekends_and_holidays_are_no_trading_days() {
        assert!(trading_day(date(2026, 11, 23)));
        assert!(!trading_day(date(2026, 11, 24)), "Guru Nanak Jayanti");
        assert!(trading_day(date(2026, 11, 25)));
        assert!(!trading_day(date(2026, 11, 28)) && !trading_day(date(2026, 11, 29)));
        assert!(!trading_day(date(2026, 12, 25)));
        assert!(trading_day(date(2026, 11, 8)), "a Sunday, but Diwali's session");
    }

    /// The moon decides most of the unpublished year: better open than wrongly closed.
    #[test]
    fn an_unpublished_year_closes_only_on_days_that_are_certain() {
        assert!(!trading_day(date(2027, 1, 26)));
        assert!(!trading_day(date(2027, 3, 26)), "Good Friday: Easter is 28 March");
        assert!(trading_day(date(2027, 3, 22)), "Holi, perhaps");
        assert!(trading_day(date(2029, 1, 26)), "nothing is known of that year");
    }

    #[test]
    fn market_hours_begin_with_the_pre_open_and_end_with_commodities() {
        for (at, open) in [
            ("2026-11-23T08:59:59", false),
            ("2026-11-23T09:00:00", true),
            ("2026-11-23T15:30:00", true),
            ("2026-11-23T23:54:59", true),
            ("2026-11-23T23:55:00", false),
            ("2026-11-28T11:00:00", false),
            ("2026-12-25T18:00:00", false),
        ] {
            assert_eq!(is_market_hours(ist(at)), open, "{at}");
        }
    }

    /// Commodities trade in the evening of most holidays; a token must last then too.
    #[test]
    fn a_holiday_with_an_evening_session_has_market_hours_from_five() {
        assert!(!is_market_hours(ist("2026-11-24T16:59:59")));
        assert!(is_market_hours(ist("2026-11-24T17:00:00")));
        assert!(!is_market_hours(ist("2026-11-24T23:55:00")));
    }

    /// The host's clock is UTC; 20:00 UTC is already tomorrow in India.
    #[test]
    fn days_are_indian_days() {
        assert!(is_market_hours("2026-11-23T03:30:00Z".parse().unwrap()), "09:00 on Monday");
        assert!(!is_market_hours("2026-11-23T03:29:59Z".parse().unwrap()));
        let sunday_evening_in_utc = "2026-11-22T20:00:00Z".parse().unwrap();
        assert_eq!(next_pre_open(sunday_evening_in_utc), ist("2026-11-23T09:00"));
    }

    #[test]
    fn the_next_pre_open_passes_over_weekends_and_holidays() {
        for (after, next) in [
            ("2026-11-23T08:59:59", "2026-11-23T09:00"),
            ("2026-11-23T09:00:00", "2026-11-25T09:00"),
            ("2026-11-27T12:00:00", "2026-11-30T09:00"),
            ("2026-12-24T12:00:00", "2026-12-28T09:00"),
        ] {
            assert_eq!(next_pre_open(ist(after)), ist(next), "after {after}");
        }
    }

    #[test]
    fn tokens_are_refreshed_before_every_day_with_trade() {
        let window = |day| (ist(&format!("{day}T07:30")), ist(&format!("{day}T08:30")));
        assert_eq!(refresh_window(date(2026, 11, 23)), window("2026-11-23"));
        for (after, day) in [
            ("2026-11-23T07:29:59", "2026-11-23"),
            ("2026-11-23T07:30:00", "2026-11-24"), // commodities in the evening
            ("2026-11-27T08:00:00", "2026-11-30"),
            ("2026-12-24T20:00:00", "2026-12-28"), // Christmas is closed, and a weekend follows
        ] {
            assert_eq!(next_refresh_window(ist(after)), window(day), "after {after}");
        }
    }

    /// A wild clock must not end the process, nor turn a search into a long one.
    #[test]
    fn the_ends_of_time_are_survived() {
        for at in [Timestamp::MIN, Timestamp::MAX] {
            is_market_hours(at);
            assert!(next_pre_open(at) >= at);
            assert!(next_refresh_window(at).0 >= at);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What refresh planning builds on: a token minted in a window and good
        /// for 24 hours outlives that day's market, whatever the day.
        #[test]
        fn a_token_minted_in_a_window_outlives_that_days_market(second in 1_767_225_600_i64..1_830_297_600) {
            let at = Timestamp::from_second(second).unwrap();
            let (from, to) = next_refresh_window(at);
            prop_assert!(from > at && from < to);
            let day = india::local(from).date();
            let (open, close) = market_hours(day).unwrap();
            prop_assert!(to < open);
            prop_assert!(from.as_second() + 86_400 > close.as_second());
            prop_assert!(!is_market_hours(Timestamp::from_second(from.as_second() + 86_400).unwrap()));
        }

        /// A pre-open is an opening: open at it, not before it.
        #[test]
        fn the_market_opens_at_the_next_pre_open(second in 1_767_225_600_i64..1_830_297_600) {
            let at = Timestamp::from_second(second).unwrap();
            let open = next_pre_open(at);
            prop_assert!(open > at);
            prop_assert!(is_market_hours(open));
            prop_assert!(!is_market_hours(Timestamp::from_second(open.as_second() - 1).unwrap()));
        }
    }
}
