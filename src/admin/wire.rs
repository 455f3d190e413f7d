//! The JSON of the admin API. No other module has any; what the broker was asked for
//! is in `broker`.
//!
//! Answers are types. Types of requests are only for the document: requests are read by `fields`.

mod account;
mod account_fields;
mod addresses;
mod broker;
mod events;
mod evidence;
mod halt;
mod history;
mod host;
mod job;
mod key;
mod leg;
mod orders;
mod pool;
mod reload;
mod status;
mod token;

use serde::Serialize;
use utoipa::ToSchema;

pub(super) use account::{AccountBody, AccountsBody, ListFilter, SecretBody, SecretsBody, SeenSlotBody, ValidatedBody};
pub(super) use account_fields::{AccountChanges, AccountFields};
pub(super) use addresses::{
    AddressBody, AddressFilter, GivenPairBody, PairBody, PairFields, PairPaging, ReservationBody,
};
pub(super) use broker::{
    AccountChecksBody, AllChecksBody, CheckBody, ChecksBody, RegisteredBody, RegistrationBody, ReplaceFields,
};
pub(super) use events::{EventBody, EventFilter, RecentEventsBody, RecentFilter};
pub(super) use evidence::EvidenceFilter;
pub(super) use halt::{AllHaltedBody, HaltFields};
pub(super) use history::{HistoryBody, HistoryFilter, TokenEndBody};
pub use host::ExaminationBody;
pub(super) use host::HostBody;
pub(super) use job::{CauseBody, JobBody};
pub(super) use key::{KeyBody, KeyFields, NewKeyBody};
pub(super) use leg::{LegBody, LegFields};
pub(super) use orders::{
    LimitBody, LimitsBody, OrderAtBrokerBody, OrderFilter, OrdersBody, SettleFields, UnsettledBody,
};
pub(super) use pool::{PoolBody, PoolFields};
pub(super) use reload::ReloadBody;
pub(super) use status::{AccountCounts, JournalHeadBody, ListenerBody, StatusBody};
pub(super) use token::{ConsentBody, ConsentFields, RefreshFields, TokenBody, TokenFields, TotpBody, TotpFields};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
}

/// Nothing: `{}` or no body at all.
#[derive(ToSchema)]
pub(super) struct NoFields {}
