//! Super orders: an entry with a target and a stop loss.
//!
//! The entry leg stands in the order book like any order, which is how it is
//! found by its correlation id.

use serde_json::{Value, json};

use super::alert::News;
use super::api::{Call, accepted};
use super::clock;
use super::data;
use super::orders::{Wanted, may_trade};
use super::reply::{self, Answer, Reply};
use super::row::{Order, Status, as_single};
use super::world::World;

const ENTRY: &str = "ENTRY_LEG";
const TARGET: &str = "TARGET_LEG";
const STOP_LOSS: &str = "STOP_LOSS_LEG";

/// The two legs behind an entry.
#[derive(Clone, Debug)]
pub(super) struct Legs {
    target_price: f64,
    target_status: Status,
    stop_loss_price: f64,
    stop_loss_status: Status,
    trailing_jump: f64,
}

impl Legs {
    /// The two legs of an order that was not given over the API.
    pub(super) fn waiting(target_price: f64, stop_loss_price: f64) -> Self {
        let status = Status::Pending;
        Self { target_price, target_status: status, stop_loss_price, stop_loss_status: status, trailing_jump: 0.0 }
    }
}

/// `POST /super/orders`.
pub(super) fn place(world: &mut World, call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    let wanted = Wanted::read(&fields)?;
    let legs = Legs {
        target_price: fields.number("targetPrice")?.unwrap_or(0.0),
        target_status: Status::Pending,
        stop_loss_price: fields.number("stopLossPrice")?.unwrap_or(0.0),
        stop_loss_status: Status::Pending,
        trailing_jump: fields.number("trailingJump")?.unwrap_or(0.0),
    };
    if legs.target_price <= 0.0 && legs.stop_loss_price <= 0.0 {
        return Err(reply::bad_field());
    }
    let (ledger, desk) = call.books(world)?;
    may_trade(ledger)?;
    let index = ledger.enter(desk, &wanted, wanted.quantity, call.now);
    if let Some(order) = ledger.orders.get_mut(index) {
        order.leg_name = ENTRY;
        order.legs = Some(legs);
    }
    Ok(Reply::ok(&ledger.short(index, desk)).executed())
}

/// `GET /super/orders`.
pub(super) fn list(world: &World, call: &Call<'_>) -> Answer {
    let orders = call.ledger(world)?.orders.iter().filter_map(|order| order.shown(&world.desk.habits, call.now));
    let rows: Vec<Value> = orders.filter_map(|order| Some(row(&order, order.legs.as_ref()?))).collect();
    Ok(Reply::ok(&rows))
}

fn row(order: &Order, legs: &Legs) -> Value {
    let opposite = if order.transaction_type == "BUY" { "SELL" } else { "BUY" };
    json!({
        "dhanClientId": order.dhan_client_id,
        "orderId": order.order_id,
        "correlationId": order.correlation_id,
        "orderStatus": order.order_status,
        "transactionType": order.transaction_type,
        "exchangeSegment": order.exchange_segment,
        "productType": order.product_type,
        "orderType": order.order_type,
        "validity": order.validity,
        "tradingSymbol": order.trading_symbol,
        "securityId": order.security_id,
        "quantity": order.quantity,
        "remainingQuantity": order.remaining_quantity,
        "ltp": data::last_price(&order.security_id),
        "price": as_single(order.price),
        "afterMarketOrder": order.after_market_order,
        "legName": ENTRY,
        "exchangeOrderId": order.exchange_order_id,
        "createTime": order.create_time,
        "updateTime": order.update_time,
        "exchangeTime": order.exchange_time,
        "omsErrorDescription": "",
        "averageTradedPrice": order.average_traded_price,
        "filledQty": order.filled_qty,
        "legDetails": [
            {
                "orderId": order.order_id,
                "legName": STOP_LOSS,
                "transactionType": opposite,
                // Spelt so on the wire.
                "totalQuatity": 0,
                "remainingQuantity": 0,
                "triggeredQuantity": 0,
                "price": legs.stop_loss_price,
                "orderStatus": legs.stop_loss_status,
                "trailingJump": legs.trailing_jump,
            },
            {
                "orderId": order.order_id,
                "legName": TARGET,
                "transactionType": opposite,
                "remainingQuantity": 0,
                "triggeredQuantity": 0,
                "price": legs.target_price,
                "orderStatus": legs.target_status,
                "trailingJump": 0.0,
            },
        ],
    })
}

/// `PUT /super/orders/{order-id}`: one leg.
pub(super) fn modify(world: &mut World, call: &Call<'_>, order_id: &str) -> Answer {
    let fields = call.fields()?;
    let leg = fields.required_choice("legName", &[ENTRY, TARGET, STOP_LOSS])?;
    let (quantity, price) = (fields.whole("quantity")?, fields.number("price")?);
    let target = fields.number("targetPrice")?;
    let stop_loss = fields.number("stopLossPrice")?;
    let jump = fields.number("trailingJump")?;
    let (ledger, _) = call.books(world)?;
    let index = ledger.order_index(order_id).ok_or_else(reply::bad_order)?;
    let order = ledger.orders.get_mut(index).ok_or_else(reply::bad_order)?;
    let pending = order.order_status == Status::Pending;
    let legs = order.legs.as_mut().ok_or_else(reply::bad_order)?;
    let changeable = match leg {
        TARGET => legs.target_status == Status::Pending,
        STOP_LOSS => legs.stop_loss_status == Status::Pending,
        _ => pending,
    };
    if !changeable {
        return Err(reply::bad_order());
    }
    if leg != STOP_LOSS {
        legs.target_price = target.unwrap_or(legs.target_price);
    }
    if leg != TARGET {
        legs.stop_loss_price = stop_loss.unwrap_or(legs.stop_loss_price);
        legs.trailing_jump = jump.unwrap_or(legs.trailing_jump);
    }
    if leg == ENTRY {
        order.quantity = quantity.filter(|q| *q > 0).unwrap_or(order.quantity);
        order.remaining_quantity = order.quantity;
        order.price = price.unwrap_or(order.price);
    }
    order.update_time = clock::order_time(call.now);
    ledger.alert_of(index, News::Changed);
    Ok(Reply::ok(&json!({"orderId": order_id, "orderStatus": "TRANSIT"})).executed())
}

/// `DELETE /super/orders/{order-id}/{order-leg}`: 202 and not a byte. The entry
/// takes its legs with it.
pub(super) fn cancel(world: &mut World, call: &Call<'_>, order_id: &str, leg: &str) -> Answer {
    let (ledger, _) = call.books(world)?;
    let index = ledger.order_index(order_id).ok_or_else(reply::bad_order)?;
    let order = ledger.orders.get_mut(index).ok_or_else(reply::bad_order)?;
    let pending = order.order_status == Status::Pending;
    let legs = order.legs.as_mut().ok_or_else(reply::bad_order)?;
    match leg {
        ENTRY if pending && call.now < order.transit_until => return Err(reply::in_transit()),
        ENTRY if pending => {
            legs.target_status = Status::Cancelled;
            legs.stop_loss_status = Status::Cancelled;
            ledger.cancel_order(index, call.now);
        }
        TARGET if legs.target_status == Status::Pending => {
            legs.target_status = Status::Cancelled;
            ledger.alert(index);
        }
        STOP_LOSS if legs.stop_loss_status == Status::Pending => {
            legs.stop_loss_status = Status::Cancelled;
            ledger.alert(index);
        }
        ENTRY | TARGET | STOP_LOSS => return Err(reply::bad_order()),
        _ => return Err(reply::bad_field()),
    }
    Ok(accepted().executed())
}
