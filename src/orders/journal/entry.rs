//! What one line says.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::note::Note;
use super::redact::{SafePath, SafeText};
use crate::domain::{AccountName, Authority, Outcome, Role, SourceAddr};
use crate::orders::terms::Terms;

/// Which kind of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An order write is about to leave.
    Intent,
    /// What became of one.
    Outcome,
    /// What is neither, such as a repair or a repeat.
    Note,
}

impl Kind {
    /// The word in the journal. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Note => "note",
        }
    }
}

/// What one line says, apart from its place in the chain. Cheap to clone. Typed, so
/// that nothing gets in by accident: there is no field for a header or a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When. Kept to the microsecond.
    pub at: Timestamp,
    /// Which kind of line.
    pub kind: Kind,
    /// The gateway's id of the request.
    pub request_id: Option<SafeText>,
    /// The account whose order it is.
    pub account: Option<AccountName>,
    /// Which leg it takes.
    pub leg: Option<Role>,
    /// The source address as the kernel reports it.
    pub source: Option<SourceAddr>,
    /// The broker's host and port.
    pub target: Option<Authority>,
    /// The request's method.
    pub method: Option<http::Method>,
    /// The request's path, without its query.
    pub path: Option<SafePath>,
    /// The correlation id, the caller's or ours.
    pub correlation_id: Option<SafeText>,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<SafeText>,
    /// The broker's order id. Several with commas between them.
    pub order_id: Option<SafeText>,
    /// What a placement or change asks for: one for one order, several for a multi-order.
    pub terms: Option<Arc<[Terms]>>,
    /// SHA-256 of the body as it leaves.
    pub body_sha256: Option<[u8; 32]>,
    /// SHA-256 of the body by value: the same, however it is spelt.
    pub write_sha256: Option<[u8; 32]>,
    /// Which token signs it.
    pub token_generation: Option<u64>,
    /// The status of the broker's reply.
    pub status: Option<u16>,
    /// The code in the broker's reply.
    pub broker_code: Option<SafeText>,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// Was the outcome found by asking afterwards?
    pub recovered: Option<bool>,
    /// From the first byte sent to the reply.
    pub upstream_us: Option<u64>,
    /// From the caller's request to its reply.
    pub total_us: Option<u64>,
    /// What a note says.
    pub note: Option<Note>,
}

impl Entry {
    /// A line that says nothing but its kind yet.
    pub const fn new(kind: Kind, at: Timestamp) -> Self {
        Self {
            at,
            kind,
            request_id: None,
            account: None,
            leg: None,
            source: None,
            target: None,
            method: None,
            path: None,
            correlation_id: None,
            idempotency_key: None,
            order_id: None,
            terms: None,
            body_sha256: None,
            write_sha256: None,
            token_generation: None,
            status: None,
            broker_code: None,
            outcome: None,
            recovered: None,
            upstream_us: None,
            total_us: None,
            note: None,
        }
    }

    /// A note.
    pub fn note(note: Note, at: Timestamp) -> Self {
        Self { note: Some(note), ..Self::new(Kind::Note, at) }
    }

    /// The outcome line of this intent: all that the intent says, and what became of it.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome, at: Timestamp) -> Self {
        Self { at, kind: Kind::Outcome, outcome: Some(outcome), ..self.clone() }
    }

    /// What it asks for. Empty where there are no terms, and where a line before them was written.
    pub fn terms(&self) -> &[Terms] {
        self.terms.as_deref().unwrap_or_default()
    }

    /// The broker's order ids.
    pub fn order_ids(&self) -> impl Iterator<Item = &str> {
        self.order_id.iter().flat_map(|ids| ids.as_str().split(','))
    }
}
