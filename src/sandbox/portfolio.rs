//! Positions, holdings, funds, and the account-wide switches.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::{Call, accepted};
use super::data;
use super::orders::{PRODUCTS, SEGMENTS, Wanted};
use super::reply::{self, Answer, Reply};
use super::row::{Order, Status};
use super::world::World;

/// What one instrument came to in one product.
#[derive(Clone, Debug, Default)]
struct Position {
    buy_quantity: u64,
    buy_value: f64,
    sell_quantity: u64,
    sell_value: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    segment: &'static str,
    security_id: String,
    product: &'static str,
}

/// An account's positions of the day.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions(BTreeMap<Key, Position>);

impl Positions {
    /// Count a whole order that traded.
    pub(super) fn traded(&mut self, order: &Order, price: f64) {
        let key = Key {
            segment: order.exchange_segment,
            security_id: order.security_id.clone(),
            product: order.product_type,
        };
        let position = self.0.entry(key).or_default();
        let value = price * order.quantity as f64;
        if order.transaction_type == "BUY" {
            position.buy_quantity += order.quantity;
            position.buy_value += value;
        } else {
            position.sell_quantity += order.quantity;
            position.sell_value += value;
        }
    }

    /// Is any position not flat?
    fn any_open(&self) -> bool {
        self.0.values().any(|position| position.buy_quantity != position.sell_quantity)
    }

    /// Every position that is not flat, as the market order that would end it.
    fn exits(&self) -> Vec<Wanted> {
        let open = self.0.iter().filter(|(_, position)| position.buy_quantity != position.sell_quantity);
        open.map(|(key, position)| Wanted {
            // As the broker shows what was not given over the API.
            correlation_id: Some("NA".to_owned()),
            side: if position.buy_quantity > position.sell_quantity { "SELL" } else { "BUY" },
            segment: key.segment,
            product: key.product,
            kind: "MARKET",
            validity: "DAY",
            security_id: key.security_id.clone(),
            quantity: position.buy_quantity.abs_diff(position.sell_quantity),
            disclosed: 0,
            price: 0.0,
            trigger: 0.0,
            after_market: false,
            profit: 0.0,
            stop_loss: 0.0,
        })
        .collect()
    }

    /// Move a quantity from one product to another; `None` if there is less.
    fn convert(&mut self, from: &Key, to: Key, quantity: u64, long: bool) -> Option<()> {
        let position = self.0.get_mut(from)?;
        let (had, value) = if long {
            (&mut position.buy_quantity, &mut position.buy_value)
        } else {
            (&mut position.sell_quantity, &mut position.sell_value)
        };
        let left = had.checked_sub(quantity)?;
        let moved = *value / *had as f64 * quantity as f64;
        *had = left;
        *value -= moved;
        let target = self.0.entry(to).or_default();
        if long {
            target.buy_quantity += quantity;
            target.buy_value += moved;
        } else {
            target.sell_quantity += quantity;
            target.sell_value += moved;
        }
        Some(())
    }
}

fn row(call: &Call<'_>, key: &Key, position: &Position) -> Value {
    let average = |value: f64, quantity: u64| if quantity == 0 { 0.0 } else { value / quantity as f64 };
    let buy = average(position.buy_value, position.buy_quantity);
    let sell = average(position.sell_value, position.sell_quantity);
    let net = position.buy_quantity.cast_signed() - position.sell_quantity.cast_signed();
    let (kind, cost) = match net {
        0 => ("CLOSED", 0.0),
        1.. => ("LONG", buy),
        _ => ("SHORT", sell),
    };
    let closed = position.buy_quantity.min(position.sell_quantity) as f64;
    json!({
        "dhanClientId": call.client_id,
        "tradingSymbol": data::symbol(&key.security_id),
        "securityId": key.security_id,
        "positionType": kind,
        "exchangeSegment": key.segment,
        "productType": key.product,
        "buyAvg": buy,
        "buyQty": position.buy_quantity,
        "costPrice": cost,
        "sellAvg": sell,
        "sellQty": position.sell_quantity,
        "netQty": net,
        "realizedProfit": (sell - buy) * closed,
        "unrealizedProfit": (data::last_price(&key.security_id) - cost) * net as f64,
        "rbiReferenceRate": 1.0,
        "multiplier": 1,
        "carryForwardBuyQty": 0,
        "carryForwardSellQty": 0,
        "carryForwardBuyValue": 0.0,
        "carryForwardSellValue": 0.0,
        "dayBuyQty": position.buy_quantity,
        "daySellQty": position.sell_quantity,
        "dayBuyValue": position.buy_value,
        "daySellValue": position.sell_value,
        "drvExpiryDate": "0001-01-01",
        "drvOptionType": null,
        "drvStrikePrice": 0.0,
        "crossCurrency": false,
    })
}

/// `GET /positions`.
pub(super) fn positions(world: &World, call: &Call<'_>) -> Answer {
    let positions = &call.ledger(world)?.positions.0;
    let moved = |position: &Position| position.buy_quantity + position.sell_quantity > 0;
    let rows: Vec<Value> =
        positions.iter().filter(|(_, p)| moved(p)).map(|(key, position)| row(call, key, position)).collect();
    Ok(Reply::ok(&rows))
}

/// `DELETE /positions`: cancels what waits and ends every position at the market.
pub(super) fn exit_all(world: &mut World, call: &Call<'_>) -> Answer {
    let (ledger, desk) = call.books(world)?;
    for index in 0..ledger.orders.len() {
        if ledger.orders.get(index).is_some_and(|order| order.order_status == Status::Pending) {
            ledger.cancel_order(index, call.now);
        }
    }
    for exit in ledger.positions.exits() {
        ledger.enter(desk, &exit, exit.quantity, call.now);
    }
    let message = "All orders and positions exited successfully";
    Ok(Reply::ok(&json!({"status": "SUCCESS", "message": message})).executed())
}

/// `POST /positions/convert`: 202 and not a byte.
pub(super) fn convert(world: &mut World, call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    let from = fields.required_choice("fromProductType", &PRODUCTS)?;
    let to = fields.required_choice("toProductType", &PRODUCTS)?;
    let segment = fields.required_choice("exchangeSegment", &SEGMENTS)?;
    let long = fields.required_choice("positionType", &["LONG", "SHORT"])? == "LONG";
    let security_id = fields.required_text("securityId")?;
    let quantity = fields.required_whole("convertQty")?;
    let (ledger, _) = call.books(world)?;
    let key = |product| Key { segment, security_id: security_id.clone(), product };
    ledger.positions.convert(&key(from), key(to), quantity, long).ok_or_else(reply::bad_order)?;
    Ok(accepted().executed())
}

/// `GET /holdings`: the same for everybody.
pub(super) fn holdings(world: &World) -> Answer {
    if world.desk.habits.no_holdings {
        return Err(reply::no_holdings());
    }
    Ok(Reply::ok(&json!([{
        "exchange": "ALL",
        "tradingSymbol": data::symbol("1333"),
        "securityId": "1333",
        "isin": "INE040A01034",
        "totalQty": 10,
        "dpQty": 10,
        "t1Qty": 0,
        "mtf_t1_qty": 0,
        "mtf_qty": 0,
        "availableQty": 10,
        "collateralQty": 0,
        "avgCostPrice": 1655.0,
        "lastTradedPrice": data::last_price("1333"),
    }])))
}

/// `GET /fundlimit`: the same for everybody, misspelt as the broker spells it.
pub(super) fn funds(call: &Call<'_>) -> Answer {
    Ok(Reply::ok(&json!({
        "dhanClientId": call.client_id,
        "availabelBalance": 98_440.0,
        "sodLimit": 113_642.0,
        "collateralAmount": 0.0,
        "receiveableAmount": 0.0,
        "utilizedAmount": 15_202.0,
        "blockedPayoutAmount": 0.0,
        "withdrawableBalance": 98_310.0,
    })))
}

/// `POST /margincalculator`: a fifth of the value.
pub(super) fn margin(call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    fields.required_choice("exchangeSegment", &SEGMENTS)?;
    fields.required_choice("transactionType", &["BUY", "SELL"])?;
    fields.required_choice("productType", &PRODUCTS)?;
    let price = match fields.number("price")?.filter(|price| *price > 0.0) {
        Some(price) => price,
        None => data::last_price(&fields.required_text("securityId")?),
    };
    let total = price * fields.required_whole("quantity")? as f64 / 5.0;
    let available: f64 = 98_440.0;
    Ok(Reply::ok(&json!({
        "totalMargin": total,
        "spanMargin": total / 2.0,
        "exposureMargin": total / 2.0,
        "availableBalance": available,
        "variableMargin": 0.0,
        "insufficientBalance": (total - available).max(0.0),
        "brokerage": 20.0,
        "leverage": "5.00",
    })))
}

/// `GET /killswitch`.
pub(super) fn kill_switch(world: &World, call: &Call<'_>) -> Answer {
    let status = if call.ledger(world)?.kill_switch { "ACTIVATE" } else { "DEACTIVATE" };
    Ok(Reply::ok(&json!({"dhanClientId": call.client_id, "killSwitchStatus": status})))
}

/// `POST /killswitch?killSwitchStatus=`.
pub(super) fn set_kill_switch(world: &mut World, call: &Call<'_>) -> Answer {
    let (on, word) = match call.query("killSwitchStatus") {
        Some("ACTIVATE") => (true, "activated"),
        Some("DEACTIVATE") => (false, "deactivated"),
        _ => return Err(reply::bad_field()),
    };
    let (ledger, desk) = call.books(world)?;
    let waits = ledger.orders.iter().any(|order| order.order_status == Status::Pending);
    if on && desk.habits.kill_switch_needs_flat && (waits || ledger.positions.any_open()) {
        return Err(reply::not_flat());
    }
    ledger.kill_switch = on;
    let status = format!("Kill Switch has been successfully {word}");
    Ok(Reply::ok(&json!({"dhanClientId": call.client_id, "killSwitchStatus": status})).executed())
}

/// `GET /pnlExit`. [C] for its shape.
pub(super) fn pnl_exit(world: &World, call: &Call<'_>) -> Answer {
    let set = call.ledger(world)?.pnl_exit.clone();
    Ok(Reply::ok(&set.unwrap_or_else(|| json!({"pnlExitStatus": "INACTIVE"}))))
}

/// `POST /pnlExit`.
pub(super) fn set_pnl_exit(world: &mut World, call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    let set = json!({
        "pnlExitStatus": "ACTIVE",
        "profit": fields.number("profitValue")?,
        "loss": fields.number("lossValue")?,
        "enableKillSwitch": fields.flag("enableKillSwitch")?,
    });
    call.books(world)?.0.pnl_exit = Some(set);
    let message = "P&L based exit configured successfully";
    Ok(Reply::ok(&json!({"pnlExitStatus": "ACTIVE", "message": message})).executed())
}

/// `DELETE /pnlExit`. [C] for its texts.
pub(super) fn clear_pnl_exit(world: &mut World, call: &Call<'_>) -> Answer {
    call.books(world)?.0.pnl_exit = None;
    let message = "P&L based exit stopped successfully";
    Ok(Reply::ok(&json!({"pnlExitStatus": "INACTIVE", "message": message})).executed())
}
