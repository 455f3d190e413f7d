//! An account's row: what the order path needs of it.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::keys::ClientKeys;
use super::last_request::LastRequest;
use super::login_secrets::SecretsSet;
use super::seen_registration::SeenRegistration;
use super::validate::Validated;
use crate::domain::{AccountName, ClientId, Role, steady};
use crate::legs::Legs;
use crate::orders::Orders;
use crate::orders::day::Repeats;
use crate::orders::elsewhere::{BookRow, ForeignOrders, ForeignSender, OrdersElsewhere};
use crate::store::records::AccountRecord;
use crate::telemetry::account_streams::AccountStreams;
use crate::tokens::lifecycle::ANOTHER_LOGS_IN;
use crate::tokens::{Keeper, TokenCell};

/// Where the broker has the orders of today.
const ORDER_BOOK: &str = "/v2/orders";

/// What the order path needs of an account.
#[derive(Debug)]
pub struct Account {
    /// The account's name with us.
    pub name: AccountName,
    /// The stored record.
    pub record: AccountRecord,
    /// It is halted, and that could not be saved yet.
    pub halt_unsaved: bool,
    /// The broker's id, ready as a header.
    pub client_id_header: HeaderValue,
    /// The two ways out, once a pair is assigned.
    pub legs: Option<Arc<Legs>>,
    /// Where its token is.
    pub token: Arc<TokenCell>,
    /// Who keeps that alive.
    pub keeper: Arc<Keeper>,
    /// Hashes of its client keys.
    pub keys: ClientKeys,
    /// How many of today's writes were answered with what became of an earlier one.
    pub repeats: Arc<Repeats>,
    /// When a caller last asked for something of it.
    pub last_request: Arc<LastRequest>,
    /// What is counted of its WebSockets since the start.
    pub streams: Arc<AccountStreams>,
    /// Which secrets of its login are set.
    pub secrets: SecretsSet,
    /// What the last validation found. In memory only: after a restart nobody has looked.
    pub validated: Arc<ArcSwapOption<Validated>>,
    /// What the broker was last seen to hold for it.
    pub registration: Arc<SeenRegistration>,
    /// Orders of today that did not come through this gateway, as far as the broker's book was seen.
    pub elsewhere: Arc<OrdersElsewhere>,
    /// Made when somebody waits for it: ten thousand accounts are idle.
    pub(super) replaced: OnceLock<CancellationToken>,
}

impl Account {
    /// The broker's id.
    pub const fn client_id(&self) -> &ClientId {
        &self.record.client_id
    }

    /// The broker answered a question of the gateway's after orders of this account. Where that was the book of today, it
    /// is looked at later.
    pub fn heard_of_orders(&self, orders: &Orders, path: &str, status: u16, body: &Bytes) {
        if path == ORDER_BOOK && (200..300).contains(&status) {
            self.saw_book(orders, body);
        }
    }

    /// The broker showed this as the book of today.
    pub fn saw_book(&self, orders: &Orders, body: &Bytes) {
        orders.saw_book(&self.name, self.client_id(), &self.elsewhere, body);
    }

    /// The broker showed this order of the account.
    pub fn saw_order(&self, orders: &Orders, row: BookRow) {
        orders.saw_order(&self.name, self.client_id(), &self.elsewhere, row);
    }

    /// Orders of today that did not come through this gateway; none that were seen yet is no proof that there is none.
    pub fn orders_from_elsewhere(&self) -> Option<Arc<ForeignOrders>> {
        self.elsewhere.of_today(steady::now())
    }

    /// The address that the broker has registered in the place of one of its own, as it was last seen.
    pub fn registered_instead(&self) -> Option<String> {
        const BOTH: [Role; 2] = [Role::Primary, Role::Secondary];
        let pair = self.legs.as_ref()?.pair();
        BOTH.into_iter().find_map(|role| {
            let held = &self.registration.get(role)?.slot.holds;
            let is_own = BOTH.iter().any(|own| held.is(pair.of(*own).ip().into()));
            held.text().filter(|_| !is_own)
        })
    }

    /// Are the orders of others a trouble by themselves?
    pub fn is_traded_elsewhere(&self) -> bool {
        self.orders_from_elsewhere().is_some_and(|found| match found.sender {
            ForeignSender::Gateway => true,
            ForeignSender::Program => self.registered_instead().is_some(),
        })
    }

    /// Does nothing else log in or place orders for it, as far as is known? Another program's orders are told and are no
    /// trouble by themselves; they are where the broker has another address registered for it.
    pub fn is_alone(&self) -> bool {
        !self.is_traded_elsewhere()
            && self.token.standing().trouble.is_none_or(|trouble| trouble.code != ANOTHER_LOGS_IN)
    }

    /// Names the settings as they are now: another after each change of them, and for an account that was made anew.
    /// What is no setting (halt, pin, pair, keys, tokens) does not count.
    pub fn version(&self) -> String {
        version_of(&self.record)
    }

    /// Cancelled when this row is one no longer: the account was changed, halted or deleted, or a key of it was.
    pub fn replaced(&self) -> &CancellationToken {
        self.replaced.get_or_init(CancellationToken::new)
    }

    /// End what is open for it.
    pub(super) fn end(&self) {
        self.keys.end();
        self.keeper.end();
        if let Some(legs) = &self.legs {
            legs.end();
        }
    }
}

/// See [`Account::version`].
pub(super) fn version_of(record: &AccountRecord) -> String {
    format!("{:x}.{}", record.created_at.as_microsecond(), record.changes)
}
