//! Orders that wait for a price: forever orders (GTT, OCO), conditional alerts,
//! and the multi-order call that lives below the alerts' path.
//!
//! They never trigger here. Nobody documents that a waiting forever order can be
//! found by its correlation id, so it cannot: it is not in the order book. [C]

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::ClientId;

use super::api::Call;
use super::clock;
use super::data;
use super::fields::Fields;
use super::orders::{VALIDITIES, Wanted, may_trade};
use super::reply::{self, Answer, Reply};
use super::row::{Order, Status, single};
use super::world::World;

/// The most orders one multi-order call may hold.
const MULTI: usize = 15;

/// One leg of a forever order; an OCO has two rows with one id.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Forever {
    dhan_client_id: ClientId,
    order_id: String,
    order_status: Status,
    transaction_type: &'static str,
    exchange_segment: &'static str,
    product_type: &'static str,
    /// `SINGLE` or `OCO`.
    order_type: &'static str,
    trading_symbol: String,
    security_id: String,
    quantity: u64,
    #[serde(serialize_with = "single")]
    price: f64,
    #[serde(serialize_with = "single")]
    trigger_price: f64,
    leg_name: &'static str,
    create_time: String,
    update_time: Option<String>,
    exchange_time: Option<String>,
    drv_expiry_date: Option<String>,
    drv_option_type: Option<String>,
    drv_strike_price: f64,
    /// From when on anybody sees it.
    #[serde(skip)]
    shows_from: Timestamp,
}

impl Forever {
    /// The only leg of an order that was not given over the API.
    pub(super) fn of(order: &Order) -> Self {
        Self {
            dhan_client_id: order.dhan_client_id.clone(),
            order_id: order.order_id.clone(),
            order_status: order.order_status,
            transaction_type: order.transaction_type,
            exchange_segment: order.exchange_segment,
            product_type: order.product_type,
            order_type: "SINGLE",
            trading_symbol: order.trading_symbol.clone(),
            security_id: order.security_id.clone(),
            quantity: order.quantity,
            price: order.price,
            trigger_price: order.trigger_price,
            leg_name: "ENTRY_LEG",
            create_time: order.create_time.clone(),
            update_time: None,
            exchange_time: None,
            drv_expiry_date: None,
            drv_option_type: None,
            drv_strike_price: 0.0,
            shows_from: order.shows_from,
        }
    }
}

/// `POST /forever/orders`.
pub(super) fn place_forever(world: &mut World, call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    let flag = fields.required_choice("orderFlag", &["SINGLE", "OCO"])?;
    let wanted = Wanted::read_plain(&fields)?;
    let trigger = fields.required_price("triggerPrice")?;
    let mut legs = vec![("ENTRY_LEG", wanted.quantity, wanted.price, trigger)];
    if flag == "OCO" {
        let (price, trigger) = (fields.required_price("price1")?, fields.required_price("triggerPrice1")?);
        legs.push(("TARGET_LEG", fields.required_whole("quantity1")?, price, trigger));
    }
    let (ledger, desk) = call.books(world)?;
    may_trade(ledger)?;
    let mut order = ledger.row(desk, &wanted, wanted.quantity, call.now);
    order.order_status = Status::Confirm;
    if desk.fate.rejects() {
        order.reject();
    }
    let (order_id, status) = (order.order_id.clone(), order.order_status);
    let shows_from = order.shows_from;
    if desk.habits.forever_in_book {
        ledger.orders.push(order);
    }
    for (leg_name, quantity, price, trigger_price) in legs {
        ledger.forever.push(Forever {
            dhan_client_id: call.client_id.clone(),
            order_id: order_id.clone(),
            order_status: status,
            transaction_type: wanted.side,
            exchange_segment: wanted.segment,
            product_type: wanted.product,
            order_type: flag,
            trading_symbol: data::symbol(&wanted.security_id),
            security_id: wanted.security_id.clone(),
            quantity,
            price,
            trigger_price,
            leg_name,
            create_time: clock::order_time(call.now),
            update_time: None,
            exchange_time: None,
            drv_expiry_date: None,
            drv_option_type: None,
            drv_strike_price: 0.0,
            shows_from,
        });
    }
    let refused = status == Status::Rejected && !desk.fate.silent;
    let status = if refused { Status::Rejected } else { Status::Pending };
    Ok(Reply::ok(&json!({"orderId": order_id, "orderStatus": status})).executed())
}

/// `GET /forever/orders`.
pub(super) fn list_forever(world: &World, call: &Call<'_>) -> Answer {
    let rows: Vec<_> = call.ledger(world)?.forever.iter().filter(|row| row.shows_from <= call.now).collect();
    Ok(Reply::ok(&rows))
}

/// `PUT /forever/orders/{order-id}`: one leg.
pub(super) fn modify_forever(world: &mut World, call: &Call<'_>, order_id: &str) -> Answer {
    let fields = call.fields()?;
    let leg = fields.choice("legName", &["ENTRY_LEG", "TARGET_LEG", "STOP_LOSS_LEG"])?.unwrap_or("ENTRY_LEG");
    fields.required_choice("validity", &VALIDITIES)?;
    let quantity = fields.required_whole("quantity")?;
    let (price, trigger) = (fields.required_price("price")?, fields.required_price("triggerPrice")?);
    let (ledger, _) = call.books(world)?;
    let row = ledger
        .forever
        .iter_mut()
        .find(|row| row.order_id == order_id && row.leg_name == leg && row.order_status == Status::Confirm);
    let row = row.ok_or_else(reply::bad_order)?;
    (row.quantity, row.price, row.trigger_price) = (quantity, price, trigger);
    row.update_time = Some(clock::order_time(call.now));
    Ok(Reply::ok(&json!({"orderId": order_id, "orderStatus": "PENDING"})).executed())
}

/// `DELETE /forever/orders/{order-id}`: every leg.
pub(super) fn cancel_forever(world: &mut World, call: &Call<'_>, order_id: &str) -> Answer {
    let (ledger, _) = call.books(world)?;
    if let Some(index) = ledger.order_index(order_id) {
        ledger.cancel_order(index, call.now);
    }
    let mut cancelled = false;
    for row in ledger.forever.iter_mut() {
        if row.order_id == order_id && row.order_status == Status::Confirm {
            row.order_status = Status::Cancelled;
            row.update_time = Some(clock::order_time(call.now));
            cancelled = true;
        }
    }
    if !cancelled {
        return Err(reply::bad_order());
    }
    Ok(Reply::ok(&json!({"orderId": order_id, "orderStatus": "CANCELLED"})).executed())
}

/// `POST /alerts/orders`.
pub(super) fn place_alert(world: &mut World, call: &Call<'_>) -> Answer {
    let (condition, orders) = alert_fields(&call.fields()?)?;
    let (ledger, desk) = call.books(world)?;
    may_trade(ledger)?;
    let id = desk.ids.alert();
    let alert = json!({
        "alertId": id.to_string(), "alertStatus": "ACTIVE",
        "createdTime": call.now.to_string(), "triggeredTime": null, "lastPrice": null,
        "condition": condition, "orders": orders,
    });
    ledger.alerts.insert(id, alert);
    Ok(Reply::ok(&json!({"alertId": id.to_string(), "alertStatus": "ACTIVE"})).executed())
}

fn alert_fields(fields: &Fields) -> Result<(Value, Value), Reply> {
    let condition = fields.value("condition").filter(|v| v.is_object()).ok_or_else(reply::bad_field)?;
    Fields::of(condition)?.required_text("securityId")?;
    let orders = fields.value("orders").and_then(Value::as_array).ok_or_else(reply::bad_field)?;
    for order in orders {
        Wanted::read(&Fields::of(order)?)?;
    }
    if orders.is_empty() { Err(reply::bad_field()) } else { Ok((condition.clone(), orders.clone().into())) }
}

/// `GET /alerts/orders`.
pub(super) fn list_alerts(world: &World, call: &Call<'_>) -> Answer {
    Ok(Reply::ok(&call.ledger(world)?.alerts.values().collect::<Vec<_>>()))
}

/// `GET /alerts/orders/{alert-id}`. [C] for an unknown id.
pub(super) fn read_alert(world: &World, call: &Call<'_>, id: &str) -> Answer {
    let id: u64 = id.parse().map_err(|_| reply::no_data())?;
    call.ledger(world)?.alerts.get(&id).map(Reply::ok).ok_or_else(reply::no_data)
}

/// `PUT /alerts/orders/{alert-id}`.
pub(super) fn modify_alert(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    let (condition, orders) = alert_fields(&call.fields()?)?;
    change_alert(world, call, id, |alert| {
        alert.insert("condition".to_owned(), condition);
        alert.insert("orders".to_owned(), orders);
        "ACTIVE"
    })
}

/// `DELETE /alerts/orders/{alert-id}`.
pub(super) fn cancel_alert(world: &mut World, call: &Call<'_>, id: &str) -> Answer {
    change_alert(world, call, id, |_| "CANCELLED")
}

fn change_alert(
    world: &mut World,
    call: &Call<'_>,
    id: &str,
    change: impl FnOnce(&mut serde_json::Map<String, Value>) -> &'static str,
) -> Answer {
    let (ledger, _) = call.books(world)?;
    let number: u64 = id.parse().map_err(|_| reply::bad_order())?;
    let alert = ledger.alerts.get_mut(&number).and_then(Value::as_object_mut).ok_or_else(reply::bad_order)?;
    if alert.get("alertStatus").and_then(Value::as_str) != Some("ACTIVE") {
        return Err(reply::bad_order());
    }
    let status = change(alert);
    alert.insert("alertStatus".to_owned(), status.into());
    Ok(Reply::ok(&json!({"alertId": id, "alertStatus": status})).executed())
}

/// `POST /alerts/multi/orders`: up to 15 plain orders, all or none. [C]
pub(super) fn place_multi(world: &mut World, call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    let orders = fields.value("orders").and_then(Value::as_array).ok_or_else(reply::bad_field)?;
    if orders.is_empty() || orders.len() > MULTI {
        return Err(reply::bad_field());
    }
    let mut wanted = Vec::new();
    for order in orders {
        let fields = Fields::of(order)?;
        wanted.push((fields.required_text("sequence")?, Wanted::read_plain(&fields)?));
    }
    let (ledger, desk) = call.books(world)?;
    may_trade(ledger)?;
    let mut rows = Vec::new();
    for (sequence, wanted) in wanted {
        let index = ledger.enter(desk, &wanted, wanted.quantity, call.now);
        let mut row = ledger.sliced(index, desk);
        if let Some(row) = row.as_object_mut() {
            row.insert("sequence".to_owned(), sequence.into());
        }
        rows.push(row);
    }
    Ok(Reply::ok(&json!({"orders": rows})).executed())
}
