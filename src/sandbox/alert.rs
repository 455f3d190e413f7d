//! What the order-update WebSocket says of an order, in the camelCase spelling
//! that was measured on the wire (the documents write PascalCase). What is zero or
//! empty is left out.

use serde::Serialize;

use super::data;
use super::row::{Order, Status};

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "Data")]
    data: Data<'a>,
    #[serde(rename = "Type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    exchange: &'a str,
    segment: &'static str,
    source: &'static str,
    security_id: &'a str,
    client_id: &'a str,
    exch_order_no: &'a str,
    order_no: &'a str,
    product: Option<&'a str>,
    txn_type: Option<&'a str>,
    order_type: &'static str,
    validity: &'a str,
    #[serde(skip_serializing_if = "nothing")]
    disc_quantity: u64,
    #[serde(skip_serializing_if = "nothing")]
    disc_qty_rem: u64,
    #[serde(skip_serializing_if = "nothing")]
    remaining_quantity: u64,
    quantity: u64,
    #[serde(skip_serializing_if = "nothing")]
    traded_qty: u64,
    #[serde(skip_serializing_if = "free")]
    price: f64,
    #[serde(skip_serializing_if = "free")]
    trigger_price: f64,
    #[serde(skip_serializing_if = "free")]
    traded_price: f64,
    #[serde(skip_serializing_if = "free")]
    avg_traded_price: f64,
    strategy_id: &'static str,
    off_mkt_flag: &'static str,
    order_date_time: &'a str,
    exch_order_time: &'a str,
    last_updated_time: &'a str,
    remarks: &'static str,
    mkt_type: &'static str,
    reason_description: &'a str,
    leg_no: u64,
    instrument: &'static str,
    symbol: &'a str,
    product_name: &'a str,
    status: &'static str,
    lot_size: u64,
    #[serde(skip_serializing_if = "nothing")]
    strike_price: u64,
    expiry_date: &'static str,
    opt_type: &'static str,
    display_name: &'a str,
    isin: &'static str,
    series: &'static str,
    good_till_days_date: Option<&'a str>,
    ref_ltp: f64,
    tick_size: f64,
    algo_id: &'static str,
    multiplier: u64,
    correlation_id: &'a str,
}

fn nothing(number: &u64) -> bool {
    *number == 0
}

fn free(price: &f64) -> bool {
    *price == 0.0
}

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It stands where its row says.
    Stands,
    /// It is another than it was.
    Changed,
}

/// The message for an order as it is now.
pub(super) fn order_alert(order: &Order, news: News) -> String {
    let (exchange, segment) = order.exchange_segment.split_once('_').unwrap_or((order.exchange_segment, "EQ"));
    let segment = match segment {
        "FNO" => "D",
        "CURRENCY" => "C",
        "COMM" => "M",
        _ => "E",
    };
    let status = match order.order_status {
        Status::Pending if news == News::Changed => "Modified",
        Status::Transit => "Transit",
        Status::Pending | Status::Confirm | Status::Triggered => "Pending",
        Status::Rejected => "Rejected",
        Status::Cancelled => "Cancelled",
        Status::PartTraded => "Part Traded",
        Status::Traded | Status::Closed => "Traded",
        Status::Expired => "Expired",
    };
    let kind = match order.order_type {
        "MARKET" => "MKT",
        "STOP_LOSS" => "SL",
        "STOP_LOSS_MARKET" => "SLM",
        _ => "LMT",
    };
    let data = Data {
        exchange,
        segment,
        source: "P",
        security_id: &order.security_id,
        client_id: order.dhan_client_id.as_str(),
        exch_order_no: &order.exchange_order_id,
        order_no: &order.order_id,
        product: order.product_type.get(..1),
        txn_type: order.transaction_type.get(..1),
        order_type: kind,
        validity: order.validity,
        disc_quantity: order.disclosed_quantity,
        disc_qty_rem: 0,
        remaining_quantity: order.remaining_quantity,
        quantity: order.quantity,
        traded_qty: order.filled_qty,
        price: order.price,
        trigger_price: order.trigger_price,
        traded_price: order.average_traded_price,
        avg_traded_price: order.average_traded_price,
        strategy_id: "NA",
        off_mkt_flag: if order.after_market_order { "1" } else { "0" },
        order_date_time: &order.create_time,
        exch_order_time: &order.exchange_time,
        last_updated_time: &order.update_time,
        remarks: "NR",
        mkt_type: "NL",
        reason_description: &order.oms_error_description,
        leg_no: 1,
        instrument: "EQUITY",
        symbol: &order.trading_symbol,
        product_name: order.product_type,
        status,
        lot_size: 1,
        strike_price: 0,
        expiry_date: "0001-01-01 00:00:00",
        opt_type: "XX",
        display_name: &order.trading_symbol,
        isin: "INE000A00000",
        series: "EQ",
        good_till_days_date: order.create_time.get(..10),
        ref_ltp: data::last_price(&order.security_id),
        tick_size: 0.05,
        algo_id: "0",
        multiplier: 1,
        correlation_id: &order.correlation_id,
    };
    serde_json::to_string(&Message { data, kind: "order_alert" }).unwrap_or_default()
}
