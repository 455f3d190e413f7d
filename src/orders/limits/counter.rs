//! How many requests left within a span that ends now, for every now.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::MonotonicTime;

/// Up to this many are remembered one by one.
const EXACT: u32 = 100;
/// Larger windows are counted in so many parts. A part counts for as long as any of
/// it may lie in the window, so a window is kept up to one part longer than it is.
const PARTS: u32 = 96;

/// At most `count` in any span of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cap {
    pub(super) count: u32,
    pub(super) per: Duration,
}

/// What left, for as long as it matters. Empty for an account that sends nothing.
#[derive(Debug)]
pub(super) enum Counter {
    /// When each left, oldest first.
    Exact(VecDeque<MonotonicTime>),
    /// How many left in each part, oldest first, and the width of a part.
    Parts(VecDeque<(u64, u32)>, Duration),
}

impl Counter {
    /// For the broker's window.
    pub(super) const fn new(cap: Cap) -> Self {
        if cap.count < EXACT {
            Self::Exact(VecDeque::new())
        } else {
            Self::Parts(VecDeque::new(), Duration::from_micros(cap.per.as_micros() as u64 / PARTS as u64))
        }
    }

    /// Counts a request that left at this time.
    pub(super) fn add(&mut self, at: MonotonicTime) {
        match self {
            Self::Exact(times) => {
                // Nearly always the newest.
                let place = times.iter().rposition(|time| *time <= at).map_or(0, |place| place + 1);
                times.insert(place, at);
            }
            Self::Parts(parts, width) => {
                let span = at.span(*width);
                let place = parts.iter().rposition(|(part, _)| *part <= span);
                match place.and_then(|place| parts.get_mut(place)) {
                    Some((part, count)) if *part == span => *count += 1,
                    _ => parts.insert(place.map_or(0, |place| place + 1), (span, 1)),
                }
            }
        }
    }

    /// One that was added did not leave.
    pub(super) fn remove(&mut self, at: MonotonicTime) {
        match self {
            Self::Exact(times) => {
                if let Some(place) = times.iter().rposition(|time| *time == at) {
                    times.remove(place);
                }
            }
            Self::Parts(parts, width) => {
                let span = at.span(*width);
                if let Some((_, count)) = parts.iter_mut().rfind(|(part, count)| *part == span && *count > 0) {
                    *count -= 1;
                }
            }
        }
    }

    /// Forget what is out of the longest window.
    pub(super) fn forget(&mut self, longest: Duration, now: MonotonicTime) {
        match self {
            Self::Exact(times) => while times.pop_front_if(|time| time.after(longest) <= now).is_some() {},
            Self::Parts(parts, width) => {
                let width = *width;
                let over = |(part, _): &mut (u64, u32)| MonotonicTime::end_of_span(*part, width).after(longest) <= now;
                while parts.pop_front_if(over).is_some() {}
            }
        }
    }

    /// How many are within `per`.
    pub(super) fn within(&self, per: Duration, now: MonotonicTime) -> u64 {
        match self {
            Self::Exact(times) => {
                let within = times.iter().rev().take_while(|time| time.after(per) > now).count();
                u64::try_from(within).unwrap_or(u64::MAX)
            }
            Self::Parts(parts, width) => {
                let within = |(part, _): &&(u64, u32)| MonotonicTime::end_of_span(*part, *width).after(per) > now;
                parts.iter().rev().take_while(within).map(|(_, count)| u64::from(*count)).sum()
            }
        }
    }

    /// When one more may leave, if what is reserved leaves now and so many others leave first as
    /// soon as they may.
    pub(super) fn earliest(&self, cap: Cap, reserved: u32, ahead: u32, now: MonotonicTime) -> MonotonicTime {
        // Of each full count ahead, a window passes.
        let windows = ahead / cap.count.max(1);
        let room = cap.count.saturating_sub(1 + ahead % cap.count.max(1));
        self.fewer_than(room, cap.per, reserved, now).after(cap.per.saturating_mul(windows))
    }

    /// When no more than `room` of those that left, and of those that leave now, are within `per`.
    fn fewer_than(&self, room: u32, per: Duration, reserved: u32, now: MonotonicTime) -> MonotonicTime {
        let mut within: u64 = 0;
        let mut last = now;
        // From the newest: the first that does not fit has to go out of the window.
        let mut fits = |end: MonotonicTime, count: u32| {
            within += u64::from(count);
            let fits = within <= u64::from(room);
            if !fits {
                last = last.max(end.after(per));
            }
            fits
        };
        if !fits(now, reserved) {
            return last;
        }
        match self {
            Self::Exact(times) => {
                times.iter().rev().all(|time| fits(*time, 1));
            }
            Self::Parts(parts, width) => {
                parts.iter().rev().all(|(part, count)| fits(MonotonicTime::end_of_span(*part, *width), *count));
            }
        }
        last
    }
}
