//! What one endpoint is.

use http::Method;
use serde::Deserialize;

/// Where the REST API's paths begin.
pub const BASE: &str = "/v2";

/// The broker's limit a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateClass {
    /// 10/s, 250/min, 1,000/h, 7,000/day.
    Order,
    /// 5/s, 100,000/day.
    Data,
    /// 1/s.
    Quote,
    /// One unique request per 3 s.
    OptionChain,
    /// "Non-trading": 20/s.
    Other,
}

/// What a write does to orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteKind {
    /// Places one order or several.
    Create,
    /// Changes one order.
    Change,
    /// Cancels one, of any kind.
    Cancel,
    /// Closes every position.
    ExitAll,
    /// The kill switch's "on": told by its query, so no row of the table has it.
    #[serde(skip)]
    KillSwitchOn,
    /// Anything else, and what nobody knows.
    Other,
}

/// What one endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The limit it counts against.
    pub rate: RateClass,
    /// What it does to orders, if anything. What does is sent at most once, and is written down, remembered, limited
    /// and asked about, whatever its row says otherwise.
    #[serde(default)]
    pub write: Option<WriteKind>,
    /// Refused by the broker from an unregistered address.
    #[serde(default)]
    pub static_ip: bool,
    /// Takes `dhanClientId` in its body.
    #[serde(default)]
    pub client_id: bool,
    /// Takes `correlationId` in its body.
    #[serde(default)]
    pub correlation: bool,
    /// Only reads although its method may write: may be repeated when its
    /// connection broke.
    #[serde(default)]
    pub read: bool,
    /// Does something that is no order's matter (`GET /edis/tpin` sends a message to a person): never repeated.
    #[serde(default)]
    pub once: bool,
    /// Asked for in the table's own spelling; [`spelling`](super::spelling) has nothing to say of it.
    #[serde(skip)]
    pub exact: bool,
}

impl Endpoint {
    /// Does it do something to orders?
    pub const fn is_write(&self) -> bool {
        self.write.is_some()
    }

    /// Does it only take risk away? Such writes pass while an account is halted, and are never made harder than they
    /// need be. Not the end of a P&L exit: that takes a protection away.
    pub const fn takes_risk_away(&self) -> bool {
        matches!(self.write, Some(WriteKind::Cancel | WriteKind::ExitAll | WriteKind::KillSwitchOn))
    }

    /// May a request that may have arrived be sent again (RFC 9110 section 9.2.2)?
    pub const fn may_repeat(&self, method: &Method) -> bool {
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        !self.is_write() && !self.once && (safe || self.read)
    }
}
