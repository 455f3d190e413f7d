//! The JSON of the admin API. No other module has any; what the broker was asked for
//! is in `broker`.
//!
//! Answers are types. Types of requests are only for the document: requests are read by `fields`.

mod account;
mod addresses;
mod broker;
mod events;
mod evidence;
mod history;
mod host;
mod job;
mod orders;
mod reload;
mod status;

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::accounts::Account;
use crate::accounts::overview::Trouble;
use crate::domain::secret::ExposeSecret;
use crate::domain::{Pair, Role, Secret, steady};
use crate::legs::{Leg, Reason};
use crate::tokens::lifecycle::State;

pub(super) use account::{ListFilter, TotpBody, TotpFields};
pub(super) use addresses::{AddressBody, AddressFilter, GivenPairBody, PairPaging, ReservationBody};
pub(super) use broker::{
    AccountChecksBody, AllChecksBody, ChecksBody, RegisteredBody, RegistrationBody, ReplaceFields,
};
pub(super) use events::{EventBody, EventFilter, RecentEventsBody, RecentFilter};
pub(super) use evidence::EvidenceFilter;
pub(super) use history::{HistoryBody, HistoryFilter, TokenEndBody};
pub use host::ExaminationBody;
pub(super) use host::HostBody;
pub(super) use job::{CauseBody, JobBody};
pub(super) use orders::{LimitBody, LimitsBody, OrderAtBrokerBody, SettleFields, UnsettledBody};
pub(super) use reload::ReloadBody;
pub(super) use status::{AccountCounts, JournalHeadBody, ListenerBody, StatusBody};

pub(super) use account::{SecretBody, SecretsBody, SeenSlotBody};
pub(super) use broker::CheckBody;

use account::{CountsBody, LastRequestBody, SeenRegistrationBody, ValidatedBody};

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountsBody {
    pub items: Vec<AccountBody>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
    pub counts: CountsBody,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
}

/// A pair of addresses.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PairBody {
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

/// One of an account's two ways out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LegBody {
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

/// What last went wrong with an account's token, until something goes right.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenProblem {
    /// A word for programs.
    pub code: String,
    /// One sentence that says what happened.
    pub summary: String,
    /// What to do.
    pub action: String,
}

/// Where an account's token stands. Never the token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenBody {
    /// `absent`, `minting`, `live`, `refreshing`, `waiting` or `needs_person`.
    pub state: &'static str,
    pub expires_at: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// While `waiting`: when the next login may be.
    pub waiting_until: Option<String>,
    /// While `waiting`, for what: `cooldown` (the time between two logins), `backoff` (after a failure), `next_code` (of
    /// TOTP) or `check` (the broker's word on whether the token lives).
    pub waiting_for: Option<&'static str>,
    /// What last went wrong, until something goes right.
    pub last_error: Option<TokenProblem>,
    /// The broker's clock minus this host's in seconds, where it is off by more than 2.
    pub clock_skew: Option<f64>,
}

impl TokenBody {
    pub(super) fn of(account: &Account) -> Self {
        let last = account.token.last();
        let standing = account.token.standing();
        let last_error = standing.trouble.as_ref().map(|trouble| TokenProblem {
            code: trouble.code.to_string(),
            summary: trouble.summary.to_string(),
            action: trouble.action.replace("{name}", account.name.as_str()),
        });
        let waiting = match &standing.state {
            Some(State::Waiting { until, why }) => Some((until.to_string(), why.as_str())),
            Some(_) | None => None,
        };
        let (waiting_until, waiting_for) = waiting.unzip();
        Self {
            waiting_until,
            waiting_for,
            state: standing.word(),
            expires_at: last.as_ref().map(|token| token.expires_at().to_string()),
            source: last.as_ref().map(|token| token.source().to_owned()),
            last_error,
            clock_skew: steady::brokers_ahead_of_host().map(|skew| skew.as_secs_f64()).filter(|skew| skew.abs() > 2.0),
        }
    }
}

const HALT_UNSAVED: &str = "the account is halted now, but that could not be saved (most often the disk is full): a restart \
    would end the halt. It is saved by itself as soon as the state can be written";

/// An account. Its secrets are write-only.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountBody {
    pub name: String,
    pub nickname: Option<String>,
    /// `DHAN_V2_AT_IPV6` or `DHAN_V2_IPV6`.
    pub platform: &'static str,
    pub client_id: String,
    pub pair: Option<PairBody>,
    pub legs: Vec<LegBody>,
    pub token: TokenBody,
    pub halted: bool,
    /// Why, and since when.
    pub halt_reason: Option<String>,
    pub halted_since: Option<String>,
    /// Was it halted with all accounts (`PUT /v1/halt`)? Then it trades again with them.
    pub halted_with_all: bool,
    /// Set while the halt is in force and could not be saved: a restart would end it.
    pub halt_warning: Option<&'static str>,
    /// The leg it is pinned to; null when its legs' health decides.
    pub pin: Option<&'static str>,
    /// `any_id`: a `correlationId` names one order. `idempotency_key`: correlation ids are labels.
    pub repeats_by: &'static str,
    /// How many order writes of today were answered with what became of an earlier one.
    pub repeats_today: u64,
    /// The last request of a caller of it; null while there was none since the gateway was started.
    pub last_request: Option<LastRequestBody>,
    pub created_at: String,
    /// What is wrong with it, the worst first: `needs_person`, `halted`, `leg_tripped`, `no_token`, `validation_failed`,
    /// `not_validated` (since the gateway was started). Empty: it is fine.
    pub problems: Vec<&'static str>,
    /// Which secrets of its login are set. Never a value.
    pub secrets: SecretsBody,
    /// What the last validation found; null while there was none since the gateway was started.
    pub validated: Option<ValidatedBody>,
    /// What the broker was last seen to hold for it; null while it was not asked since the gateway was started.
    pub registration: Option<SeenRegistrationBody>,
    /// Names its settings as they are now, for `If-Match`; also in `ETag`.
    pub version: String,
}

impl From<&Account> for AccountBody {
    fn from(account: &Account) -> Self {
        let legs = account.legs.as_ref();
        Self {
            name: account.name.to_string(),
            nickname: account.record.nickname.clone(),
            platform: account.record.platform.as_str(),
            client_id: account.record.client_id.to_string(),
            pair: legs.map(|legs| legs.pair().into()),
            legs: legs.map(|legs| legs.both().into_iter().map(LegBody::from).collect()).unwrap_or_default(),
            token: TokenBody::of(account),
            halted: account.record.halted.is_some(),
            halt_reason: account.record.halted.as_ref().map(|halt| halt.reason.clone()),
            halted_since: account.record.halted.as_ref().map(|halt| halt.since.to_string()),
            halted_with_all: account.record.halted.as_ref().is_some_and(|halt| halt.of_all),
            halt_warning: account.halt_unsaved.then_some(HALT_UNSAVED),
            pin: account.record.pin.map(Role::as_str),
            repeats_by: account.record.repeats_by.as_str(),
            repeats_today: account.repeats.today(jiff::Timestamp::now()),
            last_request: account.last_request.view().map(LastRequestBody::from),
            created_at: account.record.created_at.to_string(),
            problems: account.troubles().iter().map(Trouble::as_str).collect(),
            secrets: (&account.secrets).into(),
            validated: account.validated.load().as_deref().map(ValidatedBody::from),
            registration: SeenRegistrationBody::of(account),
            version: account.version(),
        }
    }
}

/// The fields of `POST /v1/accounts`.
/// Only for the document: requests are read by [`Fields`](super::fields::Fields).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct AccountFields {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub nickname: Option<String>,
    /// `DHAN_V2_AT_IPV6` (PIN and TOTP) or `DHAN_V2_IPV6` (a token pasted by hand).
    #[schema(pattern = "^(DHAN_V2_AT_IPV6|DHAN_V2_IPV6)$")]
    pub platform: String,
    /// The broker's `dhanClientId`: digits.
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub client_id: String,
    /// 4 to 6 digits. Write-only.
    #[schema(max_length = 256, pattern = r"^\s*([0-9]{4,6})?\s*$")]
    pub pin: Option<String>,
    /// Base32, as the broker shows it. Write-only.
    #[schema(max_length = 256, pattern = r"^\s*([A-Za-z2-7]([ =-]*[A-Za-z2-7]){15,}[ =-]*)?\s*$")]
    pub totp_secret: Option<String>,
    /// Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub phone: Option<String>,
    /// Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub api_key: Option<String>,
    /// Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub api_secret: Option<String>,
    /// A live token. Write-only.
    #[schema(max_length = 3500, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub access_token: Option<String>,
    /// What makes an order write a repeat: `any_id`, or `idempotency_key` where correlation ids are labels that
    /// many orders share.
    #[schema(pattern = "^(any_id|idempotency_key)$")]
    pub repeats_by: Option<String>,
}

/// The fields of `PATCH /v1/accounts/{name}`; those that are not there stay as they are.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct AccountChanges {
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub nickname: Option<String>,
    /// `DHAN_V2_AT_IPV6` (PIN and TOTP) or `DHAN_V2_IPV6` (a token pasted by hand).
    #[schema(pattern = "^(DHAN_V2_AT_IPV6|DHAN_V2_IPV6)$")]
    pub platform: Option<String>,
    /// The broker's `dhanClientId`: digits.
    #[schema(pattern = "^[0-9]{1,20}$")]
    pub client_id: Option<String>,
    /// 4 to 6 digits. Write-only.
    #[schema(max_length = 256, pattern = r"^\s*([0-9]{4,6})?\s*$")]
    pub pin: Option<String>,
    /// Base32, as the broker shows it. Write-only.
    #[schema(max_length = 256, pattern = r"^\s*([A-Za-z2-7]([ =-]*[A-Za-z2-7]){15,}[ =-]*)?\s*$")]
    pub totp_secret: Option<String>,
    /// Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub phone: Option<String>,
    /// Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub api_key: Option<String>,
    /// Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub api_secret: Option<String>,
    /// A live token. Write-only.
    #[schema(max_length = 3500, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub access_token: Option<String>,
    /// What makes an order write a repeat: `any_id`, or `idempotency_key` where correlation ids are labels that
    /// many orders share.
    #[schema(pattern = "^(any_id|idempotency_key)$")]
    pub repeats_by: Option<String>,
    /// Of `PATCH`: what to take away: `nickname`, `pin`, `totp_secret`, `phone`, `api_key`, `api_secret`.
    pub remove: Option<Vec<Removable>>,
}

/// `{}`, `{"pool"}`, `{"primary", "secondary"}` or `{"reservation"}`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct PairFields {
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

/// A token given by hand.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct TokenFields {
    /// Write-only.
    #[schema(max_length = 3500, pattern = "^[\\t-\\r ]*[!-~]+[\\t-\\r ]*$")]
    pub access_token: String,
}

/// Halt, and why.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct HaltFields {
    pub halted: bool,
    /// For whoever finds the account halted.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub reason: Option<String>,
}

/// The halt of all accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AllHaltedBody {
    /// Are all accounts halted, those to come included?
    pub halted: bool,
    pub reason: Option<String>,
    pub since: Option<String>,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many of them are halted, for whatever reason.
    pub accounts_halted: u64,
    /// How many this call has changed.
    pub changed: u64,
    /// How many of those could not be changed; try again. Their halts are in force.
    pub failed: u64,
}

/// Which leg an account is to use.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct LegFields {
    /// `primary`, `secondary` or `auto`.
    #[schema(pattern = "^(primary|secondary|auto)$")]
    pub pin: String,
}

/// How to refresh a token: `{}` or no body at all will do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct RefreshFields {
    /// The cause of refused logins is mended outside (the PIN changed back at the broker, the
    /// account unlocked): one more try, although two were refused.
    pub vouched: Option<bool>,
}

/// What a person brought back from the broker's page; `{}` or no body asks for a link there.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct ConsentFields {
    /// `tokenId` of the address that the broker's page led to, for a browser that cannot
    /// reach `/auth/dhan`. Write-only.
    #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
    pub token_id: Option<String>,
}

/// A login by the broker's page: a link to it, or what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsentBody {
    /// Open it in a browser: it leads to the broker's page and from there back here.
    pub login_url: Option<String>,
    /// The broker's page itself, for a browser that cannot reach this listener.
    pub broker_url: Option<String>,
    /// Links that may be made today; the broker allows 25.
    pub consents_left: Option<u32>,
    pub token: TokenBody,
}

/// Nothing: `{}` or no body at all.
#[derive(ToSchema)]
pub(super) struct NoFields {}

/// What of an account can be taken away.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) enum Removable {
    Nickname,
    Pin,
    TotpSecret,
    Phone,
    ApiKey,
    ApiSecret,
}

/// A client key to make: `{}` or no body at all will do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(super) struct KeyFields {
    /// Whose it is, for people: 1 to 64 characters.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$"
    )]
    pub label: Option<String>,
}

/// A client key: `key` is shown once, when it is made. No `Debug`: it is a secret.
#[derive(Serialize, ToSchema)]
pub(super) struct NewKeyBody {
    pub id: String,
    pub key: String,
    pub label: Option<String>,
}

impl NewKeyBody {
    pub(super) fn show(id: &str, key: &Secret, label: Option<String>) -> Self {
        Self { id: id.to_owned(), key: key.expose_secret().to_owned(), label }
    }
}

/// A client key in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyBody {
    pub id: String,
    pub created_at: String,
    /// Whose it is, for people.
    pub label: Option<String>,
    /// When it last opened something, to the minute; after the gateway was killed, to the hour.
    pub last_used_at: Option<String>,
}

/// A pool.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoolBody {
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
pub(super) struct PoolFields {
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub name: String,
    #[schema(value_type = String, max_length = 256, pattern = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$", example = "2001:db8:a1::/64")]
    pub primary: Ipv6Net,
    #[schema(value_type = String, max_length = 256, pattern = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$", example = "2001:db8:a2::/64")]
    pub secondary: Ipv6Net,
}

/// Lines of the order journal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrdersBody {
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
pub(super) struct OrderFilter {
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
