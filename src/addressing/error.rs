//! Why no pair was given.

use super::ledger::Occupancy;
use crate::domain::SourceAddr;
use crate::domain::problem::Invalid;
use crate::store::StoreError;

/// Why no pair was given.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what each is")]
pub enum AddressingError {
    #[error("there is no pool {0}")]
    NoSuchPool(String),
    #[error("there is no pool yet: make one by POST /v1/pools, or bring a pair along")]
    NoPool,
    #[error("pool {name} has no free pair left: {why}")]
    Exhausted { name: String, why: String },
    #[error("pool {name} has no usable pair of addresses: {why}; give two prefixes of the same size, such as two /64")]
    NoRoom { name: String, why: String },
    #[error("{address} is {held}")]
    Taken { address: SourceAddr, held: Occupancy },
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: Invalid },
    #[error("pool {0} exists already")]
    PoolExists(String),
    #[error(
        "pool {name} overlaps pool {other}: an address belongs to one pool; choose prefixes that share none with it"
    )]
    Overlap { name: String, other: String },
    #[error("pool {name} still has {pairs} pairs")]
    NotEmpty { name: String, pairs: u64 },
    #[error("the state could not be written")]
    Store(#[from] StoreError),
}
