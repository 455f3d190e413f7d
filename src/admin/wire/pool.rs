//! Pools.

use ipnet::Ipv6Net;
use serde::Serialize;
use utoipa::ToSchema;

use super::addresses::PairBody;

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolBody {
    pub name: String,
    #[schema(value_type = String, example = "2001:db8:a1::/64")]
    pub primary: Ipv6Net,
    #[schema(value_type = String, example = "2001:db8:a2::/64")]
    pub secondary: Ipv6Net,
    /// Pairs it can give in all, as a decimal text: it can be more than a number holds.
    pub capacity: String,
    /// Pairs that accounts have whose primary is in it, and those that are set aside.
    pub assigned: u64,
    /// Pairs that it can still give, as a decimal text. Those that this host and its routers use themselves count as free
    /// and are not given.
    pub free: String,
    /// The pair that would be given now; null when there is none.
    pub next: Option<PairBody>,
    /// Addresses of its prefixes that an account gave up: nobody else gets them.
    pub retired: u64,
    /// Pairs that are set aside and not yet an account's.
    pub reserved: u64,
}

/// A pool to make.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct PoolFields {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    #[schema(value_type = String, max_length = 256, pattern = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$", example = "2001:db8:a1::/64")]
    pub primary: Ipv6Net,
    #[schema(value_type = String, max_length = 256, pattern = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$", example = "2001:db8:a2::/64")]
    pub secondary: Ipv6Net,
}
