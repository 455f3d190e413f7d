//! What happens, for whoever watches (`/v1/events`): tokens, legs, orders, validations.
//!
//! Bounded: who reads too slowly loses the oldest and is told how many. Nobody who
//! tells waits. Holds no secret: only what the API shows of the same things.

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::domain::AccountName;

/// How many are kept for a slow reader.
const KEPT: usize = 4096;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A token's state.
    Token,
    /// A leg's state.
    Leg,
    /// What became of an order write.
    Order,
    /// What a validation found.
    Validation,
}

impl Subject {
    /// The word in the API. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Leg => "leg",
            Self::Order => "order",
            Self::Validation => "validation",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// The account that it happened to.
    pub account: AccountName,
    /// The members that the subject has, named as in the API.
    pub data: Value,
}

/// Where events are told and heard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Events {
    /// Tell. `data` is made only if somebody listens.
    pub fn tell(&self, subject: Subject, account: &AccountName, data: impl FnOnce() -> Value) {
        if self.0.receiver_count() > 0 {
            let event = Event { at: Timestamp::now(), subject, account: account.clone(), data: data() };
            let _ = self.0.send(event);
        }
    }

    /// Everything from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
