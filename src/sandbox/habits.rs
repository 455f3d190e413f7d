//! How the broker behaves as long as a test does not say otherwise, and what can be
//! changed about it. A fault befalls single requests; a habit is for all that come.

use serde::{Deserialize, Serialize};

use super::encoding::Encoding;

/// The broker's habits. `Habits::default()` is the broker as it is known; every member
/// is for what comes from now on, also on connections that are open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Habits {
    /// Whether replies are compressed, as a CDN in front of the broker may.
    pub compression: Compression,
    /// Take `/v2/orders/`, `/V2/Orders`, `//v2/./orders`, `/orders` and `/v2/%6Frders` for
    /// `/v2/orders`, as a CDN or a framework that normalises does.
    pub lax_paths: bool,
    /// End a connection that has had no request under way for so many milliseconds.
    pub idle_close_ms: Option<u64>,
    /// Answer order and portfolio paths as they were recorded: chunked, with an empty
    /// reason phrase and `Vary`. `[B]`; HTTP/1.1 only.
    pub recorded_front: bool,
    /// Answer writes over HTTP/2 with a 301 to nowhere that is of use, undone. `[B]`
    pub redirects_http2_writes: bool,
    /// Answer `GET /orders/{id}` with one object, as the documents have it.
    pub documented_order: bool,
    /// What `GET /orders/external/{id}` answers with.
    pub external: External,
    /// An order shows in no list and under no id for so many milliseconds. `[C]`
    pub shows_after_ms: u64,
    /// An order is in TRANSIT for so many milliseconds: it shows as such, cannot be
    /// cancelled and is not found by its correlation id.
    pub transit_ms: u64,
    /// Say TRANSIT in the reply to a placement, as the live broker does, whatever has
    /// become of the order by then.
    pub says_transit: bool,
    /// Show forever orders, with their correlation ids, in the order book too. `[C]`
    pub forever_in_book: bool,
    /// Show market orders as limit orders with a protected price. `[C]`
    pub market_as_limit: bool,
    /// Show prices a little off, as sums of single-precision numbers are.
    pub price_noise: bool,
    /// Refuse bodies that hold an empty text, as the documents' own sample does. `[B]`
    pub empty_is_bad: bool,
    /// Refuse orders from the secondary address although it is registered. `[B]`
    pub secondary_refused: bool,
    /// Refuse to turn the kill switch on while a position or an order is open. `[C]`
    /// for the words.
    pub kill_switch_needs_flat: bool,
    /// Nobody holds anything, which is an error of 500.
    pub no_holdings: bool,
    /// End every socket by a reset when it has been open for so many milliseconds; one was seen to end at exactly
    /// 300 s. `[B]`
    pub socket_life_ms: Option<u64>,
    /// Say a text that is no JSON on every socket, so many milliseconds apart.
    pub socket_text_ms: Option<u64>,
    /// Refuse a login of the order updates by a binary frame and a Close, in place of a reset. `[B]`
    pub login_refusal_packet: bool,
    /// Leave sockets open whose token has been replaced. `[C]`
    pub sockets_outlive_token: bool,
    /// Nobody has the data plan: data is answered 401 whatever the token.
    pub no_data_plan: bool,
}

/// Whether replies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Replies are never compressed.
    #[default]
    Never,
    /// As the request's `Accept-Encoding` asks.
    Asked,
    /// Always so, whatever was asked for, `identity` included.
    Always(Encoding),
    /// The head says so, and the body breaks off in the middle of it.
    Broken(Encoding),
    /// The head says so, and the body is as it was.
    Mislabelled(Encoding),
}

/// What an order is answered with that is asked for by its correlation id, which need
/// not be the only one. `[C]` for which of several an object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum External {
    /// The newest, as an object.
    #[default]
    Newest,
    /// The oldest, as an object.
    Oldest,
    /// All of them, as an array, oldest first.
    All,
}
