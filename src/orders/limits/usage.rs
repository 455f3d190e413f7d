//! How much of the broker's limits an account has used: for people, not for the order path.

use super::{Limits, MonotonicTime, RateLimiter};
use crate::broker::dhan::endpoints::RateClass;
use crate::broker::dhan::limits::Window;

/// One of the broker's windows, and what of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The class of requests that the window counts.
    pub class: RateClass,
    /// The broker's window, without our margin.
    pub window: Window,
    /// So many may leave in it with our margin. What takes risk away may use more.
    pub allowed: u32,
    /// So many left within it. Of long windows a hundredth more: they are counted in parts.
    pub used: u64,
    /// So many more are on their way.
    pub reserved: u32,
}

impl Limits {
    /// Every window of every class.
    pub(super) fn usage(&self, now: MonotonicTime) -> Vec<Usage> {
        let classes = [RateClass::Order, RateClass::Data, RateClass::Quote, RateClass::Other];
        let of_class = |class: RateClass| {
            let reserved = self.reserved.of(class);
            let counters = self.counters.of(class);
            let usage = move |(place, rule): (usize, &super::rules::WindowRule)| Usage {
                class,
                window: rule.window,
                allowed: rule.cap.count,
                used: counters.get(place).map_or(0, |counter| counter.within(rule.window.per, now)),
                reserved: reserved.first.saturating_add(reserved.others),
            };
            self.rules.of(class).iter().enumerate().map(usage)
        };
        classes.into_iter().flat_map(of_class).collect()
    }
}

impl RateLimiter {
    /// Every window of every class, as of now. Holds the account's lock for a few microseconds.
    pub fn usage(&self) -> Vec<Usage> {
        self.look(Limits::usage)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::broker::dhan::limits::limits;
    use crate::orders::limits::{Decision, Priority, RateRequest, Rules};

    /// Who sees 250 of 250 used must know that it is so in each window, and that it ends.
    #[test]
    fn what_left_is_used_in_every_window_until_it_is_out_of_it() {
        let mut limits = Limits::new(Arc::new(Rules::new(limits(), 0.05)));
        let request = RateRequest { class: RateClass::Order, priority: Priority::Other, modifies: None, body: None };
        let start = MonotonicTime::START;
        for _ in 0..3 {
            assert!(matches!(limits.try_take(0, &request, start, start), Decision::Go(_)));
        }
        let Decision::Go(held) = limits.try_reserve(0, &request, start, start) else { panic!("there is room") };
        let orders = |limits: &Limits, now| {
            let all = limits.usage(now).into_iter().filter(|usage| usage.class == RateClass::Order);
            all.map(|usage| (usage.window.per.as_secs(), usage.window.count, usage.used)).collect::<Vec<_>>()
        };
        assert_eq!(orders(&limits, start), [(1, 10, 3), (60, 250, 3), (3600, 1000, 3), (86_400, 7000, 3)]);
        assert!(limits.usage(start).iter().all(|usage| usage.reserved == u32::from(usage.class == RateClass::Order)));
        assert!(limits.usage(start).iter().all(|usage| usage.allowed <= usage.window.count && usage.allowed > 0));
        limits.release(&held);
        let later = start.after(Duration::from_secs(65));
        assert_eq!(orders(&limits, later), [(1, 10, 0), (60, 250, 0), (3600, 1000, 3), (86_400, 7000, 3)]);
        assert!(limits.usage(later).iter().all(|usage| usage.reserved == 0));
    }
}
