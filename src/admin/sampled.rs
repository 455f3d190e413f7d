//! Samples what is counted, for whoever plots it.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;

use super::counts::count;
use super::wire::AccountCounts;
use crate::accounts::{Account, Accounts};
use crate::domain::tasks::Tasks;
use crate::domain::{AccountName, lock, steady};
use crate::telemetry::Metrics;
use crate::telemetry::history::{EVERY, History, Moment, Point, Standing, Window};

/// What is sampled, for whoever plots it.
#[derive(Debug, Default)]
pub struct Sampled(Mutex<History>);

impl Sampled {
    /// Sample until the gateway stops.
    pub async fn keep(self: Arc<Self>, accounts: Arc<Accounts>, metrics: Arc<Metrics>, tasks: Tasks) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = tasks.stopping() => return,
            }
            let (sampled, accounts, metrics) = (Arc::clone(&self), Arc::clone(&accounts), Arc::clone(&metrics));
            // Every account is looked at. That one sample is missing is seen in the next.
            let _ = tokio::task::spawn_blocking(move || sampled.sample(&accounts, &metrics)).await;
        }
    }

    /// The points of a window, the oldest first.
    pub(super) fn points(&self, window: Window) -> Vec<Point> {
        lock(&self.0).points(window).copied().collect()
    }

    fn sample(&self, accounts: &Accounts, metrics: &Metrics) {
        let (totals, standing) = (metrics.totals(), standing(accounts, metrics));
        let now = Moment { boot: steady::since_boot(), wall: Timestamp::now() };
        lock(&self.0).sample(now, &totals, &standing);
    }
}

fn standing(accounts: &Accounts, metrics: &Metrics) -> Standing {
    let AccountCounts { tokens, legs, .. } = count(accounts);
    let lowest = ends_first(accounts, 1).first().map(|(left, _)| *left as f32);
    let number = |count: u64| Some(count as f32);
    [
        number(legs.admits),
        number(legs.tripped),
        number(legs.probing),
        number(tokens.absent),
        number(tokens.minting),
        number(tokens.live),
        number(tokens.refreshing),
        number(tokens.waiting),
        number(tokens.needs_person),
        lowest,
        number(metrics.orders_under_way()),
        number(metrics.open_connections("callers") as u64),
    ]
}

/// The accounts whose tokens end first, and in how many seconds. Looks at every account: not on a runtime worker.
pub(super) fn ends_first(accounts: &Accounts, most: usize) -> Vec<(i64, AccountName)> {
    let mut first: Vec<(i64, AccountName)> = Vec::with_capacity(most + 1);
    let now = steady::now();
    accounts.for_each(|account| {
        let Some(left) = seconds_left(account, now) else { return };
        let place = first.partition_point(|(known, _)| *known <= left);
        if place < most {
            first.insert(place, (left, account.name.clone()));
            first.truncate(most);
        }
    });
    first
}

/// Of a token that signs.
fn seconds_left(account: &Account, now: Timestamp) -> Option<i64> {
    let token = account.token.live().ok()?;
    Some(token.expires_at().duration_since(now).as_secs())
}
