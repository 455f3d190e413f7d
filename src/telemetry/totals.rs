//! What was counted since the start, at one moment: what a history is made of.
//!
//! It is read from the text that Prometheus would be given, as the counters themselves do not show what is in a
//! histogram: some hundred lines each few seconds, and nothing where a request passes.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::domain::Outcome;

/// What was counted since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Requests of callers.
    pub requests: u64,
    /// Order writes by their outcome.
    pub outcomes: Outcomes,
    /// Order writes that were answered with what became of an earlier one.
    pub repeats: u64,
    /// Legs that stopped admitting.
    pub failovers: u64,
    /// Requests for which no leg could be dialled.
    pub dial_errors: u64,
    /// What the gateway adds to the broker's time, in seconds.
    pub added: Spread,
    /// From sending to the head of the broker's reply, in seconds.
    pub broker: Spread,
}

/// Order writes by what is known of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the API")]
pub struct Outcomes {
    pub executed: u64,
    pub rejected: u64,
    pub not_sent: u64,
    pub unknown: u64,
}

/// How observations are spread: up to each bound, how many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread(Vec<(f64, u64)>);

impl Spread {
    /// The bound that this part of what was observed since `earlier` does not exceed: no more is known than between which
    /// bounds each lies. Beyond the last one it is that. `None` when nothing was observed.
    pub fn quantile_since(&self, earlier: &Self, part: f64) -> Option<f64> {
        let before = |at: usize| earlier.0.get(at).map_or(0, |(_, count)| *count);
        let counts = self.0.iter().enumerate().map(|(at, (bound, count))| (*bound, count.saturating_sub(before(at))));
        let all = counts.clone().next_back().map(|(_, count)| count).filter(|all| *all > 0)?;
        let wanted = part * all as f64;
        let mut below = 0.0;
        for (bound, count) in counts {
            if count as f64 >= wanted && count > 0 {
                return Some(if bound.is_finite() { bound } else { below });
            }
            below = bound;
        }
        None
    }
}

impl Totals {
    /// As they are in `registry`.
    pub(super) fn of(registry: &Registry) -> Self {
        let mut text = String::new();
        // A `String` refuses nothing.
        let _ = encode(&mut text, registry);
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut totals = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let Ok(count) = value.parse::<u64>() else { continue };
            match name.trim_start_matches("sixgate_") {
                "requests_total" => totals.requests += count,
                "order_outcomes_total" => totals.outcomes.add(labels, count),
                "order_repeats_total" => totals.repeats += count,
                "dial_errors_total" => totals.dial_errors += count,
                "leg_changes_total" if has(labels, "to", "tripped") && !has(labels, "from", "tripped") => {
                    totals.failovers += count;
                }
                "overhead_seconds_bucket" => totals.added.add(labels, count),
                "upstream_seconds_bucket" => totals.broker.add(labels, count),
                _ => {}
            }
        }
        totals
    }
}

impl Outcomes {
    fn add(&mut self, labels: &str, count: u64) {
        let all = [
            (Outcome::Executed, &mut self.executed),
            (Outcome::Rejected, &mut self.rejected),
            (Outcome::NotSent, &mut self.not_sent),
            (Outcome::Unknown, &mut self.unknown),
        ];
        for (outcome, counted) in all {
            if has(labels, "outcome", outcome.as_str()) {
                *counted += count;
            }
        }
    }
}

impl Spread {
    fn add(&mut self, labels: &str, count: u64) {
        let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(bound, _)| bound);
        let bound = match bound {
            Some("+Inf") => Some(f64::INFINITY),
            bound => bound.and_then(|bound| bound.parse().ok()),
        };
        self.0.extend(bound.map(|bound| (bound, count)));
    }
}

fn has(labels: &str, name: &str, value: &str) -> bool {
    labels.trim_end_matches('}').split(',').any(|label| label.split_once('=') == Some((name, &*format!("\"{value}\""))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Metrics;
    use crate::telemetry::access::Access;

    fn spread(counts: &[(f64, u64)]) -> Spread {
        Spread(counts.to_vec())
    }

    #[test]
    fn a_quantile_is_the_bound_that_this_part_of_the_new_ones_does_not_exceed() {
        let before = spread(&[(1.0, 100), (2.0, 100), (f64::INFINITY, 100)]);
        let after = spread(&[(1.0, 100), (2.0, 200), (f64::INFINITY, 200)]);
        assert_eq!(after.quantile_since(&before, 0.5), Some(2.0));
        assert_eq!(after.quantile_since(&before, 1.0), Some(2.0));
        assert_eq!(after.quantile_since(&after, 0.5), None, "nothing was observed");
        assert_eq!(after.quantile_since(&Spread::default(), 0.25), Some(1.0));
        let beyond = spread(&[(1.0, 0), (2.0, 0), (f64::INFINITY, 7)]);
        assert_eq!(beyond.quantile_since(&Spread::default(), 0.5), Some(2.0), "beyond the last bound");
    }

    /// The text's spelling is another crate's: a new version of it must not empty the plots.
    #[test]
    fn what_is_counted_is_found_again() {
        let metrics = Metrics::default();
        let before = metrics.totals();
        metrics.leg_added("admits");
        metrics.leg_changed("admits", "tripped", "no_reply");
        metrics.leg_changed("tripped", "tripped", "address_gone");
        metrics.leg_changed("tripped", "probing", "none");
        let mut access = Access::new(&"r-1".into(), &http::Method::POST);
        (access.write, access.status, access.outcome) = (true, 200, Some(Outcome::Unknown));
        // What became of it was looked for, which is the broker's time and not the gateway's.
        access.looked_up = Duration::from_secs(9);
        (access.upstream, access.total) = (Some(Duration::from_millis(30)), Duration::from_millis(9031));
        access.dial_error = Some("no_leg");
        metrics.request(&access);
        let totals = metrics.totals();
        assert_eq!((totals.requests, totals.failovers, totals.dial_errors), (1, 1, 1));
        assert_eq!(totals.outcomes, Outcomes { unknown: 1, ..Outcomes::default() });
        let broker = totals.broker.quantile_since(&before.broker, 0.5).unwrap();
        assert!((broker - 0.0512).abs() < 1e-9, "{broker}");
        let added = totals.added.quantile_since(&before.added, 0.99).unwrap();
        assert!((added - 0.0016).abs() < 1e-9, "{added}");
    }
}
