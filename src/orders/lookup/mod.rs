//! What a lost order write can be looked for by, and what the broker's answers say of it.
//!
//! Pure: which paths to ask, and what answers prove. An order is evidence for a placement only if it fits what was
//! asked for, was not known before, and was not made before the write left. "Not found" may mean "not yet", so only
//! what is found settles anything, except that a cancel or change of an order that is over and is not as asked for
//! cannot have been done.
//!
//! - [`search`]: what the answers prove together.
//! - `fit`: does an order fit the terms?
//! - `row`: an order as the broker shows it.
//! - `terms_of`: the terms of a body, the orders of a reply.
//!
//! Sources: `docs/broker.md`, "Orders"; the shapes of replies in `tests/fixtures/dhan/orders`.

mod fit;
mod row;
pub mod search;
mod terms_of;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use http::Method;

use super::broker_clock::SentAt;
use super::terms::Terms;
use crate::broker::dhan::endpoints::BASE;

pub(super) use row::OrderRow;
pub use search::{Bounds, Evidence, FoundOrder, Search};
pub use terms_of::{order_of, orders_of, terms_of};

/// What a write asked for, as far as it can be looked for, and when it left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookup {
    goal: Goal,
    sent: OnceLock<SentAt>,
    own: OnceLock<Box<str>>,
}

/// What is to be found.
#[derive(Clone, Debug, Default, PartialEq)]
enum Goal {
    /// It left none: nothing can be asked.
    #[default]
    None,
    /// An order, or several.
    Placed {
        /// Where such orders are.
        book: OrderBook,
        /// As sent; those of a multi-order are in its terms.
        id: Option<Arc<str>>,
        /// What was asked for. Empty where the journal does not say.
        terms: Arc<[Terms]>,
    },
    /// An order that is to be gone.
    Cancelled {
        /// The broker's id.
        order_id: Box<str>,
        /// Where it is.
        book: OrderBook,
        /// Only this leg of it.
        leg: Option<Box<str>>,
    },
    /// An order that is to be otherwise.
    Changed {
        /// The broker's id.
        order_id: Box<str>,
        /// Where it is.
        book: OrderBook,
        /// What it is to be.
        wanted: Box<Terms>,
    },
}

/// A list of the broker's, and what is sought in it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OrderBook {
    /// Plain orders: one can be asked for.
    Orders,
    /// Plain orders that came of one by slicing: their quantities add up.
    Slices,
    /// Plain orders of one multi-order, under an id each.
    Multi,
    /// The book of super orders.
    Super,
    /// The book of forever orders.
    Forever,
    /// The book of orders for US stocks.
    Global,
    /// The book of conditional alerts.
    Alerts,
}

impl OrderBook {
    /// Where the list is, below the base.
    const fn list(self) -> &'static str {
        match self {
            Self::Orders | Self::Slices | Self::Multi => "/orders",
            Self::Super => "/super/orders",
            Self::Forever => "/forever/orders",
            Self::Global => "/globalstocks/orders",
            Self::Alerts => "/alerts/orders",
        }
    }

    /// Does the list not say under which id an order was placed?
    const fn hides_ids(self) -> bool {
        matches!(self, Self::Forever | Self::Alerts)
    }
}

impl Lookup {
    /// Of a write as it goes to the broker. `path` has no query; `correlation_id` is the body's, where it is known
    /// already.
    pub fn of(method: &Method, path: &str, body: &[u8], correlation_id: Option<&Arc<str>>) -> Self {
        let terms = terms_of(body);
        let named = || terms.first()?.correlation_id.as_deref().map(Arc::from);
        let id = correlation_id.cloned().or_else(named);
        Self::from_terms(method, path, id.as_ref(), &terms)
    }

    /// Of the terms that were read from the body, or that the journal tells. The same as [`Lookup::of`] gives.
    pub fn from_terms(method: &Method, path: &str, correlation_id: Option<&Arc<str>>, terms: &[Terms]) -> Self {
        let Some(below) = path.strip_prefix(BASE) else { return Self::default() };
        let parts: Vec<&str> = below.trim_start_matches('/').split('/').collect();
        let id = correlation_id.filter(|id| !id.trim().is_empty());
        let placed = |book| match id {
            // The id stands here; in terms it is a multi-order's.
            Some(id) => {
                let terms = terms.iter().map(|one| Terms { correlation_id: None, ..one.clone() }).collect();
                Goal::Placed { book, id: Some(Arc::clone(id)), terms }
            }
            None => Goal::None,
        };
        let cancelled = |id: &str, book, leg: Option<&str>| {
            // Cancelling the entry cancels the whole of a super order.
            let leg = leg.filter(|leg| *leg != "ENTRY_LEG").map(Into::into);
            Goal::Cancelled { order_id: id.into(), book, leg }
        };
        let goal = match (method.as_str(), parts.as_slice()) {
            ("POST", ["orders"]) => placed(OrderBook::Orders),
            ("POST", ["orders", "slicing"]) => placed(OrderBook::Slices),
            ("POST", ["super", "orders"]) => placed(OrderBook::Super),
            ("POST", ["forever", "orders"]) => placed(OrderBook::Forever),
            ("POST", ["globalstocks", "orders"]) => placed(OrderBook::Global),
            ("POST", ["alerts", "orders"]) if !terms.is_empty() => {
                Goal::Placed { book: OrderBook::Alerts, id: None, terms: terms.into() }
            }
            // One without an id could not be told from any other order.
            ("POST", ["alerts", "multi", "orders"]) if terms.iter().all(|one| one.correlation_id.is_some()) => {
                if terms.is_empty() {
                    Goal::None
                } else {
                    Goal::Placed { book: OrderBook::Multi, id: None, terms: terms.into() }
                }
            }
            ("DELETE", ["orders", id]) => cancelled(id, OrderBook::Orders, None),
            ("DELETE", ["super", "orders", id, leg]) => cancelled(id, OrderBook::Super, Some(leg)),
            ("DELETE", ["forever", "orders", id]) => cancelled(id, OrderBook::Forever, None),
            ("DELETE", ["globalstocks", "orders", id]) => cancelled(id, OrderBook::Global, None),
            ("DELETE", ["alerts", "orders", id]) => cancelled(id, OrderBook::Alerts, None),
            ("PUT", ["orders", id]) => changed(id, OrderBook::Orders, terms),
            ("PUT", ["super", "orders", id]) => changed(id, OrderBook::Super, terms),
            ("PUT", ["forever", "orders", id]) => changed(id, OrderBook::Forever, terms),
            ("PUT", ["globalstocks", "orders", id]) => changed(id, OrderBook::Global, terms),
            _ => Goal::None,
        };
        Self { goal, sent: OnceLock::new(), own: OnceLock::new() }
    }

    /// The write leaves now. The first time counts: what was refused before made no order.
    pub fn leaves(&self, at: SentAt) {
        let _ = self.sent.set(at);
    }

    /// When it left, if it did.
    pub fn sent(&self) -> Option<SentAt> {
        self.sent.get().copied()
    }

    /// This order is known to be the write's own: it and no other is looked for.
    #[must_use]
    pub fn whose_order_is(self, order_id: &str) -> Self {
        let _ = self.own.set(order_id.into());
        self
    }

    /// What a repeat of a write is looked for by: what the repeat asks for, from when the first left.
    #[must_use]
    pub fn of_repeat(first: Option<&Arc<Self>>, repeat: Self) -> Arc<Self> {
        let Some(first) = first else { return Arc::new(repeat) };
        // A repeat that can be looked for says at least as much as what was kept of the first.
        if repeat.goal == Goal::None || repeat.goal == first.goal {
            return Arc::clone(first);
        }
        if let Some(at) = first.sent() {
            repeat.leaves(at);
        }
        Arc::new(repeat)
    }

    /// Is this order known to be the write's own?
    pub fn is_own(&self, order_id: &str) -> bool {
        self.own.get().is_some_and(|own| **own == *order_id)
    }

    /// Is some order known to be the write's own?
    pub fn is_found(&self) -> bool {
        self.own.get().is_some()
    }

    fn is_part_known(&self) -> bool {
        self.is_found() && !self.is_one_order()
    }

    /// Can anything be asked?
    pub fn leads_somewhere(&self) -> bool {
        self.goal != Goal::None
    }

    /// The paths to ask by GET, the surest first.
    pub fn paths(&self) -> Vec<String> {
        self.lanes().concat()
    }

    /// The paths to ask by GET, in lanes that do not wait for one another: the book of a busy day hangs at times while
    /// one order can be asked for. The surest first.
    pub fn lanes(&self) -> Vec<Vec<String>> {
        let single = match &self.goal {
            Goal::None => return Vec::new(),
            Goal::Placed { .. } => self.ids().filter_map(|id| external(&id)).collect::<Vec<_>>(),
            Goal::Cancelled { order_id, book: book @ (OrderBook::Orders | OrderBook::Alerts), .. }
            | Goal::Changed { order_id, book: book @ (OrderBook::Orders | OrderBook::Alerts), .. } => {
                return vec![vec![format!("{BASE}{}/{order_id}", book.list())]];
            }
            Goal::Cancelled { .. } | Goal::Changed { .. } => Vec::new(),
        };
        let list = match &self.goal {
            Goal::None => "",
            Goal::Placed { book, .. } | Goal::Cancelled { book, .. } | Goal::Changed { book, .. } => book.list(),
        };
        let plain =
            matches!(&self.goal, Goal::Placed { book: OrderBook::Orders | OrderBook::Slices | OrderBook::Multi, .. });
        let mut lanes = Vec::new();
        if plain && !single.is_empty() {
            lanes.push(single);
        }
        lanes.push(vec![format!("{BASE}{list}")]);
        lanes
    }

    /// Does the broker's list of such orders show under which id each was placed? Then a list without an id says that it
    /// was not used.
    pub fn is_listed_by_id(&self) -> bool {
        matches!(&self.goal, Goal::Placed { book, .. } if !book.hides_ids())
    }

    /// Is it one order that is sought, and not slices or several?
    fn is_one_order(&self) -> bool {
        !matches!(&self.goal, Goal::Placed { book: OrderBook::Slices | OrderBook::Multi, .. })
    }

    /// The correlation ids of a placement.
    fn ids(&self) -> impl Iterator<Item = Arc<str>> {
        let (id, terms): (_, &[Terms]) = match &self.goal {
            Goal::Placed { id, terms, .. } => (id.clone(), terms),
            Goal::None | Goal::Cancelled { .. } | Goal::Changed { .. } => (None, &[]),
        };
        let mut ids: Vec<Arc<str>> = id.into_iter().collect();
        for id in terms.iter().filter_map(|one| one.correlation_id.as_deref()) {
            if !ids.iter().any(|other| **other == *id) {
                ids.push(id.into());
            }
        }
        ids.into_iter()
    }
}

fn changed(id: &str, book: OrderBook, terms: &[Terms]) -> Goal {
    let Some(wanted) = terms.first() else { return Goal::None };
    let numbers = [
        &wanted.quantity,
        &wanted.price,
        &wanted.trigger,
        &wanted.disclosed,
        &wanted.target,
        &wanted.stop_loss,
        &wanted.trailing,
    ];
    let says = numbers.into_iter().flatten().any(|number| number.to_f64() != 0.0);
    // Zeros alone are in every order that has no such thing.
    if !says && wanted.order_type.is_none() && wanted.validity.is_none() {
        return Goal::None;
    }
    // An id in a change is mostly the order's own, echoed.
    let wanted = Terms { correlation_id: None, ..wanted.clone() };
    Goal::Changed { order_id: id.into(), book, wanted: wanted.into() }
}

/// The path to ask for an order by its correlation id. The broker takes blanks in an id, and no other characters than
/// these; what else a caller sent is looked for in the book alone.
fn external(id: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b' ');
    id.bytes().all(plain).then(|| format!("{BASE}/orders/external/{}", id.replace(' ', "%20")))
}
