//! `/v1/history`: what was counted in the last hour or day, for plots.

use axum::Json;
use axum::extract::State;

use super::error::{Failure, Problem, cut_short};
use super::parameters::Parameters;
use super::sampled::ends_first;
use super::state::Admin;
use super::wire::{HistoryBody, HistoryFilter, TokenEndBody};
use crate::telemetry::history::Window;

/// Accounts in a list of the worst.
const WORST: usize = 10;

/// What was counted in the last hour (a point each 5 s) or day (one a minute): added latency and the broker's, orders by
/// outcome, failovers, legs and tokens by state. `breaks` says where two points are not to be joined by a line. The
/// lists of accounts are made at the moment of the call. Kept in memory: it begins with the start of the gateway.
#[utoipa::path(get, path = "/v1/history", tag = "history", params(HistoryFilter), security(("bearer" = [])),
    responses((status = 200, body = HistoryBody), (status = 422, body = Problem)))]
pub(super) async fn read(State(admin): State<Admin>, mut given: Parameters) -> Result<Json<HistoryBody>, Failure> {
    let known = |word: &str| Window::ALL.into_iter().find(|window| window.as_str() == word);
    let window = given.read("window", "is 1h or 24h", known)?.unwrap_or(Window::Hour);
    given.done()?;
    let look = move || {
        let ends = ends_first(&admin.accounts, WORST);
        let token_ends = ends.into_iter().map(|(left, name)| TokenEndBody::of(&name, left)).collect();
        HistoryBody::of(window, &admin.sampled.points(window), token_ends)
    };
    tokio::task::spawn_blocking(look).await.map(Json).map_err(|_| cut_short())
}
