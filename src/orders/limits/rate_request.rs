//! What wants to leave, and who goes first.

use std::sync::Arc;

use http::Method;

use crate::broker::dhan::endpoints::{self, BASE, Endpoint, RateClass};
use crate::orders::journal::{Entry, Kind, SafeText};

/// Who goes first when there is not room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Ends all risk at once: the exit from every position. It must not stand behind the
    /// hundred cancels of an engine that ran wild.
    Exit,
    /// Takes risk away: a cancel, the kill switch.
    Cancel,
    /// Everything that is neither of these.
    Other,
}

impl Priority {
    /// Only the second's pace holds it back: whether a used-up minute, hour or day is in its way, the
    /// broker decides.
    pub const fn takes_risk_away(self) -> bool {
        match self {
            Self::Exit | Self::Cancel => true,
            Self::Other => false,
        }
    }
}

/// A request that wants to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateRequest {
    /// What it counts against.
    pub class: RateClass,
    /// Whether it goes first.
    pub priority: Priority,
    /// The order that it changes.
    pub modifies: Option<Arc<str>>,
    /// For an option chain, the digest of its body.
    pub body: Option<[u8; 32]>,
}

impl RateRequest {
    /// What a request of this method and path (without its query) is. `body` is asked
    /// for only where it matters.
    pub fn of(
        method: &Method,
        path: &str,
        endpoint: &Endpoint,
        takes_risk_away: bool,
        body: impl FnOnce() -> [u8; 32],
    ) -> Self {
        let below = path.strip_prefix(BASE).unwrap_or(path);
        let is_order = endpoint.rate == RateClass::Order;
        let priority = match (takes_risk_away, below) {
            (true, "/positions") => Priority::Exit,
            (true, _) => Priority::Cancel,
            (false, _) => Priority::Other,
        };
        Self {
            class: endpoint.rate,
            priority,
            // As the journal writes it, and so never long: it is held for a day.
            modifies: (is_order && *method == Method::PUT)
                .then(|| order_in(below))
                .flatten()
                .map(|order| Arc::clone(SafeText::new(order).shared())),
            body: (endpoint.rate == RateClass::OptionChain).then(body),
        }
    }

    /// What a line of the journal says has left: for [`Limits::rebuild`](super::Limits::rebuild).
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        let (method, path) = (entry.method.as_ref()?, entry.path.as_ref()?.as_str());
        let endpoint = endpoints::classify(method, path, None);
        // It has left: who went first does not matter any more.
        (entry.kind == Kind::Intent)
            .then(|| Self::of(method, path, &endpoint, false, || entry.body_sha256.unwrap_or_default()))
    }
}

/// The order that a change is of: of a super order the same for all its legs. An alert is no order.
fn order_in(below: &str) -> Option<&str> {
    let rest = ["/orders/", "/super/orders/", "/forever/orders/"].iter().find_map(|kind| below.strip_prefix(kind))?;
    rest.split('/').next().filter(|id| !id.is_empty())
}
