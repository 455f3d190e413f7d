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

/// Why a request has no reply, and what that proves of it. Everything that sends speaks in these two words; `E` is what
/// went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer<E> {
    /// Proven: not a byte of it was sent, so it may go another way.
    NotSent(E),
    /// It may have been sent, in part or whole. Nobody here knows what became of it.
    Unknown(E),
}

impl<E> NoAnswer<E> {
    /// The same kind of failure, with its cause put in other terms.
    pub fn map<F>(self, convert: impl FnOnce(E) -> F) -> NoAnswer<F> {
        match self {
            Self::NotSent(cause) => NoAnswer::NotSent(convert(cause)),
            Self::Unknown(cause) => NoAnswer::Unknown(convert(cause)),
        }
    }
}
