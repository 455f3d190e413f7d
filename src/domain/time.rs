//! Waiting with a limit.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;

/// What a future gives within `limit` from when it first has to wait. Where it nearly always has no need to wait,
/// this saves a look at the clock and a timer.
///
/// # Errors
/// [`Elapsed`], and the future is dropped.
pub async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => tokio::time::timeout(limit, future).await,
    }
}

/// Whole microseconds, or as many as a number holds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_ready_needs_no_time_and_what_is_not_has_so_much() {
        let soon = Duration::from_millis(10);
        assert_eq!(within(Duration::ZERO, std::future::ready(7)).await, Ok(7));
        assert_eq!(within(Duration::from_secs(60), tokio::time::sleep(soon)).await, Ok(()));
        assert!(within(soon, std::future::pending::<()>()).await.is_err());
    }
}
