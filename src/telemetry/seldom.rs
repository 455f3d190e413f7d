//! Lines of what may happen many times a second and needs to be told once.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::domain::lock;

/// When a kind of line was written last, and how often there was a reason for one since.
#[derive(Debug)]
pub struct Seldom {
    each: Duration,
    last: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// A line in this time at most.
    pub const fn once_in(each: Duration) -> Self {
        Self { each, last: Mutex::new((None, 0)) }
    }

    /// There is a reason for a line. Is it to be written now? Then how many reasons there were since the last one.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut last = lock(&self.last);
        last.1 += 1;
        if last.0.is_some_and(|at| now.saturating_duration_since(at) < self.each) {
            return None;
        }
        let (_, count) = std::mem::replace(&mut *last, (Some(now), 0));
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_its_time_and_it_tells_how_many_there_would_have_been() {
        let line = Seldom::once_in(Duration::from_secs(60));
        let began = Instant::now();
        let told: Vec<_> = (0..1300).map(|n| line.due_at(began + Duration::from_millis(50) * n)).collect();
        let lines: Vec<_> = told.iter().enumerate().filter_map(|(n, told)| Some((n, (*told)?))).collect();
        assert_eq!(lines, [(0, 1), (1200, 1200)]);
    }
}
