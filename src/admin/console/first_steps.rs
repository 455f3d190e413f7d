//! The lines of the first steps, and which of them people put off.

use std::sync::atomic::{AtomicBool, AtomicU8};

/// A line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There are addresses to give, or an account brought its own.
    Addresses,
    /// The host takes them as its own.
    Answers,
    /// There is an account.
    Account,
    /// An account has a live token.
    LoggedIn,
    /// Dhan knows an account's two addresses.
    Registered,
    /// An account passed its checks.
    Valid,
    /// A program sent a request that was signed, and the broker answered.
    Connected,
}

/// All of them with their titles, in their order.
pub(super) const STEPS: [(Step, &str); 7] = [
    (Step::Addresses, "Addresses"),
    (Step::Answers, "This machine answers for them"),
    (Step::Account, "First account"),
    (Step::LoggedIn, "Logged in"),
    (Step::Registered, "Registered at Dhan"),
    (Step::Valid, "Validated"),
    (Step::Connected, "Your program connected"),
];

impl Step {
    /// Its place in a set of lines.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// As a form names it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        STEPS.into_iter().map(|(step, _)| step).find(|step| format!("{step:?}") == text)
    }
}

/// What people put off, in this process.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Their bits.
    pub steps: AtomicU8,
    /// All was done once: nobody looks any more.
    pub all_done: AtomicBool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_in_forms_and_told_apart() {
        let mut bits = 0;
        for (step, _) in STEPS {
            assert_eq!(Step::parse(&format!("{step:?}")), Some(step));
            assert_eq!(bits & step.bit(), 0);
            bits |= step.bit();
        }
        assert_eq!(Step::parse("All"), None);
    }
}
