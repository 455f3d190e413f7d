//! India's wall clock. The broker and the exchanges speak in it without naming
//! a zone; reading it as UTC is the classic mistake.
//!
//! India keeps one offset all year, so no time zone database is asked.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ZonedDateTime};

const SECONDS: i32 = 5 * 3600 + 1800;

fn offset() -> Offset {
    // The number lies well inside what an offset may be; a test holds it.
    Offset::from_seconds(SECONDS).unwrap_or(Offset::UTC)
}

/// What clocks in India show at an instant, with the offset.
pub fn zoned(at: Timestamp) -> ZonedDateTime {
    at.to_zoned_datetime(TimeZone::fixed(offset()))
}

/// What clocks in India show at an instant.
pub fn local(at: Timestamp) -> DateTime {
    offset().to_datetime(at)
}

/// `1 Dec 2026 15:07:02 IST`: an instant for people, wherever they read it and whenever.
pub fn said(at: Timestamp) -> String {
    local(at).strftime("%-d %b %Y %H:%M:%S IST").to_string()
}

/// The instant at which clocks in India show this. Beyond the years that an
/// instant can hold, the nearest one.
pub fn instant(local: DateTime) -> Timestamp {
    let nearest = if local.year() < 1970 { Timestamp::MIN } else { Timestamp::MAX };
    offset().to_timestamp(local).unwrap_or(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half an hour is what everybody forgets.
    #[test]
    fn india_is_five_and_a_half_hours_ahead() {
        let at: Timestamp = "2026-11-23T18:35:03Z".parse().unwrap();
        assert_eq!(local(at).to_string(), "2026-11-24T00:05:03");
        assert_eq!(zoned(at).datetime(), local(at));
        assert_eq!(instant(local(at)), at);
        assert_eq!(said(at), "24 Nov 2026 00:05:03 IST");
    }

    /// A wild date in a file or a reply must not end the process.
    #[test]
    fn the_ends_of_time_stay_inside() {
        assert_eq!(instant(DateTime::MAX), Timestamp::MAX);
        assert_eq!(instant(DateTime::MIN), Timestamp::MIN);
        assert!(local(Timestamp::MAX) > local(Timestamp::MIN));
    }
}
