//! Warm connections: a TLS connection to the API host lies ready on both legs, so that
//! neither an order nor a failover pays for a handshake.
//!
//! Once a second every leg is looked at; one that admits and has too few connections
//! gets one. A connection that nobody used is given up before it is as old as
//! `egress.idle_timeout`, at which the pool would refuse it, and made again; one that
//! the broker closed is made again too, after a wait that doubles while the broker
//! keeps closing them.
//!
//! Bounds: [`A_SECOND`] handshakes a second over all accounts. Up to [`ALL_WARM`]
//! accounts, all are kept warm in market hours; with more only those that had a request
//! in the last [`IN_USE`] seconds, the latest first, so that the bound is spent on
//! those that trade.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use super::context::PATIENCE;
use super::health::Purpose;
use super::pace::{WarmPace, jitter};
use super::register::Register;
use super::{Leg, Legs};
use crate::broker::dhan::calendar;
use crate::domain::tasks::Tasks;
use crate::domain::{Role, lock, steady};

/// Handshakes begun in a second: a tenth of what a core does.
const A_SECOND: usize = 50;
/// Handshakes under way; a line that is silent holds each for a connect timeout.
const AT_ONCE: usize = 64;
/// With a connection to each of two legs made again every 20 seconds or so, this many
/// accounts take half of [`A_SECOND`].
pub(super) const ALL_WARM: usize = 250;
/// Seconds after its last request in which an account counts as in use.
const IN_USE: u64 = 15 * 60;
/// Keep warm until the process is to stop.
pub(super) async fn run(register: Arc<Register>, tasks: Tasks) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = second.tick() => {}
            () = tasks.stopping() => return,
        }
        let (warm, always) = {
            let settings = register.context.settings();
            (settings.warm, settings.warm_always)
        };
        if warm == 0 || !always && !calendar::is_market_hours(steady::now()) {
            continue;
        }
        for (legs, role) in wanting(&register, warm).into_iter().take(A_SECOND) {
            let Ok(permit) = Arc::clone(&at_once).try_acquire_owned() else { break };
            let leg = legs.leg(role);
            let begun = pace(leg).begin(Instant::now(), jitter(leg.source(), register.context.uptime_secs()));
            if begun {
                let (register, stop) = (Arc::clone(&register), tasks.clone());
                tasks.spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        () = make(&register, legs.leg(role)) => {}
                        () = stop.stopping() => {}
                    }
                });
            }
        }
    }
}

/// The legs that lack a connection, those used last first.
fn wanting(register: &Register, warm: usize) -> Vec<(Arc<Legs>, Role)> {
    let all = register.all();
    let everybody = all.len() <= ALL_WARM;
    let mut found = Vec::new();
    for legs in all {
        let used = legs.last_used();
        if legs.ended().is_cancelled() || !(everybody || in_use(register, &legs)) {
            continue;
        }
        for leg in legs.both() {
            let admits = leg.admits(Purpose::Read) || leg.admits(Purpose::OrderWrite);
            let wanted = legs.pin().is_none_or(|pin| pin == leg.role()) && admits;
            if wanted && leg.exit().idle_to(register.context.api(), good_for(register, leg)) < warm {
                found.push((used, Arc::clone(&legs), leg.role()));
            }
        }
    }
    found.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    found.into_iter().map(|(_, legs, role)| (legs, role)).collect()
}

/// Did they carry a request lately?
pub(super) fn in_use(register: &Register, legs: &Legs) -> bool {
    let used = legs.last_used();
    used > 0 && register.context.uptime_secs().saturating_sub(used) < IN_USE
}

async fn make(register: &Register, leg: &Leg) {
    let made = match register.context.egress().resolve(register.context.api(), Instant::now() + PATIENCE).await {
        Ok(at) => leg.exit().warm(&at).await,
        Err(err) => Err(err),
    };
    pace(leg).end(Instant::now());
    match made {
        Ok(()) => leg.learn(super::health::Event::Dialled),
        Err(err) => leg.note_failed_dial(&err),
    }
}

/// How old an idle connection may be and count as ready: 6 to 8 tenths of what the
/// pool allows, another share for each leg, so that they are not all made at once.
fn good_for(register: &Register, leg: &Leg) -> Duration {
    let limit = register.context.egress().idle_timeout();
    limit * 6 / 10 + limit * (jitter(leg.source(), 0) % 256) / 1280
}

fn pace(leg: &Leg) -> std::sync::MutexGuard<'_, WarmPace> {
    lock(&leg.warming)
}
