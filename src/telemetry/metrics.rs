//! Counters for Prometheus. Labels come from closed enums, so their number is
//! bounded whatever callers send.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::access::{Access, FirstSigned};
use super::streams::StreamMetrics;
use super::totals::Totals;
use crate::domain::places::ConnectionLimit;
use crate::domain::{Outcome, Role, lock};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// `order` or `other`.
    kind: &'static str,
    /// `2xx` to `5xx`.
    status: &'static str,
    /// The gateway's own code; else who answered: `broker` or `gateway`.
    code: &'static str,
    leg: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DialLabels {
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LegChangeLabels {
    from: &'static str,
    to: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabels {
    /// `callers` or `operators`.
    of: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LegLabels {
    state: &'static str,
}

/// The process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What a history is made of.
    counted: Registry,
    requests: Family<RequestLabels, Counter>,
    /// Of `requests`, those that nearly every request counts in: found without hashing and locking.
    usual: Vec<(RequestLabels, Counter)>,
    executed: Counter,
    outcomes: Family<OutcomeLabels, Counter>,
    repeats: Counter,
    under_way: Gauge,
    dial_errors: Family<DialLabels, Counter>,
    leg_changes: Family<LegChangeLabels, Counter>,
    legs: Family<LegLabels, Gauge>,
    journal_whole: Gauge,
    tasks: Gauge,
    places: Family<PlaceLabels, Gauge>,
    places_taken: Family<PlaceLabels, Gauge>,
    /// Where those are counted.
    houses: Mutex<Vec<(&'static str, Arc<ConnectionLimit>)>>,
    journal_writable: Gauge,
    journal_free_bytes: Gauge,
    last_request: Gauge,
    without_request: Gauge,
    streams: Arc<StreamMetrics>,
    upstream: Histogram,
    overhead: Histogram,
    first_signed: OnceLock<FirstSigned>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sixgate");
        // 50 us to about 26 s, doubling.
        let seconds = || Histogram::new((0..20).map(|n| 0.000_05 * f64::from(1u32 << n)));
        let metrics = Self {
            requests: Family::default(),
            usual: Vec::new(),
            executed: Counter::default(),
            outcomes: Family::default(),
            repeats: Counter::default(),
            under_way: Gauge::default(),
            dial_errors: Family::default(),
            leg_changes: Family::default(),
            legs: Family::default(),
            journal_whole: Gauge::default(),
            tasks: Gauge::default(),
            places: Family::default(),
            places_taken: Family::default(),
            houses: Mutex::default(),
            journal_writable: Gauge::default(),
            journal_free_bytes: Gauge::default(),
            last_request: Gauge::default(),
            without_request: Gauge::default(),
            streams: Arc::default(),
            upstream: seconds(),
            overhead: seconds(),
            first_signed: OnceLock::new(),
            registry: Registry::default(),
            counted: Registry::default(),
        };
        registry.register("requests", "Requests of callers", metrics.requests.clone());
        registry.register("order_outcomes", "Order writes by what is known of them", metrics.outcomes.clone());
        let help = "Order writes that were answered with what became of an earlier one";
        registry.register("order_repeats", help, metrics.repeats.clone());
        let help = "Order writes that are waiting to leave, or for their answer";
        registry.register("orders_under_way", help, metrics.under_way.clone());
        registry.register("dial_errors", "Requests for which no leg could be dialled", metrics.dial_errors.clone());
        registry.register("leg_changes", "Changes of a leg's state", metrics.leg_changes.clone());
        registry.register("legs", "Legs by state", metrics.legs.clone());
        let whole = "1 while nothing lacks of the order journal's last days; 0: see /readyz";
        registry.register("journal_whole", whole, metrics.journal_whole.clone());
        let help = "Tasks at work: callers' connections, tunnels, streams, watches";
        registry.register("tasks", help, metrics.tasks.clone());
        let help = "Connections that callers and operators may have open at once; more of them wait";
        registry.register("places", help, metrics.places.clone());
        registry.register("places_taken", "Of these, how many are open", metrics.places_taken.clone());
        let help = "Lines of the log that were dropped because nobody read them in time";
        registry.register("log_lines_dropped", help, super::logs::dropped());
        let writable =
            "1 while lines of the order journal can be written; 0: placements and changes are refused, see /readyz";
        registry.register("journal_writable", writable, metrics.journal_writable.clone());
        let free = "Bytes that may still be written on the disk of the order journal";
        registry.register("journal_free_bytes", free, metrics.journal_free_bytes.clone());
        let last = "When a caller of any account was last answered, in Unix seconds; 0: never since the start";
        registry.register("last_request_timestamp_seconds", last, metrics.last_request.clone());
        let without = "Accounts of which no caller has asked for anything since the start";
        registry.register("accounts_without_request", without, metrics.without_request.clone());
        metrics.streams.register(&mut registry);
        registry.register("upstream_seconds", "From sending to the head of the reply", metrics.upstream.clone());
        registry.register("overhead_seconds", "What the gateway adds to that", metrics.overhead.clone());
        let usual = |kind, leg| {
            let labels = RequestLabels { kind, status: "2xx", code: "broker", leg };
            let counter = metrics.requests.get_or_create(&labels).clone();
            (labels, counter)
        };
        let (primary, secondary) = (Role::Primary.as_str(), Role::Secondary.as_str());
        let usual = [("order", primary), ("other", primary), ("order", secondary), ("other", secondary)]
            .into_iter()
            .map(|(kind, leg)| usual(kind, leg))
            .collect();
        let executed = metrics.outcomes.get_or_create(&OutcomeLabels { outcome: Outcome::Executed.as_str() }).clone();
        let mut counted = Registry::with_prefix("sixgate");
        counted.register("requests", "", metrics.requests.clone());
        counted.register("order_outcomes", "", metrics.outcomes.clone());
        counted.register("order_repeats", "", metrics.repeats.clone());
        counted.register("dial_errors", "", metrics.dial_errors.clone());
        counted.register("leg_changes", "", metrics.leg_changes.clone());
        counted.register("upstream_seconds", "", metrics.upstream.clone());
        counted.register("overhead_seconds", "", metrics.overhead.clone());
        Self { registry, counted, usual, executed, ..metrics }
    }
}

/// An order write that is under way, until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only while it is held"]
pub struct InProgressGauge(Gauge);

impl Drop for InProgressGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// An order write is under way from now on.
    pub fn order_under_way(&self) -> InProgressGauge {
        self.under_way.inc();
        InProgressGauge(self.under_way.clone())
    }

    /// What is counted of WebSockets.
    pub const fn streams(&self) -> &Arc<StreamMetrics> {
        &self.streams
    }

    /// How the order journal stands.
    pub fn journal_whole(&self, whole: bool) {
        self.journal_whole.set(whole.into());
    }

    /// What was counted since the start.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.counted)
    }

    /// How many order writes are under way.
    pub fn orders_under_way(&self) -> u64 {
        u64::try_from(self.under_way.get()).unwrap_or_default()
    }

    /// How many connections these people have open.
    pub fn open_connections(&self, of: &str) -> usize {
        lock(&self.houses).iter().filter(|(shown, _)| *shown == of).map(|(_, house)| house.taken()).sum()
    }

    /// How many order writes had an outcome that nobody knows.
    pub fn unknown_outcomes(&self) -> u64 {
        self.outcomes.get_or_create(&OutcomeLabels { outcome: Outcome::Unknown.as_str() }).get()
    }

    /// Sets how many tasks are running.
    pub fn tasks(&self, running: usize) {
        self.tasks.set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    /// Can the order journal be written, and how much room has its disk, if that is known?
    pub fn journal_room(&self, writable: bool, free: Option<u64>) {
        self.journal_writable.set(writable.into());
        if let Some(free) = free {
            self.journal_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        }
    }

    /// When a caller was last answered, in Unix seconds, and of how many accounts none was.
    pub fn last_requests(&self, newest: Option<i64>, without: u64) {
        self.last_request.set(newest.unwrap_or_default());
        self.without_request.set(i64::try_from(without).unwrap_or(i64::MAX));
    }

    /// Count a request.
    pub fn request(&self, access: &Access) {
        let status = match access.status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let labels = RequestLabels {
            kind: if access.write { "order" } else { "other" },
            status,
            code: access.code.unwrap_or(if access.upstream.is_some() { "broker" } else { "gateway" }),
            leg: match (access.leg, access.source) {
                (Some(leg), _) => leg.as_str(),
                (None, Some(_)) => "ipv4",
                (None, None) => "none",
            },
        };
        match self.usual.iter().find(|(usual, _)| *usual == labels) {
            Some((_, counter)) => counter.inc(),
            None => self.requests.get_or_create(&labels).inc(),
        };
        // A repeat is answered with what became of an order that was counted when it was done.
        match access.outcome.filter(|_| access.repeat_of.is_none()) {
            None => {}
            Some(Outcome::Executed) => drop(self.executed.inc()),
            Some(outcome) => drop(self.outcomes.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc()),
        }
        if access.repeat_of.is_some() {
            self.repeats.inc();
        }
        if let Some(error) = access.dial_error {
            self.dial_errors.get_or_create(&DialLabels { error }).inc();
        }
        if let Some(upstream) = access.upstream {
            self.upstream.observe(upstream.as_secs_f64());
            let elsewhere = upstream + access.looked_up;
            self.overhead.observe(access.total.saturating_sub(elsewhere).as_secs_f64());
        }
    }

    /// A request has ended. The first that the broker answered is kept. Costs a load after that.
    pub fn ended(&self, access: &Access, caller: Option<IpAddr>) {
        if self.first_signed.get().is_none()
            && let Some(first) = FirstSigned::of(access, caller)
        {
            let _ = self.first_signed.set(first);
        }
    }

    /// The first request since the start that was signed and that the broker answered.
    pub fn first_signed(&self) -> Option<&FirstSigned> {
        self.first_signed.get()
    }

    /// A leg changed its state. The words are of closed enums (`legs::health`).
    pub fn leg_changed(&self, from: &'static str, to: &'static str, reason: &'static str) {
        self.leg_changes.get_or_create(&LegChangeLabels { from, to, reason }).inc();
        if from != to {
            self.leg_removed(from);
            self.leg_added(to);
        }
    }

    /// There is a leg more in this state.
    pub fn leg_added(&self, state: &'static str) {
        self.legs.get_or_create(&LegLabels { state }).inc();
    }

    /// There is a leg less in this state.
    pub fn leg_removed(&self, state: &'static str) {
        self.legs.get_or_create(&LegLabels { state }).dec();
    }

    /// Show how many places there are in `house` and how many are taken, as those of these people.
    pub fn show_places(&self, of: &'static str, house: &Arc<ConnectionLimit>) {
        lock(&self.houses).push((of, Arc::clone(house)));
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        for (of, house) in &*lock(&self.houses) {
            let shown = [(&self.places, house.most()), (&self.places_taken, house.taken())];
            for (gauge, count) in shown {
                gauge.get_or_create(&PlaceLabels { of }).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
