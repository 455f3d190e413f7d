//! Lines of the order journal, single orders, and what of the broker's limits is used.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::broker::dhan::endpoints::RateClass;
use crate::orders::limits::Usage;
use crate::tokens::client::OrderAtBroker;

/// Lines of the order journal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrdersBody {
    /// The lines as they stand in the journal.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Box<serde_json::value::RawValue>>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
    /// Lines that cannot be read; `sixgate journal verify` says what is wrong with them.
    pub unreadable: u64,
}

/// Which lines of the journal. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct OrderFilter {
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub account: Option<String>,
    /// From this instant on (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<String>,
    /// Before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<String>,
    /// `not_sent`, `rejected`, `executed` or `unknown`.
    #[param(value_type = Option<String>, pattern = "^(not_sent|rejected|executed|unknown)$")]
    pub outcome: Option<String>,
    /// `intent`, `outcome` or `note`.
    #[param(value_type = Option<String>, pattern = "^(intent|outcome|note)$")]
    pub kind: Option<String>,
    /// Of this request: `sixgate-request-id`.
    pub request_id: Option<String>,
    pub order_id: Option<String>,
    pub correlation_id: Option<String>,
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    #[param(value_type = Option<String>, pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\.[0-9]+$")]
    pub cursor: Option<String>,
}

/// One of the broker's limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitBody {
    /// What is counted: `order` (order writes), `data`, `quote` or `other` (what is neither).
    pub class: &'static str,
    /// The window, in seconds.
    pub seconds: u64,
    /// So many left in the window that ends now.
    pub used: u64,
    /// So many more are on their way.
    pub reserved: u32,
    /// So many the gateway lets through: the broker's number without `limits.margin`. What takes risk away is let through
    /// beyond it.
    pub allowed: u32,
    /// So many the broker allows.
    pub limit: u32,
}

impl From<Usage> for LimitBody {
    fn from(usage: Usage) -> Self {
        Self {
            class: match usage.class {
                RateClass::Order => "order",
                RateClass::Data | RateClass::OptionChain => "data",
                RateClass::Quote => "quote",
                RateClass::Other => "other",
            },
            seconds: usage.window.per.as_secs(),
            used: usage.used,
            reserved: usage.reserved,
            allowed: usage.allowed,
            limit: usage.window.count,
        }
    }
}

/// Every limit of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitsBody {
    pub items: Vec<LimitBody>,
    /// Requests that wait for room.
    pub waiting: u64,
}

/// An order as the broker shows it now. Null where it does not say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderAtBrokerBody {
    pub order_id: Option<String>,
    pub correlation_id: Option<String>,
    /// `TRANSIT`, `PENDING`, `REJECTED`, `CANCELLED`, `PART_TRADED`, `TRADED` or `EXPIRED`.
    pub status: Option<String>,
    pub side: Option<String>,
    pub segment: Option<String>,
    pub symbol: Option<String>,
    pub security_id: Option<String>,
    pub product: Option<String>,
    pub order_type: Option<String>,
    /// Numbers as the broker writes them.
    pub quantity: Option<String>,
    pub filled: Option<String>,
    pub price: Option<String>,
    pub average_price: Option<String>,
    /// The broker's own words, where it refused.
    pub reason: Option<String>,
    /// By the broker's clock, in India.
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
}

impl From<OrderAtBroker> for OrderAtBrokerBody {
    fn from(order: OrderAtBroker) -> Self {
        Self {
            order_id: order.order_id,
            correlation_id: order.correlation_id,
            status: order.status,
            side: order.side,
            segment: order.segment,
            symbol: order.symbol,
            security_id: order.security_id,
            product: order.product,
            order_type: order.order_type,
            quantity: order.quantity,
            filled: order.filled,
            price: order.price,
            average_price: order.average_price,
            reason: order.reason,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

/// A person has looked what became of an order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct SettleFields {
    /// What was found and where, for whoever reads the journal: 1 to 256 characters. No secret: it is kept for years.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$"
    )]
    pub note: String,
    /// What became of it, if that is known now: `not_sent`, `rejected` or `executed`.
    #[schema(pattern = "^(not_sent|rejected|executed)$")]
    pub outcome: Option<String>,
}

/// Orders of which nobody knows what became of them, and that nobody has settled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnsettledBody {
    /// Their outcome lines as they stand in the journal, the newest first; 100 at most.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Box<serde_json::value::RawValue>>,
}
