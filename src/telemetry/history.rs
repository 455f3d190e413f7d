//! What was counted in the last hour and the last day, for plots: a point each 5 s and one each minute.
//!
//! A point tells of the time since the one before it. Where that was longer than it should be, because the machine slept
//! or the process was paused, or where the wall clock was set meanwhile, it says so: a line in a plot must not run on
//! over a night in which nothing was counted. Of fixed size, and the same for one account and for ten thousand.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::totals::Totals;

/// How often a sample is to be taken.
pub const EVERY: Duration = Duration::from_secs(5);
/// A sample may come so much before its time.
const EARLY: Duration = Duration::from_millis(2500);
/// A wall clock that goes otherwise than the time since boot by less than this was slewed and not set.
const SET: SignedDuration = SignedDuration::from_secs(2);

/// How many numbers a point has.
const COUNT: usize = 24;

/// The names of a point's numbers, in their order, and what each is counted in.
pub const SERIES: [(&str, &str); COUNT] = [
    ("added_p50", "s"),
    ("added_p99", "s"),
    ("broker_p50", "s"),
    ("broker_p99", "s"),
    ("requests", "count"),
    ("executed", "count"),
    ("rejected", "count"),
    ("not_sent", "count"),
    ("unknown", "count"),
    ("repeats", "count"),
    ("failovers", "count"),
    ("dial_errors", "count"),
    ("legs_admits", "now"),
    ("legs_tripped", "now"),
    ("legs_probing", "now"),
    ("tokens_absent", "now"),
    ("tokens_minting", "now"),
    ("tokens_live", "now"),
    ("tokens_refreshing", "now"),
    ("tokens_waiting", "now"),
    ("tokens_needs_person", "now"),
    ("token_seconds_left", "now"),
    ("orders_under_way", "now"),
    ("callers", "now"),
];

/// How things stand at the moment of a sample, as the last twelve of [`SERIES`]; none where it is not known.
pub type Standing = [Option<f32>; 12];

/// A moment, by the clock that nobody can set and by the one on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since boot, sleep included.
    pub boot: Duration,
    /// What the wall clock says.
    pub wall: Timestamp,
}

/// Why a point and the one before it are not to be joined by a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Nothing was sampled meanwhile: the machine slept, or the process was paused.
    Pause,
    /// The wall clock was set.
    ClockSet,
}

impl Break {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::ClockSet => "clock_set",
        }
    }
}

/// What was so at a moment and what happened since the point before. A not-a-number is what is not known.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Unix time in seconds.
    pub at: u32,
    /// How many seconds it tells of.
    pub covers: f32,
    /// It is not to be joined with the one before.
    pub after: Option<Break>,
    values: [f32; COUNT],
}

impl Point {
    /// Its numbers in the order of [`SERIES`].
    pub fn values(&self) -> impl Iterator<Item = Option<f32>> {
        self.values.iter().map(|value| value.is_finite().then_some(*value))
    }
}

/// Over which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 720 points, one each 5 s.
    Hour,
    /// 1,440 points, one a minute.
    Day,
}

impl Window {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
        }
    }

    /// How far its points are apart.
    pub const fn step(self) -> Duration {
        match self {
            Self::Hour => EVERY,
            Self::Day => Duration::from_secs(60),
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Hour => 720,
            Self::Day => 1440,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct History {
    hour: Ring,
    day: Ring,
}

impl Default for History {
    fn default() -> Self {
        Self { hour: Ring::new(Window::Hour), day: Ring::new(Window::Day) }
    }
}

impl History {
    /// Take in what was counted until `now`, and how things stand.
    pub fn sample(&mut self, now: Moment, totals: &Totals, standing: &Standing) {
        for ring in [&mut self.hour, &mut self.day] {
            ring.sample(now, totals, standing);
        }
    }

    /// The points of a window, the oldest first.
    pub fn points(&self, window: Window) -> impl ExactSizeIterator<Item = &Point> {
        match window {
            Window::Hour => self.hour.points.iter(),
            Window::Day => self.day.points.iter(),
        }
    }
}

#[derive(Debug)]
struct Ring {
    window: Window,
    points: VecDeque<Point>,
    before: Option<(Moment, Totals)>,
}

impl Ring {
    const fn new(window: Window) -> Self {
        Self { window, points: VecDeque::new(), before: None }
    }

    fn sample(&mut self, now: Moment, totals: &Totals, standing: &Standing) {
        let step = self.window.step();
        let Some((earlier, before)) = &self.before else {
            self.before = Some((now, totals.clone()));
            return;
        };
        let ran = now.boot.saturating_sub(earlier.boot);
        if ran + EARLY < step {
            return;
        }
        let on_the_wall = now.wall.duration_since(earlier.wall);
        let set = on_the_wall.saturating_sub(SignedDuration::try_from(ran).unwrap_or(SignedDuration::MAX)).abs();
        let after = if ran > step + step / 2 { Some(Break::Pause) } else { (set >= SET).then_some(Break::ClockSet) };
        let point = Point {
            at: u32::try_from(now.wall.as_second()).unwrap_or_default(),
            covers: ran.as_secs_f32(),
            after,
            values: values(before, totals, standing),
        };
        if self.points.capacity() == 0 {
            self.points.reserve_exact(self.window.most());
        }
        if self.points.len() == self.window.most() {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.before = Some((now, totals.clone()));
    }
}

fn values(before: &Totals, now: &Totals, standing: &Standing) -> [f32; COUNT] {
    let new = |count: fn(&Totals) -> u64| Some(count(now).saturating_sub(count(before)) as f32);
    let part = |part| now.added.quantile_since(&before.added, part).map(|seconds| seconds as f32);
    let of_broker = |part| now.broker.quantile_since(&before.broker, part).map(|seconds| seconds as f32);
    let counted = [
        part(0.5),
        part(0.99),
        of_broker(0.5),
        of_broker(0.99),
        new(|totals| totals.requests),
        new(|totals| totals.outcomes.executed),
        new(|totals| totals.outcomes.rejected),
        new(|totals| totals.outcomes.not_sent),
        new(|totals| totals.outcomes.unknown),
        new(|totals| totals.repeats),
        new(|totals| totals.failovers),
        new(|totals| totals.dial_errors),
    ];
    let mut values = [f32::NAN; COUNT];
    for (value, known) in values.iter_mut().zip(counted.iter().chain(standing)) {
        *value = known.unwrap_or(f32::NAN);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDING: Standing = [Some(1.0); 12];

    fn moment(boot: u64, wall: i64) -> Moment {
        let wall = Timestamp::from_second(1_800_000_000 + wall).unwrap();
        Moment { boot: Duration::from_secs(boot), wall }
    }

    fn requests(requests: u64) -> Totals {
        Totals { requests, ..Totals::default() }
    }

    fn series(history: &History, window: Window, name: &str) -> Vec<Option<f32>> {
        let at = SERIES.iter().position(|(known, _)| *known == name).unwrap();
        history.points(window).map(|point| point.values().nth(at).unwrap()).collect()
    }

    fn breaks(history: &History, window: Window) -> Vec<Option<Break>> {
        history.points(window).map(|point| point.after).collect()
    }

    #[test]
    fn points_tell_what_happened_since_the_one_before() {
        let mut history = History::default();
        for n in 0..=12 {
            history.sample(moment(n * 5, n as i64 * 5), &requests(100 + n * n), &STANDING);
        }
        let hour = series(&history, Window::Hour, "requests");
        assert_eq!(hour, (1..=12).map(|n| Some((2 * n - 1) as f32)).collect::<Vec<_>>());
        assert_eq!(series(&history, Window::Day, "requests"), [Some(144.0)]);
        assert_eq!(series(&history, Window::Day, "callers"), [Some(1.0)]);
        assert_eq!(series(&history, Window::Day, "added_p50"), [None], "nothing was observed, which is not 0");
        assert!(breaks(&history, Window::Hour).iter().all(Option::is_none));
    }

    #[test]
    fn a_night_asleep_and_a_clock_that_was_set_are_breaks_and_a_slewed_one_is_none() {
        let mut history = History::default();
        let moments = [(0, 0), (5, 5), (10, 11), (15, 16), (20, 3621), (25, 3626), (30_000, 33_601), (30_005, 33_606)];
        for (boot, wall) in moments {
            history.sample(moment(boot, wall), &requests(boot), &STANDING);
        }
        let set = Some(Break::ClockSet);
        let pause = Some(Break::Pause);
        assert_eq!(breaks(&history, Window::Hour), [None, None, None, set, None, pause, None]);
        assert_eq!(history.points(Window::Hour).nth(5).unwrap().covers, 29_975.0);
        assert_eq!(breaks(&history, Window::Day), [pause]);
    }

    #[test]
    fn a_sample_that_comes_a_little_early_counts_and_one_that_comes_at_once_does_not() {
        let mut history = History::default();
        let at = |ms: u64| Moment { boot: Duration::from_millis(ms), ..moment(0, ms as i64 / 1000) };
        for ms in [0, 4_900, 5_000, 9_800] {
            history.sample(at(ms), &requests(ms), &STANDING);
        }
        assert_eq!(history.points(Window::Hour).len(), 2);
    }

    #[test]
    fn a_week_takes_no_more_room_than_a_day() {
        let mut history = History::default();
        for n in 0..7 * 24 * 720 {
            history.sample(moment(n * 5, n as i64 * 5), &requests(n), &STANDING);
        }
        assert_eq!((history.points(Window::Hour).len(), history.points(Window::Day).len()), (720, 1440));
        assert_eq!((history.hour.points.capacity(), history.day.points.capacity()), (720, 1440));
        assert!((720 + 1440) * size_of::<Point>() < 250_000, "{}", size_of::<Point>());
        let first = history.points(Window::Day).next().unwrap().at;
        let last = history.points(Window::Day).last().unwrap().at;
        assert_eq!(last - first, 1439 * 60);
    }
}
