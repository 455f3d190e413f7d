//! When a leg is looked at: what came of the last look says when the next one is due.

use std::time::Duration;

use tokio::time::Instant;

use super::context::SeenAddress;

/// From a look that told to the next one...
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// ...from one that told nothing...
const UNREPORTED: Duration = Duration::from_secs(20 * 60);
/// ...from one that was doubtful...
const DOUBTFUL: Duration = Duration::from_secs(30);
/// ...and from a change of this host's addresses or routes: at most. Half of each is jitter.
const CHANGED: Duration = Duration::from_secs(10);
/// However often routes change, a leg is not looked at more often for that.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);

/// When a leg is looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When the one that is under way began.
    pub(super) began: Option<Instant>,
    /// When the last one ended.
    last: Option<Instant>,
    /// When the next one is due; none before the first.
    pub(super) next: Option<Instant>,
}

impl Looks {
    pub(super) fn end(&mut self, found: Option<LookResult>, now: Instant, random: u32) {
        self.began = None;
        if let Some(found) = found {
            self.last = Some(now);
            self.next = Some(now + jittered(found.wait(), random));
        }
    }

    /// Addresses or routes of this host changed.
    pub(super) fn hurry(&mut self, now: Instant, random: u32) {
        if let Some((last, next)) = self.last.zip(self.next) {
            let soon = (now + jittered(CHANGED, random)).max(last + AT_MOST_EVERY);
            self.next = Some(next.min(soon));
        }
    }
}

/// Between half of `wait` and all of it.
fn jittered(wait: Duration, random: u32) -> Duration {
    wait / 2 + wait / 2 * (random % 256) / 255
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookResult {
    /// The broker's answer; another address in it was seen twice in a row.
    Reported(SeenAddress),
    /// Another address was seen once, and then nothing was said.
    Doubtful,
    /// There was no answer, or it does not say.
    Unreported,
}

impl LookResult {
    const fn wait(self) -> Duration {
        match self {
            Self::Reported(SeenAddress { detected: Some(_), .. }) => EVERY,
            Self::Reported(SeenAddress { detected: None, .. }) | Self::Unreported => UNREPORTED,
            Self::Doubtful => DOUBTFUL,
        }
    }

    /// What its leg learns of it.
    pub(super) const fn seen(self) -> Option<SeenAddress> {
        match self {
            Self::Reported(seen) => Some(seen),
            Self::Doubtful | Self::Unreported => None,
        }
    }
}
