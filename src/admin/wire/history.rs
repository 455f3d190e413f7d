//! Bodies and parameters of `/v1/history`.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::AccountName;
use crate::telemetry::history::{Point, SERIES, Window};

/// What was counted, for plots.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryBody {
    /// `1h` or `24h`.
    pub window: &'static str,
    /// How far points are apart.
    pub step_seconds: u64,
    /// When each point was taken: Unix time in seconds, the oldest first.
    pub at: Vec<u32>,
    /// How many seconds each tells of: what is counted is counted over these.
    pub covers: Vec<f32>,
    /// Points that are not to be joined with the one before.
    pub breaks: Vec<BreakBody>,
    /// A number for each point, or null where nothing is known.
    pub series: Vec<SeriesBody>,
    /// The ten accounts whose tokens end first, as of now.
    pub token_ends: Vec<TokenEndBody>,
}

/// A place where a line has to be broken.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakBody {
    /// Before the point of this time.
    pub at: u32,
    /// `pause`: the machine slept or the gateway was paused. `clock_set`: the clock was set.
    pub reason: &'static str,
}

/// One line of a plot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeriesBody {
    /// `added_p50`, `executed`, `legs_admits` and so on. Times are counted between bounds, so one of `p50` or `p99` is the
    /// bound that this part of them did not exceed.
    pub name: &'static str,
    /// `s`: seconds. `count`: how many since the point before. `now`: how many at that moment.
    pub unit: &'static str,
    pub values: Vec<Option<f32>>,
}

/// When an account's token ends.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenEndBody {
    pub account: String,
    pub seconds_left: i64,
}

impl TokenEndBody {
    pub(crate) fn of(account: &AccountName, seconds_left: i64) -> Self {
        Self { account: account.to_string(), seconds_left }
    }
}

impl HistoryBody {
    pub(crate) fn of(window: Window, points: &[Point], token_ends: Vec<TokenEndBody>) -> Self {
        let mut series: Vec<_> = SERIES
            .iter()
            .map(|(name, unit)| SeriesBody { name, unit, values: Vec::with_capacity(points.len()) })
            .collect();
        for point in points {
            for (line, value) in series.iter_mut().zip(point.values()) {
                line.values.push(value);
            }
        }
        let broken = |point: &Point| Some(BreakBody { at: point.at, reason: point.after?.as_str() });
        Self {
            window: window.as_str(),
            step_seconds: window.step().as_secs(),
            at: points.iter().map(|point| point.at).collect(),
            covers: points.iter().map(|point| point.covers).collect(),
            breaks: points.iter().filter_map(broken).collect(),
            series,
            token_ends,
        }
    }
}

/// Over which time. Only for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct HistoryFilter {
    /// `1h` when not given.
    #[param(inline)]
    pub window: Option<WindowWord>,
}

/// Over which time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) enum WindowWord {
    #[schema(rename = "1h")]
    Hour,
    #[schema(rename = "24h")]
    Day,
}
