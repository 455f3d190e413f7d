//! The broker's clock, as far as its replies show it, and what an order's own time says by it.
//!
//! The header `Date` has whole seconds, and a reply is some time under way: what is known is a span that the broker's
//! clock lies in. It is kept against the time since the machine was started, so that nobody who sets this host's clock, and
//! no night that the machine slept, makes an order look older or younger than it is. Only a send that the journal tells of, after a restart, has a time of our own clock.
//!
//! One reply of many may have a wrong `Date`. What contradicts a time that was borne out, by two replies or by one and the
//! host's clock, is believed once another bears it out; until then no order is taken for a send's that does not fit both.
//!
//! An order's time excludes and never proves: it moves when the order changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::domain::corroborated::Corroborated;
use crate::domain::{BootInstant, india, lock};
use http::header::DATE;
use http::{HeaderMap, HeaderValue};
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

/// How long an order's time may lie before the send and be the send's all the same: the broker's book and its front
/// need not have one clock.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// What times and `Date` leave out.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Replies that follow sooner on the last one that was looked at say nothing new.
const AGAIN: Duration = Duration::from_secs(1);

/// How far the broker's clock may be from ours before it has said anything.
const UNHEARD: SignedDuration = SignedDuration::from_secs(120);

/// How far a time of the journal may be ahead of the broker's: the second that [`BrokerClock::corrected`] lets pass, and
/// what a clock that nobody sets goes wrong by in some hours.
const WRITTEN: SignedDuration = SignedDuration::from_secs(2);

/// How long after a send its order may have been made.
const MAKING: SignedDuration = SignedDuration::from_mins(10);

/// When a write left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SentAt {
    /// In this process.
    Here(BootInstant),
    /// Before it began: the journal's time of the intent.
    Written(Timestamp),
}

/// What the broker's clock showed at an instant: the earliest and the latest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    at: BootInstant,
    earliest: Timestamp,
    latest: Timestamp,
}

/// What is known of the broker's clock.
#[derive(Debug, Default)]
pub struct BrokerClock {
    reading: Mutex<Corroborated<Reading>>,
    /// When the first reply was heard.
    since: OnceLock<BootInstant>,
    /// How many microseconds later another one is worth looking at.
    next: AtomicU64,
}

/// When a write left and when its order could have been made at the latest, by the broker's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SendWindow {
    /// It cannot have left earlier.
    pub from: Timestamp,
    /// Its order cannot have been made later.
    pub until: Timestamp,
}

impl BrokerClock {
    /// A reply's `Date`; the request was sent and its reply's head received at these instants. `wall` is what the host's
    /// clock showed then.
    pub fn observe(&self, date: &HeaderValue, sent: BootInstant, received: BootInstant, wall: Timestamp) {
        self.look_at(date, sent, received, wall, |_| ());
    }

    /// As [`BrokerClock::observe`]; `then` is told whether what is known is borne out, before another is looked at.
    fn look_at(
        &self,
        date: &HeaderValue,
        sent: BootInstant,
        received: BootInstant,
        wall: Timestamp,
        then: impl FnOnce(bool),
    ) {
        let earliest = parse(date);
        let latest = earliest.and_then(|earliest| plus(earliest, SECOND + span(sent, received)));
        let mut reading = lock(&self.reading);
        let is_believed = earliest.zip(latest).is_none_or(|(earliest, latest)| {
            let new = Reading { at: received, earliest, latest };
            reading.report(new, new.is_about(wall), Reading::and)
        });
        then(is_believed && reading.is_borne_out());
    }

    /// The `Date` of a reply whose head has come this moment; its request was sent at `sent`. What the broker's clock
    /// shows now, unless a reply was looked at within the last second and bore it out: then nothing is done.
    pub fn heard(&self, headers: &HeaderMap, sent: BootInstant) -> Option<Timestamp> {
        self.heard_at(headers, sent, BootInstant::now(), Timestamp::now)
    }

    fn heard_at(
        &self,
        headers: &HeaderMap,
        sent: BootInstant,
        received: BootInstant,
        wall: impl Fn() -> Timestamp,
    ) -> Option<Timestamp> {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let passed = micros(received.since(*self.since.get_or_init(|| received)));
        if passed < self.next.load(Ordering::Relaxed) {
            return None;
        }
        let date = headers.get(DATE)?;
        self.look_at(date, sent, received, wall(), |is_borne_out| {
            // The very next one is to bear out what is not.
            let again = if is_borne_out { AGAIN } else { Duration::ZERO };
            self.next.store(passed.saturating_add(micros(again)), Ordering::Relaxed);
        });
        self.shows(received)
    }

    /// What the broker's clock shows now. `None` while it was not heard.
    pub fn now(&self) -> Option<Timestamp> {
        self.shows(BootInstant::now())
    }

    fn shows(&self, now: BootInstant) -> Option<Timestamp> {
        self.reading().believed()?.moved_to(now).map(|reading| reading.earliest)
    }

    fn reading(&self) -> Corroborated<Reading> {
        *lock(&self.reading)
    }

    /// The time to write down for this moment, for which the host's clock shows `wall`: that, or the broker's where the
    /// host's is over a second off. Never more than a second ahead of the broker's. The journal is read by its times
    /// after a restart, when the host may have another clock.
    pub fn corrected(&self, wall: Timestamp) -> Timestamp {
        self.corrected_at(BootInstant::now(), wall)
    }

    /// [`BrokerClock::corrected`] at this instant.
    pub fn corrected_at(&self, now: BootInstant, wall: Timestamp) -> Timestamp {
        let Some(reading) = self.reading().believed().and_then(|reading| reading.moved_exactly_to(now)) else {
            return wall;
        };
        let most = plus(reading.earliest, SECOND).unwrap_or(reading.earliest);
        if reading.is_about(wall) { wall.min(most) } else { reading.earliest }
    }

    /// The broker's times between which the order of a write that left then was made. `now` and `wall` are one moment.
    /// While nothing bears out what one reply said, the host's clock counts as well: what fits only one of the two may be
    /// another's order.
    pub fn window(&self, sent: SentAt, now: BootInstant, wall: Timestamp) -> Option<SendWindow> {
        let reading = self.reading();
        let of_host = || Some(Reading { at: now, earliest: minus(wall, UNHEARD)?, latest: plus(wall, UNHEARD)? });
        let believed = match reading.believed() {
            Some(reading) => reading.moved_to(now)?,
            None => of_host()?,
        };
        let other = match reading.doubted() {
            Some(doubted) => doubted.moved_to(now)?,
            None if reading.is_borne_out() => believed,
            None => of_host()?,
        };
        let (one, other) = (believed.window(sent, now)?, other.window(sent, now)?);
        Some(SendWindow { from: one.from.max(other.from), until: one.until.min(other.until) })
    }
}

impl Reading {
    /// Does a clock that shows this say the same?
    fn is_about(&self, wall: Timestamp) -> bool {
        let bounds = minus(self.earliest, SLACK).zip(plus(self.latest, SLACK));
        bounds.is_some_and(|(earliest, latest)| (earliest..=latest).contains(&wall))
    }

    /// What an older and a newer one say together: narrower than each. `None` where they contradict each other.
    fn and(old: Self, new: Self) -> Option<Self> {
        let old = old.moved_to(new.at)?;
        let agree = old.earliest <= new.latest && new.earliest <= old.latest;
        agree.then(|| Self { at: new.at, earliest: old.earliest.max(new.earliest), latest: old.latest.min(new.latest) })
    }

    /// [`BrokerClock::window`] by this reading, of the moment `now`.
    fn window(self, sent: SentAt, now: BootInstant) -> Option<SendWindow> {
        let (from, latest) = match sent {
            SentAt::Here(at) => (minus(self.earliest, span(at, now))?, minus(self.latest, span(at, now))?),
            // The broker's time, as far as it was known then: this host's says nothing of it today.
            SentAt::Written(at) => (minus(at, WRITTEN.max(self.latest.duration_since(self.earliest) / 2))?, at),
        };
        Some(SendWindow { from, until: plus(latest, MAKING)?.min(self.latest) })
    }

    fn moved_to(self, at: BootInstant) -> Option<Self> {
        // Clocks that nobody sets go wrong by less than a second in a thousand.
        let drift = span(self.at, at).abs() / 1000;
        let moved = self.moved_exactly_to(at)?;
        Some(Self { at, earliest: minus(moved.earliest, drift)?, latest: plus(moved.latest, drift)? })
    }

    /// As if this host's clock and the broker's went alike.
    fn moved_exactly_to(self, at: BootInstant) -> Option<Self> {
        let by = span(self.at, at);
        Some(Self { at, earliest: plus(self.earliest, by)?, latest: plus(self.latest, by)? })
    }
}

impl SendWindow {
    /// Was the order surely made before the write left? `time` as an order shows it. A time that cannot be read, or that
    /// stands for none, says nothing.
    ///
    /// Times have no zone: India's on the live API, UTC on the broker's own test host. The host's name is no proof of
    /// either, so what would be new as UTC is never taken for old; that spares old orders of one certain minute.
    pub fn is_before(&self, time: &str) -> bool {
        let ended_before = |at: Timestamp| plus(at, SECOND + SLACK).is_some_and(|end| end <= self.from);
        match ShownTime::read(time) {
            Some(ShownTime::At(at)) => ended_before(at),
            Some(ShownTime::Local { india, utc }) => {
                ended_before(india) && (ended_before(utc) || !self.is_by_the_end(utc))
            }
            None => false,
        }
    }

    /// Was the order, by its own time, made after the write left and before its order was there at the latest? Where no
    /// id is shown, only such an order is looked at.
    pub fn holds(&self, time: &str) -> bool {
        let held = |at: Timestamp| plus(at, SECOND).is_some_and(|end| end >= self.from) && self.is_by_the_end(at);
        match ShownTime::read(time) {
            Some(ShownTime::At(at)) => held(at),
            Some(ShownTime::Local { india, utc }) => held(india) || held(utc),
            None => false,
        }
    }

    fn is_by_the_end(&self, at: Timestamp) -> bool {
        plus(self.until, SLACK).is_some_and(|until| at <= until)
    }
}

/// The time in a header `Date`.
fn parse(date: &HeaderValue) -> Option<Timestamp> {
    let text = date.to_str().ok()?;
    fixed(text).or_else(|| {
        // RFC 9110, section 5.6.7, which RFC 2822 holds.
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
    })
}

/// The one form that is sent, `Mon, 23 Nov 2026 09:30:00 GMT`.
fn fixed(text: &str) -> Option<Timestamp> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i16>().ok()
    };
    let small = |from: usize| i8::try_from(number(from, from + 2)?).ok();
    let is = |at: usize, what: &str| text.get(at..at + what.len()) == Some(what);
    if text.len() != 29 || !(is(3, ", ") && is(7, " ") && is(11, " ") && is(16, " ") && is(25, " GMT")) {
        return None;
    }
    let month = MONTHS.find(text.get(8..11)?).filter(|at| at % 3 == 0)?;
    let month = i8::try_from(month / 3 + 1).ok()?;
    if !(is(19, ":") && is(22, ":")) {
        return None;
    }
    let at = DateTime::new(number(12, 16)?, month, small(5)?, small(17)?, small(20)?, small(23)?, 0).ok()?;
    jiff::tz::Offset::UTC.to_timestamp(at).ok()
}

/// A time that an order shows.
enum ShownTime {
    At(Timestamp),
    Local { india: Timestamp, utc: Timestamp },
}

impl ShownTime {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(at) = text.parse::<Timestamp>() {
            return Some(Self::At(at));
        }
        let local: DateTime = text.parse().ok()?;
        // `0001-01-01 00:00:00` stands for none, and a day alone is no time.
        if local.year() < 2000 || !text.contains(':') {
            return None;
        }
        let utc = jiff::tz::Offset::UTC.to_timestamp(local).ok()?;
        Some(Self::Local { india: india::instant(local), utc })
    }
}

/// From one instant to another.
fn span(from: BootInstant, to: BootInstant) -> SignedDuration {
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    signed(to.since(from)) - signed(from.since(to))
}

fn plus(at: Timestamp, by: SignedDuration) -> Option<Timestamp> {
    at.checked_add(by).ok()
}

fn minus(at: Timestamp, by: SignedDuration) -> Option<Timestamp> {
    at.checked_sub(by).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn date(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    /// What a host's clock shows that is right.
    fn right() -> Timestamp {
        at("2026-11-23T09:30:00Z")
    }

    /// Three in the afternoon in India; sent there and then.
    fn afternoon() -> SendWindow {
        SendWindow { from: at("2026-11-23T09:30:00Z"), until: at("2026-11-23T09:30:05Z") }
    }

    #[test]
    fn an_order_that_is_older_than_the_send_is_excluded_and_a_newer_one_is_not() {
        let window = afternoon();
        for old in ["2026-11-23 14:59:00", "2026-11-23 14:59:58", "2026-11-22 15:00:00", "2026-11-23T09:29:00Z"] {
            assert!(window.is_before(old), "{old}");
        }
        for new in ["2026-11-23 14:59:59", "2026-11-23 15:00:00", "2026-11-23 15:00:04", "2026-11-23T09:30:00Z"] {
            assert!(!window.is_before(new), "{new}");
        }
    }

    #[test]
    fn what_stands_for_no_time_excludes_nothing() {
        for none in ["0001-01-01 00:00:00", "0000-00-00 00:00:00", "NA", "", "2026-11-22", "null", "yesterday"] {
            assert!(!afternoon().is_before(none) && !afternoon().holds(none), "{none}");
        }
    }

    /// The broker's own test host has UTC, and whichever it is today no real order is lost by it.
    #[test]
    fn a_zone_that_is_misread_excludes_no_real_order() {
        let window = afternoon();
        assert!(!window.is_before("2026-11-23 09:30:00"), "new, in UTC");
        assert!(window.holds("2026-11-23 09:30:00") && window.holds("2026-11-23 15:00:00"));
        assert!(window.is_before("2026-11-23 09:29:00"), "a minute old, in UTC");
        assert!(window.is_before("2026-11-23 09:31:00"), "India's morning, and as UTC not yet");
    }

    #[test]
    fn the_broker_s_clock_is_known_to_the_second_and_what_the_way_took() {
        let clock = BrokerClock::default();
        let sent = BootInstant::now();
        let now = sent + Duration::from_millis(200);
        clock.observe(&date("Mon, 23 Nov 2026 09:30:00 GMT"), sent, now, right());
        // Our own clock is years off.
        let window = clock.window(SentAt::Here(sent), now, at("2020-01-01T00:00:00Z")).unwrap();
        assert_eq!(window.from, at("2026-11-23T09:29:59.8Z"));
        assert_eq!(window.until, at("2026-11-23T09:30:01.2Z"));
        // Two hundred and fifty milliseconds later the next second has begun: that narrows it.
        let now = now + Duration::from_millis(250);
        clock.observe(&date("Mon, 23 Nov 2026 09:30:01 GMT"), now, now, right());
        let window = clock.window(SentAt::Here(now), now, Timestamp::now()).unwrap();
        assert_eq!(window.from, at("2026-11-23T09:30:01Z"));
        assert!(window.until <= at("2026-11-23T09:30:01.451Z"), "{window:?}");
    }

    /// One back end's clock may be off, and a reply out of a cache is of yesterday.
    #[test]
    fn what_contradicts_a_time_that_was_borne_out_is_believed_once_it_is_borne_out_too() {
        let (clock, now) = (BrokerClock::default(), BootInstant::now());
        let hears = |text: &str| clock.observe(&date(text), now, now, right());
        let from = || clock.window(SentAt::Here(now), now, right()).unwrap().from;
        hears("Mon, 23 Nov 2026 09:30:00 GMT");
        for wrong in ["Mon, 23 Nov 2026 08:00:00 GMT", "Tue, 24 Nov 2026 09:30:20 GMT"] {
            hears(wrong);
            assert_eq!(clock.shows(now), Some(right()), "{wrong}");
            hears("Mon, 23 Nov 2026 09:30:00 GMT");
        }
        hears("no date");
        assert_eq!(from(), right());

        // While nobody knows, what only one of the two allows is nobody's.
        hears("Tue, 24 Nov 2026 09:30:00 GMT");
        let window = clock.window(SentAt::Here(now), now, right()).unwrap();
        assert_eq!((window.from, window.until), (at("2026-11-24T09:30:00Z"), at("2026-11-23T09:30:01Z")));
        hears("Mon, 23 Nov 2026 08:00:00 GMT");
        assert_eq!(clock.shows(now), Some(right()));
        hears("Mon, 23 Nov 2026 08:00:00 GMT");
        assert_eq!(from(), at("2026-11-23T08:00:00Z"), "the broker's clock was set");
    }

    /// Nobody else knows better.
    #[test]
    fn a_first_reply_is_believed_against_the_host_s_clock_and_a_second_against_it() {
        let (clock, now) = (BrokerClock::default(), BootInstant::now());
        let wall = at("2026-11-22T09:30:00Z");
        let hears = |told: &str| clock.observe(&date(told), now, now, wall);
        hears("Mon, 23 Nov 2026 12:00:00 GMT");
        hears("Mon, 23 Nov 2026 09:30:00 GMT");
        assert_eq!((clock.shows(now), clock.corrected_at(now, wall)), (Some(right()), right()));
        // But of two clocks that nothing bears out neither makes an order another's or this write's.
        let window = || clock.window(SentAt::Here(now), now, wall).unwrap();
        assert!(
            window().is_before("2026-11-23T09:29:00Z") && !window().holds("2026-11-23T09:30:00Z"),
            "{:?}",
            window()
        );
        hears("Mon, 23 Nov 2026 09:30:00 GMT");
        assert!(window().is_before("2026-11-23T09:29:00Z") && window().holds("2026-11-23T09:30:00Z"), "{:?}", window());
    }

    /// A host was 45 seconds ahead when the line was written, and is right, or behind, when it is read.
    #[test]
    fn a_time_of_the_journal_is_the_brokers_and_no_clock_of_the_host_s_moves_it() {
        let (clock, now) = (BrokerClock::default(), BootInstant::now());
        for _ in 0..2 {
            clock.observe(&date("Mon, 23 Nov 2026 09:30:00 GMT"), now, now, at("2026-11-23T09:30:45Z"));
        }
        for off in [45, -45, 2] {
            let wall = right() + SignedDuration::from_secs(off) + SECOND;
            let written = clock.corrected_at(now, wall);
            assert!((written - right()).abs() <= SECOND * 2, "{written} at {off}");
        }
        assert_eq!(clock.corrected_at(now, right() + SECOND), right() + SECOND, "which has parts of a second");
        // After a night in which nothing was heard, a host that is three seconds ahead is not let pass.
        let night = SignedDuration::from_hours(10);
        let written = clock.corrected_at(now + night.unsigned_abs(), right() + night + SECOND * 3);
        assert!(written <= right() + night + SECOND, "{written}");
        let later = now + Duration::from_secs(60);
        for off in [0, 45, -45, 90_000, -90_000] {
            let wall = right() + SignedDuration::from_secs(60 + off);
            let window = clock.window(SentAt::Written(right()), later, wall).unwrap();
            assert_eq!(window.from, at("2026-11-23T09:29:58Z"), "{off}");
            assert!(window.is_before("2026-11-23T09:29:50Z") && !window.is_before("2026-11-23T09:29:59Z"), "{off}");
        }
    }

    #[test]
    fn after_a_restart_the_journal_s_time_is_the_send_s() {
        let (clock, now) = (BrokerClock::default(), BootInstant::now());
        for _ in 0..2 {
            clock.observe(&date("Mon, 23 Nov 2026 09:30:10 GMT"), now, now, right());
        }
        let window = clock.window(SentAt::Written(at("2026-11-23T09:29:00Z")), now, right()).unwrap();
        assert_eq!(window.from, at("2026-11-23T09:28:58Z"));
        assert_eq!(window.until, at("2026-11-23T09:30:11Z"));
        // Nothing is taken for what a line from tomorrow sent: what is older cannot be told from it.
        let window = clock.window(SentAt::Written(at("2026-11-24T09:30:00Z")), now, right()).unwrap();
        assert!(window.is_before("2026-11-23T09:30:10Z") && !window.holds("2026-11-23T09:30:10Z"), "{window:?}");
        // A broker that has said nothing may be two minutes off.
        let window = BrokerClock::default().window(SentAt::Written(right()), now, right()).unwrap();
        assert_eq!(window.from, at("2026-11-23T09:28:00Z"));
    }

    /// An order a second costs nothing that an order a minute does not.
    #[test]
    fn of_replies_within_a_second_one_is_looked_at() {
        let (clock, now) = (BrokerClock::default(), BootInstant::now());
        let says = |text: &str| [(DATE, date(text))].into_iter().collect::<HeaderMap>();
        let heard = |text: &str, millis: u64| {
            let at = now + Duration::from_millis(millis);
            clock.heard_at(&says(text), at, at, right)
        };
        assert_eq!(clock.heard_at(&HeaderMap::new(), now, now, right), None, "nothing was said");
        assert_eq!(heard("Mon, 23 Nov 2026 09:30:00 GMT", 0), Some(right()));
        assert_eq!(heard("Mon, 23 Nov 2026 12:00:00 GMT", 900), None);
        assert_eq!(clock.shows(now), Some(right()));
        let second_later = heard("Mon, 23 Nov 2026 12:00:00 GMT", 1_000);
        assert!(second_later.is_some_and(|told| told < at("2026-11-23T09:30:02Z")), "{second_later:?}");
        // What is not borne out yet is not waited a second for.
        let borne_out = heard("Mon, 23 Nov 2026 12:00:00 GMT", 1_010);
        assert!(borne_out >= Some(at("2026-11-23T12:00:00Z")), "{borne_out:?}");
        assert_eq!(heard("Mon, 23 Nov 2026 12:00:05 GMT", 1_500), None, "and another is");
    }

    proptest::proptest! {
        /// The short way reads what the long one reads, and takes nothing that the long one does not.
        #[test]
        fn both_ways_of_reading_a_date_say_the_same(second in 0_i64..4_102_444_800, at in 0_usize..29, with: char) {
            let long = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
            let stamp = Timestamp::from_second(second).unwrap();
            let mut text = stamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            proptest::prop_assert_eq!(fixed(&text), Some(stamp));
            proptest::prop_assert_eq!(long(&text), Some(stamp));
            text.replace_range(at..=at, &with.to_string());
            // The day of the week says nothing that the date does not.
            if at >= 3 && let Some(read) = fixed(&text) {
                proptest::prop_assert!(long(&text).is_none_or(|long| long == read), "{text}");
            }
        }

        /// An order that was made by the send is never excluded, in whichever zone its time is.
        #[test]
        fn a_real_order_is_never_excluded(after in 0_i64..5_000, in_india: bool, start in 0_i64..86_400) {
            let from = at("2026-11-23T00:00:00Z") + SignedDuration::from_secs(start);
            let made = from + SignedDuration::from_millis(after);
            let window = SendWindow { from, until: from + SignedDuration::from_secs(5) };
            let local = if in_india { india::local(made) } else { jiff::tz::Offset::UTC.to_datetime(made) };
            let shown = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
            proptest::prop_assert!(!window.is_before(&shown), "{shown}");
            proptest::prop_assert!(window.holds(&shown), "{shown}");
        }

        #[test]
        fn no_time_makes_it_panic(text in "\\PC{0,30}") {
            let _ = (afternoon().is_before(&text), afternoon().holds(&text));
        }
    }
}
