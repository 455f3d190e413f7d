//! What is known of an order write.

use serde::{Deserialize, Serialize};

/// What became of an order write, as far as anybody can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not a byte of it reached the broker: safe to try again.
    NotSent,
    /// The broker answered that it did not act on it.
    Rejected,
    /// The broker answered that it acted on it.
    Executed,
    /// It left and nothing proves what became of it: look before trying again.
    Unknown,
}

impl Outcome {
    /// The word in headers, logs and the journal. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
            Self::Executed => "executed",
            Self::Unknown => "unknown",
        }
    }
}
