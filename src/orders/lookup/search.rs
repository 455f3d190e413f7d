//! What the broker's answers about one write prove together.
//!
//! Answers add up: a question after one id shows one order, the book all of them. An order counts once, as it was shown
//! last. What is found has to be the only one that can be it: of two that fit equally none is taken.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::fit::{fits, is_market, same_price, shows_enough};
use super::row::OrderRow;
use super::{Goal, Lookup, OrderBook, external};
use crate::orders::broker_clock::SendWindow;
use crate::orders::terms::{Number, Terms};

impl Lookup {
    /// Begins to listen to answers.
    pub const fn search(&self) -> Search<'_> {
        Search::new(self)
    }
}

/// What answers prove.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// It was carried out.
    Executed(FoundOrder),
    /// Nothing was done. For a placement: the order that the broker took and refused.
    Rejected(Option<FoundOrder>),
    /// Nothing, so far.
    Open,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundOrder {
    /// The reply that was lost, in its usual shape.
    pub body: Value,
    /// The orders that a placement became; none for a change or cancel.
    pub placed: Vec<Box<str>>,
}

/// What keeps an order from being evidence whatever its terms are.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Is it another write's?
    pub known: &'a dyn Fn(&str) -> bool,
    /// When the write left, by the broker's clock.
    pub window: Option<SendWindow>,
}

/// The answers so far.
#[derive(Debug)]
pub struct Search<'a> {
    lookup: &'a Lookup,
    heard: Vec<Heard>,
    book: bool,
}

#[derive(Debug)]
struct Heard {
    row: OrderRow,
    id: Box<str>,
    /// The correlation id that it was asked for by.
    asked: Option<Arc<str>>,
}

impl<'a> Search<'a> {
    pub(super) const fn new(lookup: &'a Lookup) -> Self {
        Self { lookup, heard: Vec::new(), book: false }
    }

    /// Hear an answer to one of the lookup's paths. What is no good answer proves nothing: the broker says 404 also of
    /// what is still on its way to the exchange. Answers whether it was a list.
    pub fn hear(&mut self, path: &str, status: u16, body: &[u8]) -> bool {
        if !(200..300).contains(&status) {
            return false;
        }
        let Some((rows, list)) = OrderRow::all(body) else { return false };
        let asked = self.lookup.ids().find(|id| external(id).as_deref() == Some(path));
        // Only a list shows whether there are several.
        self.book |= list;
        let leg = |row: &OrderRow| row.word("legName").map(Into::<String>::into);
        let new: Vec<Heard> = rows
            .into_iter()
            .filter_map(|row| {
                let id: Box<str> = Box::from(&*row.id()?);
                self.concerns(&row, &id, asked.is_some()).then(|| Heard { row, id, asked: asked.clone() })
            })
            .collect();
        // A label can stand on thousands of orders: each answer is gone through once.
        let shown: HashSet<_> = new.iter().map(|one| (&*one.id, leg(&one.row))).collect();
        self.heard.retain(|old| !shown.contains(&(&*old.id, leg(&old.row))));
        drop(shown);
        self.heard.extend(new);
        list
    }

    fn concerns(&self, row: &OrderRow, id: &str, asked: bool) -> bool {
        match &self.lookup.goal {
            Goal::None => false,
            Goal::Placed { book, .. } => match row.word("correlationId") {
                Some(shown) => self.lookup.ids().any(|id| *id == *shown),
                None => asked || book.hides_ids(),
            },
            Goal::Cancelled { order_id, .. } | Goal::Changed { order_id, .. } => **order_id == *id,
        }
    }

    /// Could the broker show no other order that this write may have become? One order's question shows one of several
    /// that have the id.
    pub const fn is_sure(&self) -> bool {
        self.book
            || !matches!(
                &self.lookup.goal,
                Goal::Placed { book: OrderBook::Orders | OrderBook::Slices | OrderBook::Multi, .. }
            )
    }

    /// What the answers so far prove.
    pub fn finding(&self, bounds: &Bounds<'_>) -> Evidence {
        match &self.lookup.goal {
            Goal::None => Evidence::Open,
            Goal::Placed { book: OrderBook::Slices, id, terms } => self.sliced(id.as_ref(), terms.first(), bounds),
            Goal::Placed { book: OrderBook::Multi, terms, .. } => self.multi(terms, bounds),
            Goal::Placed { book: OrderBook::Alerts, terms, .. } => self.alert(terms, bounds),
            Goal::Placed { book, id, terms } => {
                let rows = self.under(id.as_ref(), terms.first(), *book, bounds);
                match rows.as_slice() {
                    [one] => placed(one.row.reply(), &rows),
                    [] | [_, _, ..] => Evidence::Open,
                }
            }
            Goal::Cancelled { order_id, book, leg } => self.cancelled(order_id, *book, leg.as_deref()),
            Goal::Changed { order_id, book, wanted } => self.changed(order_id, *book, wanted),
        }
    }

    /// The orders that can be a placement's, each once.
    fn under(&self, id: Option<&Arc<str>>, terms: Option<&Terms>, book: OrderBook, bounds: &Bounds<'_>) -> Vec<&Heard> {
        let none = Terms::default();
        let can_be = |heard: &&Heard| {
            let shown = heard.row.word("correlationId");
            let named = match &shown {
                Some(shown) => id.is_some_and(|id| **id == **shown),
                None => id.is_some() && heard.asked.as_ref() == id,
            };
            if shown.is_some() && !named {
                return false;
            }
            // A line of the journal that is older than terms in it leaves only the id and the time.
            let told = terms.unwrap_or(&none);
            let strict = !named || terms.is_none();
            let enough = named || shows_enough(&heard.row, told);
            fits(&heard.row, told, book) && enough && self.is_free(heard, strict, bounds)
        };
        self.own(self.heard.iter().filter(can_be))
    }

    /// Not another write's and not older than this one. `strict`: it has to show that it is as new.
    fn is_free(&self, heard: &Heard, strict: bool, bounds: &Bounds<'_>) -> bool {
        if self.lookup.is_own(&heard.id) {
            return true;
        }
        let created = heard.row.created();
        let is_before = match (&bounds.window, &created) {
            (Some(window), Some(time)) => window.is_before(time) || (strict && !window.holds(time)),
            (None, _) | (_, None) => strict,
        };
        // Where one slice is known to be ours, the others are known with it.
        let is_other = !self.lookup.is_part_known() && (bounds.known)(&heard.id);
        !is_before && !is_other
    }

    /// Each order once, whatever legs it shows; and where this write's order is known, that one alone.
    fn own<'h>(&self, heard: impl Iterator<Item = &'h Heard>) -> Vec<&'h Heard> {
        let mut each: Vec<&Heard> = Vec::new();
        for one in heard {
            if !each.iter().any(|other| other.id == one.id) {
                each.push(one);
            }
        }
        if self.lookup.is_one_order() && each.iter().any(|one| self.lookup.is_own(&one.id)) {
            each.retain(|one| self.lookup.is_own(&one.id));
        }
        each
    }

    /// All slices are there when they add up to what was asked for.
    fn sliced(&self, id: Option<&Arc<str>>, terms: Option<&Terms>, bounds: &Bounds<'_>) -> Evidence {
        let Some(wanted) = terms.and_then(|terms| terms.quantity.as_ref()) else { return Evidence::Open };
        let rows = self.under(id, terms, OrderBook::Slices, bounds);
        let there: f64 = rows.iter().filter_map(|one| one.row.number("quantity")).map(|number| number.to_f64()).sum();
        // More than was asked for are not all ours, and nobody can say which.
        if rows.is_empty() || (there - wanted.to_f64()).abs() > 1e-6 {
            return Evidence::Open;
        }
        placed(rows.iter().map(|one| one.row.reply()).collect(), &rows)
    }

    /// As many orders as were asked for of each kind, under the id of each.
    fn multi(&self, terms: &[Terms], bounds: &Bounds<'_>) -> Evidence {
        let mut all: Vec<&Heard> = Vec::new();
        let mut bodies: Vec<Value> = Vec::new();
        let asks_the_same =
            |one: &Terms, other: &Terms| Terms { sequence: other.sequence.clone(), ..one.clone() } == *other;
        for one in terms {
            let id: Option<Arc<str>> = one.correlation_id.as_deref().map(Arc::from);
            let same: Vec<&Terms> = terms.iter().filter(|other| asks_the_same(one, other)).collect();
            let rows = self.under(id.as_ref(), Some(one), OrderBook::Multi, bounds);
            let nth = same.iter().position(|other| std::ptr::eq(*other, one)).unwrap_or_default();
            let (true, Some(&row)) = (rows.len() == same.len(), rows.get(nth)) else { return Evidence::Open };
            // One that fits two different orders is neither's.
            if all.iter().any(|other| other.id == row.id) {
                return Evidence::Open;
            }
            let mut body = row.row.reply();
            if let (Some(body), Some(sequence)) = (body.as_object_mut(), &one.sequence) {
                body.insert("sequence".to_owned(), Value::from(&**sequence));
            }
            all.push(row);
            bodies.push(body);
        }
        if all.is_empty() { Evidence::Open } else { placed(json!({ "orders": bodies }), &all) }
    }

    /// An alert has no id of the caller's: it is the only one that fits and is as new as the write.
    fn alert(&self, terms: &[Terms], bounds: &Bounds<'_>) -> Evidence {
        let can_be = |heard: &&Heard| {
            let orders = heard.row.inner("orders");
            let fit =
                |(row, terms): (&OrderRow, &Terms)| shows_enough(row, terms) && fits(row, terms, OrderBook::Alerts);
            orders.len() == terms.len() && orders.iter().zip(terms).all(fit) && self.is_free(heard, true, bounds)
        };
        let rows = self.own(self.heard.iter().filter(can_be));
        match rows.as_slice() {
            [one] => placed(one.row.reply(), &rows),
            [] | [_, _, ..] => Evidence::Open,
        }
    }

    /// The row of an order, or of the leg of it that is meant. Legs share their order's id.
    fn part(&self, id: &str, leg: Option<&str>) -> Option<OrderRow> {
        let rows: Vec<&OrderRow> = self.heard.iter().filter(|one| *one.id == *id).map(|one| &one.row).collect();
        let named = |row: &OrderRow, leg: &str| row.word("legName").as_deref() == Some(leg);
        match leg {
            Some(leg) => {
                let inner = rows.iter().flat_map(|row| row.inner("legDetails")).find(|row| named(row, leg));
                inner.or_else(|| rows.iter().find(|row| named(row, leg)).map(|row| (*row).clone()))
            }
            None => match rows.as_slice() {
                [one] => Some((*one).clone()),
                several => {
                    let entry = |row: &&&OrderRow| row.word("legName").is_none() || named(row, "ENTRY_LEG");
                    several.iter().find(entry).map(|row| (*row).clone())
                }
            },
        }
    }

    fn cancelled(&self, id: &str, book: OrderBook, leg: Option<&str>) -> Evidence {
        let rows: Vec<OrderRow> = match book {
            // Each leg of a forever order is a row of its own, and all of them go.
            OrderBook::Forever => self.heard.iter().map(|one| one.row.clone()).collect(),
            OrderBook::Orders
            | OrderBook::Slices
            | OrderBook::Multi
            | OrderBook::Super
            | OrderBook::Global
            | OrderBook::Alerts => self.part(id, leg).into_iter().collect(),
        };
        let all = |is: &dyn Fn(&str) -> bool| {
            !rows.is_empty() && rows.iter().all(|row| row.status().is_some_and(|status| is(&status)))
        };
        if all(&|status| status == "CANCELLED") {
            let name = if book == OrderBook::Alerts { ("alertId", "alertStatus") } else { ("orderId", "orderStatus") };
            let body = json!({ name.0: id, name.1: "CANCELLED" });
            return Evidence::Executed(FoundOrder { body, placed: Vec::new() });
        }
        // Of a super order whose entry is traded the other legs may be gone all the same.
        let whole_bracket = book == OrderBook::Super && leg.is_none();
        let over = |status: &str| is_over(status) || (book == OrderBook::Alerts && status == "TRIGGERED");
        if all(&over) && !whole_bracket { Evidence::Rejected(None) } else { Evidence::Open }
    }

    fn changed(&self, id: &str, book: OrderBook, wanted: &Terms) -> Evidence {
        let leg = wanted.leg.as_deref().filter(|leg| *leg != "ENTRY_LEG" && *leg != "NA");
        let Some(row) = self.part(id, leg).or_else(|| self.only_leg(book)) else { return Evidence::Open };
        let target = self.part(id, Some("TARGET_LEG"));
        let stop_loss = self.part(id, Some("STOP_LOSS_LEG"));
        let shown = ShownOrder { row: &row, target: target.as_ref(), stop_loss: stop_loss.as_ref() };
        let members = shown.members(book, wanted);
        if members.contains(&MemberMatch::Same)
            && !members.iter().any(|one| matches!(one, MemberMatch::Other | MemberMatch::Hidden))
        {
            let status = row.status().unwrap_or("TRANSIT".into());
            let body = json!({ "orderId": id, "orderStatus": status });
            return Evidence::Executed(FoundOrder { body, placed: Vec::new() });
        }
        let over = row.status().is_some_and(|status| is_over(&status) || status == "CANCELLED");
        // It is as it was and will not change any more.
        if over && members.contains(&MemberMatch::Other) { Evidence::Rejected(None) } else { Evidence::Open }
    }

    /// A single forever order has one leg, and nobody agrees on its name.
    fn only_leg(&self, book: OrderBook) -> Option<OrderRow> {
        match self.heard.as_slice() {
            [one] if book == OrderBook::Forever => Some(one.row.clone()),
            [] | [_] | [_, _, ..] => None,
        }
    }
}

/// A placement that the broker has: refused, if every order of it is.
fn placed(body: Value, rows: &[&Heard]) -> Evidence {
    let found = FoundOrder { body, placed: rows.iter().map(|one| one.id.clone()).collect() };
    if rows.iter().all(|one| one.row.is_rejected()) {
        Evidence::Rejected(Some(found))
    } else {
        Evidence::Executed(found)
    }
}

fn is_over(status: &str) -> bool {
    matches!(status, "TRADED" | "REJECTED" | "EXPIRED" | "CLOSED")
}

/// What an order says of one member of a change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MemberMatch {
    /// It shows what was asked for.
    Same,
    /// It shows something else.
    Other,
    /// It does not show it: that proves nothing.
    Hidden,
    /// What was asked for is what an order has that shows nothing.
    Nothing,
}

/// An order, or the leg that is meant, with the legs of its bracket.
struct ShownOrder<'a> {
    row: &'a OrderRow,
    target: Option<&'a OrderRow>,
    stop_loss: Option<&'a OrderRow>,
}

impl ShownOrder<'_> {
    fn members(&self, book: OrderBook, wanted: &Terms) -> Vec<MemberMatch> {
        let segment = self.row.word("exchangeSegment");
        let price = |asked: &Number, shown: &Number| same_price(asked, shown, segment.as_deref());
        let exact = |asked: &Number, shown: &Number| asked == shown;
        let market = is_market(wanted.order_type.as_deref());
        let row = Some(self.row);
        let numbers = [
            number(row, &["quantity"], wanted.quantity.as_ref(), &exact),
            // The broker gives these a price of its own.
            number(row, &["price"], wanted.price.as_ref().filter(|_| !market), &price),
            number(row, &["triggerPrice"], wanted.trigger.as_ref(), &price),
            number(row, &["disclosedQuantity"], wanted.disclosed.as_ref(), &exact),
            number(self.target, &["targetPrice", "price"], wanted.target.as_ref(), &price),
            number(self.stop_loss, &["stopLossPrice", "price"], wanted.stop_loss.as_ref(), &price),
            number(self.stop_loss, &["trailingJump"], wanted.trailing.as_ref(), &price),
        ];
        numbers.into_iter().chain([self.kind(book, wanted), self.validity(wanted)]).collect()
    }

    fn kind(&self, book: OrderBook, wanted: &Terms) -> MemberMatch {
        let Some(asked) = wanted.order_type.as_deref() else { return MemberMatch::Nothing };
        match self.row.word("orderType").as_deref() {
            Some(shown) if shown == asked => MemberMatch::Same,
            // Such an order shows its flag in the place of the type.
            Some("SINGLE" | "OCO") if book == OrderBook::Forever && !is_market(Some(asked)) => MemberMatch::Nothing,
            // A market order may stand as a limit order, and so may one that was never made a market order.
            Some(_) if is_market(Some(asked)) => MemberMatch::Hidden,
            Some(_) => MemberMatch::Other,
            None => MemberMatch::Hidden,
        }
    }

    fn validity(&self, wanted: &Terms) -> MemberMatch {
        match (wanted.validity.as_deref(), self.row.word("validity").as_deref()) {
            (None, _) | (Some("DAY"), None) => MemberMatch::Nothing,
            (Some(asked), Some(shown)) if asked == shown => MemberMatch::Same,
            (Some(_), Some(_)) => MemberMatch::Other,
            (Some(_), None) => MemberMatch::Hidden,
        }
    }
}

fn number(
    row: Option<&OrderRow>,
    names: &[&str],
    asked: Option<&Number>,
    same: &dyn Fn(&Number, &Number) -> bool,
) -> MemberMatch {
    let Some(asked) = asked else { return MemberMatch::Nothing };
    let shown = names.iter().find_map(|name| row?.number(name));
    match shown {
        // Nothing is left of it, and that alone proves no change.
        None if asked.to_f64() == 0.0 => MemberMatch::Nothing,
        Some(shown) if asked.to_f64() == 0.0 && shown.to_f64() == 0.0 => MemberMatch::Nothing,
        None => MemberMatch::Hidden,
        Some(shown) if same(asked, &shown) => MemberMatch::Same,
        Some(_) => MemberMatch::Other,
    }
}
