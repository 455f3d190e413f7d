//! What a listener does when a connection cannot be accepted. It waits in the kernel's queue then, and is not lost.

use std::io;
use std::time::Duration;

use super::Seldom;
use crate::domain::host_limits::Lack;
use crate::domain::places::Doorway;

/// Pause after an error such as "too many open files", which would otherwise be returned again at once for ever.
const PAUSE: Duration = Duration::from_millis(50);
/// Such errors come twenty times a second for as long as they last, at every listener: one line of them in this time.
static TOLD: Seldom = Seldom::once_in(Duration::from_secs(60));

/// Tell of it, and wait a moment. Where a descriptor lacks, who holds one without having shown who he is makes room.
pub async fn failed(err: &io::Error, places: &Doorway) {
    let lack = Lack::of(err);
    if lack.is_some() {
        places.send_a_stranger_away();
    }
    if let Some(times) = TOLD.due() {
        let why = lack.map_or_else(|| err.to_string(), |lack| lack.to_string());
        tracing::error!(error = %err, times, "connections to this gateway wait to be accepted: {why}");
    }
    tokio::time::sleep(PAUSE).await;
}
