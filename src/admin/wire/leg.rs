//! Legs, and which one an account is pinned to.

use std::net::Ipv6Addr;

use serde::Serialize;
use utoipa::ToSchema;

use crate::legs::{Leg, Reason};

/// One of an account's two ways out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LegBody {
    /// `primary` or `secondary`.
    pub role: &'static str,
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// `admits`, `tripped` or `probing`.
    pub state: &'static str,
    /// Why it does not admit. Its line: `bind_failed`, `connect_failed`, `connect_timed_out`, `wrong_source`,
    /// `tls_failed`, `tls_timed_out`, `http_failed`; `address_gone`: its address is not on this host; `no_reply`: a read
    /// got no reply by it and one by the other leg, so reads go by that one and orders stay; `source_refused`,
    /// `orders_not_allowed`: the broker takes no orders from its address; `seen_as_another`: the broker sees another
    /// address, so nothing signed goes by it.
    pub reason: Option<&'static str>,
    pub since: String,
    /// Upstream connections open, idle ones included.
    pub connections: usize,
    /// Those of `connections` that lie ready.
    pub idle_connections: usize,
}

impl From<&Leg> for LegBody {
    fn from(leg: &Leg) -> Self {
        let (state, since) = leg.state();
        let since = jiff::Timestamp::try_from(since).unwrap_or_default();
        Self {
            role: leg.role().as_str(),
            address: leg.source().ip(),
            state: state.as_str(),
            reason: state.reason().map(Reason::as_str),
            since: since.to_string(),
            connections: leg.open(),
            idle_connections: leg.idle(),
        }
    }
}

/// Which leg an account is to use.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct LegFields {
    /// `primary`, `secondary` or `auto`.
    #[schema(pattern = "^(primary|secondary|auto)$")]
    pub pin: String,
}
