//! Plots as SVG from the server, each with its table: lines over time, and bars of accounts. Pure: numbers in, markup out.
//!
//! A plot has a picture for the eye and a table for everybody. Lines differ by their dashes and not by colour alone. What
//! is not known is a gap, never a line across it.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words;

/// Points of a line at most: a screen has no room for more.
const POINTS: usize = 120;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
/// Room for the numbers at the left, and for the times below.
const LEFT: f64 = 92.0;
const BELOW: f64 = 30.0;
const ABOVE: f64 = 18.0;

/// What numbers are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds, shown as µs, ms or s.
    Seconds,
    /// So many.
    Count,
}

impl Unit {
    /// A number as people read it.
    pub(super) fn text(self, value: f64) -> String {
        let short = |value: f64| match value {
            value if value >= 99.5 => format!("{value:.0}"),
            value if value >= 9.95 => trimmed(format!("{value:.1}")),
            value => trimmed(format!("{value:.2}")),
        };
        match self {
            Self::Count if value.fract() == 0.0 => words::number(value as usize),
            Self::Count => short(value),
            Self::Seconds if value == 0.0 => "0".to_owned(),
            Self::Seconds if value < 0.001 => format!("{} µs", short(value * 1e6)),
            Self::Seconds if value < 1.0 => format!("{} ms", short(value * 1e3)),
            Self::Seconds => format!("{} s", short(value)),
        }
    }
}

fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// How the numbers of a part of the time become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gather {
    /// The highest: of times, the worst is what hurts.
    Highest,
    /// All together: what is counted.
    Sum,
    /// The last: how many there are.
    Last,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Line<'p> {
    /// What it shows.
    pub name: &'p str,
    /// A number for each moment, or none.
    pub values: &'p [Option<f32>],
    /// How numbers are put together.
    pub gather: Gather,
}

/// Moments and the time that is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time<'p> {
    /// When each number was taken: Unix time in seconds, the oldest first.
    pub at: &'p [u32],
    /// Moments that are not to be joined with the one before.
    pub breaks: &'p [u32],
    /// The right edge.
    pub now: u32,
    /// The seconds from the left edge to the right.
    pub span: u32,
}

/// Lines over time.
#[derive(Clone, Debug)]
pub(super) struct Over<'p> {
    /// What it shows.
    pub title: &'p str,
    /// What its numbers are counted in.
    pub unit: Unit,
    /// When.
    pub time: Time<'p>,
    /// At most four.
    pub lines: &'p [Line<'p>],
    /// How many of something happened, shown as marks along the top: a word and the numbers.
    pub marks: Option<Line<'p>>,
}

/// A part of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Part {
    value: Option<f64>,
    /// Its line begins anew.
    broken: bool,
}

impl Time<'_> {
    /// A line's numbers in so many parts of the time.
    fn parts(&self, line: &Line<'_>, count: usize) -> Vec<Part> {
        let mut parts = vec![Part::default(); count];
        let begin = self.now.saturating_sub(self.span);
        for (at, value) in self.at.iter().zip(line.values) {
            if *at < begin || *at > self.now || self.span == 0 {
                continue;
            }
            let place = (u64::from(at - begin) * count as u64 / u64::from(self.span)) as usize;
            let Some(part) = parts.get_mut(place.min(count - 1)) else { continue };
            part.broken |= self.breaks.contains(at);
            let Some(value) = value.map(f64::from) else { continue };
            part.value = Some(match (part.value, line.gather) {
                (None, _) | (Some(_), Gather::Last) => value,
                (Some(before), Gather::Highest) => before.max(value),
                (Some(before), Gather::Sum) => before + value,
            });
        }
        parts
    }

    /// The moment at which a part begins.
    fn moment(&self, place: usize, count: usize) -> Timestamp {
        let begin = self.now.saturating_sub(self.span);
        let seconds = u64::from(begin) + u64::from(self.span) * place as u64 / count as u64;
        Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default()
    }
}

impl Over<'_> {
    /// Is there any number?
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.values.iter().all(Option::is_none))
    }

    /// Picture, names of the lines, and table.
    pub(super) fn show(&self) -> Markup {
        let lines: Vec<Vec<Part>> = self.lines.iter().map(|line| self.time.parts(line, POINTS)).collect();
        let most = lines.iter().flatten().filter_map(|part| part.value).fold(0.0, f64::max);
        let top = round_up(most);
        let y = |value: f64| HEIGHT - BELOW - value / top * (HEIGHT - BELOW - ABOVE);
        html! {
            svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(self.title) {
                @for value in [0.0, top / 2.0, top] {
                    path.axis d={ "M" (LEFT) " " (tenth(y(value))) "H" (WIDTH) } {}
                    text x=(LEFT - 8.0) y=(tenth(y(value) + 4.0)) text-anchor="end" { (self.unit.text(value)) }
                }
                @for (place, anchor) in [(0, "start"), (60, "middle"), (120, "end")] {
                    text x=(tenth(x(place as f64))) y=(HEIGHT - 8.0) text-anchor=(anchor) { (words::clock(self.time.moment(place, POINTS))) }
                }
                @for (parts, class) in lines.iter().zip(CLASSES) { path class=(class) d=(path(parts, y)) {} }
                @if let Some(marks) = &self.marks { (self.marks(marks)) }
            }
            ul.legend {
                @for (line, class) in self.lines.iter().zip(CLASSES) { li { (sample(class)) (line.name) } }
                @if let Some(marks) = self.marks.as_ref().filter(|marks| any(marks)) { li { svg.sample viewBox="0 0 30 10" aria-hidden="true" { path.mark d="M15 1l5 8h-10z" {} } (marks.name) } }
            }
            (self.table())
        }
    }

    fn marks(&self, marks: &Line<'_>) -> Markup {
        let parts = self.time.parts(marks, POINTS);
        html! {
            @for (place, part) in parts.iter().enumerate() {
                @if let Some(count) = part.value.filter(|count| *count > 0.0) {
                    path.mark d={ "M" (tenth(x(place as f64 + 0.5))) " 2l5 9h-10z" } {
                        title { (Unit::Count.text(count)) " " (marks.name) ", " (words::clock(self.time.moment(place, POINTS))) }
                    }
                }
            }
        }
    }

    /// The same numbers as text, the newest first.
    fn table(&self) -> Markup {
        let rows = if self.time.span > 7200 { 24 } else { 12 };
        // Among times a count would be read as one of them.
        let marks = self.marks.iter().filter(|_| self.unit == Unit::Count);
        let all: Vec<&Line<'_>> = self.lines.iter().chain(marks).collect();
        let columns: Vec<Vec<Part>> = all.iter().map(|line| self.time.parts(line, rows)).collect();
        html! {
            details {
                summary { "The same as a table" }
                table.numbers {
                    thead { tr { th { "From" } @for line in &all { th.number { (line.name) } } } }
                    tbody {
                        @for row in (0..rows).rev() {
                            tr {
                                td { (words::clock(self.time.moment(row, rows))) }
                                @for parts in &columns {
                                    td.number { @match parts.get(row).and_then(|part| part.value) {
                                        Some(value) => (self.unit.text(value)),
                                        None => "–",
                                    } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The classes of lines in the style sheet: each has dashes of its own.
const CLASSES: [&str; 4] = ["a", "b", "c", "d"];

fn any(line: &Line<'_>) -> bool {
    line.values.iter().flatten().any(|count| *count > 0.0)
}

fn sample(class: &str) -> Markup {
    html! { svg.plot.sample viewBox="0 0 30 10" aria-hidden="true" { path class=(class) d="M0 5H30" {} } }
}

fn x(place: f64) -> f64 {
    LEFT + place / POINTS as f64 * (WIDTH - LEFT)
}

/// A line through the middle of each part; a part without a number ends it.
fn path(parts: &[Part], y: impl Fn(f64) -> f64) -> String {
    let (mut path, mut runs) = (String::new(), false);
    for (place, part) in parts.iter().enumerate() {
        let Some(value) = part.value else {
            runs = false;
            continue;
        };
        let goes_on = parts.get(place + 1).is_some_and(|next| next.value.is_some() && !next.broken);
        let (x, y) = (tenth(x(place as f64 + 0.5)), tenth(y(value)));
        match (runs && !part.broken, goes_on) {
            (true, _) => path.push_str(&format!("L{x} {y}")),
            (false, true) => path.push_str(&format!("M{x} {y}")),
            // One that stands alone would not be seen as a point.
            (false, false) => path.push_str(&format!("M{} {y}h4", tenth(x - 2.0))),
        }
        runs = true;
    }
    path
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The next of 1, 2, 5, 10 and so on.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

/// A bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// Whose.
    pub name: String,
    /// How much of the whole width, up to 1.
    pub part: f64,
    /// What it says.
    pub text: String,
}

/// Bars of accounts, one under the other, and the table.
pub(super) fn bars(title: &str, what: &str, bars: &[Bar]) -> Markup {
    const ROW: f64 = 42.0;
    html! {
        svg.plot viewBox={ "0 0 " (WIDTH) " " (ROW * bars.len() as f64) } role="img" aria-label=(title) {
            @for (place, bar) in bars.iter().enumerate() {
                @let y = ROW * place as f64;
                text x="0" y=(y + 18.0) { (cut(&bar.name)) }
                text x=(WIDTH) y=(y + 18.0) text-anchor="end" { (bar.text) }
                path.axis d={ "M0 " (y + 30.0) "H" (WIDTH) } {}
                rect.bar x="0" y=(y + 25.0) width=(tenth(bar.part.clamp(0.0, 1.0) * WIDTH)) height="10" rx="2" {}
            }
        }
        details {
            summary { "The same as a table" }
            table.numbers {
                thead { tr { th { "Account" } th.number { (what) } } }
                tbody {
                    @for bar in bars {
                        tr { td { a href={ "/console/accounts/" (super::call::part(&bar.name)) } { (bar.name) } } td.number { (bar.text) } }
                    }
                }
            }
        }
    }
}

/// A name as far as there is room for it on a phone.
fn cut(name: &str) -> String {
    if name.chars().count() <= 24 { name.to_owned() } else { name.chars().take(23).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3600;

    fn time<'p>(at: &'p [u32], breaks: &'p [u32]) -> Time<'p> {
        Time { at, breaks, now: 1_000_000 + HOUR, span: HOUR }
    }

    fn line(values: &[Option<f32>], gather: Gather) -> Line<'_> {
        Line { name: "p99", values, gather }
    }

    #[test]
    fn numbers_have_the_unit_that_people_read() {
        let told = [0.0, 0.000_31, 0.001_25, 0.0125, 0.4, 1.0, 12.34].map(|seconds| Unit::Seconds.text(seconds));
        assert_eq!(told, ["0", "310 µs", "1.25 ms", "12.5 ms", "400 ms", "1 s", "12.3 s"]);
        assert_eq!([0.0, 2.5, 12_000.0].map(|count| Unit::Count.text(count)), ["0", "2.5", "12,000"]);
    }

    #[test]
    fn scales_end_at_round_numbers() {
        let tops = [0.0, 0.000_31, 1.0, 1.01, 2.0, 4.9, 5.1, 99.0].map(round_up);
        let wanted = [1.0, 0.000_5, 1.0, 2.0, 2.0, 5.0, 10.0, 100.0];
        assert!(tops.iter().zip(wanted).all(|(top, wanted)| (top - wanted).abs() < wanted * 1e-9), "{tops:?}");
    }

    /// A spike of five seconds must not vanish between two pixels, and no order either.
    #[test]
    fn a_part_of_the_time_has_the_worst_the_sum_or_the_last() {
        let at = [1_000_000, 1_000_005, 1_000_010];
        let values = [Some(1.0), Some(7.0), Some(2.0)];
        let first = |gather| time(&at, &[]).parts(&line(&values, gather), POINTS)[0].value;
        assert_eq!(first(Gather::Highest), Some(7.0));
        assert_eq!(first(Gather::Sum), Some(10.0));
        assert_eq!(first(Gather::Last), Some(2.0));
        let outside = time(&[999_999, 1_003_601], &[]).parts(&line(&values, Gather::Sum), POINTS);
        assert!(outside.iter().all(|part| part.value.is_none()));
        assert_eq!(time(&[1_003_600], &[]).parts(&line(&values, Gather::Sum), POINTS)[119].value, Some(1.0));
    }

    /// A line over a night in which nothing was counted would be a lie.
    #[test]
    fn a_line_ends_where_nothing_is_known_and_at_a_break() {
        let at = [1_000_000, 1_000_030, 1_000_060, 1_000_120, 1_000_150];
        let values = [Some(1.0), Some(2.0), None, Some(3.0), Some(4.0)];
        let strokes = |breaks: &[u32]| {
            let parts = time(&at, breaks).parts(&line(&values, Gather::Highest), POINTS);
            path(&parts, |value| value)
        };
        assert_eq!(strokes(&[]).matches('M').count(), 2, "{}", strokes(&[]));
        assert_eq!(strokes(&[]).matches('L').count(), 2);
        assert_eq!(strokes(&[1_000_150]).matches('M').count(), 3);
        assert_eq!(strokes(&[1_000_150]).matches("h4").count(), 2, "two stand alone");
    }

    #[test]
    fn a_plot_is_a_picture_with_a_name_and_a_table_with_the_same_numbers() {
        let at = [1_003_590, 1_003_595];
        let (values, failovers) = ([Some(0.000_3), Some(0.000_4)], [Some(0.0), Some(2.0)]);
        let (lines, name) = ([line(&values, Gather::Highest)], "failovers");
        let marks = Some(Line { name, values: &failovers, gather: Gather::Sum });
        let over = Over { title: "Added <time>", unit: Unit::Seconds, time: time(&at, &[]), lines: &lines, marks };
        let shown = over.show().into_string();
        assert!(!over.is_empty() && shown.contains("aria-label=\"Added &lt;time&gt;\""), "{shown}");
        assert!(shown.contains("<td class=\"number\">400 µs</td></tr>"), "{shown}");
        assert!(shown.contains("2 failovers, "), "{shown}");
        assert!(!shown.contains("style=") && !shown.contains("<script"));
    }

    /// A day of points in four lines is a few kilobytes, so that a page with all plots stays under its 50.
    #[test]
    fn a_plot_of_a_whole_day_is_small() {
        let at: Vec<u32> = (0..1440).map(|minute| 1_000_000 + minute * 60).collect();
        let values: Vec<_> = (0..1440).map(|minute| Some((minute % 77) as f32 / 3.0)).collect();
        let lines = [0; 4].map(|_| line(&values, Gather::Highest));
        let time = Time { at: &at, breaks: &[], now: 1_000_000 + 86_400, span: 86_400 };
        let over = Over { title: "x", unit: Unit::Seconds, time, lines: &lines, marks: None };
        let length = over.show().into_string().len();
        assert!(length < 11_000, "{length}");
    }

    #[test]
    fn a_bar_is_as_long_as_its_part_and_no_longer_than_all() {
        let bar = |part| Bar { name: "alpha".to_owned(), part, text: "3 of 6".to_owned() };
        let shown = bars("Limits", "Used", &[bar(0.5), bar(7.0)]).into_string();
        assert!(shown.contains("width=\"360\"") && shown.contains("width=\"720\""), "{shown}");
        assert!(shown.contains("<td class=\"number\">3 of 6</td>") && cut(&"x".repeat(64)).chars().count() == 24);
    }
}
