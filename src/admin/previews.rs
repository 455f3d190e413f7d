//! How often codes are shown that a typed TOTP secret gives.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::lock;

/// In so long...
const SPAN: Duration = Duration::from_secs(60);
/// ...so many are answered: who types needs fewer, and who guesses wants more.
const MOST: usize = 10;

/// When the last previews were made.
#[derive(Debug, Default)]
pub(super) struct Previews(Mutex<VecDeque<Instant>>);

impl Previews {
    /// Count one.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut made = lock(&self.0);
        while made.pop_front_if(|at| now.duration_since(*at) >= SPAN).is_some() {}
        match made.front() {
            Some(first) if made.len() >= MOST => Err(SPAN.saturating_sub(now.duration_since(*first))),
            _ => {
                made.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who can ask without end can look for the secret of a code that was seen.
    #[test]
    fn ten_a_minute_and_then_one_has_to_wait() {
        let (previews, start) = (Previews::default(), Instant::now());
        for second in 0..10 {
            assert_eq!(previews.take(start + Duration::from_secs(second)), Ok(()));
        }
        assert_eq!(previews.take(start + Duration::from_secs(20)), Err(Duration::from_secs(40)));
        assert_eq!(previews.take(start + SPAN), Ok(()));
        assert_eq!(previews.take(start + SPAN), Err(Duration::from_secs(1)));
    }
}
