//! The row of an order: what it holds, and how it shows at a moment.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::ClientId;

use super::brackets::Legs;
use super::clock;
use super::data;
use super::habits::Habits;

/// Where the broker shows nothing it shows these, whatever its documents say.
pub(super) const NOT_AVAILABLE: &str = "NA";
pub(super) const NO_ID: &str = "0";
pub(super) const NO_DATE: &str = "0001-01-01";
pub(super) const NO_TIME: &str = "0001-01-01 00:00:00";

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Taken by the broker, not yet by the exchange.
    Transit,
    /// It waits at the exchange.
    Pending,
    /// Refused by the broker's risk checks or by the exchange.
    Rejected,
    /// Cancelled before it traded whole.
    Cancelled,
    /// Traded in part.
    PartTraded,
    /// All of its quantity has traded.
    Traded,
    /// Its day is over.
    Expired,
    /// A super order of which every leg is over.
    Closed,
    /// A super order one of whose legs is in the market.
    Triggered,
    /// A forever order that waits for its price.
    Confirm,
}

/// An order object, with all fields that the broker's has, in its order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    pub(super) dhan_client_id: ClientId,
    pub(super) order_id: String,
    pub(super) exchange_order_id: String,
    pub(super) correlation_id: String,
    pub(super) order_status: Status,
    pub(super) transaction_type: &'static str,
    pub(super) exchange_segment: &'static str,
    pub(super) product_type: &'static str,
    pub(super) order_type: &'static str,
    pub(super) validity: &'static str,
    pub(super) trading_symbol: String,
    pub(super) security_id: String,
    pub(super) quantity: u64,
    pub(super) disclosed_quantity: u64,
    #[serde(serialize_with = "single")]
    pub(super) price: f64,
    #[serde(serialize_with = "single")]
    pub(super) trigger_price: f64,
    pub(super) after_market_order: bool,
    pub(super) bo_profit_value: f64,
    pub(super) bo_stop_loss_value: f64,
    pub(super) leg_name: &'static str,
    pub(super) create_time: String,
    pub(super) update_time: String,
    pub(super) exchange_time: String,
    pub(super) drv_expiry_date: &'static str,
    pub(super) drv_option_type: &'static str,
    pub(super) drv_strike_price: f64,
    pub(super) oms_error_code: &'static str,
    pub(super) oms_error_description: String,
    pub(super) algo_id: &'static str,
    pub(super) remaining_quantity: u64,
    #[serde(serialize_with = "single")]
    pub(super) average_traded_price: f64,
    pub(super) filled_qty: u64,
    /// From when on anybody sees it.
    #[serde(skip)]
    pub(super) shows_from: Timestamp,
    /// Until when it is in TRANSIT for those who see it.
    #[serde(skip)]
    pub(super) transit_until: Timestamp,
    /// The other legs, if it is a super order's entry.
    #[serde(skip)]
    pub(super) legs: Option<Legs>,
}

/// A price as the broker holds it, in single precision.
pub(super) fn as_single(price: f64) -> f64 {
    (price as f32).to_string().parse().unwrap_or(price)
}

/// A price as sums of such numbers come out: some units in the last place off.
fn noisy(price: f64) -> f64 {
    let single = price as f32;
    if single > 0.0 { as_single(f64::from(f32::from_bits(single.to_bits() + 3))) } else { price }
}

pub(super) fn single<S: Serializer>(price: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(as_single(*price))
}

/// The limit that a market order gets: 3 % worse than the last price, to the tick. [C]
fn protected(order: &Order) -> f64 {
    let worse = if order.transaction_type == "BUY" { 1.03 } else { 0.97 };
    (data::last_price(&order.security_id) * worse * 20.0).round() / 20.0
}

impl Order {
    /// The order as it shows at a moment; none while it does not.
    pub(super) fn shown(&self, habits: &Habits, now: Timestamp) -> Option<Cow<'_, Self>> {
        if now < self.shows_from {
            return None;
        }
        let in_transit = self.in_transit(now);
        if !in_transit && !habits.price_noise && !habits.market_as_limit {
            return Some(Cow::Borrowed(self));
        }
        let mut row = self.clone();
        if in_transit {
            row.order_status = Status::Transit;
            row.exchange_order_id = NO_ID.to_owned();
            row.exchange_time = NO_TIME.to_owned();
            row.oms_error_description.clear();
            row.average_traded_price = 0.0;
            row.remaining_quantity = row.quantity;
            row.filled_qty = 0;
        }
        if habits.market_as_limit && row.order_type == "MARKET" {
            row.price = protected(&row);
            row.order_type = "LIMIT";
        }
        if habits.price_noise {
            row.price = noisy(row.price);
            row.trigger_price = noisy(row.trigger_price);
        }
        Some(Cow::Owned(row))
    }

    /// Has it not reached the exchange yet, for all that anybody sees?
    pub(super) fn in_transit(&self, now: Timestamp) -> bool {
        now < self.transit_until && self.order_status != Status::Cancelled
    }

    /// It was changed or cancelled, which moves `createTime` too.
    pub(super) fn touched(&mut self, now: Timestamp) {
        self.update_time = clock::order_time(now);
        self.create_time.clone_from(&self.update_time);
    }

    /// The broker's risk checks refuse it.
    pub(super) fn reject(&mut self) {
        let id = &self.order_id;
        let reason = format!("RMS:{id}:You have insufficient funds. Please add Rs.23.70 to trade.");
        self.oms_error_description = reason;
        self.order_status = Status::Rejected;
        self.exchange_order_id = NO_ID.to_owned();
        self.exchange_time = NO_TIME.to_owned();
    }
}
