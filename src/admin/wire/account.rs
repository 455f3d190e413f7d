//! Accounts, and lists of them.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::addresses::PairBody;
use super::broker::{CheckBody, ChecksBody};
use super::leg::LegBody;
use super::token::TokenBody;
use crate::accounts::overview::{Counts, Trouble};
use crate::accounts::validate::Validated;
use crate::accounts::{Account, LastRequestView, SecretsSet};
use crate::domain::Role;
use crate::domain::secret::LoginSecret;
use crate::telemetry::account_streams::KindView;

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountsBody {
    pub items: Vec<AccountBody>,
    /// Give it as `cursor` to get the next page; null at the end.
    pub next: Option<String>,
    pub counts: CountsBody,
}

/// An account. Its secrets are write-only.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountBody {
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
    /// `pass_on`: a WebSocket whose broker's side ends is closed. `reconnect`: the gateway opens the broker's side again.
    /// `share`: the same, and callers of the feed share the broker's sockets.
    pub streams: &'static str,
    /// How many order writes of today were answered with what became of an earlier one.
    pub repeats_today: u64,
    /// The last request of a caller of it; null while there was none since the gateway was started.
    pub last_request: Option<LastRequestBody>,
    /// Its WebSockets since the gateway was started, by kind; those of which there were none are missing.
    pub sockets: Vec<StreamsBody>,
    pub created_at: String,
    /// What is wrong with it, the worst first: `needs_person`, `not_alone` (something else logs in or places orders for it:
    /// see `elsewhere` and `token.last_error`), `halted`, `no_token`, `leg_tripped`, `validation_failed`,
    /// `not_validated` (since the gateway was started). Empty: it is fine.
    pub problems: Vec<&'static str>,
    /// Which secrets of its login are set. Never a value.
    pub secrets: SecretsBody,
    /// What the last validation found; null while there was none since the gateway was started.
    pub validated: Option<ValidatedBody>,
    /// What the broker was last seen to hold for it; null while it was not asked since the gateway was started.
    pub registration: Option<SeenRegistrationBody>,
    /// Orders of today that did not come through this gateway; null while none were seen.
    pub elsewhere: Option<ElsewhereBody>,
    /// Names its settings as they are now, for `If-Match`; also in `ETag`.
    pub version: String,
}

const HALT_UNSAVED: &str = "the account is halted now, but that could not be saved (most often the disk is full): a restart \
    would end the halt. It is saved by itself as soon as the state can be written";

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
            streams: account.record.streams.as_str(),
            repeats_today: account.repeats.today(jiff::Timestamp::now()),
            last_request: account.last_request.view().map(LastRequestBody::from),
            sockets: account.streams.view().into_iter().map(StreamsBody::from).collect(),
            created_at: account.record.created_at.to_string(),
            problems: account.troubles().iter().map(Trouble::as_str).collect(),
            secrets: (&account.secrets).into(),
            validated: account.validated.load().as_deref().map(ValidatedBody::from),
            registration: SeenRegistrationBody::of(account),
            elsewhere: ElsewhereBody::of(account),
            version: account.version(),
        }
    }
}

/// Is a secret set?
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretBody {
    pub set: bool,
    /// Since when; null also for one that was given before that was kept.
    pub since: Option<String>,
}

/// Which secrets of a login are set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretsBody {
    pub pin: SecretBody,
    pub totp_secret: SecretBody,
    pub phone: SecretBody,
    pub api_key: SecretBody,
    pub api_secret: SecretBody,
}

impl From<&SecretsSet> for SecretsBody {
    fn from(secrets: &SecretsSet) -> Self {
        let body = |name: LoginSecret| SecretBody {
            set: secrets.contains_key(&name),
            since: secrets.get(&name).copied().flatten().map(|at| at.to_string()),
        };
        Self {
            pin: body(LoginSecret::Pin),
            totp_secret: body(LoginSecret::TotpSecret),
            phone: body(LoginSecret::Phone),
            api_key: body(LoginSecret::ApiKey),
            api_secret: body(LoginSecret::ApiSecret),
        }
    }
}

/// When a caller last asked for something of an account. Lost when the gateway stops.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LastRequestBody {
    /// When it was answered.
    pub at: String,
    /// `order`, `read`, `stream` (a WebSocket) or `tunnel` (a `CONNECT`).
    pub class: &'static str,
    /// The listener that it came by: `127.0.0.1:8080` or `unix:/path`.
    pub listener: String,
    /// What the program calls itself (`User-Agent`); null where it says nothing.
    pub program: Option<String>,
}

impl From<LastRequestView> for LastRequestBody {
    fn from(last: LastRequestView) -> Self {
        let LastRequestView { at, class, listener, program } = last;
        Self { at: at.to_string(), class: class.as_str(), listener, program }
    }
}

/// The WebSockets of one kind. Lost when the gateway stops.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamsBody {
    /// `feed`, `depth20`, `depth200` or `order_update`.
    pub kind: &'static str,
    /// How many of the broker's are open.
    pub open: u64,
    /// How many callers share them (`streams` is `share`).
    pub sharing: u64,
    /// How many were opened, each connection anew after an end included.
    pub opened: u64,
    /// How many handshakes were refused, by the gateway or by the broker.
    pub refused: u64,
    pub messages_from_caller: u64,
    pub messages_from_broker: u64,
    pub bytes_from_caller: u64,
    pub bytes_from_broker: u64,
    /// Messages of callers of order updates that were no login and were not passed on; counted when a socket ends.
    pub dropped: u64,
    /// How often the broker's side of one was opened again (`streams` is `reconnect` or `share`).
    pub reconnects: u64,
    /// When the first was asked for: all of this is counted since then.
    pub since: String,
}

impl From<KindView> for StreamsBody {
    fn from(view: KindView) -> Self {
        let KindView { kind, open, sharing, opened, refused, messages, bytes, dropped, reconnects, since } = view;
        let ([messages_from_caller, messages_from_broker], [bytes_from_caller, bytes_from_broker]) = (messages, bytes);
        Self {
            kind,
            open,
            sharing,
            opened,
            refused,
            messages_from_caller,
            messages_from_broker,
            bytes_from_caller,
            bytes_from_broker,
            dropped,
            reconnects,
            since: since.to_string(),
        }
    }
}

/// What the last validation found. Lost when the gateway stops.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidatedBody {
    pub at: String,
    /// All checks are as they should be.
    pub ok: bool,
    pub checks: Vec<CheckBody>,
}

impl From<&Validated> for ValidatedBody {
    fn from(validated: &Validated) -> Self {
        let ChecksBody { ok, checks } = validated.checks.as_slice().into();
        Self { at: validated.at.to_string(), ok, checks }
    }
}

/// One of the broker's two places for an address, as it was last told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeenSlotBody {
    /// What the broker holds; null when it is empty.
    pub registered: Option<String>,
    /// Is it the address that the account has now? Null without a pair.
    pub matches: Option<bool>,
    /// The first day (in India) on which the broker allows a change.
    pub change_allowed_from: Option<String>,
    /// When the broker said so.
    pub seen_at: String,
}

/// What the broker was last seen to hold. Null where it was not told. Lost when the gateway stops, and told anew by
/// the next `getIP`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SeenRegistrationBody {
    pub primary: Option<SeenSlotBody>,
    pub secondary: Option<SeenSlotBody>,
}

impl SeenRegistrationBody {
    pub(super) fn of(account: &Account) -> Option<Self> {
        let body = |role: Role| {
            let seen = account.registration.get(role)?;
            let own = account.legs.as_ref().map(|legs| legs.pair().of(role).ip());
            Some(SeenSlotBody {
                registered: seen.slot.holds.text(),
                matches: own.map(|own| seen.slot.holds.is(own.into())),
                change_allowed_from: seen.slot.change_allowed_from.map(|day| day.to_string()),
                seen_at: seen.at.to_string(),
            })
        };
        let seen = Self { primary: body(Role::Primary), secondary: body(Role::Secondary) };
        (seen.primary.is_some() || seen.secondary.is_some()).then_some(seen)
    }
}

/// Orders of today in the broker's book that did not come through this gateway. Lost when the gateway stops, and found
/// again when the book is seen next: at a validation, or when the answer of an order is lost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ElsewhereBody {
    /// `another_gateway_trades`: they have ids as a gateway makes them. `another_program_trades`: they have other ids.
    pub code: &'static str,
    /// One sentence that says what was found.
    pub summary: String,
    /// What to do.
    pub action: &'static str,
    /// How many there are.
    pub orders: usize,
    /// The broker's id of the newest of them.
    pub order_id: String,
    /// The id that it was sent under.
    pub correlation_id: Option<String>,
    /// The address that the broker has registered in the place of one of the account's own, where it has.
    pub registered: Option<String>,
    /// When the book was looked at.
    pub found_at: String,
}

impl ElsewhereBody {
    pub(super) fn of(account: &Account) -> Option<Self> {
        let found = account.orders_from_elsewhere()?;
        let registered = account.registered_instead();
        let from = registered.as_ref().map(|address| {
            format!("; Dhan has {address} registered in the place of one of this account's addresses, so they may leave from there")
        });
        Some(Self {
            code: found.code(),
            summary: found.summary() + &from.unwrap_or_default(),
            action: found.action(),
            orders: found.count,
            order_id: found.newest.order_id.to_string(),
            correlation_id: found.newest.correlation_id.as_deref().map(str::to_owned),
            registered,
            found_at: found.found_at.to_string(),
        })
    }
}

/// How many accounts are in which trouble. One can be in several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountsBody {
    /// All that `q` and `state` leave.
    pub all: u64,
    /// Those of them that `problem` leaves: so many items have all pages together.
    pub matching: u64,
    pub needs_person: u64,
    pub not_alone: u64,
    pub halted: u64,
    pub leg_tripped: u64,
    pub no_token: u64,
    pub validation_failed: u64,
    pub not_validated: u64,
}

impl From<Counts> for CountsBody {
    fn from(counts: Counts) -> Self {
        Self {
            all: counts.all,
            matching: counts.matching,
            needs_person: counts.of(Trouble::NeedsPerson),
            not_alone: counts.of(Trouble::NotAlone),
            halted: counts.of(Trouble::Halted),
            leg_tripped: counts.of(Trouble::LegTripped),
            no_token: counts.of(Trouble::NoToken),
            validation_failed: counts.of(Trouble::ValidationFailed),
            not_validated: counts.of(Trouble::NotValidated),
        }
    }
}

/// Which accounts, and in which order. Only for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct ListFilter {
    /// A text that stands in the name, the nickname, the client id or an address.
    pub q: Option<String>,
    /// The state of the token: `absent`, `minting`, `live`, `refreshing`, `waiting` or `needs_person`.
    #[param(value_type = Option<String>, pattern = "^(absent|minting|live|refreshing|waiting|needs_person)$")]
    pub state: Option<String>,
    /// Those in this trouble: one of `problems`.
    #[param(value_type = Option<String>,
        pattern = "^(needs_person|not_alone|halted|leg_tripped|no_token|validation_failed|not_validated)$")]
    pub problem: Option<String>,
    /// `name` (when not given), or `trouble`: the worst first.
    #[param(value_type = Option<String>, pattern = "^(name|trouble)$")]
    pub sort: Option<String>,
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// `next` of the page before, of the same `sort`.
    pub cursor: Option<String>,
}
