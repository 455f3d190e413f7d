//! All state of the broker: accounts with their books, tokens, faults, the record.
//!
//! Plain data behind one short lock. Nothing here waits; `now` is an argument.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::broadcast;

use crate::domain::{ClientId, Pair};

use super::Account;
use super::desk::Desk;
use super::door::Door;
use super::fault::Faults;
use super::login::{self, Consents, LoginRules};
use super::orders::Trade;
use super::portfolio::Positions;
use super::registration::{AddressForm, Slot};
use super::row::Order;
use super::seen::Record;
use super::tokens::Token;
use super::triggers::Forever;
use super::trouble::{StreamFault, StreamHost};

/// Events kept for a slow WebSocket; one that is further behind loses the oldest.
const EVENTS: usize = 256;

/// What a WebSocket of an account hears of.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// An order changed: the message's text.
    Order(String),
    /// The live token is no longer the one given here.
    TokenDied(String),
    /// Something befalls these sockets.
    Befalls(Vec<u64>, StreamFault),
}

/// A socket that is open and let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSocket {
    /// The number of the request that opened it.
    pub(super) sequence: u64,
    pub(super) kind: StreamHost,
}

/// How many sockets of a kind an account may have: the next one ends the oldest.
const SOCKETS: usize = 5;

/// Everything the broker knows of one account.
pub(super) struct Ledger {
    pub(super) account: Account,
    pub(super) token: Option<Token>,
    pub(super) login: login::State,
    pub(super) primary: Option<Slot>,
    pub(super) secondary: Option<Slot>,
    pub(super) orders: Vec<Order>,
    pub(super) trades: Vec<Trade>,
    pub(super) positions: Positions,
    pub(super) forever: Vec<Forever>,
    pub(super) alerts: BTreeMap<u64, Value>,
    pub(super) kill_switch: bool,
    pub(super) pnl_exit: Option<Value>,
    pub(super) events: broadcast::Sender<Event>,
    /// Oldest first.
    pub(super) sockets: Vec<OpenSocket>,
}

impl Ledger {
    fn new(account: Account) -> Self {
        Self {
            account,
            token: None,
            login: login::State::default(),
            primary: None,
            secondary: None,
            orders: Vec::new(),
            trades: Vec::new(),
            positions: Positions::default(),
            forever: Vec::new(),
            alerts: BTreeMap::new(),
            kill_switch: false,
            pnl_exit: None,
            events: broadcast::Sender::new(EVENTS),
            sockets: Vec::new(),
        }
    }

    /// Is this one of the account's registered addresses?
    pub(super) fn registered(&self, address: IpAddr) -> bool {
        [&self.primary, &self.secondary].into_iter().flatten().any(|slot| slot.address == address)
    }

    /// Is this the first of them?
    pub(super) fn is_primary(&self, address: IpAddr) -> bool {
        self.primary.as_ref().is_some_and(|slot| slot.address == address)
    }

    /// Let a socket in. If it is the sixth of its kind, the oldest is told 805.
    pub(super) fn let_in(&mut self, socket: OpenSocket) {
        let same = self.sockets.iter().filter(|other| other.kind == socket.kind);
        let oldest = same.clone().next().map(|other| other.sequence).filter(|_| same.count() >= SOCKETS);
        if let Some(oldest) = oldest {
            self.gone(oldest);
            self.publish(Event::Befalls(vec![oldest], StreamFault::Disconnect { reason: 805 }));
        }
        self.sockets.push(socket);
    }

    /// This socket has ended.
    pub(super) fn gone(&mut self, sequence: u64) {
        self.sockets.retain(|socket| socket.sequence != sequence);
    }

    /// Tell the account's WebSockets; nobody listening is all right.
    pub(super) fn publish(&self, event: Event) {
        let _nobody_listens = self.events.send(event);
    }
}

/// Everything the built-in broker knows.
#[derive(Default)]
pub(super) struct World {
    ledgers: HashMap<ClientId, Ledger>,
    /// Live tokens only: a dead one and one never made are refused alike.
    pub(super) tokens: HashMap<String, ClientId>,
    pub(super) seen: Record,
    pub(super) faults: Faults,
    /// For peers that do not find it open.
    pub(super) doors: HashMap<IpAddr, Door>,
    pub(super) desk: Desk,
    pub(super) login: LoginRules,
    pub(super) consents: Consents,
    pub(super) address_form: AddressForm,
    /// How far the broker's clock runs before this host's.
    pub(super) skew: SignedDuration,
}

impl World {
    pub(super) fn new(login: LoginRules) -> Self {
        Self { login, ..Self::default() }
    }

    /// The broker's clock. Everything it answers is by this one.
    pub(super) fn now(&self) -> Timestamp {
        let real = Timestamp::now();
        real.checked_add(self.skew).unwrap_or(real)
    }

    /// What this host's clock says at a moment of the broker's.
    pub(super) fn real(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.skew).unwrap_or(now)
    }

    pub(super) fn ledger(&self, client_id: &ClientId) -> Option<&Ledger> {
        self.ledgers.get(client_id)
    }

    pub(super) fn ledger_mut(&mut self, client_id: &ClientId) -> Option<&mut Ledger> {
        self.ledgers.get_mut(client_id)
    }

    /// An account's books and the desk where orders come in, both to write to.
    pub(super) fn books(&mut self, client_id: &ClientId) -> Option<(&mut Ledger, &mut Desk)> {
        Some((self.ledgers.get_mut(client_id)?, &mut self.desk))
    }

    pub(super) fn ledgers(&self) -> impl Iterator<Item = &Ledger> {
        self.ledgers.values()
    }

    pub(super) fn add_account(&mut self, account: Account, now: Timestamp) {
        let (id, pair) = (account.client_id.clone(), account.registered);
        match self.ledgers.get_mut(&id) {
            Some(ledger) => {
                if ledger.account.totp_secret != account.totp_secret {
                    ledger.login.secret_changed();
                }
                ledger.account = account;
            }
            None => {
                self.ledgers.insert(id.clone(), Ledger::new(account));
            }
        }
        self.register(&id, pair, now);
    }

    pub(super) fn register(&mut self, client_id: &ClientId, pair: Option<Pair>, now: Timestamp) {
        if let Some(ledger) = self.ledgers.get_mut(client_id) {
            ledger.account.registered = pair;
            ledger.primary = pair.map(|pair| Slot::taken(pair.primary.ip().into(), now));
            ledger.secondary = pair.map(|pair| Slot::taken(pair.secondary.ip().into(), now));
        }
    }

    pub(super) fn unlock_registration(&mut self, client_id: &ClientId) {
        if let Some(ledger) = self.ledgers.get_mut(client_id) {
            for slot in [&mut ledger.primary, &mut ledger.secondary].into_iter().flatten() {
                slot.locked_until = Timestamp::UNIX_EPOCH;
            }
        }
    }
}
