//! Market data: invented prices that never move, so that tests can name them.

use serde_json::{Map, Value, json};

use super::api::Call;
use super::clock;
use super::reply::{self, Answer, Reply};

/// A few instruments that examples use; others are called by their number.
const SYMBOLS: [(&str, &str, f64); 4] =
    [("11536", "TCS", 3310.5), ("1333", "HDFCBANK", 1660.5), ("2885", "RELIANCE", 1428.0), ("13", "NIFTY", 25_642.8)];

/// The most instruments one quote call may name.
const INSTRUMENTS: usize = 1_000;

/// The trading symbol of an instrument.
pub(super) fn symbol(security_id: &str) -> String {
    let known = SYMBOLS.iter().find(|(id, ..)| *id == security_id);
    known.map_or_else(|| format!("SEC{security_id}"), |(_, symbol, _)| (*symbol).to_owned())
}

/// The last price of an instrument.
pub(super) fn last_price(security_id: &str) -> f64 {
    let known = SYMBOLS.iter().find(|(id, ..)| *id == security_id);
    known.map_or_else(|| 100.0 + (security_id.parse::<u32>().unwrap_or(0) % 4_000) as f64, |(_, _, price)| *price)
}

/// `POST /marketfeed/ltp`, `ohlc` and `quote`.
pub(super) fn quotes(call: &Call<'_>, what: &str) -> Answer {
    let fields = call.fields().map_err(|_| reply::data_bad_request())?;
    let mut segments = Map::new();
    let mut counted = 0;
    for (segment, ids) in fields.keys() {
        // The SDK puts the client id into every body.
        if segment == "dhanClientId" {
            continue;
        }
        let ids = ids.as_array().ok_or_else(reply::data_bad_request)?;
        counted += ids.len();
        let mut rows = Map::new();
        for id in ids {
            let id = id.as_u64().map(|id| id.to_string()).or_else(|| id.as_str().map(str::to_owned));
            let id = id.ok_or_else(reply::data_bad_request)?;
            let row = quote(call, what, &id);
            rows.insert(id, row);
        }
        segments.insert(segment.to_owned(), rows.into());
    }
    if counted == 0 || counted > INSTRUMENTS {
        return Err(reply::data_bad_request());
    }
    Ok(Reply::ok(&json!({"data": segments, "status": "success"})))
}

fn quote(call: &Call<'_>, what: &str, id: &str) -> Value {
    let price = last_price(id);
    let ohlc = json!({"open": price, "close": price, "high": price, "low": price});
    match what {
        "ltp" => json!({"last_price": price}),
        "ohlc" => json!({"last_price": price, "ohlc": ohlc}),
        _ => {
            let level = json!({"quantity": 100, "orders": 1, "price": price});
            let side = vec![level; 5];
            json!({
                "average_price": price, "buy_quantity": 500, "sell_quantity": 500,
                "depth": {"buy": side, "sell": side},
                "last_price": price, "last_quantity": 1, "last_trade_time": clock::order_time(call.now),
                "lower_circuit_limit": price * 0.9, "upper_circuit_limit": price * 1.1,
                "net_change": 0.0, "volume": 1_500, "oi": 0, "oi_day_high": 0, "oi_day_low": 0, "ohlc": ohlc,
            })
        }
    }
}

/// `POST /optionchain/expirylist`.
pub(super) fn expiries(call: &Call<'_>) -> Answer {
    underlying(call)?;
    Ok(Reply::ok(&json!({"data": ["2026-11-24", "2026-12-01"], "status": "success"})))
}

/// `POST /optionchain`: one strike.
pub(super) fn option_chain(call: &Call<'_>) -> Answer {
    let price = last_price(&underlying(call)?);
    let fields = call.fields().map_err(|_| reply::data_bad_request())?;
    fields.required_text("Expiry").map_err(|_| reply::data_bad_request())?;
    let side = json!({
        "greeks": {"delta": 0.5, "theta": -15.0, "gamma": 0.001, "vega": 12.0},
        "implied_volatility": 12.5, "last_price": 150.0, "oi": 1_000, "previous_close_price": 148.0,
        "previous_oi": 900, "previous_volume": 5_000, "top_ask_price": 150.5, "top_ask_quantity": 75,
        "top_bid_price": 149.5, "top_bid_quantity": 75, "volume": 4_000,
    });
    let strike = format!("{:.6}", (price / 50.0).round() * 50.0);
    let chain = json!({strike: {"ce": side, "pe": side}});
    Ok(Reply::ok(&json!({"data": {"last_price": price, "oc": chain}, "status": "success"})))
}

fn underlying(call: &Call<'_>) -> Result<String, Reply> {
    let read = || {
        let fields = call.fields()?;
        fields.required_text("UnderlyingSeg")?;
        fields.required_text("UnderlyingScrip")
    };
    read().map_err(|_: Reply| reply::data_bad_request())
}

/// `POST /charts/intraday` and `historical`: one candle.
pub(super) fn candles(call: &Call<'_>) -> Answer {
    let fields = call.fields()?;
    for key in ["exchangeSegment", "instrument", "fromDate", "toDate"] {
        fields.required_text(key)?;
    }
    let price = last_price(&fields.required_text("securityId")?);
    let minute = call.now.as_second() / 60 * 60;
    Ok(Reply::ok(&json!({
        "open": [price], "high": [price], "low": [price], "close": [price],
        "volume": [1_500], "timestamp": [minute], "open_interest": [0],
    })))
}
