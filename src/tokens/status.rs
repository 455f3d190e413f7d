//! What people and callers are told of a token: where it stands, and why there is none.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::lifecycle::{State, Trouble, Why};

/// Where an account's token stands, as its keeper last said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenStatus {
    /// `None` until the keeper has looked for the first time.
    pub state: Option<State>,
    /// What a person must mend, or what last went wrong.
    pub trouble: Option<Trouble>,
    /// The newest generation whose refusal on the data path this takes account of.
    pub refusals_seen: u64,
    /// The generation that signs.
    pub signing: Option<u64>,
    /// The broker's clock minus the steady one, as last measured.
    pub skew: SignedDuration,
}

impl TokenStatus {
    /// The word in the API.
    pub fn word(&self) -> &'static str {
        self.state.as_ref().map_or("absent", State::as_str)
    }

    /// Is a login under way, or about to be before `by` for which nothing is wanted but its code?
    pub(super) fn is_moving_before(&self, by: Timestamp) -> bool {
        let wants_code = matches!(&self.state, Some(State::Waiting { until, why: Why::NextCode }) if *until < by);
        wants_code || self.is_moving()
    }

    /// Is a login under way or about to be?
    pub fn is_moving(&self) -> bool {
        match &self.state {
            None | Some(State::Minting | State::Refreshing) => true,
            Some(State::Absent | State::Live | State::Waiting { .. } | State::NeedsPerson { .. }) => false,
        }
    }
}

/// Why there is no token to sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// A word for programs.
    pub code: String,
    /// One sentence that says what happened.
    pub summary: String,
    /// What to do. `{name}` stands for the account.
    pub action: String,
    /// When asking again may help, if anything is known of it.
    pub retry_after: Option<Duration>,
}
