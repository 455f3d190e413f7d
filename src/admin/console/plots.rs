//! Plots: what was counted in the last hour or day, and which accounts are nearest to an end.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::sampled::ends_first;
use super::super::state::Admin;
use super::context::Console;
use super::page::{self, Part};
use super::plot::{Bar, Gather, Line, Over, Time, Unit, bars};
use super::visitor::Visitor;
use super::words;
use crate::broker::dhan::endpoints::RateClass;
use crate::orders::limits::Usage;
use crate::telemetry::history::{Point, SERIES, Window};

/// Accounts in a plot of the worst.
const WORST: usize = 10;

/// Over which time.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    window: String,
}

/// `/console/plots`
pub(super) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let window = Window::ALL.into_iter().find(|window| window.as_str() == wanted.window).unwrap_or(Window::Hour);
    let admin = console.admin.clone();
    let read = move || (Series::of(&admin.sampled.points(window), window), tokens(&admin), limits(&admin));
    let Ok((series, tokens, limits)) = tokio::task::spawn_blocking(read).await else {
        let why = "They broke down; see the gateway's log.";
        return page::refused(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "No plots", why);
    };
    let content = html! {
        h1 { "Plots" }
        nav.filters aria-label="Over which time" { ul {
            @for (other, word) in [(Window::Hour, "Last hour"), (Window::Day, "Last 24 hours")] {
                li { a href={ "/console/plots?window=" (other.as_str()) } aria-current=[(other == window).then_some("true")] { (word) } }
            }
        } }
        (series.latency())
        (series.outcomes())
        (series.legs())
        (bar_section("tokens", "Token time left", &tokens, "Left", "The ten tokens that end first will stand here once an account is logged in."))
        (bar_section("limits", "Limits used", &limits, "Used", "The ten accounts that used most of one of Dhan's limits for orders will stand here, from the first order on."))
        p.hint { "Kept in memory: begins with the start of the gateway, at " (page::time(console.admin.about.started)) "." }
    };
    page::page(&console, &visitor, Part::Plots, "Plots", &content)
}

/// The points of a window by the names of their numbers.
struct Series {
    at: Vec<u32>,
    breaks: Vec<u32>,
    values: Vec<Vec<Option<f32>>>,
    now: u32,
    span: u32,
}

impl Series {
    fn of(points: &[Point], window: Window) -> Self {
        let mut values: Vec<Vec<Option<f32>>> = SERIES.iter().map(|_| Vec::with_capacity(points.len())).collect();
        for point in points {
            for (line, value) in values.iter_mut().zip(point.values()) {
                line.push(value);
            }
        }
        let span = match window {
            Window::Hour => 3600,
            Window::Day => 86_400,
        };
        Self {
            at: points.iter().map(|point| point.at).collect(),
            breaks: points.iter().filter(|point| point.after.is_some()).map(|point| point.at).collect(),
            values,
            now: u32::try_from(Timestamp::now().as_second()).unwrap_or_default(),
            span,
        }
    }

    fn named(&self, name: &str) -> &[Option<f32>] {
        let place = SERIES.iter().position(|(known, _)| *known == name);
        place.and_then(|place| self.values.get(place)).map_or(&[], Vec::as_slice)
    }

    fn line(&self, name: &'static str, word: &'static str, gather: Gather) -> Line<'_> {
        Line { name: word, values: self.named(name), gather }
    }

    fn sum(&self, name: &str) -> f64 {
        self.named(name).iter().flatten().map(|value| f64::from(*value)).sum()
    }

    fn highest(&self, name: &str) -> Option<f64> {
        self.named(name).iter().flatten().map(|value| f64::from(*value)).reduce(f64::max)
    }

    fn last(&self, name: &str) -> Option<f64> {
        self.named(name).iter().rev().flatten().next().map(|value| f64::from(*value))
    }

    fn time(&self) -> Time<'_> {
        Time { at: &self.at, breaks: &self.breaks, now: self.now, span: self.span }
    }

    fn plot(
        &self,
        id: &str,
        title: &str,
        unit: Unit,
        lines: &[Line<'_>],
        marks: Option<Line<'_>>,
        reading: &str,
    ) -> Markup {
        let over = Over { title, unit, time: self.time(), lines, marks };
        section(id, title, &html! { @if over.is_empty() { p { (reading) } } @else { p { (reading) } (over.show()) } })
    }

    fn latency(&self) -> Markup {
        let added = [
            self.line("added_p50", "half took at most", Gather::Highest),
            self.line("added_p99", "99 of 100 took at most", Gather::Highest),
        ];
        let broker = [
            self.line("broker_p50", "half took at most", Gather::Highest),
            self.line("broker_p99", "99 of 100 took at most", Gather::Highest),
        ];
        let reading = |name, who: &str| match (self.last(name), self.highest(name)) {
            (Some(last), Some(most)) => {
                let [last, most] = [last, most].map(|value| Unit::Seconds.text(value));
                format!("{who}: 99 of 100 took up to {last} at last, and up to {most} at the worst.")
            }
            _ => "Nothing was sent in this time. From the first request on its time stands here.".to_owned(),
        };
        let failovers = Some(self.line("failovers", "failovers", Gather::Sum));
        html! {
            (self.plot("added", "Time that the gateway adds", Unit::Seconds, &added, None, &reading("added_p99", "Added by the gateway")))
            (self.plot("broker", "Time that Dhan takes", Unit::Seconds, &broker, failovers, &reading("broker_p99", "Dhan")))
        }
    }

    fn outcomes(&self) -> Markup {
        let names =
            [("executed", "executed"), ("rejected", "rejected"), ("not_sent", "not sent"), ("unknown", "unknown")];
        let lines = names.map(|(name, word)| self.line(name, word, Gather::Sum));
        let counts = names.map(|(name, word)| format!("{} {word}", Unit::Count.text(self.sum(name))));
        let any = names.iter().any(|(name, _)| self.sum(name) > 0.0);
        let reading = if any { format!("{}.", counts.join(", ")) } else { "No order left in this time.".to_owned() };
        self.plot("outcomes", "Orders by outcome", Unit::Count, &lines, None, &reading)
    }

    fn legs(&self) -> Markup {
        let names = [("legs_admits", "in use"), ("legs_tripped", "out of use"), ("legs_probing", "being tried again")];
        let lines = names.map(|(name, word)| self.line(name, word, Gather::Last));
        let failovers = Some(self.line("failovers", "failovers", Gather::Sum));
        let reading = match (self.last("legs_admits"), self.last("legs_tripped")) {
            (Some(admits), Some(tripped)) => format!(
                "{} in use and {} out of use now; {} in this time.",
                Unit::Count.text(admits),
                Unit::Count.text(tripped),
                words::counted(self.sum("failovers") as u64, "failover")
            ),
            _ => "In a few seconds the first numbers stand here.".to_owned(),
        };
        self.plot("legs", "Ways out by state", Unit::Count, &lines, failovers, &reading)
    }
}

fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! { section aria-labelledby=(id) { h2 id=(id) { (title) } (content) } }
}

fn bar_section(id: &str, title: &str, of: &[Bar], what: &str, empty: &str) -> Markup {
    section(
        id,
        title,
        &html! {
            @match of.first() {
                None => p { (empty) },
                Some(first) => { p { (first.name) ": " (first.text) "." } (bars(title, what, of)) }
            }
        },
    )
}

/// The tokens that end first, of a whole day.
fn tokens(admin: &Admin) -> Vec<Bar> {
    let ends = ends_first(&admin.accounts, WORST).into_iter();
    ends.map(|(left, name)| {
        let left = u64::try_from(left).unwrap_or_default();
        let text = words::span(std::time::Duration::from_secs(left));
        Bar { name: name.to_string(), part: left as f64 / 86_400.0, text }
    })
    .collect()
}

/// The accounts that used most of one of the broker's limits for orders.
fn limits(admin: &Admin) -> Vec<Bar> {
    let mut worst: Vec<Bar> = Vec::with_capacity(WORST + 1);
    admin.accounts.for_each(|account| {
        let Some(bar) = fullest(account.name.as_str(), &admin.orders.gate(account.client_id()).usage()) else { return };
        let place = worst.partition_point(|known| known.part >= bar.part);
        if place < WORST {
            worst.insert(place, bar);
            worst.truncate(WORST);
        }
    });
    worst
}

/// The fullest window of an account, if anything is used.
fn fullest(name: &str, usage: &[Usage]) -> Option<Bar> {
    let part = |usage: &Usage| usage.used as f64 / f64::from(usage.allowed.max(1));
    let used = usage.iter().filter(|usage| usage.class == RateClass::Order && usage.used > 0);
    let most = used.max_by(|one, other| part(one).total_cmp(&part(other)))?;
    let window = match most.window.per.as_secs() {
        1 => "this second",
        60 => "this minute",
        3600 => "this hour",
        _ => "this day",
    };
    let text = format!("{} of {} in {window}", words::number(most.used as usize), words::number(most.allowed as usize));
    Some(Bar { name: name.to_owned(), part: part(most), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before anything was counted each plot says what will be there.
    #[test]
    fn an_empty_history_says_what_will_be_there() {
        let series = Series::of(&[], Window::Hour);
        let shown = html! { (series.latency()) (series.outcomes()) (series.legs()) }.into_string();
        assert!(shown.contains("From the first request on") && shown.contains("No order left"), "{shown}");
        assert!(!shown.contains("<svg"), "{shown}");
        assert!(bar_section("tokens", "x", &[], "Left", "will stand here").into_string().contains("will stand here"));
    }
}
