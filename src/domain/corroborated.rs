//! What is told over and over, and once borne out is changed by two reports that agree, not by one.
//!
//! One reply of many may be wrong: of a back end whose clock is off, or out of a cache. Whoever believes each anew lets
//! one such reply change what everybody does.

/// A value that others report.
#[derive(Clone, Copy, Debug)]
pub struct Corroborated<T> {
    believed: Option<Believed<T>>,
    /// The last report, where it contradicts what was borne out.
    doubted: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Believed<T> {
    value: T,
    /// Did two say so?
    borne_out: bool,
}

impl<T> Default for Corroborated<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Corroborated<T> {
    /// Nothing was reported yet.
    pub const fn new() -> Self {
        Self { believed: None, doubted: None }
    }
}

impl<T: Copy> Corroborated<T> {
    /// Take in a report. `both` is what two reports make together, the older one first: `None` where they contradict each
    /// other. `witnessed`: does something else than a report say the same? A report is believed that is witnessed, or
    /// repeats the one before it, or contradicts nothing that was borne out. Is this one?
    pub fn report(&mut self, reported: T, witnessed: bool, both: impl Fn(T, T) -> Option<T>) -> bool {
        let before = self.believed;
        let together = |before: Option<T>| before.and_then(|before| both(before, reported));
        if let Some(value) = together(before.map(|before| before.value)) {
            *self = Self { believed: Some(Believed { value, borne_out: true }), doubted: None };
        } else if let Some(value) = together(self.doubted) {
            *self = Self { believed: Some(Believed { value, borne_out: true }), doubted: None };
        } else if witnessed || before.is_none_or(|before| !before.borne_out) {
            *self = Self { believed: Some(Believed { value: reported, borne_out: witnessed }), doubted: None };
        } else {
            self.doubted = Some(reported);
        }
        self.doubted.is_none()
    }

    /// What is believed.
    pub fn believed(&self) -> Option<T> {
        self.believed.map(|believed| believed.value)
    }

    /// Did two say what is believed, or one and something else?
    pub fn is_borne_out(&self) -> bool {
        self.believed.is_some_and(|believed| believed.borne_out)
    }

    /// The last report, if it contradicts what was borne out and nothing has borne it out yet.
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
    fn before_two_agree_the_newest_counts() {
        let mut value = Corroborated::default();
        assert_eq!(value.believed(), None);
        for told in [10, 50, 10] {
            assert!(value.report(told, false, near));
            assert_eq!((value.believed(), value.doubted()), (Some(told), None));
        }
    }

    #[test]
    fn what_two_told_is_changed_by_two_that_agree() {
        let mut value = Corroborated::default();
        assert!(value.report(51, false, near) && value.report(50, false, near));
        assert!(!value.report(10, false, near));
        assert_eq!((value.believed(), value.doubted()), (Some(50), Some(10)));
        assert!(!value.report(30, false, near), "two that disagree are no two");
        assert!(value.report(50, false, near));
        assert!(!value.report(30, false, near), "what was told before that counts no more");
        assert!(value.report(31, false, near));
        assert_eq!((value.believed(), value.doubted()), (Some(30), None));
    }

    #[test]
    fn a_witness_is_as_good_as_a_second_report() {
        let mut value = Corroborated::default();
        assert!(value.report(10, true, near));
        assert!(!value.report(50, false, near));
        assert!(value.report(30, true, near));
        assert_eq!((value.believed(), value.doubted()), (Some(30), None));
        assert!(!value.report(50, false, near));
    }
}
