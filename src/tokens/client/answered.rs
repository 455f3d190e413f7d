//! What came of a call.

use jiff::SignedDuration;

use crate::domain::Role;
use crate::tokens::lifecycle::{AttemptOutcome, Refusal};

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered<T> {
    /// What was asked for.
    Good(T),
    /// The broker answered no, or nothing that can be read.
    Refused(Refusal),
    /// It was sent and no answer came: it may have happened. Why, for people.
    Unknown(String),
    /// Proven: not a byte was sent. Why, for people.
    NotSent(String),
}

impl<T> Answered<T> {
    /// As the life cycle takes it.
    pub fn outcome(self, good: impl FnOnce(T) -> AttemptOutcome) -> AttemptOutcome {
        match self {
            Self::Good(got) => good(got),
            Self::Refused(refusal) => AttemptOutcome::Refused(refusal),
            Self::Unknown(_) => AttemptOutcome::Unknown,
            Self::NotSent(_) => AttemptOutcome::NotSent,
        }
    }

    /// What was asked for, else one sentence that says why not.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub fn into_result(self) -> Result<T, String> {
        match self {
            Self::Good(got) => Ok(got),
            Self::Refused(refusal) => Err(refusal.trouble.summary.into_owned()),
            Self::Unknown(why) => Err(format!("the broker did not answer: {why}")),
            Self::NotSent(why) => Err(format!("the broker could not be asked: {why}")),
        }
    }
}

/// What came of a call, and what its making showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called<T> {
    /// What came of it.
    pub answered: T,
    /// How far the broker's clock is still ahead of ours, which the answer has corrected (`domain::steady`): the rounding
    /// of its date. `None` where it had no date that tells.
    pub skew: Option<SignedDuration>,
    /// The leg that it went by, or was last tried by.
    pub leg: Option<Role>,
}
