//! A write as far as its repeats are concerned: what it is known again by, what tells it from another, and what became
//! of it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::domain::Outcome;
use crate::orders::journal::SafePath;
use crate::orders::lookup::{Lookup, order_of};

/// What a write can be known again by. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WriteKey {
    /// A `correlationId` of the body of a write that creates orders.
    Correlation(Arc<str>),
    /// The header `Idempotency-Key`.
    Idempotency(Arc<str>),
    /// The last change of an order of the broker's, by that order's id: the newest takes the place of the one before
    /// and conflicts with none.
    Change {
        /// The broker's id of the order.
        order: Arc<str>,
        /// Does the body hold a `correlationId`? Without one the same change again is a new one, always.
        echoed: bool,
    },
    /// A write without any id, from one caller: the digest of who sent it and of what it says.
    Twin([u8; 32]),
}

impl WriteKey {
    /// What it is found by: a change with an echoed id and one without are changes of the same order.
    pub(super) fn place(&self) -> Self {
        match self {
            Self::Change { order, .. } => Self::Change { order: Arc::clone(order), echoed: true },
            Self::Correlation(_) | Self::Idempotency(_) | Self::Twin(_) => self.clone(),
        }
    }

    /// Can it be found by this when it is over?
    pub(super) const fn outlives_its_end(&self) -> bool {
        !matches!(self, Self::Twin(_))
    }

    /// Is it a name that its caller chose for this write and no other?
    pub(super) const fn is_id(&self) -> bool {
        matches!(self, Self::Correlation(_) | Self::Idempotency(_))
    }
}

/// What a body says, for telling it from another under the same id.
#[derive(Clone, Copy, Debug)]
pub enum BodyDigest {
    /// SHA-256 of its values (`body`).
    Values([u8; 32]),
    /// SHA-256 of its bytes as they left: of a write in the journal of an older version.
    Bytes([u8; 32]),
}

/// What a write is.
#[derive(Clone, Debug)]
pub struct Write {
    /// The method of the request.
    pub method: Method,
    /// Where; without the query, as the journal writes it.
    pub path: SafePath,
    /// What its body and query say, by value.
    pub values: BodyDigest,
    /// SHA-256 of its body as it goes to the broker.
    pub body_sha256: [u8; 32],
}

impl PartialEq for Write {
    fn eq(&self, other: &Self) -> bool {
        let same = match (self.values, other.values) {
            (BodyDigest::Values(one), BodyDigest::Values(two)) => one == two,
            // Nobody knows the values of the older one.
            (BodyDigest::Bytes(_), _) | (_, BodyDigest::Bytes(_)) => self.body_sha256 == other.body_sha256,
        };
        same && self.method == other.method && self.path == other.path
    }
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct WriteResult {
    /// What became of the write, in one word.
    pub outcome: Outcome,
    /// The status of the reply that the caller got, if there was one of the broker's.
    pub status: u16,
    /// The reply's media type.
    pub content_type: Option<Cow<'static, str>>,
    /// The reply's body. Empty where only the journal knows of the write.
    pub body: Bytes,
    /// The broker's id of the order, if known and not in the body.
    pub order_id: Option<Box<str>>,
    /// By what the broker can be asked about it.
    pub correlation_id: Option<Arc<str>>,
    /// Was the outcome found by asking?
    pub recovered: bool,
    /// How to ask the broker about it, where it may have to be asked.
    pub lookup: Option<Arc<Lookup>>,
}

impl WriteResult {
    /// The broker's id of the order, the first where there are several.
    pub fn order(&self) -> Option<Box<str>> {
        self.order_id.clone().or_else(|| order_of(&self.body))
    }

    /// Nothing is known but the word.
    pub const fn bare(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: 0,
            content_type: None,
            body: Bytes::new(),
            order_id: None,
            correlation_id: None,
            recovered: false,
            lookup: None,
        }
    }
}
