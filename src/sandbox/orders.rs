//! Plain orders and their trades: place, slice, change, cancel, read.
//!
//! A limit order waits until it is cancelled or made a market order; a market
//! order trades at once and whole.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::ClientId;

use super::alert::{News, order_alert};
use super::api::Call;
use super::clock;
use super::data;
use super::desk::{Desk, Ids};
use super::fields::Fields;
use super::habits::External;
use super::reply::{self, Answer, Reply};
use super::row::{NO_DATE, NO_ID, NO_TIME, NOT_AVAILABLE, Order, Status};
use super::world::{Event, Ledger, World};

pub(super) const SIDES: [&str; 2] = ["BUY", "SELL"];
pub(super) const SEGMENTS: [&str; 7] =
    ["NSE_EQ", "NSE_FNO", "NSE_CURRENCY", "BSE_EQ", "BSE_FNO", "BSE_CURRENCY", "MCX_COMM"];
pub(super) const PRODUCTS: [&str; 6] = ["CNC", "INTRADAY", "MARGIN", "MTF", "CO", "BO"];
pub(super) const TYPES: [&str; 4] = ["LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_MARKET"];
pub(super) const VALIDITIES: [&str; 2] = ["DAY", "IOC"];
/// What an exchange takes as one order; slicing splits above it.
const FREEZE_QUANTITY: u64 = 1_800;

/// A trade object.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trade {
    dhan_client_id: ClientId,
    order_id: String,
    exchange_order_id: String,
    exchange_trade_id: String,
    transaction_type: &'static str,
    exchange_segment: &'static str,
    product_type: &'static str,
    order_type: &'static str,
    trading_symbol: String,
    custom_symbol: Option<String>,
    security_id: String,
    traded_quantity: u64,
    traded_price: f64,
    create_time: String,
    update_time: String,
    exchange_time: String,
    drv_expiry_date: Option<String>,
    drv_option_type: Option<String>,
    drv_strike_price: f64,
}

/// What was asked for, checked.
pub(super) struct Wanted {
    pub(super) correlation_id: Option<String>,
    pub(super) side: &'static str,
    pub(super) segment: &'static str,
    pub(super) product: &'static str,
    pub(super) kind: &'static str,
    pub(super) validity: &'static str,
    pub(super) security_id: String,
    pub(super) quantity: u64,
    pub(super) disclosed: u64,
    pub(super) price: f64,
    pub(super) trigger: f64,
    pub(super) after_market: bool,
    pub(super) profit: f64,
    pub(super) stop_loss: f64,
}

impl Wanted {
    /// # Errors
    /// DH-905 for what is missing or wrong.
    pub(super) fn read(fields: &Fields) -> Result<Self, Reply> {
        let kind = fields.required_choice("orderType", &TYPES)?;
        let price = match kind {
            "LIMIT" | "STOP_LOSS" => fields.required_price("price")?,
            _ => fields.number("price")?.unwrap_or(0.0),
        };
        let trigger = match kind {
            "STOP_LOSS" | "STOP_LOSS_MARKET" => fields.required_price("triggerPrice")?,
            _ => fields.number("triggerPrice")?.unwrap_or(0.0),
        };
        Ok(Self {
            correlation_id: fields.correlation_id()?,
            side: fields.required_choice("transactionType", &SIDES)?,
            segment: fields.required_choice("exchangeSegment", &SEGMENTS)?,
            product: fields.required_choice("productType", &PRODUCTS)?,
            kind,
            // Super orders have none, and the broker fills in the day.
            validity: fields.choice("validity", &VALIDITIES)?.unwrap_or("DAY"),
            security_id: fields.required_text("securityId")?,
            quantity: fields.required_whole("quantity")?,
            disclosed: fields.whole("disclosedQuantity")?.unwrap_or(0),
            price,
            trigger,
            after_market: fields.flag("afterMarketOrder")?,
            profit: fields.number("boProfitValue")?.unwrap_or(0.0),
            stop_loss: fields.number("boStopLossValue")?.unwrap_or(0.0),
        })
    }

    /// As [`Wanted::read`] for a plain order, which must say its validity.
    pub(super) fn read_plain(fields: &Fields) -> Result<Self, Reply> {
        fields.required_choice("validity", &VALIDITIES)?;
        Self::read(fields)
    }
}

impl Ledger {
    /// Put an order in the book, trade it if it is a market order, tell the
    /// WebSockets. The index of the order.
    pub(super) fn enter(&mut self, desk: &mut Desk, wanted: &Wanted, quantity: u64, now: Timestamp) -> usize {
        let mut order = self.row(desk, wanted, quantity, now);
        let rejected = desk.fate.rejects();
        if rejected {
            order.reject();
        }
        self.orders.push(order);
        let index = self.orders.len() - 1;
        self.alert(index);
        if wanted.kind == "MARKET" && !wanted.after_market && !rejected {
            self.fill(index, &desk.ids, now);
        }
        index
    }

    /// The row of a new order.
    pub(super) fn row(&self, desk: &mut Desk, wanted: &Wanted, quantity: u64, now: Timestamp) -> Order {
        let (order_id, exchange_order_id) = desk.ids.order(now);
        let time = clock::order_time(now);
        let client_id = self.account.client_id.clone();
        // What is left out is filled in by the broker.
        let made = || format!("{client_id}-{}", now.as_millisecond());
        let at_exchange = !wanted.after_market;
        Order {
            order_id,
            exchange_order_id: if at_exchange { exchange_order_id } else { NO_ID.to_owned() },
            correlation_id: wanted.correlation_id.clone().unwrap_or_else(made),
            order_status: Status::Pending,
            transaction_type: wanted.side,
            exchange_segment: wanted.segment,
            product_type: wanted.product,
            order_type: wanted.kind,
            validity: wanted.validity,
            trading_symbol: data::symbol(&wanted.security_id),
            security_id: wanted.security_id.clone(),
            quantity,
            disclosed_quantity: wanted.disclosed,
            price: wanted.price,
            trigger_price: wanted.trigger,
            after_market_order: wanted.after_market,
            bo_profit_value: wanted.profit,
            bo_stop_loss_value: wanted.stop_loss,
            leg_name: NOT_AVAILABLE,
            create_time: time.clone(),
            update_time: time.clone(),
            exchange_time: if at_exchange { time } else { NO_TIME.to_owned() },
            drv_expiry_date: NO_DATE,
            drv_option_type: NOT_AVAILABLE,
            drv_strike_price: 0.0,
            oms_error_code: NO_ID,
            oms_error_description: if at_exchange { "CONFIRMED".to_owned() } else { String::new() },
            algo_id: NO_ID,
            remaining_quantity: quantity,
            average_traded_price: 0.0,
            filled_qty: 0,
            shows_from: Desk::after(now, desk.habits.shows_after_ms),
            transit_until: Desk::after(now, desk.habits.transit_ms),
            legs: None,
            dhan_client_id: client_id,
        }
    }

    /// Trade a whole order at the market's price.
    fn fill(&mut self, index: usize, ids: &Ids, now: Timestamp) {
        let Some(order) = self.orders.get_mut(index) else { return };
        let price = data::last_price(&order.security_id);
        order.order_status = Status::Traded;
        order.filled_qty = order.quantity;
        order.remaining_quantity = 0;
        order.average_traded_price = price;
        order.oms_error_description = "TRADE CONFIRMED".to_owned();
        order.update_time = clock::order_time(now);
        order.exchange_time.clone_from(&order.update_time);
        let trade = Trade {
            dhan_client_id: order.dhan_client_id.clone(),
            order_id: order.order_id.clone(),
            exchange_order_id: order.exchange_order_id.clone(),
            exchange_trade_id: ids.trade(self.trades.len()),
            transaction_type: order.transaction_type,
            exchange_segment: order.exchange_segment,
            product_type: order.product_type,
            order_type: order.order_type,
            trading_symbol: order.trading_symbol.clone(),
            custom_symbol: None,
            security_id: order.security_id.clone(),
            traded_quantity: order.quantity,
            traded_price: price,
            create_time: order.create_time.clone(),
            update_time: order.update_time.clone(),
            exchange_time: order.exchange_time.clone(),
            drv_expiry_date: None,
            drv_option_type: None,
            drv_strike_price: 0.0,
        };
        self.positions.traded(order, price);
        self.trades.push(trade);
        self.alert(index);
    }

    /// Cancel what waits. The order's own business: legs are not touched.
    pub(super) fn cancel_order(&mut self, index: usize, now: Timestamp) {
        if let Some(order) = self.orders.get_mut(index) {
            order.order_status = Status::Cancelled;
            order.remaining_quantity = 0;
            order.touched(now);
        }
        self.alert(index);
    }

    /// The index of an order, newest first.
    pub(super) fn order_index(&self, order_id: &str) -> Option<usize> {
        self.orders.iter().rposition(|order| order.order_id == order_id)
    }

    /// Tell the account's WebSockets of an order as it is now.
    pub(super) fn alert(&self, index: usize) {
        self.alert_of(index, News::Stands);
    }

    /// Tell the account's WebSockets what happened to an order.
    pub(super) fn alert_of(&self, index: usize, news: News) {
        if let Some(order) = self.orders.get(index) {
            self.publish(Event::Order(order_alert(order, news)));
        }
    }

    /// What a placement answers: id and status.
    pub(super) fn short(&self, index: usize, desk: &Desk) -> Value {
        let Some(order) = self.orders.get(index) else { return Value::Null };
        let transit = if order.order_status == Status::Rejected {
            desk.fate.silent
        } else {
            desk.habits.says_transit || desk.habits.transit_ms > 0
        };
        short(&order.order_id, if transit { Status::Transit } else { order.order_status })
    }

    /// What a row of several placements answers: TRANSIT, unless it is known better.
    pub(super) fn sliced(&self, index: usize, desk: &Desk) -> Value {
        let Some(order) = self.orders.get(index) else { return Value::Null };
        let refused = order.order_status == Status::Rejected && !desk.fate.silent;
        short(&order.order_id, if refused { Status::Rejected } else { Status::Transit })
    }
}

fn short(order_id: &str, status: impl Serialize) -> Value {
    json!({"orderId": order_id, "orderStatus": status})
}

/// `POST /orders`.
pub(super) fn place(world: &mut World, call: &Call<'_>) -> Answer {
    let wanted = Wanted::read_plain(&call.fields()?)?;
    let (ledger, desk) = call.books(world)?;
    may_trade(ledger)?;
    let index = ledger.enter(desk, &wanted, wanted.quantity, call.now);
    Ok(Reply::ok(&ledger.short(index, desk)).executed())
}

/// The kill switch stops new orders. [C]: its effect is documented, its error is not.
pub(super) fn may_trade(ledger: &Ledger) -> Result<(), Reply> {
    if ledger.kill_switch { Err(reply::account_blocked()) } else { Ok(()) }
}

/// `POST /orders/slicing`: at least two orders, where the quantity allows it,
/// all with one correlation id. The reply is a list.
pub(super) fn slice(world: &mut World, call: &Call<'_>) -> Answer {
    let wanted = Wanted::read_plain(&call.fields()?)?;
    let (ledger, desk) = call.books(world)?;
    may_trade(ledger)?;
    let slices = wanted.quantity.div_ceil(FREEZE_QUANTITY).max(2).min(wanted.quantity);
    let mut replies = Vec::new();
    for nth in 0..slices {
        let quantity = wanted.quantity / slices + u64::from(nth < wanted.quantity % slices);
        let index = ledger.enter(desk, &wanted, quantity, call.now);
        replies.push(ledger.sliced(index, desk));
    }
    Ok(Reply::ok(&replies).executed())
}

/// `PUT /orders/{order-id}`.
pub(super) fn modify(world: &mut World, call: &Call<'_>, order_id: &str) -> Answer {
    let fields = call.fields()?;
    // [C]: another id in the body than in the path was not tried.
    if fields.text("orderId")?.is_some_and(|id| id != order_id) {
        return Err(reply::bad_field());
    }
    let kind = fields.required_choice("orderType", &TYPES)?;
    let validity = fields.required_choice("validity", &VALIDITIES)?;
    let (quantity, disclosed) = (fields.whole("quantity")?, fields.whole("disclosedQuantity")?);
    let (price, trigger) = (fields.number("price")?, fields.number("triggerPrice")?);
    if kind == "LIMIT" {
        fields.required_price("price")?;
    }
    let (ledger, desk) = call.books(world)?;
    let index = ledger.order_index(order_id).ok_or_else(reply::bad_order)?;
    let order = ledger.orders.get_mut(index).ok_or_else(reply::bad_order)?;
    if order.order_status != Status::Pending {
        return Err(reply::bad_order());
    }
    order.order_type = kind;
    order.validity = validity;
    order.quantity = quantity.filter(|q| *q > 0).unwrap_or(order.quantity);
    order.remaining_quantity = order.quantity;
    order.disclosed_quantity = disclosed.unwrap_or(order.disclosed_quantity);
    order.price = price.unwrap_or(order.price);
    order.trigger_price = trigger.unwrap_or(order.trigger_price);
    order.touched(call.now);
    ledger.alert_of(index, News::Changed);
    if kind == "MARKET" {
        ledger.fill(index, &desk.ids, call.now);
    }
    Ok(Reply::ok(&short(order_id, "TRANSIT")).executed())
}

/// `DELETE /orders/{order-id}`.
pub(super) fn cancel(world: &mut World, call: &Call<'_>, order_id: &str) -> Answer {
    let (ledger, _) = call.books(world)?;
    let index = ledger.order_index(order_id).ok_or_else(reply::bad_order)?;
    let order = ledger.orders.get(index).ok_or_else(reply::bad_order)?;
    if order.order_status != Status::Pending {
        return Err(reply::bad_order());
    }
    if order.in_transit(call.now) {
        return Err(reply::in_transit());
    }
    ledger.cancel_order(index, call.now);
    Ok(Reply::ok(&short(order_id, Status::Cancelled)).executed())
}

/// `GET /orders`.
pub(super) fn book(world: &World, call: &Call<'_>) -> Answer {
    let orders = call.ledger(world)?.orders.iter();
    let rows: Vec<_> = orders.filter_map(|order| order.shown(&world.desk.habits, call.now)).collect();
    Ok(Reply::ok(&rows))
}

/// `GET /orders/{order-id}`: an array of one, or of none for an unknown id. The
/// documents have an object, and nothing of an unknown id.
pub(super) fn by_id(world: &World, call: &Call<'_>, order_id: &str) -> Answer {
    let (ledger, habits) = (call.ledger(world)?, &world.desk.habits);
    let order = ledger.order_index(order_id).and_then(|index| ledger.orders.get(index));
    let order = order.and_then(|order| order.shown(habits, call.now));
    if habits.documented_order {
        return order.map(|order| Reply::ok(&order)).ok_or_else(reply::no_data);
    }
    Ok(Reply::ok(&order.into_iter().collect::<Vec<_>>()))
}

/// `GET /orders/external/{correlation-id}`: what has reached the exchange under that id.
/// [C] for which of several orders with one id is shown.
pub(super) fn by_correlation_id(world: &World, call: &Call<'_>, id: &str) -> Answer {
    let id = id.replace("%20", " ");
    let habits = &world.desk.habits;
    let orders = call.ledger(world)?.orders.iter().filter(|order| order.correlation_id == id);
    let orders = orders.filter(|order| !order.in_transit(call.now));
    let mut shown = orders.filter_map(|order| order.shown(habits, call.now));
    let found = match habits.external {
        External::Newest => shown.next_back().map(|order| Reply::ok(&order)),
        External::Oldest => shown.next().map(|order| Reply::ok(&order)),
        External::All => Some(shown.collect::<Vec<_>>()).filter(|all| !all.is_empty()).map(|all| Reply::ok(&all)),
    };
    found.ok_or_else(reply::unknown_correlation_id)
}

/// `GET /trades` and `GET /trades/{order-id}`: a list either way.
pub(super) fn trades(world: &World, call: &Call<'_>, order_id: Option<&str>) -> Answer {
    let trades = &call.ledger(world)?.trades;
    let of: Vec<&Trade> = trades.iter().filter(|trade| order_id.is_none_or(|id| trade.order_id == id)).collect();
    Ok(Reply::ok(&of))
}
