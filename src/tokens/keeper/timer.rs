//! When a keeper wakes.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;

use super::Keepers;
use crate::domain::{clocks, steady, stirred};

/// A measurement that was made while we sleep is noticed after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);

/// What a keeper is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeCause {
    /// The moment that it waited for has come, with its turn if it waited for one; or it must plan anew.
    Moment { turn: bool },
    /// Two clocks of this host went different ways.
    ClocksParted,
}

/// Wait until a wake is due, and for its turn. A clock that was corrected makes one due: what was planned by the one
/// before, a wait for a person among it, is planned anew.
pub(super) async fn due(shared: &Keepers, wake: Option<(Timestamp, bool)>, epoch: u32, parted: u32) -> WakeCause {
    let (at, turn) = wake.unwrap_or((Timestamp::MAX, false));
    loop {
        let mut stirred = pin!(stirred::stirred());
        // From here on nothing is missed.
        stirred.as_mut().enable();
        let left = Duration::try_from(at.duration_since(steady::now())).unwrap_or_default();
        if left.is_zero() || steady::epoch() != epoch {
            break;
        }
        if clocks::parted() != parted {
            return WakeCause::ClocksParted;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LONGEST_SLEEP)) => {}
            () = stirred => {}
        }
    }
    if turn {
        // Boxed like what is done when it has come.
        Box::pin(shared.turns.take()).await;
    }
    WakeCause::Moment { turn }
}
