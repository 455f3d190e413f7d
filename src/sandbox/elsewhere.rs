//! Orders that the customer gave by other ways than this API: on the phone, on the web,
//! yesterday. They may bear any correlation id, also one that a gateway uses.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::brackets::Legs;
use super::clock;
use super::desk::Desk;
use super::orders::{PRODUCTS, SEGMENTS, SIDES, TYPES, VALIDITIES, Wanted};
use super::row::Status;
use super::triggers;
use super::world::Ledger;

/// An order to be put into a customer's book. What is not set is that of a limit order
/// for one share of TCS that waits since now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Elsewhere {
    /// What kind of order it is.
    pub kind: Kind,
    /// Any text; `NA` for none.
    pub correlation_id: String,
    /// Where it stands.
    pub order_status: Status,
    /// `BUY` or `SELL`.
    pub transaction_type: String,
    /// `NSE_EQ` and so on.
    pub exchange_segment: String,
    /// `INTRADAY` and so on.
    pub product_type: String,
    /// `LIMIT` and so on.
    pub order_type: String,
    /// `DAY` or `IOC`.
    pub validity: String,
    /// The instrument's number at the broker.
    pub security_id: String,
    /// The quantity ordered.
    pub quantity: u64,
    /// The limit price.
    pub price: f64,
    /// The trigger price.
    pub trigger_price: f64,
    /// Its age in seconds: how long before now it was made.
    pub made_before_s: u32,
    /// Is it an after-market order?
    pub after_market_order: bool,
}

/// What kind of order it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// In the order book.
    #[default]
    Plain,
    /// In the order book and the list of super orders.
    Super,
    /// In the list of forever orders, and in the order book under its correlation id. `[C]`
    Forever,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self {
            kind: Kind::Plain,
            correlation_id: "NA".to_owned(),
            order_status: Status::Pending,
            transaction_type: "BUY".to_owned(),
            exchange_segment: "NSE_EQ".to_owned(),
            product_type: "INTRADAY".to_owned(),
            order_type: "LIMIT".to_owned(),
            validity: "DAY".to_owned(),
            security_id: "11536".to_owned(),
            quantity: 1,
            price: 3310.5,
            trigger_price: 0.0,
            made_before_s: 0,
            after_market_order: false,
        }
    }
}

/// Why an order was not put into a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No such account.
    #[error("no such account")]
    Account,
    /// A word that the broker does not have.
    #[error("{0} is not a word of the broker's")]
    Word(&'static str),
}

fn word(name: &'static str, said: &str, of: &[&'static str]) -> Result<&'static str, Unfit> {
    of.iter().copied().find(|word| *word == said).ok_or(Unfit::Word(name))
}

impl Elsewhere {
    fn wanted(&self) -> Result<Wanted, Unfit> {
        Ok(Wanted {
            correlation_id: Some(self.correlation_id.clone()),
            side: word("transactionType", &self.transaction_type, &SIDES)?,
            segment: word("exchangeSegment", &self.exchange_segment, &SEGMENTS)?,
            product: word("productType", &self.product_type, &PRODUCTS)?,
            kind: word("orderType", &self.order_type, &TYPES)?,
            validity: word("validity", &self.validity, &VALIDITIES)?,
            security_id: self.security_id.clone(),
            quantity: self.quantity,
            disclosed: 0,
            price: self.price,
            trigger: self.trigger_price,
            after_market: self.after_market_order,
            profit: 0.0,
            stop_loss: 0.0,
        })
    }
}

impl Ledger {
    /// Put it into the book as it says, at once to be seen; its id. Nothing trades and
    /// no position changes for it.
    pub(super) fn put(&mut self, desk: &mut Desk, order: &Elsewhere, now: Timestamp) -> Result<String, Unfit> {
        let wanted = order.wanted()?;
        let made = now.checked_sub(SignedDuration::from_secs(order.made_before_s.into())).unwrap_or(now);
        let mut row = self.row(desk, &wanted, order.quantity, made);
        row.shows_from = made;
        row.transit_until = made;
        row.update_time = clock::order_time(made);
        match order.order_status {
            Status::Rejected => row.reject(),
            Status::Traded => {
                row.filled_qty = row.quantity;
                row.remaining_quantity = 0;
                row.average_traded_price = row.price;
                row.oms_error_description = "TRADE CONFIRMED".to_owned();
            }
            Status::Cancelled => row.remaining_quantity = 0,
            Status::Transit
            | Status::Pending
            | Status::PartTraded
            | Status::Expired
            | Status::Closed
            | Status::Triggered
            | Status::Confirm => {}
        }
        row.order_status = order.order_status;
        match order.kind {
            Kind::Plain => {}
            Kind::Super => {
                row.leg_name = "ENTRY_LEG";
                row.legs = Some(Legs::waiting(order.price * 1.1, order.price * 0.9));
            }
            Kind::Forever => self.forever.push(triggers::Forever::of(&row)),
        }
        let id = row.order_id.clone();
        self.orders.push(row);
        self.alert(self.orders.len() - 1);
        Ok(id)
    }
}
