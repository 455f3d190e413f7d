//! What is told over and over, and is believed when it was told twice.
//!
//! One reply of many may be wrong: of a back end whose clock is off, or out of a cache. Whoever believes each anew lets
//! one such reply change what everybody does.

/// A value that only two reports which agree can change.
#[derive(Clone, Copy, Debug)]
pub struct Corroborated<T> {
    believed: Option<T>,
    /// Told once, and against what is believed.
    doubted: Option<T>,
}

impl<T> Default for Corroborated<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Corroborated<T> {
    /// Nothing was told yet.
    pub const fn new() -> Self {
        Self { believed: None, doubted: None }
    }
}

impl<T: Copy> Corroborated<T> {
    /// Take in a report. `both` is what two reports make together, the older one first: `None` where they cannot both be
    /// right. Is this report's value believed from here on?
    pub fn report(&mut self, told: T, both: impl Fn(T, T) -> Option<T>) -> bool {
        let agreed = [self.believed, self.doubted].into_iter().flatten().find_map(|before| both(before, told));
        match agreed {
            Some(value) => self.believe(value),
            None => self.doubted = Some(told),
        }
        agreed.is_some()
    }

    /// Believe this, whatever was told.
    pub fn believe(&mut self, value: T) {
        *self = Self { believed: Some(value), doubted: None };
    }

    /// What is believed.
    pub const fn believed(&self) -> Option<T> {
        self.believed
    }

    /// The last report, if it was one that disagreed.
    pub const fn doubted(&self) -> Option<T> {
        self.doubted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: i32, other: i32) -> Option<i32> {
        (one.abs_diff(other) <= 1).then_some(one.min(other))
    }

    #[test]
    fn one_report_changes_nothing_and_two_that_agree_do() {
        let mut value = Corroborated::default();
        assert!(!value.report(10, near));
        assert_eq!((value.believed(), value.doubted()), (None, Some(10)));
        assert!(!value.report(50, near), "two that disagree are no two");
        assert!(value.report(51, near));
        assert_eq!((value.believed(), value.doubted()), (Some(50), None));

        assert!(!value.report(10, near));
        assert!(value.report(50, near), "what is believed is borne out");
        assert!(!value.report(10, near), "and what was told before counts no more");
        assert_eq!((value.believed(), value.doubted()), (Some(50), Some(10)));
        value.believe(7);
        assert_eq!((value.believed(), value.doubted()), (Some(7), None));
    }
}
