//! Waiting for a condition, with a deadline. Tests wait for nothing else: a fixed
//! time is either too short on a busy machine or wasted on a quick one.

use std::time::{Duration, Instant};

/// How long to wait at least before a condition is looked at again.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait at most.
const LONGEST: Duration = Duration::from_secs(4);

/// How long to wait after a look that took this long, when `waited` is how long it all has taken. What is looked at may
/// be a page that takes the gateway 50 ms, and a test that waits minutes for a login would keep a core busy with it: so a
/// tenth of the time is spent on looking at most, and little of a long wait.
fn pause(took: Duration, waited: Duration) -> Duration {
    (9 * took).max(waited / 10).clamp(INTERVAL, LONGEST)
}

/// Wait until `condition` holds; panic, naming `what`, if it does not within `limit`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}

/// Wait until `look` finds something; panic, naming `what`, if it does not within `limit`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    match poll(limit, look) {
        Some(found) => found,
        None => panic!("waited {limit:?} in vain for: {what}"),
    }
}

/// What `look` finds, or nothing if it does not within `limit`. It is looked at once at least.
pub(crate) fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let began = Instant::now();
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::park_timeout(pause(began.elapsed(), start.elapsed()));
    }
}

/// As [`wait_for`], in a task.
pub(crate) async fn wait_for_async<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let search = async {
        loop {
            let began = Instant::now();
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(pause(began.elapsed(), start.elapsed())).await;
        }
    };
    match tokio::time::timeout(limit, search).await {
        Ok(found) => found,
        Err(_) => panic!("waited {limit:?} in vain for: {what}"),
    }
}
