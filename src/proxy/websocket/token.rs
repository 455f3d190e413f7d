//! A socket's token: when another takes its place, and what the broker says of it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::random;
use crate::tokens::TokenCell;

/// See the module.
pub(in super::super) struct TokenWatch(Option<Watched>);

struct Watched {
    cell: Arc<TokenCell>,
    generation: u64,
    refused: Box<dyn Fn() + Send + Sync>,
}

impl TokenWatch {
    /// Of no token: that of what is behind this socket is watched there.
    pub(super) const NONE: Self = Self(None);

    /// Of the token of this generation. `refused` is to be told when the broker seems to refuse it.
    pub(in super::super) fn new(
        cell: Arc<TokenCell>,
        generation: u64,
        refused: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Watched { cell, generation, refused: Box::new(refused) }))
    }

    /// Waits until another token signs, and then for this socket's moment within the spread. Cancel-safe.
    pub(super) async fn replaced(&self, spread: Duration) {
        let Some(Watched { cell, generation, .. }) = &self.0 else { return std::future::pending().await };
        cell.replaced(*generation).await;
        tokio::time::sleep(moment(spread, u32::from_be_bytes(random::bytes().unwrap_or_default()))).await;
    }

    /// Of which generation it is; 0 for none.
    pub(super) fn generation(&self) -> u64 {
        self.0.as_ref().map_or(0, |watched| watched.generation)
    }

    /// Is there another, or is one on its way?
    pub(super) fn is_being_replaced(&self) -> bool {
        self.0.as_ref().is_some_and(|Watched { cell, generation, .. }| {
            cell.has_replaced(*generation) || cell.standing().is_moving()
        })
    }

    /// The broker ended the socket as it does when it refuses the token. That proves nothing, and is asked about.
    pub(super) fn was_refused(&self) {
        if let Some(watched) = &self.0 {
            (watched.refused)();
        }
    }
}

/// A socket's moment within the spread.
fn moment(spread: Duration, random: u32) -> Duration {
    spread.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spread_and_never_past_the_limit() {
        let spread = Duration::from_secs(35);
        let all: Vec<_> =
            (0..=16).map(|n| moment(spread, u32::try_from(n * u64::from(u32::MAX) / 16).unwrap())).collect();
        assert_eq!((all[0], all[16]), (Duration::ZERO, spread));
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_secs(2)));
    }
}
