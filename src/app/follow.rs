//! What is heard of in one room and matters to others: clocks that part, legs that change.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::broadcast;

use crate::domain::clocks;
use crate::domain::tasks::Tasks;
use crate::legs::{LegEvent, Reason, Supervisor};
use crate::telemetry::events::{Events, Subject};

/// Say when this host's clocks part, and use no connection again that was made before.
pub(super) async fn follow_clocks(supervisor: Arc<Supervisor>, tasks: Tasks) {
    let on_parting = |parting: clocks::Parting| {
        if !parting.slept.is_zero() {
            tracing::warn!(
                slept_s = parting.slept.as_secs(),
                "this machine slept or was paused, and no order could be sent meanwhile. The gateway checks its tokens and \
                 makes new connections. Turn suspend and snapshots off in market hours"
            );
        }
        if !parting.set.is_zero() {
            tracing::warn!(
                set_s = parting.set.as_secs(),
                "this host's clock jumped by {} s. Orders go on, because the gateway goes by the broker's time, but the times \
                 in logs may be wrong. What to do: timedatectl set-ntp true",
                parting.set.as_secs()
            );
        }
        supervisor.lines_may_be_dead();
    };
    tokio::select! {
        () = clocks::follow(on_parting) => {}
        () = tasks.stopping() => {}
    }
}

/// Publish the legs' events to whoever watches the gateway's.
pub(super) async fn publish_leg_events(mut legs: broadcast::Receiver<LegEvent>, events: Events, tasks: Tasks) {
    loop {
        let heard = tokio::select! {
            heard = legs.recv() => heard,
            () = tasks.stopping() => return,
        };
        match heard {
            Ok(event) => events.publish(Subject::Leg, &event.account.clone(), move || {
                json!({
                    "role": event.role.as_str(),
                    "address": event.source.to_string(),
                    "from": event.from.as_str(),
                    "state": event.to.as_str(),
                    "reason": event.to.reason().map(Reason::as_str),
                })
            }),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
