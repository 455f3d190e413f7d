//! The broker's times: India's wall clock, without a zone.

use jiff::Timestamp;

use crate::domain::india;

/// `2026-11-23 09:20:03`, as order objects carry it.
pub(super) fn order_time(now: Timestamp) -> String {
    india::zoned(now).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `2026-11-23`.
pub(super) fn date(now: Timestamp) -> String {
    india::zoned(now).strftime("%Y-%m-%d").to_string()
}

/// `261123`, as order ids carry it.
pub(super) fn compact_date(now: Timestamp) -> String {
    india::zoned(now).strftime("%y%m%d").to_string()
}

/// `24/11/2026 08:00`, as the profile shows a token's end.
pub(super) fn profile_time(at: Timestamp) -> String {
    india::zoned(at).strftime("%d/%m/%Y %H:%M").to_string()
}

/// `2026-11-24T08:00:00.000`, as login replies show a token's end.
pub(super) fn expiry_time(at: Timestamp) -> String {
    india::zoned(at).strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string()
}

/// `2026-11-24T08:00:00`, as consent's reply shows it.
pub(super) fn expiry_seconds(at: Timestamp) -> String {
    india::zoned(at).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// `2026-11-24T08:00:00+05:30`.
pub(super) fn expiry_offset(at: Timestamp) -> String {
    india::zoned(at).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// `Tue, 24 Nov 2026 02:30:00 GMT`, for the header `Date` (RFC 9110, section 5.6.7).
pub(super) fn http_date(at: Timestamp) -> Option<String> {
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reading these as UTC is the classic mistake; the sandbox must invite it
    /// as the broker does.
    #[test]
    fn times_are_indian_and_say_no_zone() {
        let at: Timestamp = "2026-11-23T18:35:03.019Z".parse().unwrap();
        assert_eq!(order_time(at), "2026-11-24 00:05:03");
        assert_eq!(date(at), "2026-11-24");
        assert_eq!(compact_date(at), "261124");
        assert_eq!(profile_time(at), "24/11/2026 00:05");
        assert_eq!(expiry_time(at), "2026-11-24T00:05:03.019");
        assert_eq!(expiry_seconds(at), "2026-11-24T00:05:03");
        assert_eq!(expiry_offset(at), "2026-11-24T00:05:03+05:30");
        assert_eq!(http_date(at).as_deref(), Some("Mon, 23 Nov 2026 18:35:03 GMT"));
    }
}
