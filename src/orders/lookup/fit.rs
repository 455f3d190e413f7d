//! Does an order that the broker shows fit what was asked for?
//!
//! What is not shown does not exclude, and what the broker changes itself does not: a market order stands as a limit
//! order with the broker's price, a forever order shows `SINGLE` or `OCO` for its type.

use super::OrderBook;
use super::row::OrderRow;
use crate::orders::terms::{Number, Terms};

/// Does the order fit all terms but, for a slice, its quantity?
pub(super) fn fits(row: &OrderRow, terms: &Terms, book: OrderBook) -> bool {
    let same = |name: &str, asked: &Option<Box<str>>| match (row.word(name), asked) {
        (Some(shown), Some(asked)) => shown.trim().eq_ignore_ascii_case(asked.trim()),
        (None, _) | (_, None) => true,
    };
    // The legs of a bracket are orders of their own, and never what was placed.
    let leg = matches!(row.word("legName").as_deref(), Some("TARGET_LEG" | "STOP_LOSS_LEG"));
    if leg && book != OrderBook::Forever {
        return false;
    }
    same("transactionType", &terms.side)
        && same("exchangeSegment", &terms.segment)
        && same("securityId", &terms.security)
        && same("productType", &terms.product)
        && quantity(row, terms, book)
        && kind(row, terms, book)
        && prices(row, terms, book)
}

fn quantity(row: &OrderRow, terms: &Terms, book: OrderBook) -> bool {
    match (row.number("quantity"), &terms.quantity) {
        (Some(shown), Some(asked)) if book == OrderBook::Slices => {
            shown.to_f64() > 0.0 && shown.to_f64() <= asked.to_f64()
        }
        (Some(shown), Some(asked)) => shown == *asked,
        (None, _) | (_, None) => true,
    }
}

/// Is it an order that the broker gives a price of its own?
pub(super) fn is_market(kind: Option<&str>) -> bool {
    matches!(kind, Some("MARKET" | "STOP_LOSS_MARKET"))
}

fn kind(row: &OrderRow, terms: &Terms, book: OrderBook) -> bool {
    let Some(shown) = row.word("orderType") else { return true };
    if matches!(&*shown, "SINGLE" | "OCO") {
        // Only a forever order shows its flag there.
        return book == OrderBook::Forever && terms.flag.as_deref().is_none_or(|asked| asked == shown);
    }
    match terms.order_type.as_deref() {
        None => true,
        asked if is_market(asked) => true,
        // One that was triggered is a limit order at the exchange; its trigger still has to fit.
        Some("STOP_LOSS") => matches!(&*shown, "STOP_LOSS" | "LIMIT"),
        Some(asked) => asked == shown,
    }
}

fn prices(row: &OrderRow, terms: &Terms, book: OrderBook) -> bool {
    let same = |row: &OrderRow, name: &str, asked: Option<&Number>| match (row.number(name), asked) {
        (Some(shown), Some(asked)) => same_price(asked, &shown, terms.segment.as_deref()),
        (Some(shown), None) => shown.to_f64() == 0.0,
        (None, _) => true,
    };
    let price =
        is_market(terms.order_type.as_deref()) || terms.price.is_none() || same(row, "price", terms.price.as_ref());
    // What asks for no trigger has none; of what asks for nothing at all nobody can say.
    let trigger = *terms == Terms::default() || same(row, "triggerPrice", terms.trigger.as_ref());
    if book != OrderBook::Super {
        return price && trigger;
    }
    let legs = row.inner("legDetails");
    let leg = |name: &str, asked: Option<&Number>| {
        let leg = legs.iter().find(|leg| leg.word("legName").as_deref() == Some(name));
        leg.is_none_or(|leg| asked.is_none_or(|asked| same(leg, "price", Some(asked))))
    };
    // A stop loss that trails has moved.
    let trails = terms.trailing.as_ref().is_some_and(|jump| jump.to_f64() != 0.0);
    price
        && trigger
        && leg("TARGET_LEG", terms.target.as_ref())
        && (trails || leg("STOP_LOSS_LEG", terms.stop_loss.as_ref()))
}

/// Does the order show enough for a match to mean something where it shows no id?
pub(super) fn shows_enough(row: &OrderRow, terms: &Terms) -> bool {
    let shown = ["transactionType", "securityId", "quantity"].iter().all(|name| row.word(name).is_some());
    let asked = terms.side.is_some() && terms.security.is_some() && terms.quantity.is_some();
    let price = is_market(terms.order_type.as_deref()) || (terms.price.is_some() && row.word("price").is_some());
    shown && asked && price
}

/// Half of the smallest step of a price: a quarter of a paisa for currencies, a paisa for all else.
const HALF_TICK: (f64, f64) = (0.001_25, 0.005);

/// Are these one price? The broker keeps prices in single precision and shows the noise (0.94999695 for 0.95), callers
/// send noise of their own (247.8000030517578 for 247.8): equal are two that are one number in single precision, or
/// that are nearer than half of the smallest step that a price can have.
pub(super) fn same_price(asked: &Number, shown: &Number, segment: Option<&str>) -> bool {
    if asked == shown {
        return true;
    }
    let (asked, shown) = (asked.to_f64(), shown.to_f64());
    // Global stocks have no segment of ours, and finer steps.
    let half = match segment {
        Some(name) if !name.to_ascii_uppercase().contains("CURRENCY") => HALF_TICK.1,
        Some(_) | None => HALF_TICK.0,
    };
    // A price and none are never the same.
    (asked == 0.0) == (shown == 0.0) && (single(asked) == single(shown) || (asked - shown).abs() < half)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to single precision is what the broker does")]
fn single(number: f64) -> f32 {
    number as f32
}
