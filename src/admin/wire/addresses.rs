//! Pairs, addresses and reservations.

use std::net::Ipv6Addr;

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::accounts::Reserved;
use crate::domain::{AccountName, Pair, SourceAddr};
use crate::store::records::{AddressRecord, PairRecord};

/// A pair of addresses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PairBody {
    #[schema(value_type = String, example = "2001:db8:a1::1")]
    pub primary: Ipv6Addr,
    #[schema(value_type = String, example = "2001:db8:a2::1")]
    pub secondary: Ipv6Addr,
}

impl From<Pair> for PairBody {
    fn from(pair: Pair) -> Self {
        Self { primary: pair.primary.ip(), secondary: pair.secondary.ip() }
    }
}

/// `{}`, `{"pool"}`, `{"primary", "secondary"}` or `{"reservation"}`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct PairFields {
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub pool: Option<String>,
    #[schema(value_type = Option<String>, format = Ipv6)]
    pub primary: Option<Ipv6Addr>,
    #[schema(value_type = Option<String>, format = Ipv6)]
    pub secondary: Option<Ipv6Addr>,
    /// The `id` of a pair that was set aside.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub reservation: Option<String>,
}

/// A pair that an account has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GivenPairBody {
    pub account: String,
    #[schema(value_type = String)]
    pub primary: Ipv6Addr,
    #[schema(value_type = String)]
    pub secondary: Ipv6Addr,
    pub assigned_at: String,
}

impl From<&(AccountName, PairRecord)> for GivenPairBody {
    fn from((account, record): &(AccountName, PairRecord)) -> Self {
        Self {
            account: account.to_string(),
            primary: record.pair.primary.ip(),
            secondary: record.pair.secondary.ip(),
            assigned_at: record.assigned_at.to_string(),
        }
    }
}

/// An address that an account has or had.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AddressBody {
    #[schema(value_type = String)]
    pub address: Ipv6Addr,
    /// Whose it is or was.
    pub account: String,
    /// The broker's customer, to whom alone it may go back.
    pub client_id: String,
    /// `primary` or `secondary`.
    pub role: &'static str,
    /// Since when it is a tombstone; null while the account has it.
    pub retired_at: Option<String>,
}

impl From<(SourceAddr, &AddressRecord)> for AddressBody {
    fn from((address, record): (SourceAddr, &AddressRecord)) -> Self {
        Self {
            address: address.ip(),
            account: record.account.to_string(),
            client_id: record.client_id.to_string(),
            role: record.role.as_str(),
            retired_at: record.retired_at.map(|at| at.to_string()),
        }
    }
}

/// Which addresses. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct AddressFilter {
    /// In the prefixes of this pool.
    pub pool: Option<String>,
    /// That this account has or had.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub account: Option<String>,
    /// `true`: tombstones only; `false`: those that are in use only.
    pub retired: Option<bool>,
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Where a page of pairs begins and how long it is. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct PairPaging {
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// A pair that is set aside.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReservationBody {
    /// Give it as `reservation` to assign the pair, or delete it.
    pub id: String,
    #[schema(value_type = String)]
    pub primary: Ipv6Addr,
    #[schema(value_type = String)]
    pub secondary: Ipv6Addr,
    /// When it is free again.
    pub until: String,
}

impl From<Reserved> for ReservationBody {
    fn from(reserved: Reserved) -> Self {
        Self {
            id: reserved.id,
            primary: reserved.pair.primary.ip(),
            secondary: reserved.pair.secondary.ip(),
            until: reserved.until.to_string(),
        }
    }
}
