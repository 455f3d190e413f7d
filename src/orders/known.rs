//! Which of the broker's orders are known to be other writes', by customer.
//!
//! An order that a placement was answered with, or that was found for one, belongs to that placement. It is never
//! evidence for another, whatever id both went out under.
//!
//! Not noted are the ids that changes and cancels name: an engine that finds its lost order in the book and cancels it
//! must not take it from the write that made it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use crate::domain::{BootInstant, ClientId, lock};

/// How long a set takes new ids before it becomes the one before: no id is forgotten within a day.
const SPAN: Duration = Duration::from_hours(24);

/// The most ids of one set. The broker takes 7,000 orders a day of a customer; slices and multi-orders make more of one.
const MOST: usize = 32 * 1024;

/// The ids of each customer. At most two sets of `MOST` each.
#[derive(Debug, Default)]
pub struct KnownOrders {
    customers: papaya::HashMap<ClientId, Mutex<Sets>>,
}

/// Ids by their hash: eight bytes each, and two that are taken for one are not to be expected before the sun goes out.
#[derive(Debug, Default)]
struct Sets {
    now: HashSet<u64>,
    before: HashSet<u64>,
    since: Option<BootInstant>,
}

impl Sets {
    fn has(&self, id: u64) -> bool {
        self.now.contains(&id) || self.before.contains(&id)
    }

    fn add(&mut self, id: u64, at: BootInstant) {
        let since = *self.since.get_or_insert(at);
        if self.now.len() >= MOST || at.since(since) >= SPAN {
            self.before = std::mem::take(&mut self.now);
            self.since = Some(at);
        }
        self.now.insert(id);
    }
}

fn number(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl KnownOrders {
    /// These orders are what a placement became. To be called with every order id of an answer that settled one, also
    /// when it says REJECTED.
    pub fn note<'a>(&self, customer: &ClientId, ids: impl IntoIterator<Item = &'a str>) {
        self.note_at(customer, ids, BootInstant::now());
    }

    fn note_at<'a>(&self, customer: &ClientId, ids: impl IntoIterator<Item = &'a str>, now: BootInstant) {
        let mut ids = ids.into_iter().peekable();
        if ids.peek().is_some() {
            self.with(customer, |sets| ids.for_each(|id| sets.add(number(id), now)));
        }
    }

    /// Take these orders for one placement. `false`, and nothing is taken, when one of them is another's already.
    pub fn claim(&self, customer: &ClientId, ids: &[Box<str>]) -> bool {
        let now = BootInstant::now();
        self.with(customer, |sets| {
            let free = !ids.iter().any(|id| sets.has(number(id)));
            if free {
                ids.iter().for_each(|id| sets.add(number(id), now));
            }
            free
        })
    }

    /// Is this order another write's?
    pub fn has(&self, customer: &ClientId, id: &str) -> bool {
        let customers = self.customers.pin();
        customers.get(customer).is_some_and(|sets| lock(sets).has(number(id)))
    }

    fn with<T>(&self, customer: &ClientId, act: impl FnOnce(&mut Sets) -> T) -> T {
        let customers = self.customers.pin();
        let sets = customers.get_or_insert_with(customer.clone(), Mutex::default);
        act(&mut lock(sets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(id: &str) -> ClientId {
        ClientId::parse(id).unwrap()
    }

    #[test]
    fn an_order_belongs_to_one_write_of_one_customer() {
        let known = KnownOrders::default();
        let (one, other) = (customer("1000000001"), customer("1000000002"));
        known.note(&one, ["7", "8"]);
        assert!(known.has(&one, "7") && known.has(&one, "8"));
        assert!(!known.has(&one, "9") && !known.has(&other, "7"));
        assert!(!known.claim(&one, &["9".into(), "8".into()]), "one of them is another's");
        assert!(!known.has(&one, "9"), "and so nothing was taken");
        assert!(known.claim(&one, &["9".into()]) && !known.claim(&one, &["9".into()]));
    }

    #[test]
    fn an_id_is_kept_for_a_day_and_not_for_ever() {
        let (known, one, start) = (KnownOrders::default(), customer("1000000001"), BootInstant::now());
        let at = |hours| start + Duration::from_hours(hours);
        known.note_at(&one, ["early"], at(0));
        known.note_at(&one, ["late"], at(23));
        known.note_at(&one, ["next"], at(25));
        assert!(known.has(&one, "early") && known.has(&one, "late"));
        known.note_at(&one, ["last"], at(50));
        assert!(!known.has(&one, "early") && known.has(&one, "next"));
    }

    /// A loop of slices must not eat the memory of everybody.
    #[test]
    fn what_is_kept_of_a_customer_is_bounded() {
        let (known, one) = (KnownOrders::default(), customer("1000000001"));
        let ids: Vec<String> = (0..MOST * 3).map(|n| n.to_string()).collect();
        known.note(&one, ids.iter().map(String::as_str));
        let kept = ids.iter().filter(|id| known.has(&one, id)).count();
        assert!((MOST..=2 * MOST).contains(&kept), "{kept}");
        assert!(known.has(&one, ids.last().unwrap()));
    }
}
